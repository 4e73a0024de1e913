package compile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// gatewayGroup is the API group of Gateway API.
const gatewayGroup = "gateway.networking.k8s.io"

// The kinds that references name.
const (
	kindGateway     = "Gateway"
	kindListenerSet = "ListenerSet"
	kindHTTPRoute   = "HTTPRoute"
	kindGRPCRoute   = "GRPCRoute"
	kindTLSRoute    = "TLSRoute"
	kindService     = "Service"
	kindSecret      = "Secret"
	kindConfigMap   = "ConfigMap"
)

// key names an object of a kind.
type key struct{ namespace, name string }

// String gives "namespace/name".
func (k key) String() string { return k.namespace + "/" + k.name }

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.namespace, o.namespace), cmp.Compare(k.name, o.name))
}

func keyOf(o metav1.Object) key { return key{o.GetNamespace(), o.GetName()} }

// index is the input sorted, with what lookups need.
type index struct {
	Input
	classes      map[string]*gwv1.GatewayClass
	gateways     map[key]*gwv1.Gateway
	listenerSets map[key]*gwv1.ListenerSet
	services     map[key]*corev1.Service
	secrets      map[key]*corev1.Secret
	configMaps   map[key]*corev1.ConfigMap
	inSpace      map[string][]*corev1.Secret
	namespaces   map[string]labels.Set
	endpoints    map[key][]*discoveryv1.EndpointSlice // by Service
	grants       map[grant]struct{}
	unread       map[string]string // why a kind could not be read, or not all of it
	uses         *useSet           // what was looked up
	memo         *memo
	tracing      *trace // notes what is looked up, where set
	// looked and sliced are those of lists; 0 in a run that stands alone.
	looked, sliced int
}

// grant is one permission of a ReferenceGrant. An empty name permits all.
type grant struct {
	fromGroup, fromKind, fromNamespace string
	toGroup, toKind                    string
	to                                 key
}

func newIndex(in Input, m *memo) *index {
	ix := &index{
		memo:       m,
		classes:    map[string]*gwv1.GatewayClass{},
		namespaces: map[string]labels.Set{},
		grants:     map[grant]struct{}{},
		unread:     map[string]string{},
	}
	if m == nil {
		ix.order(in, &lists{}, newUseSet())
	} else {
		m.run++
		ix.order(in, &m.lists, m.uses)
		ix.looked, ix.sliced = m.lists.looked, m.lists.sliced
	}
	for _, u := range in.Unreadable {
		ix.unread[u.Kind] = u.Reason
	}
	for _, c := range ix.GatewayClasses {
		ix.classes[c.Name] = c
	}
	for _, n := range ix.Namespaces {
		ix.namespaces[n.Name] = n.Labels
	}
	for _, g := range ix.ReferenceGrants {
		ix.addGrant(g)
	}
	return ix
}

// order sorts the input and makes the lookups of it, or takes over those of l.
func (ix *index) order(in Input, l *lists, uses *useSet) {
	ix.uses = uses
	uses.start()
	ix.GatewayClasses, _ = l.classes.take(in.GatewayClasses)
	ix.Gateways, _ = l.gateways.take(in.Gateways)
	ix.HTTPRoutes, _ = l.http.take(in.HTTPRoutes)
	ix.GRPCRoutes, _ = l.grpc.take(in.GRPCRoutes)
	ix.TLSRoutes, _ = l.tls.take(in.TLSRoutes)
	ix.ListenerSets, _ = l.sets.take(in.ListenerSets)
	ix.ReferenceGrants, _ = l.grants.take(in.ReferenceGrants)
	ix.BackendTLSPolicies, _ = l.backendTLS.take(in.BackendTLSPolicies)
	ix.SecurityPolicies, _ = l.policies.take(in.SecurityPolicies)
	ix.Namespaces, _ = l.namespaces.take(in.Namespaces)
	var services, secrets, configMaps bool
	ix.Services, services = l.services.take(in.Services)
	ix.Secrets, secrets = l.secrets.take(in.Secrets)
	ix.ConfigMaps, configMaps = l.configMaps.take(in.ConfigMaps)
	if services || secrets || configMaps {
		l.looked++
	}
	if secrets {
		l.inSpace = map[string][]*corev1.Secret{}
		for _, s := range ix.Secrets {
			l.inSpace[s.Namespace] = append(l.inSpace[s.Namespace], s)
		}
	}
	ix.EndpointSlices = l.takeSlices(in.EndpointSlices)
	ix.gateways, ix.listenerSets = l.gateways.byKey(), l.sets.byKey()
	ix.services, ix.secrets, ix.configMaps = l.services.byKey(), l.secrets.byKey(), l.configMaps.byKey()
	ix.inSpace, ix.endpoints = l.inSpace, l.endpoints
}

