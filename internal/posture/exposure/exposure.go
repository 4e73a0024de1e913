// Package exposure says which objects are reached from outside of the cluster, as
// far as the objects themselves tell: by a Service of an outside kind, an Ingress,
// a route of Gateway API, or a port of the node. It ranks findings; it does not
// judge, and it does not look at network policies.
package exposure

import (
	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// Index knows what is reached from outside. It is not safe for use by many
// goroutines.
type Index struct {
	snap *inventory.Snapshot
	// front are the objects that take traffic themselves, with how.
	front map[bulwark.ObjectRef]string
	// services are the outside Services of each namespace.
	services map[string][]service
	cache    map[bulwark.ObjectRef]string
}

type service struct {
	selector map[string]any
	how      string
}

// New looks at the Services, Ingresses and routes of a snapshot.
func New(snap *inventory.Snapshot) *Index {
	ix := &Index{snap: snap, front: map[bulwark.ObjectRef]string{}, services: map[string][]service{}, cache: map[bulwark.ObjectRef]string{}}
	behind := map[[2]string]string{} // namespace and name of a Service → what leads to it
	for _, o := range snap.Kind("networking.k8s.io", "Ingress") {
		ix.front[o.ObjectRef] = "Ingress"
		for _, name := range ingressBackends(content(o)) {
			behind[[2]string{o.Namespace, name}] = o.String()
		}
	}
	for _, kind := range []string{"HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"} {
		for _, o := range snap.Kind("gateway.networking.k8s.io", kind) {
			ix.front[o.ObjectRef] = kind
			for _, at := range routeBackends(content(o), o.Namespace) {
				behind[at] = o.String()
			}
		}
	}
	for _, o := range snap.Kind("route.openshift.io", "Route") {
		ix.front[o.ObjectRef] = "Route"
		behind[[2]string{o.Namespace, text(dig(content(o), "spec", "to", "name"))}] = o.String()
	}
	for _, o := range snap.Kind("", "Service") {
		c := content(o)
		how := behind[[2]string{o.Namespace, o.Name}]
		switch kind := text(dig(c, "spec", "type")); {
		case kind == "LoadBalancer" || kind == "NodePort":
			how = kind + " " + o.Name
		case len(items(dig(c, "spec", "externalIPs"))) > 0:
			how = "external addresses of " + o.Name
		}
		if how == "" {
			continue
		}
		ix.front[o.ObjectRef] = how
		if s := fields(dig(c, "spec", "selector")); len(s) > 0 { // without one it has no pods of its own
			ix.services[o.Namespace] = append(ix.services[o.Namespace], service{s, how})
		}
	}
	return ix
}

// Of says how an object is reached from outside, "" where nothing shows that it is.
func (ix *Index) Of(ref bulwark.ObjectRef) string {
	if how, ok := ix.cache[ref]; ok {
		return how
	}
	how := ix.find(ref)
	ix.cache[ref] = how
	return how
}

func (ix *Index) find(ref bulwark.ObjectRef) string {
	if how := ix.front[ref]; how != "" {
		return how
	}
	o := ix.snap.Find(ref.Group(), ref.Kind, ref.Namespace, ref.Name)
	if o == nil {
		return ""
	}
	for _, p := range inventory.PodTemplates(content(o)) {
		labels := fields(p.Metadata["labels"])
		for _, s := range ix.services[ref.Namespace] {
			if selects(s.selector, labels) {
				return s.how
			}
		}
		if p.Spec["hostNetwork"] == true {
			return "network of the node"
		}
		for _, c := range p.Containers() {
			for _, port := range items(c.Spec["ports"]) {
				if n := fields(port)["hostPort"]; n != nil && n != int64(0) {
					return "port of the node"
				}
			}
		}
	}
	return ""
}

func selects(selector, labels map[string]any) bool {
	for k, v := range selector {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

func ingressBackends(c map[string]any) []string {
	out := []string{text(dig(c, "spec", "defaultBackend", "service", "name"))}
	for _, r := range items(dig(c, "spec", "rules")) {
		for _, p := range items(dig(fields(r), "http", "paths")) {
			out = append(out, text(dig(fields(p), "backend", "service", "name")))
		}
	}
	return out
}

func routeBackends(c map[string]any, namespace string) [][2]string {
	var out [][2]string
	for _, r := range items(dig(c, "spec", "rules")) {
		for _, b := range items(fields(r)["backendRefs"]) {
			ref := fields(b)
			if kind := text(ref["kind"]); kind != "" && kind != "Service" {
				continue
			}
			ns := text(ref["namespace"])
			if ns == "" {
				ns = namespace
			}
			out = append(out, [2]string{ns, text(ref["name"])})
		}
	}
	return out
}

// content gives the values of an object; one that does not decode has none, and
// whoever judges it says so.
func content(o *inventory.Object) map[string]any {
	c, err := o.Content()
	if err != nil {
		return nil
	}
	return c
}

func dig(c map[string]any, path ...string) any {
	var at any = c
	for _, p := range path {
		at = fields(at)[p]
	}
	return at
}

func fields(v any) map[string]any { m, _ := v.(map[string]any); return m }
func items(v any) []any           { l, _ := v.([]any); return l }
func text(v any) string           { s, _ := v.(string); return s }
