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
type Index struct {
	*inventory.Snapshot
	// Now is when certificates and releases are judged to have ended. At the zero
	// time what depends on it is unknown.
	Now time.Time

	mu      sync.Mutex
	failed  map[*inventory.Object]bool // whose content could not be decoded
	byKind  map[Kind]map[string][]*inventory.Object
	load    lazy[*load]
	wants   lazy[map[target][]use]
	servers lazy[*services]
	ways    lazy[*ways]
	rules   lazy[*policies]
	grants  lazy[*rights.Book]
	sealed  lazy[map[target]*secret]
	locks   lazy[*locks]
	parts   lazy[[]part]
	brought lazy[map[target]bool]
	tribes  lazy[*tribes]
	kept    sync.Map // *inventory.Object → its content, of kinds that are asked for often
}

// NewIndex makes an Index. Set Now before it is used.
func NewIndex(s *inventory.Snapshot) *Index {
	return &Index{Snapshot: s, failed: map[*inventory.Object]bool{}, byKind: map[Kind]map[string][]*inventory.Object{}}
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
	if known, ok := ix.kept.Load(o); ok {
		c, _ := known.(map[string]any)
		return c
	}
	c, err := o.Content()
	if err != nil {
		ix.mu.Lock()
		ix.failed[o] = true
		ix.mu.Unlock()
		return nil
	}
	if often(o) {
		ix.kept.Store(o, c)
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
	ix.mu.Lock()
	defer ix.mu.Unlock()
	var out []*inventory.Object
	for o := range ix.failed {
		if slices.Contains(c.Reads, Kind{o.Group(), o.Kind}) || c.Pods && carries(o) {
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

// in gives the objects of a kind in a namespace.
func (ix *Index) in(group, kind, namespace string) []*inventory.Object {
	return ix.spaces(group, kind)[namespace]
}

// spaces gives the objects of a namespaced kind by namespace.
func (ix *Index) spaces(group, kind string) map[string][]*inventory.Object {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	k := Kind{group, kind}
	m, ok := ix.byKind[k]
	if !ok {
		m = map[string][]*inventory.Object{}
		for _, o := range ix.Kind(group, kind) {
			m[space(o)] = append(m[space(o)], o)
		}
		ix.byKind[k] = m
	}
	return m
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
func system(namespace string) bool { return strings.HasPrefix(namespace, "kube-") }

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
