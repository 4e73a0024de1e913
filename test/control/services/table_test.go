package services

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func balancedService(name, asked, has string, age int) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-age), 0))},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerIP: asked},
	}
	if has != "" {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: has}}
	}
	return s
}

func TestAssign(t *testing.T) {
	t.Parallel()
	other := balancedService("other-class", "", "", 0)
	class := "example.test/other"
	other.Spec.LoadBalancerClass = &class
	plain := balancedService("plain", "", "", 0)
	plain.Spec.Type = corev1.ServiceTypeClusterIP
	tests := map[string]struct {
		services []*corev1.Service
		pool     string
		given    map[string]string
		refused  []string
	}{
		"unasked start above the first 256": {
			services: []*corev1.Service{balancedService("a", "", "", 1), balancedService("b", "", "", 2)},
			given:    map[string]string{"b": "10.242.1.1", "a": "10.242.1.2"},
		},
		"a status is kept": {
			services: []*corev1.Service{balancedService("old", "", "10.242.1.2", 1), balancedService("new", "", "", 2), balancedService("newer", "", "", 0)},
			given:    map[string]string{"old": "10.242.1.2", "new": "10.242.1.1", "newer": "10.242.1.3"},
		},
		"a request wins over an own status, the elder over the younger": {
			services: []*corev1.Service{balancedService("moved", "10.242.0.5", "10.242.1.1", 1), balancedService("elder", "10.242.0.5", "", 2)},
			given:    map[string]string{"elder": "10.242.0.5"}, refused: []string{"moved"},
		},
		"what one has, another cannot ask": {
			services: []*corev1.Service{balancedService("elder", "10.242.0.5", "", 2), balancedService("holder", "", "10.242.0.5", 1)},
			given:    map[string]string{"holder": "10.242.0.5"}, refused: []string{"elder"},
		},
		"a copied status belongs to the elder": {
			services: []*corev1.Service{balancedService("thief", "", "10.242.0.5", 1), balancedService("elder", "", "10.242.0.5", 2)},
			given:    map[string]string{"elder": "10.242.0.5", "thief": "10.242.1.1"},
		},
		"outside, first, last, no address": {
			services: []*corev1.Service{
				balancedService("a", "192.0.2.1", "", 0), balancedService("b", "10.242.0.0", "", 0),
				balancedService("c", "10.242.255.255", "", 0), balancedService("d", "nonsense", "", 0), balancedService("e", "", "192.0.2.1", 0),
			},
			given: map[string]string{"e": "10.242.1.1"}, refused: []string{"a", "b", "c", "d"},
		},
		"not ours": {services: []*corev1.Service{other, plain}, given: map[string]string{}},
		"full": {
			services: []*corev1.Service{balancedService("a", "", "", 2), balancedService("b", "", "", 1)}, pool: "10.242.0.0/23",
			given: map[string]string{"a": "10.242.1.1", "b": "10.242.1.2"},
		},
		"nothing left": {
			services: []*corev1.Service{balancedService("a", "", "", 2)}, pool: "10.242.0.0/24",
			given: map[string]string{}, refused: []string{"a"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := "10.242.0.0/16"
			if test.pool != "" {
				pool = test.pool
			}
			given, refused := assign(test.services, netip.MustParsePrefix(pool))
			got := map[string]string{}
			for k, ip := range given {
				got[k.name] = ip.String()
			}
			if diff := cmp.Diff(test.given, got); diff != "" {
				t.Errorf("given (-want +got):\n%s", diff)
			}
			for _, name := range test.refused {
				if refused[key{"n", name}] == "" {
					t.Errorf("%s was not told why", name)
				}
			}
			if len(refused) != len(test.refused) {
				t.Errorf("refused %v, want %v", refused, test.refused)
			}
		})
	}
}

func slice(service string, ports []discoveryv1.EndpointPort, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: service, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		Ports:      ports, Endpoints: endpoints,
	}
}

