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
	group    string
	versions []string // the first is the one that objects are given as
	name     string
	typ      reflect.Type
	// wide kinds have no namespace.
	wide bool
	// complete applies the defaults that schemas do not state, check finds
	// what they cannot express. Both may be nil.
	complete func(Object)
	check    func(Object) field.ErrorList
}

func (k *kind) apiVersion() string { return joinVersion(k.group, k.versions[0]) }

func joinVersion(group, version string) string {
	if group == "" {
		return version
	}
	return group + "/" + version
}

// readAs makes a kind of Go type T.
func readAs[T any, P interface {
	*T
	Object
}](group, versions string, complete func(P), check func(P) field.ErrorList,
) *kind {
	t := reflect.TypeFor[T]()
	k := &kind{group: group, versions: strings.Fields(versions), name: t.Name(), typ: t}
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

// kinds lists every kind that is read. It is made once and never changed.
var kinds = sync.OnceValue(func() []*kind {
	list := []*kind{
		readAs[gwv1.GatewayClass](gwv1.GroupName, "v1", nil, nil),
		readAs(gwv1.GroupName, "v1", nil, checkGateway),
		readAs(gwv1.GroupName, "v1", nil, checkHTTPRoute),
		readAs(gwv1.GroupName, "v1", nil, checkGRPCRoute),
		readAs[gwv1.ReferenceGrant](gwv1.GroupName, "v1 v1beta1", nil, nil),
		readAs(gwv1.GroupName, "v1", nil, checkBackendTLSPolicy),
		readAs(v1alpha1.GroupName, "v1alpha1", nil, v1alpha1.Validate),
		readAs("", "v1", completeService, checkService),
		readAs("", "v1", completeSecret, checkSecret),
		readAs("", "v1", nil, checkConfigMap),
		readAs[corev1.Namespace]("", "v1", completeNamespace, nil),
		readAs(discoveryv1.GroupName, "v1", completeEndpointSlice, checkEndpointSlice),
	}
	for _, k := range list {
		k.wide = k.name == "GatewayClass" || k.name == "Namespace"
	}
	return list
})

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
