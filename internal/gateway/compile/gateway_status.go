package compile

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// reportGateways writes the status of each Gateway, ListenerSet and listener.
func (c *compiler) reportGateways() {
	for _, g := range c.gateways {
		st := g.status()
		c.rep.Gateways = append(c.rep.Gateways, GatewayStatus{g.namespace, g.name, st})
		for _, s := range g.sets {
			programmed := st.Conditions[1].Status == metav1.ConditionTrue
			c.rep.ListenerSets = append(c.rep.ListenerSets, ListenerSetStatus{s.namespace, s.name, s.status(programmed)})
		}
	}
}

// judged gives the conditions Accepted and Programmed.
func (g *gateway) judged() (accepted, programmed metav1.Condition) {
	gen := g.obj.Generation
	accepted = condition(gwv1.GatewayConditionAccepted, true, gwv1.GatewayReasonAccepted, gen, "")
	programmed = condition(gwv1.GatewayConditionProgrammed, true, gwv1.GatewayReasonProgrammed, gen, "")
	notProgrammed := func(reason gwv1.GatewayConditionReason, why string) {
		programmed = condition(gwv1.GatewayConditionProgrammed, false, reason, gen, why)
	}
	good, bound, programmable := 0, 0, 0
	for _, l := range g.listeners {
		switch {
		case !l.valid():
			continue
		case l.served():
			bound++
			if l.refusal == nil {
				programmable++
			}
		}
		good++
	}
	ownGood := 0
	for _, l := range g.own() {
		if l.valid() {
			ownGood++
		}
	}
	switch {
	case g.refused != "":
		notProgrammed(gwv1.GatewayReasonInvalid, g.refused)
		if g.refusedAs.Type == accepted.Type {
			accepted = g.refusedAs
		} else {
			programmed = g.refusedAs
		}
		return accepted, programmed
	case good == 0:
		accepted = condition(gwv1.GatewayConditionAccepted, false, gwv1.GatewayReasonListenersNotValid, gen, "no listener is valid")
		notProgrammed(gwv1.GatewayReasonInvalid, "no listener is valid")
		return accepted, programmed
	case ownGood < len(g.own()):
		accepted = condition(gwv1.GatewayConditionAccepted, true, gwv1.GatewayReasonListenersNotValid, gen, "some listeners are not valid")
	}
	p := g.placed
	switch {
	case p != nil && p.Unusable != "":
		notProgrammed(gwv1.GatewayReasonAddressNotUsable, p.Unusable)
	case p != nil && (p.Pending != "" || len(p.Addresses) == 0):
		notProgrammed(gwv1.GatewayReasonAddressNotAssigned, cmp.Or(p.Pending, "no address is assigned yet"))
	case bound == 0:
		notProgrammed(gwv1.GatewayReasonPending, "no listener is bound yet")
	case programmable == 0:
		notProgrammed(gwv1.GatewayReasonInvalid, "no listener can be served")
	}
	return accepted, programmed
}

func (g *gateway) status() gwv1.GatewayStatus {
	gen := g.obj.Generation
	var st gwv1.GatewayStatus
	for _, l := range g.own() {
		st.Listeners = append(st.Listeners, l.status())
	}
	accepted, programmed := g.judged()
	st.Conditions = append(st.Conditions, accepted, programmed)
	if t := g.obj.Spec.TLS; t != nil && t.Backend != nil && t.Backend.ClientCertificateRef != nil {
		reason := cmp.Or(g.clientErrReason, gwv1.GatewayReasonResolvedRefs)
		st.Conditions = append(st.Conditions, condition(gwv1.GatewayConditionResolvedRefs, g.clientErr == "", reason, gen, g.clientErr))
	}
	if g.insecureClients {
		st.Conditions = append(st.Conditions, condition(gwv1.GatewayConditionInsecureFrontendValidationMode, true, gwv1.GatewayReasonConfigurationChanged, gen, "client certificates are asked for, but connections without a valid one are let in"))
	}
	if g.obj.Spec.AllowedListeners != nil {
		n := int32(0)
		for _, s := range g.sets {
			if s.accepted() {
				n++
			}
		}
		st.AttachedListenerSets = &n
	}
	switch {
	case g.refused != "":
	case g.placed != nil:
		st.Addresses = g.placed.Addresses
	default:
		typ := gwv1.IPAddressType
		for _, a := range g.addresses {
			st.Addresses = append(st.Addresses, gwv1.GatewayStatusAddress{Type: &typ, Value: a})
		}
	}
	return st
}
