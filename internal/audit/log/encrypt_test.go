package log

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/disk"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// nonces remembers what was written under each nonce of each salt, by all processes.
type nonces struct {
	disk.System

	mu     sync.Mutex
	under  map[string][]byte
	salts  map[string]bool
	frames int
	twice  []string
	fail   error
	half   bool
}

func (d *nonces) Create(path string) (disk.File, error) {
	f, err := d.System.Create(path)
	return &nonceFile{File: f, disk: d}, err
}

func (d *nonces) Reopen(path string) (disk.File, error) {
	f, err := d.System.Reopen(path)
	return &nonceFile{File: f, disk: d, salt: "written on"}, err
}

type nonceFile struct {
	disk.File
	disk *nonces
	salt string
}

func (f *nonceFile) Write(b []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.salt == "" {
		f.salt = string(b[offLock:offLockCRC])
		if f.disk.salts[f.salt] {
			f.disk.twice = append(f.disk.twice, "a salt")
		}
		f.disk.salts[f.salt] = true
		return f.File.Write(b)
	}
	at := fmt.Sprintf("%x/%d", f.salt, binary.LittleEndian.Uint64(b[8:]))
	if old, ok := f.disk.under[at]; ok && !bytes.Equal(old, b) {
		f.disk.twice = append(f.disk.twice, at)
	}
	f.disk.under[at] = bytes.Clone(b)
	f.disk.frames++
	if f.disk.fail != nil {
		n := 0
		if f.disk.half {
			n, _ = f.File.Write(b[:len(b)/2])
		}
		return n, f.disk.fail
	}
	return f.File.Write(b)
}

// TestNonces: no nonce is used for two plaintexts under one salt, over crashes that leave
// any part of a frame, failing disks, and folders that were put back.
func TestNonces(t *testing.T) {
	t.Parallel()
	disk := &nonces{under: map[string][]byte{}, salts: map[string]bool{}}
	for _, cut := range []int{0, 1, frameHead, 60, 200, 1 << 20} {
		cfg := testConfig(t)
		cfg.Keys, cfg.disk = someKeys(), disk
		cfg.Ledger.(*fakeLedger).fail = errors.New("not now")
		l := mustOpen(t, cfg)
		mustAppend(t, l, entries("a", 2))
		backup := filepath.Join(t.TempDir(), "log")
		if err := os.CopyFS(backup, os.DirFS(cfg.Dir)); err != nil {
			t.Fatal(err)
		}
		before, err := os.Stat(filepath.Join(cfg.Dir, activeName(1)))
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, entries(fmt.Sprint("lost", cut), 2))
		mustClose(t, l)
		path := filepath.Join(cfg.Dir, activeName(1))
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, min(info.Size(), before.Size()+int64(cut))); err != nil {
			t.Fatal(err)
		}
		for round := range 3 {
			// What comes now has the numbers of what was lost.
			l := mustOpen(t, cfg)
			mustAppend(t, l, entries(fmt.Sprint("b", cut, round), 2))
			mustClose(t, l)
			old := cfg
			old.Dir = filepath.Join(t.TempDir(), "log")
			if err := os.CopyFS(old.Dir, os.DirFS(backup)); err != nil {
				t.Fatal(err)
			}
			l = mustOpen(t, old)
			mustAppend(t, l, entries(fmt.Sprint("c", cut, round), 2))
			disk.mu.Lock()
			disk.fail, disk.half = errors.New("no"), round%2 == 0
			disk.mu.Unlock()
			if _, err := l.Append(t.Context(), entries("refused", 1)); err == nil {
				t.Fatal("a failed write was acknowledged")
			}
			disk.mu.Lock()
			disk.fail = nil
			disk.mu.Unlock()
			mustAppend(t, l, entries("again", 1))
			mustClose(t, l)
		}
	}
	if len(disk.twice) > 0 {
		t.Errorf("used twice: %v", disk.twice)
	}
	if disk.frames < 60 || len(disk.salts) < 40 {
		t.Errorf("only %d frames, %d files", disk.frames, len(disk.salts))
	}
	// The cipher itself refuses, should somebody come to write a number again.
	h := head{first: 5}
	c, err := h.encrypt(someKeys(), strings.NewReader(strings.Repeat("salt", 8)))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		first uint64
		count int
		ok    bool
	}{{4, 1, false}, {5, 0, false}, {5, 3, true}, {5, 1, false}, {7, 9, false}, {8, 1, true}, {8, 1, false}} {
		if _, err := c.endFrame(beginFrame(nil), 0, step.first, step.count, &hash{}); step.ok != (err == nil) {
			t.Errorf("frame %d of %d events: %v", step.first, step.count, err)
		}
	}
}

