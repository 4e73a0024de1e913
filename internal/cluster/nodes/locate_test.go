package nodes

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestLocate(t *testing.T) {
	t.Parallel()
	const text = "a: &a\n  b: [1, {c: 2}]\n  d.e: 3\nf:\n  <<: [*a, {g: 1}]\n  h: *a\nx: {'k]': 1}\n"
	root, err := ParseYAML([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][2]int{
		"": {1, 1}, "a": {1, 1}, "a.b": {2, 3}, "a.b[0]": {2, 7}, "a.b[1].c": {2, 11}, "a.b[2].c": {2, 3}, "a.b[-1]": {2, 3}, "a.b.c": {2, 3},
		"a[d.e]": {3, 3}, `a["d.e"]`: {3, 3}, `a["d.e"].more`: {3, 3}, "a.none.more": {1, 1}, "f.b[1].c": {2, 11}, "f.g": {5, 13}, "f.h.b": {2, 3},
		"f.none": {4, 1}, `x["k]"]`: {7, 5}, `x["k`: {7, 1}, "x[": {7, 1}, "..": {1, 1}, ".a": {1, 1},
	} {
		if line, column := Locate(root, path); line != want[0] || column != want[1] {
			t.Errorf("%q is at %d:%d, want %v", path, line, column, want)
		}
	}
}

// TestLocateAsKubectl: of what is written more than once the place is that of what
// counts when sigs.k8s.io/yaml reads it.
func TestLocateAsKubectl(t *testing.T) {
	t.Parallel()
	const text = `base: &base {v: 1, w: 1}
other: &other {v: 2}
twice:
  v: 3
  v: 4
before:
  v: 5
  <<: *base
after:
  <<: *base
  v: 6
several:
  <<: [*other, *base]
two:
  <<: *base
  <<: *other
deep:
  <<: {<<: *base, v: 7}
`
	root, err := ParseYAML([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]map[string]any
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(text, "\n")
	for name, fields := range values {
		for field, value := range fields {
			line, column := Locate(root, name+"."+field)
			want := fmt.Sprintf("%s: %v", field, value)
			if got := lines[line-1][column-1:]; !strings.HasPrefix(got, want) {
				t.Errorf("%s.%s is at %d:%d, %q, want %q", name, field, line, column, got, want)
			}
		}
	}
	if len(values) != 8 {
		t.Errorf("%d mappings", len(values))
	}
}

// TestManyMerges: a field that is nowhere is looked for once in each mapping.
func TestManyMerges(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("m0: &m0 {a: 1}\n")
	for i := range 60 {
		fmt.Fprintf(&text, "m%d: &m%d {<<: [*m%d, *m%d]}\n", i+1, i+1, i, i)
	}
	root, err := ParseYAML([]byte(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	if line, _ := Locate(root, "m60.none"); line != 61 {
		t.Errorf("none is at line %d", line)
	}
	if line, column := Locate(root, "m60.a"); line != 1 || column != 10 {
		t.Errorf("a is at %d:%d", line, column)
	}
}

func TestParseJSONPlaces(t *testing.T) {
	t.Parallel()
	roots, err := ParseJSON([]byte("{\"ä\" : [1,\n\t{ \"b\":true}]}\n null"))
	if err != nil || len(roots) != 2 {
		t.Fatal(roots, err)
	}
	for path, want := range map[string][2]int{"": {1, 1}, "ä": {1, 2}, "ä[0]": {1, 9}, "ä[1]": {2, 2}, "ä[1].b": {2, 4}} {
		if line, column := Locate(roots[0], path); line != want[0] || column != want[1] {
			t.Errorf("%q is at %d:%d, want %v", path, line, column, want)
		}
	}
	if line, column := Locate(roots[1], "x"); line != 3 || column != 2 {
		t.Errorf("null is at %d:%d", line, column)
	}
}

// TestCircles: an alias to what it stands in ends all the same.
func TestCircles(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"&a\na: *a\n", "a: &a\n  <<: *a\n", "a: &a [*a]\n"} {
		root, err := ParseYAML([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		Locate(root, strings.Repeat("a.", 1000)+"b")
		Locate(root, "a"+strings.Repeat("[0]", 1000))
	}
}

func FuzzLocate(f *testing.F) {
	f.Add([]byte("a: &a\n  b: [1, {c: 2}]\nf:\n  <<: [*a, {g: 1}]\n"), `f.b[1]["c"]`)
	f.Add([]byte("&a\na: *a\n"), "a.a.a")
	f.Add([]byte(`{"a":[1,{"b":null}]}`), "a[1].b")
	f.Fuzz(func(t *testing.T, text []byte, path string) {
		roots, _ := ParseJSON(text)
		if root, err := ParseYAML(text); err == nil && root != nil {
			roots = append(roots, root)
		}
		lines := strings.Count(string(text), "\n") + strings.Count(string(text), "\r") + strings.Count(string(text), "\u0085") +
			strings.Count(string(text), "\u2028") + strings.Count(string(text), "\u2029") + 1
		for _, root := range roots {
			if line, column := Locate(root, path); line < 1 || column < 1 || line > lines {
				t.Fatalf("%q of %q is at %d:%d", path, text, line, column)
			}
		}
	})
}
