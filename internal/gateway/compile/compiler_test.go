package compile

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// sameResult compares a Compiler's result with that of a run that remembers
// nothing but which forms were good.
func sameResult(t *testing.T, c *Compiler, in Input, what string) (*ir.Table, *Report) {
	t.Helper()
	fresh := newCompiler(in, c.opt, nil)
	fresh.good = &goodForms{last: maps.Clone(c.good.last), bad: c.good.bad}
	want := fresh.run()
	got, report := c.Compile(in)
	if diff := cmp.Diff(asJSON(t, want), asJSON(t, got)); diff != "" {
		t.Fatalf("%s: table (-alone +compiler):\n%s", what, diff)
	}
	if diff := cmp.Diff(fresh.rep, report); diff != "" {
		t.Fatalf("%s: report (-alone +compiler):\n%s", what, diff)
	}
	return got, report
}

// world is all golden cases in one: each in namespaces of its own.
func world(tb testing.TB) Input {
	tb.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		tb.Fatal(err)
	}
	var all Input
	for _, f := range files {
		in := readCase(tb, f).in
		prefix := strings.TrimSuffix(filepath.Base(f), ".txtar")
		// By text: references name namespaces in many places.
		for _, g := range in.Gateways {
			g.Spec.Addresses = append(g.Spec.Addresses, gwv1.GatewaySpecAddress{Value: fmt.Sprintf("10.9.%d.1", slices.Index(files, f))})
		}
		for _, r := range in.HTTPRoutes {
			r.Name += "-" + prefix
		}
		all = all.with(in)
	}
	return all
}

// with adds what is not there by name.
func (in Input) with(o Input) Input {
	in.GatewayClasses = addNew(in.GatewayClasses, o.GatewayClasses)
	in.Gateways = addNew(in.Gateways, o.Gateways)
	in.HTTPRoutes = addNew(in.HTTPRoutes, o.HTTPRoutes)
	in.GRPCRoutes = addNew(in.GRPCRoutes, o.GRPCRoutes)
	in.TLSRoutes = addNew(in.TLSRoutes, o.TLSRoutes)
	in.ListenerSets = addNew(in.ListenerSets, o.ListenerSets)
	in.ReferenceGrants = addNew(in.ReferenceGrants, o.ReferenceGrants)
	in.BackendTLSPolicies = addNew(in.BackendTLSPolicies, o.BackendTLSPolicies)
	in.SecurityPolicies = addNew(in.SecurityPolicies, o.SecurityPolicies)
	in.Services = addNew(in.Services, o.Services)
	in.EndpointSlices = addNew(in.EndpointSlices, o.EndpointSlices)
	in.Secrets = addNew(in.Secrets, o.Secrets)
	in.ConfigMaps = addNew(in.ConfigMaps, o.ConfigMaps)
	in.Namespaces = addNew(in.Namespaces, o.Namespaces)
	return in
}

func addNew[T object](list, more []T) []T {
	for _, o := range more {
		if !slices.ContainsFunc(list, func(x T) bool { return keyOf(x) == keyOf(o) }) {
			list = append(list, o)
		}
	}
	return list
}

type copier[T any] interface {
	object
	DeepCopy() T
}

// edit changes one object of a list at random: it goes, comes back, or gets a
// new pointer and what change makes of it.
func edit[T copier[T]](rnd *rand.Rand, list, all []T, change func(T)) []T {
	list = slices.Clone(list)
	switch n := rnd.IntN(4); {
	case n == 0 && len(list) > 0:
		i := rnd.IntN(len(list))
		return slices.Delete(list, i, i+1)
	case n == 1 && len(all) > 0:
		return addNew(list, []T{all[rnd.IntN(len(all))]})
	case len(list) > 0:
		i := rnd.IntN(len(list))
		o := list[i].DeepCopy()
		change(o)
		list[i] = o
	}
	return list
}

