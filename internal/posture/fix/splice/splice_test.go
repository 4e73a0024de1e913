package splice_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
	"bulwark.dev/bulwark/internal/posture/fix/splice"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// edits reads lines of "path = JSON" and "path -".
func edits(tb testing.TB, text string) []splice.Edit {
	tb.Helper()
	var out []splice.Edit
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		var e splice.Edit
		at, value, ok := strings.Cut(line, " = ")
		if !ok {
			at, e.Remove = strings.TrimSuffix(line, " -"), true
		} else if err := json.Unmarshal([]byte(value), &e.Value); err != nil {
			tb.Fatalf("%s: %v", line, err)
		}
		var err error
		if e.Path, err = fieldpath.Parse(at); err != nil {
			tb.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// escapes write what an archive cannot hold.
var escapes = strings.NewReplacer("<CR>", "\r", "<TAB>", "\t", "<END>\n", "", "<LS>", "\u2028", "<BOM>", "\ufeff")

// TestGolden runs the cases of each archive: "NAME" is a document, "NAME.edit" the
// edits and "NAME.want" what comes of it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	done, refused := 0, 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := map[string]string{}
		for _, f := range archive.Files {
			text[f.Name] = string(f.Data)
		}
		var out []txtar.File
		for _, f := range archive.Files {
			if strings.HasSuffix(f.Name, ".want") {
				continue
			}
			out = append(out, f)
			name, ok := strings.CutSuffix(f.Name, ".edit")
			if !ok {
				continue
			}
			before := escapes.Replace(text[name])
			after, err := splice.Apply([]byte(before), edits(t, text[f.Name]))
			got := unescape(string(after))
			if err != nil {
				refused++
				got = "refused: " + err.Error() + "\n"
			} else {
				done++
			}
			out = append(out, txtar.File{Name: name + ".want", Data: []byte(got)})
			if diff := cmp.Diff(text[name+".want"], got); diff != "" && !*update {
				t.Errorf("%s %s: %s", file, name, diff)
			}
		}
		if *update {
			archive.Files = out
			if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if done < 30 || refused < 10 {
		t.Errorf("%d changes and %d refusals are too few to prove both ways", done, refused)
	}
}

func unescape(s string) string {
	s = strings.NewReplacer("\r", "<CR>", "\t", "<TAB>").Replace(s)
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "<END>\n"
	}
	return s
}

func TestDocuments(t *testing.T) {
	tests := map[string]int{
		"": 0, "a: 1": 1, "a: 1\n---\nb: 2": 2, "---\na: 1\n---\nb: 2\n": 2, "# c\n---\na: 1\n": 1,
		"a: 1\n...\n---\nb: 1\n...\n": 2, "a: |\n  ---\n  b\n": 1, "--- a\n--- b\n": 2, "---\r\na: 1\r\n---\r\nb: 1": 2,
	}
	for text, want := range tests {
		docs := splice.Documents([]byte(text))
		joined := ""
		for _, d := range docs {
			joined += string(d)
		}
		if len(docs) != want || joined != text {
			t.Errorf("%q: %d documents, together %q", text, len(docs), joined)
		}
	}
}

func TestShared(t *testing.T) {
	_, err := splice.Apply([]byte("a: &x {b: 1}\nc: *x\n"), edits(t, "a.b = 2"))
	if !errors.Is(err, splice.ErrShared) {
		t.Errorf("an anchor that is used elsewhere: %v", err)
	}
}

// TestHostile are documents that must be refused, and quickly.
func TestHostile(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 10 {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	tests := map[string]string{
		"bomb": bomb, "circle": "a: &a [*a]\n", "deep": strings.Repeat("[", 20_000), "two": "a: 1\n---\nb: 1\n",
		"binary": "a: \x00", "not utf8": "a: \xff", "duplicate": "a: 1\na: 2\n", "unclosed": "a: [1\n", "large": strings.Repeat("#", 17<<20),
		"tab": "a:\n\tb: 1\n", "unknown alias": "a: *b\n", "scalar": "just text\n", "rest": "{a: {b: 2}}\n}\n", "list": "- a\n",
	}
	for name, text := range tests {
		if out, err := splice.Apply([]byte(text), edits(t, "a.b = 1")); err == nil {
			t.Errorf("%s: %.100q", name, out)
		}
	}
}
