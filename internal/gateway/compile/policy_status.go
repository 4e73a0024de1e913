package compile

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// reportPolicies writes the status of all policies.
func (c *compiler) reportPolicies() {
	c.rep.Policies = make([]PolicyStatus, 0, len(c.tls.all)+len(c.policies))
	for _, p := range c.tls.all {
		st := p.status(c.opt.ControllerName, c.tls.reached)
		st.capped()
		c.rep.Policies = append(c.rep.Policies, st)
	}
	routes := c.targets()
	for _, p := range c.policies {
		c.rep.Policies = append(c.rep.Policies, p.statusOnce(c.opt.ControllerName, routes))
	}
	if len(c.rep.Policies) == 0 {
		c.rep.Policies = nil
	}
}

// said is a status and what it was made of.
type said struct {
	problems []string
	targets  []policyTarget
	through  [][]*gateway // of the targets that are routes
	status   PolicyStatus
}

// statusOnce is status, taken over where it says the same: the policy's problems,
// its targets and what was lost there, and the Gateways of those that are routes.
func (p *policy) statusOnce(controller string, routes map[target]*route) PolicyStatus {
	of := func(t *policyTarget) []*gateway {
		if r := routes[target{kind: t.kind, key: t.key}]; r != nil {
			return r.gateways()
		}
		return nil
	}
	same := p.said.status.Name != "" && slices.Equal(p.said.problems, p.problems) && slices.Equal(p.said.targets, p.targets)
	for i := 0; same && i < len(p.targets); i++ {
		same = sameList(p.said.through[i], of(&p.targets[i]))
	}
	if same {
		return p.said.status
	}
	p.said = said{problems: slices.Clone(p.problems), targets: slices.Clone(p.targets)}
	for i := range p.targets {
		p.said.through = append(p.said.through, of(&p.targets[i]))
	}
	p.said.status = p.status(controller, routes)
	p.said.status.capped()
	return p.said.status
}

// status gives the policy's conditions for each Gateway that it reaches, or for
// a target where it reaches none, and none for what is another controller's. Of several findings on one ancestor the worst
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
		if t.foreign {
			continue
		}
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
