package compile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// gateway is a Gateway that we serve, and what we found out about it.
type gateway struct {
	key
	obj       *gwv1.Gateway
	addresses []string
	listeners []*listener
	// refused says why the Gateway as a whole is not served; refusedAs is its
	// condition.
	refused   string
	refusedAs metav1.Condition
	// client is presented to TLS backends; clientErr says why it cannot be,
	// and then no TLS backend may be asked through this Gateway.
	client          *ir.KeyPair
	clientErr       string
	clientErrReason gwv1.GatewayConditionReason
	insecureClients bool
	policy          *policy
}

func (g *gateway) ref() gwv1.ParentReference {
	return parentRef(kindGateway, g.key, "")
}

// parentRef makes the reference that statuses carry.
func parentRef(kind string, k key, section string) gwv1.ParentReference {
	group, knd, ns := gwv1.Group(gatewayGroup), gwv1.Kind(kind), gwv1.Namespace(k.namespace)
	switch kind {
	case kindService:
		group = ""
	case "SecurityPolicy":
		group = v1alpha1.GroupName
	}
	r := gwv1.ParentReference{Group: &group, Kind: &knd, Namespace: &ns, Name: gwv1.ObjectName(k.name)}
	if section != "" {
		s := gwv1.SectionName(section)
		r.SectionName = &s
	}
	return r
}

// buildGateways finds our Gateways and judges their listeners.
func (c *compiler) buildGateways() {
	for _, class := range c.ix.GatewayClasses {
		if string(class.Spec.ControllerName) != c.opt.ControllerName {
			continue
		}
		c.rep.Classes = append(c.rep.Classes, ClassStatus{class.Name, []metav1.Condition{
			condition(gwv1.GatewayClassConditionStatusAccepted, true, gwv1.GatewayClassReasonAccepted, class.Generation, ""),
		}})
	}
	for _, obj := range c.ix.Gateways {
		if !c.ours(obj) {
			continue
		}
		g := &gateway{key: keyOf(obj), obj: obj}
		g.judge(c.opt.DefaultAddresses)
		c.clientCertificate(g)
		for i := range obj.Spec.Listeners {
			g.listeners = append(g.listeners, c.newListener(g, &obj.Spec.Listeners[i]))
		}
		g.conflicts()
		c.gateways = append(c.gateways, g)
		c.byName[g.key] = g
	}
	c.sharedPorts()
}

// ours reports whether the Gateway's class names our controller. In files the
// class may be left out: DefaultClass is then ours.
func (c *compiler) ours(g *gwv1.Gateway) bool {
	name := string(g.Spec.GatewayClassName)
	if class, ok := c.ix.classes[name]; ok {
		return string(class.Spec.ControllerName) == c.opt.ControllerName
	}
	return name == DefaultClass
}

// judge fills in addresses, or says why the Gateway is not served.
func (g *gateway) judge(defaults []string) {
	spec := &g.obj.Spec
	if spec.Infrastructure != nil && spec.Infrastructure.ParametersRef != nil {
		g.refuse(gwv1.GatewayConditionAccepted, gwv1.GatewayReasonInvalidParameters, "spec.infrastructure.parametersRef is not supported")
		return
	}
	values := make([]string, 0, len(spec.Addresses))
	for _, a := range spec.Addresses {
		if t := or(a.Type, string(gwv1.IPAddressType)); t != string(gwv1.IPAddressType) {
			g.refuse(gwv1.GatewayConditionAccepted, gwv1.GatewayReasonUnsupportedAddress, fmt.Sprintf("an address of type %s is not supported, only IPAddress", t))
			return
		}
		if a.Value == "" {
			values = append(values, defaults...)
			continue
		}
		values = append(values, a.Value)
	}
	if len(spec.Addresses) == 0 {
		values = defaults
	}
	for _, v := range values {
		ip, err := netip.ParseAddr(v)
		if err != nil || ip.Zone() != "" {
			g.refuse(gwv1.GatewayConditionProgrammed, gwv1.GatewayReasonAddressNotUsable, fmt.Sprintf("%q is no IP address", v))
			return
		}
		g.addresses = append(g.addresses, ip.Unmap().String())
	}
	slices.Sort(g.addresses)
	g.addresses = slices.Compact(g.addresses)
}

func (g *gateway) refuse(typ gwv1.GatewayConditionType, reason gwv1.GatewayConditionReason, why string) {
	g.refused = why
	g.refusedAs = condition(typ, false, reason, g.obj.Generation, why)
}

