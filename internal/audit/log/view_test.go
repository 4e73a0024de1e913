package log

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/segment"
)

// TestViewBesideWriter: a reader sees each event once and in order while files are
// written, sealed and removed under it.
func TestViewBesideWriter(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.SealEvents = 40
	l := mustOpen(t, cfg)
	const total = 3000
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range total / 10 {
			if _, err := l.Append(t.Context(), entries(strconv.Itoa(i), 10)); err != nil {
				t.Error(err)
			}
		}
	}()
	v, err := OpenView(cfg.Dir, ViewOptions{Keys: modeKeys()})
	if err != nil {
		t.Fatal(err)
	}
	next, passes := uint64(1), 0
	look := func(e *audit.Event) error {
		if e.Seq != next {
			t.Fatalf("event %d came, want %d", e.Seq, next)
		}
		if want := strconv.Itoa(int(next-1)/10) + "-" + strconv.Itoa(int(next-1)%10); e.AuditID != want {
			t.Fatalf("event %d is %s, want %s", e.Seq, e.AuditID, want)
		}
		next++
		return nil
	}
	for next <= total {
		if passes%20 == 0 {
			next = 1
		}
		if err := v.Events(t.Context(), next, look); err != nil {
			t.Fatal(err)
		}
		last, err := v.Last()
		if err != nil || last+1 < next {
			t.Fatalf("last is %d after event %d: %v", last, next-1, err)
		}
		passes++
	}
	<-done
	if passes < 3 {
		t.Errorf("only %d passes", passes)
	}
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	segments, err := v.Segments()
	if err != nil || len(segments) < total/40 {
		t.Errorf("%d segments, %v", len(segments), err)
	}
}

// TestViewBound: the writer's own view shows nothing before it is acknowledged.
func TestViewBound(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	disk := newFaultyDisk()
	cfg.disk = disk
	l := mustOpen(t, cfg)
	mustAppend(t, l, entries("a", 2))
	release := disk.hold()
	done := make(chan error)
	go func() {
		_, err := l.Append(t.Context(), entries("b", 2))
		done <- err
	}()
	disk.waitHeld()
	v, err := l.View()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	count := func(*audit.Event) error { n++; return nil }
	last, err := v.Last()
	if errEvents := v.Events(t.Context(), 1, count); last != 2 || n != 2 || err != nil || errEvents != nil {
		t.Errorf("last %d, %d events: %v, %v", last, n, err, errEvents)
	}
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := v.Events(t.Context(), 3, count); n != 4 || err != nil {
		t.Errorf("%d events: %v", n, err)
	}
}

func TestViewPruned(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	mustAppend(t, l, entries("a", 4))
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	path := filepath.Join(cfg.Dir, sealedName, spanName(1, 4, sealedSuffix))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := segment.Open(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	var pruned bytes.Buffer
	if _, err := segment.Prune(t.Context(), &pruned, s, func(e *audit.Event) bool { return e.AuditID != "a-2" }); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pruned.Bytes(), fileMode); err != nil {
		t.Fatal(err)
	}
	var gone, there []uint64
	see := func(e *audit.Event) error { there = append(there, e.Seq); return nil }
	v, err := OpenView(cfg.Dir, ViewOptions{Keys: modeKeys(), Pruned: func(seq uint64, leaf [32]byte) error {
		if leaf == [32]byte{} {
			t.Errorf("event %d has no leaf hash", seq)
		}
		gone = append(gone, seq)
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Events(t.Context(), 1, see); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][]uint64{{1, 2, 4}, {3}}, [][]uint64{gone, there}); diff != "" {
		t.Error(diff)
	}
	l = mustOpen(t, cfg)
	mustAppend(t, l, entries("b", 1))
	if v, err = OpenView(cfg.Dir, ViewOptions{Keys: modeKeys()}); err != nil {
		t.Fatal(err)
	}
	there = nil
	if err := v.Events(t.Context(), 2, see); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]uint64{3, 5}, there); diff != "" {
		t.Error(diff)
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	mustAppend(t, l, entries("a", 3))
	for name, changed := range map[string]func() <-chan struct{}{"told": l.Changed, "polling": nil} {
		every := time.Hour
		if changed == nil {
			every = time.Millisecond
		}
		v, err := OpenView(cfg.Dir, ViewOptions{Keys: modeKeys()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		seen := make(chan uint64)
		done := make(chan error)
		go func() {
			done <- v.Follow(ctx, 2, every, changed, func(e *audit.Event) error { seen <- e.Seq; return nil })
		}()
		last := l.Last()
		for want := uint64(2); want <= last+4; want++ {
			if want > last {
				mustAppend(t, l, entries("b", 1))
			}
			if got := <-seen; got != want {
				t.Errorf("%s: event %d came, want %d", name, got, want)
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	v, err := l.View()
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	if err := v.Follow(t.Context(), 0, time.Hour, nil, func(*audit.Event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the caller's error: %v", err)
	}
	if err := v.Follow(t.Context(), 0, 0, nil, nil); err == nil {
		t.Error("followed without an interval")
	}
}

func TestViewOfNothing(t *testing.T) {
	t.Parallel()
	if _, err := OpenView(filepath.Join(t.TempDir(), "none"), ViewOptions{Keys: modeKeys()}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if got := read(t, t.TempDir()); len(got) != 0 {
		t.Errorf("events %v in an empty directory", got)
	}
}

// TestDamagedView: what a view cannot trust it does not give.
func TestDamagedView(t *testing.T) {
	t.Parallel()
	cfg, path, content, ends := smallFile(t)
	content[ends[1]+frameHead+20] ^= 4
	if err := os.WriteFile(path, content, fileMode); err != nil {
		t.Fatal(err)
	}
	v, err := OpenView(cfg.Dir, ViewOptions{Keys: modeKeys()})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = v.Events(t.Context(), 1, func(*audit.Event) error { n++; return nil })
	var damage *DamageError
	if !errors.As(err, &damage) || damage.Seq != 5 || n != 4 {
		t.Errorf("%d events, %v", n, err)
	}
}
