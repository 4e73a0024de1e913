package compile

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// service is one port of a Service as a route of one kind speaks to it.
type service struct {
	key
	port     *corev1.ServicePort
	protocol ir.Protocol
	// secure says that the Service itself asks for TLS.
	secure bool
}

// String gives "namespace/service:port".
func (s *service) String() string {
	return s.namespace + "/" + s.name + ":" + strconv.Itoa(int(s.port.Port))
}

// backendRef is one weighted choice before its backend has its place in the
// table. Without a service it answers refusal.
type backendRef struct {
	to                *service
	weight            int32
	refusal           *ir.Refusal
	request, response *ir.HeaderEdit
}

// resolveBackends finds the rule's backends. The share of one that does not
// resolve answers 500, as Gateway API demands.
func (c *compiler) resolveBackends(r *route, u *rule) {
	total := int32(0)
	for _, ref := range u.httpRefs {
		b := backendRef{weight: 1}
		if ref.Weight != nil {
			b.weight = *ref.Weight
		}
		if b.weight < 0 || b.weight > 1_000_000 {
			u.refuse(gwv1.RouteReasonUnsupportedValue, "backend %s: weight %d is not between 0 and 1000000", ref.Name, b.weight)
			continue
		}
		total += min(b.weight, 1)
		for _, f := range ref.Filters {
			var err error
			switch f.Type { //nolint:exhaustive // all others are refused
			case gwv1.HTTPRouteFilterRequestHeaderModifier:
				b.request, err = headerEdit(f.RequestHeaderModifier)
			case gwv1.HTTPRouteFilterResponseHeaderModifier:
				b.response, err = headerEdit(f.ResponseHeaderModifier)
			default:
				err = errNotSupported
			}
			if err != nil {
				u.refuse(gwv1.RouteReasonUnsupportedValue, "backend %s: filter %s: %s", ref.Name, f.Type, err)
			}
		}
		svc, p := c.service(r, ref.BackendObjectReference)
		if p.any() {
			r.unresolve(p)
			b.refusal = &ir.Refusal{Status: statusUnsupported, Reason: p.why}
		}
		b.to = svc
		u.backends = append(u.backends, b)
	}
	if u.base.Redirect != nil {
		return
	}
	why := ""
	switch {
	case len(u.httpRefs) == 0:
		why = "the rule names no backend"
	case total == 0:
		why = "all backends of the rule have weight 0"
	}
	if why != "" {
		u.backends = append(u.backends, backendRef{weight: 1, refusal: &ir.Refusal{Status: statusUnsupported, Reason: why}})
	}
}

// service resolves a reference to a port of a Service.
func (c *compiler) service(r *route, ref gwv1.BackendObjectReference) (*service, problem) {
	if ref.Group != nil && *ref.Group != "" || or(ref.Kind, kindService) != kindService {
		return nil, problemOf(gwv1.RouteReasonInvalidKind, "backend %s is of kind %s, only Service is supported", ref.Name, or(ref.Kind, kindService))
	}
	k := key{or(ref.Namespace, r.namespace), string(ref.Name)}
	if err := c.ix.permit(r.kind, r.namespace, kindService, k); err != nil {
		return nil, problemOf(gwv1.RouteReasonRefNotPermitted, "%s", err)
	}
	svc, err := c.ix.service(k)
	if err != nil {
		return nil, problemOf(gwv1.RouteReasonBackendNotFound, "%s", err)
	}
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
		// Its name could point at anything, past every namespace's guard.
		return nil, problemOf(gwv1.RouteReasonInvalidKind, "Service %s is of type ExternalName, which is not supported", k)
	}
	if ref.Port == nil {
		return nil, problemOf(gwv1.RouteReasonBackendNotFound, "Service %s: the reference names no port", k)
	}
	i := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool {
		return p.Port == *ref.Port && (p.Protocol == "" || p.Protocol == corev1.ProtocolTCP)
	})
	if i < 0 {
		return nil, problemOf(gwv1.RouteReasonBackendNotFound, "Service %s has no TCP port %d", k, *ref.Port)
	}
	s := &service{key: k, port: &svc.Spec.Ports[i]}
	p := s.speak(r.kind)
	if !p.any() && r.kind != kindTLSRoute && s.secure && !c.tls.covers(s) {
		p = problemOf(gwv1.RouteReasonUnsupportedProtocol, "Service %s speaks %s, but no BackendTLSPolicy says how to verify it%s", s, *s.port.AppProtocol, c.ix.hint(kindBackendTLSPolicy))
	}
	if p.any() {
		return nil, p
	}
	return s, problem{}
}

