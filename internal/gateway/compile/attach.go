package compile

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// parent is one parentRef of a route that names a Gateway of ours.
type parent struct {
	ref      gwv1.ParentReference
	gw       *gateway
	rejected problem
	on       []*listener
}

// attachment is a route on a listener, with the hostnames served there.
type attachment struct {
	route *route
	on    *listener
	hosts []hostPair
}

// hostPair is a hostname of a route and what of it the listener serves.
type hostPair struct{ own, pattern string }

// attachRoutes finds the listeners that each route attaches to.
func (c *compiler) attachRoutes() {
	for _, r := range c.routes {
		if len(r.refs) == 0 {
			c.rep.warn("%s names no parent, so it is not served", r)
		}
		for _, ref := range r.refs {
			if or(ref.Group, gatewayGroup) != gatewayGroup || or(ref.Kind, kindGateway) != kindGateway {
				continue
			}
			k := key{or(ref.Namespace, r.namespace), string(ref.Name)}
			g := c.byName[k]
			if g == nil {
				if c.ix.gateways[k] == nil {
					c.rep.Dangling = append(c.rep.Dangling, Line{
						Object: r.String(), Section: "parent " + refString(ref, r.namespace), Condition: string(gwv1.RouteConditionAccepted),
						Status: string(metav1.ConditionFalse), Reason: string(gwv1.RouteReasonNoMatchingParent),
						Message: "no Gateway " + k.String(), Bad: true,
					})
				}
				continue
			}
			p := parent{ref: ref, gw: g}
			if p.rejected = r.rejected; !p.rejected.any() {
				c.attachTo(r, &p)
			}
			r.parents = append(r.parents, p)
		}
	}
	c.settleKinds()
	for _, r := range c.routes {
		slices.SortFunc(r.attachments, func(a, b *attachment) int { return strings.Compare(a.on.name, b.on.name) })
		if r.invalid.any() {
			continue
		}
		for _, a := range r.attachments {
			a.on.routes[r] = true
		}
	}
}

// attachTo attaches a route to the listeners of one parent that take it.
func (c *compiler) attachTo(r *route, p *parent) {
	named, admitted := 0, 0
	for _, l := range p.gw.listeners {
		if p.ref.SectionName != nil && *p.ref.SectionName != l.spec.Name || p.ref.Port != nil && *p.ref.Port != l.spec.Port {
			continue
		}
		named++
		if !l.admits(c.ix, r.kind, r.namespace) {
			continue
		}
		admitted++
		hosts := hostsOn(r, l)
		if len(hosts) == 0 {
			continue
		}
		p.on = append(p.on, l)
		if !slices.ContainsFunc(r.attachments, func(a *attachment) bool { return a.on == l }) {
			r.attachments = append(r.attachments, &attachment{r, l, hosts})
		}
	}
	switch {
	case named == 0:
		p.rejected = problemOf(gwv1.RouteReasonNoMatchingParent, "no listener of Gateway %s fits the parentRef", p.gw.key)
	case admitted == 0:
		p.rejected = problemOf(gwv1.RouteReasonNotAllowedByListeners, "no listener of Gateway %s allows %ss of namespace %s", p.gw.key, r.kind, r.namespace)
	case len(p.on) == 0:
		p.rejected = problemOf(gwv1.RouteReasonNoMatchingListenerHostname, "no hostname of the route is one of a listener of Gateway %s", p.gw.key)
	}
}

// hostsOn gives what a listener serves of a route's hostnames.
func hostsOn(r *route, l *listener) []hostPair {
	if len(r.hostnames) == 0 {
		return []hostPair{{"", l.hostname}}
	}
	var out []hostPair
	for _, h := range r.hostnames {
		if p, ok := intersect(l.hostname, h); ok {
			out = append(out, hostPair{h, p})
		}
	}
	return out
}

// settleKinds takes routes off listeners where a route of the other kind has an
// overlapping hostname and is older: HTTPRoutes and GRPCRoutes never share one.
func (c *compiler) settleKinds() {
	kinds := map[*listener]map[string]bool{}
	for _, r := range c.routes {
		for _, a := range r.attachments {
			if kinds[a.on] == nil {
				kinds[a.on] = map[string]bool{}
			}
			kinds[a.on][r.kind] = true
		}
	}
	byAge := slices.Clone(c.routes)
	slices.SortStableFunc(byAge, func(a, b *route) int { return older(a.created(), b.created(), a.key, b.key) })
	taken := map[*listener]map[string]*hostSet{}
	for _, r := range byAge {
		lost := map[*listener]bool{}
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
	var out []*gateway
	for _, a := range r.attachments {
		if !slices.Contains(out, a.on.gw) {
			out = append(out, a.on.gw)
		}
	}
	return out
}

// reportRoutes writes the status of all routes with a parent of ours.
func (c *compiler) reportRoutes() {
	for _, r := range c.routes {
		if len(r.parents) == 0 {
			continue
		}
		st := RouteStatus{Kind: r.kind, Namespace: r.namespace, Name: r.name}
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
			st.Parents = append(st.Parents, ps)
		}
		c.rep.Routes = append(c.rep.Routes, st)
	}
}
