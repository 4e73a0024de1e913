package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// parent is one parentRef of a route that names a Gateway of ours, or a
// ListenerSet of one.
type parent struct {
	ref      gwv1.ParentReference
	gw       *gateway
	set      *listenerSet // nil for a Gateway
	rejected problem
	on       []*listener
}

// attachment is a route on a listener, with the hostnames served there.
type attachment struct {
	route *route
	on    *listener
	hosts []hostPair
	// first is the place of its first rule in compiler.rules, of each run.
	first int
}

// hostPair is a hostname of a route and what of it the listener serves.
type hostPair struct {
	own, pattern string
	at           *place // once it was looked for
}

// attachRoute finds the listeners that a route attaches to.
func (c *compiler) attachRoute(r *route) {
	refs := append(slices.Clip(r.refs), c.defaultGateways(r)...)
	if len(refs) == 0 {
		c.rep.warn("%s names no parent, so it is not served", r)
	}
	for _, ref := range refs {
		p := parent{ref: ref}
		if !c.findParent(r, &p) {
			continue
		}
		if p.rejected = r.rejected; !p.rejected.any() {
			c.attachTo(r, &p)
		}
		r.parents = append(r.parents, p)
	}
	slices.SortFunc(r.attachments, func(a, b *attachment) int { return strings.Compare(a.on.name, b.on.name) })
}

// defaultGateways gives the Gateways that a route without naming them asks for
// (GEP-3793). One that it names anyway comes once.
func (c *compiler) defaultGateways(r *route) []gwv1.ParentReference {
	if r.defaults != gwv1.GatewayDefaultScopeAll {
		return nil
	}
	var out []gwv1.ParentReference
	for _, g := range c.gateways {
		named := slices.ContainsFunc(r.refs, func(ref gwv1.ParentReference) bool {
			return or(ref.Group, gatewayGroup) == gatewayGroup && or(ref.Kind, kindGateway) == kindGateway &&
				g.key == key{or(ref.Namespace, r.namespace), string(ref.Name)}
		})
		if g.obj.Spec.DefaultScope == gwv1.GatewayDefaultScopeAll && !named {
			out = append(out, g.ref())
		}
	}
	return out
}

// findParent fills in what the reference names, or reports false where it is
// not ours.
func (c *compiler) findParent(r *route, p *parent) bool {
	kind := or(p.ref.Kind, kindGateway)
	if or(p.ref.Group, gatewayGroup) != gatewayGroup {
		return false
	}
	k := key{or(p.ref.Namespace, r.namespace), string(p.ref.Name)}
	var there bool
	switch kind {
	case kindGateway:
		p.gw = c.byName[k]
		there = c.ix.gateways[k] != nil
	case kindListenerSet:
		if p.set = c.sets[k]; p.set != nil {
			p.gw = p.set.gw
		}
		there = c.ix.listenerSets[k] != nil
	default:
		return false
	}
	if p.gw == nil && !there {
		c.dangling(r.String(), "parent "+refString(p.ref, r.namespace), string(gwv1.RouteConditionAccepted), "no "+kind+" "+k.String()+c.ix.hint(kind))
	}
	return p.gw != nil
}

// dangling reports an object whose parent does not exist.
func (c *compiler) dangling(object, section, cond, why string) {
	c.rep.Dangling = append(c.rep.Dangling, Line{
		Object: object, Section: section, Condition: cond,
		Status: string(metav1.ConditionFalse), Reason: string(gwv1.RouteReasonNoMatchingParent), Message: why, Bad: true,
	})
}

// countRoutes counts the accepted routes of each listener.
func (c *compiler) countRoutes() {
	for _, r := range c.routes {
		if r.invalid.any() {
			continue
		}
		for _, a := range r.attachments {
			a.on.routes++
		}
	}
}

// String names the parent.
func (p *parent) String() string {
	if p.set != nil {
		return kindListenerSet + " " + p.set.String()
	}
	return kindGateway + " " + p.gw.String()
}

