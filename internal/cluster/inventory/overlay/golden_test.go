package overlay_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/overlay"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden builds what "build" names of every archive and compares the objects,
// the places of the fields that "locate" names, and the problems.
func TestGolden(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) < 2 {
		t.Fatalf("found %d archives: %v", len(names), err)
	}
	home, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			golden(t, filepath.Join(home, name))
		})
	}
}

func golden(t *testing.T, name string) {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	var places, dirs []string
	want := ""
	archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool {
		if f.Name == "want" {
			want = string(f.Data)
		}
		return f.Name == "want"
	})
	for _, f := range archive.Files {
		switch f.Name {
		case "build":
			dirs = strings.Fields(string(f.Data))
		case "locate":
			places = strings.Split(strings.TrimSpace(string(f.Data)), "\n")
		default:
			write(t, f.Name, string(f.Data))
		}
	}
	var b strings.Builder
	for _, dir := range dirs {
		objects, problems, err := overlay.Render(dir)
		show(&b, objects, problems, places, err)
	}
	if *update {
		archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(b.String())})
		if err := os.WriteFile(name, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func show(b *strings.Builder, objects []*inventory.Object, problems []inventory.Problem, places []string, err error) {
	if err != nil {
		fmt.Fprintln(b, "error:", err)
	}
	for _, o := range objects {
		at := o.Locate("")
		fmt.Fprintf(b, "%s %s:%d %s\n", o, at.File, at.Line, o.Raw())
	}
	for _, p := range places {
		f := strings.Fields(p)
		for _, o := range objects {
			if o.Kind == f[0] && strings.HasPrefix(o.Name, f[1]) {
				at := o.Locate(f[2])
				fmt.Fprintf(b, "at %s: %s:%d\n", p, at.File, at.Line)
			}
		}
	}
	for _, p := range problems {
		fmt.Fprintf(b, "problem %s:%d: %s\n", p.Location.File, p.Location.Line, p.What)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
