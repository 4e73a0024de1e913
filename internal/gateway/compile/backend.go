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

// backendSet collects the table's backends, each once.
type backendSet struct {
	list     []ir.Backend
	services []*service // of list
	places   []int      // of list in the table, once it is sorted
	index    map[string]int
	// addresses remembers the endpoints of each Service port.
	addresses map[servicePort][]string
}

func newBackendSet() backendSet {
	return backendSet{index: map[string]int{}, addresses: map[servicePort][]string{}}
}

// backend gives the place of a service as a listener speaks to it. The name is
// that of the Service port, with what sets it apart behind it. Streams that are
// still encrypted go on as they are, whatever a BackendTLSPolicy says.
func (c *compiler) backend(s *service, on *listener) int {
	g := on.gw
	name := s.String()
	switch {
	case s.protocol == ir.ProtocolTCP:
		name += "/tcp"
	case s.protocol == ir.ProtocolHTTP2 && s.port.AppProtocol == nil:
		name += " h2"
	}
	var policy *backendPolicy
	if !on.passthrough {
		var by servicePort
		if policy, by = c.tls.find(s); policy != nil {
			c.tls.reach(by, g)
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
	if i, ok := c.backends.index[name]; ok {
		return i
	}
	b := ir.Backend{Name: name, Protocol: s.protocol, Endpoints: c.endpoints(s)}
	if policy != nil {
		b.TLS, b.Refuse = policy.backend(g)
	}
	if refusal != nil {
		b.Refuse = refusal
	}
	i := len(c.backends.list)
	c.backends.list = append(c.backends.list, b)
	c.backends.services = append(c.backends.services, s)
	c.backends.index[name] = i
	return i
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

// endpoints gives the ready addresses of a Service port, sorted. Ports of one
// Service with the same name, or without, have the same ones.
func (c *compiler) endpoints(s *service) []string {
	at := servicePort{s.key, s.port.Name}
	if known, ok := c.backends.addresses[at]; ok {
		return known
	}
	list := c.ix.endpoints[s.key]
	var e *portEndpoints
	if c.memo != nil {
		if known, ok := c.memo.endpoints.get(at); ok && slices.Equal(known.slices, list) {
			e = known
		}
	}
	if e == nil {
		e = readEndpoints(list, s.port.Name)
	}
	if c.memo != nil {
		c.memo.endpoints.put(at, e)
	}
	c.rep.Warnings = append(c.rep.Warnings, e.warnings...)
	c.backends.addresses[at] = e.out
	return e.out
}

// readEndpoints gives the ready addresses of a named port.
func readEndpoints(list []*discoveryv1.EndpointSlice, port string) *portEndpoints {
	e := &portEndpoints{slices: list}
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
