package v1alpha1

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// who says which side refuses a case.
type who int

const (
	nobody who = iota
	both
	// goOnly is for what CRD rules cannot express, or only at a cost that API
	// servers refuse.
	goOnly
)

type validateCase struct {
	name string
	// spec is YAML; targetRefs is added if it is left out.
	spec string
	// want are the errors, as "field: type".
	want    []string
	refused who
}

const inlineKey = `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`

func jwt(more string) string {
	return "authentication: {anyOf: [{jwt: {issuer: https://idp.example, audiences: [a], jwks: {uri: https://idp.example/jwks}" + more + "}}]}"
}

func jwks(s string) string {
	return "authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: " + s + "}}]}"
}

func san(s string) string {
	return "authentication: {anyOf: [{clientCertificate: {caSecretRef: {name: ca}, subjectAltNames: [" + s + "]}}]}"
}

func limit(s string) string { return "rateLimits: [{name: a, rate: 5/s, " + s + "}]" }

func validateCases() []validateCase {
	const (
		inv  = ": Invalid value"
		req  = ": Required value"
		dup  = ": Duplicate value"
		uns  = ": Unsupported value"
		forb = ": Forbidden"
		long = ": Too long"
		many = ": Too many"
		one  = "spec.authentication.anyOf[0]"
		j    = one + ".jwt"
		cors = "spec.cors"
		set  = "spec.transform.request.setHeaders[0]"
	)
	return []validateCase{
		{"targets only", "", nil, nobody},
		{"no target", "targetRefs: []", []string{"spec.targetRefs" + req}, both},
		{"target kind", "targetRefs: [{group: gateway.networking.k8s.io, kind: Service, name: a}]", []string{"spec.targetRefs[0].kind" + uns}, both},
		{"target group", "targetRefs: [{group: '', kind: Gateway, name: a}]", []string{"spec.targetRefs[0].group" + uns}, both},
		{"target without name", "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: ''}]", []string{"spec.targetRefs[0].name" + req}, both},
		{"target name", "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: A_b}]", []string{"spec.targetRefs[0].name" + inv}, both},
		{
			"target twice", "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}, {group: gateway.networking.k8s.io, kind: Gateway, name: a}]",
			[]string{"spec.targetRefs[1]" + dup},
			both,
		},
		{"target ListenerSet", "targetRefs: [{group: gateway.networking.k8s.io, kind: ListenerSet, name: a, sectionName: x}]", nil, nobody},
		{"target TLSRoute", "targetRefs: [{group: gateway.networking.k8s.io, kind: TLSRoute, name: a}]", nil, nobody},
		{"target TCPRoute", "targetRefs: [{group: gateway.networking.k8s.io, kind: TCPRoute, name: a}]", []string{"spec.targetRefs[0].kind" + uns}, both},
		{
			"target sections", "targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a, sectionName: x}, {group: gateway.networking.k8s.io, kind: Gateway, name: a, sectionName: 'y'}]",
			nil, nobody,
		},

		{"no credential", "authentication: {anyOf: []}", []string{"spec.authentication.anyOf" + req}, both},
		{"empty credential", "authentication: {anyOf: [{}]}", []string{one + req}, both},
		{"two in one", "authentication: {anyOf: [{anonymous: {}, basic: {secretRef: {name: a}}}]}", []string{one + inv}, both},
		{"all kinds", "authentication: {anyOf: [{basic: {secretRef: {name: a}}}, {anonymous: {roles: [guest]}}, {apiKey: {header: X-Key, secretSelector: {matchLabels: {a: b}}}}]}", nil, nobody},
		{"anonymous twice", "authentication: {anyOf: [{anonymous: {}}, {anonymous: {}}]}", []string{"spec.authentication.anyOf[1].anonymous" + forb}, both},
		{"empty role", "authentication: {anyOf: [{anonymous: {roles: ['']}}]}", []string{one + ".anonymous.roles[0]" + req}, both},

		{"jwt", jwt(", algorithms: [ES256], type: at+jwt, claims: {roles: realm_access.roles}, clockSkew: 0s"), nil, nobody},
		{"jwt without issuer", "authentication: {anyOf: [{jwt: {issuer: '', audiences: [a], jwks: {uri: https://a/}}}]}", []string{j + ".issuer" + req}, both},
		{"jwt without audience", "authentication: {anyOf: [{jwt: {issuer: a, audiences: [], jwks: {uri: https://a/}}}]}", []string{j + ".audiences" + req}, both},
		{"jwt empty audience", "authentication: {anyOf: [{jwt: {issuer: a, audiences: [''], jwks: {uri: https://a/}}}]}", []string{j + ".audiences[0]" + req}, both},
		{"jwt blank audience", "authentication: {anyOf: [{jwt: {issuer: a, audiences: [' '], jwks: {uri: https://a/}}}]}", []string{j + ".audiences[0]" + req}, both},
		{"jwt algorithm none", jwt(", algorithms: [none]"), []string{j + ".algorithms[0]" + uns}, both},
		{"jwt symmetric", jwt(", algorithms: [ES256, HS256]"), []string{j + ".algorithms[1]" + uns}, both},
		{"jwt no algorithm", jwt(", algorithms: []"), []string{j + ".algorithms" + inv}, both},
		{"jwt skew", jwt(", clockSkew: 6m"), []string{j + ".clockSkew" + inv}, both},
		{"jwt negative skew", jwt(", clockSkew: -1s"), []string{j + ".clockSkew" + inv}, both},
		{"jwt type", jwt(", type: 'at+jwt; x'"), []string{j + ".type" + inv}, both},
		{"jwt header Host", jwt(", header: Host"), []string{j + ".header" + inv}, both},
		{"jwt header not a token", jwt(", header: 'X Key'"), []string{j + ".header" + inv}, both},
		{"jwt claim", jwt(", claims: {roles: a..b}"), []string{j + ".claims.roles" + inv}, both},

		{"jwks none", jwks("{}"), []string{j + ".jwks" + req}, both},
		{"jwks two", jwks("{uri: https://a/, secretRef: {name: a}}"), []string{j + ".jwks" + inv}, both},
		{"jwks plain http", jwks("{uri: http://idp.example/jwks}"), []string{j + ".jwks.uri" + inv}, both},
		{"jwks http on loopback", jwks("{uri: http://127.0.0.1:9000/jwks}"), nil, nobody},
		{"jwks http on localhost", jwks("{uri: http://localhost:9000/jwks}"), nil, nobody},
		{"jwks http on v6 loopback", jwks("{uri: 'http://[::1]:9000/jwks'}"), nil, nobody},
		{"jwks http looks like loopback", jwks("{uri: http://127.0.0.1.evil.example/jwks}"), []string{j + ".jwks.uri" + inv}, both},
		{"jwks http user looks like loopback", jwks("{uri: 'http://127.0.0.1@evil.example/jwks'}"), []string{j + ".jwks.uri" + inv}, both},
		{"jwks http port looks like password", jwks("{uri: 'http://localhost:80@evil.example/jwks'}"), []string{j + ".jwks.uri" + inv}, both},
		{"jwks file", jwks("{uri: file:///etc/keys}"), []string{j + ".jwks.uri" + inv}, both},
		{"jwks password", jwks("{uri: 'https://u:p@idp.example/'}"), []string{j + ".jwks.uri" + inv}, both},
		{"jwks fragment", jwks("{uri: 'https://idp.example/#a'}"), []string{j + ".jwks.uri" + inv}, both},
		{"jwks inline", jwks("{inline: '" + inlineKey + "'}"), nil, nobody},
		{"jwks inline not JSON", jwks("{inline: 'keys: []'}"), []string{j + ".jwks.inline" + inv}, goOnly},
		{"jwks inline without keys", jwks(`{inline: '{"keys":[]}'}`), []string{j + ".jwks.inline" + inv}, goOnly},
		{"jwks inline symmetric", jwks(`{inline: '{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}'}`), []string{j + ".jwks.inline" + inv}, goOnly},
		{"jwks inline private", jwks(`{inline: '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"eA","d":"c2VjcmV0"}]}'}`), []string{j + ".jwks.inline" + inv}, goOnly},
		{"jwks secret without name", jwks("{secretRef: {name: ''}}"), []string{j + ".jwks.secretRef.name" + req}, both},

		{"key nowhere", "authentication: {anyOf: [{apiKey: {secretSelector: {matchLabels: {a: b}}}}]}", []string{one + ".apiKey" + req}, both},
		{"key in two places", "authentication: {anyOf: [{apiKey: {header: X-Key, query: k, secretSelector: {matchLabels: {a: b}}}}]}", []string{one + ".apiKey" + inv}, both},
		{"key selects everything", "authentication: {anyOf: [{apiKey: {query: k, secretSelector: {}}}]}", []string{one + ".apiKey.secretSelector" + req}, both},
		{
			"key selects what lacks a label", "authentication: {anyOf: [{apiKey: {query: k, secretSelector: {matchExpressions: [{key: a, operator: DoesNotExist}]}}}]}",
			[]string{one + ".apiKey.secretSelector" + req},
			goOnly,
		},
		{"key in Connection", "authentication: {anyOf: [{apiKey: {header: connection, secretSelector: {matchLabels: {a: b}}}}]}", []string{one + ".apiKey.header" + inv}, both},
		{"basic without secret", "authentication: {anyOf: [{basic: {secretRef: {name: ''}}}]}", []string{one + ".basic.secretRef.name" + req}, both},
		{"basic realm", `authentication: {anyOf: [{basic: {secretRef: {name: a}, realm: 'a", x="'}}]}`, []string{one + ".basic.realm" + inv}, both},
		{"basic realm with line break", `authentication: {anyOf: [{basic: {secretRef: {name: a}, realm: "a\r\nSet-Cookie: b"}}]}`, []string{one + ".basic.realm" + inv}, both},
		{"basic twice", "authentication: {anyOf: [{basic: {secretRef: {name: a}}}, {basic: {secretRef: {name: b}}}]}", []string{"spec.authentication.anyOf[1].basic" + forb}, both},

		{"certificate", san("{type: DNS, value: '*.shop.example'}, {type: URI, value: 'spiffe://shop/ns/*'}, {type: Email, value: a@b.example}, {type: IP, value: '::1'}"), nil, nobody},
		{"certificate without names", san(""), []string{one + ".clientCertificate.subjectAltNames" + req}, both},
		{
			"certificate without authority", "authentication: {anyOf: [{clientCertificate: {subjectAltNames: [{type: DNS, value: a}]}}]}",
			[]string{one + ".clientCertificate" + req},
			both,
		},
		{
			"certificate with two authorities", "authentication: {anyOf: [{clientCertificate: {caSecretRef: {name: a}, caConfigMapRef: {name: a}, subjectAltNames: [{type: DNS, value: a}]}}]}",
			[]string{one + ".clientCertificate" + inv},
			both,
		},
		{"certificate name type", san("{type: CN, value: a}"), []string{one + ".clientCertificate.subjectAltNames[0].type" + uns}, both},
		{"certificate star inside", san("{type: DNS, value: 'a.*.example'}"), []string{one + ".clientCertificate.subjectAltNames[0].value" + inv}, both},
		{"certificate star alone", san("{type: DNS, value: '*'}"), []string{one + ".clientCertificate.subjectAltNames[0].value" + inv}, both},
		{"certificate URI star", san("{type: URI, value: 'spiffe://*/a'}"), []string{one + ".clientCertificate.subjectAltNames[0].value" + inv}, both},
		{"certificate any URI", san("{type: URI, value: '/*'}"), []string{one + ".clientCertificate.subjectAltNames[0].value" + inv}, both},
		{"certificate any host", san("{type: URI, value: 'spiffe:///*'}"), []string{one + ".clientCertificate.subjectAltNames[0].value" + inv}, both},
		{"certificate long IP", san("{type: IP, value: '0:0::1'}"), []string{one + ".clientCertificate.subjectAltNames[0].value" + inv}, goOnly},
		{"certificate e-mail", san("{type: Email, value: 'Ann <a@b.example>'}"), []string{one + ".clientCertificate.subjectAltNames[0].value" + inv}, both},

		{"rules", "authorization: {rules: [{name: a, allow: true, when: 'true'}]}", nil, nobody},
		{"no rules", "authorization: {rules: []}", []string{"spec.authorization.rules" + req}, both},
		{"rule twice", "authorization: {rules: [{name: a, when: 'true'}, {name: a, when: 'true'}]}", []string{"spec.authorization.rules[1].name" + dup}, both},
		{"rule without condition", "authorization: {rules: [{name: a, when: ''}]}", []string{"spec.authorization.rules[0].when" + req}, both},
		{"rule without name", "authorization: {rules: [{name: '', when: 'true'}]}", []string{"spec.authorization.rules[0].name" + req}, both},
		{"rule name with line break", `authorization: {rules: [{name: "a\nb", when: 'true'}]}`, []string{"spec.authorization.rules[0].name" + inv}, both},
		{"long rule", "authorization: {rules: [{name: a, when: '" + strings.Repeat("a", 4097) + "'}]}", []string{"spec.authorization.rules[0].when" + long}, both},
		{"long rule name", "authorization: {rules: [{name: " + strings.Repeat("a", 64) + ", when: 'true'}]}", []string{"spec.authorization.rules[0].name" + long}, both},

		{"limit", limit("burst: 5, key: identity.name, overflow: {queue: {depth: 10, timeout: 2s}}"), nil, nobody},
		{"limit twice", "rateLimits: [{name: a, rate: 5/s}, {name: a, rate: 5/m}]", []string{"spec.rateLimits[1].name" + dup}, both},
		{"limit rate zero", "rateLimits: [{name: a, rate: 0/s}]", []string{"spec.rateLimits[0].rate" + inv}, both},
		{"limit rate unit", "rateLimits: [{name: a, rate: 5/w}]", []string{"spec.rateLimits[0].rate" + inv}, both},
		{"limit rate missing", "rateLimits: [{name: a, rate: ''}]", []string{"spec.rateLimits[0].rate" + inv}, both},
		{"limit burst", limit("burst: -1"), []string{"spec.rateLimits[0].burst" + inv}, both},
		{"limit burst too large", limit("burst: 1000001"), []string{"spec.rateLimits[0].burst" + inv}, both},
		{"limit cluster", limit("scope: cluster"), []string{"spec.rateLimits[0].scope" + inv}, both},
		{"limit scope", limit("scope: world"), []string{"spec.rateLimits[0].scope" + uns}, both},
		{"overflow none", limit("overflow: {}"), []string{"spec.rateLimits[0].overflow" + req}, both},
		{"overflow two", limit("overflow: {reject: {}, queue: {depth: 1, timeout: 1s}}"), []string{"spec.rateLimits[0].overflow" + inv}, both},
		{"queue depth", limit("overflow: {queue: {depth: 0, timeout: 1s}}"), []string{"spec.rateLimits[0].overflow.queue.depth" + inv}, both},
		{"queue without wait", limit("overflow: {queue: {depth: 1, timeout: 0s}}"), []string{"spec.rateLimits[0].overflow.queue.timeout" + inv}, both},
		{"queue wait", limit("overflow: {queue: {depth: 1, timeout: 61s}}"), []string{"spec.rateLimits[0].overflow.queue.timeout" + inv}, both},

		{"concurrency", "concurrency: {max: 10, key: identity.name}", nil, nobody},
		{"concurrency none", "concurrency: {max: 0}", []string{"spec.concurrency.max" + inv}, both},
		{"lock-out", "lockOut: {attempts: 5, window: 1m, duration: 720h, by: source}", nil, nobody},
		{"lock-out attempts", "lockOut: {attempts: 0}", []string{"spec.lockOut.attempts" + inv}, both},
		{"lock-out window", "lockOut: {attempts: 5, window: 0s}", []string{"spec.lockOut.window" + inv}, both},
		{"lock-out duration", "lockOut: {attempts: 5, duration: 721h}", []string{"spec.lockOut.duration" + inv}, both},
		{"lock-out by", "lockOut: {attempts: 5, by: cookie}", []string{"spec.lockOut.by" + uns}, both},

		{"network", "network: {allow: [10.0.0.0/8, '2001:db8::/32'], deny: [10.1.0.0/16]}", nil, nobody},
		{"network empty", "network: {}", []string{"spec.network" + req}, both},
		{"network emptied", "network: {allow: []}", []string{"spec.network.allow" + inv}, both},
		{"network address", "network: {allow: [10.0.0.1]}", []string{"spec.network.allow[0]" + inv}, both},
		{"network bits behind", "network: {deny: [10.0.0.1/8]}", []string{"spec.network.deny[0]" + inv}, goOnly},
		{"network mapped", "network: {deny: ['::ffff:10.0.0.0/104']}", []string{"spec.network.deny[0]" + inv}, goOnly},
		{"network word", "network: {deny: [office]}", []string{"spec.network.deny[0]" + inv}, both},

		{"request", "request: {maxBodyBytes: 0, allowEncoded: ['%2F', ';'], methods: [GET, M-SEARCH]}", nil, nobody},
		{"request body", "request: {maxBodyBytes: -1}", []string{"spec.request.maxBodyBytes" + inv}, both},
		{"request encoded NUL", "request: {allowEncoded: ['%00']}", []string{"spec.request.allowEncoded[0]" + uns}, both},
		{"request encoded twice", "request: {allowEncoded: ['%2F', '%2F']}", []string{"spec.request.allowEncoded[1]" + dup}, both},
		{"request no methods", "request: {methods: []}", []string{"spec.request.methods" + inv}, both},
		{"request lower case", "request: {methods: [get]}", []string{"spec.request.methods[0]" + inv}, both},
		{"request CONNECT", "request: {methods: [CONNECT]}", []string{"spec.request.methods[0]" + inv}, both},
		{"request method token", "request: {methods: ['GET /']}", []string{"spec.request.methods[0]" + inv}, both},

		{"cors", "cors: {allowOrigins: ['https://shop.example', 'https://*.shop.example:8443'], allowCredentials: true, allowMethods: [PUT], allowHeaders: [X-A], maxAge: 1h}", nil, nobody},
		{"cors all", "cors: {allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'], exposeHeaders: ['*']}", nil, nobody},
		{"cors nobody", "cors: {allowOrigins: []}", []string{cors + ".allowOrigins" + req}, both},
		{"cors all with credentials", "cors: {allowOrigins: ['*'], allowCredentials: true}", []string{cors + ".allowOrigins[0]" + inv}, both},
		{"cors methods with credentials", "cors: {allowOrigins: ['https://a.example'], allowMethods: ['*'], allowCredentials: true}", []string{cors + ".allowMethods[0]" + inv}, both},
		{"cors all and one", "cors: {allowOrigins: ['*', 'https://a.example']}", []string{cors + ".allowOrigins[0]" + inv}, both},
		{"cors null", "cors: {allowOrigins: ['null']}", []string{cors + ".allowOrigins[0]" + inv}, both},
		{"cors path", "cors: {allowOrigins: ['https://a.example/']}", []string{cors + ".allowOrigins[0]" + inv}, both},
		{"cors upper case", "cors: {allowOrigins: ['https://A.example']}", []string{cors + ".allowOrigins[0]" + inv}, both},
		{"cors own port", "cors: {allowOrigins: ['https://a.example:443']}", []string{cors + ".allowOrigins[0]" + inv}, both},
		{"cors star in the middle", "cors: {allowOrigins: ['https://a.*.example']}", []string{cors + ".allowOrigins[0]" + inv}, both},
		{"cors star before a top domain", "cors: {allowOrigins: ['https://*.example']}", []string{cors + ".allowOrigins[0]" + inv}, both},
		{"cors two in one", "cors: {allowOrigins: ['https://a.example, https://b.example']}", []string{cors + ".allowOrigins[0]" + inv}, both},
		{"cors age", "cors: {allowOrigins: ['*'], maxAge: 25h}", []string{cors + ".maxAge" + inv}, both},
		{"cors part of a second", "cors: {allowOrigins: ['*'], maxAge: 1500ms}", []string{cors + ".maxAge" + inv}, both},

		{"transform", `transform: {request: {setHeaders: [{name: X-A, value: ''}], removeHeaders: [X-B], setQuery: [{name: a, expression: identity.name}], path: {pattern: '^/a/(.*)$', replacement: '/$1'}}, response: {removeHeaders: [Server]}}`, nil, nobody},
		{"header without value", "transform: {request: {setHeaders: [{name: X-A}]}}", []string{set + req}, both},
		{"header with two values", "transform: {request: {setHeaders: [{name: X-A, value: a, expression: b}]}}", []string{set + inv}, both},
		{"header twice", "transform: {request: {setHeaders: [{name: X-A, value: a}, {name: x-a, value: b}]}}", []string{"spec.transform.request.setHeaders[1].name" + dup}, both},
		{"header set and removed", "transform: {response: {setHeaders: [{name: X-A, value: a}], removeHeaders: [x-a]}}", []string{"spec.transform.response.removeHeaders[0]" + inv}, both},
		{"header framing", "transform: {request: {setHeaders: [{name: Transfer-Encoding, value: chunked}]}}", []string{set + ".name" + inv}, both},
		{"header Host", "transform: {request: {setHeaders: [{name: host, value: a}]}}", []string{set + ".name" + inv}, both},
		{"header removal of framing", "transform: {response: {removeHeaders: [Content-Length]}}", []string{"spec.transform.response.removeHeaders[0]" + inv}, both},
		{"header pseudo", "transform: {request: {setHeaders: [{name: ':path', value: a}]}}", []string{set + ".name" + inv}, both},
		{"header splitting", `transform: {response: {setHeaders: [{name: X-A, value: "a\r\nb: c"}]}}`, []string{"spec.transform.response.setHeaders[0].value" + inv}, both},
		{"query without name", "transform: {request: {setQuery: [{name: '', value: a}]}}", []string{"spec.transform.request.setQuery[0].name" + req}, both},
		{"query twice", "transform: {request: {removeQuery: [a, a]}}", []string{"spec.transform.request.removeQuery[1]" + inv}, both},
		{"path pattern", "transform: {request: {path: {pattern: '(', replacement: ''}}}", []string{"spec.transform.request.path.pattern" + inv}, both},
		{"path look-ahead", "transform: {request: {path: {pattern: '(?=a)', replacement: ''}}}", []string{"spec.transform.request.path.pattern" + inv}, both},
		{"path no pattern", "transform: {request: {path: {pattern: '', replacement: ''}}}", []string{"spec.transform.request.path.pattern" + req}, both},
		{"path group", "transform: {request: {path: {pattern: '(a)', replacement: '$2'}}}", []string{"spec.transform.request.path.replacement" + inv}, goOnly},
		{"path group glued", "transform: {request: {path: {pattern: '(a)', replacement: '$1x'}}}", []string{"spec.transform.request.path.replacement" + inv}, goOnly},
		{"path group in braces", "transform: {request: {path: {pattern: '(?P<n>a)', replacement: '${1}x${n}$$'}}}", nil, nobody},
		{"path lone dollar", "transform: {request: {path: {pattern: 'a', replacement: '$/'}}}", []string{"spec.transform.request.path.replacement" + inv}, goOnly},
		{"too many edits", "transform: {request: {removeQuery: [" + strings.TrimSuffix(numbered(65), ",") + "]}}", []string{"spec.transform.request.removeQuery" + many}, both},
	}
}

