package compile

import (
	"strings"
	"testing"
)

const streamObjects = `
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  gatewayClassName: bulwark
  listeners: [{name: tls, port: 443, protocol: TLS, tls: {mode: Passthrough}}]
---
kind: Service
metadata: {name: db, namespace: shop}
spec: {ports: [{port: 5432}]}
---
kind: TLSRoute
metadata: {name: db, namespace: shop}
spec:
  parentRefs: [{name: edge}]
  hostnames: [db.example]
  rules: [{name: only, backendRefs: [{name: db, port: 5432}]}]
`

// TestStreamPolicies sees to it that a stream is served only where nothing was
// asked for that bytes cannot keep.
func TestStreamPolicies(t *testing.T) {
	const open = `authentication: {anyOf: [{anonymous: {}}]}
  authorization: {rules: [{name: all, allow: true, when: "true"}]}
  `
	served, refused := 0, 0
	for _, tc := range []struct {
		name, spec string
		field      string // that the refusal names; empty for served
	}{
		{"open", open, ""},
		{"role and later rules", `authentication: {anyOf: [{anonymous: {roles: [a]}}]}
  authorization: {rules: [{name: all, allow: true, when: "true"}, {name: b, allow: false, when: "false"}]}`, ""},
		{"network", open + "network: {deny: [10.0.0.0/8]}", ""},
		{"concurrency", open + "concurrency: {max: 1}", ""},
		{"concurrency by source", open + "concurrency: {max: 1, key: request.sourceIP}", ""},
		{"concurrency by name", open + "concurrency: {max: 1, key: identity.name}", "concurrency"},
		{"nothing", "network: {deny: [10.0.0.0/8]}", "authentication"},
		{"no authentication", `authorization: {rules: [{name: all, allow: true, when: "true"}]}`, "authentication"},
		{"no authorization", "authentication: {anyOf: [{anonymous: {}}]}", "authorization"},
		{"token", strings.Replace(open, "[{anonymous: {}}]", `[{jwt: {issuer: i, audiences: [a], jwks: {uri: "https://i.example/k"}}}]`, 1), "authentication"},
		{"token or anonymous", strings.Replace(open, "[{anonymous: {}}]", `[{jwt: {issuer: i, audiences: [a], jwks: {uri: "https://i.example/k"}}}, {anonymous: {}}]`, 1), "authentication"},
		{"condition", strings.Replace(open, `when: "true"`, `when: "request.path == '/'"`, 1), "authorization"},
		{"denied", strings.Replace(open, `allow: true`, `allow: false`, 1), "authorization"},
		{"denied before", strings.Replace(open, `{name: all`, `{name: no, allow: false, when: "identity.name == 'x'"}, {name: all`, 1), "authorization"},
		{"rateLimits", open + "rateLimits: [{name: a, rate: 1/s}]", "rateLimits"},
		{"lockOut", open + "lockOut: {attempts: 3}", "lockOut"},
		{"request", open + "request: {maxBodyBytes: 10}", "request"},
		{"cors", open + `cors: {allowOrigins: ["https://a.example"]}`, "cors"},
		{"transform", open + "transform: {request: {setHeaders: [{name: a, value: b}]}}", "transform"},
		{"broken", open + "network: {deny: [everywhere]}", "network"},
	} {
		for _, target := range []string{"TLSRoute, name: db", "TLSRoute, name: db, sectionName: only", "Gateway, name: edge", "Gateway, name: edge, sectionName: tls"} {
			t.Run(tc.name+"/"+target, func(t *testing.T) {
				for _, opt := range []Options{{}, {Unprotected: true}} {
					var in Input
					parse(t, &in, streamObjects+"---\nkind: SecurityPolicy\nmetadata: {name: p, namespace: shop}\nspec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: "+target+"}]\n  "+tc.spec+"\n")
					table, r := Compile(in, opt)
					rule := &table.Rules[table.Listeners[0].Streams[0].Rule]
					if rule.Authentication != nil || rule.Authorization != nil || rule.Unprotected {
						t.Errorf("the rule holds what no stream can keep: %s", asJSON(t, table))
					}
					if tc.field == "" {
						served++
						if rule.Refuse != nil || len(rule.Backends) != 1 {
							t.Errorf("refused: %v", rule.Refuse)
						}
						continue
					}
					refused++
					if !refuses(rule, 503) || !strings.HasPrefix(rule.Refuse.Reason, "SecurityPolicy shop/p: spec."+tc.field) {
						t.Fatalf("not refused for the field: %s", asJSON(t, table))
					}
					if !strings.Contains(r.String(), "spec."+tc.field) {
						t.Errorf("the report does not name the field:\n%s", r)
					}
				}
			})
		}
	}
	if served < 20 || refused < 50 {
		t.Errorf("%d served and %d refused: too few to prove both ways", served, refused)
	}
}

// TestStreamUncovered has no policy at all.
func TestStreamUncovered(t *testing.T) {
	var in Input
	parse(t, &in, streamObjects)
	if table, _ := Compile(in, Options{}); !refuses(&table.Rules[0], 403) {
		t.Errorf("served: %s", asJSON(t, table))
	}
	if table, _ := Compile(in, Options{Unprotected: true}); table.Rules[0].Refuse != nil || !table.Rules[0].Unprotected {
		t.Errorf("refused though the operator allows it: %s", asJSON(t, table))
	}
	in.Unreadable = []Unreadable{{Kind: "SecurityPolicy", Reason: "x"}}
	if table, _ := Compile(in, Options{Unprotected: true}); !refuses(&table.Rules[0], 503) {
		t.Errorf("served though policies could not be read: %s", asJSON(t, table))
	}
}
