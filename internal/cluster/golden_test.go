package cluster

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden loads the files of each archive as one folder. "want" is the error
// or, below "objects", everything that was read, with its defaults.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	ran := map[bool]int{}
	problems := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txtar")
		t.Run(name, func(t *testing.T) {
			file, err := filepath.Abs(file)
			if err != nil {
				t.Fatal(err)
			}
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			want, rest := "", archive.Files[:0:0]
			for _, f := range archive.Files {
				if f.Name == "want" {
					want = string(f.Data)
					continue
				}
				rest = append(rest, f)
				if err := os.MkdirAll(filepath.Dir(f.Name), 0o700); err != nil {
					t.Fatal(err)
				}
				write(t, f.Name, unescape(string(f.Data)))
			}
			snap, err := LoadFiles([]string{"."})
			ran[err == nil]++
			var got string
			if err != nil {
				got = err.Error() + "\n"
				problems += len(problemsOf(t, err))
			} else {
				got = dump(t, snap)
			}
			if *update {
				archive.Files = append(rest, txtar.File{Name: "want", Data: []byte(got)})
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if ran[true] < 7 || ran[false] < 26 || problems < 165 {
		t.Errorf("%d good and %d bad folders with %d problems are too few to prove both ways", ran[true], ran[false], problems)
	}
}

// unescape writes bytes that an archive cannot hold.
func unescape(s string) string {
	return strings.NewReplacer("<TAB>", "\t", "<NUL>", "\x00", "<BAD>", "\xff", "<BOM>", "\uFEFF", "<CR>", "\r", "<LS>", "\u2028").Replace(s)
}

// dump prints a snapshot.
func dump(t *testing.T, s *Snapshot) string {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d objects\n", s.Len())
	for obj := range s.All() {
		file, line := s.Source(obj)
		text, err := yaml.Marshal(obj)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "--- # %s:%d\n%s", file, line, text)
	}
	for _, i := range s.Ignored {
		fmt.Fprintf(&b, "ignored %s:%d: %s, %s\n", i.File, i.Line, i.Ref, i.APIVersion)
	}
	return b.String()
}
