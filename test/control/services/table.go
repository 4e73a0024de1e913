package services

import (
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// front is one address that the proxy listens on.
type front struct {
	proto corev1.Protocol
	addr  netip.AddrPort
}

// key names a Service.
type key struct{ namespace, name string }

// table says where each front leads: computed whole from the objects, never changed.
type table struct {
	fronts map[front][]netip.AddrPort
	names  names
}

// build computes the table. addresses are the load balancer's, by Service;
// nodeIP is where node ports are served; reserved (the DNS Service's address) has
// no fronts.
func build(services []*corev1.Service, slices []*discoveryv1.EndpointSlice, addresses map[key]netip.Addr, nodeIP, reserved netip.Addr) *table {
	byService := map[key][]*discoveryv1.EndpointSlice{}
	for _, s := range slices {
		k := key{s.Namespace, s.Labels[discoveryv1.LabelServiceName]}
		byService[k] = append(byService[k], s)
	}
	t := &table{fronts: map[front][]netip.AddrPort{}, names: names{}}
	for _, s := range services {
		k := key{s.Namespace, s.Name}
		t.names[k] = entryFor(s, byService[k])
		if s.Spec.Type == corev1.ServiceTypeExternalName {
			continue
		}
		var ips []netip.Addr
		if ip, err := netip.ParseAddr(s.Spec.ClusterIP); err == nil && ip != reserved {
			ips = append(ips, ip)
		}
		if ip, ok := addresses[k]; ok {
			ips = append(ips, ip)
		}
		for i := range s.Spec.Ports {
			p := &s.Spec.Ports[i]
			if p.Protocol != corev1.ProtocolTCP && p.Protocol != corev1.ProtocolUDP {
				continue
			}
			backends := backendsOf(byService[k], p)
			if len(backends) == 0 {
				continue // nothing listens: clients are refused, as by a real proxy
			}
			for _, ip := range ips {
				t.fronts[front{p.Protocol, netip.AddrPortFrom(ip, uint16(p.Port))}] = backends
			}
			if p.NodePort > 0 {
				t.fronts[front{p.Protocol, netip.AddrPortFrom(nodeIP, uint16(p.NodePort))}] = backends
			}
		}
	}
	return t
}

// backendsOf gives the ready endpoints of a Service's port, or those that are
// ending but still serve when none is ready (KEP-1669).
func backendsOf(slices []*discoveryv1.EndpointSlice, port *corev1.ServicePort) []netip.AddrPort {
	var ready, ending []netip.AddrPort
	for _, s := range slices {
		for _, p := range s.Ports {
			if p.Port == nil || deref(p.Name) != port.Name || p.Protocol != nil && *p.Protocol != port.Protocol {
				continue
			}
			for i := range s.Endpoints {
				e := &s.Endpoints[i]
				into := &ready
				if c := e.Conditions; c.Ready != nil && !*c.Ready {
					if c.Serving == nil || !*c.Serving || c.Terminating == nil || !*c.Terminating {
						continue
					}
					into = &ending
				}
				// All addresses of one endpoint are the same one; the API keeps the first.
				if len(e.Addresses) == 0 {
					continue
				}
				if ip, err := netip.ParseAddr(e.Addresses[0]); err == nil {
					*into = append(*into, netip.AddrPortFrom(ip, uint16(*p.Port)))
				}
			}
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return ending
}

// entryFor gives what DNS says about a Service.
func entryFor(s *corev1.Service, slices []*discoveryv1.EndpointSlice) entry {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		return entry{alias: s.Spec.ExternalName}
	}
	if ip, err := netip.ParseAddr(s.Spec.ClusterIP); err == nil {
		return entry{addresses: []netip.Addr{ip}, ports: portsOf(s)}
	}
	e := entry{hosts: map[string][]netip.Addr{}, ports: portsOf(s)}
	for _, slice := range slices {
		for i := range slice.Endpoints {
			ep := &slice.Endpoints[i]
			if ep.Conditions.Ready != nil && !*ep.Conditions.Ready && !s.Spec.PublishNotReadyAddresses {
				continue
			}
			for _, a := range ep.Addresses {
				ip, err := netip.ParseAddr(a)
				if err != nil {
					continue
				}
				e.addresses = append(e.addresses, ip)
				if ep.Hostname != nil {
					e.hosts[*ep.Hostname] = append(e.hosts[*ep.Hostname], ip)
				}
			}
		}
	}
	return e
}

// portsOf lists a Service's ports the way SRV names spell them: _https._tcp.
func portsOf(s *corev1.Service) map[string]uint16 {
	out := map[string]uint16{}
	for _, p := range s.Spec.Ports {
		name := p.Name
		if name == "" {
			name = strconv.Itoa(int(p.Port))
		}
		proto := "_tcp"
		if p.Protocol == corev1.ProtocolUDP {
			proto = "_udp"
		}
		out["_"+name+"."+proto] = uint16(p.Port)
	}
	return out
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
