package log

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/summary"
	"bulwark.dev/bulwark/internal/audit/proof"
)

// summarized is a log with a real ledger, in dir.
func summarized(t *testing.T, dir string) (*Log, *proof.Ledger) {
	t.Helper()
	ledger, err := proof.OpenLedger(t.Context(), proof.LedgerConfig{Dir: dir, Origin: "example.com/audit", Random: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(t)
	cfg.Dir, cfg.Ledger = filepath.Join(dir, "log"), ledger
	return mustOpen(t, cfg), ledger
}

func spans(t *testing.T, dir string) [][2]uint64 {
	t.Helper()
	v, err := OpenView(filepath.Join(dir, "log"), ViewOptions{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := v.Summaries()
	if err != nil {
		t.Log(err)
	}
	var spans [][2]uint64
	for _, s := range all {
		if !s.Has(audit.KindAPI) || s.Has(audit.KindAlert) || s.Oldest > s.Newest {
			t.Errorf("summary %+v", s)
		}
		spans = append(spans, [2]uint64{s.First, s.Last})
	}
	return spans
}

// TestSummaryGoesOn: a summary is gone on with after a start, whatever was left of it, and
// has no segment twice.
func TestSummaryGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, signed := filepath.Join(dir, "log", summary.Name), filepath.Join(dir, "log", summary.Name+".note")
	for round, test := range []struct {
		before func()
		want   [][2]uint64
	}{
		{func() {}, [][2]uint64{{1, 3}}},
		{func() {}, [][2]uint64{{1, 3}, {4, 6}}},
		{func() { // the process ended between the line and its signature
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString("7 9 half a li"); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}, [][2]uint64{{1, 3}, {4, 6}, {7, 9}}},
		{func() { // somebody changed it: it begins anew
			if err := os.WriteFile(path, []byte("1 9 0 0 0 0 api\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, [][2]uint64{{10, 12}}},
		{func() {
			if err := os.Remove(signed); err != nil {
				t.Fatal(err)
			}
		}, [][2]uint64{{13, 15}}},
	} {
		test.before()
		l, ledger := summarized(t, dir)
		mustAppend(t, l, entries("a", 3))
		if err := l.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := l.Stats(); s.Troubles > 0 {
			t.Errorf("round %d: %s", round, s.LastTrouble)
		}
		mustClose(t, l)
		if err := ledger.Close(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, spans(t, dir)); diff != "" {
			t.Errorf("round %d: %s", round, diff)
		}
	}
}

// TestSummaryFails: a summary that cannot be written does not keep a segment from being
// sealed.
func TestSummaryFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, ledger := summarized(t, dir)
	path := filepath.Join(dir, "log", summary.Name)
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		mustAppend(t, l, entries("a", 3))
		if err := l.Seal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if s := l.Stats(); s.Sealed != 2 || s.Troubles != 2 {
		t.Errorf("%+v", s)
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, entries("a", 3))
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	if err := ledger.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([][2]uint64{{7, 9}}, spans(t, dir)); diff != "" {
		t.Error(diff)
	}
}
