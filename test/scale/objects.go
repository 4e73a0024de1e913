package main

import (
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// What the world is made of.
const (
	spaces       = 50 // namespaces over which routes are spread
	edge         = "scale-edge"
	backendHost  = "10.243.0.1" // the node of test/control, where this program runs
	backendPort  = 18081
	issuer       = "https://idp.scale.example"
	audience     = "scale"
	adminRole    = "admin"
	routeHeader  = "X-Route"
	gatewayGroup = "gateway.networking.k8s.io"
)

var (
	routes      = schema.GroupVersionResource{Group: gatewayGroup, Version: "v1", Resource: "httproutes"}
	gateways    = schema.GroupVersionResource{Group: gatewayGroup, Version: "v1", Resource: "gateways"}
	policies    = schema.GroupVersionResource{Group: "bulwark.dev", Version: "v1alpha1", Resource: "securitypolicies"}
	nsResource  = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	svcResource = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	epsResource = schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
)

// object is one object as JSON has it.
type object = map[string]any

// list is a list in one.
type list = []any

// route is one route of the world, told by its number. Even ones have a policy
// of their own, which admits who has the route's role; the others are under the
// Gateway's, which admits administrators.
type route int

func (r route) name() string  { return fmt.Sprintf("r-%05d", int(r)) }
func (r route) host() string  { return r.name() + ".scale.example" }
func (r route) space() string { return fmt.Sprintf("scale-%02d", int(r)%spaces) }
func (r route) own() bool     { return r%2 == 0 }

// friend is the role that the route's policy admits.
func (r route) friend() string {
	if r.own() {
		return r.name()
	}
	return adminRole
}

// stranger is a role that neither the route's policy nor the Gateway's admits,
// but that of the next route with a policy.
func (r route) stranger() string { return (r + 2 - r%2).name() }

func path(version int) string     { return fmt.Sprintf("/v%d", version) }
func admits(role string) string   { return fmt.Sprintf("%q in identity.roles", role) }
func meta(ns, name string) object { return object{"namespace": ns, "name": name} }

// made gives an object for the API server.
func made(apiVersion, kind string, metadata, rest object) *unstructured.Unstructured {
	o := object{"apiVersion": apiVersion, "kind": kind, "metadata": metadata}
	maps.Copy(o, rest)
	return &unstructured.Unstructured{Object: o}
}

// httpRoute gives the route's object, which serves the path of a version and
// tells the backend by which route a request came.
func (r route) httpRoute(version int) *unstructured.Unstructured {
	return made(gatewayGroup+"/v1", "HTTPRoute", meta(r.space(), r.name()), object{"spec": object{
		"parentRefs": list{object{"name": edge, "namespace": edge}},
		"hostnames":  list{r.host()},
		"rules": list{object{
			"matches":     list{object{"path": object{"type": "PathPrefix", "value": path(version)}}},
			"filters":     list{object{"type": "RequestHeaderModifier", "requestHeaderModifier": object{"set": list{object{"name": routeHeader, "value": r.name()}}}}},
			"backendRefs": list{object{"name": "api", "port": int64(80)}},
		}},
	}})
}

// policy gives the route's own policy, which admits a role.
func (r route) policy(role string) *unstructured.Unstructured {
	return made("bulwark.dev/v1alpha1", "SecurityPolicy", meta(r.space(), r.name()), object{"spec": object{
		"targetRefs":    list{object{"group": gatewayGroup, "kind": "HTTPRoute", "name": r.name()}},
		"authorization": object{"rules": list{object{"name": "own", "allow": true, "when": admits(role)}}},
	}})
}

// edgePolicy is the Gateway's: a token for everybody, and nobody but
// administrators where a route says nothing else.
func edgePolicy(jwks string) *unstructured.Unstructured {
	return made("bulwark.dev/v1alpha1", "SecurityPolicy", meta(edge, edge), object{"spec": object{
		"targetRefs": list{object{"group": gatewayGroup, "kind": "Gateway", "name": edge}},
		"authentication": object{"anyOf": list{object{"jwt": object{
			"issuer": issuer, "audiences": list{audience}, "jwks": object{"inline": jwks},
		}}}},
		"authorization": object{"rules": list{object{"name": "admins", "allow": true, "when": admits(adminRole)}}},
	}})
}

func gateway() *unstructured.Unstructured {
	return made(gatewayGroup+"/v1", "Gateway", meta(edge, edge), object{"spec": object{
		"gatewayClassName": "bulwark",
		"listeners": list{object{
			"name": "http", "protocol": "HTTP", "port": int64(80),
			"allowedRoutes": object{"namespaces": object{"from": "All"}},
		}},
	}})
}

func namespace(name string) *unstructured.Unstructured {
	return made("v1", "Namespace", object{"name": name}, nil)
}

// backend gives the Service of a namespace and where it leads: to this program.
func backend(space string) (service, slice *unstructured.Unstructured) {
	service = made("v1", "Service", meta(space, "api"), object{"spec": object{
		"ports": list{object{"name": "http", "port": int64(80), "targetPort": int64(backendPort)}},
	}})
	m := meta(space, "api-1")
	m["labels"] = object{"kubernetes.io/service-name": "api"}
	slice = made("discovery.k8s.io/v1", "EndpointSlice", m, object{
		"addressType": "IPv4",
		"ports":       list{object{"name": "http", "port": int64(backendPort), "protocol": "TCP"}},
		"endpoints":   list{object{"addresses": list{backendHost}, "conditions": object{"ready": true}}},
	})
	return service, slice
}