// speak settles the protocol from the port's appProtocol and the kind of route.
func (s *service) speak(kind string) problem {
	app := ""
	if s.port.AppProtocol != nil {
		app = strings.ToLower(*s.port.AppProtocol)
	}
	if kind == kindTLSRoute {
		s.protocol = ir.ProtocolTCP
		s.secure = slices.Contains([]string{"https", "wss", "kubernetes.io/wss"}, app)
		return problem{}
	}
	grpc := kind == kindGRPCRoute
	switch app {
	case "":
		if grpc {
			s.protocol = ir.ProtocolHTTP2
		}
		return problem{}
	case "kubernetes.io/h2c", "h2c", "http2", "grpc":
		s.protocol = ir.ProtocolHTTP2
		return problem{}
	case "kubernetes.io/ws", "ws", "http":
	case "https", "kubernetes.io/wss", "wss":
		s.secure = true
		if grpc && app == "https" {
			s.protocol = ir.ProtocolHTTP2
			return problem{}
		}
	default:
		return problemOf(gwv1.RouteReasonUnsupportedProtocol, "Service %s has appProtocol %q, which is not supported", s, app)
	}
	if grpc {
		return problemOf(gwv1.RouteReasonUnsupportedProtocol, "Service %s has appProtocol %q, which a GRPCRoute cannot use", s, app)
	}
	return problem{}
}

// backend is a service as listeners speak to it. While the frame and the Service
// stay the same, so does it.
type backend struct {
	*service
	table ir.Backend // without places
	// ends is what table.Endpoints were read from, and sliced index.sliced of
	// then.
	ends   *portEndpoints
	sliced int

	run   int // the last that asked for it
	place int // in the table of that run
	gone  bool
}

// portEndpoints is what the EndpointSlices of a Service port came to.
type portEndpoints struct {
	port     string // its name
	slices   []*discoveryv1.EndpointSlice
	out      []string
	warnings []string
}

// backend gives a service as a listener speaks to it, and the policy that it was
// found by, if any. The name is that of the Service port, with what sets it apart
// behind it. Streams that are still encrypted go on as they are, whatever a
// BackendTLSPolicy says.
func (c *compiler) backend(s *service, on *listener) (*backend, *servicePort) {
	g := on.gw
	name := s.String()
	switch {
	case s.protocol == ir.ProtocolTCP:
		name += "/tcp"
	case s.protocol == ir.ProtocolHTTP2 && s.port.AppProtocol == nil:
		name += " h2"
	}
	var policy *backendPolicy
	var by *servicePort
	if !on.passthrough {
		var at servicePort
		if policy, at = c.tls.find(s); policy != nil {
			by = &at
		}
	}
	if policy != nil {
		if s.protocol == ir.ProtocolTCP {
			name += " tls"
		}
		switch {
		case g.clientErr != "":
			name += " for " + g.String()
		case g.client != nil:
			name += " as " + g.client.Name
		}
	}
	refusal := c.unsure(s, on, policy)
	if refusal != nil {
		name += " refused"
	}
	if b := c.backends[name]; b != nil && b.port == s.port {
		return b, by
	}
	b := &backend{service: s, table: ir.Backend{Name: name, Protocol: s.protocol}}
	if policy != nil {
		b.table.TLS, b.table.Refuse = policy.backend(g)
	}
	if refusal != nil {
		b.table.Refuse = refusal
	}
	if c.memo != nil && c.memo.backends[name] != nil {
		b.ends = c.memo.backends[name].ends
	}
	c.backends[name] = b
	return b, by
}

