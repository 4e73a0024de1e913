package segment

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
)

// meets is what a condition says, told by the event instead of the columns.
func meets(field audit.Field, e *audit.Event, c Condition) bool {
	met, values := false, 0
	field.Each(e, func(v audit.Value) bool {
		values++
		met = met || c.Test != nil && c.Test(v.Text)
		return true
	})
	return (met || values == 0 && c.Absent) != c.Not
}

func testedFields() []string {
	return append(audit.FixedFields(), "annotations."+keyDecision, "annotations."+keyDecisionReason, "annotations.a",
		"user.extra.a", "impersonatedUser.extra.a", "user.extra.authentication.kubernetes.io/pod-name")
}

func TestFieldsOfColumns(t *testing.T) {
	fixed := slices.Sorted(slices.Values(Columns()))
	if diff := cmp.Diff(audit.FixedFields(), fixed); diff != "" {
		t.Errorf("Columns does not list the fixed fields (-fixed +columns):\n%s", diff)
	}
	for _, field := range testedFields() {
		if !Decides(field) {
			t.Errorf("%s is not decided", field)
		}
	}
	for _, field := range []string{"", "annotations.", "user.extra.", "requestObject.a", "requestObject", "more.a", "verb.x", "received"} {
		if Decides(field) {
			t.Errorf("%s is decided", field)
		}
	}
}

// TestFindAgreesWithEvents asks every field, in hostile and in ordinary events, and
// compares with what audit.Field says of the event itself.
func TestFindAgreesWithEvents(t *testing.T) {
	ran, hits := 0, 0
	for seed := range uint64(4) {
		h := hostile{rand.New(rand.NewPCG(seed, 2))}
		rows := h.rows(t, 120)
		if seed%2 == 1 {
			rows = newTraffic(seed).rows(120)
		}
		r := open(t, made(t, 1, rows))
		for _, field := range testedFields() {
			compiled, err := audit.ParseField(field)
			if err != nil {
				t.Fatal(err)
			}
			wanted := []string{"", "no such text", "true", "false"}
			for range 3 {
				if row := rows[h.rand.IntN(len(rows))]; !row.Pruned {
					compiled.Each(row.Event, func(v audit.Value) bool { wanted = append(wanted, v.Text); return true })
				}
			}
			for _, want := range wanted {
				for n := range 8 {
					c := Condition{Field: field, Absent: n&1 != 0, Not: n&2 != 0}
					if n&4 != 0 {
						c.Test = func(text string) bool { return text == want }
					}
					var expect []int32
					for i, row := range rows {
						if !row.Pruned && meets(compiled, row.Event, c) {
							expect = append(expect, int32(i))
						}
					}
					got, err := r.Find(t.Context(), Query{Conditions: []Condition{c}})
					if err != nil || !slices.Equal(got, expect) {
						t.Fatalf("seed %d, %s %q, absent %t, not %t: got %d rows, want %d: %v", seed, field, want, c.Absent, c.Not, len(got), len(expect), err)
					}
					ran++
					hits += len(got)
				}
			}
			all := make([]int32, len(rows))
			for i := range all {
				all[i] = int32(i)
			}
			values, err := r.Values(field, all)
			if err != nil {
				t.Fatal(err)
			}
			lists, err := r.Lists(field, all)
			if s, _ := resolve(field); (s.origin == fromColumn || s.origin == fromActor) != (err == nil) {
				t.Fatalf("%s: lists: %v", field, err)
			}
			for i, row := range rows {
				want := ""
				var several []string
				if !row.Pruned {
					want = compiled.First(row.Event)
					compiled.Each(row.Event, func(v audit.Value) bool { several = append(several, v.Text); return true })
				}
				if err == nil && !slices.Equal(lists[i], several) {
					t.Fatalf("seed %d, %s of row %d: %q, want %q", seed, field, i, lists[i], several)
				}
				if values[i] != want {
					t.Fatalf("seed %d, %s of row %d: %q, want %q", seed, field, i, values[i], want)
				}
			}
		}
	}
	if ran < 4*len(testedFields())*32 || hits == 0 {
		t.Errorf("%d searches ran with %d hits", ran, hits)
	}
}

