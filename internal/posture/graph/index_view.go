package graph

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// nowhere is the namespace of what says none, and the one in which what is to be
// said of the whole cluster by a check that is Local is said.
const nowhere = "default"

// home gives the one namespace that an object belongs to: that in which it stands
// and, for a Namespace, itself.
func home(o *inventory.Object) string {
	if o.Kind == "Namespace" && o.Group() == "" {
		return cmp.Or(o.Name, nowhere)
	}
	return space(o)
}

// wide are the kinds of which every view has all objects: those of the whole
// cluster, even if a file says a namespace, and those that reach over namespaces.
var wide = sync.OnceValue(func() map[Kind]bool { //nolint:gochecknoglobals // never changed
	out := map[Kind]bool{}
	for _, kinds := range [][]Kind{rbacKinds(), routeKinds(), engineKinds(), saverKinds(), widePolicyKinds(), {
		{"security.istio.io", "PeerAuthentication"},
		{"storage.k8s.io", "StorageClass"},
		{"", "PersistentVolume"},
		{"", "Node"},
		{"apiserver.config.k8s.io", "EncryptionConfiguration"},
		{"audit.k8s.io", "Policy"},
	}} {
		for _, k := range kinds {
			out[k] = true
		}
	}
	return out
})

// place is the objects of one namespace, in the order of the Snapshot.
type place struct {
	objects []*inventory.Object
	kinds   map[Kind][]*inventory.Object
}

func (p *place) put(o *inventory.Object) {
	p.objects = append(p.objects, o)
	k := Kind{o.Group(), o.Kind}
	p.kinds[k] = append(p.kinds[k], o)
}

// views are those of an Index.
type views struct {
	by   map[string]*Index
	list []*Index // by name
}

func sorted(by map[string]*Index) *views {
	v := &views{by: by}
	for _, name := range slices.Sorted(maps.Keys(by)) {
		v.list = append(v.list, by[name])
	}
	return v
}

// gather puts the objects of some namespaces, nil for all, into places. There is
// always one for what says no namespace.
func gather(s *inventory.Snapshot, only map[string]bool) map[string]*place {
	out := map[string]*place{}
	if only == nil || only[nowhere] {
		out[nowhere] = &place{kinds: map[Kind][]*inventory.Object{}}
	}
	for _, o := range s.Objects() {
		name := home(o)
		if only != nil && !only[name] {
			continue
		}
		p := out[name]
		if p == nil {
			p = &place{kinds: map[Kind][]*inventory.Object{}}
			out[name] = p
		}
		p.put(o)
	}
	return out
}

// all gives the views of the whole.
func (ix *Index) all() *views {
	ix = ix.base()
	return ix.views.get(func() *views {
		by := map[string]*Index{}
		for name, p := range gather(ix.Snapshot, nil) {
			by[name] = ix.view(name, p, newTables())
		}
		return sorted(by)
	})
}

func (ix *Index) view(name string, own *place, t tables) *Index {
	return &Index{Snapshot: ix.Snapshot, Now: ix.Now, tables: t, shelf: ix.shelf, whole: ix, name: name, own: own}
}

// base gives the Index of the whole cluster.
func (ix *Index) base() *Index {
	if ix.whole != nil {
		return ix.whole
	}
	return ix
}

// covers reports whether an object is one that is judged here.
func (ix *Index) covers(o *inventory.Object) bool { return ix.whole == nil || home(o) == ix.name }

// Objects gives the objects that are here. Nobody changes the list.
func (ix *Index) Objects() []*inventory.Object {
	if ix.whole != nil {
		return ix.own.objects
	}
	return ix.Snapshot.Objects()
}

// Kind gives the objects of a kind that are here and, if it is a wide one, of all
// namespaces. Nobody changes the list.
func (ix *Index) Kind(group, name string) []*inventory.Object {
	if ix.whole != nil && !wide()[Kind{group, name}] {
		return ix.own.kinds[Kind{group, name}]
	}
	return ix.Snapshot.Kind(group, name)
}

// Find gives one of the objects that Kind gives, or nil.
func (ix *Index) Find(group, kind, namespace, name string) *inventory.Object {
	o := ix.Snapshot.Find(group, kind, namespace, name)
	if o != nil && !ix.covers(o) && !wide()[Kind{group, kind}] {
		return nil
	}
	return o
}

// joined puts the maps of all views together; no two have one key.
func joined[K comparable, V any](ix *Index, of func(*Index) map[K]V) map[K]V {
	out := map[K]V{}
	for _, v := range ix.all().list {
		maps.Copy(out, of(v))
	}
	return out
}
