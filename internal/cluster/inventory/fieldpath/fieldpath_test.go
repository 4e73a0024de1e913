package fieldpath_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
)

func key(s string) fieldpath.Step { return fieldpath.Step{Key: s, Index: -1} }

func TestParse(t *testing.T) {
	tests := map[string]fieldpath.Path{
		"":                         nil,
		"spec":                     {key("spec")},
		"spec.containers[10].name": {key("spec"), key("containers"), {Index: 10}, key("name")},
		`metadata.labels["app.kubernetes.io/name"]`: {key("metadata"), key("labels"), key("app.kubernetes.io/name")},
		`data["a]\"b"].c[0][1]`:                     {key("data"), key(`a]"b`), key("c"), {Index: 0}, {Index: 1}},
		`[0].x`:                                     {{Index: 0}, key("x")},
		`data[""]`:                                  {key("data"), key("")},
	}
	for text, want := range tests {
		got, err := fieldpath.Parse(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
		if got.String() != text {
			t.Errorf("%q comes back as %q", text, got.String())
		}
	}
	for _, text := range []string{".a", "a.", "a..b", "a[", "a[]", "a[-1]", "a[x]", `a["x]`, `a["x"`, `a["x"b]`, "a[0]b", "a[99999999999]"} {
		if got, err := fieldpath.Parse(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func TestGet(t *testing.T) {
	content := map[string]any{"a": []any{map[string]any{"b": nil}}}
	for text, want := range map[string]bool{"": true, "a": true, "a[0].b": true, "a[1]": false, "a.b": false, "a[0][0]": false, "a[0].b.c": false} {
		p, err := fieldpath.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := p.Get(content); ok != want {
			t.Errorf("%q: %v", text, ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("spec.containers[0].image")
	f.Add(`a["b.c"][1].d`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := fieldpath.Parse(text)
		if err != nil {
			return
		}
		again, err := fieldpath.Parse(p.String())
		if err != nil || !cmp.Equal(p, again) {
			t.Errorf("%q comes back as %v, %v", p.String(), again, err)
		}
	})
}
