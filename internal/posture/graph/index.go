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
	"bulwark.dev/bulwark/internal/posture/graph/release"
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
	data    lazy[*release.Data]
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

// content decodes an object; nil if that fails, which guard reports.
func (ix *Index) content(o *inventory.Object) map[string]any {
	c, err := o.Content()
	if err != nil {
		ix.mu.Lock()
		ix.failed[o] = true
		ix.mu.Unlock()
		return nil
	}
	return c
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

// namespaces gives the names of those that exist or in which something runs,
// sorted.
func (ix *Index) namespaces() []string {
	names := map[string]bool{}
	for _, o := range ix.Kind("", "Namespace") {
		names[o.Name] = true
	}
	for name := range ix.workloads().spaces {
		names[name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// namespaceLabels gives the labels of a namespace, with the one that an API
// server sets on each.
func (ix *Index) namespaceLabels(name string) map[string]string {
	out := map[string]string{"kubernetes.io/metadata.name": name}
	if o := ix.Find("", "Namespace", "", name); o != nil {
		maps.Copy(out, o.Labels)
		out["kubernetes.io/metadata.name"] = name
	}
	return out
}

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

// some names the first of several things and says how many there are.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + " and " + itoa(len(names)-most) + " more"
}
