package chart

import (
	"strconv"
	"strings"
	"testing"

	helm "helm.sh/helm/v3/pkg/chart"
)

// FuzzAlign lays any text beside any template: it must end, and name lines that
// are there.
func FuzzAlign(f *testing.F) {
	f.Add("a: {{ .b }}\n{{- range .c }}\n- {{ . }}\n{{- end }}\n", "a: 1\n- x\n- y\n")
	f.Add("{{- /* c\nd */}}\nx: {{ include \"a\"\n . }}z\n", "x: yz\n")
	f.Add("{{", "}}")
	f.Fuzz(func(t *testing.T, text, rendered string) {
		if len(text)+len(rendered) > 10_000 {
			return
		}
		lines := align(rendered, text)
		if len(lines) != strings.Count(rendered, "\n")+1 {
			t.Fatalf("%d lines for %q", len(lines), rendered)
		}
		for _, l := range lines {
			if l < 0 || l > strings.Count(text, "\n") {
				t.Fatalf("line %d of %q", l, text)
			}
		}
		both := align(rendered, text, rendered)
		for _, l := range both {
			if l < 0 || l > strings.Count(text, "\n")+1+strings.Count(rendered, "\n") {
				t.Fatalf("line %d of both", l)
			}
		}
		for _, d := range reach(text, defines([]template{{path: "x", file: &helm.File{Data: []byte(text)}}})) {
			if d.first > strings.Count(text, "\n") {
				t.Fatalf("%q begins after its file", d.text)
			}
		}
		huge(text)
	})
}

// TestQuick compares the two ways to align on a text that both can do.
func TestQuick(t *testing.T) {
	template := "a: 1\nb:\n{{ range .x }}\n- c\n{{ end }}\nd: 2\n"
	rendered := "a: 1\nb:\n\n- c\n\n- c\n\nd: 2\n"
	long := strings.Repeat(rendered, maxAligned/8+1)
	for name, got := range map[string][]int{"short": align(rendered, template), "long": align(long, template)[:8]} {
		for i, want := range []int{0, 1, -1, 3, -1, 3, -1, 5} {
			if want >= 0 && got[i] != want {
				t.Errorf("%s: line %d is of line %d, not %d", name, i, got[i], want)
			}
		}
	}
}

// TestAlike aligns a long text whose lines are mostly the same.
func TestAlike(t *testing.T) {
	var text, rendered strings.Builder
	for i := range 3000 {
		if i%100 == 0 {
			text.WriteString("{{- if .x }}\n")
			text.WriteString("name" + strconv.Itoa(i) + ":\n")
			rendered.WriteString("name" + strconv.Itoa(i) + ":\n")
			text.WriteString("{{- end }}\n")
		}
		text.WriteString("  type: string\n")
		rendered.WriteString("  type: string\n")
	}
	lines := align(rendered.String(), text.String())
	want := strings.Split(text.String(), "\n")
	wrong := 0
	for i, line := range strings.Split(rendered.String(), "\n") {
		if strings.TrimSpace(want[lines[i]]) != strings.TrimSpace(line) || lines[i]-i < 0 || lines[i]-i > 62 {
			wrong++
		}
		if strings.HasPrefix(line, "name") && want[lines[i]] != line {
			t.Errorf("%s is placed at %s", line, want[lines[i]])
		}
	}
	if wrong > 100 {
		t.Errorf("%d of 3000 lines are far from their place", wrong)
	}
}
