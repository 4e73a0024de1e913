package graph

import (
	"cmp"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// access is what a policy says of who may come in.
type access uint8

const (
	accessUnsaid access = iota
	// accessBare: the policy stands in for wider ones and asks for nothing itself.
	accessBare
	// accessAnyone: the policy lets callers in without credentials, by name.
	accessAnyone
	// accessProven: callers need credentials, or nobody gets in.
	accessProven
)

// locks are the policies that ask callers of routes for credentials.
type locks struct {
	// by what they are attached to; section is the name of a rule or listener.
	at map[lock]access
	// mesh and targets are what the mesh's policies say together, by where they are in
	// force; guarded are the lists of workloads (see service.list) of which each asks
	// for credentials.
	mesh    map[meshPlace]*meshLock
	targets map[lock]*meshLock
	guarded map[**workload]bool
	// auth are objects that a route's filter or annotation may name and that ask
	// for credentials.
	auth map[target]bool
}

type lock struct{ group, kind, namespace, name, section string }

func authKinds() []Kind {
	return []Kind{
		{"bulwark.dev", "SecurityPolicy"},
		{"gateway.envoyproxy.io", "SecurityPolicy"},
		{"security.istio.io", "AuthorizationPolicy"},
		{"kuadrant.io", "AuthPolicy"},
		{"traefik.io", "Middleware"},
		{"traefik.containo.us", "Middleware"},
		{"configuration.konghq.com", "KongPlugin"},
		{gatewayGroup, "Gateway"},
		{gatewayGroup, "ListenerSet"},
	}
}

func (ix *Index) authentication() *locks {
	return ix.locks.get(func() *locks {
		out := &locks{at: map[lock]access{}, auth: map[target]bool{}, mesh: map[meshPlace]*meshLock{}, targets: map[lock]*meshLock{}}
		for _, k := range authKinds() {
			for _, o := range ix.Kind(k.Group, k.Kind) {
				if k.Group != gatewayGroup {
					out.read(ix, o, ix.content(o))
				}
			}
		}
		out.guard(ix)
		return out
	})
}

func (l *locks) read(ix *Index, o *inventory.Object, content map[string]any) {
	spec := fields(content, "spec")
	switch {
	case o.Group() == "bulwark.dev":
		l.attach(ix, o, spec, bulwarkAccess(spec))
	case o.Group() == "gateway.envoyproxy.io":
		l.attach(ix, o, spec, envoyAccess(spec))
	case o.Kind == "AuthPolicy":
		l.attach(ix, o, spec, kuadrantAccess(spec))
	case o.Kind == "AuthorizationPolicy":
		l.readMesh(ix, o, spec)
	case o.Kind == "Middleware":
		for _, f := range []string{"basicAuth", "digestAuth", "forwardAuth"} {
			if at(spec, f) != nil {
				l.auth[target{"Middleware", space(o), o.Name}] = true
			}
		}
	case o.Kind == "KongPlugin":
		asks := []string{"key-auth", "jwt", "basic-auth", "oauth2", "openid-connect", "ldap-auth", "hmac-auth", "mtls-auth"}
		if slices.Contains(asks, text(content, "plugin")) && !truth(content, "disabled") && text(content, "config", "anonymous") == "" {
			l.auth[target{"KongPlugin", space(o), o.Name}] = true
		}
	}
}

// bulwarkAccess reads a SecurityPolicy of ours: without authentication it leaves
// that to a wider one, and where there is none nobody gets in.
func bulwarkAccess(spec map[string]any) access {
	methods := list(spec, "authentication", "anyOf")
	for _, m := range methods {
		if at(m, "anonymous") != nil {
			return accessAnyone
		}
	}
	if at(spec, "authentication") == nil {
		return accessUnsaid
	}
	return accessProven
}

// envoyAccess reads a SecurityPolicy of Envoy Gateway. One on a route takes the place
// of the Gateway's, also if it is only about CORS, unless it says that it is merged.
func envoyAccess(spec map[string]any) access {
	for _, f := range []string{"oidc", "basicAuth", "apiKeyAuth", "extAuth"} {
		if at(spec, f) != nil {
			return accessProven
		}
	}
	switch {
	case at(spec, "jwt") != nil && !truth(spec, "jwt", "optional"):
		return accessProven
	case text(spec, "mergeType") != "":
		return accessUnsaid
	}
	return accessBare
}

// kuadrantAccess reads an AuthPolicy of Kuadrant, whose rules stand in one of three
// places.
func kuadrantAccess(spec map[string]any) access {
	for _, around := range []any{spec, at(spec, "defaults"), at(spec, "overrides")} {
		for _, one := range fields(around, "rules", "authentication") {
			if at(one, "anonymous") != nil {
				return accessAnyone
			}
		}
	}
	return accessProven
}

// targets gives what a policy is attached to, by name or by labels.
func targets(ix *Index, o *inventory.Object, spec map[string]any) []lock {
	refs := list(spec, "targetRefs")
	if one := at(spec, "targetRef"); one != nil {
		refs = append(refs, one)
	}
	var out []lock
	for _, r := range refs {
		out = append(out, lock{text(r, "group"), text(r, "kind"), space(o), text(r, "name"), text(r, "sectionName")})
	}
	for _, e := range list(spec, "targetSelectors") {
		group, kind, want := cmp.Or(text(e, "group"), gatewayGroup), text(e, "kind"), parseSelector(e, nil)
		for _, t := range ix.in(group, kind, space(o)) {
			if want.matches(t.Labels) {
				out = append(out, lock{group, kind, space(o), t.Name, ""})
			}
		}
	}
	return out
}

func (l *locks) attach(ix *Index, o *inventory.Object, spec map[string]any, a access) {
	for _, k := range targets(ix, o, spec) {
		l.put(k, a)
	}
}

// put notes what a policy says of a target. Of two on one target the weaker counts;
// one that says nothing leaves it to the other.
func (l *locks) put(k lock, a access) {
	if known := l.at[k]; known == accessUnsaid || a != accessUnsaid && a < known {
		l.at[k] = a
	}
}

// of gives what policies say of one rule of a route.
func (l *locks) of(ix *Index, r *route, rule *routeRule) access {
	asks := func(filters []any) bool {
		return slices.ContainsFunc(filters, func(f any) bool {
			return text(f, "type") == "ExternalAuth" || l.auth[target{text(f, "extensionRef", "kind"), r.namespace, text(f, "extensionRef", "name")}]
		})
	}
	// A filter of one backend guards that one only.
	each := len(rule.backends) > 0 && !slices.ContainsFunc(rule.backends, func(b backend) bool { return !asks(b.filters) })
	if each || asks(rule.filters) || r.noted(l) {
		return accessProven
	}
	group := r.obj.Group()
	there := false
	for _, section := range []string{rule.name, ""} {
		a, ok := l.at[lock{group, r.obj.Kind, r.namespace, r.obj.Name, section}]
		there = there || ok
		if a != accessUnsaid {
			return a
		}
	}
	if a, ok := l.ofParents(ix, r); a != accessUnsaid {
		return a
	} else if there || ok {
		return accessProven // a policy that lists no credentials admits nobody
	}
	if l.atPods(ix, rule) {
		return accessProven
	}
	return accessUnsaid
}

// ofParents gives the weakest of what holds at the route's Gateways.
func (l *locks) ofParents(ix *Index, r *route) (weakest access, there bool) {
	for i, p := range r.parents {
		one, known := accessUnsaid, false
		asked := []lock{{p.group, p.kind, p.namespace, p.name, p.section}, {p.group, p.kind, p.namespace, p.name, ""}}
		if p.kind == "ListenerSet" {
			if o := ix.find(p.group, p.kind, p.namespace, p.name); o != nil {
				up := fields(ix.content(o), "spec", "parentRef")
				asked = append(asked, lock{gatewayGroup, cmp.Or(text(up, "kind"), "Gateway"), cmp.Or(text(up, "namespace"), p.namespace), text(up, "name"), ""})
			}
		}
		for _, at := range asked {
			a, ok := l.at[at]
			known = known || ok
			if one == accessUnsaid {
				one = a
			}
		}
		if i == 0 {
			weakest, there = one, known
		}
		weakest, there = min(weakest, one), there && known
	}
	return weakest, there
}

// atPods reports whether the mesh asks for credentials at all backends.
func (l *locks) atPods(ix *Index, rule *routeRule) bool {
	if len(l.mesh) == 0 {
		return false
	}
	for _, b := range rule.backends {
		if s := ix.service(b.namespace, b.name); s == nil || s.list() == nil || !l.guarded[s.list()] {
			return false
		}
	}
	return len(rule.backends) > 0
}

// noted reports whether annotations of the route ask for credentials.
func (r *route) noted(l *locks) bool {
	for p := range strings.SplitSeq(r.notes["konghq.com/plugins"], ",") {
		if l.auth[target{"KongPlugin", r.namespace, strings.TrimSpace(p)}] {
			return true
		}
	}
	// All others are read of an Ingress only: on a route of the Gateway API they are
	// words without meaning.
	const nginx = "nginx.ingress.kubernetes.io/"
	switch {
	case r.obj.Kind != "Ingress":
		return false
	case r.notes[nginx+"auth-url"] != "", r.notes[nginx+"auth-type"] != "" && r.notes[nginx+"auth-secret"] != "":
		return true
	case r.notes[nginx+"auth-tls-secret"] != "":
		return !slices.Contains([]string{"off", "optional", "optional_no_ca"}, r.notes[nginx+"auth-tls-verify-client"])
	case !slices.Contains([]string{"", "none"}, r.notes["alb.ingress.kubernetes.io/auth-type"]):
		return true
	case r.notes["haproxy.org/auth-type"] != "", r.notes["haproxy-ingress.github.io/auth-secret"] != "", r.notes["haproxy-ingress.github.io/auth-url"] != "":
		return true
	}
	for m := range strings.SplitSeq(r.notes["traefik.ingress.kubernetes.io/router.middlewares"], ",") {
		// Traefik writes namespace-name@kubernetescrd.
		m, _, _ = strings.Cut(strings.TrimSpace(m), "@")
		for t := range l.auth {
			if t.kind == "Middleware" && m == t.namespace+"-"+t.name {
				return true
			}
		}
	}
	return false
}
