package app

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/posture/exception"
)

// Every command in a "sh" block of the guide to posture does what the page says:
// it ends with 0.
func TestPostureGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/guide/posture.md")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for _, name := range []string{"examples"} {
		if err := os.CopyFS(filepath.Join(folder, name), os.DirFS(filepath.Join("../..", name))); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(folder)
	ran := 0
	for _, block := range blocks(string(text), "sh") {
		for line := range strings.Lines(block) {
			args := strings.Fields(line)
			if len(args) < 2 || args[0] != "bulwark" {
				t.Fatalf("%q is no command of ours", line)
			}
			var out, bad bytes.Buffer
			code := Main(args[1:], Env{Context: context.Background(), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &bad, Now: time.Now, Random: func() uint64 { return 1 }})
			if code != 0 {
				t.Errorf("%sends with %d: %s%s", line, code, &bad, tail(out.String()))
			}
			ran++
		}
	}
	for _, block := range blocks(string(text), "yaml") {
		if _, err := exception.Parse("posture.md", []byte(block)); err != nil {
			t.Error(err)
		}
		ran++
	}
	if ran < 15 {
		t.Errorf("ran %d commands", ran)
	}
}

func tail(s string) string { return s[max(0, len(s)-500):] }

// blocks gives the fenced blocks of a language.
func blocks(text, language string) []string {
	var out []string
	for i, part := range strings.Split(text, "```"+language+"\n") {
		if i == 0 {
			continue
		}
		block, _, _ := strings.Cut(part, "```")
		out = append(out, block)
	}
	return out
}

// Both ends of a pipe: what is written is whole or not there.
func TestWriteFile(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(name, []byte("before"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := writeFile(name, func(w io.Writer) error {
		_, _ = io.WriteString(w, "half")
		return io.ErrShortWrite
	})
	if err == nil {
		t.Error("no error")
	}
	text, err := os.ReadFile(name)
	if err != nil || string(text) != "before" {
		t.Errorf("%q, %v", text, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(name), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := writeFile(name, func(w io.Writer) error { _, err := io.WriteString(w, "after"); return err }); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(name); string(text) != "after" {
		t.Errorf("%q", text)
	}
	if err := writeFile(os.DevNull, func(w io.Writer) error { _, err := io.WriteString(w, "x"); return err }); err != nil {
		t.Error(err)
	}
}
