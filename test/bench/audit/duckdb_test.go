package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestSame: an answer that differs in anything is none.
func TestSame(t *testing.T) {
	t.Parallel()
	const two = "seq,user,count\n2,ann,1\n1,\"b\"\"o\",7\n"
	cells := func(seq json.Number, user any, count int) []any { return []any{seq, user, count, "not in the CSV"} }
	for _, tt := range []struct {
		name, csv string
		columns   []string
		rows      [][]any
		want      string
	}{
		{"the same", two, []string{"seq", "user", "count", "other"}, [][]any{cells("2", "ann", 1), cells("1", `b"o`, 7)}, ""},
		{"nothing, by both", "", []string{"seq"}, nil, ""},
		{"null is empty", "seq,user,count\n1,,0\n", []string{"seq", "user", "count", "other"}, [][]any{cells("1", nil, 0)}, ""},
		{"one row less", two, []string{"seq", "user", "count", "other"}, [][]any{cells("2", "ann", 1)}, "1 rows, where Bulwark has 2"},
		{"rows where there are none", "", []string{"seq"}, [][]any{{json.Number("1")}}, "1 rows, where Bulwark has 0"},
		{"another order", two, []string{"seq", "user", "count", "other"}, [][]any{cells("1", `b"o`, 7), cells("2", "ann", 1)}, `seq of row 0 is "1"`},
		{"another value", two, []string{"seq", "user", "count", "other"}, [][]any{cells("2", "ann", 1), cells("1", `b"o`, 8)}, `count of row 1 is "8", where Bulwark has "7"`},
		{"other names", two, []string{"seq", "User", "count", "other"}, [][]any{cells("2", "ann", 1), cells("1", `b"o`, 7)}, "only 2 of 3 columns"},
		{"no CSV", "a,b\n1\n", []string{"seq"}, nil, "read our answer"},
	} {
		a := &answer{Rows: tt.rows}
		for _, name := range tt.columns {
			a.Columns = append(a.Columns, struct{ Name, Type string }{Name: name})
		}
		q := query{answer: []byte(tt.csv), columns: min(3, len(tt.columns))}
		_, err := q.same(a)
		if got := err != nil; got != (tt.want != "") || got && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestTable: whoever is quicker is named, and without DuckDB there is no column of it.
func TestTable(t *testing.T) {
	t.Parallel()
	r := results{events: 10, verify: spent{wall: time.Second}, queries: []query{
		{name: "won", spent: spent{100 * time.Millisecond, 200 * time.Millisecond, 5 << 20}, peer: spent{250 * time.Millisecond, 100 * time.Millisecond, 7 << 20}},
		{name: "lost", spent: spent{time.Second, time.Second, 0}, peer: spent{100 * time.Millisecond, 0, 0}},
	}}
	if text := r.table(); strings.Contains(text, "DuckDB") || !strings.Contains(text, "| won | 100ms (200ms of processors, 5 MiB) |\n") {
		t.Errorf("without DuckDB:\n%s", text)
	}
	r.peerVersion = "v1"
	text := r.table()
	for _, line := range []string{
		"| search | Bulwark | DuckDB v1 | quicker | less processor time |\n",
		"| won | 100ms (200ms of processors, 5 MiB) | 250ms (100ms of processors, 7 MiB) | Bulwark, 2.5 × | DuckDB, 2.0 × |\n",
		"| lost | 1s (1s of processors, 0 MiB) | 100ms (0s of processors, 0 MiB) | DuckDB, 10.0 × | not measured |\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%s is not in\n%s", line, text)
		}
	}
}
