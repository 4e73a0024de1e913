package compile

import (
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

const readableObjects = `
kind: Gateway
metadata: {name: public, namespace: infra}
spec:
  gatewayClassName: bulwark
  allowedListeners: {namespaces: {from: All}}
  listeners:
  - {name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}
  - {name: https, port: 443, protocol: HTTPS, allowedRoutes: {namespaces: {from: Selector, selector: {matchExpressions: [{key: quarantine, operator: DoesNotExist}]}}}, tls: {certificateRefs: [{name: tls}]}}
---
kind: HTTPRoute
metadata: {name: orders, namespace: shop}
spec:
  parentRefs: [{name: public, namespace: infra}]
  rules:
  - {name: near, backendRefs: [{name: orders, port: 80}]}
  - {name: far, matches: [{path: {value: /far}}], backendRefs: [{name: orders, namespace: vault, port: 80}]}
`

const readablePolicy = `
---
kind: SecurityPolicy
metadata: {name: open, namespace: infra}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public}]
  authentication: {anyOf: [{anonymous: {}}]}
  authorization: {rules: [{name: all, allow: true, when: "true"}]}
`

const readableRest = `
---
kind: Secret
metadata: {name: tls, namespace: infra}
stringData: {tls.crt: ${json:server.crt}, tls.key: ${json:server.key}}
---
kind: Service
metadata: {name: orders, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
kind: Service
metadata: {name: orders, namespace: vault}
spec: {ports: [{name: http, port: 80}]}
---
kind: EndpointSlice
metadata: {name: orders, namespace: shop, labels: {kubernetes.io/service-name: orders}}
addressType: IPv4
ports: [{name: http, port: 9000}]
endpoints: [{addresses: [10.0.0.1]}]
---
kind: EndpointSlice
metadata: {name: orders, namespace: vault, labels: {kubernetes.io/service-name: orders}}
addressType: IPv4
ports: [{name: http, port: 9000}]
endpoints: [{addresses: [10.0.0.2]}]
---
kind: ReferenceGrant
metadata: {name: shop, namespace: vault}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}]
  to: [{group: "", kind: Service}]
---
kind: Namespace
metadata: {name: shop}
`

// TestUnreadable takes all objects of a kind away, because they may not be read:
// what depends on them refuses and the status says which permission is missing.
func TestUnreadable(t *testing.T) {
	const reason = "no permission to list them"
	for _, tc := range []struct {
		kind string
		drop func(*Input)
		// closed reports whether what depends on the kind refuses.
		closed func(*ir.Table) bool
	}{
		{"SecurityPolicy", func(in *Input) { in.SecurityPolicies = nil }, func(t *ir.Table) bool {
			return len(t.Rules) == 2 && refuses(&t.Rules[0], 503) && refuses(&t.Rules[1], 503)
		}},
		{"SecurityPolicy", func(*Input) {}, func(t *ir.Table) bool {
			return len(t.Rules) == 2 && refuses(&t.Rules[0], 503) && refuses(&t.Rules[1], 503)
		}},
		{"BackendTLSPolicy", func(in *Input) { in.BackendTLSPolicies = nil }, func(t *ir.Table) bool {
			return len(t.Backends) == 2 && t.Backends[0].Refuse != nil && t.Backends[1].Refuse != nil
		}},
		{"EndpointSlice", func(in *Input) { in.EndpointSlices = nil }, func(t *ir.Table) bool {
			return len(t.Backends) == 2 && t.Backends[0].Refuse != nil && t.Backends[1].Refuse != nil
		}},
		{"Service", func(in *Input) { in.Services = nil }, func(t *ir.Table) bool {
			return len(t.Backends) == 0 && t.Rules[0].Backends[0].Refuse != nil && t.Rules[1].Backends[0].Refuse != nil
		}},
		{"ReferenceGrant", func(in *Input) { in.ReferenceGrants = nil }, func(t *ir.Table) bool {
			return len(t.Backends) == 1 && t.Rules[1].Backends[0].Refuse != nil
		}},
		{"Secret", func(in *Input) { in.Secrets = nil }, func(t *ir.Table) bool {
			return t.Listeners[1].Refuse != nil && len(t.Listeners[1].TLS.Certificates) == 0
		}},
		{"Namespace", func(in *Input) { in.Namespaces = nil }, func(t *ir.Table) bool {
			return len(t.Listeners[1].Hosts) == 0
		}},
		{"GatewayClass", func(in *Input) { in.GatewayClasses = nil }, func(t *ir.Table) bool { return len(t.Listeners) == 0 }},
		{"ListenerSet", func(*Input) {}, func(t *ir.Table) bool { return len(t.Listeners) == 2 }},
		{"GRPCRoute", func(*Input) {}, func(t *ir.Table) bool { return len(t.Listeners) == 2 }},
		{"TLSRoute", func(*Input) {}, func(t *ir.Table) bool { return len(t.Listeners) == 2 }},
	} {
		t.Run(tc.kind, func(t *testing.T) {
			for _, opt := range []Options{{}, {Unprotected: true}} {
				var in Input
				docs := readableObjects + readableRest
				if !opt.Unprotected {
					docs += readablePolicy
				}
				parse(t, &in, docs)
				if table, r := Compile(in, opt); !r.OK() || len(table.Backends) != 2 || table.Backends[0].Refuse != nil {
					t.Fatalf("not sound to begin with:\n%s", r)
				}
				tc.drop(&in)
				in.Unreadable = []Unreadable{{Kind: tc.kind, Reason: reason}}
				table, r := Compile(in, opt)
				if !tc.closed(table) {
					t.Errorf("it is served:\n%s", asJSON(t, table))
				}
				if !strings.Contains(r.String(), reason) {
					t.Errorf("the report does not say which permission is missing:\n%s", r)
				}
			}
		})
	}
}

func refuses(r *ir.Rule, status int) bool { return r.Refuse != nil && r.Refuse.Status == status }

// TestUnreadableKeys has API keys in Secrets that cannot all be read: none of
// them counts.
func TestUnreadableKeys(t *testing.T) {
	var in Input
	parse(t, &in, closedBase+openPolicy+`kind: SecurityPolicy
metadata: {name: keys, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders}]
  authentication: {anyOf: [{apiKey: {header: X-Key, secretSelector: {matchLabels: {api: a}}}}]}
---
kind: Secret
metadata: {name: key, namespace: shop, labels: {api: a}}
stringData: {hash: ${json:hash-reader}}
`)
	if table, _ := Compile(in, Options{}); table.Rules[0].Refuse != nil {
		t.Fatal(table.Rules[0].Refuse)
	}
	in.Unreadable = []Unreadable{{Kind: "Secret", Reason: "no permission to list secrets"}}
	table, r := Compile(in, Options{})
	if !refuses(&table.Rules[0], 503) || !strings.Contains(r.String(), "no permission to list secrets") {
		t.Errorf("%s\n%s", asJSON(t, table), r)
	}
}
