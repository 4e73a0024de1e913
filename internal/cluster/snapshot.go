package cluster

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
)

// Snapshot is one view of all objects, complete and without mistakes. Each list
// is sorted by namespace and name; defaults of the API are applied, those of
// SecurityPolicies are not (v1alpha1.Default does that). A Snapshot and its
// objects are shared between readers and never change: copy before editing.
type Snapshot struct {
	GatewayClasses     []*gwv1.GatewayClass
	Gateways           []*gwv1.Gateway
	HTTPRoutes         []*gwv1.HTTPRoute
	GRPCRoutes         []*gwv1.GRPCRoute
	TLSRoutes          []*gwv1.TLSRoute
	ListenerSets       []*gwv1.ListenerSet
	ReferenceGrants    []*gwv1.ReferenceGrant
	BackendTLSPolicies []*gwv1.BackendTLSPolicy
	SecurityPolicies   []*v1alpha1.SecurityPolicy
	Services           []*corev1.Service
	EndpointSlices     []*discoveryv1.EndpointSlice
	Secrets            []*corev1.Secret
	ConfigMaps         []*corev1.ConfigMap
	Namespaces         []*corev1.Namespace
	// Ignored are the objects of kinds that Bulwark does not read, in the order
	// of files and lines.
	Ignored []Ignored

	digest string
	places map[Ref]place
}

// Ignored is an object that was found and not read.
type Ignored struct {
	Ref

	APIVersion string
	File       string
	Line       int
}

// place is where an object came from.
type place struct {
	file string
	// first is the line of the file on which the document begins.
	first int
	doc   *document
	obj   decoded
}

func (p place) line(n int) int { return p.first + n - 1 }

// Len is the number of objects.
func (s *Snapshot) Len() int { return len(s.places) }

// Digest is a hash of the names and content of all files. Two loads with the
// same digest give the same objects.
func (s *Snapshot) Digest() string { return s.digest }

// Source gives the file and line on which an object begins, or "" and 0 for an
// object that is not part of s.
func (s *Snapshot) Source(obj Object) (file string, line int) {
	p, ok := s.places[refOf(obj)]
	if !ok {
		return "", 0
	}
	return p.file, p.line(p.obj.line)
}

// FieldLine gives the file and line of a field, for example
// "spec.rules[0].filters[1]", of the object of a kind, or those of the nearest
// field around it if the file leaves it out. It gives "" and 0 for an object
// that is not part of s. It reads the text again: use it for messages only.
func (s *Snapshot) FieldLine(kind, namespace, name, path string) (file string, line int) {
	for _, k := range kinds() {
		if k.name != kind {
			continue
		}
		p, ok := s.places[Ref{k.group, kind, namespace, name}]
		if !ok {
			return "", 0
		}
		line = p.obj.line
		if n := p.doc.node(p.obj.steps); n != nil {
			line = locate(n, path)
		}
		return p.file, p.line(line)
	}
	return "", 0
}

func refOf(obj Object) Ref {
	gvk := obj.GetObjectKind().GroupVersionKind()
	return Ref{gvk.Group, gvk.Kind, obj.GetNamespace(), obj.GetName()}
}

// put enters an object in the list of its type.
func (s *Snapshot) put(obj Object) {
	switch o := obj.(type) {
	case *gwv1.GatewayClass:
		s.GatewayClasses = append(s.GatewayClasses, o)
	case *gwv1.Gateway:
		s.Gateways = append(s.Gateways, o)
	case *gwv1.HTTPRoute:
		s.HTTPRoutes = append(s.HTTPRoutes, o)
	case *gwv1.GRPCRoute:
		s.GRPCRoutes = append(s.GRPCRoutes, o)
	case *gwv1.ReferenceGrant:
		s.ReferenceGrants = append(s.ReferenceGrants, o)
	case *gwv1.BackendTLSPolicy:
		s.BackendTLSPolicies = append(s.BackendTLSPolicies, o)
	case *v1alpha1.SecurityPolicy:
		s.SecurityPolicies = append(s.SecurityPolicies, o)
	case *corev1.Service:
		s.Services = append(s.Services, o)
	case *discoveryv1.EndpointSlice:
		s.EndpointSlices = append(s.EndpointSlices, o)
	case *corev1.Secret:
		s.Secrets = append(s.Secrets, o)
	case *corev1.ConfigMap:
		s.ConfigMaps = append(s.ConfigMaps, o)
	case *corev1.Namespace:
		s.Namespaces = append(s.Namespaces, o)
	}
}

// sort puts every list in order.
func (s *Snapshot) sort() {
	byName(s.GatewayClasses)
	byName(s.Gateways)
	byName(s.HTTPRoutes)
	byName(s.GRPCRoutes)
	byName(s.ReferenceGrants)
	byName(s.BackendTLSPolicies)
	byName(s.SecurityPolicies)
	byName(s.Services)
	byName(s.EndpointSlices)
	byName(s.Secrets)
	byName(s.ConfigMaps)
	byName(s.Namespaces)
}

func byName[T Object](list []T) {
	slices.SortFunc(list, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
}
