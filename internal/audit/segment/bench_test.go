package segment

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"bulwark.dev/bulwark/internal/audit"
)

// TestSize asserts what an event costs on disk, and logs each column's share.
func TestSize(t *testing.T) {
	rows := newTraffic(7).rows(groupRows)
	file := made(t, 1, rows)
	f, err := readFooter(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	pages := 0.0
	for id, c := range f.groups[0].columns {
		share := float64(c.size) / groupRows
		pages += share
		if share >= 0.05 {
			t.Logf("%-26s %6.2f B/event", columnSpecs()[id].name, share)
		}
	}
	raw := 0
	for _, row := range rows {
		raw += len(audit.AppendCanonical(nil, row.Event))
	}
	each := float64(len(file)) / groupRows
	t.Logf("footer and small columns    %.2f; in all %.2f B/event for %d canonical bytes", each-pages, each, raw/len(rows))
	if each > 70 {
		t.Errorf("%.2f bytes an event, want at most 70", each)
	}
}

func BenchmarkWrite(b *testing.B) {
	rows := newTraffic(7).rows(groupRows)
	b.ReportAllocs()
	for b.Loop() {
		if err := Write(io.Discard, 1, rows, Meta{}); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, len(rows))
}

func perEvent(b *testing.B, rows int) {
	b.Helper()
	each := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / float64(rows)
	b.ReportMetric(each, "ns/event")
	b.ReportMetric(1e3/each, "Mevents/s")
	b.ReportMetric(0, "ns/op")
}

func BenchmarkEncode(b *testing.B) {
	rows := newTraffic(7).rows(groupRows)
	for b.Loop() {
		enc, err := newEncoder()
		if err != nil {
			b.Fatal(err)
		}
		g := newGroup(len(rows))
		for i := range rows {
			if err := g.add(1+uint64(i), &rows[i]); err != nil {
				b.Fatal(err)
			}
		}
		if err := enc.addGroup(g, func() error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, len(rows))
}

func BenchmarkRows(b *testing.B) {
	file := made(b, 1, newTraffic(7).rows(groupRows))
	b.ReportAllocs()
	for b.Loop() {
		r := open(b, file)
		if err := r.Rows(b.Context(), 0, r.Len(), func(int, Row) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, groupRows)
}

func BenchmarkCheck(b *testing.B) {
	file := made(b, 1, newTraffic(7).rows(groupRows))
	for b.Loop() {
		if faults, err := open(b, file).Check(b.Context(), nil); err != nil || len(faults) > 0 {
			b.Fatal(faults, err)
		}
	}
	perEvent(b, groupRows)
}

func BenchmarkFind(b *testing.B) {
	file := made(b, 1, newTraffic(7).rows(groupRows))
	is := func(want string) func(string) bool { return func(s string) bool { return s == want } }
	for _, test := range []struct {
		name  string
		query Query
	}{
		{"verb", Query{Conditions: []Condition{{Field: "verb", Test: is("watch")}}}},
		{"user", Query{Conditions: []Condition{{Field: "user.username", Test: is("person3@example.com")}}}},
		{"nobody", Query{Conditions: []Condition{{Field: "user.username", Test: is("mallory")}}}},
		{"group", Query{Conditions: []Condition{{Field: "user.groups", Test: is("oidc:team-3")}}}},
		{"three", Query{Conditions: []Condition{
			{Field: "user.username", Test: is("person3@example.com")}, {Field: "verb", Test: is("get")}, {Field: "objectRef.resource", Test: is("secrets")},
		}}},
	} {
		for _, state := range []string{"cold", "warm"} {
			b.Run(fmt.Sprintf("%s/%s", test.name, state), func(b *testing.B) {
				r := open(b, file)
				found := 0
				for b.Loop() {
					if state == "cold" {
						r = open(b, file)
					}
					rows, err := r.Find(b.Context(), test.query)
					if err != nil {
						b.Fatal(err)
					}
					found = len(rows)
				}
				perEvent(b, groupRows)
				b.ReportMetric(float64(found), "found")
			})
		}
	}
}
