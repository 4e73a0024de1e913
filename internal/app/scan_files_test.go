package app

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func put(text string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, text); return err }
}

// TestWriteFileKeeps: what is there already stays as private as it was, and a link
// stays a link.
func TestWriteFileKeeps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	name, link := filepath.Join(dir, "real", "out"), filepath.Join(dir, "link")
	if err := os.Mkdir(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(name, link); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(link, put("after")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v, %v", info.Mode(), err)
	}
	info, err = os.Stat(name)
	text, _ := os.ReadFile(name)
	if err != nil || info.Mode().Perm() != 0o600 || string(text) != "after" {
		t.Errorf("%q, %v, %v", text, info.Mode(), err)
	}
}

func TestWriteFileReadOnly(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(name, []byte("before"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(name, put("after")); err == nil {
		t.Error("a file that is read-only is written")
	}
	if text, _ := os.ReadFile(name); string(text) != "before" {
		t.Errorf("%q", text)
	}
}

// TestWriteFileAgain: in a container each run has the same process number, and the
// one before may have been killed.
func TestWriteFileAgain(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "out")
	for _, left := range []string{".out.%d.tmp", ".out.%d.0.tmp", ".out.%d.1.tmp"} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(name), fmt.Sprintf(left, os.Getpid())), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := writeFile(name, put("text")); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(name); string(text) != "text" {
		t.Errorf("%q", text)
	}
}