// TestCompilerIsCompile makes thousands of random edits, one kind of object at a
// time, and compares each result with one that was made from nothing.
func TestCompilerIsCompile(t *testing.T) {
	all := world(t)
	opt := Options{Unprotected: true}
	c := NewCompiler(opt)
	in := all
	rnd := rand.New(rand.NewPCG(7, 11))
	counts := map[string]int{}
	stoodIn := 0
	for step := range 300 {
		what := ""
		switch rnd.IntN(16) {
		case 0:
			what, in.Gateways = "Gateway", edit(rnd, in.Gateways, all.Gateways, func(g *gwv1.Gateway) {
				if len(g.Spec.Listeners) > 0 {
					g.Spec.Listeners[rnd.IntN(len(g.Spec.Listeners))].Port += int32(rnd.IntN(3))
				}
			})
		case 1:
			what, in.ListenerSets = "ListenerSet", edit(rnd, in.ListenerSets, all.ListenerSets, func(*gwv1.ListenerSet) {})
		case 2, 3:
			what, in.HTTPRoutes = "HTTPRoute", edit(rnd, in.HTTPRoutes, all.HTTPRoutes, func(r *gwv1.HTTPRoute) {
				path := fmt.Sprintf("/%d", rnd.IntN(5))
				r.Spec.Rules = append(r.Spec.Rules, gwv1.HTTPRouteRule{Matches: []gwv1.HTTPRouteMatch{{Path: &gwv1.HTTPPathMatch{Value: &path}}}})
			})
		case 4:
			what, in.GRPCRoutes = "GRPCRoute", edit(rnd, in.GRPCRoutes, all.GRPCRoutes, func(*gwv1.GRPCRoute) {})
		case 5:
			what, in.TLSRoutes = "TLSRoute", edit(rnd, in.TLSRoutes, all.TLSRoutes, func(r *gwv1.TLSRoute) { r.Spec.Hostnames = r.Spec.Hostnames[:rnd.IntN(len(r.Spec.Hostnames)+1)] })
		case 6:
			what, in.ReferenceGrants = "ReferenceGrant", edit(rnd, in.ReferenceGrants, all.ReferenceGrants, func(*gwv1.ReferenceGrant) {})
		case 7:
			what, in.BackendTLSPolicies = "BackendTLSPolicy", edit(rnd, in.BackendTLSPolicies, all.BackendTLSPolicies, func(p *gwv1.BackendTLSPolicy) { p.Spec.Validation.Hostname = "new.example" })
		case 8, 9:
			what, in.SecurityPolicies = "SecurityPolicy", edit(rnd, in.SecurityPolicies, all.SecurityPolicies, func(p *v1alpha1.SecurityPolicy) {
				p.Generation++
				switch rnd.IntN(3) {
				case 0:
					p.Spec.Network = &v1alpha1.Network{Allow: []string{"everywhere"}}
				case 1:
					p.Spec.Network = &v1alpha1.Network{Allow: []string{"10.0.0.0/8"}}
				}
			})
		case 10:
			what, in.Services = "Service", edit(rnd, in.Services, all.Services, func(s *corev1.Service) { s.Spec.Ports = slices.Clone(s.Spec.Ports[:rnd.IntN(len(s.Spec.Ports)+1)]) })
		case 11, 12:
			what, in.EndpointSlices = "EndpointSlice", edit(rnd, in.EndpointSlices, all.EndpointSlices, func(s *discoveryv1.EndpointSlice) {
				s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{[]string{"10.3.3.3", "no address"}[rnd.IntN(2)]}})
			})
		case 13:
			what, in.Secrets = "Secret", edit(rnd, in.Secrets, all.Secrets, func(s *corev1.Secret) { s.Labels = nil })
		case 14:
			what, in.ConfigMaps = "ConfigMap", edit(rnd, in.ConfigMaps, all.ConfigMaps, func(m *corev1.ConfigMap) { m.Data = nil })
		case 15:
			what, in.Namespaces = "Namespace", edit(rnd, in.Namespaces, all.Namespaces, func(n *corev1.Namespace) { n.Labels = nil })
			if rnd.IntN(2) == 0 {
				in.Unreadable = nil
			} else if rnd.IntN(3) == 0 {
				in.Unreadable = []Unreadable{{Kind: []string{"Secret", "EndpointSlice", "SecurityPolicy", "BackendTLSPolicy"}[rnd.IntN(4)], Reason: "x"}}
			}
		}
		counts[what]++
		_, report := sameResult(t, c, in, fmt.Sprintf("step %d, %s", step, what))
		if strings.Contains(report.String(), "is still in force") {
			stoodIn++
		}
		if step%7 == 0 {
			report.Rules = nil // a report belongs to whom it was given
			for i := range report.Policies {
				report.Policies[i].Ancestors = nil
			}
		}
	}
	t.Logf("%v, an earlier form stood in %d times", counts, stoodIn)
	if len(counts) != 13 || stoodIn < 10 {
		t.Errorf("edits %v, an earlier form stood in %d times: too few to prove anything", counts, stoodIn)
	}
}

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
}

// BenchmarkOneChange changes one object among 5,000 routes.
func BenchmarkOneChange(b *testing.B) {
	in := manyRoutes(b, 5000, false)
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
