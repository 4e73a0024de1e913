package graph

import (
	"cmp"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

const gatewayGroup = "gateway.networking.k8s.io"

// route is anything that leads from an edge to Services: an Ingress, a route of
// the Gateway API or of OpenShift.
type route struct {
	obj       *inventory.Object
	namespace string
	notes     map[string]string // annotations
	hosts     []string
	parents   []parent
	rules     []routeRule
}

type parent struct {
	group, kind, namespace, name, section, field string
}

type routeRule struct {
	name     string
	field    string
	matches  []match
	backends []backend
	filters  []any
}

type match struct {
	host, kind, path string
	exact            string // what else must hold, in one word; the same for equal matches
	field            string
}

type backend struct {
	group, kind, namespace, name, field string
	port                                any
	filters                             []any
}

// roads are all routes.
type roads struct {
	routes []*route
	byObj  map[*inventory.Object]*route
	into   map[string][]*route // by the namespaces of the Services that they lead to
}

// ways are all routes and what can be reached through them from outside.
type ways struct {
	*roads
	exposed map[*workload][]exposure
}

// mostWays is how many ways to one workload are kept.
const mostWays = 64

// exposure is one way from outside to a workload.
type exposure struct {
	service *service
	// by is what opens it: the Service itself or a route.
	by *inventory.Object
}

func routeKinds() []Kind {
	return []Kind{
		{"networking.k8s.io", "Ingress"},
		{gatewayGroup, "HTTPRoute"},
		{gatewayGroup, "GRPCRoute"},
		{gatewayGroup, "TLSRoute"},
		{gatewayGroup, "TCPRoute"},
		{gatewayGroup, "UDPRoute"},
		{"route.openshift.io", "Route"},
	}
}

func (b *backend) isService() bool { return b.kind == "Service" && b.group == "" }

// allRoutes gives those of the whole cluster.
func (ix *Index) allRoutes() *roads {
	ix = ix.base()
	return ix.roads.get(func() *roads {
		out := &roads{byObj: map[*inventory.Object]*route{}, into: map[string][]*route{}}
		for _, k := range routeKinds() {
			for _, o := range ix.Kind(k.Group, k.Kind) {
				r := keep(ix, o, func() *route {
					if content := ix.content(o); content != nil {
						return readRoute(o, content)
					}
					return nil
				})
				if r == nil {
					continue
				}
				out.routes, out.byObj[o] = append(out.routes, r), r
				for name := range r.spaces() {
					out.into[name] = append(out.into[name], r)
				}
			}
		}
		return out
	})
}

// spaces gives the namespaces of the Services that a route leads to.
func (r *route) spaces() map[string]bool {
	out := map[string]bool{}
	for _, rule := range r.rules {
		for _, b := range rule.backends {
			if b.isService() {
				out[b.namespace] = true
			}
		}
	}
	return out
}

// edges gives all routes, and the exposures of the workloads that are here.
func (ix *Index) edges() *ways {
	return ix.ways.get(func() *ways {
		out := &ways{roads: ix.allRoutes(), exposed: map[*workload][]exposure{}}
		if ix.whole == nil {
			out.exposed = joined(ix, func(v *Index) map[*workload][]exposure { return v.edges().exposed })
			return out
		}
		type pair struct {
			by *inventory.Object
			s  *service
		}
		seen, ways := map[pair]bool{}, map[**workload]int{}
		expose := func(s *service, by *inventory.Object) {
			if s == nil || seen[pair{by, s}] {
				return
			}
			seen[pair{by, s}] = true
			if s.list() == nil || ways[s.list()] == mostWays {
				return // more ways than these say nothing new
			}
			ways[s.list()]++
			for _, w := range s.pods {
				if len(out.exposed[w]) < mostWays {
					out.exposed[w] = append(out.exposed[w], exposure{s, by})
				}
			}
		}
		for _, s := range ix.services().all {
			if s.outside() {
				expose(s, s.obj)
			}
		}
		for _, r := range out.into[ix.name] {
			for _, rule := range r.rules {
				for _, b := range rule.backends {
					if b.isService() {
						expose(ix.service(b.namespace, b.name), r.obj)
					}
				}
			}
		}
		return out
	})
}

func readRoute(o *inventory.Object, content map[string]any) *route {
	r := &route{obj: o, namespace: space(o), notes: labels(content, "metadata", "annotations")}
	switch o.Kind {
	case "Ingress":
		r.readIngress(content)
	case "Route":
		r.hosts = []string{text(content, "spec", "host")}
		to := func(v any, field string) backend {
			return backend{kind: "Service", namespace: r.namespace, name: text(v, "name"), field: field + ".name", port: portOf(content, "spec", "port", "targetPort")}
		}
		rule := routeRule{field: "spec", backends: []backend{to(at(content, "spec", "to"), "spec.to")}}
		for i, v := range list(content, "spec", "alternateBackends") {
			rule.backends = append(rule.backends, to(v, item("spec.alternateBackends", i)))
		}
		r.rules = []routeRule{rule}
	default:
		r.readGateway(content)
	}
	return r
}

func (r *route) ingressBackend(v any, field string) []backend {
	name := text(v, "service", "name")
	if name == "" {
		return nil
	}
	port := portOf(v, "service", "port", "number")
	if port == nil {
		port = portOf(v, "service", "port", "name")
	}
	return []backend{{kind: "Service", namespace: r.namespace, name: name, field: field + ".service", port: port}}
}

func (r *route) readIngress(content map[string]any) {
	spec := fields(content, "spec")
	class := cmp.Or(text(spec, "ingressClassName"), r.notes["kubernetes.io/ingress.class"])
	r.rules = append(r.rules, routeRule{field: "spec.defaultBackend", backends: r.ingressBackend(at(spec, "defaultBackend"), "spec.defaultBackend")})
	for i, e := range list(spec, "rules") {
		host := text(e, "host")
		r.hosts = append(r.hosts, host)
		for j, p := range list(e, "http", "paths") {
			field := item(item("spec.rules", i)+".http.paths", j)
			r.rules = append(r.rules, routeRule{
				field: field, backends: r.ingressBackend(at(p, "backend"), field+".backend"),
				matches: []match{{host, cmp.Or(text(p, "pathType"), "ImplementationSpecific"), cmp.Or(text(p, "path"), "/"), class, field}},
			})
		}
	}
}

func (r *route) readGateway(content map[string]any) {
	spec := fields(content, "spec")
	r.hosts = texts(spec, "hostnames")
	for i, e := range list(spec, "parentRefs") {
		r.parents = append(r.parents, parent{
			group: cmp.Or(text(e, "group"), gatewayGroup), kind: cmp.Or(text(e, "kind"), "Gateway"),
			namespace: cmp.Or(text(e, "namespace"), r.namespace), name: text(e, "name"),
			section: text(e, "sectionName"), field: item("spec.parentRefs", i),
		})
	}
	for i, e := range list(spec, "rules") {
		field := item("spec.rules", i)
		rule := routeRule{name: text(e, "name"), field: field, filters: list(e, "filters")}
		for j, b := range list(e, "backendRefs") {
			rule.backends = append(rule.backends, backend{
				group: text(b, "group"), kind: cmp.Or(text(b, "kind"), "Service"),
				namespace: cmp.Or(text(b, "namespace"), r.namespace), name: text(b, "name"),
				field: item(field+".backendRefs", j), port: portOf(b, "port"), filters: list(b, "filters"),
			})
		}
		matches := list(e, "matches")
		if len(matches) == 0 {
			matches = []any{map[string]any{}}
		}
		for j, m := range matches {
			rule.matches = append(rule.matches, r.gatewayMatches(m, item(field+".matches", j))...)
		}
		r.rules = append(r.rules, rule)
	}
}

// gatewayMatches gives a match once for each host.
func (r *route) gatewayMatches(m any, field string) []match {
	kind, path := cmp.Or(text(m, "path", "type"), "PathPrefix"), cmp.Or(text(m, "path", "value"), "/")
	if r.obj.Kind == "GRPCRoute" {
		kind, path = "gRPC "+cmp.Or(text(m, "method", "type"), "Exact"), text(m, "method", "service")+"/"+text(m, "method", "method")
	}
	exact := text(m, "method")
	var more []string
	for _, f := range []string{"headers", "queryParams"} {
		for _, h := range list(m, f) {
			more = append(more, f+":"+text(h, "type")+":"+text(h, "name")+"="+text(h, "value"))
		}
	}
	slices.Sort(more)
	exact = strings.Join(append([]string{exact}, more...), " ")
	hosts := r.hosts
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	var out []match
	for _, h := range hosts {
		out = append(out, match{h, kind, path, exact, field})
	}
	return out
}

// leads reports whether a route has any backend.
func (r *route) leads() bool {
	return slices.ContainsFunc(r.rules, func(rule routeRule) bool { return len(rule.backends) > 0 })
}
