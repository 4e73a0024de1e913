package cluster

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
)

type digest [sha256.Size]byte

// essence is what configuration depends on. UID and Generation are part of it
// since a status says which generation of which object it is about.
type essence struct {
	Kind, Namespace, Name string
	UID                   string
	Generation            int64
	Created               time.Time
	Deleted               bool
	Labels, Annotations   map[string]string `json:",omitempty"`
	Content               any
}

// digestOf hashes what configuration depends on: all but status, resource
// version, owners and finalizers. Of a Service the load balancer's addresses
// count too.
func digestOf(k *kind, obj Object) (digest, error) {
	e := essence{
		Kind: k.name, Namespace: obj.GetNamespace(), Name: obj.GetName(), UID: string(obj.GetUID()),
		Generation: obj.GetGeneration(), Created: obj.GetCreationTimestamp().UTC(), Deleted: obj.GetDeletionTimestamp() != nil,
		Labels: obj.GetLabels(), Annotations: obj.GetAnnotations(), Content: content(obj),
	}
	sum := sha256.New()
	// The text holds Secrets: it goes into the hash and nowhere else.
	if err := json.NewEncoder(sum).Encode(e); err != nil {
		return digest{}, fmt.Errorf("hash %s %s: %w", k.name, nameOf(obj), err)
	}
	return digest(sum.Sum(nil)), nil
}

func (n name) String() string {
	if n.namespace == "" {
		return n.name
	}
	return n.namespace + "/" + n.name
}

// content gives those parts in a form whose JSON does not tell empty from
// missing, which may turn into each other on the way.
func content(obj Object) any {
	switch o := obj.(type) {
	case *gwv1.GatewayClass:
		return o.Spec
	case *gwv1.Gateway:
		return o.Spec
	case *gwv1.HTTPRoute:
		return o.Spec
	case *gwv1.GRPCRoute:
		return o.Spec
	case *gwv1.TLSRoute:
		return o.Spec
	case *gwv1.ListenerSet:
		return o.Spec
	case *gwv1.ReferenceGrant:
		return o.Spec
	case *gwv1.BackendTLSPolicy:
		return o.Spec
	case *v1alpha1.SecurityPolicy:
		return o.Spec
	case *corev1.Service:
		return &corev1.Service{Spec: o.Spec, Status: corev1.ServiceStatus{LoadBalancer: o.Status.LoadBalancer}}
	case *discoveryv1.EndpointSlice:
		return &discoveryv1.EndpointSlice{AddressType: o.AddressType, Endpoints: o.Endpoints, Ports: o.Ports}
	case *corev1.Secret:
		return &corev1.Secret{Type: o.Type, Data: o.Data, StringData: o.StringData}
	case *corev1.ConfigMap:
		return &corev1.ConfigMap{Data: o.Data, BinaryData: o.BinaryData}
	case *corev1.Namespace:
		return nil
	default:
		// A kind without a line here changes with everything it says.
		return metav1.Object(obj)
	}
}
