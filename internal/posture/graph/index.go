package graph

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph/rights"
)

// Index is a Snapshot with what several checks look for, each made once, when it
// is first asked for. It may be used by many goroutines.
//
// There is one for the whole cluster and, within it, a view of each namespace, which
// has tables of its own. A check that is Local is given views.
type Index struct {
	// Snapshot is the whole cluster's, also in a view: objects are asked for with
	// Kind, Find and Objects of the Index, never with those of the Snapshot.
	*inventory.Snapshot
	// Now is when certificates and releases are judged to have ended. At the zero
	// time what depends on it is unknown.
	Now time.Time

	tables
	shelf *shelf
	// Of a view only: what it is a view of, the name and the objects of its
	// namespace.
	whole *Index
	name  string
	own   *place
	// Of the whole only.
	views  lazy[*views]
	grants *lazy[*rights.Book]
	roads  *lazy[*roads]
	laws   *lazy[map[*inventory.Object][]*policy]
}

// tables are what was made of the objects of one namespace or, for the whole, put
// together of all of those.
type tables struct {
	load    *lazy[*load]
	wants   *lazy[map[target][]use]
	servers *lazy[*services]
	ways    *lazy[*ways]
	rules   *lazy[*policies]
	sealed  *lazy[map[target]*secret]
	locks   *lazy[*locks]
	parts   *lazy[[]part]
	brought *lazy[map[target]bool]
	tribes  *lazy[*tribes]
	held    *lazy[[]*tenant]
}

func newTables() tables {
	return tables{
		load: &lazy[*load]{}, wants: &lazy[map[target][]use]{}, servers: &lazy[*services]{}, ways: &lazy[*ways]{}, rules: &lazy[*policies]{},
		sealed: &lazy[map[target]*secret]{}, locks: &lazy[*locks]{}, parts: &lazy[[]part]{}, brought: &lazy[map[target]bool]{}, tribes: &lazy[*tribes]{}, held: &lazy[[]*tenant]{},
	}
}

// NewIndex makes an Index. Set Now before it is used.
func NewIndex(s *inventory.Snapshot) *Index {
	return &Index{
		Snapshot: s, tables: newTables(), shelf: &shelf{failed: map[*inventory.Object]bool{}},
		grants: &lazy[*rights.Book]{}, roads: &lazy[*roads]{}, laws: &lazy[map[*inventory.Object][]*policy]{},
	}
}

// lazy is a value that is made when it is first asked for.
type lazy[T any] struct {
	once  sync.Once
	value T
}

func (l *lazy[T]) get(build func() T) T {
	l.once.Do(func() { l.value = build() })
	return l.value
}

// content decodes an object; nil if that fails, which guard reports. Nobody
// changes it.
func (ix *Index) content(o *inventory.Object) map[string]any {
	if c, ok := taken[map[string]any](ix.shelf, o); ok {
		return c
	}
	c, err := o.Content()
	if err != nil {
		ix.shelf.fail(o)
		return nil
	}
	const small = 4096 // bytes; what is decoded takes several times that
	if often(o) || ix.shelf.all && len(o.Raw()) <= small && !carries(o) {
		put(ix.shelf, o, c)
	}
	return c
}

// often reports whether an object is one of few of its kind that many others refer
// to.
func often(o *inventory.Object) bool {
	switch o.Group() {
	case gatewayGroup:
		return o.Kind == "Gateway" || o.Kind == "ListenerSet" || o.Kind == "ReferenceGrant"
	case admissionGroup, "kyverno.io", "velero.io", "storage.k8s.io", "apiserver.config.k8s.io", "audit.k8s.io":
		return true
	}
	return o.Kind == "PeerAuthentication"
}

