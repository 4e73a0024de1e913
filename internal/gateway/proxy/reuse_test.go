package proxy

import (
	"fmt"
	"slices"
	"testing"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/filters"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// manyRoutes is a table with n hosts, rules and backends. Equal parts are made
// anew with every call, as by a compiler that keeps nothing.
func manyRoutes(n int) *ir.Table {
	t := &ir.Table{Listeners: []ir.Listener{{Name: "ns/gw/http", Addresses: []string{"127.0.0.1"}}}}
	for i := range n {
		r := open(fmt.Sprintf("HTTPRoute/ns/r%05d/0", i), ir.BackendRef{Backend: i, Weight: 1})
		r.Policy = []string{"ns/p"}
		r.RateLimits = []ir.RateLimit{{Rule: "p", Count: 10, Period: 1e9, Burst: 5}}
		t.Rules = append(t.Rules, r)
		t.Backends = append(t.Backends, ir.Backend{Name: fmt.Sprintf("ns/s%05d:80", i), Endpoints: []string{"10.0.0.1:80", "10.0.0.2:80"}})
		t.Listeners[0].Hosts = append(t.Listeners[0].Hosts, ir.Host{
			Pattern: fmt.Sprintf("h%05d.example", i),
			Matches: []ir.Match{
				{PathKind: ir.PathPrefix, Path: "/api", Rule: i, Headers: []ir.ValueMatch{{Name: "x-a", Value: "1"}}},
				{PathKind: ir.PathPrefix, Path: "/", Rule: i},
			},
		})
	}
	return t
}

// kept copies a table the way a compiler does that keeps what did not change.
func kept(t *ir.Table) *ir.Table {
	return &ir.Table{Listeners: slices.Clone(t.Listeners), Rules: slices.Clone(t.Rules), Backends: slices.Clone(t.Backends)}
}

// What did not change is taken over, whether or not its memory is the same;
// what did is made anew.
func TestTableReuse(t *testing.T) {
	cfg := Config{Filters: testDeps()}
	defer cfg.Filters.State.Close()
	m := newMetrics()
	first, problems := newTable(manyRoutes(20), nil, &cfg, m)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	defer func() { _ = first.set.Close() }()
	again := func(name string, t2 *ir.Table, wantRules, wantMatchers int) {
		t.Helper()
		next, problems := newTable(t2, first, &cfg, m)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		defer next.discard(first)
		chains, matchers := map[*filters.Chain]bool{}, map[*patterns]bool{}
		for i := range first.rules {
			chains[first.rules[i].chain] = true
		}
		for _, x := range first.listeners["ns/gw/http"].matchers {
			matchers[x.patterns] = true
		}
		newRules, newMatchers := 0, 0
		for i := range next.rules {
			if !chains[next.rules[i].chain] {
				newRules++
			}
		}
		for i, x := range next.listeners["ns/gw/http"].matchers {
			if !matchers[x.patterns] {
				newMatchers++
			}
			// Wherever the patterns are from, they lead to the rules of now.
			h := &t2.Listeners[0].Hosts[i]
			req := &message.Request{Method: "GET", Host: h.Pattern, Path: "/x"}
			if got := x.find(req); got != &h.Matches[len(h.Matches)-1] {
				t.Errorf("%s: host %s leads to %+v", name, h.Pattern, got)
			}
		}
		if newRules != wantRules || newMatchers != wantMatchers {
			t.Errorf("%s: %d rules and %d matchers were made, want %d and %d", name, newRules, newMatchers, wantRules, wantMatchers)
		}
	}
	again("the same memory", kept(first.ir), 0, 0)
	again("the same content", manyRoutes(20), 0, 0)
	again("one more", manyRoutes(21), 1, 1)
	again("one less", manyRoutes(19), 0, 0)
	next := manyRoutes(20)
	next.Rules, next.Listeners[0].Hosts = slices.Delete(next.Rules, 3, 4), slices.Delete(next.Listeners[0].Hosts, 3, 4)
	for i := range next.Listeners[0].Hosts {
		for j := range next.Listeners[0].Hosts[i].Matches {
			if r := &next.Listeners[0].Hosts[i].Matches[j].Rule; *r > 3 {
				*r--
			}
		}
	}
	again("one less in the middle: rules have other places", next, 0, 0)

	for name, edit := range map[string]func(*ir.Rule){
		"authentication": func(r *ir.Rule) { r.Authentication = &ir.Authentication{Rule: "q", AnyOf: r.Authentication.AnyOf} },
		"authorization":  func(r *ir.Rule) { r.Authorization = nil },
		"rate limit":     func(r *ir.Rule) { r.RateLimits = slices.Clone(r.RateLimits); r.RateLimits[0].Burst++ },
		"redirect":       func(r *ir.Rule) { r.Redirect = &ir.Redirect{Status: 302} },
		"labels":         func(r *ir.Rule) { r.Route.Labels = map[string]string{"a": "b"} },
		"unprotected":    func(r *ir.Rule) { r.Unprotected = true },
		"backend edit": func(r *ir.Rule) {
			r.Backends = slices.Clone(r.Backends)
			r.Backends[0].RequestHeaders = &ir.HeaderEdit{Set: []ir.NameValue{{Name: "x", Value: "y"}}}
		},
	} {
		next := kept(first.ir)
		edit(&next.Rules[7])
		again(name, next, 1, 0)
	}
	next = manyRoutes(20)
	next.Rules[7].Backends[0].Weight, next.Rules[7].RequestTimeout = 7, 1e9
	again("weights and timeouts are read from the rule", next, 0, 0)
	next = manyRoutes(20)
	next.Listeners[0].Hosts[4].Matches[0].Headers[0].Value = "2"
	again("a match", next, 0, 1)
}

// A rule of secrets is never taken for another one.
func TestRulesOfSecretsAreMadeAnew(t *testing.T) {
	rule := func(salt string) *ir.Rule {
		return &ir.Rule{ID: "r", Authentication: &ir.Authentication{AnyOf: []ir.Authenticator{{APIKey: &ir.APIKey{
			Keys: []ir.Key{{Name: "k", Salt: bulwark.NewSecret([]byte(salt)), Hash: bulwark.NewSecret([]byte("h"))}},
		}}}}}
	}
	a := rule("1")
	if sameRule(a, rule("2")) {
		t.Error("another key is the same rule")
	}
	same := *a
	if !sameRule(a, &same) {
		t.Error("the same memory is not the same rule")
	}
}

func BenchmarkTable(b *testing.B) {
	const n = 5000
	cfg := Config{Filters: testDeps()}
	defer cfg.Filters.State.Close()
	m := newMetrics()
	before := manyRoutes(n)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			t, _ := newTable(before, nil, &cfg, m)
			_ = t.set.Close()
		}
	})
	first, _ := newTable(before, nil, &cfg, m)
	defer func() { _ = first.set.Close() }()
	oneRule := func(t *ir.Table, i int) {
		r := &t.Rules[2500]
		r.Authentication = &ir.Authentication{Rule: fmt.Sprint(i), AnyOf: r.Authentication.AnyOf}
	}
	run := func(name string, next func(i int) *ir.Table) {
		b.Run(name, func(b *testing.B) {
			i := 0
			for b.Loop() {
				i++
				t := next(i)
				got, _ := newTable(t, first, &cfg, m)
				cfg.Filters.State.Retain(t)
				m.retain(got)
				got.discard(first)
			}
		})
	}
	run("one rule of 5000", func(i int) *ir.Table {
		t := kept(before)
		oneRule(t, i)
		return t
	})
	run("one backend of 5000", func(i int) *ir.Table {
		t := kept(before)
		t.Backends[2500].Endpoints = []string{fmt.Sprintf("10.0.1.%d:80", i%250)}
		return t
	})
	fresh := manyRoutes(n)
	run("one rule of 5000 and all memory new", func(i int) *ir.Table {
		oneRule(fresh, i)
		return fresh
	})
}
