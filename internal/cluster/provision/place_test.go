package provision

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/cluster"
)

var testConfig = Config{Namespace: "bulwark", DataPlaneService: "bulwark-gateway", ServiceType: corev1.ServiceTypeLoadBalancer}

// gateway is a Gateway of the test's with a listener on port 80.
func gateway(name string, addresses ...string) *gwv1.Gateway {
	gw := &gwv1.Gateway{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "uid-gateway", Generation: 1},
		Spec:       gwv1.GatewaySpec{Listeners: []gwv1.Listener{{Name: "http", Port: 80, Protocol: gwv1.HTTPProtocolType}}},
	}
	for _, a := range addresses {
		gw.Spec.Addresses = append(gw.Spec.Addresses, gwv1.GatewaySpecAddress{Type: new(gwv1.IPAddressType), Value: a})
	}
	return gw
}

// service is a Service of the Gateway's as the cluster has it.
func service(cfg Config, gw *gwv1.Gateway, s slot, ingress ...corev1.LoadBalancerIngress) *corev1.Service {
	svc := newService(cfg, gw, s, map[int32]uint16{80: 20000})
	svc.Spec.ClusterIP, svc.Spec.ClusterIPs = "10.96.0.7", []string{"10.96.0.7", "fd00::7"}
	svc.Status.LoadBalancer.Ingress = ingress
	return svc
}

func ip(s string) corev1.LoadBalancerIngress { return corev1.LoadBalancerIngress{IP: s} }

