package log

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/disk"
)

// boundedDisk has room for so many bytes of a log: what the writer appends, what is
// reserved, and, by the step before it, a segment that is written anew.
type boundedDisk struct {
	disk.System

	dir  string
	most atomic.Int64 // 0: no bound
}

type boundedFile struct {
	disk.File
	on *boundedDisk
}

func (d *boundedDisk) used() (n int64) {
	_ = filepath.WalkDir(d.dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			if info, err := entry.Info(); err == nil {
				n += info.Size()
			}
		}
		return nil // what is removed meanwhile takes no room
	})
	return n
}

func (d *boundedDisk) takes(n int64) error {
	if most := d.most.Load(); most > 0 && d.used()+n > most {
		return syscall.ENOSPC
	}
	return nil
}

func (d *boundedDisk) Create(path string) (disk.File, error) {
	f, err := d.System.Create(path)
	return boundedFile{f, d}, err
}

func (d *boundedDisk) Reserve(path string, size int64) error {
	had := int64(0)
	if info, err := os.Stat(path); err == nil {
		had = info.Size()
	}
	if err := d.takes(size - had); err != nil {
		return errors.Join(err, os.RemoveAll(path)) // as the system's, which empties it first
	}
	return d.System.Reserve(path, size)
}

func (f boundedFile) Write(b []byte) (int, error) {
	if err := f.on.takes(int64(len(b))); err != nil {
		return 0, err
	}
	return f.File.Write(b)
}

// TestRetainOnFullDisk: retention makes room on a disk that is full, out of what it keeps
// for that, and then events are taken again. Without that room it takes nothing away.
func TestRetainOnFullDisk(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{true, false} {
		cfg, clock := agedConfig(t, 1)
		small := &boundedDisk{dir: cfg.Dir}
		room := filepath.Join(cfg.Dir, roomName)
		cfg.disk = small
		rewritten := 0
		cfg.step = func(step string) error {
			if step != "prune-write" {
				return nil
			}
			rewritten++
			return small.takes(256 << 10)
		}
		l := mustOpen(t, cfg)
		k := testKeeper(t, l)
		for range 2 {
			mustAppend(t, l, slices.Concat(bulky("a", 1500), entries("c", 1)))
			mustSeal(t, l)
		}
		policy := mustPolicy(t, classesAB)
		if out, err := k.Retain(t.Context(), RetainOptions{Policy: policy, DryRun: true}); err != nil || out.Segments > 0 {
			t.Fatalf("%+v, %v", out, err)
		}
		if _, err := os.Stat(room); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("a dry run took room: %v", err)
		}
		if out, err := k.Retain(t.Context(), RetainOptions{Policy: policy}); err != nil || out.Segments > 0 {
			t.Fatalf("%+v, %v", out, err)
		}
		info, err := os.Stat(room)
		if err != nil || info.Size() < 256<<10 {
			t.Fatalf("the room for retention: %v, %v", info, err)
		}
		if !kept {
			if err := os.Remove(room); err != nil {
				t.Fatal(err)
			}
		}
		clock.set(received().AddDate(1, 0, 0))
		small.most.Store(small.used() + 100)
		for range 3 {
			if _, err := l.Append(t.Context(), bulky("b", 5)); !errors.Is(err, ErrFull) {
				t.Fatalf("the disk should be full: %v", err)
			}
		}
		if kept {
			if _, err := k.Retain(t.Context(), RetainOptions{Policy: mustPolicy(t, "classes:\n- {name: a, search: x, keep: 1d}\n")}); !errors.Is(err, ErrRefused) {
				t.Fatal(err)
			}
			nothing := mustPolicy(t, "classes:\n- {name: a, search: id=a, keep: 4000d}\n")
			if out, err := k.Retain(t.Context(), RetainOptions{Policy: nothing}); err != nil || out.Segments > 0 {
				t.Fatalf("%+v, %v", out, err)
			}
			if again, err := os.Stat(room); err != nil || again.Size() != info.Size() {
				t.Fatalf("a run that took nothing gave the room away: %v", err)
			}
		}
		before, rewrites := small.used(), rewritten
		out, err := k.Retain(t.Context(), RetainOptions{Policy: policy})
		if !kept {
			// What tells of it came first, and found room where the log's own reserve was; a
			// segment did not.
			if pruned, _ := lately(t, cfg, 3003); err == nil || out.Classes[0].Events > 0 || pruned > 0 {
				t.Errorf("without room: %+v, %d went, %v", out, pruned, err)
			}
			mustClose(t, l)
			continue
		}
		if err != nil || out.Classes[0].Events != 3000 || out.Segments != 2 || rewritten != rewrites+2 {
			t.Fatalf("%+v, %v, after %d rewrites", out, err, rewritten-rewrites)
		}
		if small.used() >= before {
			t.Errorf("%d bytes before, %d after", before, small.used())
		}
		if _, err := os.Stat(room); err != nil {
			t.Errorf("the room for the next time: %v", err)
		}
		clock.set(received().AddDate(1, 0, 1))
		mustAppend(t, l, entries("c", 1))
		if s := l.Stats(); s.Full || s.Refused != 15 {
			t.Errorf("%+v", s)
		}
		pruned, now := lately(t, cfg, 3003)
		if diff := cmp.Diff([]string{"disk-full", "prune", "prune", "disk-free", "get"}, now); diff != "" || pruned != 3000 {
			t.Errorf("%d went, %s", pruned, diff)
		}
		checkRoots(t, cfg)
		mustClose(t, l)
	}
}

// lately counts the events that went, and gives the verbs of those from a number on.
func lately(t *testing.T, cfg Config, from uint64) (pruned int, verbs []string) {
	t.Helper()
	v, err := OpenView(cfg.Dir, ViewOptions{Keys: cfg.Keys, Pruned: func(uint64, [32]byte) error { pruned++; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	err = v.Events(t.Context(), 1, func(e *audit.Event) error {
		if e.Seq >= from {
			verbs = append(verbs, e.Verb)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pruned, verbs
}