// TestNothingPlain: an encrypted log has nothing of an event in any file, sealed or not.
func TestNothingPlain(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Keys = someKeys()
	l := mustOpen(t, cfg)
	a := entries("findme", 5)
	a[1].Openings = []audit.Opening{{Path: "requestObject.data", Value: []byte(`"hidden"`)}}
	mustAppend(t, l, a)
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, entries("andme", 5))
	texts := []string{"findme", "andme", "alice", "webhook", "hidden", "requestObject", "PAR1"}
	if found := anyPlain(t, cfg.Dir, texts...); len(found) > 0 {
		t.Errorf("found %v", found)
	}
	cfg = testConfig(t)
	cfg.Keys = vault.Keys{}
	l = mustOpen(t, cfg)
	mustAppend(t, l, entries("findme", 1))
	if found := anyPlain(t, cfg.Dir, texts...); len(found) == 0 {
		t.Error("it finds nothing in a plain log either")
	}
}

// growLog appends to a log with keys, seals if it is told to, and closes it.
func growLog(t *testing.T, cfg Config, keys vault.Keys, name string, isSealed bool) []string {
	t.Helper()
	cfg.Keys = keys
	l := mustOpen(t, cfg)
	batch := entries(name, 3)
	mustAppend(t, l, batch)
	if isSealed {
		if err := l.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
	return names(batch)
}

func readWith(t *testing.T, dir string, keys vault.Keys) ([]string, error) {
	t.Helper()
	v, err := OpenView(dir, ViewOptions{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	err = v.Events(t.Context(), 1, func(e *audit.Event) error { got = append(got, e.AuditID); return nil })
	return got, err
}

// uses counts files by the key that they need.
func uses(t *testing.T, dir string) map[string]int {
	t.Helper()
	files, err := StoredFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range files {
		kind, key := "active ", "plain"
		if f.Sealed {
			kind = "sealed "
		}
		if f.Encrypted {
			key = map[vault.ID]string{oldKey().ID(): "old", newerKey().ID(): "new"}[f.Key]
		}
		got[kind+key]++
	}
	return got
}

// TestMixed: a plain log gets a key, and then another one; all of it can be read with
// both keys, and nothing is done in silence without one that is needed.
func TestMixed(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Keys = vault.Keys{}
	both, justOld, justNew := keysOf(newerKey(), oldKey()), someKeys(), keysOf(newerKey())
	want := growLog(t, cfg, vault.Keys{}, "plain", true)
	want = append(want, growLog(t, cfg, vault.Keys{}, "plain-active", false)...)
	want = append(want, growLog(t, cfg, justOld, "old", true)...)
	want = append(want, growLog(t, cfg, both, "new", true)...)
	cfg.Ledger.(*fakeLedger).fail = errors.New("not now")
	want = append(want, growLog(t, cfg, both, "new-active", false)...)
	// What was plain and not sealed when the key came was sealed with it.
	if diff := cmp.Diff(map[string]int{"sealed plain": 1, "sealed old": 2, "sealed new": 1, "active new": 1}, uses(t, cfg.Dir)); diff != "" {
		t.Error(diff)
	}
	got, err := readWith(t, cfg.Dir, both)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	for name, wrong := range map[string]vault.Keys{"none": {}, "old": justOld, "new": justNew} {
		var missing *vault.MissingKeyError
		if _, err := readWith(t, cfg.Dir, wrong); !errors.As(err, &missing) {
			t.Errorf("%s: read: %v", name, err)
		}
		v, err := OpenView(cfg.Dir, ViewOptions{Keys: wrong})
		if err != nil {
			t.Fatal(err)
		}
		if last, err := v.Last(); name != "new" && !errors.Is(err, vault.ErrNoKey) {
			t.Errorf("%s: last: %d, %v", name, last, err)
		}
		before := listAll(t, cfg.Dir)
		shut := cfg
		shut.Keys, shut.Quarantine = wrong, true
		if l, err := Open(t.Context(), shut); !errors.Is(err, vault.ErrNoKey) {
			t.Errorf("%s: open: %v, %v", name, l, err)
		}
		if diff := cmp.Diff(before, listAll(t, cfg.Dir)); diff != "" {
			t.Errorf("%s: what could not be decrypted was touched: %s", name, diff)
		}
	}
	err = MissingKeys(cfg.Dir, vault.Keys{})
	if err == nil || !strings.Contains(err.Error(), oldKey().ID().String()) || !strings.Contains(err.Error(), newerKey().ID().String()) {
		t.Errorf("it should name both keys: %v", err)
	}
}

func listAll(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			info, err := entry.Info()
			if err != nil {
				return err
			}
			all = append(all, fmt.Sprint(path, info.Size(), info.ModTime()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestRotate: a rotation that ends before any of its steps leaves a log that can be read
// whole, and the next one ends it.
func TestRotate(t *testing.T) {
	t.Parallel()
	both := keysOf(newerKey(), oldKey())
	for _, step := range []string{"write", "compare", "rename", ""} {
		for at := range 3 {
			cfg := testConfig(t)
			var want []string
			for _, keys := range []vault.Keys{{}, someKeys(), both} {
				want = append(want, growLog(t, cfg, keys, fmt.Sprint(keys.IDs()), true)...)
			}
			n := 0
			rotation := RotateConfig{Dir: cfg.Dir, Keys: both, Random: cfg.Random, step: func(name string) error {
				if name == step {
					if n++; n == at+1 {
						return errCrash
					}
				}
				return nil
			}}
			_, err := Rotate(t.Context(), rotation)
			if crashed := step != "" && at < 2; crashed != errors.Is(err, errCrash) || !crashed && err != nil {
				t.Fatalf("step %q %d: %v", step, at, err)
			}
			if got, err := readWith(t, cfg.Dir, both); !slices.Equal(got, want) || err != nil {
				t.Fatalf("step %q %d: %v, %v", step, at, got, err)
			}
			rotation.step = nil
			done, err := Rotate(t.Context(), rotation)
			if err != nil || done.Encrypted+done.Already != 3 || done.Waiting != 0 {
				t.Fatalf("step %q %d: %+v, %v", step, at, done, err)
			}
			if got, err := readWith(t, cfg.Dir, keysOf(newerKey())); !slices.Equal(got, want) || err != nil {
				t.Fatalf("step %q %d: with the new key alone: %v, %v", step, at, got, err)
			}
			if found := anyPlain(t, filepath.Join(cfg.Dir, sealedName), "PAR1", "alice"); len(found) > 0 {
				t.Errorf("plain: %v", found)
			}
			cfg.Keys = keysOf(newerKey())
			l := mustOpen(t, cfg)
			mustClose(t, l)
			if left, err := filepath.Glob(filepath.Join(cfg.Dir, "*", "*"+temporarySuffix)); err != nil || len(left) > 0 {
				t.Errorf("left over: %v, %v", left, err)
			}
		}
	}
}

func TestRotateRefuses(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	growLog(t, cfg, someKeys(), "a", true)
	cfg.Keys = someKeys()
	rotation := RotateConfig{Dir: cfg.Dir, Keys: keysOf(newerKey(), oldKey()), Random: cfg.Random}
	l := mustOpen(t, cfg)
	if _, err := Rotate(t.Context(), rotation); !errors.Is(err, ErrLocked) {
		t.Errorf("while it is written: %v", err)
	}
	mustClose(t, l)
	for name, change := range map[string]func(c *RotateConfig){
		"no key":            func(c *RotateConfig) { c.Keys = vault.Keys{} },
		"not the old key":   func(c *RotateConfig) { c.Keys = keysOf(newerKey()) },
		"no log":            func(c *RotateConfig) { c.Dir = t.TempDir() },
		"no randomness":     func(c *RotateConfig) { c.Random = nil },
		"little randomness": func(c *RotateConfig) { c.Random = strings.NewReader("x") },
	} {
		bad := rotation
		change(&bad)
		if _, err := Rotate(t.Context(), bad); err == nil {
			t.Errorf("%s: done", name)
		}
		if left := listAll(t, t.TempDir()); len(left) > 0 {
			t.Errorf("%s: made %v", name, left)
		}
	}
	// A damaged file is not made a sound one.
	segments, err := listSpans(filepath.Join(cfg.Dir, sealedName), sealedSuffix)
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	content, err := os.ReadFile(segments[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(segments[0].Path, content, fileMode); err != nil {
		t.Fatal(err)
	}
	if _, err := Rotate(t.Context(), rotation); !errors.Is(err, vault.ErrDamaged) {
		t.Errorf("a damaged file: %v", err)
	}
	if after, err := os.ReadFile(segments[0].Path); err != nil || !bytes.Equal(after, content) {
		t.Errorf("it was changed: %v", err)
	}
}
