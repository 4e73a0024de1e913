package app

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/posture/exception"
)

// runGuide runs every command in a "sh" block of a guide, in a folder with the
// examples, and gives how many there were. Each ends with 0. A comment and a file to
// write to are the shell's part.
func runGuide(t *testing.T, text string) int {
	t.Helper()
	folder := t.TempDir()
	if err := os.CopyFS(filepath.Join(folder, "examples"), os.DirFS("../../examples")); err != nil {
		t.Fatal(err)
	}
	t.Chdir(folder)
	ran := 0
	for _, block := range blocks(text, "sh") {
		for line := range strings.Lines(block) {
			command, _, _ := strings.Cut(line, " #")
			command, into, redirected := strings.Cut(command, " > ")
			args := strings.Fields(command)
			if len(args) < 2 || args[0] != "bulwark" || redirected && strings.TrimSpace(into) == "" {
				t.Fatalf("%q is no command of ours", line)
			}
			var out, bad bytes.Buffer
			code := Main(args[1:], Env{Context: context.Background(), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &bad, Now: time.Now, Random: func() uint64 { return 1 }})
			if code != 0 || redirected && out.Len() == 0 {
				t.Errorf("%sends with %d: %s%s", line, code, &bad, tail(out.String()))
			}
			ran++
		}
	}
	return ran
}

// Every command in a "sh" block of the guide to posture does what the page says:
// it ends with 0.
func TestPostureGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/guide/posture.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := runGuide(t, string(text))
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

// So does every command in the guide to admission, and what needs a cluster names
// flags and settings that there are.
func TestAdmissionGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/guide/admission.md")
	if err != nil {
		t.Fatal(err)
	}
	values, err := os.ReadFile("../../deploy/helm/bulwark/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var chart struct{ Admission map[string]any }
	if err := yaml.Unmarshal(values, &chart); err != nil {
		t.Fatal(err)
	}
	settings := regexp.MustCompile(`[^-\w]admission\.([a-z][A-Za-z]*)`).FindAllStringSubmatch(string(text), -1)
	for _, m := range settings {
		if _, ok := chart.Admission[m[1]]; !ok {
			t.Errorf("the chart has no admission.%s", m[1])
		}
	}
	if len(settings) < 5 {
		t.Errorf("the page names %d settings of the chart", len(settings))
	}
	for _, name := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(string(text), -1) {
		if _, err := os.Stat(filepath.Join("../../docs/guide", name[1])); err != nil && !strings.Contains(name[1], "://") {
			t.Error(err)
		}
	}
	if ran := runGuide(t, string(text)); ran < 6 {
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
