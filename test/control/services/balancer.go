package services

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// assign gives every Service of type LoadBalancer an address of the pool. What
// a Service has in its status it keeps; then requested addresses are given, in
// order of creation; then the rest get the lowest free one. Addresses below
// pool's second 256 are given only on request, so that a test can name some.
//
// refused says why a Service has none. Services of another load balancer class
// are left alone.
func assign(services []*corev1.Service, pool netip.Prefix) (given map[key]netip.Addr, refused map[key]string) {
	given, refused = map[key]netip.Addr{}, map[key]string{}
	owner := map[netip.Addr]key{}
	ours := slices.DeleteFunc(slices.Clone(services), func(s *corev1.Service) bool { return !balanced(s) })
	slices.SortFunc(ours, func(a, b *corev1.Service) int {
		return cmp.Or(
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name),
		)
	})
	take := func(s *corev1.Service, ip netip.Addr) bool {
		k := key{s.Namespace, s.Name}
		if _, taken := owner[ip]; taken || !usable(pool, ip) {
			return false
		}
		owner[ip], given[k] = k, ip
		return true
	}
	for _, s := range ours {
		if ip := current(s); ip.IsValid() && (s.Spec.LoadBalancerIP == "" || s.Spec.LoadBalancerIP == ip.String()) {
			take(s, ip)
		}
	}
	for _, s := range ours {
		k := key{s.Namespace, s.Name}
		if _, has := given[k]; has || s.Spec.LoadBalancerIP == "" {
			continue
		}
		ip, err := netip.ParseAddr(s.Spec.LoadBalancerIP)
		switch {
		case err != nil || !usable(pool, ip):
			refused[k] = fmt.Sprintf("address %q is not one of %s", s.Spec.LoadBalancerIP, pool)
		case !take(s, ip):
			refused[k] = fmt.Sprintf("address %s belongs to Service %s/%s", ip, owner[ip].namespace, owner[ip].name)
		}
	}
	next := firstUnasked(pool)
	for _, s := range ours {
		k := key{s.Namespace, s.Name}
		if _, has := given[k]; has || s.Spec.LoadBalancerIP != "" {
			continue
		}
		for usable(pool, next) && !take(s, next) {
			next = next.Next()
		}
		if _, has := given[k]; !has {
			refused[k] = fmt.Sprintf("every address of %s is taken", pool)
		}
	}
	return given, refused
}

func balanced(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.LoadBalancerClass == nil && s.DeletionTimestamp == nil
}

// current gives the address in the Service's status.
func current(s *corev1.Service) netip.Addr {
	if in := s.Status.LoadBalancer.Ingress; len(in) == 1 {
		if ip, err := netip.ParseAddr(in[0].IP); err == nil {
			return ip
		}
	}
	return netip.Addr{}
}

// usable leaves out the first and the last address of the pool.
func usable(pool netip.Prefix, ip netip.Addr) bool {
	return pool.Contains(ip) && ip != pool.Masked().Addr() && pool.Contains(ip.Next())
}

func firstUnasked(pool netip.Prefix) netip.Addr {
	b := pool.Masked().Addr().As4()
	b[2]++
	b[3] = 1
	return netip.AddrFrom4(b)
}
