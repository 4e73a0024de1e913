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
	uses         map[Use]struct{}  // what was looked up
	memo         *memo
	tracing      *trace // notes what is looked up, where set
}

// grant is one permission of a ReferenceGrant. An empty name permits all.
type grant struct {
	fromGroup, fromKind, fromNamespace string
	toGroup, toKind                    string
	to                                 key
}

func newIndex(in Input, m *memo) *index {
	ix := &index{
		memo: m,
		Input: Input{
			GatewayClasses:     sorted(in.GatewayClasses),
			Gateways:           sorted(in.Gateways),
			HTTPRoutes:         sorted(in.HTTPRoutes),
			GRPCRoutes:         sorted(in.GRPCRoutes),
			TLSRoutes:          sorted(in.TLSRoutes),
			ListenerSets:       sorted(in.ListenerSets),
			ReferenceGrants:    sorted(in.ReferenceGrants),
			BackendTLSPolicies: sorted(in.BackendTLSPolicies),
			SecurityPolicies:   sorted(in.SecurityPolicies),
			Services:           sorted(in.Services),
			EndpointSlices:     sorted(in.EndpointSlices),
			Secrets:            sorted(in.Secrets),
			ConfigMaps:         sorted(in.ConfigMaps),
			Namespaces:         sorted(in.Namespaces),
		},
		classes:    map[string]*gwv1.GatewayClass{},
		inSpace:    map[string][]*corev1.Secret{},
		namespaces: map[string]labels.Set{},
		endpoints:  map[key][]*discoveryv1.EndpointSlice{},
		grants:     map[grant]struct{}{},
		unread:     map[string]string{},
		uses:       map[Use]struct{}{},
	}
	for _, u := range in.Unreadable {
		ix.unread[u.Kind] = u.Reason
	}
	for _, c := range ix.GatewayClasses {
		ix.classes[c.Name] = c
	}
	ix.gateways = byKey(ix.Gateways)
	ix.listenerSets = byKey(ix.ListenerSets)
	ix.services = byKey(ix.Services)
	ix.secrets = byKey(ix.Secrets)
	ix.configMaps = byKey(ix.ConfigMaps)
	for _, s := range ix.Secrets {
		ix.inSpace[s.Namespace] = append(ix.inSpace[s.Namespace], s)
	}
	for _, n := range ix.Namespaces {
		ix.namespaces[n.Name] = n.Labels
	}
	for _, s := range ix.EndpointSlices {
		if svc := s.Labels[discoveryv1.LabelServiceName]; svc != "" {
			k := key{s.Namespace, svc}
			ix.endpoints[k] = append(ix.endpoints[k], s)
		}
	}
	for _, g := range ix.ReferenceGrants {
		ix.addGrant(g)
	}
	return ix
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
	slices.SortFunc(out, func(a, b T) int { return keyOf(a).compare(keyOf(b)) })
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
