package compile

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// open protects nothing: were a broken field passed over, it would count.
const closedBase = `
kind: Gateway
metadata: {name: public, namespace: shop}
spec:
  gatewayClassName: bulwark
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
kind: HTTPRoute
metadata: {name: orders, namespace: shop}
spec:
  parentRefs: [{name: public}]
  rules: [{name: all, backendRefs: [{name: orders, port: 80}]}]
---
kind: Service
metadata: {name: orders, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
`

const openPolicy = `
kind: SecurityPolicy
metadata: {name: open, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: public}]
  authentication: {anyOf: [{anonymous: {}}]}
  authorization: {rules: [{name: all, allow: true, when: 'true'}]}
  rateLimits: [{name: loose, rate: 1000000/s}]
  concurrency: {max: 1000000}
  lockOut: {attempts: 10000}
  network: {allow: ["0.0.0.0/0"]}
  request: {maxBodyBytes: 1000000000}
  cors: {allowOrigins: ["*"]}
  transform: {request: {removeHeaders: [x]}}
---
`

// secret and configMap make an object of that one entry.
func entryOf(kind, name, labels, key, value string) string {
	if kind == "Secret" {
		return fmt.Sprintf("\n---\nkind: Secret\nmetadata: {name: %s, namespace: shop%s}\nstringData: {%q: %s}\n", name, labels, key, value)
	}
	return fmt.Sprintf("\n---\nkind: ConfigMap\nmetadata: {name: %s, namespace: shop%s}\ndata: {%q: %s}\n", name, labels, key, value)
}

