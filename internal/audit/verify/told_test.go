package verify_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/log/policy"
	"bulwark.dev/bulwark/internal/audit/log/told"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/segment"
	"bulwark.dev/bulwark/internal/audit/verify"
)

// say appends an event of the log's own, as retention and holds do.
func (w *writer) say(verb string, notes map[string]string) uint64 {
	w.t.Helper()
	e := &audit.Event{Kind: audit.KindSystem, Source: told.Source, Verb: verb, Received: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), Annotations: notes}
	e.User.Username = "carol"
	seq, err := w.log.Append(w.t.Context(), []audit.Entry{{Event: e}})
	if err != nil {
		w.t.Fatal(err)
	}
	return seq
}

func pruned(events string) map[string]string {
	return map[string]string{"events": events, "class": "reads", "policy": "sha256:00", "why": "older than 90d"}
}

// take takes events of the first segment away.
func take(t *testing.T, dir string, last int, seqs ...int) {
	t.Helper()
	rewrite(t, sealedPath(dir, 1, last), 1, func(rows []segment.Row) []segment.Row {
		for _, seq := range seqs {
			rows[seq-1].Event, rows[seq-1].Pruned = nil, true
		}
		return rows
	})
}

// TestVerifyPruned: what went is compared with what the log says of it, event by event.
func TestVerifyPruned(t *testing.T) {
	t.Parallel()
	many := make([]int, 30)
	for i := range many {
		many[i] = 2 + 2*i
	}
	tests := []struct {
		name string
		do   func(w *writer)
		gone []int
		// want are parts of the findings, in their order; without any there must be none.
		want []string
		note string
	}{
		{
			name: "told", gone: []int{1, 2, 3, 9}, do: func(w *writer) { w.say(told.VerbPrune, pruned("1-3,9")); w.seal(1) },
			note: `4 events of class "reads" are gone: older than 90d, by carol`,
		},
		{
			name: "told twice", gone: []int{1, 2}, note: "2 events of class",
			do: func(w *writer) {
				w.say(told.VerbPrune, pruned("1-2"))
				w.say(told.VerbPrune, pruned("2"))
				w.seal(1)
			},
		},
		{name: "told and still there", do: func(w *writer) { w.say(told.VerbPrune, pruned("1-3")); w.seal(1) }, note: "3 more were to go"},
		{
			name: "told by nobody", gone: []int{1, 2, 7}, do: func(w *writer) { w.seal(1) },
			want: []string{"events 1 to 2 were taken away, and no event of the trail says so", "event 7 was taken away, and no event"},
		},
		{
			name: "more went than was told", gone: []int{1, 2, 3}, do: func(w *writer) { w.say(told.VerbPrune, pruned("1-2")); w.seal(1) },
			want: []string{"event 3 was taken away, and no event of the trail says so"},
		},
		{
			name: "told by what is not sealed", gone: []int{1}, do: func(w *writer) { w.say(told.VerbPrune, pruned("1")) },
			want: []string{"event 1 was taken away, and the event that says so is not sealed"},
		},
		{
			name: "told by what came from elsewhere", gone: []int{1}, want: []string{"event 1 was taken away, and no event"},
			do: func(w *writer) {
				e := someEvent(999, "")
				e.Verb, e.Annotations = told.VerbPrune, pruned("1")
				if _, err := w.log.Append(w.t.Context(), []audit.Entry{{Event: e}}); err != nil {
					w.t.Fatal(err)
				}
				w.seal(1)
			},
		},
		{
			name: "what tells of it cannot be read", gone: []int{1}, do: func(w *writer) { w.say(told.VerbPrune, pruned("1-")); w.seal(1) },
			want: []string{"says that events were taken away, and cannot be read", "event 1 was taken away"},
		},
		{
			name: "very many", gone: many, do: func(w *writer) { w.seal(1) },
			want: append(repeat("was taken away, and no event", 20), "and 10 more of these were taken away"),
		},
		{
			name: "under a hold", gone: []int{1, 2, 3}, want: []string{`event 2 was taken away, although hold "case" kept it`},
			do: func(w *writer) {
				w.say(told.VerbHoldAdd, map[string]string{"hold": "case", "why": "court", "search": "x", "events": "2"})
				w.say(told.VerbPrune, pruned("1-3"))
				w.seal(1)
			},
		},
		{
			name: "under a hold of everything", gone: []int{1}, want: []string{`event 1 was taken away, although hold "all" kept it`},
			do: func(w *writer) {
				w.say(told.VerbHoldAdd, map[string]string{"hold": "all", "why": "court"})
				w.say(told.VerbPrune, pruned("1"))
				w.seal(1)
			},
		},
		{
			name: "before a hold, and after it", gone: []int{1, 2, 3}, note: `hold "other" stands`,
			do: func(w *writer) {
				w.say(told.VerbPrune, pruned("1"))
				w.say(told.VerbHoldAdd, map[string]string{"hold": "case", "why": "court", "search": "x", "events": "1-2"})
				w.say(told.VerbHoldAdd, map[string]string{"hold": "other", "why": "court", "search": "y"})
				w.say(told.VerbPrune, pruned("3"))
				w.say(told.VerbHoldRelease, map[string]string{"hold": "case", "why": "closed"})
				w.say(told.VerbPrune, pruned("2"))
				w.seal(1)
			},
		},
		{
			name: "told under a hold and again without one", gone: []int{1}, note: "1 events of class",
			do: func(w *writer) {
				w.say(told.VerbHoldAdd, map[string]string{"hold": "case", "why": "court", "search": "x", "events": "1"})
				w.say(told.VerbPrune, pruned("1"))
				w.say(told.VerbHoldRelease, map[string]string{"hold": "case", "why": "closed"})
				w.say(told.VerbPrune, pruned("1"))
				w.seal(1)
			},
		},
		{
			name: "openings destroyed under a hold", want: []string{`event 5's among them, which hold "case"`},
			do: func(w *writer) {
				w.say(told.VerbHoldAdd, map[string]string{"hold": "case", "why": "court", "search": "x", "events": "5-6"})
				w.say(told.VerbShred, map[string]string{"events": "4-5", "why": "r"})
				w.seal(1)
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			w := openWriter(t, dir, "", nil)
			w.seal(70)
			tt.do(w)
			take(t, dir, 70, tt.gone...)
			r := check(t, verify.Options{Dir: dir, Key: w.ledger.Verifier()})
			w.close()
			if len(r.Findings) != len(tt.want) || r.Pruned != uint64(len(tt.gone)) {
				t.Fatalf("want %d findings:\n%s", len(tt.want), show(t, r))
			}
			for i, want := range tt.want {
				if !strings.Contains(r.Findings[i].Detail, want) {
					t.Errorf("want %q:\n%s", want, show(t, r))
				}
			}
			if tt.note != "" && !strings.Contains(show(t, r), tt.note) {
				t.Errorf("want a note %q:\n%s", tt.note, show(t, r))
			}
		})
	}
}

