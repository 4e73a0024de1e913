package log

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
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
	path, signed := filepath.Join(dir, "log", summaryName), filepath.Join(dir, "log", summaryNoteName)
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
	path := filepath.Join(dir, "log", summaryName)
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

func FuzzSummary(f *testing.F) {
	for _, text := range []string{
		"", "1 4 0 1 0 1 api\n", "1 4 -5 1 0 1 api,alert\n5 5 0 0 0 0 system\n", "1 4 0 1 0 1 api", "4 1 0 1 0 1 api\n",
		"1 4 1 0 0 1 api\n", "1 4 0 1 0 1 \n", "1 4 0 1 0 1 alert,api\n", "01 4 0 1 0 1 api\n", "1 18446744073709551615 0 1 0 1 api\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		all, err := parseSummaries(text)
		if err != nil {
			return
		}
		var again []byte
		for i := range all {
			again = all[i].appendTo(again)
		}
		if !bytes.Equal(again, text) {
			t.Errorf("%q is read, and written as %q", text, again)
		}
	})
}

// BenchmarkSummaries reads the lines of 100,000 segments, of which a year at one a minute
// has five times as many.
func BenchmarkSummaries(b *testing.B) {
	var text []byte
	at := received().UnixMicro()
	for i := range int64(100_000) {
		s := Summary{First: uint64(i*1000 + 1), Last: uint64(i*1000 + 1000), Oldest: at + i*6e7, Newest: at + (i+1)*6e7, From: at + i*6e7, To: at + (i+1)*6e7, kinds: 41}
		text = s.appendTo(text)
	}
	b.ReportAllocs()
	for b.Loop() {
		if all, err := parseSummaries(text); err != nil || len(all) != 100_000 {
			b.Fatal(len(all), err)
		}
	}
	b.ReportMetric(float64(len(text))/100_000, "B/line")
}
