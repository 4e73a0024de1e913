package search

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search/query"
	"bulwark.dev/bulwark/internal/audit/search/searchtest"
)

func leafOf(e *audit.Event) [32]byte {
	return sha256.Sum256(audit.AppendCanonical([]byte{0}, e))
}

// found runs a search and gives the numbers of what it found.
func found(ctx context.Context, view View, q *query.Query, opt Options) ([]uint64, Stats, error) {
	var seqs []uint64
	stats, err := Search(ctx, view, q, opt, func(e *audit.Event) error {
		seqs = append(seqs, e.Seq)
		return nil
	})
	return seqs, stats, err
}

// inOrder is what a search must find: every event, asked one by one.
func inOrder(events []*audit.Event, q *query.Query, opt Options) []uint64 {
	hits := slices.DeleteFunc(slices.Clone(events), func(e *audit.Event) bool { return !q.Match(e) })
	slices.SortFunc(hits, func(a, b *audit.Event) int {
		c := a.Time().Compare(b.Time())
		if c == 0 {
			c = cmp.Compare(a.Seq, b.Seq)
		}
		if !opt.OldestFirst {
			c = -c
		}
		return c
	})
	if opt.Limit > 0 && len(hits) > opt.Limit {
		hits = hits[:opt.Limit]
	}
	var seqs []uint64
	for _, e := range hits {
		seqs = append(seqs, e.Seq)
	}
	return seqs
}

// randomTrail draws events and puts them into segments and behind them. It gives
// those that are there, the pruned ones left out.
func randomTrail(t *rapid.T) (*memory, []*audit.Event) {
	view := &memory{}
	var there []*audit.Event
	seq := uint64(0)
	draw := func(label string, n int) []*audit.Event {
		var events []*audit.Event
		for i := range n {
			e := searchtest.RandomEvent(t, fmt.Sprintf("%s%d.", label, i))
			seq++
			e.Seq = seq
			events = append(events, e)
		}
		return events
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "segments") {
		events := draw(fmt.Sprintf("s%d.", i), rapid.IntRange(1, 12).Draw(t, "rows"))
		every := uint64(rapid.IntRange(2, 9).Draw(t, "pruned"))
		gone := func(e *audit.Event) bool { return every < 5 && e.Seq%every == 0 }
		sealed := seal(t, events, gone)
		if rapid.Bool().Draw(t, "known") {
			sealed.known = seen(events)
		}
		view.segments = append(view.segments, sealed)
		there = append(there, slices.DeleteFunc(events, gone)...)
	}
	view.rest = draw("rest.", rapid.IntRange(0, 5).Draw(t, "rest"))
	return view, append(there, view.rest...)
}

// What the engine finds in segments is what the test over one event says.
func TestSearchIsMatchOverAllEvents(t *testing.T) {
	cases, some := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		view, there := randomTrail(t)
		for range 12 {
			q, err := query.Parse(searchtest.RandomQuery(t, 3), query.Env{Now: searchtest.Noon()})
			if err != nil {
				t.Fatal(err)
			}
			opt := Options{
				Limit: rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "limit"), OldestFirst: rapid.Bool().Draw(t, "oldest"),
				Workers: rapid.IntRange(0, 3).Draw(t, "workers"),
			}
			want := inOrder(there, q, opt)
			got, stats, err := found(t.Context(), view, q, opt)
			if err != nil {
				t.Fatalf("%s: %v", q, err)
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("%s, %+v: (-want +got)\n%s", q, opt, diff)
			}
			if stats.Found != int64(len(got)) {
				t.Fatalf("%s: found %d, and says %d", q, len(got), stats.Found)
			}
			cases++
			if len(got) > 0 && len(got) < len(there) {
				some++
			}
		}
	})
	if some < cases/10 {
		t.Errorf("only %d of %d queries told events apart", some, cases)
	}
}

// Counting says of segments what counting events one by one says.
func TestCountIsMatchOverAllEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		view, there := randomTrail(t)
		for range 8 {
			text := rapid.SampledFrom([]string{"", "kind=api ", "-verb=get ", "alice ", "since=3h "}).Draw(t, "what") + "| " + rapid.SampledFrom([]string{
				"count", "count by user", "count by actor,verb", "count by resource", "count by group", "count by ip,group", "top 2 by code", "count by requestObject.a.b",
				"first by user", "last by verb,ns", "timeline 1h", "timeline 90s", "count by seq", "count by decision", "count by rule", "count by id", "count by actor.groups,kind",
			}).Draw(t, "how")
			q, err := query.Parse(text, query.Env{Now: searchtest.Noon()})
			if err != nil {
				t.Fatal(err)
			}
			want, _, err := Count(t.Context(), &memory{rest: there}, q, Options{})
			if err != nil {
				t.Fatal(err)
			}
			got, stats, err := Count(t.Context(), view, q, Options{Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			number := gocmp.Transformer("seq", func(e *audit.Event) uint64 {
				if e == nil {
					return 0
				}
				return e.Seq
			})
			if diff := gocmp.Diff(want, got, number); diff != "" {
				t.Fatalf("%s: (-one by one +columns)\n%s", q, diff)
			}
			if stats.Found != want.Total {
				t.Fatalf("%s: found %d, and says %d", q, want.Total, stats.Found)
			}
		}
	})
}

