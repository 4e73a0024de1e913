package posture

import (
	"cmp"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// family says which objects of a snapshot made which. Whoever may write an object
// may write any owner into it, and what an owner has is not told of its objects
// again. So an owner counts only where the API's own clean-up would let it: of the
// UID, kind and name that the object says, in its namespace or in none; and of the
// kinds of Kubernetes itself only where its controller makes such objects, and takes
// back what somebody else makes.
type family struct {
	byID    map[identity]*inventory.Object
	byOwner map[string][]*inventory.Object // by UID, in the order of the snapshot
}

// identity is what must be right of an owner.
type identity struct{ uid, group, kind, namespace, name string }

func identityOf(o *inventory.Object) identity {
	return identity{o.UID, o.Group(), o.Kind, o.Namespace, o.Name}
}

// deepest is how many owners in a row are followed. Kubernetes has three: pod, job,
// cron job; operators add one or two.
const deepest = 8

func families(objects []*inventory.Object) *family {
	f := &family{byID: make(map[identity]*inventory.Object, len(objects)), byOwner: map[string][]*inventory.Object{}}
	for _, o := range objects {
		if o.UID != "" {
			f.byID[identityOf(o)] = o
		}
		if o.Owner != "" {
			f.byOwner[o.Owner] = append(f.byOwner[o.Owner], o)
		}
	}
	return f
}

// remove takes an object out, put puts one in.
func (f *family) remove(o *inventory.Object) {
	if id := identityOf(o); f.byID[id] == o {
		delete(f.byID, id)
	}
	f.byOwner[o.Owner] = slices.DeleteFunc(f.byOwner[o.Owner], func(c *inventory.Object) bool { return c == o })
}

func (f *family) put(o *inventory.Object) {
	if o.UID != "" {
		f.byID[identityOf(o)] = o
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
	if o.Owner == "" || !makes(o) {
		return nil
	}
	id := identity{o.Owner, o.OwnerRef.Group(), o.OwnerRef.Kind, o.Namespace, o.OwnerRef.Name}
	if owner := f.byID[id]; owner != nil {
		return owner
	}
	id.namespace = ""
	return f.byID[id]
}

// makes reports whether an object can be made by what it says that it is owned by.
// Of custom kinds nobody knows what they make.
func makes(o *inventory.Object) bool {
	group, kind := o.OwnerRef.Group(), o.OwnerRef.Kind
	if strings.Contains(group, ".") && !strings.HasSuffix(group, ".k8s.io") || strings.HasSuffix(group, ".x-k8s.io") {
		return true
	}
	switch o.Kind {
	case "Pod":
		switch kind {
		case "ReplicaSet", "StatefulSet", "DaemonSet":
			return group == "apps" || group == "extensions"
		case "ReplicationController":
			return group == ""
		case "Job":
			return group == "batch"
		}
	case "ReplicaSet":
		return kind == "Deployment" && (group == "apps" || group == "extensions")
	case "Job":
		return kind == "CronJob" && group == "batch"
	}
	return false
}

// nameless reports whether an object has its name from a controller that makes many
// alike, so that it says nothing to people and the next one has another.
func nameless(o *inventory.Object) bool {
	switch o.Group() {
	case "":
		return o.Kind == "Pod"
	case "apps", "extensions":
		return o.Kind == "ReplicaSet"
	case "batch":
		return o.Kind == "Job"
	}
	return false
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
	if o == nil || o.UID == "" {
		return nil
	}
	of := f.byOwner[o.UID]
	strange := func(c *inventory.Object) bool { return f.parent(c) != o }
	if slices.ContainsFunc(of, strange) {
		of = slices.DeleteFunc(slices.Clone(of), strange)
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
