package inventory

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNullsAreDropped(t *testing.T) {
	t.Parallel()
	o, err := New([]byte(`{"apiVersion":"shop.example/v1","kind":"Thing","metadata":{"name":"a","annotations":null,"labels":{"x":null}},"spec":{"a":null,"b":[null,{"c":null,"d":1}],"e":"null"}}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := o.Content()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"apiVersion": "shop.example/v1", "kind": "Thing",
		"metadata": map[string]any{"name": "a", "labels": map[string]any{"x": ""}},
		"spec":     map[string]any{"b": []any{nil, map[string]any{"d": int64(1)}}, "e": "null"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
