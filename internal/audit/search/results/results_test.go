package results

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search"
	"bulwark.dev/bulwark/internal/audit/search/plain"
	"bulwark.dev/bulwark/internal/audit/search/query"
	"bulwark.dev/bulwark/internal/audit/search/searchtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func mustParse(t *testing.T, text string) *query.Query {
	t.Helper()
	q, err := query.Parse(text, query.Env{Now: searchtest.Noon()})
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// unsealed is a trail without segments.
type unsealed []*audit.Event

func (unsealed) Segments() []search.Sealed { return nil }

func (u unsealed) Unsealed(_ context.Context, fn func(*audit.Event) error) error {
	for _, e := range u {
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// The guide names every form.
func TestGuide(t *testing.T) {
	page, err := os.ReadFile("../../../../docs/guide/audit-search.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range Formats() {
		if !strings.Contains(string(page), "| `"+form+"` |") {
			t.Errorf("the guide does not name the form %s", form)
		}
	}
}

// render writes events, or the groups that a query makes of them.
func render(t *testing.T, form string, style Style, text string) string {
	t.Helper()
	var b bytes.Buffer
	out, err := New(&b, form, style)
	if err != nil {
		t.Fatal(err)
	}
	q, view := mustParse(t, text), unsealed(append(searchtest.People(), searchtest.Hostile()))
	if q.Groups() {
		g, _, err := search.Count(t.Context(), view, q, search.Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = out.Groups(g)
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if _, err := search.Search(t.Context(), view, q, search.Options{}, out.Event); err != nil {
		t.Fatal(err)
	}
	if err := out.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Each form of output, as it was agreed on: testdata/output.txtar.
func TestOutput(t *testing.T) {
	const file = "testdata/output.txtar"
	got := &txtar.Archive{Comment: []byte("Results in each form, of the events of people and hostile. Rewritten by go test -update.\n")}
	for _, c := range []struct {
		name, form, query string
		style             Style
	}{
		{"table", "table", "", Style{}},
		{"table-120", "table", "", Style{Width: 120, Location: time.FixedZone("", 3600)}},
		{"table-100", "table", "", Style{Width: 100}},
		{"table-60", "table", "", Style{Width: 60}},
		{"table-color", "table", "kind=alert or code>=400", Style{Width: 120, Color: true}},
		{"table-count", "table", "| count by user,ip", Style{Width: 80}},
		{"table-total", "table", "| count", Style{}},
		{"table-top", "table", "| top 2 by user", Style{}},
		{"table-first", "table", "| first by kind", Style{Width: 100}},
		{"table-timeline", "table", "since=3h | timeline 30m", Style{Width: 60}},
		{"json", "json", "", Style{}},
		{"json-count", "json", "| count by user", Style{}},
		{"json-last", "json", "kind=api | last by kind", Style{}},
		{"json-timeline", "json", "since=3h | timeline 1h", Style{}},
		{"csv", "csv", "", Style{}},
		{"csv-count", "csv", "| count by user", Style{}},
		{"csv-first", "csv", "kind=alert | first by rule", Style{}},
		{"csv-timeline", "csv", "since=3h | timeline 1h", Style{}},
		{"ocsf", "ocsf", "", Style{Version: "1.2.3"}},
	} {
		text := render(t, c.form, c.style, c.query)
		if c.form == "csv" {
			if !strings.HasSuffix(text, "\r\n") {
				t.Errorf("%s: lines do not end as RFC 4180 wants", c.name)
			}
			text = strings.ReplaceAll(text, "\r\n", "\n") // so that the golden file is a text
		}
		text = strings.ReplaceAll(text, "\x1b", "␛")
		if strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), plain.Hidden) {
			t.Errorf("%s has a hidden character", c.name)
		}
		got.Files = append(got.Files, txtar.File{Name: c.name, Data: []byte(text)})
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Files) != len(got.Files) {
		t.Errorf("%d forms, the file has %d", len(got.Files), len(want.Files))
	}
	for i := range min(len(want.Files), len(got.Files)) {
		if diff := cmp.Diff(string(want.Files[i].Data), string(got.Files[i].Data)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", got.Files[i].Name, diff)
		}
	}
}

// Whatever an event has, a table has no control character, and no line is wider
// than the terminal; a sheet has no formula; each line of JSON is the event.
func TestOutputOfAnything(t *testing.T) {
	ocsf := published(t)
	rapid.Check(t, func(t *rapid.T) {
		wild := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\x1b[31m", "=1+1", "@a", "\u2066x", "a\r\nb", "-1", "e\u0301", "漢字", "\xff"}))
		e := &audit.Event{
			Seq: 7, Kind: audit.KindAPI, Verb: wild.Draw(t, "verb"), User: audit.User{Username: wild.Draw(t, "user")}, UserAgent: wild.Draw(t, "agent"),
			Object:    audit.ObjectRef{Resource: wild.Draw(t, "resource"), Namespace: wild.Draw(t, "ns"), Name: wild.Draw(t, "name")},
			SourceIPs: []string{wild.Draw(t, "ip")}, Status: audit.Status{Code: 200, Reason: wild.Draw(t, "reason")}, StageAt: searchtest.Noon(),
		}
		width := rapid.IntRange(60, 200).Draw(t, "width")
		g := &search.Groups{By: []string{"user", "ip"}, List: []search.Group{{Values: []string{e.User.Username, e.SourceIPs[0]}, Count: 3, Since: searchtest.Noon(), Until: searchtest.Noon()}}}
		for _, form := range Formats() {
			var b bytes.Buffer
			out, err := New(&b, form, Style{Width: width})
			if err != nil {
				t.Fatal(err)
			}
			if err := out.Event(e); err != nil {
				t.Fatal(err)
			}
			if form != "ocsf" {
				if err := out.Groups(g); err != nil {
					t.Fatal(err)
				}
			}
			if err := out.Flush(); err != nil {
				t.Fatal(err)
			}
			checkForm(t, ocsf, form, b.String(), width, e)
		}
	})
}

func checkForm(t *rapid.T, schema *schema, form, text string, width int, e *audit.Event) {
	switch form {
	case "table":
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if strings.ContainsFunc(line, plain.Hidden) {
				t.Fatalf("a control character in %q", line)
			}
			if plain.Cells(line) > width {
				t.Fatalf("%d columns in a terminal of %d: %q", plain.Cells(line), width, line)
			}
		}
	case "csv":
		r := csv.NewReader(strings.NewReader(text))
		r.FieldsPerRecord = -1
		rows, err := r.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) != 4 {
			t.Fatalf("%d lines", len(rows))
		}
		for _, row := range rows {
			for _, c := range row {
				if c != "" && strings.ContainsAny(c[:1], "=+-@\t\r") || strings.ContainsFunc(c, plain.Hidden) {
					t.Fatalf("cell %q", c)
				}
			}
		}
	case "json":
		line, rest, _ := strings.Cut(text, "\n")
		if strings.ContainsFunc(line+strings.TrimSpace(rest), plain.Hidden) {
			t.Fatalf("a hidden character in %q", text)
		}
		var got, want map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(audit.AppendCanonical(nil, e), &want); err != nil {
			t.Fatal(err)
		}
		want["seq"], want["time"] = 7.0, "2026-11-21T12:00:00.000000Z"
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	case "ocsf":
		if strings.ContainsFunc(strings.TrimSpace(text), plain.Hidden) {
			t.Fatalf("a hidden character in %q", text)
		}
		if _, err := schema.check([]byte(text)); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
}

func TestFollower(t *testing.T) {
	var b bytes.Buffer
	out, err := New(&b, "json", Style{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFollower(mustParse(t, "actor=alice"), out)
	if err != nil {
		t.Fatal(err)
	}
	printed := 0
	for _, e := range searchtest.People() {
		before := b.Len()
		ok, err := f.Event(e)
		if err != nil {
			t.Fatal(err)
		}
		if ok != (b.Len() > before) {
			t.Errorf("event %d: says %v, and wrote %d bytes", e.Seq, ok, b.Len()-before)
		}
		if ok {
			printed++
		}
	}
	if printed != 3 {
		t.Errorf("printed %d", printed)
	}
	if _, err := NewFollower(mustParse(t, "| count"), out); err == nil {
		t.Error("a follower took a query that counts")
	}
	if _, err := New(&b, "xml", Style{}); err == nil {
		t.Error("there is no XML")
	}
}
