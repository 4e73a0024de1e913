package inventory

import (
	"cmp"
	"maps"
	"slices"

	"bulwark.dev/bulwark"
)

// With gives the snapshot with some objects put in, each in the place of the one of
// its name if there is one, and others taken out, by name and whatever version. The
// snapshot itself stays as it is.
func (s *Snapshot) With(put []*Object, take []bulwark.ObjectRef) *Snapshot {
	out := *s
	out.objects = slices.Clone(s.objects)
	out.byRef = maps.Clone(s.byRef)
	out.byKind = maps.Clone(s.byKind)
	copied := map[kind]bool{}
	list := func(k kind) []*Object {
		if !copied[k] {
			copied[k] = true
			out.byKind[k] = slices.Clone(out.byKind[k])
		}
		return out.byKind[k]
	}
	for _, r := range take {
		n := name{kind{r.Group(), r.Kind}, r.Namespace, r.Name}
		if old := out.byRef[n]; old != nil {
			delete(out.byRef, n)
			out.objects = without(out.objects, old)
			out.byKind[n.kind] = without(list(n.kind), old)
		}
	}
	for _, o := range put {
		n := nameOf(o)
		if !unnamed(o) {
			if old := out.byRef[n]; old != nil {
				out.objects = without(out.objects, old)
				out.byKind[n.kind] = without(list(n.kind), old)
			}
			out.byRef[n] = o
		}
		out.objects = into(out.objects, o)
		out.byKind[n.kind] = into(list(n.kind), o)
	}
	return &out
}

// before orders objects as Objects gives them.
func before(a, b *Object) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Group(), b.Group()), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// without takes an object out, and others of its name if files gave some.
func without(list []*Object, o *Object) []*Object {
	from, _ := slices.BinarySearchFunc(list, o, before)
	to := from
	for to < len(list) && before(list[to], o) == 0 {
		to++
	}
	return slices.Delete(list, from, to)
}

func into(list []*Object, o *Object) []*Object {
	i, _ := slices.BinarySearchFunc(list, o, before)
	return slices.Insert(list, i, o)
}
