package compile

import (
	"fmt"
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// gateway is a Gateway that we serve, and what we found out about it.
type gateway struct {
	key
	obj *gwv1.Gateway
	// addresses are to bind, placed is where the Gateway was placed if it does
	// not bind its own.
	addresses []string
	placed    *Placement
	listeners []*listener // its own, then those of sets
	sets      []*listenerSet
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
	misnamed        string // a policy that names a listener which is not there
}

func (g *gateway) ref() gwv1.ParentReference {
	return parentRef(kindGateway, g.key, "")
}

// own gives the listeners that stand in the Gateway itself.
func (g *gateway) own() []*listener {
	i := slices.IndexFunc(g.listeners, func(l *listener) bool { return l.set != nil })
	if i < 0 {
		return g.listeners
	}
	return g.listeners[:i]
}

// parentRef makes the reference that statuses carry.
func parentRef(kind string, k key, section string) gwv1.ParentReference {
	group, knd, ns := gwv1.Group(gatewayGroup), gwv1.Kind(kind), gwv1.Namespace(k.namespace)
	switch kind {
	case kindService:
		group = ""
	case kindSecurityPolicy:
		group = v1alpha1.GroupName
	}
	r := gwv1.ParentReference{Group: &group, Kind: &knd, Namespace: &ns, Name: gwv1.ObjectName(k.name)}
	if section != "" {
		s := gwv1.SectionName(section)
		r.SectionName = &s
	}
	return r
}

// buildGateways finds our Gateways and judges their listeners, those of
// ListenerSets included.
func (c *compiler) buildGateways() {
	for _, class := range c.ix.GatewayClasses {
		if string(class.Spec.ControllerName) == c.opt.ControllerName {
			c.rep.Classes = append(c.rep.Classes, classStatus(class))
		}
	}
	for _, obj := range c.ix.Gateways {
		if !c.ours(obj) {
			continue
		}
		g := &gateway{key: keyOf(obj), obj: obj}
		g.judge()
		if class := c.ix.classes[string(obj.Spec.GatewayClassName)]; class != nil && class.Spec.ParametersRef != nil {
			g.refuse(gwv1.GatewayConditionAccepted, gwv1.GatewayReasonInvalidParameters, "GatewayClass "+class.Name+" is not accepted: spec.parametersRef is not supported")
		}
		c.bind(g)
		c.clientCertificate(g)
		for i := range obj.Spec.Listeners {
			g.listeners = append(g.listeners, c.newListener(g, nil, &obj.Spec.Listeners[i]))
		}
		conflicts(g.listeners)
		c.gateways = append(c.gateways, g)
		c.byName[g.key] = g
	}
	c.buildListenerSets()
	c.sharedPorts()
	for _, g := range c.gateways {
		overlaps(g.listeners)
	}
}

// classStatus judges a class of ours. Parameters are refused: what they ask for
// would not be done.
func classStatus(class *gwv1.GatewayClass) ClassStatus {
	cond := condition(gwv1.GatewayClassConditionStatusAccepted, true, gwv1.GatewayClassReasonAccepted, class.Generation, "")
	if class.Spec.ParametersRef != nil {
		cond = condition(gwv1.GatewayClassConditionStatusAccepted, false, gwv1.GatewayClassReasonInvalidParameters, class.Generation,
			"spec.parametersRef is not supported")
	}
	return ClassStatus{class.Name, []metav1.Condition{cond}}
}

// ours reports whether the Gateway's class names our controller. In files the
// class may be left out: DefaultClass is then ours.
func (c *compiler) ours(g *gwv1.Gateway) bool {
	name := string(g.Spec.GatewayClassName)
	if class, ok := c.ix.classes[name]; ok {
		return string(class.Spec.ControllerName) == c.opt.ControllerName
	}
	if why, ok := c.ix.unreadable(kindGatewayClass); ok {
		c.rep.warn("Gateway %s is not served: whose class %q is cannot be known, since GatewayClasses could not all be read: %s", keyOf(g), name, why)
		return false
	}
	if name != DefaultClass {
		c.rep.warn("Gateway %s is not served: there is no GatewayClass %q", keyOf(g), name)
	}
	return name == DefaultClass
}

// judge refuses a Gateway that asks for what is not supported.
func (g *gateway) judge() {
	spec := &g.obj.Spec
	if spec.Infrastructure != nil && spec.Infrastructure.ParametersRef != nil {
		g.refuse(gwv1.GatewayConditionAccepted, gwv1.GatewayReasonInvalidParameters, "spec.infrastructure.parametersRef is not supported")
		return
	}
	for _, a := range spec.Addresses {
		if t := or(a.Type, string(gwv1.IPAddressType)); t != string(gwv1.IPAddressType) {
			g.refuse(gwv1.GatewayConditionAccepted, gwv1.GatewayReasonUnsupportedAddress, fmt.Sprintf("an address of type %s is not supported, only IPAddress", t))
			return
		}
	}
	for _, a := range spec.Addresses {
		if a.Value == "" {
			continue
		}
		if _, err := bindable(a.Value); err != nil {
			g.refuse(gwv1.GatewayConditionProgrammed, gwv1.GatewayReasonAddressNotUsable, err.Error())
			return
		}
	}
}

// bindable brings an IP address into its one form.
func bindable(s string) (string, error) {
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Zone() != "" {
		return "", fmt.Errorf("%q is no IP address", s)
	}
	return ip.Unmap().String(), nil
}

// bind fills in the addresses to bind.
func (c *compiler) bind(g *gateway) {
	if g.refused != "" {
		return
	}
	var values []string
	if c.opt.Place != nil {
		p := c.opt.Place(g.obj)
		g.placed = &p
		if p.Bind != "" {
			values = append(values, p.Bind)
		}
	} else {
		values = asked(g.obj.Spec.Addresses, c.opt.DefaultAddresses)
	}
	for _, v := range values {
		ip, err := bindable(v)
		if err != nil {
			g.refuse(gwv1.GatewayConditionProgrammed, gwv1.GatewayReasonAddressNotUsable, err.Error())
			return
		}
		g.addresses = append(g.addresses, ip)
	}
	slices.Sort(g.addresses)
	g.addresses = slices.Compact(g.addresses)
}

// asked gives the addresses that a Gateway asks for; one without value, or none
// at all, stands for the defaults.
func asked(addresses []gwv1.GatewaySpecAddress, defaults []string) []string {
	if len(addresses) == 0 {
		return defaults
	}
	var out []string
	for _, a := range addresses {
		if a.Value == "" {
			out = append(out, defaults...)
			continue
		}
		out = append(out, a.Value)
	}
	return out
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
	pair, reason, err := c.secretRef(kindGateway, g.namespace, *t.Backend.ClientCertificateRef)
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

// secretRef reads the certificate pair that a Gateway or ListenerSet refers to.
func (c *compiler) secretRef(kind, namespace string, ref gwv1.SecretObjectReference) (ir.KeyPair, gwv1.ListenerConditionReason, error) {
	if ref.Group != nil && *ref.Group != "" || or(ref.Kind, kindSecret) != kindSecret {
		return ir.KeyPair{}, gwv1.ListenerReasonInvalidCertificateRef, fmt.Errorf("a certificate reference must name a Secret, not %s", or(ref.Kind, kindSecret))
	}
	k := key{or(ref.Namespace, namespace), string(ref.Name)}
	if err := c.ix.permit(kind, namespace, kindSecret, k); err != nil {
		return ir.KeyPair{}, gwv1.ListenerReasonRefNotPermitted, err
	}
	pair, err := c.ix.keyPair(k)
	if err != nil {
		return ir.KeyPair{}, gwv1.ListenerReasonInvalidCertificateRef, err
	}
	return pair, "", nil
}
