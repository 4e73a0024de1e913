package log

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/told"
)

// TestHolds: what is held stays, whatever asks for it to go, and the log alone says what
// is held.
func TestHolds(t *testing.T) {
	t.Parallel()
	cfg, _ := agedConfig(t, 15)
	l := mustOpen(t, cfg)
	k := testKeeper(t, l)
	mustAppend(t, l, withOpenings(slices.Concat(entries("a", 2), entries("a-case", 2))))
	mustSeal(t, l)
	carol := told.Who{Name: "carol", ID: "7"}
	hold, err := k.AddHold(t.Context(), HoldRequest{Name: "case-7", Reason: "court", Search: "id=a-case"}, carol)
	if err != nil || hold.Matched != 2 || hold.Seq != 5 || !hold.Stands() {
		t.Fatalf("%+v, %v", hold, err)
	}
	policy := mustPolicy(t, classesAB)
	out, err := k.Retain(t.Context(), RetainOptions{Policy: policy})
	if err != nil || out.Classes[0].Events != 2 || out.Classes[0].Held != 2 {
		t.Errorf("%+v, %v", out, err)
	}
	shredded, err := k.Shred(t.Context(), ShredRequest{Search: "id=a", Reason: "r"}, carol)
	if err != nil || shredded.Held != 2 || shredded.Events != 0 {
		t.Errorf("%+v, %v", shredded, err)
	}
	if _, err := k.Shred(t.Context(), ShredRequest{Events: []uint64{3}, Reason: "r"}, carol); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), `under hold "case-7"`) {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"-", "-", "a-case-0+", "a-case-1+", ":hold-add", ":prune"}, content(t, cfg)); diff != "" {
		t.Error(diff)
	}

	// Another process, and another keeper, know the same.
	mustClose(t, l)
	v, err := OpenView(cfg.Dir, ViewOptions{Keys: cfg.Keys})
	if err != nil {
		t.Fatal(err)
	}
	holds, err := ReadHolds(t.Context(), v)
	if diff := cmp.Diff([]told.Hold{hold}, holds.Standing(), cmp.AllowUnexported(told.Hold{})); diff != "" || err != nil {
		t.Error(err, diff)
	}
	l = mustOpen(t, cfg)
	k = testKeeper(t, l)
	if out, err := k.Retain(t.Context(), RetainOptions{Policy: policy}); err != nil || out.Classes[0].Events != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	released, err := k.ReleaseHold(t.Context(), "case-7", "closed", carol)
	if err != nil || released.Released != 7 || released.Why != "closed" || released.Stands() || !released.Holds(6) || released.Holds(8) || released.Holds(5) {
		t.Errorf("%+v, %v", released, err)
	}
	shredded, err = k.Shred(t.Context(), ShredRequest{Events: []uint64{3}, Reason: "asked to"}, carol)
	if err != nil || shredded.Events != 1 || shredded.Told != 8 {
		t.Errorf("%+v, %v", shredded, err)
	}
	if diff := cmp.Diff([]string{"-", "-", "a-case-0", "a-case-1+", ":hold-add", ":prune", ":hold-release", ":shred"}, content(t, cfg)); diff != "" {
		t.Error(diff)
	}
	if out, err := k.Retain(t.Context(), RetainOptions{Policy: policy}); err != nil || out.Classes[0].Events != 2 {
		t.Errorf("%+v, %v", out, err)
	}
	checkRoots(t, cfg)
	all, err := k.Holds(t.Context())
	if err != nil || len(all) != 1 || all[0].Stands() || *all[0].Releaser != carol {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestHoldEverything: a hold without an expression holds all, also what comes later.
func TestHoldEverything(t *testing.T) {
	t.Parallel()
	cfg, _ := agedConfig(t, 15)
	l := mustOpen(t, cfg)
	k := testKeeper(t, l)
	if _, err := k.AddHold(t.Context(), HoldRequest{Name: "all", Reason: "r"}, told.Who{}); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, entries("a", 2))
	mustSeal(t, l)
	if out, err := k.Retain(t.Context(), RetainOptions{Policy: mustPolicy(t, classesAB)}); err != nil || out.Classes[0].Held != 2 || out.Classes[0].Events != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestHoldComesBetween: a hold that comes when the log already tells that events will go
// keeps them.
func TestHoldComesBetween(t *testing.T) {
	t.Parallel()
	cfg, _ := agedConfig(t, 15)
	var k *Keeper
	cfg.step = func(step string) error {
		if step != "prune-seal" {
			return nil
		}
		_, err := k.AddHold(t.Context(), HoldRequest{Name: "late", Reason: "r", Search: "id=a-1"}, told.Who{})
		return err
	}
	l := mustOpen(t, cfg)
	k = testKeeper(t, l)
	mustAppend(t, l, withOpenings(entries("a", 2)))
	mustSeal(t, l)
	mustAppend(t, l, withOpenings(entries("a-1", 2)))
	mustSeal(t, l)
	out, err := k.Retain(t.Context(), RetainOptions{Policy: mustPolicy(t, classesAB)})
	if err != nil || out.Classes[0].Events != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	if diff := cmp.Diff([]string{"-", "a-1+", "a-1-0+", "a-1-1+", ":prune", ":prune", ":hold-add"}, content(t, cfg)); diff != "" {
		t.Error(diff)
	}
	checkRoots(t, cfg)
}

// TestHoldsRefused: mistakes change nothing; and what cannot be read holds up everything.
func TestHoldsRefused(t *testing.T) {
	t.Parallel()
	cfg, _ := agedConfig(t, 15)
	l := mustOpen(t, cfg)
	k := testKeeper(t, l)
	if _, err := k.AddHold(t.Context(), HoldRequest{Name: "h", Reason: "r", Search: "id=a"}, told.Who{}); err != nil {
		t.Fatal(err)
	}
	for name, req := range map[string]HoldRequest{
		"twice": {Name: "h", Reason: "r"}, "no name": {Reason: "r"}, "no reason": {Name: "i"}, "a name with a space": {Name: "a b", Reason: "r"},
		"no expression": {Name: "i", Reason: "r", Search: "user"}, "a reason that is no text": {Name: "i", Reason: "\xff"}, "a long reason": {Name: "i", Reason: strings.Repeat("r", 3000)},
	} {
		if _, err := k.AddHold(t.Context(), req, told.Who{}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, tt := range [][2]string{{"i", "r"}, {"h", ""}} {
		if _, err := k.ReleaseHold(t.Context(), tt[0], tt[1], told.Who{}); !errors.Is(err, ErrRefused) {
			t.Errorf("%v: %v", tt, err)
		}
	}
	for name, req := range map[string]ShredRequest{
		"nothing": {Reason: "r"}, "both": {Events: []uint64{1}, Search: "id=a", Reason: "r"}, "no reason": {Events: []uint64{1}},
		"no such event": {Events: []uint64{99}, Reason: "r"}, "no redactions": {Events: []uint64{1}, Reason: "r"}, "no expression": {Search: "x", Reason: "r"},
	} {
		if _, err := k.Shred(t.Context(), req, told.Who{}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := content(t, cfg); len(got) != 1 {
		t.Errorf("%v", got)
	}

	// What comes in from elsewhere is no hold, and releases none.
	e := entries("x", 2)
	e[0].Event.Kind, e[0].Event.Verb, e[0].Event.Annotations = audit.KindSystem, told.VerbHoldRelease, map[string]string{"hold": "h"}
	e[1].Event.Source, e[1].Event.Verb, e[1].Event.Annotations = told.Source, told.VerbHoldRelease, map[string]string{"hold": "h"}
	mustAppend(t, l, e)
	mustSeal(t, l)
	mustAppend(t, l, entries("a", 1))
	mustSeal(t, l)
	k = testKeeper(t, l)
	if holds, err := k.Holds(t.Context()); err != nil || len(holds.Standing()) != 1 {
		t.Errorf("%+v, %v", holds, err)
	}
	if err := os.Remove(filepath.Join(cfg.Dir, sealedName, spanName(1, 3, sealedSuffix))); err != nil {
		t.Fatal(err)
	}
	k = testKeeper(t, l)
	if _, ok := errors.AsType[*GapError](func() error {
		_, err := k.Retain(t.Context(), RetainOptions{Policy: mustPolicy(t, classesAB)})
		return err
	}()); !ok {
		t.Error("pruned although a segment that may have holds is missing")
	}
}

// TestShred: openings go by number and by expression, also of what is not sealed yet; the
// events stay.
func TestShred(t *testing.T) {
	t.Parallel()
	cfg, _ := agedConfig(t, 1)
	l := mustOpen(t, cfg)
	k := testKeeper(t, l)
	mustAppend(t, l, withOpenings(entries("a", 3)))
	mustSeal(t, l)
	mustAppend(t, l, slices.Concat(withOpenings(entries("a-late", 1)), entries("a-bare", 1)))
	dry, err := k.Shred(t.Context(), ShredRequest{Search: "id=a", Reason: "r", DryRun: true}, told.Who{})
	if err != nil || dry.Matched != 4 || dry.Events != 3 || dry.Told != 0 {
		t.Errorf("%+v, %v", dry, err)
	}
	if out, err := k.Shred(t.Context(), ShredRequest{Events: []uint64{2}, Reason: "r"}, told.Who{Name: "carol"}); err != nil || out.Events != 1 || out.First != 2 {
		t.Errorf("%+v, %v", out, err)
	}
	if diff := cmp.Diff([]string{"a-0+", "a-1", "a-2+", "a-late-0+", "a-bare-0", ":shred"}, content(t, cfg)); diff != "" {
		t.Error(diff)
	}
	out, err := k.Shred(t.Context(), ShredRequest{Search: "id=a", Reason: "r"}, told.Who{Name: "carol"})
	if err != nil || out.Events != 3 || out.Matched != 4 {
		t.Errorf("%+v, %v", out, err)
	}
	if diff := cmp.Diff([]string{"a-0", "a-1", "a-2", "a-late-0", "a-bare-0", ":shred", ":shred"}, content(t, cfg)); diff != "" {
		t.Error(diff)
	}
	if out, err := k.Shred(t.Context(), ShredRequest{Search: "id=a", Reason: "r"}, told.Who{}); err != nil || out.Events != 0 || out.Told != 0 {
		t.Errorf("again: %+v, %v", out, err)
	}
	mustSeal(t, l)
	checkRoots(t, cfg)
}
