package posture

import (
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// family says which objects of a snapshot made which.
type family struct {
	parent   map[*inventory.Object]*inventory.Object
	children map[*inventory.Object][]*inventory.Object
}

// deepest is how many owners in a row are followed. Kubernetes has three: pod, job,
// cron job; operators add one or two.
const deepest = 8

// families follows the owner references. Objects that own one another in a circle
// count as made by nobody, so that all of them are judged.
func families(objects []*inventory.Object) *family {
	f := &family{parent: map[*inventory.Object]*inventory.Object{}, children: map[*inventory.Object][]*inventory.Object{}}
	byUID := make(map[string]*inventory.Object, len(objects))
	for _, o := range objects {
		if o.UID != "" {
			byUID[o.UID] = o
		}
	}
	for _, o := range objects {
		if o.Owner == "" {
			continue
		}
		at, n := o, 0
		for ; at != nil && at.Owner != "" && n <= deepest; n++ {
			at = byUID[at.Owner]
		}
		if owner := byUID[o.Owner]; owner != nil && n <= deepest {
			f.parent[o] = owner
			f.children[owner] = append(f.children[owner], o)
		}
	}
	return f
}

// root gives the object at the end of the owners.
func (f *family) root(o *inventory.Object) *inventory.Object {
	for range deepest {
		owner := f.parent[o]
		if owner == nil {
			break
		}
		o = owner
	}
	return o
}

// waves orders objects so that each stands in a wave after its owner's.
func (f *family) waves(objects []*inventory.Object) [][]*inventory.Object {
	var out [][]*inventory.Object
	for _, o := range objects {
		depth := 0
		for at := f.parent[o]; at != nil; at = f.parent[at] {
			depth++
		}
		for len(out) <= depth {
			out = append(out, nil)
		}
		out[depth] = append(out[depth], o)
	}
	return out
}
