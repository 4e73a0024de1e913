package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func namespaceYAML(name string) string {
	return "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + "}\n"
}

func namesOf(s *Snapshot) []string {
	var names []string
	for _, n := range s.Namespaces {
		names = append(names, n.Name)
	}
	return names
}

func mkdir(tb testing.TB, dir string) string {
	tb.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		tb.Fatal(err)
	}
	return dir
}

func link(tb testing.TB, target, name string) {
	tb.Helper()
	if err := os.Symlink(target, name); err != nil {
		tb.Fatal(err)
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b.yaml"), namespaceYAML("b"))
	write(t, filepath.Join(dir, "a.yml"), namespaceYAML("a"))
	write(t, filepath.Join(dir, "c.json"), `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"c"}}`)
	write(t, filepath.Join(dir, "d.txt"), namespaceYAML("d"))
	write(t, filepath.Join(mkdir(t, filepath.Join(dir, "sub")), "e.yaml"), namespaceYAML("e"))
	link(t, "b.yaml", filepath.Join(dir, "again.yaml"))

	tests := []struct {
		name  string
		paths []string
		want  []string
	}{
		{"folder", []string{dir}, []string{"a", "b", "c", "e"}},
		{"file of any name", []string{filepath.Join(dir, "d.txt")}, []string{"d"}},
		{"file", []string{filepath.Join(dir, "a.yml")}, []string{"a"}},
		{"file and its folder, each once", []string{filepath.Join(dir, "a.yml"), dir, dir + "/."}, []string{"a", "b", "c", "e"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, namesOf(mustLoad(t, tt.paths...))); diff != "" {
				t.Errorf("namespaces (-want +got):\n%s", diff)
			}
		})
	}
}

// TestConfigMapMount loads a folder as the kubelet lays it out.
func TestConfigMapMount(t *testing.T) {
	dir := t.TempDir()
	version := mkdir(t, filepath.Join(dir, "..2026_01_31"))
	write(t, filepath.Join(version, "shop.yaml"), namespaceYAML("shop"))
	link(t, "..2026_01_31", filepath.Join(dir, "..data"))
	link(t, "..data/shop.yaml", filepath.Join(dir, "shop.yaml"))
	s := mustLoad(t, dir)
	if diff := cmp.Diff([]string{"shop"}, namesOf(s)); diff != "" {
		t.Error(diff)
	}
	if file, line := s.Source(s.Namespaces[0]); file != filepath.Join(dir, "shop.yaml") || line != 1 {
		t.Errorf("source is %s:%d; the version's folder must not show", file, line)
	}
}

func TestFilesRefused(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	good := in("good.yaml")
	write(t, good, namespaceYAML("good"))

	outside := mkdir(t, in("outside"))
	write(t, filepath.Join(outside, "policy.yaml"), namespaceYAML("x"))
	linked := mkdir(t, in("linked"))
	link(t, outside, filepath.Join(linked, "policies"))

	dangling := mkdir(t, in("dangling"))
	link(t, "gone.yaml", filepath.Join(dangling, "a.yaml"))

	pipe := mkdir(t, in("pipe"))
	if err := syscall.Mkfifo(filepath.Join(pipe, "a.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	loop := mkdir(t, in("loop"))
	link(t, "a.yaml", filepath.Join(loop, "a.yaml"))

	large := in("large.yaml")
	f, err := os.Create(large)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(MaxFile + 1); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	tests := []struct {
		name  string
		paths []string
		want  string // with DIR for the folder
	}{
		{"nothing asked for", nil, "no file or folder was given"},
		{"missing", []string{in("no-such")}, "DIR/no-such: does not exist"},
		{"one missing of two", []string{good, in("no-such")}, "DIR/no-such: does not exist"},
		{"link to a folder", []string{linked}, "DIR/linked/policies: is a symbolic link to a folder, which is not followed; name that folder itself"},
		{"dangling link", []string{dangling}, "DIR/dangling/a.yaml: does not exist"},
		{"named pipe", []string{pipe}, "DIR/pipe/a.yaml: is not a regular file"},
		{"link to itself", []string{loop}, "DIR/loop/a.yaml: cannot be read: too many levels of symbolic links"},
		{"too large", []string{large}, fmt.Sprintf("DIR/large.yaml: is larger than %d bytes, the limit", MaxFile)},
		{"standard input", []string{"-"}, "-: does not exist"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := LoadFiles(tt.paths)
			if problems := problemsOf(t, err); len(problems) != 1 {
				t.Errorf("%d problems, want 1", len(problems))
			}
			if got := strings.ReplaceAll(err.Error(), dir, "DIR"); strings.TrimPrefix(got, ": ") != tt.want {
				t.Errorf("error %q, want %q", got, tt.want)
			}
		})
	}
}

// TestNoPermission proves that a file which cannot be read is not passed over.
// Root can read everything, so the error is made, not provoked.
func TestNoPermission(t *testing.T) {
	f := &finder{}
	f.problem("a.yaml", fmt.Errorf("open: %w", &os.PathError{Op: "open", Path: "a.yaml", Err: syscall.EACCES}))
	f.problem("b.yaml", fmt.Errorf("read: %w", &os.PathError{Op: "read", Path: "b.yaml", Err: syscall.EIO}))
	want := []Problem{
		{File: "a.yaml", Message: "cannot be read: permission denied"},
		{File: "b.yaml", Message: "cannot be read: input/output error"},
	}
	if diff := cmp.Diff(want, f.problems); diff != "" {
		t.Error(diff)
	}
}

func TestManyProblems(t *testing.T) {
	dir := t.TempDir()
	for i := range 4 {
		write(t, filepath.Join(dir, fmt.Sprintf("%d.yaml", i)), strings.Repeat("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {nam: x}\n", 150))
	}
	_, err := LoadFiles([]string{dir})
	if n := len(problemsOf(t, err)); n != maxProblems {
		t.Errorf("%d problems are shown, want %d", n, maxProblems)
	}
	if text := err.Error(); !strings.HasPrefix(text, "1200 problems in ") || !strings.HasSuffix(text, "and 700 more") {
		t.Errorf("the text counts wrongly: %.40s ... %s", text, text[len(text)-20:])
	}
}
