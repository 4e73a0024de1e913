package status

import (
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/cluster"
)

// kind is how the status of one kind of object is read, made and written. A
// status travels as a pointer to its type, and is never changed.
type kind struct {
	name, group, version, resource string
	// objects lists what a Snapshot has of the kind.
	objects func(*cluster.Snapshot) []object
	// merge gives the status that results from what there is and what is wanted,
	// which is nil for an object that is no concern of ours.
	merge func(m *merger, have any, want *Target) any
	// decode reads the status of an object from its JSON.
	decode func([]byte) (any, error)
	// fields are what is written, by their JSON names.
	fields func(status any) map[string]any
	// notes are our conditions, each with the part of the object it is about.
	notes func(m *merger, status any) []note
}

// object is an object as the Snapshot or the answer to a write has it.
type object struct {
	meta   metav1.Object
	status any
}

// path is where a status is written.
func (k *kind) path(namespace, name string) []string {
	p := []string{"/apis", k.group, k.version}
	if namespace != "" {
		p = append(p, "namespaces", namespace)
	}
	return append(p, k.resource, name, "status")
}

// kinds lists the kinds in the order of their writing: what a person waits for
// comes first.
func kinds() []kind {
	group, version := gwv1.GroupVersion.Group, gwv1.GroupVersion.Version
	gw := func(k kind) kind {
		k.group, k.version = group, version
		return k
	}
	return []kind{
		gw(kindOf("GatewayClass", "gatewayclasses",
			func(s *cluster.Snapshot) []*gwv1.GatewayClass { return s.GatewayClasses },
			func(o *gwv1.GatewayClass) *gwv1.GatewayClassStatus { return &o.Status },
			mergeClass, classFields, classNotes)),
		gw(kindOf("Gateway", "gateways",
			func(s *cluster.Snapshot) []*gwv1.Gateway { return s.Gateways },
			func(o *gwv1.Gateway) *gwv1.GatewayStatus { return &o.Status },
			mergeGateway, gatewayFields, gatewayNotes)),
		gw(kindOf("ListenerSet", "listenersets",
			func(s *cluster.Snapshot) []*gwv1.ListenerSet { return s.ListenerSets },
			func(o *gwv1.ListenerSet) *gwv1.ListenerSetStatus { return &o.Status },
			mergeListenerSet, listenerSetFields, listenerSetNotes)),
		withGroup(kindOf("SecurityPolicy", "securitypolicies",
			func(s *cluster.Snapshot) []*v1alpha1.SecurityPolicy { return s.SecurityPolicies },
			func(o *v1alpha1.SecurityPolicy) *gwv1.PolicyStatus { return &o.Status },
			mergePolicy, policyFields, policyNotes), v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version),
		gw(kindOf("BackendTLSPolicy", "backendtlspolicies",
			func(s *cluster.Snapshot) []*gwv1.BackendTLSPolicy { return s.BackendTLSPolicies },
			func(o *gwv1.BackendTLSPolicy) *gwv1.PolicyStatus { return &o.Status },
			mergePolicy, policyFields, policyNotes)),
		gw(kindOf("HTTPRoute", "httproutes",
			func(s *cluster.Snapshot) []*gwv1.HTTPRoute { return s.HTTPRoutes },
			func(o *gwv1.HTTPRoute) *gwv1.RouteStatus { return &o.Status.RouteStatus },
			mergeRoute, routeFields, routeNotes)),
		gw(kindOf("GRPCRoute", "grpcroutes",
			func(s *cluster.Snapshot) []*gwv1.GRPCRoute { return s.GRPCRoutes },
			func(o *gwv1.GRPCRoute) *gwv1.RouteStatus { return &o.Status.RouteStatus },
			mergeRoute, routeFields, routeNotes)),
		gw(kindOf("TLSRoute", "tlsroutes",
			func(s *cluster.Snapshot) []*gwv1.TLSRoute { return s.TLSRoutes },
			func(o *gwv1.TLSRoute) *gwv1.RouteStatus { return &o.Status.RouteStatus },
			mergeRoute, routeFields, routeNotes)),
	}
}

func withGroup(k kind, group, version string) kind {
	k.group, k.version = group, version
	return k
}

// kindOf makes a kind of functions that know its types.
func kindOf[O metav1.Object, S any](
	name, resource string,
	list func(*cluster.Snapshot) []O, status func(O) *S,
	merge func(*merger, *S, *Target) *S, fields func(*S) map[string]any, notes func(*merger, *S) []note,
) kind {
	is := func(v any) *S {
		s, ok := v.(*S)
		if !ok {
			panic(fmt.Sprintf("status: a %T where %s has a %T", v, name, s))
		}
		return s
	}
	return kind{
		name: name, resource: resource,
		objects: func(snap *cluster.Snapshot) []object {
			var out []object
			for _, o := range list(snap) {
				out = append(out, object{o, status(o)})
			}
			return out
		},
		merge: func(m *merger, have any, want *Target) any { return merge(m, is(have), want) },
		decode: func(raw []byte) (any, error) {
			var o struct {
				Status S `json:"status"`
			}
			if err := json.Unmarshal(raw, &o); err != nil {
				return nil, fmt.Errorf("read the status of a %s: %w", name, err)
			}
			return &o.Status, nil
		},
		fields: func(v any) map[string]any { return fields(is(v)) },
		notes:  func(m *merger, v any) []note { return notes(m, is(v)) },
	}
}
