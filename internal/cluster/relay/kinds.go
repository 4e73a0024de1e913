package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/cluster"
)

// lastApplied is kubectl's copy of the object, that of a Secret included.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// kind is one kind of object that travels.
type kind struct {
	// id is "group/version/kind", or "v1/kind" for the core group.
	id               string
	apiVersion, name string
	typ              reflect.Type
	// empty makes an object to decode into.
	empty func() cluster.Object
	// bare gives a copy without what data planes have no use for.
	bare func(cluster.Object) (cluster.Object, bool)
}

// carried makes a kind of Go type T. Strip empties what does not travel beside
// the metadata; it is given a shallow copy.
func carried[T any, P interface {
	*T
	cluster.Object
}](apiVersion string, strip func(P),
) *kind {
	name := reflect.TypeFor[T]().Name()
	k := &kind{
		id: apiVersion + "/" + name, apiVersion: apiVersion, name: name,
		typ:   reflect.TypeFor[P](),
		empty: func() cluster.Object { return P(new(T)) },
	}
	k.bare = func(o cluster.Object) (cluster.Object, bool) {
		p, ok := o.(P)
		if !ok || p == nil {
			return nil, false
		}
		shallow := *p
		p = &shallow
		if strip != nil {
			strip(p)
		}
		stripMeta(p)
		p.GetObjectKind().SetGroupVersionKind(versionKind(apiVersion, name))
		return p, true
	}
	return k
}

// stripMeta leaves the metadata that decides something: names, labels,
// annotations, generation and the times of creation and deletion. The resource
// version must go: it moves with every write of a status.
func stripMeta(o cluster.Object) {
	o.SetManagedFields(nil)
	o.SetResourceVersion("")
	o.SetUID("")
	o.SetSelfLink("")
	o.SetGenerateName("")
	o.SetOwnerReferences(nil)
	o.SetFinalizers(nil)
	if a := o.GetAnnotations(); a[lastApplied] != "" {
		a = maps.Clone(a)
		delete(a, lastApplied)
		o.SetAnnotations(a)
	}
}

// kinds lists what travels, by id. It is made once and never changed.
var kinds = sync.OnceValue(func() []*kind {
	gateway, policy := gwv1.GroupVersion.String(), v1alpha1.GroupName+"/v1alpha1"
	list := []*kind{
		carried(gateway, func(o *gwv1.GatewayClass) { o.Status = gwv1.GatewayClassStatus{} }),
		carried(gateway, func(o *gwv1.Gateway) { o.Status = gwv1.GatewayStatus{} }),
		carried(gateway, func(o *gwv1.HTTPRoute) { o.Status = gwv1.HTTPRouteStatus{} }),
		carried(gateway, func(o *gwv1.GRPCRoute) { o.Status = gwv1.GRPCRouteStatus{} }),
		carried(gateway, func(o *gwv1.TLSRoute) { o.Status = gwv1.TLSRouteStatus{} }),
		carried(gateway, func(o *gwv1.ListenerSet) { o.Status = gwv1.ListenerSetStatus{} }),
		carried[gwv1.ReferenceGrant](gateway, nil),
		carried(gateway, func(o *gwv1.BackendTLSPolicy) { o.Status = gwv1.PolicyStatus{} }),
		carried(policy, func(o *v1alpha1.SecurityPolicy) { o.Status = gwv1.PolicyStatus{} }),
		carried("v1", func(o *corev1.Service) { o.Status = corev1.ServiceStatus{LoadBalancer: o.Status.LoadBalancer} }),
		carried[corev1.Secret]("v1", nil),
		carried[corev1.ConfigMap]("v1", nil),
		carried("v1", func(o *corev1.Namespace) { o.Status = corev1.NamespaceStatus{} }),
		// The annotation of an EndpointSlice is a time that moves with each change
		// of any pod.
		carried(discoveryv1.SchemeGroupVersion.String(), func(o *discoveryv1.EndpointSlice) { o.Annotations = nil }),
	}
	slices.SortFunc(list, func(a, b *kind) int { return strings.Compare(a.id, b.id) })
	return list
})

// kindIDs lists the ids of what travels, sorted.
func kindIDs() []string {
	var out []string
	for _, k := range kinds() {
		out = append(out, k.id)
	}
	return out
}

// kindByID gives the kind of an id, or nil.
func kindByID(id string) *kind {
	i, found := slices.BinarySearchFunc(kinds(), id, func(k *kind, id string) int { return strings.Compare(k.id, id) })
	if !found {
		return nil
	}
	return kinds()[i]
}

// kindOf gives the kind of an object by its Go type, or nil.
func kindOf(o cluster.Object) *kind {
	t := reflect.TypeOf(o)
	for _, k := range kinds() {
		if k.typ == t {
			return k
		}
	}
	return nil
}

// wanted reports whether an object is relayed. Routing and policy objects and
// Namespaces always are; of the rest, only what the outcome depends on.
func wanted(k *kind, o cluster.Object, uses func(kind, namespace, name string) bool) bool {
	switch k.name {
	case "Secret", "ConfigMap", "Service":
		return uses(k.name, o.GetNamespace(), o.GetName())
	case "EndpointSlice":
		service := o.GetLabels()[discoveryv1.LabelServiceName]
		return service != "" && uses("Service", o.GetNamespace(), service)
	default:
		return true
	}
}

// encode gives the JSON of an object as it travels. Equal objects give equal
// bytes.
func (k *kind) encode(o cluster.Object) ([]byte, error) {
	bare, ok := k.bare(o)
	if !ok {
		return nil, fmt.Errorf("encode %s %s/%s: it is a %T", k.name, o.GetNamespace(), o.GetName(), o)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // nobody shows it in a page, and it makes text six times as long
	if err := enc.Encode(bare); err != nil {
		return nil, fmt.Errorf("encode %s %s/%s: %w", k.name, o.GetNamespace(), o.GetName(), err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// decode reads what encode wrote, and refuses fields that it does not know. The
// error says nothing of a Secret's content.
func (k *kind) decode(text []byte) (cluster.Object, error) {
	obj := k.empty()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	err := dec.Decode(obj)
	if err == nil {
		if _, more := dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("text follows the object")
		}
	}
	if err != nil {
		if k.name == "Secret" {
			err = errors.New("its text is not a Secret as this version knows it")
		}
		return nil, fmt.Errorf("decode %s %s/%s: %w", k.name, plain(obj.GetNamespace()), plain(obj.GetName()), err)
	}
	if got := obj.GetObjectKind().GroupVersionKind(); got != versionKind(k.apiVersion, k.name) {
		return nil, fmt.Errorf("decode %s: the object says that it is a %s", k.id, plain(got.String()))
	}
	if obj.GetName() == "" || strings.ContainsAny(obj.GetName()+obj.GetNamespace(), " \n") {
		return nil, fmt.Errorf("decode %s: no usable name: %s/%s", k.id, plain(obj.GetNamespace()), plain(obj.GetName()))
	}
	cluster.Admit(obj)
	return obj, nil
}
