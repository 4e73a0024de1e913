package cluster

import (
	"iter"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/cluster/nodes"
)

// Snapshot is one view of all objects: complete, apart from the kinds that
// Unreadable names. Objects of files are without mistakes; those of a server are
// what the server accepted, and SecurityPolicies may be invalid. Each list
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
	// Unreadable are the kinds that could not be read, whose lists are empty
	// for that reason and no other, in the order of the lists.
	Unreadable []Unreadable
	// Absent are the kinds that the server does not have, with the reason.
	Absent []Unreadable

	digest string
	count  int
	places map[Ref]place
}

// Unreadable is a kind of which nothing, or not everything, can be read.
type Unreadable struct {
	Kind string
	// Reason is for an operator and names the permission or CRD that is missing.
	Reason string
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
func (s *Snapshot) Len() int { return s.count }

// All gives every object, list by list.
func (s *Snapshot) All() iter.Seq[Object] {
	return func(yield func(Object) bool) {
		for _, k := range kinds() {
			if !k.list.each(s, yield) {
				return
			}
		}
	}
}

// Digest is a hash of what configuration depends on. Two Snapshots of files with
// the same digest have the same objects, and of a server, objects that differ in
// status and bookkeeping at most. Digests of files and of servers do not compare.
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
			line = nodes.Line(n, path)
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
	if k := kindOf(obj); k != nil {
		k.list.put(s, obj)
		s.count++
	}
}

// sort puts every list in order.
func (s *Snapshot) sort() {
	for _, k := range kinds() {
		k.list.sort(s)
	}
}
