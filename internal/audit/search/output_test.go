package search

import (
	"bytes"
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
)

var update = flag.Bool("update", false, "rewrite the golden files")

// hostile is an event whose every text is an attack on whoever prints it.
func hostile() *audit.Event {
	return &audit.Event{
		Seq: 9, Kind: audit.KindAPI, Verb: "get\x1b]0;owned\a", User: audit.User{Username: "=HYPERLINK(\"http://evil\")\x1b[2J", Groups: []string{"@SUM(1)", "a\r\nb"}},
		Impersonated: &audit.User{Username: "\u202egnp.exe\u200b"}, SourceIPs: []string{"\t10.0.0.1"}, UserAgent: "+1\x00\xff", RequestURI: "-1\r\nforged,line",
		Object: audit.ObjectRef{Resource: "＝pods", Namespace: "名前空間", Name: strings.Repeat("long", 40)}, Status: audit.Status{Code: 403, Reason: "@x"},
		StageAt: noon(), AuditID: "'\u00a0x",
	}
}

// render writes events, or the groups that a query makes of them.
func render(t *testing.T, form string, style Style, query string) string {
	t.Helper()
	var b bytes.Buffer
	out, err := NewOutput(&b, form, style)
	if err != nil {
		t.Fatal(err)
	}
	q, view := mustParse(t, query), &memory{rest: append(people(), hostile())}
	if q.Groups() {
		g, _, err := Count(t.Context(), view, q, Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = out.Groups(g)
		if err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if _, err := Search(t.Context(), view, q, Options{}, out.Event); err != nil {
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
		if strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), hidden) {
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
	rapid.Check(t, func(t *rapid.T) {
		wild := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"\x1b[31m", "=1+1", "@a", "\u2066x", "a\r\nb", "-1", "e\u0301", "漢字", "\xff"}))
		e := &audit.Event{
			Seq: 7, Kind: audit.KindAPI, Verb: wild.Draw(t, "verb"), User: audit.User{Username: wild.Draw(t, "user")}, UserAgent: wild.Draw(t, "agent"),
			Object:    audit.ObjectRef{Resource: wild.Draw(t, "resource"), Namespace: wild.Draw(t, "ns"), Name: wild.Draw(t, "name")},
			SourceIPs: []string{wild.Draw(t, "ip")}, Status: audit.Status{Code: 200, Reason: wild.Draw(t, "reason")}, StageAt: noon(),
		}
		width := rapid.IntRange(60, 200).Draw(t, "width")
		g := &Groups{By: []string{"user", "ip"}, List: []Group{{Values: []string{e.User.Username, e.SourceIPs[0]}, Count: 3, Since: noon(), Until: noon()}}}
		for _, form := range Formats() {
			var b bytes.Buffer
			out, err := NewOutput(&b, form, Style{Width: width})
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
			checkForm(t, form, b.String(), width, e)
		}
	})
}

func checkForm(t *rapid.T, form, text string, width int, e *audit.Event) {
	switch form {
	case "table":
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if strings.ContainsFunc(line, hidden) {
				t.Fatalf("a control character in %q", line)
			}
			if cells(line) > width {
				t.Fatalf("%d columns in a terminal of %d: %q", cells(line), width, line)
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
				if c != "" && strings.ContainsAny(c[:1], "=+-@\t\r") || strings.ContainsFunc(c, hidden) {
					t.Fatalf("cell %q", c)
				}
			}
		}
	case "json":
		line, rest, _ := strings.Cut(text, "\n")
		if strings.ContainsFunc(line+strings.TrimSpace(rest), hidden) {
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
		if strings.ContainsFunc(strings.TrimSpace(text), hidden) {
			t.Fatalf("a hidden character in %q", text)
		}
		checkOCSF(t, []byte(text))
	}
}

func TestFollower(t *testing.T) {
	var b bytes.Buffer
	out, err := NewOutput(&b, "json", Style{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFollower(mustParse(t, "actor=alice"), out)
	if err != nil {
		t.Fatal(err)
	}
	printed := 0
	for _, e := range people() {
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
	if _, err := NewOutput(&b, "xml", Style{}); err == nil {
		t.Error("there is no XML")
	}
}