// clientCertificate reads what the Gateway presents to TLS backends.
func (c *compiler) clientCertificate(g *gateway) {
	t := g.obj.Spec.TLS
	if t == nil || t.Backend == nil || t.Backend.ClientCertificateRef == nil {
		return
	}
	pair, reason, err := c.secretRef(g, *t.Backend.ClientCertificateRef)
	if err != nil {
		g.clientErr = err.Error()
		g.clientErrReason = gwv1.GatewayReasonInvalidClientCertificateRef
		if reason == gwv1.ListenerReasonRefNotPermitted {
			g.clientErrReason = gwv1.GatewayReasonRefNotPermitted
		}
		return
	}
	g.client = &pair
}

// secretRef reads the certificate pair that a Gateway refers to.
func (c *compiler) secretRef(g *gateway, ref gwv1.SecretObjectReference) (ir.KeyPair, gwv1.ListenerConditionReason, error) {
	if ref.Group != nil && *ref.Group != "" || or(ref.Kind, kindSecret) != kindSecret {
		return ir.KeyPair{}, gwv1.ListenerReasonInvalidCertificateRef, fmt.Errorf("a certificate reference must name a Secret, not %s", or(ref.Kind, kindSecret))
	}
	k := key{or(ref.Namespace, g.namespace), string(ref.Name)}
	if !c.ix.permitted(kindGateway, g.namespace, kindSecret, k) {
		return ir.KeyPair{}, gwv1.ListenerReasonRefNotPermitted, fmt.Errorf("no ReferenceGrant of namespace %s lets Gateways of %s use Secret %s", k.namespace, g.namespace, k)
	}
	pair, err := c.ix.keyPair(k)
	if err != nil {
		return ir.KeyPair{}, gwv1.ListenerReasonInvalidCertificateRef, err
	}
	return pair, "", nil
}

// conflicts marks the listeners of one Gateway that cannot be told apart. None
// of them is served: which one was meant is not known.
func (g *gateway) conflicts() {
	names := map[gwv1.SectionName]int{}
	for _, l := range g.listeners {
		names[l.spec.Name]++
	}
	for _, l := range g.listeners {
		if names[l.spec.Name] > 1 {
			l.conflict(gwv1.ListenerReasonHostnameConflict, fmt.Sprintf("several listeners are named %q", l.spec.Name))
		}
	}
	byPort := map[gwv1.PortNumber][]*listener{}
	for _, l := range g.listeners {
		if l.supported() {
			byPort[l.spec.Port] = append(byPort[l.spec.Port], l)
		}
	}
	for _, same := range byPort {
		for i, a := range same {
			for _, b := range same[i+1:] {
				switch {
				case a.spec.Protocol != b.spec.Protocol:
					why := "port %d is also wanted for protocol %s by listener %q"
					a.conflict(gwv1.ListenerReasonProtocolConflict, fmt.Sprintf(why, a.spec.Port, b.spec.Protocol, b.spec.Name))
					b.conflict(gwv1.ListenerReasonProtocolConflict, fmt.Sprintf(why, a.spec.Port, a.spec.Protocol, a.spec.Name))
				case a.hostname == b.hostname:
					why := "port %d and hostname %q are also wanted by listener %q"
					a.conflict(gwv1.ListenerReasonHostnameConflict, fmt.Sprintf(why, a.spec.Port, a.hostname, b.spec.Name))
					b.conflict(gwv1.ListenerReasonHostnameConflict, fmt.Sprintf(why, a.spec.Port, a.hostname, a.spec.Name))
				}
			}
		}
	}
}

// sharedPorts settles what several Gateways want of the same address and port:
// the older Gateway keeps it. Gateways of one namespace may share a port by
// hostname; one of another namespace may not, since a more specific hostname
// would take the first one's traffic.
func (c *compiler) sharedPorts() {
	byAge := slices.Clone(c.gateways)
	slices.SortFunc(byAge, func(a, b *gateway) int {
		return older(a.obj.CreationTimestamp.Time, b.obj.CreationTimestamp.Time, a.key, b.key)
	})
	taken := map[gwv1.PortNumber][]*listener{}
	for _, g := range byAge {
		for _, l := range g.listeners {
			if !l.served() {
				continue
			}
			for _, first := range taken[l.spec.Port] {
				if l.clash(first) {
					break
				}
			}
		}
		for _, l := range g.listeners {
			if l.served() {
				taken[l.spec.Port] = append(taken[l.spec.Port], l)
			}
		}
	}
}

