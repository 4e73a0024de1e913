package content

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
)

// Apply changes content as the edits say, in place. What is set comes first, then
// what is removed, from the end of each list, so that indexes hold.
func Apply(content map[string]any, edits []bulwark.Edit) error {
	type removal struct{ steps []step }
	var gone []removal
	for _, e := range edits {
		steps, err := parsePath(e.Field)
		switch {
		case err != nil:
			return err
		case len(steps) == 0:
			return fmt.Errorf("an edit has no field")
		case slices.ContainsFunc(steps, func(s step) bool { return s.all }):
			return fmt.Errorf("edit of %q: [] names no element", e.Field)
		case e.Remove:
			gone = append(gone, removal{steps})
			continue
		}
		if _, err := set(content, steps, clone(e.Value)); err != nil {
			return fmt.Errorf("set %s: %w", e.Field, err)
		}
	}
	slices.SortStableFunc(gone, func(a, b removal) int { return -compare(a.steps, b.steps) })
	for i, r := range gone {
		if i > 0 && compare(gone[i-1].steps, r.steps) == 0 {
			continue
		}
		remove(content, r.steps)
	}
	return nil
}

func compare(a, b []step) int {
	return slices.CompareFunc(a, b, func(x, y step) int { return cmp.Or(cmp.Compare(x.index, y.index), cmp.Compare(x.field, y.field)) })
}

// set gives what stands at the place of at afterwards.
func set(at any, steps []step, value any) (any, error) {
	if len(steps) == 0 {
		return value, nil
	}
	s := steps[0]
	if s.index < 0 {
		m, ok := at.(map[string]any)
		if !ok && at != nil {
			return nil, fmt.Errorf("%s stands in what is no object", s.field)
		}
		if m == nil {
			m = map[string]any{}
		}
		v, err := set(m[s.field], steps[1:], value)
		m[s.field] = v
		return m, err
	}
	l, ok := at.([]any)
	if !ok && at != nil || s.index > len(l) {
		return nil, fmt.Errorf("there is no element %d", s.index)
	}
	if s.index == len(l) {
		l = append(l, nil)
	}
	v, err := set(l[s.index], steps[1:], value)
	l[s.index] = v
	return l, err
}

// remove takes a field or an element away; what is not there stays so.
func remove(at any, steps []step) any {
	s := steps[0]
	switch v := at.(type) {
	case map[string]any:
		if s.index >= 0 {
			return at
		}
		if len(steps) == 1 {
			delete(v, s.field)
		} else if inner, ok := v[s.field]; ok {
			v[s.field] = remove(inner, steps[1:])
		}
	case []any:
		if s.index < 0 || s.index >= len(v) {
			return at
		}
		if len(steps) == 1 {
			return slices.Delete(v, s.index, s.index+1)
		}
		v[s.index] = remove(v[s.index], steps[1:])
	}
	return at
}

// clone copies JSON values.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = clone(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = clone(e)
		}
		return out
	}
	return v
}

// Changed gives the paths at which two objects differ, each as deep as it can be
// told, in order. Of lists of different length it is the list.
func Changed(before, after any) []string {
	var out []string
	changed("", before, after, &out)
	slices.Sort(out)
	return out
}

func changed(at string, before, after any, out *[]string) {
	b, mapB := before.(map[string]any)
	a, mapA := after.(map[string]any)
	if mapB && mapA {
		keys := maps.Clone(b)
		maps.Copy(keys, a)
		for k := range keys {
			vb, inB := b[k]
			va, inA := a[k]
			path := join(at, pathOf([]step{{field: k, index: -1}}, nil))
			if inA && inB {
				changed(path, vb, va, out)
			} else {
				*out = append(*out, path)
			}
		}
		return
	}
	lb, listB := before.([]any)
	la, listA := after.([]any)
	if listB && listA && len(lb) == len(la) {
		for i := range lb {
			changed(fmt.Sprintf("%s[%d]", at, i), lb[i], la[i], out)
		}
		return
	}
	if !reflect.DeepEqual(before, after) {
		*out = append(*out, at)
	}
}

// Within reports whether a path that changed is the field of an edit, below it, or
// a parent or a list that the edit made or took an element of.
func Within(path, field string) bool {
	below := func(p, of string) bool {
		rest, ok := strings.CutPrefix(p, of)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	}
	return below(path, field) || below(field, path)
}
