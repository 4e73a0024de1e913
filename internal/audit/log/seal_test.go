package log

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/proof"
)

var errCrash = errors.New("the process ends here")

// TestSealInterrupted: a seal that ends before any of its steps is finished by the next
// Open, with one record in the ledger for the same events.
func TestSealInterrupted(t *testing.T) {
	t.Parallel()
	ran := 0
	for _, name := range []string{"write", "compare", "openings", "ledger", "summary", "rename", "remove"} {
		for _, more := range []bool{false, true} {
			cfg := testConfig(t)
			reached := make(chan struct{}, 16)
			crash := cfg
			crash.step = func(step string) error {
				if step == name {
					reached <- struct{}{}
					return errCrash
				}
				return nil
			}
			l := mustOpen(t, crash)
			a := entries("a", 5)
			a[2].Openings = []audit.Opening{{Path: "requestObject.data", Salt: [32]byte{1}, Value: []byte(`"secret"`)}}
			mustAppend(t, l, a)
			if err := l.Seal(t.Context()); !errors.Is(err, errCrash) {
				t.Fatalf("step %s: %v", name, err)
			}
			<-reached
			want := names(a)
			if more {
				b := entries("b", 2)
				mustAppend(t, l, b)
				want = append(want, names(b)...)
			}
			mustClose(t, l)
			if diff := cmp.Diff(want, read(t, cfg.Dir)); diff != "" {
				t.Errorf("after step %s: %s", name, diff)
			}
			l = mustOpen(t, cfg)
			c := entries("c", 1)
			mustAppend(t, l, c)
			want = append(want, names(c)...)
			if err := l.Seal(t.Context()); err != nil {
				t.Fatalf("step %s: %v", name, err)
			}
			if diff := cmp.Diff(want, read(t, cfg.Dir)); diff != "" {
				t.Errorf("after step %s and Open: %s", name, diff)
			}
			checkSealedWhole(t, cfg, len(want))
			v, err := l.View()
			if err != nil {
				t.Fatal(err)
			}
			got, err := v.Openings(cfg.Key, 3)
			if diff := cmp.Diff(a[2].Openings, got); diff != "" || err != nil {
				t.Errorf("step %s: openings: %s, %v", name, diff, err)
			}
			ran++
		}
	}
	if ran != 14 {
		t.Errorf("%d interruptions", ran)
	}
}

// checkSealedWhole: the segments are those of the ledger's records, which lead from
// event 1 to n, and there is nothing else.
func checkSealedWhole(t *testing.T, cfg Config, n int) {
	t.Helper()
	next, chain := uint64(1), hash{}
	v, err := OpenView(cfg.Dir, ViewOptions{Keys: modeKeys()})
	if err != nil {
		t.Fatal(err)
	}
	segments, err := v.Segments()
	if err != nil {
		t.Fatal(err)
	}
	records := cfg.Ledger.(*fakeLedger).records
	if len(segments) != len(records) {
		t.Fatalf("%d segments and %d records", len(segments), len(records))
	}
	for i, r := range records {
		if r.First != next || segments[i].First != r.First || segments[i].Last != r.Last {
			t.Errorf("record %d is of %d to %d, its segment of %d to %d", i, r.First, r.Last, segments[i].First, segments[i].Last)
		}
		var tree proof.Tree
		err := v.Events(t.Context(), r.First, func(e *audit.Event) error {
			if e.Seq > r.Last {
				return errFound // the rest is of other records
			}
			leaf := proof.LeafHash(audit.AppendCanonical(nil, e))
			chain = link(&chain, &leaf)
			tree.Append(leaf)
			return nil
		})
		if err != nil && !errors.Is(err, errFound) {
			t.Fatal(err)
		}
		if tree.Root() != r.Root || chain != r.Chain {
			t.Errorf("record %d has another root or chain than its events", i)
		}
		next = r.Last + 1
	}
	if next != uint64(n)+1 {
		t.Errorf("sealed up to %d, want %d", next-1, n)
	}
	left, err := filepath.Glob(filepath.Join(cfg.Dir, "*", "*"+temporarySuffix))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	if left, err := listActive(cfg.Dir); err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// TestSealByLimits: events, bytes and age each end a file.
func TestSealByLimits(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*Config){
		"events": func(c *Config) { c.SealEvents = 10 },
		"bytes":  func(c *Config) { c.SealBytes = 3000 },
		"age":    func(c *Config) { c.SealAge = 20 * time.Millisecond },
	}
	for name, limit := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			limit(&cfg)
			l := mustOpen(t, cfg)
			for range 30 {
				mustAppend(t, l, entries("a", 3))
			}
			if name == "age" {
				for l.Stats().Sealed == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			if err := l.Seal(t.Context()); err != nil {
				t.Fatal(err)
			}
			checkSealedWhole(t, cfg, 90)
			records := cfg.Ledger.(*fakeLedger).records
			if name != "age" && len(records) < 4 {
				t.Errorf("only %d segments", len(records))
			}
			for _, r := range records {
				if name == "events" && r.Events > 10 {
					t.Errorf("a segment of %d events", r.Events)
				}
			}
		})
	}
}

