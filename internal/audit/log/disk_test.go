package log

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
)

// troubles collects what OnTrouble is told.
type troubles struct {
	mu   sync.Mutex
	what []string
}

func (t *troubles) tell(trouble Trouble) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.what = append(t.what, trouble.What)
}

func (t *troubles) all() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.what)
}

// once fails the first call.
func once(err error) func() error {
	var n int
	return func() error {
		if n++; n == 1 {
			return err
		}
		return nil
	}
}

// TestWriteFails: a failed write or sync is an error of its Append and of no other; the
// log goes on in another file, and what was not acknowledged is not there.
func TestWriteFails(t *testing.T) {
	t.Parallel()
	tests := map[string]func(d *faultyDisk){
		"write":       func(d *faultyDisk) { d.failWrite = once(syscall.EIO) },
		"short write": func(d *faultyDisk) { d.failWrite, d.half = once(syscall.EIO), true },
		"sync":        func(d *faultyDisk) { d.failSync = once(syscall.EIO) },
	}
	for name, fail := range tests {
		for _, before := range []int{0, 3} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				cfg := testConfig(t)
				disk, told := newFaultyDisk(), new(troubles)
				cfg.disk, cfg.OnTrouble = disk, told.tell
				l := mustOpen(t, cfg)
				var want []string
				if before > 0 {
					batch := entries("a", before)
					mustAppend(t, l, batch)
					want = names(batch)
				} else if err := l.w.begin(); err != nil { // as after a rotation: a file without events
					t.Fatal(err)
				}
				disk.set(fail)
				if first, err := l.Append(t.Context(), entries("b", 2)); !errors.Is(err, syscall.EIO) {
					t.Fatalf("%d, %v", first, err)
				}
				if diff := cmp.Diff([]string{TroubleWrite}, told.all()); diff != "" {
					t.Error(diff)
				}
				c := entries("c", 2)
				if first := mustAppend(t, l, c); first != uint64(before)+2 {
					t.Errorf("first is %d", first)
				}
				want = append(append(want, "system:"+TroubleWrite), names(c)...)
				if diff := cmp.Diff(want, read(t, cfg.Dir)); diff != "" {
					t.Error(diff)
				}
				if got := l.Stats(); got.Refused != 2 || got.Troubles != 1 {
					t.Errorf("stats: %+v", got)
				}
				mustClose(t, l)
				l = mustOpen(t, cfg)
				if err := l.Seal(t.Context()); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, read(t, cfg.Dir)); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// TestDiskFull: nothing is acknowledged while there is no room; the log says so in
// itself, seals from the reserve, and says when there is room again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	disk, told := newFaultyDisk(), new(troubles)
	cfg.disk, cfg.OnTrouble = disk, told.tell
	now := received()
	var mu sync.Mutex
	cfg.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	l := mustOpen(t, cfg)
	reserve := filepath.Join(cfg.Dir, reserveName)
	if info, err := os.Stat(reserve); err != nil || info.Size() != cfg.Reserve {
		t.Fatalf("the reserve: %v, %v", info, err)
	}
	mustAppend(t, l, entries("a", 2))
	// Writes fail for as long as the reserve takes the last of the room.
	disk.full.Store(true)
	disk.set(func(d *faultyDisk) {
		d.half = true
		d.failWrite = func() error {
			if _, err := os.Stat(reserve); err == nil && disk.full.Load() {
				return syscall.ENOSPC
			}
			return nil
		}
	})
	for range 3 {
		if first, err := l.Append(t.Context(), entries("b", 5)); !errors.Is(err, ErrFull) {
			t.Fatalf("%d, %v", first, err)
		}
	}
	if _, err := os.Stat(reserve); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the reserve: %v", err)
	}
	want := []string{"a-0", "a-1", "system:disk-full"}
	if diff := cmp.Diff(want, read(t, cfg.Dir)); diff != "" {
		t.Error(diff)
	}
	if got := l.Stats(); !got.Full || got.Refused != 15 {
		t.Errorf("stats: %+v", got)
	}
	if err := l.Seal(t.Context()); err != nil {
		t.Errorf("seal on a full disk: %v", err)
	}
	disk.full.Store(false)
	mu.Lock()
	now = now.Add(2 * reserveEvery)
	mu.Unlock()
	mustAppend(t, l, entries("c", 1))
	want = append(want, "system:disk-free", "c-0")
	if diff := cmp.Diff(want, read(t, cfg.Dir)); diff != "" {
		t.Error(diff)
	}
	if got := l.Stats(); got.Full {
		t.Errorf("stats: %+v", got)
	}
	if _, err := os.Stat(reserve); err != nil {
		t.Errorf("the reserve: %v", err)
	}
	if diff := cmp.Diff([]string{TroubleFull}, told.all()); diff != "" {
		t.Error(diff)
	}
	v, err := l.View()
	if err != nil {
		t.Fatal(err)
	}
	refused := ""
	if err := v.Events(t.Context(), 4, func(e *audit.Event) error {
		refused += e.Annotations["refused"]
		return nil
	}); err != nil || refused != "15" {
		t.Errorf("the log tells of %q refused events, %v", refused, err)
	}
}
