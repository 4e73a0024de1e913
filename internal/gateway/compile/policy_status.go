package compile

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// reportPolicies writes the status of all policies.
func (c *compiler) reportPolicies() {
	for _, p := range c.tls.all {
		c.rep.Policies = append(c.rep.Policies, p.status(c.opt.ControllerName, c.tls.reached))
	}
	routes := map[target]*route{}
	for _, r := range c.routes {
		routes[target{kind: r.kind, key: r.key}] = r
	}
	for _, p := range c.policies {
		c.rep.Policies = append(c.rep.Policies, p.status(c.opt.ControllerName, routes))
	}
}

// status gives the policy's conditions for each Gateway that it reaches, or for
// a target where it reaches none. Of several findings on one ancestor the worst
// stays: the policy's own, then those of the targets in their order.
func (p *policy) status(controller string, routes map[target]*route) PolicyStatus {
	out := PolicyStatus{Kind: "SecurityPolicy", Namespace: p.namespace, Name: p.name}
	own := problem{}
	if len(p.problems) > 0 {
		own = problemOf(gwv1.PolicyReasonInvalid, "%s", strings.Join(p.problems, "; "))
	}
	byRef := map[string]int{}
	add := func(ref gwv1.ParentReference, lost problem) {
		why := own
		if !why.any() {
			why = lost
		}
		name := refString(ref, p.namespace)
		i, seen := byRef[name]
		if seen && out.Ancestors[i].Conditions[0].Status != metav1.ConditionTrue {
			return
		}
		programmed := problem{}
		if why.any() {
			programmed = problemOf(gwv1.PolicyReasonInvalid, "%s", why.why)
		}
		a := gwv1.PolicyAncestorStatus{
			AncestorRef: ref, ControllerName: gwv1.GatewayController(controller),
			Conditions: []metav1.Condition{
				of(gwv1.PolicyConditionAccepted, why, gwv1.PolicyReasonAccepted, p.obj.Generation),
				of(gwv1.GatewayConditionProgrammed, programmed, gwv1.GatewayReasonProgrammed, p.obj.Generation),
			},
		}
		if seen {
			out.Ancestors[i] = a
			return
		}
		byRef[name] = len(out.Ancestors)
		out.Ancestors = append(out.Ancestors, a)
	}
	if len(p.targets) == 0 {
		ref := parentRef("SecurityPolicy", p.key, "")
		add(ref, problemOf(gwv1.PolicyReasonTargetNotFound, "it names no target"))
	}
	for _, t := range p.targets {
		r := routes[target{kind: t.kind, key: t.key}]
		if t.lost.any() || r == nil || len(r.gateways()) == 0 {
			add(parentRef(t.kind, t.key, t.section), t.lost)
			continue
		}
		for _, g := range r.gateways() {
			add(g.ref(), t.lost)
		}
	}
	return out
}