// TestLedgerRefuses: a ledger that cannot take a record holds up no append, and what
// waits is sealed when it can.
func TestLedgerRefuses(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.SealEvents = 2
	told := new(troubles)
	cfg.OnTrouble = told.tell
	ledger := cfg.Ledger.(*fakeLedger)
	ledger.fail = errors.New("not now")
	l := mustOpen(t, cfg)
	for range 5 {
		mustAppend(t, l, entries("a", 2))
	}
	if err := l.Seal(t.Context()); err == nil {
		t.Error("sealed without a ledger")
	}
	if got := l.Stats(); got.Waiting != 5 || got.Sealed != 0 || len(told.all()) == 0 || told.all()[0] != TroubleSeal {
		t.Errorf("%+v, %v", got, told.all())
	}
	ledger.mu.Lock()
	ledger.fail = nil
	ledger.mu.Unlock()
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkSealedWhole(t, cfg, 10)
}

// TestLedgerOfAnother: a log does not go on beside a ledger that is not its own, or was
// put back.
func TestLedgerOfAnother(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	mustAppend(t, l, entries("a", 3))
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, entries("b", 3))
	mustClose(t, l)
	put := cfg
	put.Ledger = newFakeLedger(t, "")
	if _, err := Open(t.Context(), put); err == nil {
		t.Error("opened with a ledger that was emptied")
	}
	other := newFakeLedger(t, "")
	other.records = append(other.records, cfg.Ledger.(*fakeLedger).records...)
	other.records[0].Chain[0] ^= 1
	put.Ledger = other
	var damage *DamageError
	if _, err := Open(t.Context(), put); !errors.As(err, &damage) {
		t.Errorf("opened with a ledger of other events: %v", err)
	}
	// The segment is gone: that is told, and the log goes on.
	told := new(troubles)
	cfg.OnTrouble = told.tell
	if err := os.Remove(filepath.Join(cfg.Dir, sealedName, spanName(1, 3, sealedSuffix))); err != nil {
		t.Fatal(err)
	}
	l = mustOpen(t, cfg)
	if first := mustAppend(t, l, entries("c", 1)); first != 7 {
		t.Errorf("first is %d, want 7", first)
	}
	if diff := cmp.Diff([]string{TroubleMissing}, told.all()); diff != "" {
		t.Error(diff)
	}
}

