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
	// accessAnyone: the policy lets callers in without credentials, by name.
	accessAnyone
	// accessProven: callers need credentials, or nobody gets in.
	accessProven
)

// locks are the policies that ask callers of routes for credentials.
type locks struct {
	// by what they are attached to; section is the name of a rule or listener.
	at map[lock]access
	// istio are those that are in force at pods, and guarded the lists of workloads
	// (see service.list) of which each has one.
	istio   []istioLock
	guarded map[**workload]bool
	// auth are objects that a route's filter or annotation may name and that ask
	// for credentials.
	auth map[target]bool
}

type lock struct{ group, kind, namespace, name, section string }

type istioLock struct {
	namespace string // "" is everywhere
	pods      selector
}

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
		out := &locks{at: map[lock]access{}, auth: map[target]bool{}}
		for _, k := range authKinds() {
			for _, o := range ix.Kind(k.Group, k.Kind) {
				if k.Group != gatewayGroup {
					out.read(o, ix.content(o))
				}
			}
		}
		out.guard(ix)
		return out
	})
}

// guard finds the Services all of whose pods ask for credentials through the mesh.
func (l *locks) guard(ix *Index) {
	if len(l.istio) == 0 {
		return
	}
	held := map[*workload]bool{}
	for _, one := range l.istio {
		for name, crowd := range ix.workloads().spaces {
			if one.namespace == "" || one.namespace == name {
				for _, w := range crowd.find(&one.pods) {
					held[w] = true
				}
			}
		}
	}
	l.guarded = map[**workload]bool{}
	for _, s := range ix.services().all {
		if _, known := l.guarded[s.list()]; !known && s.list() != nil {
			l.guarded[s.list()] = !slices.ContainsFunc(s.pods, func(w *workload) bool { return !held[w] })
		}
	}
}

func (l *locks) read(o *inventory.Object, content map[string]any) {
	spec := fields(content, "spec")
	switch {
	case o.Group() == "bulwark.dev":
		l.attach(o, spec, bulwarkAccess(spec))
	case o.Group() == "gateway.envoyproxy.io":
		for _, f := range []string{"jwt", "oidc", "basicAuth", "apiKeyAuth", "extAuth"} {
			if at(spec, f) != nil {
				l.attach(o, spec, accessProven)
			}
		}
	case o.Kind == "AuthPolicy":
		l.attach(o, spec, accessProven)
	case o.Kind == "AuthorizationPolicy":
		if !istioProves(spec) {
			return
		}
		l.attach(o, spec, accessProven)
		if at(spec, "targetRefs") == nil && at(spec, "targetRef") == nil {
			one := istioLock{namespace: space(o), pods: selector{}}
			if m := labels(spec, "selector", "matchLabels"); len(m) > 0 {
				one.pods = equal(m)
			}
			if one.namespace == "istio-system" && one.pods.everything() {
				one.namespace = ""
			}
			l.istio = append(l.istio, one)
		}
	case o.Kind == "Middleware":
		for _, f := range []string{"basicAuth", "digestAuth", "forwardAuth"} {
			if at(spec, f) != nil {
				l.auth[target{"Middleware", space(o), o.Name}] = true
			}
		}
	case o.Kind == "KongPlugin":
		asks := []string{"key-auth", "jwt", "basic-auth", "oauth2", "openid-connect", "ldap-auth", "hmac-auth", "mtls-auth"}
		if slices.Contains(asks, text(content, "plugin")) {
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

// istioProves reports whether an AuthorizationPolicy needs callers to prove who
// they are. A RequestAuthentication alone does not: it checks the tokens that
// there are.
func istioProves(spec map[string]any) bool {
	if text(spec, "action") == "CUSTOM" {
		return true
	}
	token := func(from any) bool { return len(texts(from, "source", "requestPrincipals")) > 0 }
	noToken := func(from any) bool { return len(texts(from, "source", "notRequestPrincipals")) > 0 }
	claim := func(when any) bool {
		return strings.HasPrefix(text(when, "key"), "request.auth.") && len(texts(when, "values")) > 0
	}
	switch cmp.Or(text(spec, "action"), "ALLOW") {
	case "DENY":
		return slices.ContainsFunc(list(spec, "rules"), func(rule any) bool { return slices.ContainsFunc(list(rule, "from"), noToken) })
	case "ALLOW":
		// One rule that allows without proof is enough to get in; no rule lets nobody in.
		return !slices.ContainsFunc(list(spec, "rules"), func(rule any) bool {
			from := list(rule, "from")
			all := len(from) > 0 && !slices.ContainsFunc(from, func(f any) bool { return !token(f) })
			return !all && !slices.ContainsFunc(list(rule, "when"), claim)
		})
	}
	return false
}

func (l *locks) attach(o *inventory.Object, spec map[string]any, a access) {
	refs := list(spec, "targetRefs")
	if one := at(spec, "targetRef"); one != nil {
		refs = append(refs, one)
	}
	for _, r := range refs {
		k := lock{cmp.Or(text(r, "group"), ""), text(r, "kind"), space(o), text(r, "name"), text(r, "sectionName")}
		// Of two on one target the weaker counts; one that says nothing leaves it to
		// the other.
		if known := l.at[k]; known == accessUnsaid || a != accessUnsaid && a < known {
			l.at[k] = a
		}
	}
}

// of gives what policies say of one rule of a route.
func (l *locks) of(ix *Index, r *route, rule *routeRule) access {
	for _, f := range rule.filters {
		if text(f, "type") == "ExternalAuth" || l.auth[target{text(f, "extensionRef", "kind"), r.namespace, text(f, "extensionRef", "name")}] {
			return accessProven
		}
	}
	if r.noted(l) {
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
	if len(l.istio) == 0 {
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
	const nginx = "nginx.ingress.kubernetes.io/"
	switch {
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
	for p := range strings.SplitSeq(r.notes["konghq.com/plugins"], ",") {
		if l.auth[target{"KongPlugin", r.namespace, strings.TrimSpace(p)}] {
			return true
		}
	}
	return false
}