func TestCount(t *testing.T) {
	view := &memory{rest: searchtest.People()}
	for _, tt := range []struct {
		query string
		want  []string // values and counts
	}{
		{"| count", []string{"5"}},
		{"user=nobody | count", []string{"0"}},
		{"user=nobody | count by user", nil},
		{"| count by verb", []string{" 1", "alert 1", "create 1", "get 1", "patch 1"}},
		{"| count by resource", []string{" 2", "deployments.apps 1", "pods/exec 1", "secrets 1"}},
		{"| count by user", []string{"alice 2", " 1", "root 1", "system:serviceaccount:shop:deployer 1"}},
		{"| count by actor", []string{"alice 3", " 1", "system:serviceaccount:shop:deployer 1"}},
		{"| top 1 by actor", []string{"alice 3"}},
		{"| count by ip", []string{" 2", "10.0.0.1 1", "10.1.2.3 1", "192.0.2.7 1", "2001:db8::1 1"}},
		{"user=alice | first by actor", []string{"alice 3 #2"}},
		{"user=alice | last by actor", []string{"alice 3 #5"}},
		{"kind=api since=2h | timeline 1h", []string{"10:00 1", "11:00 1"}},
		{"kind=api | timeline 12h", []string{"12:00 1", "00:00 2"}},
	} {
		g, _, err := Count(t.Context(), view, mustParse(t, tt.query), Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, group := range g.List {
			s := strings.Join(group.Values, "/")
			if g.Timeline > 0 {
				s = group.Since.Format("15:04")
			}
			if len(g.By) > 0 || g.Timeline > 0 {
				s += " "
			}
			s += strconv.FormatInt(group.Count, 10)
			if group.Event != nil {
				s += fmt.Sprintf(" #%d", group.Event.Seq)
			}
			got = append(got, s)
		}
		if diff := gocmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.query, diff)
		}
	}
}

func TestCountRefusesTooManyGroups(t *testing.T) {
	tally := newTally(mustParse(t, "| count by name").Grouping())
	tally.bytes = maxNames - 3<<20 // as many names were counted before
	var err error
	names := 0
	for ; names < 10 && err == nil; names++ {
		err = tally.one([]byte(strings.Repeat("x", 1<<20)+strconv.Itoa(names)), 0, nil)
	}
	if !errors.Is(err, ErrTooManyGroups) || names != 3 {
		t.Errorf("%d MiB of names after %d: %v", names, maxNames>>20-3, err)
	}
	tally = newTally(mustParse(t, "| timeline 1s").Grouping())
	for i := range int64(MaxBuckets + 1) {
		if err = tally.step(i*1_000_000, 1); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrTooManyGroups) {
		t.Errorf("a timeline of %d steps: %v", MaxBuckets+1, err)
	}
	// Two events far apart make steps between them.
	view := &memory{rest: []*audit.Event{{Seq: 1, Received: searchtest.Noon()}, {Seq: 2, Received: searchtest.Noon().AddDate(1, 0, 0)}}}
	if _, _, err = Count(t.Context(), view, mustParse(t, "| timeline 1m"), Options{}); !errors.Is(err, ErrTooManyGroups) {
		t.Errorf("a year by minutes: %v", err)
	}
}

