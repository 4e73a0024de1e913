package log

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// smallFile makes a log with a few small frames in one write-ahead file, some with
// openings, and gives the file and where each frame ends.
func smallFile(tb testing.TB) (cfg Config, path string, content []byte, ends []int) {
	tb.Helper()
	cfg = testConfig(tb)
	l := mustOpen(tb, cfg)
	path = filepath.Join(cfg.Dir, activeName(1))
	for i, n := range []int{1, 3, 2} {
		batch := make([]audit.Entry, n)
		for j := range batch {
			batch[j].Event = &audit.Event{Kind: audit.KindAPI, Received: received(), AuditID: fmt.Sprintf("%d.%d", i, j)}
		}
		if i == 1 {
			batch[0].Openings = []audit.Opening{{Path: "p", Value: []byte(`1`)}}
		}
		mustAppend(tb, l, batch)
		info, err := os.Stat(path)
		if err != nil {
			tb.Fatal(err)
		}
		ends = append(ends, int(info.Size()))
	}
	mustClose(tb, l)
	content, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return cfg, path, content, ends
}

// TestTruncatedAnywhere: a file that ends at any byte gives exactly the frames that are
// whole, and the log goes on after them.
func TestTruncatedAnywhere(t *testing.T) {
	t.Parallel()
	cfg, path, content, ends := smallFile(t)
	all := []string{"0.0", "1.0", "1.1", "1.2", "2.0", "2.1"}
	counts := []int{1, 4, 6}
	cfg.step = func(string) error { return errors.New("not now") } // an encrypted file would be sealed, not written on
	for size := range len(content) + 1 {
		if err := os.WriteFile(path, content[:size], fileMode); err != nil {
			t.Fatal(err)
		}
		if size < modeHead() {
			// A file has its name only when its head is on the disk, so no crash does this.
			var damage *DamageError
			if l, err := Open(t.Context(), cfg); !errors.As(err, &damage) {
				t.Fatalf("%d bytes: %v, %v", size, l, err)
			}
			continue
		}
		want, clean := 0, size == modeHead()
		for i, end := range ends {
			if size >= end {
				want = counts[i]
			}
			clean = clean || size == end
		}
		if got := read(t, cfg.Dir); !slices.Equal(got, all[:want]) {
			t.Fatalf("%d bytes: a view shows %v, want %v", size, got, all[:want])
		}
		l, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		mustAppend(t, l, entries("new", 1))
		mustClose(t, l)
		expected := slices.Clone(all[:want])
		if !clean {
			expected = append(expected, "system:recovered")
		}
		expected = append(expected, "new-0")
		if got := read(t, cfg.Dir); !slices.Equal(got, expected) {
			t.Fatalf("%d bytes: then %v, want %v", size, got, expected)
		}
		files, err := filepath.Glob(filepath.Join(cfg.Dir, activePrefix+"*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestLostSectors: what a crash of the machine leaves of the last frame, whole sectors
// of zeros, is cut off; the same in the middle is damage.
func TestLostSectors(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	path := filepath.Join(cfg.Dir, activeName(1))
	mustAppend(t, l, entries("a", 1))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	last := info.Size()
	mustAppend(t, l, entries("b", 12))
	mustClose(t, l)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for from := last / sector * sector; from < int64(len(content)); from += sector {
		lost := slices.Clone(content)
		clear(lost[max(from, last):min(from+sector, int64(len(lost)))])
		if err := os.WriteFile(path, lost, fileMode); err != nil {
			t.Fatal(err)
		}
		s, err := scan(active{first: 1, path: path}, 0, modeKeys())
		if err != nil || !s.torn || s.last != 1 {
			t.Errorf("sector at %d lost: torn %v, last %d, %v, %v", from, s.torn, s.last, s.damage, err)
		}
		ran++
	}
	if ran < 5 {
		t.Errorf("only %d sectors", ran)
	}
	grown := append(slices.Clone(content), make([]byte, 5000)...)
	if err := os.WriteFile(path, grown, fileMode); err != nil {
		t.Fatal(err)
	}
	if s, err := scan(active{first: 1, path: path}, 0, modeKeys()); err != nil || !s.torn || s.last != 13 {
		t.Errorf("zeros after the end: torn %v, last %d, %v, %v", s.torn, s.last, s.damage, err)
	}
	clear(content[modeHead():last])
	if err := os.WriteFile(path, content, fileMode); err != nil {
		t.Fatal(err)
	}
	if s, err := scan(active{first: 1, path: path}, 0, modeKeys()); err != nil || s.torn || s.damage == nil {
		t.Errorf("the first frame lost: torn %v, %v, %v", s.torn, s.damage, err)
	}
}

// TestFlippedAnywhere: a bit that changed at any place keeps the log shut, with an error
// that names the file, the place and the event. The last frame is no exception.
func TestFlippedAnywhere(t *testing.T) {
	t.Parallel()
	cfg, path, content, ends := smallFile(t)
	firsts := []uint64{1, 2, 5}
	file, err := os.OpenFile(path, os.O_WRONLY, fileMode)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // what matters is read again
	flip := func(at int, with byte) {
		t.Helper()
		if _, err := file.WriteAt([]byte{content[at] ^ with}, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	for at := range content {
		for bit := range 8 {
			flip(at, 1<<bit)
			var damage *DamageError
			s, err := scan(active{first: 1, path: path}, 0, modeKeys())
			if err == nil && s.damage != nil {
				err = s.damage
			}
			if bit == at%8 { // Open takes its time
				_, err = Open(t.Context(), cfg)
			}
			if !errors.As(err, &damage) {
				t.Fatalf("byte %d, bit %d: %v", at, bit, err)
			}
			start, seq := modeHead(), uint64(1)
			for i, end := range ends {
				if at >= end {
					start, seq = end, firsts[i+1]
				}
			}
			if at >= modeHead() && (damage.Offset != int64(start) || damage.Seq != seq || damage.Path != path) {
				t.Fatalf("byte %d, bit %d: %v, want byte %d and event %d", at, bit, err, start, seq)
			}
		}
		flip(at, 0)
	}
	if now, err := os.ReadFile(path); err != nil || !slices.Equal(now, content) {
		t.Fatalf("the file was changed by reading it: %v", err)
	}
	if isEncryptedMode() {
		return
	}
	// A record that is wrong is named itself.
	flipped := slices.Clone(content)
	flipped[ends[1]-frameTail-5] ^= 1
	if err := os.WriteFile(path, flipped, fileMode); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "the record of event 4") {
		t.Errorf("the last record of the second frame: %v", err)
	}
}

// TestCutOutAnywhere: bytes that are missing before the last frame are never taken for a
// write that was not finished.
func TestCutOutAnywhere(t *testing.T) {
	t.Parallel()
	cfg, path, content, ends := smallFile(t)
	last := ends[len(ends)-2]
	ran := 0
	for from := range last {
		for _, n := range []int{1, 7, 100, last} {
			if from+n > last {
				continue
			}
			ran++
			if err := os.WriteFile(path, slices.Delete(slices.Clone(content), from, from+n), fileMode); err != nil {
				t.Fatal(err)
			}
			var damage *DamageError
			if l, err := Open(t.Context(), cfg); !errors.As(err, &damage) {
				t.Fatalf("%d bytes at %d cut out: %v, %v", n, from, l, err)
			}
		}
	}
	if ran < 1000 {
		t.Errorf("only %d cuts", ran)
	}
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	cfg, path, content, ends := smallFile(t)
	content[ends[0]+30] ^= 1
	if err := os.WriteFile(path, content, fileMode); err != nil {
		t.Fatal(err)
	}
	cfg.Quarantine = true
	l := mustOpen(t, cfg)
	if first := mustAppend(t, l, entries("new", 1)); first != 3 {
		t.Errorf("first is %d, want 3", first)
	}
	if diff := cmp.Diff([]string{"0.0", "system:quarantined", "new-0"}, read(t, cfg.Dir)); diff != "" {
		t.Error(diff)
	}
	aside, err := filepath.Glob(filepath.Join(cfg.Dir, quarantineName, "*", "*"))
	if err != nil || len(aside) != 1 {
		t.Fatalf("set aside: %v, %v", aside, err)
	}
	kept, err := os.ReadFile(aside[0])
	if err != nil || !slices.Equal(kept, content) {
		t.Errorf("what was set aside is not the damaged file: %v", err)
	}
}

// TestQuarantineHead: a file that cannot be read at all is set aside whole, with the
// files after it.
func TestQuarantineHead(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	ledger := cfg.Ledger.(*fakeLedger)
	ledger.fail = errors.New("not now")
	cfg.SealEvents = 2
	l := mustOpen(t, cfg)
	for _, name := range []string{"a", "b", "c"} {
		mustAppend(t, l, entries(name, 2))
	}
	mustClose(t, l)
	files, err := listActive(cfg.Dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	if err := os.WriteFile(files[1].path, []byte("nothing"), fileMode); err != nil {
		t.Fatal(err)
	}
	var damage *DamageError
	if _, err := Open(t.Context(), cfg); !errors.As(err, &damage) || damage.Seq != 3 {
		t.Fatalf("want damage at event 3: %v", err)
	}
	cfg.Quarantine = true
	l = mustOpen(t, cfg)
	mustAppend(t, l, entries("d", 1))
	ledger.mu.Lock()
	ledger.fail = nil
	ledger.mu.Unlock()
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a-0", "a-1", "system:quarantined", "d-0"}, read(t, cfg.Dir)); diff != "" {
		t.Error(diff)
	}
}

// TestQuarantineSealed: a file that is damaged after the ledger had its record keeps the
// log shut too; set aside, its events are missing, and the numbers go on after them.
func TestQuarantineSealed(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	crash := cfg
	crash.step = func(name string) error {
		if name == "rename" {
			return errCrash
		}
		return nil
	}
	l := mustOpen(t, crash)
	mustAppend(t, l, entries("a", 3))
	if err := l.Seal(t.Context()); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	mustClose(t, l)
	path := filepath.Join(cfg.Dir, activeName(1))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[modeHead()+100] ^= 1
	if err := os.WriteFile(path, content, fileMode); err != nil {
		t.Fatal(err)
	}
	var damage *DamageError
	if _, err := Open(t.Context(), cfg); !errors.As(err, &damage) {
		t.Fatalf("opened: %v", err)
	}
	cfg.Quarantine = true
	l = mustOpen(t, cfg)
	if first := mustAppend(t, l, entries("b", 1)); first != 5 {
		t.Errorf("first is %d, want 5", first)
	}
	v, err := OpenView(cfg.Dir, ViewOptions{Keys: modeKeys()})
	if err != nil {
		t.Fatal(err)
	}
	var verbs []string
	if err := v.Events(t.Context(), 4, func(e *audit.Event) error { verbs = append(verbs, e.Verb); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"quarantined", "get"}, verbs); diff != "" {
		t.Error(diff)
	}
	var gap *GapError
	if err := v.Events(t.Context(), 1, func(*audit.Event) error { return nil }); !errors.As(err, &gap) || *gap != (GapError{From: 1, To: 3}) {
		t.Errorf("view: %v", err)
	}
}

// TestMissingFile: events that are gone are named, not passed over.
func TestMissingFile(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Ledger.(*fakeLedger).fail = errors.New("not now")
	cfg.SealEvents = 2
	l := mustOpen(t, cfg)
	for _, name := range []string{"a", "b", "c"} {
		mustAppend(t, l, entries(name, 2))
	}
	mustClose(t, l)
	if err := os.Remove(filepath.Join(cfg.Dir, activeName(3))); err != nil {
		t.Fatal(err)
	}
	var damage *DamageError
	if _, err := Open(t.Context(), cfg); !errors.As(err, &damage) || damage.Seq != 3 {
		t.Errorf("open: %v", err)
	}
	v, err := OpenView(cfg.Dir, ViewOptions{Keys: modeKeys()})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = v.Events(t.Context(), 1, func(*audit.Event) error { n++; return nil })
	var gap *GapError
	if !errors.As(err, &gap) || *gap != (GapError{From: 3, To: 4}) || n != 2 {
		t.Errorf("view: %d events, %v", n, err)
	}
}

// TestUnacknowledgedTail: what a failed sync left in a file does not come back when the
// next file has those numbers.
func TestUnacknowledgedTail(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Ledger.(*fakeLedger).fail = errors.New("not now")
	disk := newFaultyDisk()
	cfg.disk = disk
	l := mustOpen(t, cfg)
	mustAppend(t, l, entries("a", 1))
	path := filepath.Join(cfg.Dir, activeName(1))
	var whole []byte
	disk.set(func(d *faultyDisk) {
		d.failSync = once(errors.New("no"))
	})
	if _, err := l.Append(t.Context(), entries("lost", 3)); err == nil {
		t.Fatal("a failed sync was acknowledged")
	}
	mustAppend(t, l, entries("b", 1))
	mustClose(t, l)
	// As if the file could not be cut: put a frame after its end.
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	r, err := openReader(f, int64(len(whole)), path, 1, modeKeys())
	if err == nil {
		_, err = r.frame()
	}
	if err != nil {
		t.Fatal(err)
	}
	b, leaf := appendRecord(beginFrame(nil), entries("lost", 1)[0].Event)
	chain := link(&r.chain, &leaf)
	if b, err = r.cipher.endFrame(b, r.seed, 2, 1, &chain); err != nil {
		t.Fatal(err)
	}
	whole = append(whole, b...)
	if err := os.WriteFile(path, whole, fileMode); err != nil {
		t.Fatal(err)
	}
	want := []string{"a-0", "system:" + TroubleWrite, "b-0"}
	if diff := cmp.Diff(want, read(t, cfg.Dir)); diff != "" {
		t.Error(diff)
	}
	cfg.Ledger = newFakeLedger(t, "")
	l = mustOpen(t, cfg)
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, read(t, cfg.Dir)); diff != "" {
		t.Error(diff)
	}
}

// FuzzReader: whatever a write-ahead file holds, reading it ends, needs no more memory
// than the file has, and gives nothing that does not lead to the chain hash.
func FuzzReader(f *testing.F) {
	_, _, content, ends := smallFile(f)
	f.Add(content)
	f.Add(content[:ends[1]])
	f.Add(content[:ends[1]+40])
	f.Add(append(slices.Clone(content), make([]byte, 600)...))
	f.Add(content[modeHead()+frameHead : ends[0]-frameTail])
	f.Fuzz(func(t *testing.T, data []byte) {
		fuzzFile(t, data)
		// The same as the records of a frame whose checksums are right.
		h := head{first: 1, id: [idSize]byte{7}}
		file := h.encode()
		for count := range 3 {
			file = append(file, endFrame(append(beginFrame(nil), data...), h.seed(), 1, count, &hash{})...)
			fuzzFile(t, file)
		}
	})
}

func fuzzFile(t *testing.T, data []byte) {
	t.Helper()
	fuzzFileWith(t, data, modeKeys())
}

func fuzzFileWith(t *testing.T, data []byte, keys vault.Keys) {
	t.Helper()
	for _, skip := range []bool{false, true} {
		r, err := openReader(strings.NewReader(string(data)), int64(len(data)), "fuzz", 1, keys)
		if err != nil {
			return
		}
		for err == nil {
			before := r.offset
			if skip {
				err = r.skip()
			} else {
				_, err = r.frame()
			}
			if err == nil && r.offset <= before {
				t.Fatal("no progress")
			}
		}
		if r.offset > int64(len(data)) {
			t.Fatal("read past the end")
		}
	}
}
