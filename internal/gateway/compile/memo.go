package compile

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// memo keeps what was made of objects, by their pointers: objects never change.
// What a run did not ask for is forgotten after it. A nil *memo remembers
// nothing.
type memo struct {
	run         int // counts runs, from 1
	frame       *frame
	routes      map[any]*keptRoute
	policies    map[*v1alpha1.SecurityPolicy]*judged
	pairs       cache[*corev1.Secret, keyPairOrErr]
	authorities cache[authorityKey, authorityOrErr]
	uses        *useSet
	lists       lists
	backends    map[string]*backend // of the last run, by name
	byTarget    byTarget
	table       tableParts
}

func newMemo() *memo {
	return &memo{routes: map[any]*keptRoute{}, policies: map[*v1alpha1.SecurityPolicy]*judged{}, uses: newUseSet()}
}

// sweep forgets what was not asked for since the last sweep.
func (m *memo) sweep() {
	maps.DeleteFunc(m.routes, func(_ any, k *keptRoute) bool { return k.run != m.run })
	maps.DeleteFunc(m.policies, func(_ *v1alpha1.SecurityPolicy, j *judged) bool { return j.run != m.run })
	m.pairs.sweep()
	m.authorities.sweep()
}

// cache holds values of this run and the one before.
type cache[K comparable, V any] struct{ now, old map[K]V }

func (c *cache[K, V]) get(k K) (V, bool) {
	if v, ok := c.now[k]; ok {
		return v, true
	}
	v, ok := c.old[k]
	return v, ok
}

func (c *cache[K, V]) put(k K, v V) {
	if c.now == nil {
		c.now = make(map[K]V, len(c.old))
	}
	c.now[k] = v
}

func (c *cache[K, V]) sweep() { c.now, c.old = nil, c.now }

type keyPairOrErr struct {
	pair ir.KeyPair
	err  error
}

// authorityKey names a bundle: the Secret or ConfigMap, and how it is judged.
type authorityKey struct {
	object any
	onlyCA bool
}

type authorityOrErr struct {
	pem string
	err error
}

// lists are the objects of the last run in order, and the lookups made of them.
type lists struct {
	classes    list[*gwv1.GatewayClass]
	gateways   list[*gwv1.Gateway]
	http       list[*gwv1.HTTPRoute]
	grpc       list[*gwv1.GRPCRoute]
	tls        list[*gwv1.TLSRoute]
	sets       list[*gwv1.ListenerSet]
	grants     list[*gwv1.ReferenceGrant]
	backendTLS list[*gwv1.BackendTLSPolicy]
	policies   list[*v1alpha1.SecurityPolicy]
	services   list[*corev1.Service]
	slices     list[*discoveryv1.EndpointSlice]
	secrets    list[*corev1.Secret]
	configMaps list[*corev1.ConfigMap]
	namespaces list[*corev1.Namespace]

	inSpace   map[string][]*corev1.Secret
	endpoints map[key][]*discoveryv1.EndpointSlice
	// looked counts the changes of Services, Secrets and ConfigMaps; sliced
	// those of EndpointSlices.
	looked, sliced int
}

// list is the objects of a kind as they came and in order.
type list[T object] struct {
	in, out []T
	by      map[key]T // once it was asked for
}

// take gives the objects in order, and reports whether they are others than
// before.
func (l *list[T]) take(in []T) (out []T, changed bool) {
	if l.out != nil && slices.Equal(l.in, in) {
		return l.out, false
	}
	l.in, l.out, l.by = slices.Clone(in), sorted(in), nil
	return l.out, true
}

// byKey gives the objects by name.
func (l *list[T]) byKey() map[key]T {
	if l.by == nil {
		l.by = byKey(l.out)
	}
	return l.by
}

// keptRoute is a route object's common form and what the last run made of it.
type keptRoute struct {
	run    int
	parsed *route
	// route is attached and resolved within the frame; nil without one.
	route    *route
	frame    *frame
	looked   trace // Services
	warnings []string
	dangling []Line
	made     *made // its rules, or nil
}

// forget drops what depends on more than the object.
func (k *keptRoute) forget() {
	*k = keptRoute{run: k.run, parsed: k.parsed}
}

// fresh copies a parsed route, since a run fills it in.
func (r *route) fresh() *route {
	out := *r
	out.rules = make([]*rule, len(r.rules))
	copies := make([]rule, len(r.rules))
	for i, u := range r.rules {
		copies[i] = *u
		out.rules[i] = &copies[i]
	}
	return &out
}

// addRoute brings a route object into the common form, attached and resolved, or
// takes that over.
//
// It depends on the object, on the frame (Gateways, ListenerSets, grants,
// namespaces, BackendTLSPolicies), and on the Services that were looked up.
func addRoute[T comparable](c *compiler, object T, parse func(T) *route) {
	if c.memo == nil {
		r := parse(object)
		c.attachRoute(r)
		c.resolveRoute(r)
		c.routes = append(c.routes, r)
		return
	}
	k := c.memo.routes[object]
	if k == nil {
		k = &keptRoute{parsed: parse(object)}
		c.memo.routes[object] = k
	}
	k.run = c.memo.run
	if k.frame != nil && k.frame == c.frame && k.looked.holds(c.ix) {
		r := k.route
		r.policy, r.misnamed = nil, ""
		for _, u := range r.rules {
			u.policy = nil
		}
		k.looked.replay(c.ix)
	} else {
		c.settleRoute(k)
	}
	c.rep.Warnings = append(c.rep.Warnings, k.warnings...)
	c.rep.Dangling = append(c.rep.Dangling, k.dangling...)
	c.routes = append(c.routes, k.route)
}

// settleRoute attaches and resolves a route, and notes all that comes of it.
func (c *compiler) settleRoute(k *keptRoute) {
	k.forget()
	rep := c.rep
	c.rep = &Report{}
	c.ix.trace(&k.looked)
	r := k.parsed.fresh()
	c.attachRoute(r)
	c.resolveRoute(r)
	c.ix.trace(nil)
	k.route, k.warnings, k.dangling = r, c.rep.Warnings, c.rep.Dangling
	c.rep = rep
	if c.frame == c.memo.frame {
		k.frame, r.kept = c.frame, k
	}
}

// judged is a policy with what its judgement looked at.
type judged struct {
	run      int
	policy   policy // as it was judged
	live     policy // with what a run adds
	looked   trace
	warnings []string
}

// judgeOnce judges a policy, or takes over what was found before.
func (c *compiler) judgeOnce(obj *v1alpha1.SecurityPolicy) *policy {
	if c.memo == nil || len(c.ix.unread) > 0 {
		p := &policy{key: keyOf(obj), obj: v1alpha1.Default(obj), source: obj}
		c.judgePolicy(p)
		return p
	}
	j, ok := c.memo.policies[obj]
	if !ok || !j.looked.holds(c.ix) {
		j = &judged{policy: policy{key: keyOf(obj), obj: v1alpha1.Default(obj), source: obj}}
		c.memo.policies[obj] = j
		c.ix.trace(&j.looked)
		before := len(c.rep.Warnings)
		c.judgePolicy(&j.policy)
		c.ix.trace(nil)
		j.warnings = slices.Clone(c.rep.Warnings[before:])
		j.live = j.policy
	} else {
		c.rep.Warnings = append(c.rep.Warnings, j.warnings...)
		j.looked.replay(c.ix)
	}
	j.run = c.memo.run
	p := &j.live
	p.brokenAll, p.problems = j.policy.brokenAll, j.policy.problems
	p.targets, p.standIn = p.targets[:0], nil
	return p
}
