package compile

import (
	"encoding/json"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

var update = flag.Bool("update", false, "rewrite the wanted output of testdata/*.txtar")

// TestGolden compiles each testdata/*.txtar: its *.yaml files are the objects,
// "include" names
// testdata/*.yaml to read too, "options.json" holds the options, want.json the table and want.report the report;
// "explain" names a route whose explanation is want.explain.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	served, refused := 0, 0
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			c := readCase(t, file)
			table, report := Compile(c.in, c.opt)
			for _, r := range table.Rules {
				if r.Refuse != nil {
					refused++
				} else {
					served++
				}
			}
			got := map[string]string{"want.json": asJSON(t, table), "want.report": report.String()}
			if c.explain != "" {
				e, err := Explain(c.in, c.opt, c.explain)
				if err != nil {
					t.Fatal(err)
				}
				got["want.explain"] = e.String()
			}
			for name, s := range got {
				noSecrets(t, name, s)
			}
			sameWhenShuffled(t, c)
			if *update {
				c.rewrite(t, file, got)
				return
			}
			for name, s := range got {
				if diff := cmp.Diff(c.files[name], s); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
	t.Logf("%d files, %d rules served, %d refused", len(files), served, refused)
	if len(files) < 25 || served < 25 || refused < 25 {
		t.Errorf("%d files, %d rules served, %d refused: too few to prove both ways", len(files), served, refused)
	}
}

type goldenCase struct {
	in      Input
	opt     Options
	explain string
	files   map[string]string
	archive *txtar.Archive
}

func readCase(tb testing.TB, file string) *goldenCase {
	tb.Helper()
	a, err := txtar.ParseFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	c := &goldenCase{files: map[string]string{}, archive: a}
	for _, f := range a.Files {
		c.files[f.Name] = string(f.Data)
		switch {
		case strings.HasSuffix(f.Name, ".yaml"):
			parse(tb, &c.in, string(f.Data))
		case f.Name == "include":
			for name := range strings.FieldsSeq(string(f.Data)) {
				b, err := os.ReadFile(filepath.Join("testdata", name+".yaml"))
				if err != nil {
					tb.Fatal(err)
				}
				parse(tb, &c.in, string(b))
			}
		case f.Name == "options.json":
			if err := json.Unmarshal(f.Data, &c.opt); err != nil {
				tb.Fatal(err)
			}
		case f.Name == "explain":
			c.explain = strings.TrimSpace(string(f.Data))
		}
	}
	return c
}

func (c *goldenCase) rewrite(tb testing.TB, file string, got map[string]string) {
	tb.Helper()
	out := &txtar.Archive{Comment: c.archive.Comment}
	for _, f := range c.archive.Files {
		if !strings.HasPrefix(f.Name, "want.") {
			out.Files = append(out.Files, f)
		}
	}
	for _, name := range []string{"want.json", "want.report", "want.explain"} {
		if s, ok := got[name]; ok {
			out.Files = append(out.Files, txtar.File{Name: name, Data: []byte(s)})
		}
	}
	if err := os.WriteFile(file, txtar.Format(out), 0o644); err != nil {
		tb.Fatal(err)
	}
}

func asJSON(tb testing.TB, table *ir.Table) string {
	tb.Helper()
	b, err := json.MarshalIndent(table, "", "  ")
	if err != nil {
		tb.Fatal(err)
	}
	return string(b) + "\n"
}

func noSecrets(tb testing.TB, name, text string) {
	tb.Helper()
	for _, s := range secrets() {
		if strings.Contains(text, s) {
			tb.Errorf("%s holds a secret", name)
		}
	}
}

// sameWhenShuffled compiles the input in other orders: nothing may change.
func sameWhenShuffled(t *testing.T, c *goldenCase) {
	t.Helper()
	table, report := Compile(c.in, c.opt)
	want := asJSON(t, table) + report.String()
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 8 {
		table, report := Compile(c.in.shuffled(rnd.Shuffle), c.opt)
		if diff := cmp.Diff(want, asJSON(t, table)+report.String()); diff != "" {
			t.Fatalf("another order of the input gives another output (-want +got):\n%s", diff)
		}
	}
}