func repeat(text string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = text
	}
	return all
}

// keeper applies policies to a writer's log.
func (w *writer) keeper() *log.Keeper {
	w.t.Helper()
	k, err := log.NewKeeper(log.KeeperConfig{
		Log: w.log,
		Record: func(_ context.Context, seq uint64) (proof.Record, error) {
			files := proof.NewFiles(os.DirFS(proof.LedgerPath(w.dir)))
			raw, err := files.Checkpoint()
			if err != nil {
				return proof.Record{}, err
			}
			key, err := proof.ParseVerifier(w.ledger.Verifier())
			if err != nil {
				return proof.Record{}, err
			}
			now, err := proof.ParseCheckpoint(raw, key)
			if err != nil {
				return proof.Record{}, err
			}
			r, _, err := files.Find(seq, now.Size)
			return r, err
		},
		Compile: func(search string, _ time.Time) (string, func(*audit.Event) bool, error) {
			return search, func(e *audit.Event) bool { return e.User.Username == search }, nil
		},
		Find: func(ctx context.Context, search string, fn func(*audit.Event) error) error {
			v, err := w.log.View()
			if err != nil {
				return err
			}
			return v.Events(ctx, 1, func(e *audit.Event) error {
				if e.User.Username == search {
					return fn(e)
				}
				return nil
			})
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

// TestVerifyRetention: a real retention, with the real ledger, leaves a trail in which
// nothing is wrong, at each moment; and events still have their proofs.
func TestVerifyRetention(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := openWriter(t, dir, "", func(c *log.Config) {
		c.Now = func() time.Time { return time.Date(2027, 6, 1, 0, 0, 0, 0, time.UTC) }
	})
	for range 3 {
		w.seal(100)
	}
	policy, err := policy.Parse("p", []byte("apiVersion: bulwark.dev/v1alpha1\nkind: RetentionPolicy\nclasses: [{name: reads, search: user-1, keep: 30d}, {name: more, search: user-2, keep: 30d}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	k := w.keeper()
	if _, err := k.AddHold(t.Context(), log.HoldRequest{Name: "case", Reason: "r", Search: "user-2"}, told.Who{}); err != nil {
		t.Fatal(err)
	}
	out, err := k.Retain(t.Context(), log.RetainOptions{Policy: policy, By: told.Who{Name: "carol"}})
	if err != nil || out.Segments != 3 || out.Classes[0].Events != 60 || out.Classes[1].Held != 60 {
		t.Fatalf("%+v, %v", out, err)
	}
	r := check(t, verify.Options{Dir: dir, Key: w.ledger.Verifier()})
	if !r.OK() || r.Pruned != 60 || !strings.Contains(show(t, r), `60 events of class "reads" are gone: older than 30d, by carol`) {
		t.Error(show(t, r))
	}
	w.close()

	// Who takes more away than was told, or forges the telling of it, is seen.
	stray := copyDir(t, dir)
	take(t, stray, 100, 1, 3, 4)
	if r := check(t, verify.Options{Dir: stray, Key: w.ledger.Verifier()}); len(r.Findings) != 1 || r.Findings[0].What.First != 3 || r.Findings[0].What.Last != 4 {
		t.Error(show(t, r))
	}
	forged := copyDir(t, dir)
	last := uint64(300 + 1 + 3)
	path := filepath.Join(forged, "log/sealed", pad(301)+"-"+pad(last)+".parquet")
	rewrite(t, path, 301, func(rows []segment.Row) []segment.Row {
		e := *rows[1].Event
		e.Annotations = map[string]string{"events": "1-100", "class": "reads"}
		rows[1].Event = &e
		return rows
	})
	r = check(t, verify.Options{Dir: forged, Key: w.ledger.Verifier()})
	if text := show(t, r); r.OK() || !strings.Contains(text, "it is not what was sealed") && !strings.Contains(text, "event-changed") || !strings.Contains(text, "no event of the trail says so") {
		t.Error(text)
	}
}

// TestVerifyBesideRetention: what goes while a verification looks is told by segments that
// are newer than the checkpoint that it began with; and what nobody tells of is seen then too.
func TestVerifyBesideRetention(t *testing.T) {
	t.Parallel()
	for _, stray := range []bool{false, true} {
		dir := t.TempDir()
		w := openWriter(t, dir, "", func(c *log.Config) {
			c.Now = func() time.Time { return time.Date(2027, 6, 1, 0, 0, 0, 0, time.UTC) }
		})
		e := someEvent(0, "")
		e.Redactions = []audit.Redaction{{Path: "p", Commitment: "sha256:" + strings.Repeat("0", 64)}}
		if _, err := w.log.Append(t.Context(), []audit.Entry{{Event: e}}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			w.seal(100)
		}
		k := w.keeper()
		policy, err := policy.Parse("p", []byte("apiVersion: bulwark.dev/v1alpha1\nkind: RetentionPolicy\nclasses: [{name: reads, search: user-1, keep: 30d}]\n"))
		if err != nil {
			t.Fatal(err)
		}
		ran := 0
		meanwhile := func(ctx context.Context, _, _ uint64, _ func(uint64, []audit.Opening) error) error {
			if ran++; ran > 1 {
				return nil
			}
			_, err := k.Retain(ctx, log.RetainOptions{Policy: policy})
			if stray {
				rewrite(t, sealedPath(dir, 102, 201), 102, func(rows []segment.Row) []segment.Row {
					rows[0].Event, rows[0].Pruned = nil, true
					rows[1].Event, rows[1].Pruned = nil, true
					return rows
				})
			}
			return err
		}
		r := check(t, verify.Options{Dir: dir, Key: w.ledger.Verifier(), Workers: 1, Openings: meanwhile})
		if ran == 0 || r.Pruned < 40 {
			t.Errorf("nothing went meanwhile: %s", show(t, r))
		}
		if !stray && !r.OK() || stray && (len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Detail, "no event of the trail says so")) {
			t.Errorf("stray %v: %s", stray, show(t, r))
		}
		w.close()
	}
}

func pad(n uint64) string {
	text := strconv.FormatUint(n, 10)
	return strings.Repeat("0", 20-len(text)) + text
}