func numbered(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "q%d,", i)
	}
	return b.String()
}

func (c validateCase) document(t *testing.T) (text []byte, p *SecurityPolicy) {
	t.Helper()
	doc := "metadata: {name: orders, namespace: shop}\nspec:\n"
	if !strings.Contains(c.spec, "targetRefs") {
		doc += "  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: orders}]\n"
	}
	if c.spec != "" {
		doc += "  " + c.spec + "\n"
	}
	p = &SecurityPolicy{}
	if err := yaml.UnmarshalStrict([]byte(doc), p); err != nil {
		t.Fatalf("decode: %v\n%s", err, doc)
	}
	return []byte(doc), p
}

func TestValidate(t *testing.T) {
	var good, bad int
	for _, c := range validateCases() {
		t.Run(c.name, func(t *testing.T) {
			_, p := c.document(t)
			before := p.DeepCopy()
			var got []string
			for _, e := range Validate(p) {
				got = append(got, e.Field+": "+e.Type.String())
				if strings.Contains(e.Error(), "c2VjcmV0") {
					t.Errorf("the message holds a key: %v", e)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("errors (-want +got):\n%s\n%v", diff, Validate(p).ToAggregate())
			}
			if diff := cmp.Diff(before, p); diff != "" {
				t.Errorf("Validate changed the policy:\n%s", diff)
			}
			if (len(got) == 0) != (len(Validate(Default(p))) == 0) {
				t.Errorf("defaults change the verdict: %v, then %v", got, Validate(Default(p)))
			}
		})
		if c.refused == nobody {
			good++
		} else {
			bad++
		}
	}
	if good < 15 || bad < 80 {
		t.Errorf("%d accepted and %d refused cases are too few to prove both ways", good, bad)
	}
}

// TestValidateReportsAll proves that one mistake does not hide the next.
func TestValidateReportsAll(t *testing.T) {
	var p SecurityPolicy
	p.Spec.Network = &Network{}
	p.Spec.Concurrency = &Concurrency{}
	p.Spec.CORS = &CORS{}
	p.Spec.LockOut = &LockOut{}
	p.Spec.Authorization = &Authorization{}
	p.Spec.Authentication = &Authentication{}
	var got []string
	for _, e := range Validate(&p) {
		got = append(got, e.Field)
	}
	want := []string{
		"spec.targetRefs", "spec.authentication.anyOf", "spec.authorization.rules", "spec.concurrency.max",
		"spec.lockOut.attempts", "spec.network", "spec.cors.allowOrigins",
	}
	if !slices.Equal(got, want) {
		t.Errorf("fields %v, want %v", got, want)
	}
}