// brokenParts is every part of a policy with what can be wrong with it. The
// rule must refuse, or, where nobody says so, hold a step that admits nobody.
var brokenParts = []struct {
	part, defect string
	spec         string
	objects      string
	admitsNobody bool
}{
	{part: "jwt", defect: "no issuer", spec: `authentication: {anyOf: [{jwt: {issuer: "", audiences: [a], jwks: {uri: "https://i.example/k"}}}]}`},
	{part: "jwt", defect: "no audience", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [], jwks: {uri: "https://i.example/k"}}}]}`},
	{part: "jwt", defect: "no key source", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: {}}}]}`},
	{part: "jwt", defect: "plain http key source", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: {uri: "http://i.example/k"}}}]}`},
	{part: "jwt", defect: "symmetric algorithm", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], algorithms: [HS256], jwks: {uri: "https://i.example/k"}}}]}`},
	{part: "jwt", defect: "no algorithm", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], algorithms: [none], jwks: {uri: "https://i.example/k"}}}]}`},
	{part: "jwt", defect: "an hour of skew", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], clockSkew: 1h, jwks: {uri: "https://i.example/k"}}}]}`},
	{part: "jwt", defect: "inline keys unreadable", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: {inline: "{"}}}]}`},
	{part: "jwt", defect: "inline keys empty", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: {inline: ${json:jwks-empty.json}}}}]}`},
	{part: "jwt", defect: "inline keys private", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: {inline: ${json:jwks-private.json}}}}]}`},
	{part: "jwt", defect: "Secret missing", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: {secretRef: {name: absent}}}}]}`},
	{part: "jwt", defect: "Secret of another namespace", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: {secretRef: {name: far}}}}]}`, objects: "\n---\nkind: Secret\nmetadata: {name: far, namespace: other}\nstringData: {jwks.json: ${json:jwks.json}}"},
	{part: "jwt", defect: "Secret without key", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: {secretRef: {name: s}}}}]}`, objects: entryOf("Secret", "s", "", "keys", "${json:jwks.json}")},
	{part: "jwt", defect: "Secret with symmetric key", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: {secretRef: {name: s}}}}]}`, objects: entryOf("Secret", "s", "", "jwks.json", "${json:jwks-oct.json}")},
	{part: "jwt", defect: "Secret with private key", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: {secretRef: {name: s}}}}]}`, objects: entryOf("Secret", "s", "", "jwks.json", "${json:jwks-private.json}")},
	{part: "jwt", defect: "ConfigMap missing", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: {configMapRef: {name: absent}}}}]}`},
	{part: "jwt", defect: "ConfigMap unreadable", spec: `authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: {configMapRef: {name: m}}}}]}`, objects: entryOf("ConfigMap", "m", "", "jwks.json", `"[]"`)},

	{part: "apiKey", defect: "neither header nor query", spec: `authentication: {anyOf: [{apiKey: {secretSelector: {matchLabels: {a: b}}}}]}`},
	{part: "apiKey", defect: "header and query", spec: `authentication: {anyOf: [{apiKey: {header: x, query: y, secretSelector: {matchLabels: {a: b}}}}]}`},
	{part: "apiKey", defect: "selects every Secret", spec: `authentication: {anyOf: [{apiKey: {header: x, secretSelector: {}}}]}`},
	{part: "apiKey", defect: "selector invalid", spec: `authentication: {anyOf: [{apiKey: {header: x, secretSelector: {matchExpressions: [{key: a, operator: Is}]}}}]}`},
	{part: "apiKey", defect: "selects no Secret", spec: `authentication: {anyOf: [{apiKey: {header: x, secretSelector: {matchLabels: {a: b}}}}]}`, admitsNobody: true},
	{part: "apiKey", defect: "Secret without hash", spec: `authentication: {anyOf: [{apiKey: {header: x, secretSelector: {matchLabels: {a: b}}}}]}`, objects: entryOf("Secret", "k", ", labels: {a: b}", "key", "plain")},
	{part: "apiKey", defect: "Secret with plain key", spec: `authentication: {anyOf: [{apiKey: {header: x, secretSelector: {matchLabels: {a: b}}}}]}`, objects: entryOf("Secret", "k", ", labels: {a: b}", "hash", "reader-key-plain")},
	{part: "apiKey", defect: "short salt", spec: `authentication: {anyOf: [{apiKey: {header: x, secretSelector: {matchLabels: {a: b}}}}]}`, objects: entryOf("Secret", "k", ", labels: {a: b}", "hash", "${json:hash-short-salt}")},
	{part: "apiKey", defect: "expiry unreadable", spec: `authentication: {anyOf: [{apiKey: {header: x, secretSelector: {matchLabels: {a: b}}}}]}`, objects: "\n---\nkind: Secret\nmetadata: {name: k, namespace: shop, labels: {a: b}}\nstringData: {hash: ${json:hash-reader}, expires: tomorrow}"},
	{part: "apiKey", defect: "one of two Secrets malformed", spec: `authentication: {anyOf: [{apiKey: {header: x, secretSelector: {matchLabels: {a: b}}}}]}`, objects: entryOf("Secret", "k", ", labels: {a: b}", "hash", "${json:hash-reader}") + entryOf("Secret", "l", ", labels: {a: b}", "hash", "sha256:00")},

	{part: "basic", defect: "Secret missing", spec: `authentication: {anyOf: [{basic: {secretRef: {name: absent}}}]}`},
	{part: "basic", defect: "no file", spec: `authentication: {anyOf: [{basic: {secretRef: {name: s}}}]}`, objects: entryOf("Secret", "s", "", "users", "${json:bcrypt}")},
	{part: "basic", defect: "file empty", spec: `authentication: {anyOf: [{basic: {secretRef: {name: s}}}]}`, objects: entryOf("Secret", "s", "", "auth", `"# nobody\n"`)},
	{part: "basic", defect: "plain password", spec: `authentication: {anyOf: [{basic: {secretRef: {name: s}}}]}`, objects: entryOf("Secret", "s", "", "auth", `"ann:reader-key-plain"`)},
	{part: "basic", defect: "MD5 hash", spec: `authentication: {anyOf: [{basic: {secretRef: {name: s}}}]}`, objects: entryOf("Secret", "s", "", ".htpasswd", `"ann:$apr1$abc$0123456789012345678901"`)},
	{part: "basic", defect: "costly hash", spec: `authentication: {anyOf: [{basic: {secretRef: {name: s}}}]}`, objects: entryOf("Secret", "s", "", "auth", `"ann:$2a$31$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"`)},
	{part: "basic", defect: "user twice", spec: `authentication: {anyOf: [{basic: {secretRef: {name: s}}}]}`, objects: entryOf("Secret", "s", "", "auth", `"ann:`+testBcrypt+`\nann:`+testBcrypt+`"`)},

	{part: "clientCertificate", defect: "no CA", spec: `authentication: {anyOf: [{clientCertificate: {subjectAltNames: [{type: DNS, value: a}]}}]}`},
	{part: "clientCertificate", defect: "Secret missing", spec: `authentication: {anyOf: [{clientCertificate: {caSecretRef: {name: absent}, subjectAltNames: [{type: DNS, value: a}]}}]}`},
	{part: "clientCertificate", defect: "ConfigMap missing", spec: `authentication: {anyOf: [{clientCertificate: {caConfigMapRef: {name: absent}, subjectAltNames: [{type: DNS, value: a}]}}]}`},
	{part: "clientCertificate", defect: "CA unreadable", spec: `authentication: {anyOf: [{clientCertificate: {caSecretRef: {name: s}, subjectAltNames: [{type: DNS, value: a}]}}]}`, objects: entryOf("Secret", "s", "", "ca.crt", "${json:broken.pem}")},
	{part: "clientCertificate", defect: "CA truncated", spec: `authentication: {anyOf: [{clientCertificate: {caSecretRef: {name: s}, subjectAltNames: [{type: DNS, value: a}]}}]}`, objects: entryOf("Secret", "s", "", "ca.crt", "${json:truncated.pem}")},
	{part: "clientCertificate", defect: "CA empty", spec: `authentication: {anyOf: [{clientCertificate: {caSecretRef: {name: s}, subjectAltNames: [{type: DNS, value: a}]}}]}`, objects: entryOf("Secret", "s", "", "ca.crt", "${json:empty.pem}")},
	{part: "clientCertificate", defect: "CA is a leaf", spec: `authentication: {anyOf: [{clientCertificate: {caSecretRef: {name: s}, subjectAltNames: [{type: DNS, value: a}]}}]}`, objects: entryOf("Secret", "s", "", "ca.crt", "${json:server.crt}")},
	{part: "clientCertificate", defect: "CA with private key", spec: `authentication: {anyOf: [{clientCertificate: {caSecretRef: {name: s}, subjectAltNames: [{type: DNS, value: a}]}}]}`, objects: entryOf("Secret", "s", "", "ca.crt", "${json:ca-and-key.pem}")},
	{part: "clientCertificate", defect: "no names", spec: `authentication: {anyOf: [{clientCertificate: {caSecretRef: {name: s}, subjectAltNames: []}}]}`, objects: entryOf("Secret", "s", "", "ca.crt", "${json:ca.crt}")},
	{part: "clientCertificate", defect: "unknown kind of name", spec: `authentication: {anyOf: [{clientCertificate: {caSecretRef: {name: s}, subjectAltNames: [{type: Subject, value: a}]}}]}`, objects: entryOf("Secret", "s", "", "ca.crt", "${json:ca.crt}")},
	// On a plain listener no certificate is ever seen, so the step admits nobody.
	{part: "clientCertificate", defect: "CA expired", spec: `authentication: {anyOf: [{clientCertificate: {caSecretRef: {name: s}, subjectAltNames: [{type: DNS, value: a}]}}]}`, objects: entryOf("Secret", "s", "", "ca.crt", "${json:expired-ca.crt}"), admitsNobody: true},

	{part: "authentication", defect: "empty list", spec: `authentication: {anyOf: []}`},
	{part: "authentication", defect: "empty entry", spec: `authentication: {anyOf: [{}]}`},
	{part: "authentication", defect: "two kinds in one entry", spec: `authentication: {anyOf: [{anonymous: {}, jwt: {issuer: i, audiences: [a], jwks: {uri: "https://i.example/k"}}}]}`},
	{part: "authentication", defect: "one of two broken", spec: `authentication: {anyOf: [{anonymous: {}}, {basic: {secretRef: {name: absent}}}]}`},
	{part: "authorization", defect: "no rule", spec: `authorization: {rules: []}`},
	{part: "authorization", defect: "no condition", spec: `authorization: {rules: [{name: a, allow: true, when: ""}]}`},
	{part: "authorization", defect: "no name", spec: `authorization: {rules: [{name: "", allow: true, when: "true"}]}`},
	{part: "rateLimits", defect: "no rate", spec: `rateLimits: [{name: a, rate: ""}]`},
	{part: "rateLimits", defect: "rate of zero", spec: `rateLimits: [{name: a, rate: 0/s}]`},
	{part: "rateLimits", defect: "unknown unit", spec: `rateLimits: [{name: a, rate: 1/w}]`},
	{part: "rateLimits", defect: "negative burst", spec: `rateLimits: [{name: a, rate: 1/s, burst: -1}]`},
	{part: "rateLimits", defect: "cluster scope", spec: `rateLimits: [{name: a, rate: 1/s, scope: cluster}]`},
	{part: "rateLimits", defect: "same name twice", spec: `rateLimits: [{name: a, rate: 1/s}, {name: a, rate: 2/s}]`},
	{part: "rateLimits", defect: "queue without timeout", spec: `rateLimits: [{name: a, rate: 1/s, overflow: {queue: {depth: 1, timeout: 0s}}}]`},
	{part: "concurrency", defect: "zero", spec: `concurrency: {max: 0}`},
	{part: "lockOut", defect: "no attempts", spec: `lockOut: {attempts: 0}`},
	{part: "lockOut", defect: "negative window", spec: `lockOut: {attempts: 1, window: -1s}`},
	{part: "lockOut", defect: "unknown subject", spec: `lockOut: {attempts: 1, by: country}`},
	{part: "network", defect: "no prefix", spec: `network: {allow: [everywhere]}`},
	{part: "network", defect: "mapped prefix", spec: `network: {deny: ["::ffff:10.0.0.0/104"]}`},
	{part: "network", defect: "emptied list", spec: `network: {allow: []}`},
	{part: "request", defect: "negative size", spec: `request: {maxBodyBytes: -1}`},
	{part: "request", defect: "unknown encoding", spec: `request: {allowEncoded: ["%00"]}`},
	{part: "request", defect: "no method", spec: `request: {methods: ["GE T"]}`},
	{part: "cors", defect: "credentials for all", spec: `cors: {allowOrigins: ["*"], allowCredentials: true}`},
	{part: "cors", defect: "no origin", spec: `cors: {allowOrigins: []}`},
	{part: "cors", defect: "null origin", spec: `cors: {allowOrigins: ["null"]}`},
	{part: "transform", defect: "framing header", spec: `transform: {request: {setHeaders: [{name: Content-Length, value: "0"}]}}`},
	{part: "transform", defect: "line break", spec: `transform: {response: {setHeaders: [{name: a, value: "b\r\nc: d"}]}}`},
	{part: "transform", defect: "value and expression", spec: `transform: {request: {setHeaders: [{name: a, value: b, expression: c}]}}`},
	{part: "transform", defect: "pattern", spec: `transform: {request: {path: {pattern: "(", replacement: x}}}`},
}

func TestBrokenPolicyNeverOpens(t *testing.T) {
	parts := map[string]int{}
	for _, c := range brokenParts {
		parts[c.part]++
		for _, target := range []string{"HTTPRoute, name: orders", "HTTPRoute, name: orders, sectionName: all", "Gateway, name: public, sectionName: http"} {
			t.Run(c.part+"/"+c.defect+"/"+target, func(t *testing.T) {
				var in Input
				parse(t, &in, closedBase+openPolicy+"kind: SecurityPolicy\nmetadata: {name: broken, namespace: shop}\nspec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: "+target+"}]\n  "+c.spec+"\n"+c.objects)
				table, report := Compile(in, Options{Unprotected: true})
				if len(table.Rules) != 1 {
					t.Fatalf("%d rules", len(table.Rules))
				}
				r := table.Rules[0]
				noSecrets(t, "table and report", asJSON(t, table)+report.String())
				if c.admitsNobody {
					nobody(t, &r)
					return
				}
				if r.Refuse == nil || r.Refuse.Status != 503 {
					t.Fatalf("the rule does not refuse with 503: %s", asJSON(t, table))
				}
				if !strings.HasPrefix(r.Refuse.Reason, "SecurityPolicy shop/broken: spec.") {
					t.Errorf("the reason does not name the policy and field: %s", r.Refuse.Reason)
				}
				want := ir.Rule{ID: r.ID, Route: r.Route, Policy: r.Policy, Refuse: r.Refuse}
				if diff := cmp.Diff(want, r); diff != "" {
					t.Errorf("a refusing rule holds more than its refusal:\n%s", diff)
				}
				if report.OK() || !strings.Contains(report.String(), "SecurityPolicy shop/broken") {
					t.Errorf("the report does not say so:\n%s", report)
				}
			})
		}
	}
	for _, p := range []string{"jwt", "apiKey", "basic", "clientCertificate", "authentication", "authorization", "rateLimits", "concurrency", "lockOut", "network", "request", "cors", "transform"} {
		if parts[p] == 0 {
			t.Errorf("nothing is tried with %s", p)
		}
	}
}

// nobody checks that a rule is served, but its authentication admits no one: no
// key, or a certificate that no listener can see.
func nobody(t *testing.T, r *ir.Rule) {
	t.Helper()
	if r.Refuse != nil {
		t.Fatalf("refused: %s", r.Refuse.Reason)
	}
	if r.Unprotected || r.Authentication == nil || len(r.Authentication.AnyOf) != 1 {
		t.Fatalf("authentication is %+v", r.Authentication)
	}
	a := r.Authentication.AnyOf[0]
	if a.Anonymous != nil || a.APIKey != nil && len(a.APIKey.Keys) > 0 || a.APIKey == nil && a.ClientCertificate == nil {
		t.Errorf("somebody may be admitted: %+v", a)
	}
}

// TestSoundBase makes sure that what TestBrokenPolicyNeverOpens starts from is
// open: else it would prove nothing.
func TestSoundBase(t *testing.T) {
	var in Input
	parse(t, &in, closedBase+openPolicy)
	table, report := Compile(in, Options{})
	if len(table.Rules) != 1 || table.Rules[0].Refuse != nil || !report.OK() {
		t.Fatalf("%s\n%s", asJSON(t, table), report)
	}
}

// TestRemovalNeverOpens takes single Secrets, ConfigMaps, ReferenceGrants and
// BackendTLSPolicies' authorities away from every golden case: each rule must
// then refuse or be protected exactly as before.
func TestRemovalNeverOpens(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	removed, closed := 0, 0
	for _, file := range files {
		c := readCase(t, file)
		before, _ := Compile(c.in, c.opt)
		check := func(what string, in Input) {
			removed++
			after, _ := Compile(in, c.opt)
			for i := range after.Rules {
				r := &after.Rules[i]
				j := slices.IndexFunc(before.Rules, func(o ir.Rule) bool { return o.ID == r.ID })
				if j < 0 {
					t.Errorf("%s without %s: rule %s is new", file, what, r.ID)
					continue
				}
				if r.Refuse != nil {
					if before.Rules[j].Refuse == nil {
						closed++
					}
					continue
				}
				if before.Rules[j].Refuse != nil {
					t.Errorf("%s without %s: rule %s no longer refuses", file, what, r.ID)
				}
				if diff := cmp.Diff(protection(t, &before.Rules[j]), protection(t, r)); diff != "" {
					t.Errorf("%s without %s: rule %s is protected in another way:\n%s", file, what, r.ID, diff)
				}
			}
			for _, b := range after.Backends {
				j := slices.IndexFunc(before.Backends, func(o ir.Backend) bool { return o.Name == b.Name })
				if b.Refuse == nil && b.TLS == nil && j >= 0 && (before.Backends[j].TLS != nil || before.Backends[j].Refuse != nil) {
					t.Errorf("%s without %s: backend %s is spoken to in plain text", file, what, b.Name)
				}
			}
			for _, l := range after.Listeners {
				j := slices.IndexFunc(before.Listeners, func(o ir.Listener) bool { return o.Name == l.Name })
				if j < 0 {
					if l.Refuse == nil {
						t.Errorf("%s without %s: listener %s is new", file, what, l.Name)
					}
					continue // it keeps its place closed
				}
				if old := before.Listeners[j]; l.Refuse == nil && old.TLS != nil && (l.TLS == nil || old.TLS.RequireClient && !l.TLS.RequireClient) {
					t.Errorf("%s without %s: listener %s asks for less", file, what, l.Name)
				}
			}
		}
		for i, o := range c.in.Secrets {
			in := c.in
			in.Secrets = slices.Delete(slices.Clone(c.in.Secrets), i, i+1)
			check("Secret "+keyOf(o).String(), in)
		}
		for i, o := range c.in.ConfigMaps {
			in := c.in
			in.ConfigMaps = slices.Delete(slices.Clone(c.in.ConfigMaps), i, i+1)
			check("ConfigMap "+keyOf(o).String(), in)
		}
		for i, o := range c.in.ReferenceGrants {
			in := c.in
			in.ReferenceGrants = slices.Delete(slices.Clone(c.in.ReferenceGrants), i, i+1)
			check("ReferenceGrant "+keyOf(o).String(), in)
		}
	}
	t.Logf("%d objects removed, %d rules closed by it", removed, closed)
	if removed < 40 || closed < 3 {
		t.Errorf("%d objects removed, %d rules closed: too few to prove anything", removed, closed)
	}
}

// protection is what protects a rule, as JSON without its API keys: of those
// there may be fewer.
func protection(t *testing.T, r *ir.Rule) string {
	t.Helper()
	c := *r
	c.Backends, c.Mirrors = nil, nil
	if c.Authentication != nil {
		a := *c.Authentication
		a.AnyOf = slices.Clone(a.AnyOf)
		for i := range a.AnyOf {
			if k := a.AnyOf[i].APIKey; k != nil {
				fewer := *k
				fewer.Keys = nil
				a.AnyOf[i].APIKey = &fewer
			}
		}
		c.Authentication = &a
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