// broken gives the objects that a check reads and whose content could not be
// decoded.
func (ix *Index) broken(c *Check) []*inventory.Object {
	ix.shelf.mu.Lock()
	defer ix.shelf.mu.Unlock()
	var out []*inventory.Object
	for o := range ix.shelf.failed {
		if (slices.Contains(c.Reads, Kind{o.Group(), o.Kind}) || c.Pods && carries(o)) && ix.covers(o) {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b *inventory.Object) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// space gives the namespace of an object of a namespaced kind: files may leave it
// out, and then it lands in "default" as far as anybody can tell.
func space(o *inventory.Object) string { return cmp.Or(o.Namespace, "default") }

// in gives the objects of a namespaced kind in a namespace.
func (ix *Index) in(group, kind, namespace string) []*inventory.Object {
	k := Kind{group, kind}
	if ix.whole != nil && !wide()[k] {
		if namespace != ix.name {
			return nil
		}
		return ix.own.kinds[k]
	}
	if v := ix.base().all().by[namespace]; v != nil {
		return v.own.kinds[k]
	}
	return nil
}

// find gives an object of a namespaced kind, or nil.
func (ix *Index) find(group, kind, namespace, name string) *inventory.Object {
	o := ix.Find(group, kind, namespace, name)
	if o == nil && namespace == "default" {
		o = ix.Find(group, kind, "", name)
	}
	return o
}

// tribes are the namespaces.
type tribes struct {
	names  []string // of those that exist or in which something runs, sorted
	labels map[string]map[string]string
}

func (ix *Index) spaceSet() *tribes {
	return ix.tribes.get(func() *tribes {
		t := &tribes{labels: map[string]map[string]string{}}
		if ix.whole == nil {
			for _, v := range ix.all().list {
				t.names = append(t.names, v.spaceSet().names...)
				maps.Copy(t.labels, v.spaceSet().labels)
			}
			slices.Sort(t.names)
			return t
		}
		put := func(name string, labels map[string]string) {
			if t.labels[name] != nil {
				return
			}
			t.names = append(t.names, name)
			// An API server sets this label on each, whatever a file says.
			own := maps.Clone(labels)
			if own == nil {
				own = map[string]string{}
			}
			own["kubernetes.io/metadata.name"] = name
			t.labels[name] = own
		}
		for _, o := range ix.Kind("", "Namespace") {
			put(o.Name, o.Labels)
		}
		for name := range ix.workloads().spaces {
			put(name, nil)
		}
		slices.Sort(t.names)
		return t
	})
}

// namespaces gives the names of those that exist or in which something runs,
// sorted.
func (ix *Index) namespaces() []string { return ix.spaceSet().names }

// namespaceLabels gives the labels of a namespace. Nobody changes them.
func (ix *Index) namespaceLabels(name string) map[string]string { return ix.spaceSet().labels[name] }

// namespaceObject gives what a verdict on a namespace is pinned to: the Namespace
// or, where files have none, the first workload in it.
func (ix *Index) namespaceObject(name string) *inventory.Object {
	if o := ix.Find("", "Namespace", "", name); o != nil {
		return o
	}
	if all := ix.workloads().spaces[name]; all != nil && len(all.pods) > 0 {
		return all.pods[0].obj
	}
	return nil
}

// system reports whether a namespace belongs to Kubernetes itself.
// Other names that begin alike are anybody's to take.
func system(namespace string) bool {
	return slices.Contains([]string{"kube-system", "kube-public", "kube-node-lease"}, namespace)
}

// here says where something was looked for.
func (ix *Index) here() string {
	if ix.Facts.Live {
		return "in the cluster"
	}
	return "in what was given"
}

// missing gives the severity of something that was not found: files seldom hold
// all that a cluster has, so there it is at most low.
func (ix *Index) missing(s bulwark.Severity) bulwark.Severity {
	if ix.Facts.Live || s < bulwark.SeverityLow {
		return s
	}
	return bulwark.SeverityLow
}

func pass() control.Result { return control.Result{Verdict: bulwark.VerdictPass} }

func fail(field, message string, related ...bulwark.ObjectRef) control.Result {
	return control.Result{Verdict: bulwark.VerdictFail, Field: field, Message: message, Related: related}
}

func skip(reason string) control.Result {
	return control.Result{Verdict: bulwark.VerdictNotApplicable, Reason: reason}
}

func unknown(reason string) control.Result {
	return control.Result{Verdict: bulwark.VerdictUnknown, Reason: reason}
}

// some names the first five of several things and says how many more there are.
func some(names []string) string { return upTo(5, names) }

func upTo(most int, names []string) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + " and " + itoa(len(names)-most) + " more"
}
