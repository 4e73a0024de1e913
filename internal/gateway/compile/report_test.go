package compile

import (
	"slices"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

func TestReportRefuse(t *testing.T) {
	c := readCase(t, "testdata/policy-merge.txtar")
	accepted := func(r *Report, name string) bool {
		t.Helper()
		i := slices.IndexFunc(r.Policies, func(p PolicyStatus) bool { return p.Kind == "SecurityPolicy" && p.Name == name })
		if i < 0 {
			t.Fatalf("no policy %s", name)
		}
		return r.Policies[i].Ancestors[0].Conditions[0].Status == "True"
	}
	for _, tc := range []struct {
		name, rule, reason string
		blamed, spared     []string
	}{
		{"names one", "HTTPRoute/shop/orders/0", "authorize: SecurityPolicy shop/orders: no such function", []string{"orders"}, []string{"wide", "secure", "writes"}},
		{"names a longer one", "HTTPRoute/shop/orders/0", "SecurityPolicy shop/orders-too", []string{"orders", "wide", "secure"}, []string{"writes", "elsewhere"}},
		{"ends a sentence", "HTTPRoute/shop/orders/0", "it is SecurityPolicy infra/wide.", []string{"wide"}, []string{"orders", "secure"}},
		{"names none", "HTTPRoute/shop/orders/1", "does not compile", []string{"wide", "secure", "orders", "writes"}, []string{"elsewhere"}},
		{"no such rule", "HTTPRoute/shop/orders/9", "does not compile", nil, []string{"wide", "secure", "orders", "writes", "elsewhere"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, r := Compile(c.in, c.opt)
			if !r.OK() {
				t.Fatalf("not sound to begin with:\n%s", r)
			}
			r.Refuse(tc.rule, tc.reason)
			for _, p := range tc.blamed {
				if accepted(r, p) {
					t.Errorf("policy %s is still accepted", p)
				}
			}
			for _, p := range tc.spared {
				if !accepted(r, p) {
					t.Errorf("policy %s is blamed", p)
				}
			}
			if r.OK() != (len(tc.blamed) == 0) {
				t.Errorf("OK is %v", r.OK())
			}
			if len(tc.blamed) > 0 && !strings.Contains(r.String(), tc.reason) {
				t.Errorf("the report does not give the reason:\n%s", r)
			}
		})
	}
}

func TestExplainUnknown(t *testing.T) {
	c := readCase(t, "testdata/grpc.txtar")
	_, err := Explain(c.in, c.opt, "shop/absent")
	if err == nil || !strings.Contains(err.Error(), "GRPCRoute/shop/calls") {
		t.Errorf("the error does not list the routes: %v", err)
	}
	if _, err := Explain(Input{}, Options{}, "x"); err == nil {
		t.Error("there is no route")
	}
	both := readCase(t, "testdata/kinds-conflict.txtar")
	both.in.GRPCRoutes[0].Name = both.in.HTTPRoutes[0].Name
	if _, err := Explain(both.in, both.opt, "shop/"+both.in.HTTPRoutes[0].Name); err == nil || !strings.Contains(err.Error(), "GRPCRoute/shop/") {
		t.Errorf("a name of two kinds: %v", err)
	}
}

// TestNothing compiles what is empty or nil: nothing is served.
func TestNothing(t *testing.T) {
	for _, in := range []Input{{}, {Gateways: nil, HTTPRoutes: append(readCase(t, "testdata/minimal.txtar").in.HTTPRoutes, nil)}} {
		table, _ := Compile(in, Options{})
		if len(table.Listeners)+len(table.Rules) > 0 {
			t.Errorf("%s", asJSON(t, table))
		}
	}
}

// TestInputStays makes sure that compiling changes no object.
func TestInputStays(t *testing.T) {
	c, again := readCase(t, "testdata/policy-steps.txtar"), readCase(t, "testdata/policy-steps.txtar")
	table, _ := Compile(c.in, c.opt)
	for _, r := range table.Rules {
		if r.Form != nil {
			r.Form.Methods = append(r.Form.Methods[:0], "MUTATED") // a careless user of the table
		}
	}
	var first, second *ir.Table
	first, _ = Compile(c.in, c.opt)
	second, _ = Compile(again.in, again.opt)
	if asJSON(t, first) != asJSON(t, second) {
		t.Error("the input changed")
	}
}

// TestOKAllocatesNothing asks a large report whether all is well, as happens on
// every change.
func TestOKAllocatesNothing(t *testing.T) {
	_, r := Compile(manyRoutes(t, 100, false), Options{})
	if !r.OK() || len(r.Bad()) > 0 {
		t.Fatal(r)
	}
	if n := testing.AllocsPerRun(10, func() { r.OK() }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	r.Routes[99].Parents[0].Conditions[1].Status = "False"
	if bad := r.Bad(); r.OK() || len(bad) != 1 || bad[0].Object != "HTTPRoute ns49/r0099" || bad[0].Section != "parent infra/public" {
		t.Errorf("%v", bad)
	}
}

// TestCompilerShares changes one route and one policy of many: all others keep
// the very statuses that they had, and a refusal stays in one report.
func TestCompilerShares(t *testing.T) {
	in := manyRoutes(t, 100, false)
	c := NewCompiler(Options{})
	oldTable, old := c.Compile(in)
	in.HTTPRoutes[5], in.SecurityPolicies[1] = in.HTTPRoutes[5].DeepCopy(), in.SecurityPolicies[1].DeepCopy()
	table, r := c.Compile(in)
	others, parts := 0, 0
	for i := range r.Routes {
		if sameList(r.Routes[i].Parents, old.Routes[i].Parents) {
			others++
		}
	}
	for i := range r.Policies {
		if sameList(r.Policies[i].Ancestors, old.Policies[i].Ancestors) {
			others++
		}
	}
	for i := range table.Rules {
		if sameList(table.Rules[i].Backends, oldTable.Rules[i].Backends) && sameList(table.Rules[i].Policy, oldTable.Rules[i].Policy) {
			parts++
		}
	}
	if others != 99+10 {
		t.Errorf("%d statuses of 111 were taken over", others)
	}
	if parts != 2*98 { // not the rules of the route, nor of the one whose policy changed
		t.Errorf("%d rules of 200 were taken over", parts)
	}
	old.Refuse(old.Rules[0].ID, "x")
	if old.OK() || !r.OK() {
		t.Error("a refusal stands in another report, or in none")
	}
}
