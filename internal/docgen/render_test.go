package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	sources   = "../../api/v1alpha1"
	reference = "../../docs/reference/securitypolicy.md"
)

// TestReferenceIsCurrent fails when a type changed and nobody ran make gen.
func TestReferenceIsCurrent(t *testing.T) {
	want, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // maps have no order; the text must have one
		file := filepath.Join(t.TempDir(), "out.md")
		if err := run([]string{"-out", file, sources}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Fatalf("%s is old; run make gen (-file +now):\n%s", reference, diff)
		}
	}
}

func TestEveryFieldIsDescribed(t *testing.T) {
	types, err := readTypes(sources)
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	for _, s := range types {
		if strings.HasSuffix(s.name, "List") || !strings.Contains(renderAll(t, types), "## "+s.name+"\n") {
			continue
		}
		for _, f := range s.fields {
			if f.name == "" || f.name == "metadata" {
				continue
			}
			fields++
			if f.doc == "" {
				t.Errorf("%s.%s has no doc comment", s.name, f.name)
			}
		}
	}
	if fields < 70 {
		t.Errorf("only %d fields seen", fields)
	}
}

func renderAll(t *testing.T, types map[string]*structType) string {
	t.Helper()
	var b bytes.Buffer
	if err := render(&b, types, "SecurityPolicy"); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRules(t *testing.T) {
	got := rules([]string{
		"optional", "kubebuilder:validation:Enum=a;b", `kubebuilder:validation:items:Enum="%2F";";"`,
		"kubebuilder:validation:MinItems=1", "kubebuilder:validation:MaxItems=3", "listMapKey=name",
		`kubebuilder:validation:XValidation:rule="self != 'x'",message="never x"`, "kubebuilder:validation:Pattern=`^a$`",
	})
	want := []string{
		"One of `a`, `b`", "Each one of `%2F`, `;`", "At least 1 entry", "At most 3 entries", "Each `name` once",
		"never x", "Matches `^a$`",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestRunRefuses(t *testing.T) {
	for _, args := range [][]string{nil, {"-out", "x"}, {"dir"}, {"-out", filepath.Join(t.TempDir(), "x"), "no-such-dir"}} {
		if err := run(args); err == nil {
			t.Errorf("run(%q) gave no error", args)
		}
	}
}