func endpoint(ip string, ready, serving, terminating bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{ip}, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}}
}

func TestBuild(t *testing.T) {
	t.Parallel()
	service := func(name string, f func(*corev1.Service)) *corev1.Service {
		s := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name},
			Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.20", Ports: []corev1.ServicePort{
				{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP, NodePort: 30000}, {Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
			}},
		}
		if f != nil {
			f(s)
		}
		return s
	}
	web := discoveryv1.EndpointPort{Name: new("web"), Port: new(int32(8080)), Protocol: new(corev1.ProtocolTCP)}
	tests := map[string]struct {
		service *corev1.Service
		slice   *discoveryv1.EndpointSlice
		want    map[string][]string
	}{
		"every address of the service": {
			service("s", nil), slice("s", []discoveryv1.EndpointPort{web}, endpoint("10.244.0.1", true, true, false), endpoint("10.244.0.2", false, false, false)),
			map[string][]string{
				"TCP 10.96.0.20:80": {"10.244.0.1:8080"}, "TCP 10.242.1.1:80": {"10.244.0.1:8080"}, "TCP 10.243.0.1:30000": {"10.244.0.1:8080"},
			},
		},
		"ending endpoints when none is ready": {
			service("s", nil), slice("s", []discoveryv1.EndpointPort{web}, endpoint("10.244.0.1", false, true, true), endpoint("10.244.0.2", false, false, true)),
			map[string][]string{
				"TCP 10.96.0.20:80": {"10.244.0.1:8080"}, "TCP 10.242.1.1:80": {"10.244.0.1:8080"}, "TCP 10.243.0.1:30000": {"10.244.0.1:8080"},
			},
		},
		"another service's slice":      {service("s", nil), slice("other", []discoveryv1.EndpointPort{web}, endpoint("10.244.0.1", true, true, false)), map[string][]string{}},
		"the port of another protocol": {service("s", nil), slice("s", []discoveryv1.EndpointPort{{Name: new("web"), Port: new(int32(1)), Protocol: new(corev1.ProtocolUDP)}}, endpoint("10.244.0.1", true, true, false)), map[string][]string{}},
		"headless": {
			service("s", func(s *corev1.Service) { s.Spec.ClusterIP = "None"; s.Spec.Ports[0].NodePort = 0 }),
			slice("s", []discoveryv1.EndpointPort{web}, endpoint("10.244.0.1", true, true, false)),
			map[string][]string{"TCP 10.242.1.1:80": {"10.244.0.1:8080"}},
		},
		"the address of DNS is left alone": {
			service("s", func(s *corev1.Service) { s.Spec.ClusterIP = "10.96.0.10"; s.Spec.Ports[0].NodePort = 0 }),
			slice("s", []discoveryv1.EndpointPort{web}, endpoint("10.244.0.1", true, true, false)),
			map[string][]string{"TCP 10.242.1.1:80": {"10.244.0.1:8080"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := build([]*corev1.Service{test.service}, []*discoveryv1.EndpointSlice{test.slice},
				map[key]netip.Addr{{"n", "s"}: netip.MustParseAddr("10.242.1.1")}, netip.MustParseAddr("10.243.0.1"), netip.MustParseAddr("10.96.0.10"))
			fronts := map[string][]string{}
			for f, backends := range got.fronts {
				for _, b := range backends {
					k := string(f.proto) + " " + f.addr.String()
					fronts[k] = append(fronts[k], b.String())
				}
			}
			if diff := cmp.Diff(test.want, fronts); diff != "" {
				t.Errorf("fronts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	one, two := netip.MustParseAddr("10.244.0.1"), netip.MustParseAddr("10.244.0.2")
	n := names{
		{"shop", "cart"}:  {addresses: []netip.Addr{netip.MustParseAddr("10.96.0.20")}, ports: map[string]uint16{"_http._tcp": 80}},
		{"shop", "db"}:    {addresses: []netip.Addr{one, two}, hosts: map[string][]netip.Addr{"db-0": {one}}},
		{"shop", "empty"}: {hosts: map[string][]netip.Addr{}},
		{"shop", "away"}:  {alias: "example.test"},
	}
	tests := []struct {
		name  string
		kind  dnsmessage.Type
		rcode dnsmessage.RCode
		want  []string
	}{
		{"cart.shop.svc.cluster.local.", dnsmessage.TypeA, 0, []string{"10.96.0.20"}},
		{"CART.Shop.svc.cluster.LOCAL.", dnsmessage.TypeA, 0, []string{"10.96.0.20"}},
		{"cart.shop.svc.", dnsmessage.TypeA, 0, []string{"10.96.0.20"}},
		{"cart.shop.svc.cluster.local.", dnsmessage.TypeAAAA, 0, nil},
		{"db.shop.svc.cluster.local.", dnsmessage.TypeA, 0, []string{"10.244.0.1", "10.244.0.2"}},
		{"db-0.db.shop.svc.cluster.local.", dnsmessage.TypeA, 0, []string{"10.244.0.1"}},
		{"db-9.db.shop.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
		{"_http._tcp.cart.shop.svc.cluster.local.", dnsmessage.TypeSRV, 0, []string{"80 cart.shop.svc.cluster.local."}},
		{"_ftp._tcp.cart.shop.svc.cluster.local.", dnsmessage.TypeSRV, dnsmessage.RCodeNameError, nil},
		{"away.shop.svc.cluster.local.", dnsmessage.TypeA, 0, []string{"example.test."}},
		{"empty.shop.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
		{"cart.other.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
		{"cart.shop.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
		{"svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
		{"shop.svc.cluster.local.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
		{"example.com.", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
		{".", dnsmessage.TypeA, dnsmessage.RCodeNameError, nil},
	}
	for _, test := range tests {
		q := dnsmessage.Message{
			Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
			Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(test.name), Type: test.kind, Class: dnsmessage.ClassINET}},
		}
		query, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(n.answer(query, udpLimit)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range m.Answers {
			switch b := r.Body.(type) {
			case *dnsmessage.AResource:
				got = append(got, netip.AddrFrom4(b.A).String())
			case *dnsmessage.CNAMEResource:
				got = append(got, b.CNAME.String())
			case *dnsmessage.SRVResource:
				got = append(got, fmt.Sprintf("%d %s", b.Port, b.Target))
			}
		}
		if m.RCode != test.rcode || !m.Response || m.ID != 7 || !cmp.Equal(got, test.want) {
			t.Errorf("%s %s: %v %q, want %v %q", test.name, test.kind, m.RCode, got, test.rcode, test.want)
		}
	}
}

func TestAnswerIsCutToTheLimit(t *testing.T) {
	t.Parallel()
	e := entry{}
	for i := range 100 {
		e.addresses = append(e.addresses, netip.AddrFrom4([4]byte{10, 244, 1, byte(i)}))
	}
	q := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("db.shop.svc.cluster.local."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	query, err := q.Pack()
	if err != nil {
		t.Fatal(err)
	}
	n := names{{"shop", "db"}: e}
	for limit, want := range map[int]int{udpLimit: 0, 1<<16 - 1: 100} {
		var m dnsmessage.Message
		if err := m.Unpack(n.answer(query, limit)); err != nil {
			t.Fatal(err)
		}
		if len(m.Answers) != want || m.Truncated != (want == 0) {
			t.Errorf("limit %d: %d answers, truncated %t", limit, len(m.Answers), m.Truncated)
		}
	}
	for name, bad := range map[string][]byte{"empty": nil, "short": {1, 2, 3}, "a response": append([]byte{0, 0, 0x80}, query[3:]...)} {
		if out := n.answer(bad, udpLimit); out != nil {
			t.Errorf("%s was answered by %x", name, out)
		}
	}
}
