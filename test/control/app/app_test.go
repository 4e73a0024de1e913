package app

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestMain stands in for the program: a child of these tests is this binary.
func TestMain(m *testing.M) {
	switch os.Getenv("APP_TEST_CHILD") {
	case "ends":
		_, _ = io.WriteString(os.Stderr, "last words\n")
		os.Exit(3)
	case "stays":
		select {}
	default:
		os.Exit(m.Run())
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	c, err := parse("run", []string{
		"--audit-log", "--audit-policy", "p", "--image", "a=b", "--image", "c=/d", "--apiserver-arg", "--x=y", "--only", "kcm,services", "--", "sh", "-c", "x",
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	want := &config{
		Audit: true, AuditPolicy: filepath.Join(wd, "p"), Images: []string{"a=" + filepath.Join(wd, "b"), "c=/d"},
		APIServerArgs: []string{"--x=y"}, Only: []string{"kcm", "services"}, Command: []string{"sh", "-c", "x"},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, bad := range [][]string{
		{"run"},
		{"run", "--only", "kubelets", "--", "x"},
		{"run", "--image", "x", "--", "x"},
		{"run", "--publish", "=x", "--", "x"},
		{"up", "x"},
		{"up", "--no-such-flag"},
	} {
		if c, err := parse(bad[0], bad[1:], io.Discard); err == nil {
			t.Errorf("%q was understood as %+v", bad, c)
		}
	}
}

func TestFlagsOfComponents(t *testing.T) {
	t.Parallel()
	c := &config{DataDir: t.TempDir(), Audit: true, Encryption: "/e", APIServerArgs: []string{"--last"}, Only: []string{partScheduler}}
	flags, err := c.apiserverFlags()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"--encryption-provider-config=/e", "--audit-log-path=" + filepath.Join(c.DataDir, "audit.log"), "--authorization-mode=Node,RBAC"} {
		if !slices.Contains(flags, want) {
			t.Errorf("no %s in %q", want, flags)
		}
	}
	if flags[len(flags)-1] != "--last" {
		t.Errorf("the caller's flag is not the last of %q", flags)
	}
	if c.managerFlags() != nil || c.schedulerFlags() == nil {
		t.Error("--only is not heeded")
	}
}

func TestJoinAndSplit(t *testing.T) {
	t.Parallel()
	for _, lists := range [][2][]string{{nil, nil}, {{}, nil}, {nil, {"-a"}}, {{"-a", "+"}, {"-b"}}} {
		got, err := split(join(lists[0], lists[1]))
		if err != nil || !cmp.Equal(got, lists) {
			t.Errorf("%q came back as %q, %v", lists, got, err)
		}
	}
	for _, bad := range [][]string{nil, {"--"}, {"--", "--", "--"}, {"--", "x"}} {
		if got, err := split(bad); err == nil {
			t.Errorf("%q was split into %q", bad, got)
		}
	}
}

func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir); err == nil {
		t.Error("two clusters share a directory")
	}
	unlock()
	again, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"nonsense"}, {"apiserver"}, {"apiserver", "stop", "--data-dir", t.TempDir()}, {"run"}} {
		var out, stderr bytes.Buffer
		if status := Run(args, Parts{}, &out, &stderr); status == 0 || stderr.Len() == 0 {
			t.Errorf("control %q: status %d, says %q", args, status, stderr.String())
		}
	}
	var out bytes.Buffer
	if status := Run([]string{"version"}, Parts{Version: "v1"}, &out, io.Discard); status != 0 || out.String() != "v1\n" {
		t.Errorf("version: %d %q", status, out.String())
	}
}

func TestComponentArguments(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	p := Parts{
		APIServer: func(_ context.Context, args []string) error {
			if !slices.Equal(args, []string{"-a"}) {
				t.Errorf("the API server got %q", args)
			}
			return boom
		},
		Controllers: func(_ context.Context, m, s []string) error {
			if m != nil || !slices.Equal(s, []string{"-s"}) {
				t.Errorf("the controllers got %q and %q", m, s)
			}
			return boom
		},
	}
	for _, args := range [][]string{{apiserverCommand, "-a"}, append([]string{controllersCommand}, join(nil, []string{"-s"})...)} {
		if err := component(t.Context(), args, p); !errors.Is(err, boom) {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func newChild(t *testing.T, kind string) (*child, chan error) {
	t.Helper()
	t.Setenv("APP_TEST_CHILD", kind)
	fatal := make(chan error, 1)
	return &child{name: kind, log: slog.New(slog.DiscardHandler), logFile: filepath.Join(t.TempDir(), "log"), fatal: fatal}, fatal
}

func TestChildThatKeepsEnding(t *testing.T) {
	c, fatal := newChild(t, "ends")
	if err := c.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-fatal; !strings.Contains(err.Error(), "last words") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("the error is %v", err)
	}
	c.stop(true)
}

func TestChildStopsAndStarts(t *testing.T) {
	c, fatal := newChild(t, "stays")
	var last int
	for i := range 2 {
		if err := c.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := c.start(t.Context()); err != nil { // runs already
			t.Fatal(err)
		}
		pid := c.process.Pid
		if pid == last || !c.running() {
			t.Errorf("process %d after %d, running %t", pid, last, c.running())
		}
		if i == 0 {
			// Killed by someone else: it comes back.
			if err := c.process.Kill(); err != nil {
				t.Fatal(err)
			}
			for again := pid; again == pid; time.Sleep(time.Millisecond) {
				c.mu.Lock()
				again = c.process.Pid
				c.mu.Unlock()
			}
		}
		last = c.process.Pid
		c.stop(false)
		if c.running() {
			t.Error("it runs after its stop")
		}
	}
	select {
	case err := <-fatal:
		t.Error(err)
	default:
	}
}