// ask notes that a rule asks for a backend, and gives it as it is known by.
func (c *compiler) ask(b *backend) *backend {
	if b.gone {
		if known := c.backends[b.table.Name]; known != nil {
			b = known
		} else {
			b.gone, c.backends[b.table.Name] = false, b
		}
	}
	if b.run != c.run {
		b.run = c.run
		c.asked = append(c.asked, b)
		c.readEnds(b)
	}
	return b
}

// readEnds brings the endpoints of a backend up to date: the ready addresses of
// the Service port, sorted. Ports of one Service with the same name, or without,
// have the same ones.
func (c *compiler) readEnds(b *backend) {
	if b.sliced == 0 || b.sliced != c.ix.sliced {
		list := c.ix.endpoints[b.key]
		if b.ends == nil || b.ends.port != b.port.Name || !slices.Equal(b.ends.slices, list) {
			b.ends = readEndpoints(list, b.port.Name)
		}
		b.table.Endpoints, b.sliced = b.ends.out, c.ix.sliced
	}
	c.rep.Warnings = append(c.rep.Warnings, b.ends.warnings...)
}

// unsure refuses a backend of which something that decides could not be read, or
// that would get in the clear what it wants encrypted.
func (c *compiler) unsure(s *service, on *listener, policy *backendPolicy) *ir.Refusal {
	refuse := func(kind, why string) *ir.Refusal {
		return &ir.Refusal{Status: statusBroken, Reason: fmt.Sprintf("Service %s: %ss could not all be read: %s", s, kind, why)}
	}
	if why, ok := c.ix.unreadable(kindBackendTLSPolicy); ok && policy == nil && !on.passthrough {
		return refuse(kindBackendTLSPolicy, why)
	}
	if why := c.tls.misnamed[s.key]; why != "" && policy == nil && !on.passthrough {
		return &ir.Refusal{Status: statusBroken, Reason: why}
	}
	if s.protocol == ir.ProtocolTCP && s.secure && policy == nil && !on.passthrough {
		return &ir.Refusal{Status: statusBroken, Reason: fmt.Sprintf("Service %s speaks %s, but no BackendTLSPolicy says how to verify it", s, *s.port.AppProtocol)}
	}
	if why, ok := c.ix.unreadable(kindEndpointSlice); ok && len(c.ix.endpoints[s.key]) == 0 {
		return refuse(kindEndpointSlice, why)
	}
	return nil
}

// readEndpoints gives the ready addresses of a named port.
func readEndpoints(list []*discoveryv1.EndpointSlice, port string) *portEndpoints {
	e := &portEndpoints{port: port, slices: list}
	warn := func(format string, args ...any) { e.warnings = append(e.warnings, fmt.Sprintf(format, args...)) }
	for _, slice := range list {
		if slice.AddressType == discoveryv1.AddressTypeFQDN {
			warn("EndpointSlice %s: addresses of type FQDN are not used", keyOf(slice))
			continue
		}
		number := slicePort(slice, port)
		if number == 0 {
			continue
		}
		for _, x := range slice.Endpoints {
			if x.Conditions.Ready != nil && !*x.Conditions.Ready {
				continue
			}
			for _, a := range x.Addresses {
				ip, err := netip.ParseAddr(a)
				if err != nil || ip.Zone() != "" {
					warn("EndpointSlice %s: %q is no IP address", keyOf(slice), a)
					continue
				}
				e.out = append(e.out, netip.AddrPortFrom(ip.Unmap(), number).String())
			}
		}
	}
	slices.Sort(e.out)
	e.out = slices.Compact(e.out)
	return e
}

// slicePort gives the port that stands for a Service's port of that name, or 0.
func slicePort(slice *discoveryv1.EndpointSlice, name string) uint16 {
	for _, p := range slice.Ports {
		named := ""
		if p.Name != nil {
			named = *p.Name
		}
		tcp := p.Protocol == nil || *p.Protocol == corev1.ProtocolTCP
		if named == name && tcp && p.Port != nil && *p.Port > 0 && *p.Port <= 65535 {
			return uint16(*p.Port)
		}
	}
	return 0
}
