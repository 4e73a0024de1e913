package splice_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"

	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
	"bulwark.dev/bulwark/internal/posture/fix/splice"
)

// FuzzApply changes one field of any text. What comes out must decode, must have
// the change and no other, and an addition must leave every byte that was there.
func FuzzApply(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/cases.txtar")
	if err != nil {
		f.Fatal(err)
	}
	text := map[string]string{}
	for _, file := range archive.Files {
		text[file.Name] = string(file.Data)
	}
	for name, lines := range text {
		if base, ok := strings.CutSuffix(name, ".edit"); ok {
			for _, e := range edits(f, lines) {
				value, err := json.Marshal(e.Value)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(escapes.Replace(text[base]), e.Path.String(), string(value), e.Remove)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text, path, value string, remove bool) {
		at, err := fieldpath.Parse(path)
		if err != nil || len(at) == 0 {
			return
		}
		e := splice.Edit{Path: at, Remove: remove}
		if !remove && json.Unmarshal([]byte(value), &e.Value) != nil {
			return
		}
		out, err := splice.Apply([]byte(text), []splice.Edit{e})
		if err != nil {
			return
		}
		before, after := decoded(t, []byte(text)), decoded(t, out)
		got, there := at.Get(after)
		switch {
		case remove && there && at[len(at)-1].Index < 0:
			t.Fatalf("%s is still there:\n%s", path, out)
		case !remove && (!there || !same(got, e.Value)):
			t.Fatalf("%s is %v, not %v:\n%s", path, got, e.Value, out)
		}
		without(t, before, after, at)
		if parent, ok := at[:len(at)-1].Get(before); ok && !remove && parent != nil && text != "" {
			if _, was := at.Get(before); !was && !within([]byte(text), out) {
				t.Fatalf("an addition changed what was there:\n%q\n%q", text, out)
			}
		}
	})
}

// within reports whether all of old stands in text, in order.
func within(old, text []byte) bool {
	for _, c := range text {
		if len(old) > 0 && old[0] == c {
			old = old[1:]
		}
	}
	return len(old) == 0
}

// without compares everything that is not on the way to the path.
func without(t *testing.T, before, after any, path fieldpath.Path) {
	t.Helper()
	for _, s := range path {
		a, aok := before.(map[string]any)
		b, bok := after.(map[string]any)
		if !aok || !bok || s.Index >= 0 {
			return
		}
		for k, v := range a {
			if k != s.Key && !cmp.Equal(v, b[k]) {
				t.Fatalf("%q changed from %v to %v", k, v, b[k])
			}
		}
		for k := range b {
			if _, ok := a[k]; !ok && k != s.Key {
				t.Fatalf("%q is new", k)
			}
		}
		before, after = a[s.Key], b[s.Key]
	}
}

func decoded(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&v); err != nil && len(bytes.TrimSpace(text)) > 0 && err.Error() != "EOF" {
		t.Fatalf("%v:\n%q", err, text)
	}
	return v
}

// same compares as JSON does.
func same(a, b any) bool {
	x, err := json.Marshal(a)
	y, err2 := json.Marshal(b)
	if err != nil || err2 != nil {
		return reflect.DeepEqual(a, b)
	}
	var v, w any
	return json.Unmarshal(x, &v) == nil && json.Unmarshal(y, &w) == nil && cmp.Equal(v, w)
}
