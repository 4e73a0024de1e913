package isolate_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/cluster/inventory/isolate"
)

// TestMain makes this test's program a worker when it is started as one.
func TestMain(m *testing.M) {
	if os.Getenv("WORK_APART") == "" {
		os.Exit(m.Run())
	}
	err := isolate.Serve(os.Stdin, os.Stdout, map[string]isolate.Job{
		"echo": func(job []byte) ([]byte, error) { return job, nil },
		"fail": func(job []byte) ([]byte, error) { return nil, errors.New("not " + string(job)) },
		"endless": func([]byte) ([]byte, error) {
			for n := 0; ; n++ {
				sink = n
			}
		},
		"memory": func([]byte) ([]byte, error) {
			var all [][]byte
			for {
				all = append(all, make([]byte, 1<<20))
				sink = len(all)
			}
		},
		"huge":  func([]byte) ([]byte, error) { return []byte(strings.Repeat("x", 1<<44)), nil },
		"stack": func([]byte) ([]byte, error) { sink = deep(1); return nil, nil },
		"panic": func([]byte) ([]byte, error) { panic("no") },
		"gone":  func([]byte) ([]byte, error) { os.Exit(0); return nil, nil },
	}, os.Exit)
	if err != nil {
		os.Exit(1)
	}
}

var sink int

// deep calls itself until the stack ends.
func deep(n int) int {
	if n < 0 {
		return 0
	}
	return deep(n+1) + n
}

func host(t *testing.T, limits isolate.Limits) *isolate.Host {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h, err := isolate.New(limits, func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = []string{"WORK_APART=1", "GOTRACEBACK=none"}
		return cmd
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// Whatever a job does to its process, the next one is done.
func TestJobsThatMisbehave(t *testing.T) {
	t.Parallel()
	patient := host(t, isolate.Limits{Time: time.Hour, Memory: 256 << 20})
	short := host(t, isolate.Limits{Time: time.Second, Memory: 256 << 20})
	tests := map[string]struct {
		host *isolate.Host
		want error // nil: the job's own
		text string
	}{
		"endless": {short, isolate.ErrTime, "1s is the most"},
		"memory":  {patient, isolate.ErrMemory, "256 MiB is the most"},
		"huge":    {patient, nil, "ended"}, // by what depends on the system
		"stack":   {patient, nil, "ended"}, // by the limit of memory, or Go's own
		"gone":    {patient, isolate.ErrCrash, "ended"},
		"panic":   {patient, nil, "gave up: no"},
		"fail":    {patient, nil, "not this"},
		"other":   {patient, nil, `kind "other"`},
	}
	for kind, test := range tests {
		t.Run(kind, func(t *testing.T) {
			out, err := test.host.Do(t.Context(), kind, []byte("this"))
			if err == nil || !strings.Contains(err.Error(), test.text) || (test.want != nil && !errors.Is(err, test.want)) {
				t.Errorf("%q, %v", out, err)
			}
			if out, err := patient.Do(t.Context(), "echo", []byte("again")); err != nil || string(out) != "again" {
				t.Errorf("then %q, %v", out, err)
			}
		})
	}
}

// The end of the caller's context ends the job.
func TestDoIsEnded(t *testing.T) {
	t.Parallel()
	h := host(t, isolate.Limits{Time: time.Hour, Memory: 256 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := h.Do(ctx, "echo", nil); err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	go func() {
		close(started)
		cancel()
	}()
	<-started
	if _, err := h.Do(ctx, "endless", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if out, err := h.Do(t.Context(), "echo", []byte("x")); err != nil || string(out) != "x" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, l := range []isolate.Limits{{}, {Time: time.Second}, {Memory: 1}} {
		if _, err := isolate.New(l, nil); err == nil {
			t.Errorf("%+v are taken", l)
		}
	}
	h, err := isolate.New(isolate.Limits{Time: time.Second, Memory: 1}, func() *exec.Cmd { return exec.CommandContext(t.Context(), "no-such-program") })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Do(t.Context(), "x", nil); err == nil {
		t.Error("a program that is not there works")
	}
	h.Close()
}
