package graph

import (
	"cmp"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

var _ = add(Check{
	Meta: control.Meta{
		ID: "route-without-authentication", Title: "A route leads to a workload without asking for credentials", Severity: bulwark.SeverityMedium, Category: "exposure",
		Why:         "Whoever knows the address can call the API; what it then shows depends on each handler remembering to check.",
		Remediation: "Attach a SecurityPolicy with authentication to the route or its Gateway; if it is meant to be public, say so there with anonymous: {}.",
	},
	Reads: exposureReads(authKinds()...), Pods: true, Absence: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		for _, r := range ix.edges().routes {
			if r.obj.Kind != "HTTPRoute" && r.obj.Kind != "GRPCRoute" {
				continue // ingress-no-authentication looks at the annotations of an Ingress
			}
			if !r.leads() {
				emit(r.obj, skip("the route has no backend"))
				continue
			}
			bad := false
			for i := range r.rules {
				rule := &r.rules[i]
				if len(rule.backends) == 0 {
					continue
				}
				a := ix.authentication().of(ix, r, rule)
				if a == accessProven {
					continue
				}
				bad = true
				names := make([]string, 0, len(rule.backends))
				for _, b := range rule.backends {
					names = append(names, b.kind+" "+b.namespace+"/"+b.name)
				}
				one := fail(rule.field, r.label(rule)+" leads to "+some(names)+" and nothing "+ix.here()+" asks its callers for credentials")
				if a == accessAnyone {
					one = fail(rule.field, r.label(rule)+" leads to "+some(names)+" and a policy lets anonymous callers in")
					one.Severity = bulwark.SeverityInfo
				}
				one.Key = r.label(rule)
				emit(r.obj, one)
			}
			if !bad {
				emit(r.obj, pass())
			}
		}
	},
})

// label names a rule by its name or by what it matches.
func (r *route) label(rule *routeRule) string {
	if rule.name != "" {
		return "rule " + rule.name
	}
	var all []string
	for _, m := range rule.matches {
		if one := cmp.Or(m.host, "*") + m.path; !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	if len(all) == 0 {
		return "the default backend"
	}
	return "rule for " + some(all)
}

// granted reports whether a ReferenceGrant in namespace to lets objects of a kind
// in namespace from name something there.
func (ix *Index) granted(to, fromGroup, fromKind, from, group, kind, name string) bool {
	for _, o := range ix.in(gatewayGroup, "ReferenceGrant", to) {
		content := ix.content(o)
		for _, f := range list(content, "spec", "from") {
			if text(f, "group") != fromGroup || text(f, "kind") != fromKind || text(f, "namespace") != from {
				continue
			}
			for _, t := range list(content, "spec", "to") {
				if text(t, "group") == group && text(t, "kind") == kind && (text(t, "name") == "" || text(t, "name") == name) {
					return true
				}
			}
		}
	}
	return false
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "route-crosses-namespace-without-grant", Title: "A route names a backend of another namespace that allows no such thing", Severity: bulwark.SeverityMedium, Category: "gateway",
		Why:         "A correct gateway refuses the backend; one that is not correct publishes a Service that its owner never offered.",
		Remediation: "Add a ReferenceGrant in the namespace of the backend, or move the route there.",
		References:  []string{"https://gateway-api.sigs.k8s.io/api-types/referencegrant/"},
	},
	Reads: append(routeKinds(), Kind{gatewayGroup, "ReferenceGrant"}), Absence: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		for _, r := range ix.edges().routes {
			if r.obj.Group() != gatewayGroup {
				continue
			}
			bad := false
			for _, rule := range r.rules {
				for _, b := range rule.backends {
					if b.namespace == r.namespace || ix.granted(b.namespace, gatewayGroup, r.obj.Kind, r.namespace, b.group, b.kind, b.name) {
						continue
					}
					bad = true
					one := fail(b.field+".namespace", b.kind+" "+b.namespace+"/"+b.name+" is in another namespace and no ReferenceGrant "+ix.here()+" allows it")
					one.Key = b.namespace + "/" + b.name
					emit(r.obj, one)
				}
			}
			if !bad {
				emit(r.obj, pass())
			}
		}
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "gateway-certificate-without-grant", Title: "A Gateway names a certificate of another namespace that allows no such thing", Severity: bulwark.SeverityMedium, Category: "gateway",
		Why:         "A correct gateway refuses it and the listener stays dark; one that is not correct hands a key to somebody who may not read it.",
		Remediation: "Add a ReferenceGrant in the namespace of the Secret, or keep the certificate beside the Gateway.",
		References:  []string{"https://gateway-api.sigs.k8s.io/api-types/referencegrant/"},
	},
	Reads: []Kind{{gatewayGroup, "Gateway"}, {gatewayGroup, "ReferenceGrant"}}, Absence: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		for _, o := range ix.Kind(gatewayGroup, "Gateway") {
			bad := false
			for _, l := range ix.listeners(o) {
				for _, c := range l.certificates {
					if c.namespace == space(o) || ix.granted(c.namespace, gatewayGroup, "Gateway", space(o), "", "Secret", c.name) {
						continue
					}
					bad = true
					r := fail(c.field, "Secret "+c.namespace+"/"+c.name+" is in another namespace and no ReferenceGrant "+ix.here()+" allows it")
					r.Key = l.name + " " + c.namespace + "/" + c.name
					emit(o, r)
				}
			}
			if !bad {
				emit(o, pass())
			}
		}
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "route-backend-missing", Title: "A route leads to a Service that does not exist", Severity: bulwark.SeverityLow, Category: "exposure",
		Why:         "Whoever may create a Service of that name in that namespace gets the route's callers and what they send.",
		Remediation: "Name the Service that was meant, or delete the rule.",
	},
	Reads: append(routeKinds(), Kind{"", "Service"}), Absence: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		for _, r := range ix.edges().routes {
			if !r.leads() {
				continue
			}
			bad := false
			for _, rule := range r.rules {
				for _, b := range rule.backends {
					if b.kind != "Service" || b.group != "" {
						continue
					}
					message := ""
					s := ix.service(b.namespace, b.name)
					switch {
					case s == nil:
						message = "Service " + b.namespace + "/" + b.name + " is not " + ix.here()
					case !s.offers(b.port, r.obj.Kind == "Route"):
						message = "Service " + b.namespace + "/" + b.name + " has no port " + portText(b.port)
					}
					if message == "" {
						continue
					}
					bad = true
					one := fail(b.field, message)
					one.Key, one.Severity = b.namespace+"/"+b.name+" "+portText(b.port), ix.missing(bulwark.SeverityLow)
					emit(r.obj, one)
				}
			}
			if !bad {
				emit(r.obj, pass())
			}
		}
	},
})

