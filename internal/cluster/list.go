package cluster

import (
	"cmp"
	"slices"
)

// list is access to the list of one kind in a Snapshot.
type list interface {
	put(s *Snapshot, obj Object)
	sort(s *Snapshot)
	// each gives the objects until yield gives false, and whether it never did.
	each(s *Snapshot, yield func(Object) bool) bool
	// fill sets the list to the objects of sorted items.
	fill(s *Snapshot, items []item)
	// share sets the list to that of another Snapshot.
	share(s, from *Snapshot)
}

type typedList[P Object] struct{ at func(*Snapshot) *[]P }

func (l typedList[P]) put(s *Snapshot, obj Object) {
	if o, ok := obj.(P); ok {
		*l.at(s) = append(*l.at(s), o)
	}
}

func (l typedList[P]) sort(s *Snapshot) {
	slices.SortFunc(*l.at(s), func(a, b P) int { return nameOf(a).compare(nameOf(b)) })
}

func (l typedList[P]) each(s *Snapshot, yield func(Object) bool) bool {
	for _, o := range *l.at(s) {
		if !yield(o) {
			return false
		}
	}
	return true
}

func (l typedList[P]) fill(s *Snapshot, items []item) {
	if len(items) == 0 {
		return
	}
	out := make([]P, 0, len(items))
	for i := range items {
		if o, ok := items[i].obj.(P); ok {
			out = append(out, o)
		}
	}
	*l.at(s) = out
}

func (l typedList[P]) share(s, from *Snapshot) { *l.at(s) = *l.at(from) }

// name is the name of an object among those of its kind.
type name struct{ namespace, name string }

func (n name) compare(o name) int {
	return cmp.Or(cmp.Compare(n.namespace, o.namespace), cmp.Compare(n.name, o.name))
}

func nameOf(o Object) name { return name{o.GetNamespace(), o.GetName()} }
