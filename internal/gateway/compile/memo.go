package compile

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// memo keeps what was made of single objects, by their pointers: objects never
// change. What a run did not ask for is forgotten after it. A nil *memo
// remembers nothing.
type memo struct {
	routes      cache[any, *route]
	policies    cache[*v1alpha1.SecurityPolicy, *judged]
	pairs       cache[*corev1.Secret, keyPairOrErr]
	authorities cache[authorityKey, authorityOrErr]
	endpoints   cache[servicePort, *portEndpoints]
}

func newMemo() *memo { return &memo{} }

// sweep forgets what was not asked for since the last sweep.
func (m *memo) sweep() {
	m.routes.sweep()
	m.policies.sweep()
	m.pairs.sweep()
	m.authorities.sweep()
	m.endpoints.sweep()
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

// replace puts a value between two runs.
func (c *cache[K, V]) replace(k K, v V) {
	if c.old == nil {
		c.old = map[K]V{}
	}
	c.old[k] = v
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

// portEndpoints is what the EndpointSlices of a Service port came to.
type portEndpoints struct {
	slices   []*discoveryv1.EndpointSlice
	out      []string
	warnings []string
}

// parsed gives the common form of a route object, made once for each object and
// copied for each run, since a run fills it in.
func parsed[T comparable](m *memo, object T, parse func(T) *route) *route {
	if m == nil {
		return parse(object)
	}
	r, ok := m.routes.get(object)
	if !ok {
		r = parse(object)
	}
	m.routes.put(object, r)
	fresh := *r
	fresh.rules = make([]*rule, len(r.rules))
	copies := make([]rule, len(r.rules))
	for i, u := range r.rules {
		copies[i] = *u
		fresh.rules[i] = &copies[i]
	}
	return &fresh
}

// judged is a policy with what its judgement looked at.
type judged struct {
	policy   policy
	looked   trace
	warnings []string
}

// trace is what a part of a run looked up: it comes out the same while all of
// that is the same.
type trace struct {
	objects []looked
	spaces  []secretsOf
}

type looked struct {
	kind string
	key
	found any // the object, or nil
}

type secretsOf struct {
	namespace string
	secrets   []*corev1.Secret
}

// object gives a Secret or ConfigMap, or nil.
func (ix *index) object(kind string, k key) any {
	switch kind {
	case kindSecret:
		if s, ok := ix.secrets[k]; ok {
			return s
		}
	case kindConfigMap:
		if m, ok := ix.configMaps[k]; ok {
			return m
		}
	}
	return nil
}

// holds reports whether everything that was looked up is the same now.
func (t *trace) holds(ix *index) bool {
	for _, o := range t.objects {
		if ix.object(o.kind, o.key) != o.found {
			return false
		}
	}
	for _, s := range t.spaces {
		if !slices.Equal(s.secrets, ix.inSpace[s.namespace]) {
			return false
		}
	}
	return true
}

// judgeOnce judges a policy, or takes over what was found before.
func (c *compiler) judgeOnce(obj *v1alpha1.SecurityPolicy) *policy {
	if c.memo == nil || len(c.ix.unread) > 0 {
		p := &policy{key: keyOf(obj), obj: v1alpha1.Default(obj), source: obj}
		c.judgePolicy(p)
		return p
	}
	j, ok := c.memo.policies.get(obj)
	if !ok || !j.looked.holds(c.ix) {
		j = &judged{policy: policy{key: keyOf(obj), obj: v1alpha1.Default(obj), source: obj}}
		c.ix.tracing = &j.looked
		before := len(c.rep.Warnings)
		c.judgePolicy(&j.policy)
		c.ix.tracing = nil
		j.warnings = slices.Clone(c.rep.Warnings[before:])
	} else {
		c.rep.Warnings = append(c.rep.Warnings, j.warnings...)
		for _, o := range j.looked.objects {
			c.ix.use(o.kind, o.key)
		}
	}
	c.memo.policies.put(obj, j)
	p := j.policy
	return &p
}