// offers reports whether a Service has a port, by number or name. byTarget takes
// the pods' ports, too.
func (s *service) offers(port any, byTarget bool) bool {
	if port == nil {
		return true
	}
	for _, p := range s.ports {
		switch want := port.(type) {
		case int64:
			if p.number == want {
				return true
			}
		case string:
			if p.name == want {
				return true
			}
		}
		if byTarget && p.target == port {
			return true
		}
	}
	return false
}

func portText(port any) string {
	switch p := port.(type) {
	case int64:
		return itoa(int(p))
	case string:
		return p
	}
	return ""
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "route-parent-missing", Title: "A route names a Gateway that does not exist", Severity: bulwark.SeverityLow, Category: "gateway",
		Why:         "The route is served by nobody until somebody makes a Gateway of that name, with listeners and policies of their choice.",
		Remediation: "Name the Gateway and listener that were meant in parentRefs.",
	},
	Reads: append(routeKinds(), Kind{gatewayGroup, "Gateway"}), Absence: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		for _, r := range ix.edges().routes {
			if r.obj.Group() != gatewayGroup {
				continue
			}
			bad := false
			for _, p := range r.parents {
				if p.kind != "Gateway" || p.group != gatewayGroup {
					continue
				}
				g := ix.find(gatewayGroup, "Gateway", p.namespace, p.name)
				message := ""
				switch {
				case g == nil:
					message = "Gateway " + p.namespace + "/" + p.name + " is not " + ix.here()
				case p.section != "" && !slices.ContainsFunc(ix.listeners(g), func(l listener) bool { return l.name == p.section }):
					message = "Gateway " + p.namespace + "/" + p.name + " has no listener " + p.section
				default:
					continue
				}
				bad = true
				one := fail(p.field, message)
				one.Key, one.Severity = p.namespace+"/"+p.name+" "+p.section, ix.missing(bulwark.SeverityLow)
				emit(r.obj, one)
			}
			if !bad {
				emit(r.obj, pass())
			}
		}
	},
})