func TestPlace(t *testing.T) {
	t.Parallel()
	plain, static := gateway("edge"), gateway("edge", "10.0.0.1", "10.0.0.2")
	any := slots(plain)[0]
	one, two := slots(static)[0], slots(static)[1]
	foreign := service(testConfig, plain, any, ip("10.0.0.9"))
	foreign.Labels = nil
	recreated := service(testConfig, plain, any, ip("10.0.0.9"))
	recreated.OwnerReferences[0].UID = "uid-before"
	other := service(testConfig, plain, any, ip("10.0.0.9"))
	other.Labels[labelInstallation] = "bulwark-too"
	clusterIP := testConfig
	clusterIP.ServiceType = corev1.ServiceTypeClusterIP
	six := testConfig
	six.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}

	address := func(list ...string) []gwv1.GatewayStatusAddress {
		var out []gwv1.GatewayStatusAddress
		for _, v := range list {
			out = append(out, ipAddress(v))
		}
		return out
	}
	tests := map[string]struct {
		cfg      Config
		gw       *gwv1.Gateway
		services []*corev1.Service
		want     Placement
	}{
		"nothing yet": {testConfig, plain, nil, Placement{Pending: "Service shop/edge-bulwark is not there yet"}},
		"no address yet": {testConfig, plain, []*corev1.Service{service(testConfig, plain, any)}, Placement{
			Pending: "the load balancer has not given an address to Service shop/edge-bulwark",
		}},
		"addresses": {testConfig, plain, []*corev1.Service{service(testConfig, plain, any, ip("10.0.0.9"), ip("10.0.0.9"), ip("2001:db8::1"))}, Placement{
			Addresses: address("10.0.0.9", "2001:db8::1"),
		}},
		"host name": {testConfig, plain, []*corev1.Service{service(testConfig, plain, any, corev1.LoadBalancerIngress{Hostname: "lb.example"})}, Placement{
			Addresses: []gwv1.GatewayStatusAddress{{Type: new(gwv1.HostnameAddressType), Value: "lb.example"}},
		}},
		"somebody's Service": {testConfig, plain, []*corev1.Service{foreign}, Placement{
			Pending: "Service shop/edge-bulwark exists and was not made for this Gateway: delete or rename it",
		}},
		"Service of a Gateway of the same name before": {testConfig, plain, []*corev1.Service{recreated}, Placement{
			Pending: "Service shop/edge-bulwark exists and was not made for this Gateway: delete or rename it",
		}},
		"Service of another installation": {testConfig, plain, []*corev1.Service{other}, Placement{
			Pending: "Service shop/edge-bulwark exists and was not made for this Gateway: delete or rename it",
		}},
		"type was edited": {clusterIP, plain, []*corev1.Service{service(testConfig, plain, any, ip("10.0.0.9"))}, Placement{
			Pending: "Service shop/edge-bulwark is of type LoadBalancer, not ClusterIP",
		}},
		"asked for and got": {testConfig, static, []*corev1.Service{service(testConfig, static, one, ip("10.0.0.1")), service(testConfig, static, two, ip("::ffff:10.0.0.2"))}, Placement{
			Addresses: address("10.0.0.1", "::ffff:10.0.0.2"),
		}},
		"one of two": {testConfig, static, []*corev1.Service{service(testConfig, static, one), service(testConfig, static, two, ip("10.0.0.2"))}, Placement{
			Addresses: address("10.0.0.2"),
			Unusable:  "address 10.0.0.1 is not assigned by the load balancer of Service shop/" + one.service,
		}},
		"another than asked for": {testConfig, gateway("edge", "10.0.0.1"), []*corev1.Service{service(testConfig, static, one, ip("10.0.0.7"))}, Placement{
			Unusable: "address 10.0.0.1 is not assigned: the load balancer of Service shop/" + one.service + " gave 10.0.0.7",
		}},
		"asked for a moment ago": {testConfig, gateway("edge", "10.0.0.1"), nil, Placement{Pending: "Service shop/" + one.service + " is not there yet"}},
		"cluster IPs":            {clusterIP, plain, []*corev1.Service{service(clusterIP, plain, any)}, Placement{Addresses: address("10.96.0.7", "fd00::7")}},
		"cluster IPs cannot be asked for": {clusterIP, gateway("edge", "10.96.0.7"), nil, Placement{
			Unusable: "address 10.96.0.7 cannot be asked for: Gateways get Services of type ClusterIP here",
		}},
		"seen by a data plane": {Config{Namespace: "bulwark"}, static, nil, Placement{}},
		"both families":        {six, plain, []*corev1.Service{service(six, plain, any, ip("10.0.0.9"))}, Placement{Addresses: address("10.0.0.9"), Bind: "::"}},
	}
	for name, tt := range tests {
		snap := &cluster.Snapshot{
			Services: tt.services,
			ConfigMaps: []*corev1.ConfigMap{portMap(map[string]string{
				"20000": "shop/edge:80", "20001": "shop/edge:443 freed=2026-11-21T11:00:00Z", "20002": "shop/edge2:80", "20003": "pay/edge:80",
			})},
		}
		tt.want.Ports = map[int32]uint16{80: 20000}
		if tt.want.Bind == "" {
			tt.want.Bind = "0.0.0.0"
		}
		if diff := cmp.Diff(tt.want, Place(snap, tt.cfg, tt.gw)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestPlaceWithDamagedPorts(t *testing.T) {
	t.Parallel()
	cm := portMap(map[string]string{"20000": "shop/edge:80", "x": "y"})
	elsewhere := portMap(map[string]string{"30000": "shop/edge:80"})
	elsewhere.Namespace = "shop" // a tenant's ConfigMap says nothing
	snap := &cluster.Snapshot{ConfigMaps: []*corev1.ConfigMap{elsewhere, cm}}
	for name, wants := range map[string]bool{"edge": false, "new": true} {
		p := Place(snap, testConfig, gateway(name))
		if got := strings.Contains(p.Pending, `ConfigMap bulwark/bulwark-ports is damaged: key "x"`); got != wants {
			t.Errorf("%s: pending %q", name, p.Pending)
		}
	}
	if p := Place(snap, testConfig, gateway("edge")); p.Ports[80] != 20000 {
		t.Errorf("a port in use was lost: %v", p.Ports)
	}
}

func TestServiceNames(t *testing.T) {
	t.Parallel()
	label := regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)
	seen := map[string]string{}
	addresses := []netip.Addr{{}, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}
	gateways := []string{
		"edge", "a", "1st", "my.gateway", "my-gateway", "9", "0.0", strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 253),
		strings.Repeat("a.", 100) + "b", strings.Repeat("a", 54) + "-b", strings.Repeat("b", 37) + ".-c",
	}
	for _, g := range gateways {
		for _, a := range addresses {
			name := serviceName(g, a)
			if !label.MatchString(name) {
				t.Errorf("%q gives %q", g, name)
			}
			if other, twice := seen[name]; twice {
				t.Errorf("%q and %q both give %q", g, other, name)
			}
			seen[name] = g
		}
		if v := labelValue(g); len(v) > maxLabel || !regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`).MatchString(v) {
			t.Errorf("%q gives the label %q", g, v)
		}
	}
	if got := serviceName("edge", netip.Addr{}); got != "edge-bulwark" {
		t.Errorf("edge gives %q", got)
	}
}

func TestSlots(t *testing.T) {
	t.Parallel()
	gw := gateway("edge", "10.0.0.1", "::ffff:10.0.0.1", "not an address", "", "fe80::1%eth0", "2001:db8::1")
	gw.Spec.Addresses = append(gw.Spec.Addresses, gwv1.GatewaySpecAddress{Type: new(gwv1.HostnameAddressType), Value: "x.example"})
	var got []string
	for _, s := range slots(gw) {
		got = append(got, s.address.String())
	}
	if diff := cmp.Diff([]string{"10.0.0.1", "invalid IP", "2001:db8::1"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