// clash refuses l where the older Gateway's listener first stands in its way.
func (l *listener) clash(first *listener) bool {
	if !overlap(l.gw.addresses, first.gw.addresses) {
		return false
	}
	switch {
	case l.gw.namespace != first.gw.namespace:
		l.refuseAs(gwv1.ListenerReasonPortUnavailable, fmt.Sprintf("port %d belongs to listener %s of another namespace on the same address; give the Gateway its own spec.addresses", l.spec.Port, first.name))
	case l.spec.Protocol != first.spec.Protocol:
		l.conflict(gwv1.ListenerReasonProtocolConflict, fmt.Sprintf("port %d serves protocol %s for listener %s", l.spec.Port, first.spec.Protocol, first.name))
	case l.hostname == first.hostname:
		l.conflict(gwv1.ListenerReasonHostnameConflict, fmt.Sprintf("port %d and hostname %q belong to listener %s", l.spec.Port, l.hostname, first.name))
	default:
		return false
	}
	return true
}

// overlap reports whether two sets of addresses cannot be bound side by side.
func overlap(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y || wild(x, y) || wild(y, x) {
				return true
			}
		}
	}
	return false
}

// wild reports whether binding x takes y too. "::" takes IPv4 as well.
func wild(x, y string) bool {
	return x == "::" || x == "0.0.0.0" && !strings.Contains(y, ":")
}

// reportGateways writes the status of each Gateway and listener.
func (c *compiler) reportGateways() {
	for _, g := range c.gateways {
		c.rep.Gateways = append(c.rep.Gateways, GatewayStatus{g.namespace, g.name, g.status()})
	}
}

func (g *gateway) status() gwv1.GatewayStatus {
	gen := g.obj.Generation
	var st gwv1.GatewayStatus
	accepted := condition(gwv1.GatewayConditionAccepted, true, gwv1.GatewayReasonAccepted, gen, "")
	programmed := condition(gwv1.GatewayConditionProgrammed, true, gwv1.GatewayReasonProgrammed, gen, "")
	good, programmable := 0, 0
	for _, l := range g.listeners {
		st.Listeners = append(st.Listeners, l.status())
		if l.served() {
			good++
		}
		if l.served() && l.refusal == nil {
			programmable++
		}
	}
	switch {
	case g.refused != "":
		programmed = condition(gwv1.GatewayConditionProgrammed, false, gwv1.GatewayReasonInvalid, gen, g.refused)
		if g.refusedAs.Type == accepted.Type {
			accepted = g.refusedAs
		} else {
			programmed = g.refusedAs
		}
	case good == 0:
		accepted = condition(gwv1.GatewayConditionAccepted, false, gwv1.GatewayReasonListenersNotValid, gen, "no listener is valid")
		programmed = condition(gwv1.GatewayConditionProgrammed, false, gwv1.GatewayReasonInvalid, gen, "no listener is valid")
	case good < len(g.listeners):
		accepted = condition(gwv1.GatewayConditionAccepted, true, gwv1.GatewayReasonListenersNotValid, gen, "some listeners are not valid")
	}
	if g.refused == "" && good > 0 && programmable == 0 {
		programmed = condition(gwv1.GatewayConditionProgrammed, false, gwv1.GatewayReasonInvalid, gen, "no listener can be served")
	}
	st.Conditions = append(st.Conditions, accepted, programmed)
	if t := g.obj.Spec.TLS; t != nil && t.Backend != nil && t.Backend.ClientCertificateRef != nil {
		reason := cmp.Or(g.clientErrReason, gwv1.GatewayReasonResolvedRefs)
		st.Conditions = append(st.Conditions, condition(gwv1.GatewayConditionResolvedRefs, g.clientErr == "", reason, gen, g.clientErr))
	}
	if g.insecureClients {
		st.Conditions = append(st.Conditions, condition(gwv1.GatewayConditionInsecureFrontendValidationMode, true, gwv1.GatewayReasonConfigurationChanged, gen, "client certificates are asked for, but connections without a valid one are let in"))
	}
	if g.refused == "" {
		typ := gwv1.IPAddressType
		for _, a := range g.addresses {
			st.Addresses = append(st.Addresses, gwv1.GatewayStatusAddress{Type: &typ, Value: a})
		}
	}
	return st
}
