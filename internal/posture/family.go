package posture

import (
	"cmp"
	"slices"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// family says which objects of a snapshot made which.
type family struct {
	byUID   map[string]*inventory.Object
	byOwner map[string][]*inventory.Object // in the order of the snapshot
}

// deepest is how many owners in a row are followed. Kubernetes has three: pod, job,
// cron job; operators add one or two.
const deepest = 8

func families(objects []*inventory.Object) *family {
	f := &family{byUID: make(map[string]*inventory.Object, len(objects)), byOwner: map[string][]*inventory.Object{}}
	for _, o := range objects {
		if o.UID != "" {
			f.byUID[o.UID] = o
		}
		if o.Owner != "" {
			f.byOwner[o.Owner] = append(f.byOwner[o.Owner], o)
		}
	}
	return f
}

// remove takes an object out, put puts one in.
func (f *family) remove(o *inventory.Object) {
	if f.byUID[o.UID] == o {
		delete(f.byUID, o.UID)
	}
	f.byOwner[o.Owner] = slices.DeleteFunc(f.byOwner[o.Owner], func(c *inventory.Object) bool { return c == o })
}

func (f *family) put(o *inventory.Object) {
	if o.UID != "" {
		f.byUID[o.UID] = o
	}
	if o.Owner != "" {
		i, _ := slices.BinarySearchFunc(f.byOwner[o.Owner], o, inOrder)
		f.byOwner[o.Owner] = slices.Insert(f.byOwner[o.Owner], i, o)
	}
}

// inOrder is the order of a snapshot.
func inOrder(a, b *inventory.Object) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Group(), b.Group()), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// parent gives what made an object, nil if that is not there. Objects that own one
// another in a circle count as made by nobody, so that all of them are judged.
func (f *family) parent(o *inventory.Object) *inventory.Object {
	if o == nil || f.depth(o) < 0 {
		return nil
	}
	return f.owner(o)
}

func (f *family) owner(o *inventory.Object) *inventory.Object {
	if o.Owner == "" {
		return nil
	}
	return f.byUID[o.Owner]
}

// depth is how many owners an object has in a row, -1 if there is no end.
func (f *family) depth(o *inventory.Object) int {
	for n := 0; n <= deepest; n++ {
		if o = f.owner(o); o == nil {
			return n
		}
	}
	return -1
}

// children gives what an object made.
func (f *family) children(o *inventory.Object) []*inventory.Object {
	if o == nil || o.UID == "" || f.byUID[o.UID] != o {
		return nil
	}
	of := f.byOwner[o.UID]
	if len(of) > 0 && f.depth(o) < 0 {
		return nil
	}
	return of
}

// root gives the object at the end of the owners.
func (f *family) root(o *inventory.Object) *inventory.Object {
	for owner := f.parent(o); owner != nil; owner = f.parent(o) {
		o = owner
	}
	return o
}

// waves orders objects so that each stands in a wave after its owner's.
func (f *family) waves(objects []*inventory.Object) [][]*inventory.Object {
	var out [][]*inventory.Object
	for _, o := range objects {
		depth := max(0, f.depth(o))
		for len(out) <= depth {
			out = append(out, nil)
		}
		out[depth] = append(out[depth], o)
	}
	return out
}