func TestOpeningsAndShred(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	value := []byte(`"hunter2 hunter2 hunter2"`)
	opening := func(i int) []audit.Opening {
		return []audit.Opening{{Path: "requestObject.data.a", Salt: [32]byte{byte(i)}, Value: value}, {Path: "requestObject.data.b", Salt: [32]byte{9}}}
	}
	batch := entries("a", 4)
	for i := range batch {
		batch[i].Openings = opening(i + 1)
	}
	mustAppend(t, l, batch)
	v, err := l.View()
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, want ...int) {
		t.Helper()
		for seq := 1; seq <= 4; seq++ {
			got, err := v.Openings(cfg.Key, uint64(seq))
			if err != nil {
				t.Errorf("%s: event %d: %v", when, seq, err)
			}
			var expected []audit.Opening
			for _, w := range want {
				if w == seq {
					expected = opening(seq)
				}
			}
			if diff := cmp.Diff(expected, got); diff != "" {
				t.Errorf("%s: event %d: %s", when, seq, diff)
			}
		}
	}
	check("in the write-ahead file", 1, 2, 3, 4)
	if _, err := l.Shred(t.Context(), 1, 2); !errors.Is(err, ErrNotSealed) {
		t.Errorf("shred before the seal: %v", err)
	}
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("sealed", 1, 2, 3, 4)
	if n, err := l.Shred(t.Context(), 2, 3); n != 2 || err != nil {
		t.Errorf("shred: %d, %v", n, err)
	}
	check("shredded in part", 1, 4)
	if n, err := l.Shred(t.Context(), 1, 4); n == 0 || err != nil {
		t.Errorf("shred: %d, %v", n, err)
	}
	check("shredded")
	if n, err := l.Shred(t.Context(), 1, 4); n != 0 || err != nil {
		t.Errorf("shred again: %d, %v", n, err)
	}
	if _, err := l.Shred(t.Context(), 0, 4); err == nil {
		t.Error("shredded from event 0")
	}
	want := append(names(batch), "system:shredded", "system:shredded")
	if diff := cmp.Diff(want, read(t, cfg.Dir)); diff != "" {
		t.Error(diff)
	}
}

// TestOpeningsAreHidden: no value, path or salt of an opening lies on the disk in the
// clear, and each file of openings is bound to what it says it is.
func TestOpeningsAreHidden(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	batch := entries("a", 1)
	batch[0].Openings = []audit.Opening{{Path: "a-secret-path", Value: []byte(`"a-secret-value"`)}}
	mustAppend(t, l, batch)
	searchFiles(t, cfg.Dir, "a-secret")
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	searchFiles(t, cfg.Dir, "a-secret")
	path := filepath.Join(cfg.Dir, openingsName, spanName(1, 1, openingsSuffix))
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	by, err := master(cfg.Key)
	if err != nil {
		t.Fatal(err)
	}
	none := func(opened) error { return nil }
	for at := range content {
		content[at] ^= 1
		if err := os.WriteFile(path, content, fileMode); err != nil {
			t.Fatal(err)
		}
		if err := readOpenings(path, by, none); err == nil {
			t.Errorf("byte %d changed, and nobody noticed", at)
		}
		content[at] ^= 1
		if err := os.WriteFile(path, content[:at], fileMode); err != nil {
			t.Fatal(err)
		}
		if err := readOpenings(path, by, none); err == nil {
			t.Errorf("cut at byte %d, and nobody noticed", at)
		}
	}
}

func searchFiles(t *testing.T, dir, text string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		if contains(content, text) {
			t.Errorf("%s has %q", path, text)
		}
		return nil
	})
	if err != nil || seen < 2 {
		t.Errorf("searched %d files: %v", seen, err)
	}
}

// TestKeyChanged: openings under a key that is not known any more are lost, and told
// of; the events are not.
func TestKeyChanged(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	batch := entries("a", 1)
	batch[0].Openings = []audit.Opening{{Path: "p"}}
	mustAppend(t, l, batch)
	mustClose(t, l)
	cfg.Key = otherKey()
	told := new(troubles)
	cfg.OnTrouble = told.tell
	l = mustOpen(t, cfg)
	mustAppend(t, l, entries("b", 1))
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkSealedWhole(t, cfg, 2)
	if diff := cmp.Diff([]string{TroubleKey}, told.all()); diff != "" {
		t.Error(diff)
	}
}

func FuzzOpenings(f *testing.F) {
	f.Add(appendOpenings(nil, []audit.Opening{{Path: "a", Value: []byte("1")}, {Path: "b"}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		openings, err := parseOpenings(data)
		if err != nil {
			return
		}
		again, err := parseOpenings(appendOpenings(nil, openings))
		if diff := cmp.Diff(openings, again); diff != "" || err != nil {
			t.Error(diff, err)
		}
	})
}
