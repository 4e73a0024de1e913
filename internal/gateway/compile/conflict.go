package compile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// encrypted reports whether the listener's first bytes are those of TLS, so that
// the server name tells it from others.
func (l *listener) encrypted() bool {
	return l.spec.Protocol == gwv1.HTTPSProtocolType || l.spec.Protocol == gwv1.TLSProtocolType
}

// indistinct gives why no connection could be told to be one of two listeners'
// of the same port, or "". HTTPS and TLS differ by server name like two of a
// kind.
func indistinct(a, b *listener) gwv1.ListenerConditionReason {
	switch {
	case a.encrypted() != b.encrypted():
		return gwv1.ListenerReasonProtocolConflict
	case a.hostname != b.hostname:
		return ""
	case a.spec.Protocol != b.spec.Protocol:
		return gwv1.ListenerReasonProtocolConflict
	}
	return gwv1.ListenerReasonHostnameConflict
}

// conflicts marks the listeners of one object that cannot be told apart. None of
// them is served: which one was meant is not known.
func conflicts(listeners []*listener) {
	names := map[gwv1.SectionName]int{}
	for _, l := range listeners {
		names[l.spec.Name]++
	}
	for _, l := range listeners {
		if names[l.spec.Name] > 1 {
			l.conflict(gwv1.ListenerReasonHostnameConflict, fmt.Sprintf("several listeners are named %q", l.spec.Name))
		}
	}
	for i, a := range listeners {
		for _, b := range listeners[i+1:] {
			if a.spec.Port != b.spec.Port || !a.supported() || !b.supported() {
				continue
			}
			if reason := indistinct(a, b); reason != "" {
				a.conflict(reason, a.wanted(b, reason))
				b.conflict(reason, b.wanted(a, reason))
			}
		}
	}
}

// wanted says what of l the other listener wants too.
func (l *listener) wanted(by *listener, reason gwv1.ListenerConditionReason) string {
	if reason == gwv1.ListenerReasonProtocolConflict {
		return fmt.Sprintf("port %d is also wanted for protocol %s by listener %q", l.spec.Port, by.spec.Protocol, by.spec.Name)
	}
	return fmt.Sprintf("port %d and hostname %q are also wanted by listener %q", l.spec.Port, l.hostname, by.spec.Name)
}

// yield marks the listeners of a ListenerSet that cannot be told from those that
// come first: the Gateway's own, then those of older sets. What the others are
// is not said; they may belong to someone else.
func yield(listeners, first []*listener) {
	for _, l := range listeners {
		if l.conflicted.any() {
			continue
		}
		for _, f := range first {
			if l.spec.Port != f.spec.Port || !f.supported() || f.set != nil && f.conflicted.any() {
				continue
			}
			if !l.supported() && l.spec.Protocol != gwv1.UDPProtocolType {
				l.conflict(gwv1.ListenerReasonProtocolConflict, fmt.Sprintf("port %d is taken for another protocol", l.spec.Port))
				break
			}
			reason := indistinct(l, f)
			if reason == "" || !l.supported() {
				continue
			}
			why := fmt.Sprintf("port %d is taken for another protocol", l.spec.Port)
			if reason == gwv1.ListenerReasonHostnameConflict {
				why = fmt.Sprintf("port %d and hostname %q are taken", l.spec.Port, l.hostname)
			}
			l.conflict(reason, why)
			break
		}
	}
}

// overlaps marks the listeners of protocol HTTPS that a client may reach by a
// connection made to another one's hostname, because one hostname covers the
// other. They are served; such requests are answered 421.
func overlaps(listeners []*listener) {
	byPort := map[gwv1.PortNumber][]*listener{}
	for _, l := range listeners {
		if l.spec.Protocol == gwv1.HTTPSProtocolType && l.valid() {
			byPort[l.spec.Port] = append(byPort[l.spec.Port], l)
		}
	}
	for _, same := range byPort {
		for i, a := range same {
			for _, b := range same[i+1:] {
				if _, ok := intersect(a.hostname, b.hostname); ok {
					a.overlaps, b.overlaps = true, true
				}
			}
		}
	}
}

// sharedPorts settles what several Gateways want of the same address and port:
// the older Gateway keeps it. Gateways of one namespace may share a port by
// hostname; one of another namespace may not, since a more specific hostname
// would take the first one's traffic. Gateways that were placed share nothing.
func (c *compiler) sharedPorts() {
	byAge := slices.Clone(c.gateways)
	slices.SortFunc(byAge, func(a, b *gateway) int {
		return older(a.obj.CreationTimestamp.Time, b.obj.CreationTimestamp.Time, a.key, b.key)
	})
	taken := map[uint16][]*listener{}
	for _, g := range byAge {
		for _, l := range g.listeners {
			if !l.served() {
				continue
			}
			for _, first := range taken[l.bindPort()] {
				if l.clash(first) {
					break
				}
			}
			if g.placed != nil && l.served() {
				// Of one Gateway too: two of its ports may have been given the same.
				taken[l.bindPort()] = append(taken[l.bindPort()], l)
			}
		}
		if g.placed != nil {
			continue
		}
		for _, l := range g.listeners {
			if l.served() {
				taken[l.bindPort()] = append(taken[l.bindPort()], l)
			}
		}
	}
}

// clash refuses l where the listener first, which comes before it, stands in its
// way.
func (l *listener) clash(first *listener) bool {
	if !overlap(l.gw.addresses, first.gw.addresses) {
		return false
	}
	if l.gw.placed != nil {
		if l.gw == first.gw && l.spec.Port == first.spec.Port {
			return false
		}
		l.unplaced = problemOf(gwv1.ListenerReasonPortUnavailable, "port %d was placed where listener %s is bound", l.spec.Port, first.name)
		return true
	}
	reason := indistinct(l, first)
	switch {
	case l.gw.namespace != first.gw.namespace:
		l.refuseAs(gwv1.ListenerReasonPortUnavailable, fmt.Sprintf("port %d belongs to listener %s of another namespace on the same address; give the Gateway its own spec.addresses", l.spec.Port, first.name))
	case reason == gwv1.ListenerReasonProtocolConflict:
		l.conflict(reason, fmt.Sprintf("port %d serves protocol %s for listener %s", l.spec.Port, first.spec.Protocol, first.name))
	case reason != "":
		l.conflict(reason, fmt.Sprintf("port %d and hostname %q belong to listener %s", l.spec.Port, l.hostname, first.name))
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

// precedence orders ListenerSets: the older first, then by name.
func precedence(a, b *listenerSet) int {
	return cmp.Or(older(a.obj.CreationTimestamp.Time, b.obj.CreationTimestamp.Time, a.key, b.key))
}
