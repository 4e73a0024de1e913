package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/test/peers"
)

// TestDuckDB: what the guide says of SQL is so, with a real DuckDB on real files.
func TestDuckDB(t *testing.T) {
	t.Parallel()
	duckdb, err := peers.Build(t.Context(), peers.DuckDB)
	if err != nil {
		t.Fatal(err)
	}
	bulwark, err := peers.BuildBulwark(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := &programs{duckdb: duckdb, bulwark: bulwark, columns: documented(t)}
	t.Run("golden", p.testGolden)
	t.Run("trail", p.testTrail)
	t.Run("bench", p.testBench)
}

type programs struct {
	duckdb, bulwark string
	columns         []documentedColumn
}

type documentedColumn struct{ name, kind string }

// documented reads the columns of the guide.
func documented(t *testing.T) []documentedColumn {
	t.Helper()
	var columns []documentedColumn
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([A-Z ]+) \\|").FindAllStringSubmatch(guide(t, "audit-sql.md"), -1) {
		columns = append(columns, documentedColumn{m[1], m[2]})
	}
	if len(columns) < 40 {
		t.Fatalf("the guide has %d columns", len(columns))
	}
	return columns
}

func guide(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../../docs/guide", page))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (p *programs) ask(t *testing.T, dir, sql string) *answer {
	t.Helper()
	a, _, err := ask(t.Context(), p.duckdb, dir, sql)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// read has DuckDB read every column, after it has said which there are. JSON is cast, so
// that it comes as the text that is in the file.
func (p *programs) read(t *testing.T, dir, files string) []map[string]any {
	t.Helper()
	var is []documentedColumn
	for _, row := range p.ask(t, dir, "DESCRIBE SELECT * FROM '"+files+"'").Rows {
		is = append(is, documentedColumn{row[0].(string), row[1].(string)})
	}
	if diff := cmp.Diff(p.columns, is, cmp.AllowUnexported(documentedColumn{})); diff != "" {
		t.Fatalf("the columns are not those of the guide (-guide +DuckDB):\n%s", diff)
	}
	var list []string
	for _, c := range is {
		if c.kind == "JSON" {
			c.name += "::VARCHAR AS " + c.name
		}
		list = append(list, c.name)
	}
	a := p.ask(t, dir, "SELECT "+strings.Join(list, ", ")+" FROM '"+files+"' ORDER BY seq")
	rows := make([]map[string]any, 0, len(a.Rows))
	for _, cells := range a.Rows {
		row := map[string]any{}
		for i, cell := range cells {
			if cell != nil {
				row[a.Columns[i].Name] = cell
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// testGolden: the golden segment has a value and a null in every column, and the most
// hostile texts, numbers and times.
func (p *programs) testGolden(t *testing.T) {
	const testdata = "../../../internal/audit/segment/testdata"
	text, err := os.ReadFile(filepath.Join(testdata, "golden.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	rows := p.read(t, testdata, "golden-1.parquet")
	if len(rows) != len(lines) {
		t.Fatalf("%d rows, want %d", len(rows), len(lines))
	}
	pruned, seen := 0, map[string]bool{}
	for i, row := range rows {
		for name := range row {
			seen[name] = true
		}
		if want := fmt.Sprint(1_000_001 + i); fmt.Sprint(row["seq"]) != want {
			t.Fatalf("row %d has number %v, want %s", i, row["seq"], want)
		}
		if leaf, ok := strings.CutPrefix(lines[i], "pruned "); ok {
			pruned++
			if diff := cmp.Diff(map[string]any{"seq": row["seq"], "tag": leaf[:8], "leaf": leaf}, row); diff != "" {
				t.Errorf("row %d, whose event was taken away (-want +DuckDB):\n%s", i, diff)
			}
			continue
		}
		hash := sha256.Sum256(append([]byte{0}, lines[i]...)) // a leaf of RFC 6962
		if row["tag"] != hex.EncodeToString(hash[:4]) {
			t.Errorf("row %d has the tag %v, want %x", i, row["tag"], hash[:4])
		}
		if diff := cmp.Diff(parsed(t, lines[i]), event(t, row)); diff != "" {
			t.Errorf("row %d (-golden +DuckDB):\n%s", i, diff)
		}
	}
	if pruned == 0 || len(seen) != len(p.columns) {
		t.Errorf("%d rows are pruned, and %d of %d columns have a value", pruned, len(seen), len(p.columns))
	}
}

// testTrail: a trail as the program makes it, plain and encrypted, read by DuckDB and by
// "bulwark audit export"; then every question of the guide.
func (p *programs) testTrail(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "events.jsonl"), sample(t), 0o600); err != nil {
		t.Fatal(err)
	}
	p.run(t, dir, "import", "events.jsonl", "--data", "trail", "--cluster", "blau", "--seal-events", "8")
	rows := p.read(t, dir, "trail/log/sealed/*.parquet")
	files, err := filepath.Glob(filepath.Join(dir, "trail/log/sealed/*.parquet"))
	if err != nil || len(files) < 2 {
		t.Fatalf("%d segments: %v", len(files), err)
	}
	exported := p.run(t, dir, "export", "--data", "trail", "-o", "json")
	p.compare(t, exported, rows)

	p.run(t, dir, "key", "new", "key")
	p.run(t, dir, "import", "events.jsonl", "--data", "secret", "--encryption-key-file", "key")
	if _, _, err := ask(t.Context(), p.duckdb, dir, "SELECT count(*) FROM 'secret/log/sealed/*.parquet'"); err == nil {
		t.Error("DuckDB reads an encrypted segment")
	}
	p.run(t, dir, "export", "--data", "secret", "--encryption-key-file", "key", "-o", "parquet", "--to", "lake")
	p.compare(t, p.run(t, dir, "export", "--data", "secret", "--encryption-key-file", "key", "-o", "json"), p.read(t, dir, "lake/*.parquet"))

	p.askGuide(t, dir)
}

// compare: the lines of an export are the rows, in another order.
func (p *programs) compare(t *testing.T, exported []byte, rows []map[string]any) {
	t.Helper()
	lines := bytes.Split(bytes.TrimSpace(exported), []byte("\n"))
	if len(lines) != len(rows) || len(rows) < 20 {
		t.Fatalf("DuckDB has %d rows, the export %d", len(rows), len(lines))
	}
	kinds := map[any]int{}
	for _, line := range lines {
		want := parsed(t, string(line))
		seq, err := want["seq"].(json.Number).Int64()
		if err != nil || seq < 1 || int(seq) > len(rows) {
			t.Fatalf("event %v: %v", want["seq"], err)
		}
		got := event(t, rows[seq-1])
		got["seq"], got["time"] = rows[seq-1]["seq"], want["time"] // made of the others
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("event %d (-export +DuckDB):\n%.4000s", seq, diff)
		}
		kinds[want["kind"]]++
	}
	if kinds["api"] == 0 || kinds["alert"] == 0 {
		t.Errorf("the events are of the kinds %v", kinds)
	}
}

// run runs "bulwark audit" and gives what it prints.
func (p *programs) run(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	out, _, err := command(t.Context(), dir, "", p.bulwark, append([]string{"audit"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// askGuide asks every question of the guide as it stands, in a folder with the trail. Each
// finds something.
func (p *programs) askGuide(t *testing.T, dir string) {
	t.Helper()
	block := regexp.MustCompile("(?s)```sql\n(.*?)```")
	blocks := block.FindAllStringSubmatch(guide(t, "audit-sql.md"), -1)
	if len(blocks) < 9 {
		t.Fatalf("the guide has %d blocks of SQL", len(blocks))
	}
	view, asked := blocks[0][1], 0
	try := func(what, sql string) {
		t.Helper()
		// A group may be that of the events without a value, and any may come first.
		if a := p.ask(t, dir, sql); !slices.ContainsFunc(a.Rows, func(row []any) bool { return !slices.Contains(row, nil) }) {
			t.Errorf("%s finds nothing, or no whole row: %v\n%s", what, a.Rows, sql)
		}
		asked++
	}
	for _, m := range blocks[1:] {
		try("audit-sql.md", view+m[1])
	}
	others := 0
	for _, page := range []string{"audit.md", "audit-encryption.md"} {
		for _, m := range block.FindAllStringSubmatch(guide(t, page), -1) {
			try(page, m[1])
			others++
		}
	}
	m := regexp.MustCompile(`duckdb -c "(.*s3://audit/prod.*)"`).FindStringSubmatch(guide(t, "audit-archive.md"))
	if m == nil || others == 0 {
		t.Fatalf("%d other pages have SQL, and audit-archive.md has %q", others, m)
	}
	try("audit-archive.md", strings.ReplaceAll(m[1], "s3://audit/prod", "trail"))
	if asked < 11 {
		t.Errorf("%d questions were asked", asked)
	}
}

// testBench runs the whole of the bench, small: DuckDB's answers are the same as ours, and
// the page gets its column.
func (p *programs) testBench(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("before\n"+docsBegin+"\n"+docsEnd+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log")) // a file, because the server writes into it too
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = run(t.Context(), []string{"-bulwark", p.bulwark, "-events", "4000", "-calm", "400", "-senders", "2", "-batch", "20", "-check=false", "-write-docs", page}, &out, log)
	if said, _ := os.ReadFile(log.Name()); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	text, err := os.ReadFile(page)
	if err != nil || string(text) != "before\n"+docsBegin+"\n"+strings.TrimSuffix(out.String(), "\n")+docsEnd+"\nafter\n" {
		t.Errorf("the page has %q: %v", text, err)
	}
	if n := strings.Count(out.String(), " × |"); n != 2*len(questions(time.Now())) || !strings.Contains(out.String(), "| DuckDB v") {
		t.Errorf("%d comparisons in\n%s", n, &out)
	}
}
