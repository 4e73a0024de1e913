package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bulwark.dev/bulwark/internal/audit"
)

// made writes a segment.
func made(tb testing.TB, first uint64, rows []Row) []byte {
	tb.Helper()
	return madeWithin(tb, first, rows, usualLimits())
}

// madeWithin writes one with other row groups.
func madeWithin(tb testing.TB, first uint64, rows []Row, most limits) []byte {
	tb.Helper()
	var out bytes.Buffer
	if err := write(tb.Context(), &out, first, rows, Meta{Notes: map[string]string{"origin": "test"}}, most); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func open(tb testing.TB, file []byte) *Reader {
	tb.Helper()
	r, err := Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func checkSame(tb testing.TB, r *Reader, first uint64, rows []Row) {
	tb.Helper()
	n := 0
	err := r.Rows(tb.Context(), 0, r.Len(), func(i int, got Row) error {
		n++
		want := rows[i]
		if want.Pruned {
			if !got.Pruned || got.Event != nil || got.Leaf != want.Leaf {
				return fmt.Errorf("row %d: a pruned row comes back as %+v", i, got)
			}
			return nil
		}
		a, b := audit.AppendCanonical(nil, want.Event), audit.AppendCanonical(nil, got.Event)
		if !bytes.Equal(a, b) {
			return fmt.Errorf("row %d:\nwritten  %s\nrebuilt  %s", i, a, b)
		}
		if got.Event.Seq != first+uint64(i) {
			return fmt.Errorf("row %d: number %d", i, got.Event.Seq)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	if n != len(rows) {
		tb.Fatalf("%d rows came back of %d", n, len(rows))
	}
}

func TestEventsComeBackExactly(t *testing.T) {
	const each = 1000
	rows := newTraffic(1).rows(4*each + 300)
	file := madeWithin(t, 41, rows, limits{each, groupBytes})
	r := open(t, file)
	if len(r.groups) != 5 {
		t.Errorf("%d row groups", len(r.groups))
	}
	if r.First() != 41 || r.Last() != 40+uint64(len(rows)) || r.Len() != len(rows) || r.Meta().Notes["origin"] != "test" {
		t.Errorf("first %d, last %d, length %d, meta %v", r.First(), r.Last(), r.Len(), r.Meta().Notes)
	}
	checkSame(t, r, 41, rows)
	var from, to time.Time
	for _, row := range rows {
		if at := row.Event.Time(); from.IsZero() || at.Before(from) {
			from = at
		}
		if at := row.Event.Time(); at.After(to) {
			to = at
		}
	}
	if a, b := r.TimeRange(); !a.Equal(from) || !b.Equal(to) {
		t.Errorf("time range %s to %s, want %s to %s", a, b, from, to)
	}
	if got := r.Meta().Kinds[audit.KindAPI]; got != len(rows) {
		t.Errorf("%d events of kind api, want %d", got, len(rows))
	}
	faults, err := r.Check(t.Context(), func(i int, leaf [32]byte) error {
		if leaf != rows[i].Leaf {
			return fmt.Errorf("leaf %d is another", i)
		}
		return nil
	})
	if err != nil || len(faults) > 0 {
		t.Errorf("check: %v, %v", faults, err)
	}
	if again := madeWithin(t, 41, rows, limits{each, groupBytes}); !bytes.Equal(again, file) {
		t.Error("the same rows give another file")
	}
	events, err := r.Events([]int32{each + 1, 0, 7})
	if err != nil {
		t.Fatal(err)
	}
	for n, i := range []int{each + 1, 0, 7} {
		if diff := cmp.Diff(rows[i].Event, events[n], cmpopts.IgnoreUnexported(audit.Event{}), cmpopts.IgnoreFields(audit.Event{}, "Seq"), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("row %d (-written +rebuilt):\n%s", i, diff)
		}
	}
}

func TestMerkleRoot(t *testing.T) {
	// The recursion of RFC 6962, section 2.1, in its own words.
	var mth func(d [][32]byte) [32]byte
	mth = func(d [][32]byte) [32]byte {
		if len(d) == 1 {
			return d[0]
		}
		k := 1
		for k*2 < len(d) {
			k *= 2
		}
		return node(mth(d[:k]), mth(d[k:]))
	}
	for n := 1; n <= 70; n++ {
		leaves := make([][32]byte, n)
		for i := range leaves {
			leaves[i] = [32]byte{byte(i), byte(n)}
		}
		want := mth(leaves)
		if got := newHasher().root(leaves); got != want {
			t.Errorf("%d leaves: %x, want %x", n, got, want)
		}
	}
}

func TestHostileEventsComeBackExactly(t *testing.T) {
	for seed := range uint64(15) {
		h := hostile{rand.New(rand.NewPCG(seed, 1))}
		rows := h.rows(t, 1+h.rand.IntN(300))
		first := 1 + h.rand.Uint64N(1<<62)
		r := open(t, made(t, first, rows))
		checkSame(t, r, first, rows)
		if faults, err := r.Check(t.Context(), nil); err != nil || len(faults) > 0 {
			t.Errorf("seed %d: check: %v, %v", seed, faults, err)
		}
	}
}

func TestLargeBodiesSplitRowGroups(t *testing.T) {
	hash := newHasher()
	rows := make([]Row, 40)
	for i := range rows {
		e := &audit.Event{Kind: audit.KindAPI, ResponseObject: fmt.Appendf(nil, `"%d%s"`, i, strings.Repeat("y", 1<<12))}
		rows[i] = Row{Event: e, Leaf: hash.leaf(e)}
	}
	r := open(t, madeWithin(t, 1, rows, limits{groupRows, 1 << 14}))
	if len(r.groups) != 10 {
		t.Errorf("%d row groups", len(r.groups))
	}
	checkSame(t, r, 1, rows)
}

func TestWriteRefuses(t *testing.T) {
	rows := func() []Row { return newTraffic(1).rows(3) }
	wrongLeaf := rows()
	wrongLeaf[1].Leaf[31] ^= 1
	noEvent := rows()
	noEvent[2].Event = nil
	otherNumber := rows()
	otherNumber[0].Event.Seq = 9
	tooLong := rows()
	tooLong[0].Event.More = append(append([]byte(`"`), bytes.Repeat([]byte("x"), maxText)...), '"')
	for name, test := range map[string]struct {
		first uint64
		rows  []Row
	}{
		"no rows":          {1, nil},
		"number 0":         {0, rows()},
		"number too large": {1 << 63, rows()},
		"another leaf":     {1, wrongLeaf},
		"no event":         {1, noEvent},
		"another number":   {1, otherNumber},
		"a text too long":  {1, tooLong},
	} {
		var out bytes.Buffer
		if err := Write(&out, test.first, test.rows, Meta{}); err == nil || out.Len() > 0 {
			t.Errorf("%s: error %v, %d bytes written", name, err, out.Len())
		}
	}
}

func TestPrune(t *testing.T) {
	rows := newTraffic(2).rows(2000)
	for i := range rows {
		if i%3 == 0 {
			rows[i].Event.User.Username = "person-to-forget@example.com"
			rows[i].Leaf = newHasher().leaf(rows[i].Event)
		}
	}
	r := open(t, made(t, 7, rows))
	var out bytes.Buffer
	n, err := Prune(t.Context(), &out, r, func(e *audit.Event) bool { return strings.HasPrefix(e.User.Username, "person-to-forget") })
	if err != nil || n != 667 {
		t.Fatalf("pruned %d: %v", n, err)
	}
	p := open(t, out.Bytes())
	for i := range rows {
		if i%3 == 0 {
			rows[i].Event, rows[i].Pruned = nil, true
		}
	}
	checkSame(t, p, 7, rows)
	if p.First() != r.First() || p.Last() != r.Last() || !cmp.Equal(p.Meta().Blocks, r.Meta().Blocks) || p.Meta().Notes["origin"] != "test" {
		t.Error("the pruned segment says something else of itself")
	}
	all, err := p.Find(t.Context(), Query{})
	if err != nil || len(all) != 2000-667 {
		t.Errorf("%d rows are left: %v", len(all), err)
	}
	for id := range columnCount {
		dict, err := p.loadDictionary(p.groups[0], id)
		if err != nil || strings.Contains(strings.Join(dict, "\n"), "forget") {
			t.Errorf("column %d still knows: %v", id, err)
		}
	}
	if again, err := Prune(t.Context(), &out, p, func(*audit.Event) bool { return false }); err != nil || again != 0 {
		t.Errorf("pruning a pruned segment: %d, %v", again, err)
	}
}

// TestCheckNamesTheEditedEvent edits events and writes a sound file of them, with the tags
// and block roots of the old ones: what somebody would do who knows the format.
func TestCheckNamesTheEditedEvent(t *testing.T) {
	rows := newTraffic(3).rows(1000)
	said := open(t, made(t, 100, rows)).Meta()
	rows[512].Event.User.Username = "nobody"
	enc, err := newEncoder()
	if err != nil {
		t.Fatal(err)
	}
	g := newGroup(len(rows))
	for i := range rows {
		if err := g.add(100+uint64(i), &rows[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := enc.addGroup(g, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	file, err := enc.finish(said.notes(100, len(rows)))
	if err != nil {
		t.Fatal(err)
	}
	r := open(t, file)
	faults, err := r.Check(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(faults) != 2 || faults[0].Seq != 612 || !strings.Contains(faults[1].What, "events 612 to 867") {
		t.Errorf("faults: %v", faults)
	}
	if _, err := Prune(t.Context(), &bytes.Buffer{}, r, func(*audit.Event) bool { return false }); !errors.Is(err, ErrFormat) {
		t.Errorf("an edited segment was pruned: %v", err)
	}
}

func TestManyReadAtOnce(t *testing.T) {
	rows := newTraffic(4).rows(900)
	r := open(t, madeWithin(t, 1, rows, limits{150, groupBytes}))
	readAtOnce(t, r)
	// The same when there is room for almost nothing: every row group is let go of at once.
	r = open(t, madeWithin(t, 1, rows, limits{150, groupBytes}))
	r.most = 1
	readAtOnce(t, r)
	checkSame(t, r, 1, rows)
	held := 0
	for _, g := range r.groups {
		for id := range g.columns {
			if g.columns[id].dictDone {
				held++
			}
		}
	}
	if held > int(columnCount) {
		t.Errorf("%d columns are held", held)
	}
}

func readAtOnce(t *testing.T, r *Reader) {
	t.Helper()
	var wait sync.WaitGroup
	for n := range 8 {
		wait.Go(func() {
			q := Query{Conditions: []Condition{{Field: "verb", Test: func(s string) bool { return s == "update" }}}}
			found, err := r.Find(context.Background(), q)
			if err != nil || len(found) == 0 {
				t.Errorf("%d found: %v", len(found), err)
				return
			}
			if _, err := r.Values(Columns()[n], found); err != nil {
				t.Error(err)
			}
			events, err := r.Events(found)
			if err != nil || events[0].Verb != "update" {
				t.Errorf("events: %v", err)
			}
		})
	}
	wait.Wait()
}

// TestListsAreCanonicalJSON: Text and other readers see the text of the canonical form.
func TestListsAreCanonicalJSON(t *testing.T) {
	for c := range rune(0x300) {
		list := []string{string(c) + "x", "y" + string(c)}
		got := string(appendList(nil, list))
		want, err := audit.CanonicalJSON([]byte(got))
		if err != nil || got != string(want) {
			t.Errorf("character %U: %s, want %s: %v", c, got, want, err)
		}
		if back, err := parseList(got); err != nil || !cmp.Equal(back, list) {
			t.Errorf("character %U comes back as %q: %v", c, back, err)
		}
	}
}

func TestText(t *testing.T) {
	rows := newTraffic(12).rows(900)
	rows[700].Event.RequestObject = []byte(`{"secret-sauce":1}`)
	rows[701].Event.Annotations = map[string]string{"a": "secret-sauce"}
	for _, i := range []int{700, 701} {
		rows[i].Leaf = newHasher().leaf(rows[i].Event)
	}
	rows[3] = Row{Leaf: rows[3].Leaf, Pruned: true}
	r := open(t, madeWithin(t, 1, rows, limits{200, groupBytes}))
	for _, want := range []string{"secret-sauce", "person3@example.com", rows[77].Event.AuditID, keyDecision + `":"forbid`, "no such text"} {
		var expect []int32
		for i, row := range rows {
			if !row.Pruned && bytes.Contains(audit.AppendCanonical(nil, row.Event), []byte(want)) {
				expect = append(expect, int32(i))
			}
		}
		got, err := r.Text(t.Context(), func(text []byte) bool { return bytes.Contains(text, []byte(want)) })
		if diff := cmp.Diff(expect, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", want, err, diff)
		}
	}
}
