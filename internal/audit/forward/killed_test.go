//go:build linux

package forward

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulwark.dev/bulwark/internal/audit/vault"
)

// A child process is this test program with these variables set.
const (
	childKind = "BULWARK_FORWARD_CHILD"
	childArgs = "BULWARK_FORWARD_ARGS"
)

func TestMain(m *testing.M) {
	switch os.Getenv(childKind) {
	case "":
		os.Exit(m.Run())
	case "limited":
		signal.Ignore(unix.SIGXFSZ)
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 20000, Max: 20000}); err != nil {
			panic(err)
		}
	}
	child(strings.Split(os.Getenv(childArgs), "\n"))
}

// child records events and says which are out of memory, and what it lost in the end.
func child(args []string) {
	tr := &trail{files: files{cert: args[1], token: args[2]}, address: args[3]}
	cfg := tr.config(args[0])
	cfg.QueueBytes = leastQueue
	if args[6] != "" {
		var err error
		if cfg.Keys, err = vault.ReadKeys(args[6]); err != nil {
			panic(err)
		}
	}
	s, err := New(cfg)
	if err != nil {
		panic(err)
	}
	n, err := strconv.Atoi(args[5])
	if err != nil {
		panic(err)
	}
	for i := range n {
		s.Record(event(fmt.Sprintf("%s-%06d", args[4], i)))
		if i%20 == 0 {
			time.Sleep(time.Millisecond)
			s.mu.Lock()
			empty := len(s.queue)+len(s.stuck) == 0
			s.mu.Unlock()
			if empty {
				fmt.Fprintln(os.Stdout, i) //nolint:errcheck // the parent reads as long as it wants
			}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err = s.Close(ctx)
	fmt.Fprintln(os.Stdout, "ended", s.counts.dropped.Load(), err != nil) //nolint:errcheck // as above
}

func startChild(t *testing.T, kind string, tr *trail, dir, name, key string, n int) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childKind+"="+kind, childArgs+"="+strings.Join([]string{dir, tr.cert, tr.token, tr.address, name, strconv.Itoa(n), key}, "\n"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewScanner(out)
}

// Processes are killed at random while the trail comes and goes: what one of them had
// spooled is in the trail in the end.
func TestKilled(t *testing.T) {
	t.Parallel()
	tr, dir := newTrail(t), t.TempDir()
	spooled := map[string]int{}
	keys := []vault.Key{newKey(t), newKey(t)}
	for round := range 8 {
		// The spool is plain first, and then encrypted; in the end another key comes first.
		key := ""
		if round >= 3 {
			key = keyFile(t, keys[0])
		}
		if round%3 == 1 {
			tr.start(t)
		} else {
			tr.kill(t)
		}
		name := fmt.Sprint("r", round)
		cmd, lines := startChild(t, "killed", tr, dir, name, key, 1<<20)
		for range 1 + mrand.IntN(12) {
			if !lines.Scan() {
				t.Fatal(lines.Err())
			}
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatal(err)
			}
			spooled[name] = n
		}
		time.Sleep(time.Duration(mrand.IntN(20)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		if round != 6 { // in which the trail took nothing
			continue
		}
		if _, err := New(tr.config(dir)); !errors.Is(err, vault.ErrNoKey) || !strings.Contains(err.Error(), keyOption) {
			t.Fatalf("without a key: %v", err)
		}
	}
	tr.kill(t)
	tr.start(t)
	cfg := tr.config(dir)
	var err error
	if cfg.Keys, err = vault.NewKeys(keys[1], keys[0]); err != nil {
		t.Fatal(err)
	}
	s := mustNew(t, cfg)
	eventually(t, "nothing waits", s.emptied)
	mustClose(t, s)
	// What was plain is gone, and with it all but the file that was written last.
	left, err := filepath.Glob(filepath.Join(dir, "*"+partSuffix))
	if err != nil || len(left) > 1 {
		t.Errorf("%v are left, %v", left, err)
	}
	for _, path := range left {
		if text, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(text), partMagic) || strings.Contains(string(text), "delivery") {
			t.Errorf("%s: %d plain bytes, %v", path, len(text), err)
		}
	}
	got, total := tr.requests(), 0
	for name, last := range spooled {
		for i := range last + 1 {
			if got[fmt.Sprintf("%s-%06d", name, i)] == 0 {
				t.Fatalf("%s: event %d of %d is missing", name, i, last)
			}
			total++
		}
	}
	_, again := tr.ordered(t)
	if told := len(tr.notices("Interrupted")); told < 8 {
		t.Errorf("the trail was told of %d ends", told)
	}
	t.Logf("%d events were spooled for sure, %d are in the trail, %d came again", total, len(got), again)
}

// The system cuts writes short, as on a full disk. While the trail answers all arrives
// without the disk; while it does not, what memory cannot hold is counted and told.
func TestDiskFails(t *testing.T) {
	t.Parallel()
	tr, dir := newTrail(t), t.TempDir()
	tr.start(t)
	run := func(name string, n int) (dropped int, failed bool) {
		t.Helper()
		cmd, lines := startChild(t, "limited", tr, dir, name, "", n)
		last := ""
		for lines.Scan() {
			last = lines.Text()
		}
		if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscanf(last, "ended %d %t", &dropped, &failed); err != nil {
			t.Fatalf("%q: %v", last, err)
		}
		return dropped, failed
	}
	const with, without = 300, 2000
	if dropped, failed := run("with", with); dropped > 0 || failed {
		t.Errorf("%d events were dropped although the trail took them", dropped)
	}
	tr.kill(t)
	dropped, failed := run("without", without)
	if dropped == 0 || !failed {
		t.Errorf("the disk did not fail: %d events dropped", dropped)
	}
	tr.start(t)
	s := mustNew(t, tr.config(dir))
	eventually(t, "nothing waits", s.emptied)
	mustClose(t, s)
	// The notice about them may be lost, and counted, with them.
	if got := len(tr.requests()); got != with+without-dropped && got != with+without-dropped+1 {
		t.Errorf("%d events are in the trail, %d recorded, %d dropped", got, with+without, dropped)
	}
	if told := len(tr.notices("Interrupted")); told == 0 {
		t.Error("the trail was not told that events are missing")
	}
	t.Logf("%d of %d events were spooled before the disk failed", without-dropped, without)
}
