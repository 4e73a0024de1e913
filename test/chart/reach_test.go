package chart

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// end is one side of a connection: a pod, or an address that is none's.
type end struct {
	ns     string
	labels map[string]string
	ip     string
}

// allowed evaluates policies of namespace ns as networking.k8s.io/v1 defines
// them: both sides must agree, and a side that no policy selects agrees.
func allowed(t *testing.T, policies []*networkingv1.NetworkPolicy, from, to end, proto corev1.Protocol, port int32) bool {
	t.Helper()
	egress, ingress := !isolated(t, policies, from), !isolated(t, policies, to)
	for _, p := range policies {
		if picks(t, p, from) {
			for _, r := range p.Spec.Egress {
				egress = egress || ports(r.Ports, proto, port) && peers(t, r.To, to)
			}
		}
		if picks(t, p, to) {
			for _, r := range p.Spec.Ingress {
				ingress = ingress || ports(r.Ports, proto, port) && peers(t, r.From, from)
			}
		}
	}
	return egress && ingress
}

func isolated(t *testing.T, policies []*networkingv1.NetworkPolicy, e end) bool {
	t.Helper()
	return slices.ContainsFunc(policies, func(p *networkingv1.NetworkPolicy) bool { return picks(t, p, e) })
}

func picks(t *testing.T, p *networkingv1.NetworkPolicy, e end) bool {
	t.Helper()
	return e.ip == "" && e.ns == p.Namespace && matches(t, &p.Spec.PodSelector, e.labels)
}

func matches(t *testing.T, s *metav1.LabelSelector, set map[string]string) bool {
	t.Helper()
	match, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return match.Matches(labels.Set(set))
}

// ports reports whether a rule's list, of which an empty one means all, holds
// the port. Names are refused: not every implementation resolves them.
func ports(list []networkingv1.NetworkPolicyPort, proto corev1.Protocol, port int32) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(p networkingv1.NetworkPolicyPort) bool {
		if *p.Protocol != proto || p.Port.Type != intstr.Int {
			return false
		}
		last := p.Port.IntVal
		if p.EndPort != nil {
			last = *p.EndPort
		}
		return port >= p.Port.IntVal && port <= last
	})
}

func peers(t *testing.T, list []networkingv1.NetworkPolicyPeer, e end) bool {
	t.Helper()
	return len(list) == 0 || slices.ContainsFunc(list, func(p networkingv1.NetworkPolicyPeer) bool {
		if p.IPBlock != nil {
			return e.ip != "" && inBlock(t, p.IPBlock, e.ip)
		}
		if e.ip != "" {
			return false
		}
		if p.NamespaceSelector == nil {
			return e.ns == ns && matches(t, p.PodSelector, e.labels)
		}
		names := map[string]string{corev1.LabelMetadataName: e.ns}
		return matches(t, p.NamespaceSelector, names) && (p.PodSelector == nil || matches(t, p.PodSelector, e.labels))
	})
}

func inBlock(t *testing.T, b *networkingv1.IPBlock, ip string) bool {
	t.Helper()
	in := func(cidr string) bool {
		p, err := netip.ParsePrefix(cidr)
		if err != nil {
			t.Fatal(err)
		}
		return p.Contains(netip.MustParseAddr(ip))
	}
	return in(b.CIDR) && !slices.ContainsFunc(b.Except, in)
}