var _ = add(Check{
	Meta: control.Meta{
		ID: "route-backend-without-tls", Title: "Traffic from the gateway to a backend is not encrypted", Severity: bulwark.SeverityInfo, Category: "gateway",
		Why:         "Who can listen on the cluster's network reads what callers sent over TLS up to the gateway.",
		Remediation: "Add a BackendTLSPolicy for the Service, or have the mesh encrypt the hop.",
		References:  []string{"https://gateway-api.sigs.k8s.io/api-types/backendtlspolicy/"},
	},
	Reads: append(routeKinds(), Kind{gatewayGroup, "BackendTLSPolicy"}), Absence: true, Across: true,
	Judge: func(ix *Index, emit emitter) {
		known := map[target]bool{}
		for _, o := range ix.Kind(gatewayGroup, "BackendTLSPolicy") {
			for _, t := range list(ix.content(o), "spec", "targetRefs") {
				known[target{text(t, "kind"), space(o), text(t, "name")}] = true
			}
		}
		for _, r := range ix.edges().routes {
			if r.obj.Kind != "HTTPRoute" && r.obj.Kind != "GRPCRoute" || !r.leads() {
				continue
			}
			var plain []string
			field := ""
			for _, rule := range r.rules {
				for _, b := range rule.backends {
					if b.kind == "Service" && !known[target{"Service", b.namespace, b.name}] && !slices.Contains(plain, b.namespace+"/"+b.name) {
						plain = append(plain, b.namespace+"/"+b.name)
						field = cmp.Or(field, b.field)
					}
				}
			}
			if len(plain) == 0 {
				emit(r.obj, pass())
				continue
			}
			one := fail(field, "no BackendTLSPolicy "+ix.here()+" for Service "+some(plain))
			one.Key = "backends"
			emit(r.obj, one)
		}
	},
})

// claimed is what only one route should have.
type claimed struct{ edge, host, kind, path, exact string }

type claimAt struct {
	claimed
	field string
}

// claims gives all that a route claims: each match at each of its edges.
func (r *route) claims() []claimAt {
	edges := []string{"Ingress"}
	if r.obj.Kind != "Ingress" {
		edges = nil
		for _, p := range r.parents {
			edges = append(edges, r.obj.Kind+" "+p.namespace+"/"+p.name+" "+p.section)
		}
	}
	var out []claimAt
	for _, rule := range r.rules {
		for _, m := range rule.matches {
			for _, e := range edges {
				out = append(out, claimAt{claimed{e, strings.ToLower(m.host), m.kind, strings.TrimRight(m.path, "/"), m.exact}, m.field})
			}
		}
	}
	return out
}

var _ = add(Check{
	Meta: control.Meta{
		ID: "route-duplicate", Title: "Two routes claim the same host and path", Severity: bulwark.SeverityMedium, Category: "exposure",
		Why:         "Which of them wins depends on the controller and on their age, so somebody who may write routes can take over the address of somebody else.",
		Remediation: "Give each host and path to one route, and limit with allowedRoutes which namespaces may attach to the listener.",
	},
	Reads: append(routeKinds(), Kind{gatewayGroup, "Gateway"}), Across: true,
	Judge: func(ix *Index, emit emitter) {
		type place struct {
			r     *route
			field string
		}
		first := map[claimed][]place{}
		var routes []*route
		for _, r := range ix.edges().routes {
			if !slices.Contains([]string{"HTTPRoute", "GRPCRoute", "Ingress"}, r.obj.Kind) {
				continue
			}
			routes = append(routes, r)
			for _, c := range r.claims() {
				first[c.claimed] = append(first[c.claimed], place{r, c.field})
			}
		}
		bad := map[*route]bool{}
		for _, r := range routes {
			for _, c := range r.claims() {
				places := first[c.claimed]
				other := places[0].r
				if other == r {
					other = places[len(places)-1].r
				}
				if other == r {
					continue
				}
				bad[r] = true
				one := fail(c.field, cmp.Or(c.host, "*")+cmp.Or(c.path, "/")+" is claimed by "+other.obj.String()+", too", other.obj.ObjectRef)
				one.Severity, one.Key = bulwark.SeverityLow, "claimed twice"
				if other.namespace != r.namespace {
					one.Severity = bulwark.SeverityMedium
				}
				emit(r.obj, one)
				break
			}
		}
		for _, r := range routes {
			if !bad[r] {
				emit(r.obj, pass())
			}
		}
	},
})
