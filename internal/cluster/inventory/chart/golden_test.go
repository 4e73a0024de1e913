package chart_test

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
	"bulwark.dev/bulwark/internal/cluster/inventory/chart"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden renders every chart of testdata and compares the objects, the places
// of the fields that "locate" names, and the problems.
func TestGolden(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) < 3 {
		t.Fatalf("found %d charts: %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			golden(t, name)
		})
	}
}

func golden(t *testing.T, name string) {
	t.Helper()
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Chdir(dir)
	var opt chart.Options
	var places []string
	want := ""
	archive.Files = slices.DeleteFunc(archive.Files, func(f txtar.File) bool {
		if f.Name == "want" {
			want = string(f.Data)
		}
		return f.Name == "want"
	})
	for _, f := range archive.Files {
		switch f.Name {
		case "set":
			opt.Set = strings.Fields(string(f.Data))
		case "locate":
			places = strings.Split(strings.TrimSpace(string(f.Data)), "\n")
		default:
			write(t, f.Name, f.Data)
			if strings.HasPrefix(f.Name, "values") {
				opt.ValuesFiles = append(opt.ValuesFiles, f.Name)
			}
		}
	}
	objects, problems, err := chart.Render("chart", opt)
	got := shown(objects, problems, places, err)
	if *update {
		archive.Files = append(archive.Files, txtar.File{Name: "want", Data: []byte(got)})
		t.Chdir(original)
		if err := os.WriteFile(name, txtar.Format(archive), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

var original = func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}()

func shown(objects []*inventory.Object, problems []inventory.Problem, places []string, err error) string {
	var b strings.Builder
	if err != nil {
		fmt.Fprintln(&b, "error:", err)
	}
	for _, o := range objects {
		at := o.Locate("")
		fmt.Fprintf(&b, "%s %s:%d %s\n", o, at.File, at.Line, o.Raw())
	}
	for _, p := range places {
		f := strings.Fields(p)
		if len(f) < 3 {
			continue
		}
		for _, o := range objects {
			if o.Kind == f[0] && o.Name == f[1] {
				at := o.Locate(f[2])
				fmt.Fprintf(&b, "at %s: %s:%d\n", p, at.File, at.Line)
			}
		}
	}
	for _, p := range problems {
		fmt.Fprintf(&b, "problem %s:%d: %s\n", p.Location.File, p.Location.Line, p.What)
	}
	return b.String()
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
