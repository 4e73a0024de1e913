package log

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/policy"
	"bulwark.dev/bulwark/internal/audit/log/told"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/segment"
)

func mustPolicy(tb testing.TB, text string) *policy.Policy {
	tb.Helper()
	p, err := policy.Parse("policy.yaml", []byte("apiVersion: bulwark.dev/v1alpha1\nkind: RetentionPolicy\n"+text))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// testKeeper knows one kind of expression: id=PREFIX.
func testKeeper(tb testing.TB, l *Log) *Keeper {
	tb.Helper()
	compile := func(search string, now time.Time) (string, func(*audit.Event) bool, error) {
		prefix, ok := strings.CutPrefix(search, "id=")
		if !ok {
			return "", nil, errors.New("expected id=PREFIX")
		}
		if prefix == "now" { // one whose meaning goes with the clock
			search += now.String()
		}
		return search, func(e *audit.Event) bool { return e.AuditID != "" && strings.HasPrefix(e.AuditID, prefix) }, nil
	}
	k, err := NewKeeper(KeeperConfig{
		Log: l, Compile: compile,
		Record: func(_ context.Context, seq uint64) (proof.Record, error) {
			ledger := l.cfg.Ledger.(*fakeLedger)
			ledger.mu.Lock()
			defer ledger.mu.Unlock()
			for _, r := range ledger.records {
				if r.First <= seq && seq <= r.Last {
					return r, nil
				}
			}
			return proof.Record{}, fmt.Errorf("no record of event %d", seq)
		},
		Find: func(ctx context.Context, search string, fn func(*audit.Event) error) error {
			v, err := l.View()
			if err != nil {
				return err
			}
			_, match, err := compile(search, time.Time{})
			if err != nil {
				return err
			}
			return v.Events(ctx, 1, func(e *audit.Event) error {
				if match(e) {
					return fn(e)
				}
				return nil
			})
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// clock is what a log under test takes for the time.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// agedConfig is of a log whose clock shows days after the entries were received.
func agedConfig(tb testing.TB, days int) (Config, *clock) {
	tb.Helper()
	cfg := testConfig(tb)
	c := &clock{now: received().AddDate(0, 0, days)}
	cfg.Now = c.Now
	return cfg, c
}

// opened gives entries openings that say which event they are of.
func withOpenings(batch []audit.Entry) []audit.Entry {
	for i := range batch {
		batch[i].Event.Redactions = []audit.Redaction{{Path: "p", Commitment: "sha256:00"}}
		batch[i].Openings = []audit.Opening{{Path: "p", Value: []byte(strconv.Quote(batch[i].Event.AuditID))}}
	}
	return batch
}

// bulky makes events of which no two are alike.
func bulky(name string, n int) []audit.Entry {
	batch := entries(name, n)
	for i := range batch {
		batch[i].Event.UserAgent = rand.Text() + rand.Text() + rand.Text() + rand.Text()
	}
	return batch
}

func mustSeal(tb testing.TB, l *Log) {
	tb.Helper()
	if err := l.Seal(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

// content is what a log has: of each event its id, or its verb with a colon, or "-" where only the
// hash is left, and behind a plus whether there are openings.
func content(tb testing.TB, cfg Config) []string {
	tb.Helper()
	var all []string
	v, err := OpenView(cfg.Dir, ViewOptions{Keys: cfg.Keys, Pruned: func(uint64, [32]byte) error { all = append(all, "-"); return nil }})
	if err != nil {
		tb.Fatal(err)
	}
	err = v.Events(tb.Context(), 1, func(e *audit.Event) error {
		name := e.AuditID
		if e.Kind == audit.KindSystem {
			name = ":" + e.Verb
		}
		all = append(all, name)
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range all {
		openings, err := v.Openings(cfg.Key, uint64(i+1))
		if err != nil && !errors.Is(err, ErrShredded) {
			tb.Fatal(err)
		}
		if len(openings) > 0 {
			all[i] += "+"
		}
	}
	return all
}

// checkRoots: every segment still has the root that the ledger has.
func checkRoots(tb testing.TB, cfg Config) {
	tb.Helper()
	records := cfg.Ledger.(*fakeLedger).records
	v, err := OpenView(cfg.Dir, ViewOptions{Keys: cfg.Keys})
	if err != nil {
		tb.Fatal(err)
	}
	segments, err := v.Segments()
	if err != nil || len(segments) != len(records) || len(records) == 0 {
		tb.Fatalf("%d segments, %d records: %v", len(segments), len(records), err)
	}
	for i, s := range segments {
		err := withSegment(s, cfg.Keys, func(r *segment.Reader) error {
			var tree proof.Tree
			faults, err := r.Check(tb.Context(), func(_ int, leaf [32]byte) error { tree.Append(leaf); return nil })
			if len(faults) > 0 || tree.Root() != records[i].Root {
				tb.Errorf("segment %d: %v, another root: %v", i+1, faults, tree.Root() != records[i].Root)
			}
			return err
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(cfg.Dir, "*", "*"+temporarySuffix))
	if err != nil || len(left) > 0 {
		tb.Errorf("left over: %v, %v", left, err)
	}
}

const classesAB = "classes:\n- {name: a, search: id=a, keep: 10d}\n- {name: b, search: id=b, keep: 20d}\n"

// TestRetainByAge: what is too old goes with its openings, the rest stays, and the log
// says what happened.
func TestRetainByAge(t *testing.T) {
	t.Parallel()
	cfg, clock := agedConfig(t, 9)
	l := mustOpen(t, cfg)
	k := testKeeper(t, l)
	alert := entries("a-alert", 1)
	alert[0].Event.Kind = audit.KindAlert
	mustAppend(t, l, slices.Concat(withOpenings(entries("a", 2)), entries("b", 1), withOpenings(entries("c", 1)), alert))
	mustSeal(t, l)
	policy := mustPolicy(t, classesAB)
	who := told.Who{Name: "carol", ID: "1000"}
	retain := func(dry bool) Retained {
		t.Helper()
		out, err := k.Retain(t.Context(), RetainOptions{Policy: policy, By: who, DryRun: dry})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	is := func(when string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, content(t, cfg)); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
		checkRoots(t, cfg)
	}
	if out := retain(false); out.Segments != 0 || out.Of != 1 {
		t.Errorf("nothing is due: %+v", out)
	}
	is("young", "a-0+", "a-1+", "b-0", "c-0+", "a-alert-0")
	clock.set(received().AddDate(0, 0, 11))
	dry := retain(true)
	is("dry run", "a-0+", "a-1+", "b-0", "c-0+", "a-alert-0")
	out := retain(false)
	is("first", "-", "-", "b-0", "c-0+", "a-alert-0", ":prune")
	if a := out.Classes[0]; a.Events != 2 || a.ByAge != 2 || !a.From.Equal(received()) || !a.To.Equal(received().Add(time.Millisecond)) || out.Segments != 1 {
		t.Errorf("%+v", out)
	}
	if dry.Classes[0].Events != 2 || dry.Segments != 1 || dry.BytesAfter >= dry.BytesBefore {
		t.Errorf("dry run: %+v", dry)
	}
	clock.set(received().AddDate(1, 0, 0))
	retain(false)
	is("later", "-", "-", "-", "c-0+", "a-alert-0", ":prune", ":prune")
	if out := retain(false); out.Segments != 0 {
		t.Errorf("again: %+v", out)
	}
	var removals []told.Removal
	var named []string
	v, err := l.View()
	if err != nil {
		t.Fatal(err)
	}
	err = v.Events(t.Context(), 1, func(e *audit.Event) error {
		if r, ok := told.ReadRemoval(e); ok {
			events, err := r.Events()
			if err != nil {
				return err
			}
			r.Time = time.Time{}
			removals, named = append(removals, r), append(named, events.String())
		}
		return nil
	})
	want := []told.Removal{
		{Seq: 6, Verb: told.VerbPrune, By: who, Why: "older than 10d", Class: "a", Policy: policy.Digest()},
		{Seq: 7, Verb: told.VerbPrune, By: who, Why: "older than 20d", Class: "b", Policy: policy.Digest()},
	}
	if diff := cmp.Diff(want, removals, cmpopts.IgnoreUnexported(told.Removal{})); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if diff := cmp.Diff([]string{"1-2", "3"}, named); diff != "" {
		t.Error(diff)
	}
}

// TestRetainBySize: the oldest go first, of a class and of the whole, and only what a
// class may lose.
func TestRetainBySize(t *testing.T) {
	t.Parallel()
	cfg, _ := agedConfig(t, 1)
	l := mustOpen(t, cfg)
	k := testKeeper(t, l)
	for range 4 {
		mustAppend(t, l, slices.Concat(bulky("a", 400), bulky("b", 400), bulky("c", 400)))
		mustSeal(t, l)
	}
	count := func() map[byte][4]int {
		counts := map[byte][4]int{}
		for i, name := range content(t, cfg) {
			if i < 4800 && name != "-" {
				at := counts[name[0]]
				at[i/1200]++
				counts[name[0]] = at
			}
		}
		return counts
	}
	total := func() (size int64) {
		v, err := l.View()
		if err != nil {
			t.Fatal(err)
		}
		segments, err := v.Segments()
		for _, s := range segments {
			size += s.Size
		}
		if err != nil {
			t.Fatal(err)
		}
		return size
	}
	size := total()
	retain := func(dry bool, format string, args ...any) Retained {
		t.Helper()
		out, err := k.Retain(t.Context(), RetainOptions{Policy: mustPolicy(t, fmt.Sprintf(format, args...)), DryRun: dry})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	// Class a has a third of all, and may have a fifth.
	most := "classes:\n- {name: a, search: id=a, keep: 10d, maxBytes: %d}\n"
	dry, out := retain(true, most, size/5), retain(false, most, size/5)
	// How well each segment was compressed differs, so how many it takes does too.
	left := count()
	a, gone := left['a'], 0
	for gone < 4 && a[gone] == 0 {
		gone++
	}
	all := [4]int{400, 400, 400, 400}
	if gone == 0 || gone == 4 || left['b'] != all || left['c'] != all || slices.Contains(a[gone:], 0) {
		t.Errorf("the oldest of a were to go, and nothing else: %v", left)
	}
	if want := uint64(400 * gone); out.Classes[0].BySize != want || dry.Classes[0].BySize != want || out.Classes[0].ByAge != 0 {
		t.Errorf("%+v, dry run %+v", out, dry)
	}
	// All of a and b go where nothing else makes room, c stays, and it is told that this was not enough.
	out = retain(false, "maxBytes: 1\n%s", classesAB)
	if diff := cmp.Diff(map[byte][4]int{'c': {400, 400, 400, 400}}, count()); diff != "" {
		t.Error(diff)
	}
	if out.Over != out.BytesAfter-1 || out.BytesAfter >= out.BytesBefore || out.Classes[1].BySize != 1600 {
		t.Errorf("%+v", out)
	}
	checkRoots(t, cfg)
	if out = retain(false, "maxBytes: 1\n%s", classesAB); out.Segments != 0 {
		t.Errorf("again: %+v", out)
	}
}

// TestRetainInterrupted: a run that ends before any of its steps has lost nothing that
// the log does not tell of, and the next run, also after another Open, ends it.
func TestRetainInterrupted(t *testing.T) {
	t.Parallel()
	ran := 0
	policy := mustPolicy(t, classesAB)
	for _, name := range []string{"prune-tell", "prune-seal", "prune-write", "prune-compare", "prune-openings", "prune-rename"} {
		for _, reopen := range []bool{false, true} {
			cfg, _ := agedConfig(t, 15)
			crash := cfg
			armed := true
			crash.step = func(step string) error {
				if step == name && armed {
					armed = false
					return errCrash
				}
				return nil
			}
			l := mustOpen(t, crash)
			k := testKeeper(t, l)
			mustAppend(t, l, withOpenings(slices.Concat(entries("a", 1), entries("b", 1))))
			mustSeal(t, l)
			mustAppend(t, l, withOpenings(entries("a", 2)))
			mustSeal(t, l)
			if _, err := k.Retain(t.Context(), RetainOptions{Policy: policy}); !errors.Is(err, errCrash) {
				t.Fatalf("step %s: %v", name, err)
			}
			now := content(t, cfg)
			if told := slices.Contains(now, ":prune"); !told && slices.Contains(now, "-") {
				t.Errorf("step %s: events went and nothing tells of it: %v", name, now)
			}
			if reopen {
				mustClose(t, l)
				l = mustOpen(t, cfg)
				k = testKeeper(t, l)
			}
			if _, err := k.Retain(t.Context(), RetainOptions{Policy: policy}); err != nil {
				t.Fatalf("after step %s: %v", name, err)
			}
			now = content(t, cfg)
			if diff := cmp.Diff([]string{"-", "b-0+", "-", "-"}, now[:4]); diff != "" {
				t.Errorf("after step %s: %s", name, diff)
			}
			checkRoots(t, cfg)
			mustClose(t, l)
			ran++
		}
	}
	if ran != 12 {
		t.Errorf("%d interruptions", ran)
	}
}

// TestRetainRefuses: what is not as the ledger says, cannot be read or is no policy is
// left alone, and the rest is pruned.
func TestRetainRefuses(t *testing.T) {
	t.Parallel()
	cfg, _ := agedConfig(t, 15)
	l := mustOpen(t, cfg)
	k := testKeeper(t, l)
	for range 3 {
		mustAppend(t, l, entries("a", 2))
		mustSeal(t, l)
	}
	sealed := func(first, last uint64) string {
		return filepath.Join(cfg.Dir, sealedName, spanName(first, last, sealedSuffix))
	}
	// The first is written anew by somebody, the second is cut off.
	forged := entries("a-forged", 2)
	rows := make([]segment.Row, 2)
	for i := range rows {
		rows[i] = segment.Row{Event: forged[i].Event, Leaf: proof.LeafHash(audit.AppendCanonical(nil, forged[i].Event))}
	}
	f, err := os.Create(sealed(1, 2))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(segment.Write(f, 1, rows, segment.Meta{}), f.Close(), os.Truncate(sealed(3, 4), 100)); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(sealed(1, 2))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Retain(t.Context(), RetainOptions{Policy: mustPolicy(t, classesAB)}); err == nil {
		t.Error("pruned although nobody can say which holds there are")
	}
	k.known = true // as in a process that knew them before
	out, err := k.Retain(t.Context(), RetainOptions{Policy: mustPolicy(t, classesAB)})
	if err == nil || len(out.Failures) != 2 || out.Classes[0].Events != 2 || !strings.Contains(strings.Join(out.Failures, " "), "not those that the ledger has") {
		t.Errorf("%+v, %v", out, err)
	}
	after, err := os.ReadFile(sealed(1, 2))
	if err != nil || !slices.Equal(before, after) {
		t.Errorf("what the ledger does not have was written anew: %v", err)
	}
	for name, o := range map[string]RetainOptions{
		"no policy": {}, "no classes": {Policy: &policy.Policy{}}, "a search whose time moves": {Policy: mustPolicy(t, "classes:\n- {name: a, search: id=now, keep: 1d}\n")}, "a search that cannot be read": {Policy: mustPolicy(t, "classes:\n- {name: a, search: x, keep: 1d}\n")},
	} {
		if _, err := k.Retain(t.Context(), o); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewKeeper(KeeperConfig{Log: l}); err == nil {
		t.Error("a keeper without records")
	}
}

// TestRetainBeside: appends, seals, reads and holds go on beside it, and readers see
// every event or its hash.
func TestRetainBeside(t *testing.T) {
	t.Parallel()
	cfg, _ := agedConfig(t, 15)
	cfg.SealEvents = 50
	l := mustOpen(t, cfg)
	k := testKeeper(t, l)
	mustAppend(t, l, withOpenings(entries("b", 40)))
	var group sync.WaitGroup
	for name := range 2 {
		group.Go(func() {
			for i := range 25 {
				mustAppend(t, l, withOpenings(entries(string(rune('a'+name))+"-"+strconv.Itoa(i), 8)))
			}
		})
	}
	group.Go(func() {
		for range 6 {
			if _, err := k.Retain(t.Context(), RetainOptions{Policy: mustPolicy(t, classesAB)}); err != nil {
				t.Error(err)
			}
		}
	})
	group.Go(func() {
		for i := range 4 {
			name := "h" + strconv.Itoa(i)
			if _, err := k.AddHold(t.Context(), HoldRequest{Name: name, Reason: "r", Search: "id=a-2"}, told.Who{}); err != nil {
				t.Error(err)
			}
			if i == 3 {
				return
			}
			if _, err := k.ReleaseHold(t.Context(), name, "r", told.Who{}); err != nil {
				t.Error(err)
			}
		}
	})
	group.Go(func() {
		for range 6 {
			seen := uint64(0)
			v, err := OpenView(cfg.Dir, ViewOptions{Bound: l.Last, Pruned: func(uint64, [32]byte) error { seen++; return nil }})
			if err != nil {
				t.Error(err)
				return
			}
			bound := l.Last()
			if err := v.Events(t.Context(), 1, func(*audit.Event) error { seen++; return nil }); err != nil || seen < bound {
				t.Errorf("%d of %d events: %v", seen, bound, err)
			}
		}
	})
	group.Wait()
	mustSeal(t, l)
	if _, err := k.Retain(t.Context(), RetainOptions{Policy: mustPolicy(t, classesAB)}); err != nil {
		t.Fatal(err)
	}
	kept := map[string]int{}
	for _, name := range content(t, cfg) {
		switch {
		case strings.HasPrefix(name, "a-2"):
			kept["held"]++
		case name[0] == 'a':
			kept["due"]++
		case name[0] == 'b':
			kept["young"]++
		}
	}
	if kept["due"] > 0 || kept["young"] != 240 {
		t.Errorf("%v", kept)
	}
	checkRoots(t, cfg)
}