// listeners gives those that stand in the parent itself: a route of a Gateway is
// none of its ListenerSets'.
func (p *parent) listeners() []*listener {
	if p.set != nil {
		return p.set.listeners
	}
	return p.gw.own()
}

// attachTo attaches a route to the listeners of one parent that take it.
func (c *compiler) attachTo(r *route, p *parent) {
	if p.set != nil && p.set.notAllowed != "" {
		p.rejected = problemOf(gwv1.RouteReasonNoMatchingParent, "%s is not accepted: %s", p, p.set.notAllowed)
		return
	}
	named, admitted, why := 0, 0, ""
	for _, l := range p.listeners() {
		if p.ref.SectionName != nil && *p.ref.SectionName != l.spec.Name || p.ref.Port != nil && *p.ref.Port != l.spec.Port {
			continue
		}
		named++
		if no := l.admits(c.ix, r.kind, r.namespace); no != "" {
			why = cmp.Or(why, no)
			continue
		}
		admitted++
		hosts := hostsOn(r, l)
		if len(hosts) == 0 {
			continue
		}
		p.on = append(p.on, l)
		if !slices.ContainsFunc(r.attachments, func(a *attachment) bool { return a.on == l }) {
			r.attachments = append(r.attachments, &attachment{route: r, on: l, hosts: hosts})
		}
	}
	switch {
	case named == 0:
		p.rejected = problemOf(gwv1.RouteReasonNoMatchingParent, "no listener of %s fits the parentRef", p)
	case admitted == 0:
		p.rejected = problemOf(gwv1.RouteReasonNotAllowedByListeners, "no listener of %s takes the route: %s", p, why)
	case len(p.on) == 0:
		p.rejected = problemOf(gwv1.RouteReasonNoMatchingListenerHostname, "no hostname of the route is one of a listener of %s", p)
	}
}

// hostsOn gives what a listener serves of a route's hostnames.
func hostsOn(r *route, l *listener) []hostPair {
	if len(r.hostnames) == 0 {
		return []hostPair{{pattern: l.hostname}}
	}
	var out []hostPair
	for _, h := range r.hostnames {
		if p, ok := intersect(l.hostname, h); ok {
			out = append(out, hostPair{own: h, pattern: p})
		}
	}
	return out
}

// settleKinds takes routes off listeners where a route of the other kind has an
// overlapping hostname and is older: HTTPRoutes and GRPCRoutes never share one.
func (c *compiler) settleKinds() {
	if len(c.ix.GRPCRoutes) == 0 || len(c.ix.HTTPRoutes) == 0 {
		return // no listener takes TLSRoutes and others
	}
	kinds := map[*listener]map[string]bool{}
	for _, r := range c.routes {
		for _, a := range r.attachments {
			if kinds[a.on] == nil {
				kinds[a.on] = map[string]bool{}
			}
			if !kinds[a.on][r.kind] {
				kinds[a.on][r.kind] = true
			}
		}
	}
	byAge := make([]*route, 0, len(c.routes))
	for _, r := range c.routes {
		if slices.ContainsFunc(r.attachments, func(a *attachment) bool { return len(kinds[a.on]) > 1 }) {
			byAge = append(byAge, r)
		}
	}
	slices.SortStableFunc(byAge, func(a, b *route) int { return older(a.created(), b.created(), a.key, b.key) })
	taken := map[*listener]map[string]*hostSet{}
	for _, r := range byAge {
		var lost map[*listener]bool
		for _, a := range r.attachments {
			if len(kinds[a.on]) < 2 {
				continue
			}
			if taken[a.on] == nil {
				taken[a.on] = map[string]*hostSet{kindHTTPRoute: newHostSet(), kindGRPCRoute: newHostSet()}
			}
			other := taken[a.on][kindGRPCRoute]
			if r.kind == kindGRPCRoute {
				other = taken[a.on][kindHTTPRoute]
			}
			if slices.ContainsFunc(a.hosts, func(h hostPair) bool { return other.overlaps(h.pattern) }) {
				if lost == nil {
					lost = map[*listener]bool{}
				}
				lost[a.on] = true
				continue
			}
			for _, h := range a.hosts {
				taken[a.on][r.kind].add(h.pattern)
			}
		}
		r.takeOff(lost)
	}
}

