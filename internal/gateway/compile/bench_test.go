package compile

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// manyRoutes gives n routes in 50 namespaces with a Service each; every tenth
// has a policy of its own. With oneHost all share a hostname.
func manyRoutes(tb testing.TB, n int, oneHost bool) Input {
	tb.Helper()
	var in Input
	parse(tb, &in, `
kind: Gateway
metadata: {name: public, namespace: infra}
spec:
  gatewayClassName: bulwark
  listeners:
  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
  - {name: https, port: 443, protocol: HTTPS, allowedRoutes: {namespaces: {from: All}}, tls: {certificateRefs: [{name: tls}]}}
---
kind: Secret
metadata: {name: tls, namespace: infra}
stringData: {tls.crt: ${json:server.crt}, tls.key: ${json:server.key}}
---
kind: SecurityPolicy
metadata: {name: base, namespace: infra}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public}]
  authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: {uri: "https://i.example/k"}}}]}
  authorization: {rules: [{name: all, allow: true, when: 'true'}]}
`)
	route, slice, policy := new(Input), new(Input), new(Input)
	parse(tb, route, "kind: HTTPRoute\nspec: {parentRefs: [{name: public, namespace: infra}], rules: [{matches: [{path: {value: /x}}, {method: GET}]}, {}]}")
	parse(tb, slice, "kind: EndpointSlice\naddressType: IPv4\nports: [{name: http, port: 9000}]\nendpoints: [{addresses: [10.0.0.1, 10.0.0.2]}]")
	parse(tb, policy, "kind: SecurityPolicy\nspec: {targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: x}], rateLimits: [{name: a, rate: 1/s}]}")
	for i := range n {
		name, space := fmt.Sprintf("r%04d", i), fmt.Sprintf("ns%02d", i%50)
		r := route.HTTPRoutes[0].DeepCopy()
		r.Name, r.Namespace = name, space
		path := fmt.Sprintf("/tenant/%d/orders", (i*7919)%n)
		r.Spec.Rules[0].Matches[0].Path.Value = &path
		if !oneHost {
			r.Spec.Hostnames = []gwv1.Hostname{gwv1.Hostname(name + ".shop.example")}
		}
		port := gwv1.PortNumber(80)
		for j := range r.Spec.Rules {
			ref := gwv1.HTTPBackendRef{}
			ref.Name, ref.Port = gwv1.ObjectName(name), &port
			r.Spec.Rules[j].BackendRefs = []gwv1.HTTPBackendRef{ref}
		}
		in.HTTPRoutes = append(in.HTTPRoutes, r)
		in.Services = append(in.Services, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: space},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		})
		s := slice.EndpointSlices[0].DeepCopy()
		s.Name, s.Namespace, s.Labels = name, space, map[string]string{discoveryv1.LabelServiceName: name}
		in.EndpointSlices = append(in.EndpointSlices, s)
		if i%10 == 0 {
			p := policy.SecurityPolicies[0].DeepCopy()
			p.Name, p.Namespace, p.Spec.TargetRefs[0].Name = name, space, gwv1.ObjectName(name)
			in.SecurityPolicies = append(in.SecurityPolicies, p)
		}
	}
	return in
}

func BenchmarkCompile5000Routes(b *testing.B) {
	for name, oneHost := range map[string]bool{"hosts": false, "one-host": true} {
		b.Run(name, func(b *testing.B) {
			in := manyRoutes(b, 5000, oneHost)
			b.ReportAllocs()
			for b.Loop() {
				if table, _ := Compile(in, Options{}); len(table.Rules) != 10000 {
					b.Fatal(len(table.Rules))
				}
			}
		})
	}
}

// TestCompileIsQuick fails where compiling stops growing in step with its input:
// ten times the routes may take a little more than ten times as long, not a hundred times.
func TestCompileIsQuick(t *testing.T) {
	took := func(n int) time.Duration {
		in := manyRoutes(t, n, true)
		best := time.Hour
		for range 3 {
			start := time.Now()
			if _, r := Compile(in, Options{}); !r.OK() {
				t.Fatal(r)
			}
			best = min(best, time.Since(start))
		}
		return best
	}
	small, large := took(500), took(5000)
	t.Logf("500 routes %v, 5000 routes %v", small, large)
	if large > 60*small {
		t.Errorf("500 routes take %v, 5000 take %v", small, large)
	}
}
