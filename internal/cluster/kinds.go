package cluster

import (
	"reflect"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
)

// Object is any object of a Snapshot.
type Object interface {
	metav1.Object
	runtime.Object
}

// kind is one kind of object that is read.
type kind struct {
	group string
	// versions are those that files may use. Objects are given as the first.
	versions []string
	// older are the further versions, newest first, that a server with other
	// CRDs than ours may serve. Their fields are those of the first version.
	older    []string
	name     string
	resource string
	typ      reflect.Type
	// wide kinds have no namespace.
	wide bool
	// optional kinds may be missing from a server: it then has no such object.
	optional bool
	// complete applies the defaults that schemas do not state, check finds
	// what they cannot express. Both may be nil.
	complete func(Object)
	check    func(Object) field.ErrorList
	list     list
}

func (k *kind) apiVersion() string { return joinVersion(k.group, k.versions[0]) }

func joinVersion(group, version string) string {
	if group == "" {
		return version
	}
	return group + "/" + version
}

// readAs makes a kind of Go type T, whose objects stand in the list of a
// Snapshot that at gives. Resource is its plural name and says "?" after it if
// the kind is optional.
func readAs[T any, P interface {
	*T
	Object
}](group, versions, resource string, at func(*Snapshot) *[]P, complete func(P), check func(P) field.ErrorList,
) *kind {
	t := reflect.TypeFor[T]()
	k := &kind{group: group, versions: strings.Fields(versions), name: t.Name(), typ: t, list: typedList[P]{at}}
	k.resource, k.optional = strings.CutSuffix(resource, "?")
	if complete != nil {
		k.complete = func(o Object) {
			if p, ok := o.(P); ok {
				complete(p)
			}
		}
	}
	if check != nil {
		k.check = func(o Object) field.ErrorList {
			if p, ok := o.(P); ok {
				return check(p)
			}
			return nil
		}
	}
	return k
}

// kinds lists every kind that is read, in the order of Snapshot's lists. It is
// made once and never changed.
var kinds = sync.OnceValue(func() []*kind {
	const gw = gwv1.GroupName
	return []*kind{
		readAs(gw, "v1", "gatewayclasses", func(s *Snapshot) *[]*gwv1.GatewayClass { return &s.GatewayClasses }, nil, nil).
			clusterWide().oldAs("v1beta1"),
		readAs(gw, "v1", "gateways", func(s *Snapshot) *[]*gwv1.Gateway { return &s.Gateways }, nil, checkGateway).
			oldAs("v1beta1"),
		readAs(gw, "v1", "httproutes", func(s *Snapshot) *[]*gwv1.HTTPRoute { return &s.HTTPRoutes }, nil, checkHTTPRoute).
			oldAs("v1beta1"),
		readAs(gw, "v1", "grpcroutes?", func(s *Snapshot) *[]*gwv1.GRPCRoute { return &s.GRPCRoutes }, nil, checkGRPCRoute).
			oldAs("v1alpha2"),
		readAs(gw, "v1 v1alpha3 v1alpha2", "tlsroutes?", func(s *Snapshot) *[]*gwv1.TLSRoute { return &s.TLSRoutes }, nil, checkTLSRoute),
		readAs(gw, "v1", "listenersets?", func(s *Snapshot) *[]*gwv1.ListenerSet { return &s.ListenerSets }, nil, checkListenerSet),
		readAs(gw, "v1 v1beta1", "referencegrants?", func(s *Snapshot) *[]*gwv1.ReferenceGrant { return &s.ReferenceGrants }, nil, nil),
		readAs(gw, "v1", "backendtlspolicies?", func(s *Snapshot) *[]*gwv1.BackendTLSPolicy { return &s.BackendTLSPolicies }, nil, checkBackendTLSPolicy).
			oldAs("v1alpha3"),
		readAs(v1alpha1.GroupName, "v1alpha1", "securitypolicies", func(s *Snapshot) *[]*v1alpha1.SecurityPolicy { return &s.SecurityPolicies }, nil, v1alpha1.Validate),
		readAs("", "v1", "services", func(s *Snapshot) *[]*corev1.Service { return &s.Services }, completeService, checkService),
		readAs(discoveryv1.GroupName, "v1", "endpointslices", func(s *Snapshot) *[]*discoveryv1.EndpointSlice { return &s.EndpointSlices }, completeEndpointSlice, checkEndpointSlice),
		readAs("", "v1", "secrets", func(s *Snapshot) *[]*corev1.Secret { return &s.Secrets }, completeSecret, checkSecret),
		readAs("", "v1", "configmaps", func(s *Snapshot) *[]*corev1.ConfigMap { return &s.ConfigMaps }, nil, checkConfigMap),
		readAs("", "v1", "namespaces", func(s *Snapshot) *[]*corev1.Namespace { return &s.Namespaces }, completeNamespace, nil).
			clusterWide(),
	}
})

func (k *kind) clusterWide() *kind {
	k.wide = true
	return k
}

func (k *kind) oldAs(versions ...string) *kind {
	k.older = versions
	return k
}

// kindOf gives the kind of an object by its Go type, or nil.
func kindOf(obj Object) *kind {
	t := reflect.TypeOf(obj)
	for _, k := range kinds() {
		if t.Kind() == reflect.Pointer && t.Elem() == k.typ {
			return k
		}
	}
	return nil
}

// kindNamed gives a kind by its name, or nil.
func kindNamed(name string) *kind {
	for _, k := range kinds() {
		if k.name == name {
			return k
		}
	}
	return nil
}

// Kind is one kind of object that a Snapshot holds.
type Kind struct {
	Group, Name string
	// Resource is the plural in the paths of an API server.
	Resource string
	// Versions are those in which an API server may serve the kind so that
	// Decode reads it, newest first. Objects of a Snapshot say the first.
	Versions []string
	// Namespaced kinds live in namespaces.
	Namespaced bool
	// Optional kinds may be missing from a server: then there are none of them.
	// A server without another kind is one that Bulwark cannot work with.
	Optional bool
}

// Kinds gives every kind that a Snapshot holds, in the order of its lists.
func Kinds() []Kind {
	out := make([]Kind, 0, len(kinds()))
	for _, k := range kinds() {
		out = append(out, Kind{
			Group: k.group, Name: k.name, Resource: k.resource, Versions: slices.Concat(k.versions, k.older),
			Namespaced: !k.wide, Optional: k.optional,
		})
	}
	return out
}

// identify gives the kind to read an object as. A nil kind with "" for a
// message is one that Bulwark does not read.
func identify(apiVersion, name string) (k *kind, message string) {
	group, version, found := strings.Cut(apiVersion, "/")
	if !found {
		group, version = "", apiVersion
	}
	var near []string
	for _, k := range kinds() {
		if k.group != group {
			continue
		}
		near = append(near, k.name)
		switch {
		case k.name == name && slices.Contains(k.versions, version):
			return k, ""
		case k.name == name:
			return nil, "version " + version + " of " + name + " is not supported; expected " + k.apiVersion()
		}
	}
	switch group {
	case gwv1.GroupName, v1alpha1.GroupName:
		return nil, "kind " + name + " of " + group + " is not supported; expected " + oneOf(near)
	case "", discoveryv1.GroupName:
		// Most other kinds here are simply not for Bulwark, but a slip of the
		// pen must not make a Service disappear.
		for _, n := range near {
			if strings.EqualFold(n, name) || strings.EqualFold(n+"s", name) {
				return nil, "kind " + name + " does not exist; did you mean \"" + n + "\"?"
			}
		}
	}
	return nil, ""
}
