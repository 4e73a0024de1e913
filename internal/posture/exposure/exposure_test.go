package exposure

import (
	"fmt"
	"testing"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

func object(t *testing.T, api, kind, ns, name, rest string) *inventory.Object {
	t.Helper()
	o, err := inventory.New([]byte(fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"namespace":%q,"name":%q}%s}`, api, kind, ns, name, rest)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestOf(t *testing.T) {
	t.Parallel()
	deploy := func(ns, name, pod string) *inventory.Object {
		return object(t, "apps/v1", "Deployment", ns, name, `,"spec":{"template":{"metadata":{"labels":{"app":"`+name+`"}},"spec":`+pod+`}}`)
	}
	service := func(ns, name, spec string) *inventory.Object {
		return object(t, "v1", "Service", ns, name, `,"spec":{"selector":{"app":"`+name+`"}`+spec+`}`)
	}
	const plain = `{"containers":[{"name":"c"}]}`
	snap := inventory.NewSnapshot([]*inventory.Object{
		deploy("a", "balanced", plain), service("a", "balanced", `,"type":"LoadBalancer"`),
		deploy("a", "noded", plain), service("a", "noded", `,"type":"NodePort"`),
		deploy("a", "addressed", plain), service("a", "addressed", `,"externalIPs":["192.0.2.1"]`),
		deploy("a", "inside", plain), service("a", "inside", ``),
		deploy("a", "ingressed", plain), service("a", "ingressed", ``),
		object(t, "networking.k8s.io/v1", "Ingress", "a", "in", `,"spec":{"rules":[{"http":{"paths":[{"backend":{"service":{"name":"ingressed"}}}]}}]}`),
		deploy("a", "defaulted", plain), service("a", "defaulted", ``),
		object(t, "networking.k8s.io/v1", "Ingress", "a", "all", `,"spec":{"defaultBackend":{"service":{"name":"defaulted"}}}`),
		deploy("b", "routed", plain), service("b", "routed", ``),
		object(t, "gateway.networking.k8s.io/v1", "HTTPRoute", "a", "r", `,"spec":{"rules":[{"backendRefs":[{"name":"routed","namespace":"b"},{"kind":"Other","name":"inside"}]}]}`),
		deploy("b", "balanced", plain), // the Service of this name is in another namespace
		deploy("a", "hosted", `{"containers":[{"name":"c","ports":[{"containerPort":1,"hostPort":1}]}]}`),
		deploy("a", "networked", `{"hostNetwork":true,"containers":[{"name":"c"}]}`),
		object(t, "v1", "Pod", "a", "pod", `,"spec":{"containers":[{"name":"c"}]}`),
		service("a", "odd", `,"type":7,"externalIPs":"x"`), object(t, "networking.k8s.io/v1", "Ingress", "a", "odd", `,"spec":[1]`),
	}, inventory.Facts{}, nil, nil)
	ix := New(snap)
	for _, tt := range []struct{ ns, name, want string }{
		{"a", "balanced", "LoadBalancer balanced"},
		{"a", "noded", "NodePort noded"},
		{"a", "addressed", "external addresses of addressed"},
		{"a", "inside", ""},
		{"a", "ingressed", "Ingress a/in"},
		{"a", "defaulted", "Ingress a/all"},
		{"b", "routed", "HTTPRoute a/r"},
		{"b", "balanced", ""},
		{"a", "hosted", "port of the node"},
		{"a", "networked", "network of the node"},
		{"a", "missing", ""},
	} {
		ref := bulwark.ObjectRef{APIVersion: "apps/v1", Kind: "Deployment", Namespace: tt.ns, Name: tt.name}
		for range 2 { // the second comes from the cache
			if got := ix.Of(ref); got != tt.want {
				t.Errorf("%s/%s: %q, want %q", tt.ns, tt.name, got, tt.want)
			}
		}
	}
	for ref, want := range map[bulwark.ObjectRef]string{
		{APIVersion: "v1", Kind: "Service", Namespace: "a", Name: "ingressed"}:                     "Ingress a/in",
		{APIVersion: "v1", Kind: "Service", Namespace: "a", Name: "inside"}:                        "",
		{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Namespace: "a", Name: "in"}:          "Ingress",
		{APIVersion: "gateway.networking.k8s.io/v1", Kind: "HTTPRoute", Namespace: "a", Name: "r"}: "HTTPRoute",
		{APIVersion: "v1", Kind: "Pod", Namespace: "a", Name: "pod"}:                               "",
		{}: "",
	} {
		if got := ix.Of(ref); got != want {
			t.Errorf("%s: %q, want %q", ref, got, want)
		}
	}
}