// takeOff ends attachments that were lost to a route of the other kind.
func (r *route) takeOff(lost map[*listener]bool) {
	if len(lost) == 0 {
		return
	}
	if r.kept != nil {
		r.kept.forget() // what was lost depends on other routes
		r.kept = nil
	}
	r.status, r.through = nil, nil
	r.attachments = slices.DeleteFunc(r.attachments, func(a *attachment) bool { return lost[a.on] })
	for i := range r.parents {
		p := &r.parents[i]
		p.on = slices.DeleteFunc(p.on, func(l *listener) bool { return lost[l] })
		if len(p.on) == 0 && !p.rejected.any() {
			p.rejected = problem{"HostnameConflict", fmt.Sprintf("an older route of another kind than %s has the hostname", r.kind)}
		}
	}
}

// hostSet tells whether a pattern overlaps with one of many.
type hostSet struct {
	exact map[string]bool
	wild  []string // the empty pattern too
}

func newHostSet() *hostSet { return &hostSet{exact: map[string]bool{}} }

func (s *hostSet) add(p string) {
	if p == "" || strings.HasPrefix(p, "*.") {
		s.wild = append(s.wild, p)
		return
	}
	s.exact[p] = true
}

func (s *hostSet) overlaps(p string) bool {
	if s.exact[p] {
		return true
	}
	for _, w := range s.wild {
		if _, ok := intersect(w, p); ok {
			return true
		}
	}
	if p != "" && !strings.HasPrefix(p, "*.") {
		return false
	}
	for e := range s.exact {
		if covers(p, e) {
			return true
		}
	}
	return false
}

// gateways gives the Gateways that serve the route, by name.
func (r *route) gateways() []*gateway {
	if r.through != nil {
		return r.through
	}
	for _, a := range r.attachments {
		if !slices.Contains(r.through, a.on.gw) {
			r.through = append(r.through, a.on.gw)
		}
	}
	return r.through
}

// reportRoutes writes the status of all routes with a parent of ours.
func (c *compiler) reportRoutes() {
	c.rep.Routes = make([]RouteStatus, 0, len(c.routes))
	for _, r := range c.routes {
		if len(r.parents) == 0 {
			continue
		}
		if r.status == nil {
			r.status = c.routeStatus(r)
		}
		c.rep.Routes = append(c.rep.Routes, RouteStatus{r.kind, r.namespace, r.name, r.status})
	}
	if len(c.rep.Routes) == 0 {
		c.rep.Routes = nil
	}
}

// routeStatus gives the route's status for each parent. It depends on nothing but
// how the route was attached and resolved.
func (c *compiler) routeStatus(r *route) []gwv1.RouteParentStatus {
	out := make([]gwv1.RouteParentStatus, 0, len(r.parents))
	gen := r.meta.Generation
	for _, p := range r.parents {
		accepted := p.rejected
		if !accepted.any() {
			accepted = r.invalid
		}
		ps := gwv1.RouteParentStatus{
			ParentRef: p.ref, ControllerName: gwv1.GatewayController(c.opt.ControllerName),
			Conditions: []metav1.Condition{
				of(gwv1.RouteConditionAccepted, accepted, gwv1.RouteReasonAccepted, gen),
				of(gwv1.RouteConditionResolvedRefs, r.unresolved, gwv1.RouteReasonResolvedRefs, gen),
			},
		}
		if len(r.partial) > 0 {
			ps.Conditions = append(ps.Conditions, condition(gwv1.RouteConditionPartiallyInvalid, true, gwv1.RouteReasonUnsupportedValue, gen,
				"Dropped Rule: "+strings.Join(r.partial, "; ")))
		}
		out = append(out, ps)
	}
	return out
}
