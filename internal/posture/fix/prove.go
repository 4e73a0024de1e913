package fix

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
	"bulwark.dev/bulwark/internal/posture/fix/splice"
)

// rendering is what a chart or folder makes, by object.
type rendering map[bulwark.ObjectRef]any

// contents gives the objects by name. Those of one name, as those that are to get
// one, are told apart by their order, so that none stands for another.
func contents(objects []*inventory.Object) rendering {
	out := rendering{}
	seen := map[bulwark.ObjectRef]int{}
	for _, o := range objects {
		var v any
		if err := decode(o.Raw(), &v); err != nil {
			continue
		}
		ref := o.ObjectRef
		seen[ref]++
		if n := seen[ref]; n > 1 {
			ref.Name += fmt.Sprintf("#%d", n)
		}
		out[ref] = v
	}
	return out
}

// wants are the edits that are wanted, by object.
type wants map[bulwark.ObjectRef][]splice.Edit

func wanted(todos []*todo) wants {
	out := wants{}
	byObject := map[bulwark.ObjectRef][]*todo{}
	for _, t := range todos {
		byObject[t.object.ObjectRef] = append(byObject[t.object.ObjectRef], t)
	}
	for ref, list := range byObject {
		out[ref] = ordered(list)
	}
	return out
}

// met reports whether an object has what an edit wants. An element of a list that
// is to go counts as gone if it is nowhere in the list.
func met(before, after any, e splice.Edit) bool {
	got, there := e.Path.Get(after)
	if !e.Remove {
		return there && reflect.DeepEqual(got, e.Value)
	}
	if last := e.Path[len(e.Path)-1]; last.Index >= 0 {
		was, had := e.Path.Get(before)
		list, _ := e.Path[:len(e.Path)-1].Get(after)
		all, _ := list.([]any)
		return !had || !slices.ContainsFunc(all, func(v any) bool { return reflect.DeepEqual(v, was) })
	}
	return !there
}

// unintended says what differs between two renderings that no edit wants, "" if
// nothing does. loose are fields that differ from one rendering to the next
// anyway, as passwords that are made anew.
func unintended(before, after rendering, want wants, loose map[string]bool) string {
	for _, ref := range refs(before) {
		now, ok := after[ref]
		if !ok {
			return ref.String() + " would be gone"
		}
		if reflect.DeepEqual(before[ref], now) {
			continue
		}
		expected := before[ref]
		for _, e := range want[ref] {
			if !met(before[ref], now, e) {
				continue
			}
			if next, err := splice.Changed(expected, e); err == nil {
				expected = next
			}
		}
		for _, path := range different(expected, now, nil, nil) {
			if !loose[ref.String()+" "+path.String()] && !checksum(path) {
				return fmt.Sprintf("%s of %s would change too", path, ref)
			}
		}
	}
	for _, ref := range refs(after) {
		if _, ok := before[ref]; !ok {
			return ref.String() + " would be new"
		}
	}
	return ""
}

// exactly says what differs between the objects of a file before and after that the
// edits, by the index of the object, do not say; "" if nothing does.
func exactly(before, after []*inventory.Object, edits map[int][]splice.Edit) string {
	if len(before) != len(after) {
		return "the file would hold other objects"
	}
	for i, o := range before {
		if len(edits[i]) == 0 {
			if !bytes.Equal(o.Raw(), after[i].Raw()) {
				return o.String() + " would change too"
			}
			continue
		}
		var want, got any
		err := errors.Join(decode(o.Raw(), &want), decode(after[i].Raw(), &got))
		for _, e := range edits[i] {
			if err == nil {
				want, err = splice.Changed(want, e)
			}
		}
		if err != nil {
			return err.Error()
		}
		if fields := different(want, got, nil, nil); len(fields) > 0 {
			return fmt.Sprintf("%s of %s would not be as it should", fields[0], o)
		}
	}
	return ""
}

func refs(r rendering) []bulwark.ObjectRef {
	return sorted(r, func(ref bulwark.ObjectRef) string { return ref.APIVersion + " " + ref.String() })
}

// checksum reports whether a field is the annotation by which charts restart pods
// when something that these read changes.
func checksum(path fieldpath.Path) bool {
	n := len(path)
	return n >= 2 && path[n-2].Key == "annotations" && strings.HasPrefix(path[n-1].Key, "checksum/")
}

// loose gives the fields that differ between two renderings of the same.
func loose(a, b rendering) map[string]bool {
	out := map[string]bool{}
	for ref := range a {
		for _, path := range different(a[ref], b[ref], nil, nil) {
			out[ref.String()+" "+path.String()] = true
		}
	}
	return out
}

// different lists the smallest fields in which two values differ.
func different(a, b any, at fieldpath.Path, out []fieldpath.Path) []fieldpath.Path {
	if reflect.DeepEqual(a, b) {
		return out
	}
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			break
		}
		for _, k := range sorted(x, func(k string) string { return k }) {
			v, ok := y[k]
			if !ok {
				out = append(out, at.Key(k))
				continue
			}
			out = different(x[k], v, at.Key(k), out)
		}
		for _, k := range sorted(y, func(k string) string { return k }) {
			if _, ok := x[k]; !ok {
				out = append(out, at.Key(k))
			}
		}
		return out
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			break
		}
		for i := range x {
			out = different(x[i], y[i], at.At(i), out)
		}
		return out
	}
	return append(out, at)
}
