package compile

import (
	"slices"
	"testing"

	"bulwark.dev/bulwark/api/v1alpha1"
)

// TestKeptRoutes changes what stands around routes that stay as they are, step by
// step and back: what was made of them must change with it, and what was given
// out before must not.
func TestKeptRoutes(t *testing.T) {
	in := manyRoutes(t, 6, false)
	more := manyRoutes(t, 7, false)
	var extra Input
	parse(t, &extra, `
kind: GRPCRoute
metadata: {name: calls, namespace: ns02}
spec: {parentRefs: [{name: public, namespace: infra}], hostnames: [r0002.shop.example], rules: [{}]}
---
kind: SecurityPolicy
metadata: {name: lost, namespace: ns03}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r0003, sectionName: absent}]
  network: {allow: [10.0.0.0/8]}
`)
	for _, r := range in.HTTPRoutes {
		r.CreationTimestamp.Time = r.CreationTimestamp.AddDate(2000, 0, 0) // the GRPCRoute is older
	}
	first := more.HTTPRoutes[6]
	first.Name, first.Namespace = "a", "a" // before all others, its backend too
	first.Spec.Rules[0].BackendRefs[0].Name, first.Spec.Rules[1].BackendRefs[0].Name = "a", "a"
	service := more.Services[6]
	service.Name, service.Namespace = "a", "a"

	c := NewCompiler(Options{})
	step := func(what string, in Input) func() (refused, hosts, backends int) {
		table, r := sameResult(t, c, in, what)
		was, said := asJSON(t, table), reportJSON(t, r)
		t.Cleanup(func() {
			if asJSON(t, table) != was || reportJSON(t, r) != said {
				t.Errorf("%s: the table or report changed later", what)
			}
		})
		return func() (refused, hosts, backends int) {
			for i := range table.Rules {
				if table.Rules[i].Refuse != nil {
					refused++
				}
			}
			return refused, len(table.Listeners[0].Hosts), len(table.Backends)
		}
	}
	for _, s := range []struct {
		name                     string
		in                       func(in *Input)
		refused, hosts, backends int
	}{
		{"a policy names a rule that is not there", func(in *Input) {
			in.SecurityPolicies = slices.Concat(in.SecurityPolicies, extra.SecurityPolicies)
		}, 2, 6, 5},
		{"an older GRPCRoute takes a hostname", func(in *Input) { in.GRPCRoutes = extra.GRPCRoutes }, 0, 6, 5},
		{"a backend before all others", func(in *Input) {
			in.HTTPRoutes, in.Services = append(slices.Clip(in.HTTPRoutes), first), append(slices.Clip(in.Services), service)
		}, 0, 7, 7},
		{"no policy of the Gateway", func(in *Input) {
			in.SecurityPolicies = slices.DeleteFunc(slices.Clone(in.SecurityPolicies), func(p *v1alpha1.SecurityPolicy) bool { return p.Name == "base" })
		}, 10, 6, 1}, // one route has a policy of its own
		{"a Service is gone", func(in *Input) { in.Services = in.Services[1:] }, 0, 6, 5},
	} {
		for _, other := range []bool{false, true} {
			base := in
			if other {
				base = Input{} // to be forgotten in between
			}
			step("before: "+s.name, base)
			with := in
			s.in(&with)
			if refused, hosts, backends := step(s.name, with)(); refused != s.refused || hosts != s.hosts || backends != s.backends {
				t.Errorf("%s: %d rules refuse, %d hosts, %d backends, not %d, %d, %d", s.name, refused, hosts, backends, s.refused, s.hosts, s.backends)
			}
			if refused, hosts, backends := step("after: "+s.name, in)(); refused != 0 || hosts != 6 || backends != 6 {
				t.Errorf("after: %s: %d rules refuse, %d hosts, %d backends", s.name, refused, hosts, backends)
			}
		}
	}
}
