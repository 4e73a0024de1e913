package provision

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/cluster"
)

// maxAddresses is what a Gateway's status holds.
const maxAddresses = 16

// Placement is where a Gateway is reached, and where a data plane binds for it.
// It is field by field the gateway compiler's own type, so that one converts to
// the other.
type Placement struct {
	// Addresses go into the Gateway's status: only those that are assigned.
	Addresses []gwv1.GatewayStatusAddress
	// Pending says why there is no address yet.
	Pending string
	// Unusable says why an address that the Gateway asks for cannot be had.
	Unusable string
	// Bind is the address to bind, and Ports the port to bind for each port of
	// the Gateway. A port that is missing is not allocated yet.
	Bind  string
	Ports map[int32]uint16
}

// Place places one Gateway. For many of them Placer is faster.
func Place(snap *cluster.Snapshot, cfg Config, gw *gwv1.Gateway) Placement {
	return Placer(snap, cfg)(gw)
}

// Placer gives a function that places the Gateways of snap, from what the
// Snapshot says about their Services and the ConfigMap of ports. The function is
// pure, and safe for use by several goroutines. A cfg without DataPlaneService is
// a data plane's, which is not told of Gateways' Services and needs to know where
// to bind only: nothing is said about addresses then.
func Placer(snap *cluster.Snapshot, cfg Config) func(*gwv1.Gateway) Placement {
	cfg.ServiceType = cmp.Or(cfg.ServiceType, corev1.ServiceTypeLoadBalancer)
	table := readPorts(portsOf(snap, cfg))
	byGateway := map[owner]map[int32]uint16{}
	for o, target := range table.ports {
		if !table.holdings[target].freed.IsZero() {
			continue
		}
		g := owner{o.namespace, o.name, 0}
		if byGateway[g] == nil {
			byGateway[g] = map[int32]uint16{}
		}
		byGateway[g][o.port] = target
	}
	services := make(map[key]*corev1.Service, len(snap.Services))
	for _, s := range snap.Services {
		services[keyOf(s)] = s
	}
	bind := "0.0.0.0"
	if slices.Contains(cfg.IPFamilies, corev1.IPv6Protocol) {
		bind = "::"
	}
	return func(gw *gwv1.Gateway) Placement {
		p := Placement{Bind: bind, Ports: byGateway[owner{gw.Namespace, gw.Name, 0}]}
		var pending, unusable []string
		if table.damage != "" && slices.ContainsFunc(gw.Spec.Listeners, func(l gwv1.Listener) bool { return p.Ports[l.Port] == 0 }) {
			pending = append(pending, table.damage)
		}
		list := slots(gw)
		if cfg.DataPlaneService == "" {
			list = nil
		}
		for _, s := range list {
			svc := services[key{gw.Namespace, s.service}]
			got, why := address(cfg, gw, s, svc)
			p.Addresses = append(p.Addresses, got...)
			switch {
			case why == "":
			case s.address.IsValid() && (svc != nil || cfg.ServiceType != corev1.ServiceTypeLoadBalancer):
				unusable = append(unusable, why)
			default:
				pending = append(pending, why)
			}
		}
		p.Addresses = unique(p.Addresses)
		p.Pending, p.Unusable = strings.Join(pending, "; "), strings.Join(unusable, "; ")
		return p
	}
}

// portsOf finds the ConfigMap of ports, nil if there is none.
func portsOf(snap *cluster.Snapshot, cfg Config) *corev1.ConfigMap {
	for _, cm := range snap.ConfigMaps {
		if cm.Namespace == cfg.Namespace && cm.Name == PortsName {
			return cm
		}
	}
	return nil
}

// address gives the addresses of one Service of a Gateway, or why there is none.
func address(cfg Config, gw *gwv1.Gateway, s slot, svc *corev1.Service) ([]gwv1.GatewayStatusAddress, string) {
	name := "Service " + gw.Namespace + "/" + s.service
	if s.address.IsValid() && cfg.ServiceType != corev1.ServiceTypeLoadBalancer {
		return nil, fmt.Sprintf("address %s cannot be asked for: Gateways get Services of type %s here", s.address, cfg.ServiceType)
	}
	switch {
	case svc == nil:
		return nil, name + " is not there yet"
	case !cfg.owned(svc, labelManagedBy, gw):
		return nil, name + " exists and was not made for this Gateway: delete or rename it"
	case svc.Spec.Type != cfg.ServiceType:
		return nil, fmt.Sprintf("%s is of type %s, not %s", name, svc.Spec.Type, cfg.ServiceType)
	}
	if cfg.ServiceType != corev1.ServiceTypeLoadBalancer {
		var out []gwv1.GatewayStatusAddress
		for _, ip := range append([]string{svc.Spec.ClusterIP}, svc.Spec.ClusterIPs...) {
			if ip != "" && ip != corev1.ClusterIPNone {
				out = append(out, ipAddress(ip))
			}
		}
		if len(out) == 0 {
			return nil, name + " has no cluster IP"
		}
		return out, ""
	}
	var out []gwv1.GatewayStatusAddress
	var others []string
	for _, in := range svc.Status.LoadBalancer.Ingress {
		switch {
		case in.IP != "" && s.address.IsValid() && !same(in.IP, s.address):
			others = append(others, in.IP)
		case in.IP != "":
			out = append(out, ipAddress(in.IP))
		case in.Hostname != "" && s.address.IsValid():
			others = append(others, in.Hostname)
		case in.Hostname != "":
			out = append(out, gwv1.GatewayStatusAddress{Type: new(gwv1.HostnameAddressType), Value: in.Hostname})
		}
	}
	switch {
	case len(out) > 0:
		return out, ""
	case len(others) > 0:
		return nil, fmt.Sprintf("address %s is not assigned: the load balancer of %s gave %s", s.address, name, strings.Join(others, ", "))
	case s.address.IsValid():
		return nil, fmt.Sprintf("address %s is not assigned by the load balancer of %s", s.address, name)
	}
	return nil, "the load balancer has not given an address to " + name
}

func ipAddress(ip string) gwv1.GatewayStatusAddress {
	return gwv1.GatewayStatusAddress{Type: new(gwv1.IPAddressType), Value: ip}
}

func same(s string, ip netip.Addr) bool {
	other, err := netip.ParseAddr(s)
	return err == nil && other.Unmap() == ip.Unmap()
}

// unique gives each address once, and no more than a status holds.
func unique(list []gwv1.GatewayStatusAddress) []gwv1.GatewayStatusAddress {
	var out []gwv1.GatewayStatusAddress
	for _, a := range list {
		if !slices.ContainsFunc(out, func(b gwv1.GatewayStatusAddress) bool { return a.Value == b.Value && *a.Type == *b.Type }) {
			out = append(out, a)
		}
	}
	return out[:min(len(out), maxAddresses)]
}
