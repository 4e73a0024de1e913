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
