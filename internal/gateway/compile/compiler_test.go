package compile

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// lastGoodObjects hold one route and one policy by password.
const lastGoodObjects = `
kind: Gateway
metadata: {name: public, namespace: shop}
spec: {gatewayClassName: bulwark, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
kind: HTTPRoute
metadata: {name: orders, namespace: shop}
spec: {parentRefs: [{name: public}], rules: [{}]}
---
kind: HTTPRoute
metadata: {name: new, namespace: shop}
spec: {parentRefs: [{name: public}], hostnames: [new.example], rules: [{}]}
---
kind: Secret
metadata: {name: users, namespace: shop}
stringData: {auth: "ann:` + testBcrypt + `"}
---
kind: SecurityPolicy
metadata: {name: p, namespace: shop, uid: "1", generation: 1}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders}]
  authentication: {anyOf: [{basic: {secretRef: {name: users}}}]}
  authorization: {rules: [{name: all, allow: true, when: "true"}]}
`

// TestLastGood breaks a policy: its routes stay on its last good form, and only
// on that.
func TestLastGood(t *testing.T) {
	var base Input
	parse(t, &base, lastGoodObjects)
	rule := func(table *ir.Table, route string) *ir.Rule {
		t.Helper()
		i := slices.IndexFunc(table.Rules, func(r ir.Rule) bool { return r.Route.Name == route })
		return &table.Rules[i]
	}
	broken := func(change func(*v1alpha1.SecurityPolicy)) Input {
		in := base
		p := base.SecurityPolicies[0].DeepCopy()
		p.Generation = 2
		p.Spec.Network = &v1alpha1.Network{Allow: []string{"everywhere"}}
		change(p)
		in.SecurityPolicies = []*v1alpha1.SecurityPolicy{p}
		return in
	}
	for _, tc := range []struct {
		name   string
		in     Input
		stands bool
	}{
		{"field broken", broken(func(*v1alpha1.SecurityPolicy) {}), true},
		{"reference broken", broken(func(p *v1alpha1.SecurityPolicy) {
			p.Spec.Network = nil
			p.Spec.Authentication.AnyOf[0].Basic.SecretRef.Name = "absent"
		}), true},
		{"made anew", broken(func(p *v1alpha1.SecurityPolicy) { p.UID = types.UID("2") }), false},
		{"another name", broken(func(p *v1alpha1.SecurityPolicy) { p.Name = "q" }), false},
		{"its Secret gone too", func() Input {
			in := broken(func(*v1alpha1.SecurityPolicy) {})
			in.Secrets = nil
			return in
		}(), false},
		{"its Secret gone alone", func() Input {
			in := base
			in.Secrets = nil
			return in
		}(), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := NewCompiler(Options{Unprotected: true})
			if table, r := c.Compile(base); rule(table, "orders").Refuse != nil || !r.OK() {
				t.Fatalf("not sound to begin with:\n%s", r)
			}
			table, r := c.Compile(tc.in)
			got := rule(table, "orders")
			said := strings.Contains(r.String(), "generation 1 is still in force")
			if tc.stands != said {
				t.Errorf("the status says so: %v\n%s", said, r)
			}
			if !tc.stands {
				if !refuses(got, 503) {
					t.Errorf("served: %s", asJSON(t, table))
				}
				return
			}
			if got.Refuse != nil || got.Authentication == nil || len(got.Authentication.AnyOf[0].Basic.Users) != 1 {
				t.Errorf("not on the last good form: %s", asJSON(t, table))
			}
			if r.OK() || r.Policies[0].Ancestors[0].Conditions[0].Status != "False" {
				t.Errorf("the policy is accepted:\n%s", r)
			}
			if table, _ := Compile(tc.in, Options{Unprotected: true}); !refuses(rule(table, "orders"), 503) {
				t.Error("without a past it is served")
			}
		})
	}

	// A form that nobody asks for any more must not come back because what the
	// form after it names was deleted.
	for _, third := range []bool{false, true} {
		t.Run(fmt.Sprintf("what the latest good form names goes away, a broken one after it: %v", third), func(t *testing.T) {
			c := NewCompiler(Options{Unprotected: true})
			open, guarded := base, base
			p := base.SecurityPolicies[0].DeepCopy()
			p.Spec.Authentication.AnyOf = []v1alpha1.Authenticator{{Anonymous: &v1alpha1.Anonymous{}}}
			open.SecurityPolicies = []*v1alpha1.SecurityPolicy{p}
			if table, r := c.Compile(open); rule(table, "orders").Refuse != nil || !r.OK() {
				t.Fatalf("not sound to begin with:\n%s", r)
			}
			q := base.SecurityPolicies[0].DeepCopy()
			q.Generation = 2
			guarded.SecurityPolicies = []*v1alpha1.SecurityPolicy{q}
			if table, r := c.Compile(guarded); rule(table, "orders").Refuse != nil || !r.OK() {
				t.Fatalf("not sound after the edit:\n%s", r)
			}
			if third {
				in := broken(func(p *v1alpha1.SecurityPolicy) { p.Generation = 3 })
				guarded.SecurityPolicies = in.SecurityPolicies
				if _, r := c.Compile(guarded); !strings.Contains(r.String(), "generation 2 is still in force") {
					t.Fatalf("generation 2 does not stand in:\n%s", r)
				}
			}
			guarded.Secrets = nil
			for range 2 {
				table, r := c.Compile(guarded)
				if got := rule(table, "orders"); !refuses(got, 503) {
					t.Fatalf("served: %s\n%s", asJSON(t, table), r)
				}
			}
		})
	}

	t.Run("new targets get no earlier form", func(t *testing.T) {
		c := NewCompiler(Options{Unprotected: true})
		c.Compile(base)
		table, _ := c.Compile(broken(func(p *v1alpha1.SecurityPolicy) { p.Spec.TargetRefs[0].Name = "new" }))
		if r := rule(table, "orders"); r.Refuse != nil || r.Authentication == nil {
			t.Errorf("what it protected is no longer: %s", asJSON(t, table))
		}
		if r := rule(table, "new"); !refuses(r, 503) {
			t.Errorf("what it never protected is served: %s", asJSON(t, table))
		}
	})

	t.Run("a revoked user stays revoked", func(t *testing.T) {
		c := NewCompiler(Options{})
		c.Compile(base)
		in := broken(func(*v1alpha1.SecurityPolicy) {})
		c.Compile(in)
		s := base.Secrets[0].DeepCopy()
		s.StringData["auth"] = "bob:" + testBcrypt
		in.Secrets = []*corev1.Secret{s}
		table, _ := c.Compile(in)
		if got := rule(table, "orders").Authentication.AnyOf[0].Basic.Users; len(got) != 1 || got[0].Name != "bob" {
			t.Errorf("users are %v", got)
		}
	})

	t.Run("mended, then deleted", func(t *testing.T) {
		c := NewCompiler(Options{Unprotected: true})
		c.Compile(base)
		c.Compile(broken(func(*v1alpha1.SecurityPolicy) {}))
		if _, r := c.Compile(base); !r.OK() {
			t.Errorf("not accepted once mended:\n%s", r)
		}
		gone := base
		gone.SecurityPolicies = nil
		if table, _ := c.Compile(gone); !rule(table, "orders").Unprotected {
			t.Error("a policy that was deleted is in force")
		}
		if table, _ := c.Compile(broken(func(*v1alpha1.SecurityPolicy) {})); !refuses(rule(table, "orders"), 503) {
			t.Error("a deleted policy came back")
		}
	})

	t.Run("distrusted", func(t *testing.T) {
		c := NewCompiler(Options{})
		c.Compile(base)
		in := base
		p := base.SecurityPolicies[0].DeepCopy()
		p.Generation, p.Spec.Authorization.Rules[0].When = 2, "no such thing"
		in.SecurityPolicies = []*v1alpha1.SecurityPolicy{p}
		table, r := c.Compile(in)
		id := rule(table, "orders").ID
		if c.Distrust(r, "HTTPRoute/shop/absent/0", "x") {
			t.Error("an unknown rule is worth another run")
		}
		if !c.Distrust(r, id, "SecurityPolicy shop/p: does not compile") {
			t.Fatal("no earlier form is known")
		}
		table, r = c.Compile(in)
		if got := rule(table, "orders"); got.Refuse != nil || got.Authorization.Rules[0].When != "true" {
			t.Errorf("not on the last good form: %s", asJSON(t, table))
		}
		if !strings.Contains(r.String(), "does not compile; generation 1 is still in force") {
			t.Errorf("the status does not say so:\n%s", r)
		}
		if c.Distrust(r, id, "SecurityPolicy shop/p: neither does this") {
			t.Error("a form that was found bad twice is tried again for ever")
		}
	})

	// What a write to status, labels or managed fields makes is a new object of the
	// same form, and a person who mends breaks twice.
	for _, past := range []bool{false, true} {
		t.Run(fmt.Sprintf("distrusted and written to, after an edit: %v", past), func(t *testing.T) {
			c := NewCompiler(Options{})
			in := base
			c.Compile(in)
			inForce, generation := "true", 1
			edit := func(when string) {
				generation++
				p := in.SecurityPolicies[0].DeepCopy()
				p.Generation, p.Spec.Authorization.Rules[0].When = int64(generation), when
				in.SecurityPolicies = []*v1alpha1.SecurityPolicy{p}
			}
			if past {
				edit("1 == 1")
				c.Compile(in)
				inForce = "1 == 1"
			}
			good := generation
			for _, when := range []string{"no such thing", "nor this"} {
				edit(when)
				table, r := c.Compile(in)
				if got := rule(table, "orders"); got.Refuse != nil || got.Authorization.Rules[0].When != when {
					t.Fatalf("not tried: %s", asJSON(t, table))
				}
				if !c.Distrust(r, rule(table, "orders").ID, "SecurityPolicy shop/p: does not compile") {
					t.Fatalf("after %q no earlier form is known", when)
				}
				for i := range 3 {
					table, r = c.Compile(in)
					if got := rule(table, "orders"); got.Refuse != nil || got.Authorization.Rules[0].When != inForce {
						t.Errorf("%q, %d writes: not on the last good form: %s", when, i, asJSON(t, table))
					}
					if want := fmt.Sprintf("does not compile; generation %d is still in force", good); !strings.Contains(r.String(), want) {
						t.Errorf("%q, %d writes: the status does not say %q:\n%s", when, i, want, r)
					}
					p := in.SecurityPolicies[0].DeepCopy()
					p.ResourceVersion, p.Labels = fmt.Sprint(i), map[string]string{"i": fmt.Sprint(i)}
					in.SecurityPolicies = []*v1alpha1.SecurityPolicy{p}
				}
			}
			if n := len(c.good.bad); n != 1 {
				t.Errorf("%d bad forms are remembered, want 1", n)
			}
		})
	}
}

