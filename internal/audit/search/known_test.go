package search

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/search/query"
	"bulwark.dev/bulwark/internal/audit/search/searchtest"
)

// dated makes a real log of n segments, an hour apart. Event 4 of each is an alert in every
// tenth segment; event 3 of each happened a day before it was received.
func dated(tb testing.TB, dir string, n int) {
	tb.Helper()
	ledger, err := proof.OpenLedger(tb.Context(), proof.LedgerConfig{Dir: dir, Origin: "example.com/audit"})
	if err != nil {
		tb.Fatal(err)
	}
	l, err := log.Open(tb.Context(), log.Config{
		Dir: filepath.Join(dir, "log"), Ledger: ledger, DropOpenings: true, Reserve: 1 << 16, SealEvents: 4, SealAge: time.Hour,
		Now: time.Now, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	for s := range n {
		at := searchtest.Noon().Add(time.Duration(s-n) * time.Hour)
		batch := make([]audit.Entry, 4)
		for i := range batch {
			batch[i].Event = &audit.Event{Kind: audit.KindAPI, Verb: "get", User: audit.User{Username: "alice"}, Received: at.Add(time.Duration(i) * time.Minute)}
		}
		batch[2].Event.StageAt = at.Add(-24 * time.Hour)
		if s%10 == 0 {
			batch[3].Event.Kind = audit.KindAlert
		}
		if _, err := l.Append(tb.Context(), batch); err != nil {
			tb.Fatal(err)
		}
	}
	if err := errors.Join(l.Seal(tb.Context()), l.Close(), ledger.Close()); err != nil {
		tb.Fatal(err)
	}
}

// counting counts which segments are opened.
type counting struct {
	View
	opened *atomic.Int64
}

func (c counting) Segments() []Sealed {
	var all []Sealed
	for _, s := range c.View.Segments() {
		all = append(all, countingSealed{s, c.opened})
	}
	return all
}

type countingSealed struct {
	Sealed
	opened *atomic.Int64
}

func (c countingSealed) Known() (query.Known, bool) { return known(c.Sealed) }

func (c countingSealed) Open() (Segment, error) {
	c.opened.Add(1)
	return c.Sealed.Open()
}

// lookAt opens a trail whose opened segments are counted.
func lookAt(tb testing.TB, dir string) counting {
	tb.Helper()
	v, err := log.OpenView(filepath.Join(dir, "log"), log.ViewOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	trail, err := Trail(v)
	if err != nil {
		tb.Fatal(err)
	}
	return counting{trail, new(atomic.Int64)}
}

// asked are questions, and how many of 20 segments they have to open.
var asked = []struct {
	query  string
	opened int64
}{
	{"since=2h30m", 2},
	{"at=2026-11-21T02:00..04:00", 10}, // and all after it: each has an event of a day before
	{"received>=2h30m", 2},
	{"kind=alert", 2},
	{"-kind=api", 2},
	{"kind=gateway", 0},
	{"since=1m", 0},
	{"since=2h30m kind=alert", 0},
	{"user=alice since=5h", 5},
	{"user=alice | count", 20},
	{"since=2h30m or user=mallory", 20},
	{"stageTimestamp>=1m", 20}, // not every event has one
	{"since=2h30m | count", 2},
}

func ask(ctx context.Context, view View, text string) (string, Stats, error) {
	q, err := query.Parse(text, query.Env{Now: searchtest.Noon()})
	if err != nil {
		return "", Stats{}, err
	}
	if q.Groups() {
		g, stats, err := Count(ctx, view, q, Options{Workers: 2})
		if g == nil {
			return "", stats, err
		}
		return fmt.Sprint(g.Total), stats, err
	}
	got, stats, err := found(ctx, view, q, Options{Workers: 2})
	return fmt.Sprint(got), stats, err
}

// A search opens the segments that may have what it asks for, and no others; and it finds
// what it finds when it opens all.
func TestTrailOpensWhatItNeeds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dated(t, dir, 20)
	for _, test := range asked {
		view := lookAt(t, dir)
		got, stats, err := ask(t.Context(), view, test.query)
		if err != nil || view.opened.Load() != test.opened || stats.Segments != 20 {
			t.Errorf("%s: %d segments were opened, want %d; %+v, %v", test.query, view.opened.Load(), test.opened, stats, err)
		}
		want, _, err := ask(t.Context(), everything{lookAt(t, dir)}, test.query)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: (-all +needed)\n%s%v", test.query, diff, err)
		}
	}
}

// everything is a view of which nothing is known before it is opened.
type everything struct{ counting }

func (e everything) Segments() []Sealed {
	var all []Sealed
	for _, s := range e.counting.Segments() {
		all = append(all, struct{ Sealed }{s})
	}
	return all
}

// Whoever may write the folder, but has not the log's key, hides nothing with the summary.
func TestTamperedSummary(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dated(t, dir, 8)
	summary, signed, public := filepath.Join(dir, "log", "summary"), filepath.Join(dir, "log", "summary.note"), proof.VerifierPath(dir)
	text, raw, key := readFile(t, summary), readFile(t, signed), readFile(t, public)
	// What an attacker would like to say: that nothing of the last hours is there.
	lie := fmt.Appendf(nil, "1 4 0 1 0 1 api\n")
	for i := range 7 {
		lie = fmt.Appendf(lie, "%d %d 0 1 0 1 api\n", 5+4*i, 8+4*i)
	}
	private, other, err := note.GenerateKey(rand.Reader, "example.com/audit")
	if err != nil {
		t.Fatal(err)
	}
	type state struct{ summary, signed, public []byte }
	states := map[string]state{
		"the lie":             {lie, raw, key},
		"the lie and its key": {lie, signLie(t, private, lie), []byte(other)},
		"no summary":          {nil, raw, key},
		"no signature":        {text, nil, key},
		"cut off":             {text[:len(text)-40], raw, key},
		"lines after it":      {append(append([]byte(nil), text...), lie...), raw, key},
		"a line before it":    {append([]byte("1 32 0 1 0 1 api\n"), text...), raw, key},
		"a checkpoint":        {lie, readFile(t, filepath.Join(dir, "tlog", "checkpoint")), key},
	}
	for i := 0; i < len(text); i += 11 {
		changed := append([]byte(nil), text...)
		changed[i] ^= 1
		states[fmt.Sprintf("byte %d of the summary", i)] = state{changed, raw, key}
	}
	for i := 0; i < len(raw); i += 9 {
		changed := append([]byte(nil), raw...)
		changed[i] ^= 1
		states[fmt.Sprintf("byte %d of the signature", i)] = state{lie, changed, key}
	}
	want, _, err := ask(t.Context(), lookAt(t, dir), "since=5h30m")
	if err != nil || want == "[]" {
		t.Fatalf("%s, %v", want, err)
	}
	for name, s := range states {
		for path, content := range map[string][]byte{summary: s.summary, signed: s.signed, public: s.public} {
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if content == nil {
				continue
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, _, err := ask(t.Context(), lookAt(t, dir), "since=5h30m")
		if got != want || err != nil {
			t.Errorf("%s: found %s, want %s: %v", name, got, want, err)
		}
	}
	if len(states) < 60 {
		t.Errorf("only %d ways", len(states))
	}
}

// signLie signs with a key that is not the log's.
func signLie(t *testing.T, private string, lie []byte) []byte {
	t.Helper()
	by, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := note.Sign(&note.Note{
		Text: fmt.Sprintf("bulwark.dev/audit/statement/v1\nabout summary\nsize %d\nsha256 %x\n", len(lie), sha256.Sum256(lie)),
	}, by)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A segment whose own account of its times does not fit what was signed is told.
func TestSegmentOutsideItsSummary(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	dated(t, dir, 3)
	var at *file
	for _, s := range lookAt(t, dir).View.Segments() {
		if f, ok := s.(file); ok && f.First == 5 {
			at = &f
		}
	}
	if at == nil || at.summary == nil {
		t.Fatal("the second segment has no summary")
	}
	narrow := *at.summary
	narrow.Newest--
	at.summary = &narrow
	if _, err := at.Open(); err == nil {
		t.Error("a segment with a newer event than was signed was opened")
	}
}

// BenchmarkTrail: the last hours of 5,000 small segments, with the summary and without.
func BenchmarkTrail(b *testing.B) {
	const segments = 5000
	dir := b.TempDir()
	dated(b, dir, segments)
	for _, query := range []string{"since=24h30m", "kind=alert since=24h30m"} {
		for _, all := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/all=%t", query, all), func(b *testing.B) {
				var opened int64
				for b.Loop() {
					counted := lookAt(b, dir)
					view := View(counted)
					if all {
						view = everything{counted}
					}
					if _, _, err := ask(b.Context(), view, query); err != nil {
						b.Fatal(err)
					}
					opened = counted.opened.Load()
				}
				b.ReportMetric(float64(opened), "opened")
			})
		}
	}
}