// An event with thousands of values does not stop a count, and is told of.
func TestCountCutsHostileLists(t *testing.T) {
	e := &audit.Event{Seq: 1, Kind: audit.KindAPI, Received: searchtest.Noon()}
	for i := range 3000 {
		e.User.Groups = append(e.User.Groups, fmt.Sprintf("g%d", i))
		e.SourceIPs = append(e.SourceIPs, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	view := &memory{segments: []Sealed{seal(t, []*audit.Event{e}, nil)}, rest: []*audit.Event{{Seq: 2, Kind: audit.KindAPI, Received: searchtest.Noon()}, e}}
	for query, groups := range map[string]int{"| count by ip": MaxValues + 1, "| count by group,ip": MaxCombinations + 1, "| count by group,kind": MaxValues + 1, "| count by kind": 1} {
		g, _, err := Count(t.Context(), view, mustParse(t, query), Options{})
		if err != nil {
			t.Fatal(err)
		}
		cut := int64(2)
		if groups == 1 {
			cut = 0
		}
		if len(g.List) != groups || g.Cut != cut || g.Total != 3 {
			t.Errorf("%s: %d groups of %d events, %d cut", query, len(g.List), g.Total, g.Cut)
		}
	}
}

// many makes events a minute apart, in segments of 100.
func many(t *testing.T, segments int) (*memory, []int) {
	t.Helper()
	view, opened := &memory{}, make([]int, segments)
	for s := range segments {
		var events []*audit.Event
		for i := range 100 {
			n := s*100 + i
			events = append(events, &audit.Event{
				Seq: uint64(n + 1), Kind: audit.KindAPI, Verb: "get", User: audit.User{Username: fmt.Sprintf("u%d", n%7)},
				StageAt: searchtest.Noon().Add(time.Duration(n) * time.Minute),
			})
		}
		p := seal(t, events, nil)
		p.opened = &opened[s]
		view.segments = append(view.segments, p)
	}
	return view, opened
}

// A limit that the newest segment fills leaves the others alone.
func TestSearchStopsEarly(t *testing.T) {
	view, opened := many(t, 6)
	got, stats, err := found(t.Context(), view, mustParse(t, "user=u3"), Options{Limit: 5, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 5 || got[0] < got[4] || got[4] <= 500 {
		t.Errorf("found %v", got)
	}
	// Each is opened once for its place in time.
	if diff := gocmp.Diff([]int{1, 1, 1, 1, 1}, opened[:5]); diff != "" {
		t.Errorf("opened: %s", diff)
	}
	if stats.Skipped != 5 || stats.Rows != 100 || stats.Segments != 6 {
		t.Errorf("stats %+v", stats)
	}
	// Columns decide who it was, so that only what is given is read.
	if stats.Read != 5 {
		t.Errorf("read %d events for 5", stats.Read)
	}
	got, stats, err = found(t.Context(), view, mustParse(t, "user=u3 at=2026-11-21T14:00..15:00"), Options{OldestFirst: true})
	if err != nil || stats.Skipped != 5 || len(got) == 0 || got[0] > got[len(got)-1] {
		t.Errorf("an hour: %v, %+v, %v", got, stats, err)
	}
}

// A segment that cannot be read is named, and the others' events are there.
func TestUnreadableSegments(t *testing.T) {
	view, _ := many(t, 4)
	view.segments[1].(*parquet).file = []byte("PAR1 no more PAR1")
	view.segments[2].(*parquet).broken = true
	for _, limit := range []int{0, 1000} {
		got, stats, err := found(t.Context(), view, mustParse(t, "user=u3"), Options{Limit: limit, Workers: 2})
		if !errors.Is(err, ErrIncomplete) || !strings.Contains(err.Error(), "segment 101-200") || !strings.Contains(err.Error(), "the disk gave nothing") {
			t.Errorf("error: %v", err)
		}
		if len(got) != 28 || len(stats.Unreadable) != 2 || stats.Unreadable[0].Name != "101-200" || stats.Unreadable[1].Name != "201-300" {
			t.Errorf("found %d, %+v", len(got), stats.Unreadable)
		}
	}
	g, stats, err := Count(t.Context(), view, mustParse(t, "| count"), Options{})
	if !errors.Is(err, ErrIncomplete) || g == nil || g.Total != 200 || len(stats.Unreadable) != 2 {
		t.Errorf("count: %+v, %+v, %v", g, stats, err)
	}
}

// Segments that overlap in time make results wait, and those have a bound.
func TestSearchHoldsABound(t *testing.T) {
	view := &memory{}
	for s := range 4 {
		var events []*audit.Event
		for i := range 50 {
			events = append(events, &audit.Event{Seq: uint64(s*50 + i + 1), Kind: audit.KindAPI, Received: searchtest.Noon().Add(time.Duration(i) * time.Minute)})
		}
		view.segments = append(view.segments, seal(t, events, nil))
	}
	for held, want := range map[int]error{200: nil, 60: ErrTooManyResults} {
		s := &search{q: &query.Query{}, sealed: view.segments, held: held}
		if err := s.order(t.Context()); err != nil {
			t.Fatal(err)
		}
		n := 0
		err := s.run(t.Context(), func(*audit.Event) error { n++; return nil })
		if !errors.Is(err, want) || want == nil && n != 200 {
			t.Errorf("%d held: %d events, %v", held, n, err)
		}
	}
}

func TestSearchEndsWithItsCaller(t *testing.T) {
	view, _ := many(t, 3)
	enough, n := errors.New("enough"), 0
	_, err := Search(t.Context(), view, &query.Query{}, Options{}, func(*audit.Event) error {
		if n++; n == 150 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 150 {
		t.Errorf("after %d: %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := found(ctx, view, &query.Query{}, Options{}); !errors.Is(err, context.Canceled) || errors.Is(err, ErrIncomplete) {
		t.Errorf("cancelled: %v", err)
	}
	if _, _, err := found(t.Context(), view, mustParse(t, "| count"), Options{}); err == nil {
		t.Error("a search took a query that counts")
	}
	if _, _, err := Count(t.Context(), view, mustParse(t, "user=a"), Options{}); err == nil {
		t.Error("a count took a query that lists")
	}
}