// takeSlices gives the EndpointSlices in order and keeps them by Service.
func (l *lists) takeSlices(in []*discoveryv1.EndpointSlice) []*discoveryv1.EndpointSlice {
	out, changed := l.slices.take(in)
	if !changed {
		return out
	}
	l.sliced++
	l.endpoints = make(map[key][]*discoveryv1.EndpointSlice, len(l.endpoints))
	for i, s := range out {
		svc := s.Labels[discoveryv1.LabelServiceName]
		if svc == "" {
			continue
		}
		k := key{s.Namespace, svc}
		if list := l.endpoints[k]; list != nil {
			l.endpoints[k] = append(list, s)
		} else {
			l.endpoints[k] = out[i : i+1 : i+1] // most Services have one
		}
	}
	return out
}

func (ix *index) addGrant(g *gwv1.ReferenceGrant) {
	for _, from := range g.Spec.From {
		for _, to := range g.Spec.To {
			name := ""
			if to.Name != nil {
				name = string(*to.Name)
			}
			ix.grants[grant{
				string(from.Group), string(from.Kind), string(from.Namespace),
				string(to.Group), string(to.Kind),
				key{g.Namespace, name},
			}] = struct{}{}
		}
	}
}

// permitted reports whether an object of Gateway API kind fromKind may refer to
// a core object: within a namespace always, else by ReferenceGrant.
func (ix *index) permitted(fromKind, fromNamespace, toKind string, to key) bool {
	if fromNamespace == to.namespace {
		return true
	}
	g := grant{gatewayGroup, fromKind, fromNamespace, "", toKind, to}
	if _, ok := ix.grants[g]; ok {
		return true
	}
	g.to.name = ""
	_, ok := ix.grants[g]
	return ok
}

// permit is permitted with an error that says what is missing.
func (ix *index) permit(fromKind, fromNamespace, toKind string, to key) error {
	if ix.permitted(fromKind, fromNamespace, toKind, to) {
		return nil
	}
	return fmt.Errorf("no ReferenceGrant of namespace %s lets %ss of %s use %s %s%s", to.namespace, fromKind, fromNamespace, toKind, to, ix.hint(kindReferenceGrant))
}

// labelsOf gives the labels of a namespace with the one that the API server
// always sets.
func (ix *index) labelsOf(namespace string) labels.Set {
	set := maps.Clone(ix.namespaces[namespace])
	if set == nil {
		set = labels.Set{}
	}
	set[corev1.LabelMetadataName] = namespace
	return set
}

// value gives what a Secret holds under a key. stringData wins, as it does when
// the API server stores it.
func value(s *corev1.Secret, name string) ([]byte, bool) {
	if v, ok := s.StringData[name]; ok {
		return []byte(v), true
	}
	v, ok := s.Data[name]
	return v, ok
}

// text gives what a ConfigMap holds under a key.
func text(m *corev1.ConfigMap, name string) (string, bool) {
	if v, ok := m.Data[name]; ok {
		return v, true
	}
	v, ok := m.BinaryData[name]
	return string(v), ok
}

type object interface {
	comparable
	metav1.Object
}

// sorted copies objects in the order of namespace and name, without nil ones.
func sorted[T object](in []T) []T {
	out := make([]T, 0, len(in))
	var none T
	for _, o := range in {
		if o != none {
			out = append(out, o)
		}
	}
	byName := func(a, b T) int { return keyOf(a).compare(keyOf(b)) }
	if !slices.IsSortedFunc(out, byName) { // as they are mostly
		slices.SortFunc(out, byName)
	}
	return out
}

func byKey[T object](objects []T) map[key]T {
	m := make(map[key]T, len(objects))
	for _, o := range objects {
		m[keyOf(o)] = o
	}
	return m
}

// or gives *p, or other where there is none or it is empty.
func or[T ~string](p *T, other string) string {
	if p == nil || *p == "" {
		return other
	}
	return string(*p)
}