func TestFindByTimeAndSeveral(t *testing.T) {
	for seed := range uint64(4) {
		h := hostile{rand.New(rand.NewPCG(seed, 3))}
		rows := h.rows(t, 500)
		if seed%2 == 1 {
			rows = newTraffic(seed).rows(500)
		}
		r := open(t, made(t, 1, rows))
		for range 40 {
			var q Query
			for _, at := range []*time.Time{&q.From, &q.To} {
				if row := rows[h.rand.IntN(len(rows))]; !row.Pruned && h.rand.IntN(4) > 0 {
					*at = row.Event.Time().Add(time.Duration(h.rand.IntN(5)-2) * 500 * time.Nanosecond)
				}
			}
			var fields []audit.Field
			for _, field := range []string{"verb", "user.groups"}[:h.rand.IntN(3)] {
				compiled, err := audit.ParseField(field)
				if err != nil {
					t.Fatal(err)
				}
				fields = append(fields, compiled)
				q.Conditions = append(q.Conditions, Condition{Field: field, Test: func(text string) bool { return len(text)%2 == 0 }, Absent: h.rand.IntN(2) == 0})
			}
			var expect []int32
			for i, row := range rows {
				ok := !row.Pruned && (q.From.IsZero() || !row.Event.Time().Before(q.From)) && (q.To.IsZero() || row.Event.Time().Before(q.To))
				for n, c := range q.Conditions {
					ok = ok && meets(fields[n], row.Event, c)
				}
				if ok {
					expect = append(expect, int32(i))
				}
			}
			got, err := r.Find(t.Context(), q)
			if err != nil || !slices.Equal(got, expect) {
				t.Fatalf("seed %d, %s to %s, %d conditions: got %d rows, want %d: %v", seed, q.From, q.To, len(q.Conditions), len(got), len(expect), err)
			}
			times, err := r.Times(got)
			if err != nil {
				t.Fatal(err)
			}
			for n, i := range got {
				if !times[n].Equal(rows[i].Event.Time()) {
					t.Errorf("row %d is of %s, want %s", i, times[n], rows[i].Event.Time())
				}
			}
		}
	}
}

func TestFindAcrossRowGroups(t *testing.T) {
	rows := newTraffic(9).rows(2500)
	r := open(t, madeWithin(t, 1, rows, limits{1000, groupBytes}))
	var expect []int32
	for i, row := range rows {
		if row.Event.Status.Code == 403 {
			expect = append(expect, int32(i))
		}
	}
	got, err := r.Find(t.Context(), Query{Conditions: []Condition{{Field: "responseStatus.code", Test: func(s string) bool { return s == "403" }}}})
	if err != nil || !slices.Equal(got, expect) || got[len(got)-1] < 2000 {
		t.Errorf("%d rows, want %d: %v", len(got), len(expect), err)
	}
	names, err := r.Values("actor.username", got)
	if err != nil || !strings.HasSuffix(names[len(names)-1], "@example.com") {
		t.Errorf("names: %v", err)
	}
}

func TestFindRefuses(t *testing.T) {
	r := open(t, made(t, 1, newTraffic(1).rows(10)))
	if _, err := r.Find(t.Context(), Query{Conditions: []Condition{{Field: "requestObject.spec"}}}); err == nil {
		t.Error("a field within a body was searched")
	}
	for _, row := range []int32{-1, 10} {
		_, err1 := r.Values("verb", []int32{row})
		_, err2 := r.Events([]int32{row})
		_, err3 := r.Times([]int32{row})
		if err1 == nil || err2 == nil || err3 == nil {
			t.Errorf("row %d was read", row)
		}
	}
	if err := r.Rows(t.Context(), 0, 11, func(int, Row) error { return fmt.Errorf("called") }); err == nil || err.Error() == "called" {
		t.Errorf("rows beyond the end: %v", err)
	}
}