// BenchmarkOneChange changes one object among 5,000 routes.
func BenchmarkOneChange(b *testing.B) {
	in := manyRoutes(b, 5000, false)
	// As a cluster's Snapshot has them.
	in.HTTPRoutes, in.Services, in.EndpointSlices = sorted(in.HTTPRoutes), sorted(in.Services), sorted(in.EndpointSlices)
	in.SecurityPolicies = sorted(in.SecurityPolicies)
	bench := func(name string, change func(i int)) {
		b.Run(name, func(b *testing.B) {
			c := NewCompiler(Options{})
			c.Compile(in)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				change(i)
				if table, _ := c.Compile(in); len(table.Rules) != 10000 {
					b.Fatal(len(table.Rules))
				}
			}
		})
	}
	bench("nothing", func(int) {})
	bench("EndpointSlice", func(i int) { in.EndpointSlices[i%5000] = in.EndpointSlices[i%5000].DeepCopy() })
	bench("HTTPRoute", func(i int) { in.HTTPRoutes[i%5000] = in.HTTPRoutes[i%5000].DeepCopy() })
	bench("SecurityPolicy", func(i int) { in.SecurityPolicies[i%500] = in.SecurityPolicies[i%500].DeepCopy() })
	b.Run("full", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			Compile(in, Options{})
		}
	})
}
