package adversarial

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// broken is a route whose protection cannot work as it is written. It must not
// open.
type broken struct {
	id, from, tries string
	// policy and rule as in route.
	policy, rule string
	// fields are sent with the request, which is for the route's own path.
	fields []string
	sni    string
	status []int
	// alone is what a check of the file by itself may refuse: then the program
	// must not start. If it starts all the same, status holds.
	alone bool
}

func (b *broken) path() string { return "/" + b.id }

func brokenRoutes(t *testing.T, k *keys, dead, foreign int) []broken {
	t.Helper()
	secret := []byte("a shared secret that stands in the key set")
	oct, err := json.Marshal(map[string]any{"keys": []any{map[string]string{"kty": "oct", "kid": "s", "k": b64(secret)}}})
	if err != nil {
		t.Fatal(err)
	}
	bearer := []string{"Authorization: Bearer " + k.es256(t, nil, claims())}
	closed := []int{401, 403, 503}
	unavailable := []int{503}
	undecided := []int{503, 401}
	const all = allowAll
	authz := func(rule string) string { return anonymous + "authorization: {rules: [" + rule + "]}\n" }
	sane := anonymous + allowAll
	return []broken{
		{id: "open-unguarded", from: "zero value", tries: "a route without any policy", status: closed},
		{id: "open-no-authn", from: "zero value", tries: "a policy without authentication", policy: all, status: closed},
		{id: "open-no-authz", from: "zero value", tries: "a policy without authorization", policy: anonymous, status: []int{403, 503}},
		{id: "open-key-none", from: "envoyproxy/gateway#2837", tries: "API keys of which there is no Secret", policy: "authentication: {anyOf: [{apiKey: {header: X-API-Key, secretSelector: {matchLabels: {key: nobody}}}}]}\n" + all, fields: []string{"X-API-Key: any"}, status: undecided},
		{id: "open-key-hash", from: "envoyproxy/gateway#2837", tries: "an API key whose hash is malformed", policy: "authentication: {anyOf: [{apiKey: {header: X-API-Key, secretSelector: {matchLabels: {key: malformed}}}}]}\n" + all, fields: []string{"X-API-Key: open-sesame"}, status: undecided},
		{id: "open-key-empty", from: "envoyproxy/gateway#2837", tries: "an API key whose Secret is empty", policy: "authentication: {anyOf: [{apiKey: {header: X-API-Key, secretSelector: {matchLabels: {key: empty}}}}]}\n" + all, fields: []string{"X-API-Key:"}, status: []int{503, 401, 400}},
		{id: "open-key-all", alone: true, from: "zero value", tries: "a selector that selects every Secret", policy: "authentication: {anyOf: [{apiKey: {header: X-API-Key, secretSelector: {}}}]}\n" + all, fields: []string{"X-API-Key: any"}, status: undecided},
		{id: "open-basic-missing", from: "envoyproxy/gateway#5366", tries: "passwords of which there is no Secret", policy: "authentication: {anyOf: [{basic: {secretRef: {name: nobody}}}]}\n" + all, fields: []string{"Authorization: Basic YTpi"}, status: unavailable},
		{id: "open-basic-malformed", from: "envoyproxy/gateway#5366", tries: "passwords that are no hashes", policy: "authentication: {anyOf: [{basic: {secretRef: {name: passwords}}}]}\n" + all, fields: []string{"Authorization: Basic YTpi"}, status: undecided},
		{id: "open-jwks-secret", from: "envoyproxy/gateway#2837", tries: "a key set in a Secret that is missing", policy: jwtWith("{secretRef: {name: nobody}}") + all, fields: bearer, status: unavailable},
		{id: "open-jwks-configmap", from: "envoyproxy/gateway#2837", tries: "a key set in a ConfigMap that is missing", policy: jwtWith("{configMapRef: {name: nobody}}") + all, fields: bearer, status: unavailable},
		{id: "open-jwks-key", from: "envoyproxy/gateway#2837", tries: "a ConfigMap without the key set", policy: jwtWith("{configMapRef: {name: garbage-ca}}") + all, fields: bearer, status: unavailable},
		{id: "open-jwks-down", from: "issuer down", tries: "a token while the issuer's keys cannot be had", policy: jwtWith(fmt.Sprintf("{uri: 'http://%s/jwks'}", loopback(dead))) + all, fields: bearer, status: undecided},
		{id: "open-jwks-down-none", from: "issuer down", tries: "no token while the issuer's keys cannot be had", policy: jwtWith(fmt.Sprintf("{uri: 'http://%s/jwks'}", loopback(dead))) + all, status: undecided},
		{id: "open-jwks-down-anonymous", from: "issuer down", tries: "a bad token where no token would do", policy: "authentication: {anyOf: [{jwt: {issuer: i, audiences: [a], jwks: {uri: 'http://" + loopback(dead) + "/jwks'}}}, {anonymous: {}}]}\n" + all, fields: bearer, status: undecided},
		{id: "open-jwks-html", from: "issuer down", tries: "a key set that is a web page", policy: jwtWith(fmt.Sprintf("{uri: 'http://%s/jwks'}", loopback(foreign))) + all, fields: bearer, status: undecided},
		{id: "open-jwks-redirect", from: "RFC 8725 3.10", tries: "a key set that is redirected", policy: jwtWith(fmt.Sprintf("{uri: 'http://%s/moved'}", loopback(foreign))) + all, fields: bearer, status: undecided},
		{id: "open-jwks-plain", alone: true, from: "RFC 8725 3.10", tries: "a key set over plain HTTP from elsewhere", policy: jwtWith("{uri: 'http://idp.test/jwks'}") + all, fields: bearer, status: unavailable},
		{id: "open-jwks-empty", alone: true, from: "RFC 7517 5", tries: "a key set without keys", policy: jwtWith(`{inline: '{"keys":[]}'}`) + all, fields: bearer, status: undecided},
		{id: "open-jwks-broken", alone: true, from: "RFC 7517 5", tries: "a key set that is no JSON", policy: jwtWith(`{inline: '{'}`) + all, fields: bearer, status: unavailable},
		{id: "open-jwks-shared", alone: true, from: "RFC 8725 2.1", tries: "a shared secret in the key set", policy: jwtWith(fmt.Sprintf("{inline: '%s'}", oct)) + all, fields: []string{"Authorization: Bearer " + hs256(t, "s", claims(), secret)}, status: undecided},
		{id: "open-ca-missing", from: "CVE-2026-27586", tries: "client certificates of a CA that is missing", sni: "shop.test", policy: "authentication: {anyOf: [{clientCertificate: {caConfigMapRef: {name: nobody}, subjectAltNames: [{type: DNS, value: a.test}]}}]}\n" + all, status: unavailable},
		{id: "open-ca-garbage", from: "CVE-2026-27586", tries: "client certificates of a CA that is no certificate", sni: "shop.test", policy: "authentication: {anyOf: [{clientCertificate: {caConfigMapRef: {name: garbage-ca}, subjectAltNames: [{type: DNS, value: a.test}]}}]}\n" + all, status: unavailable},
		{id: "open-ca-plain", from: "CVE-2026-27586", tries: "client certificates without TLS", policy: "authentication: {anyOf: [{clientCertificate: {caConfigMapRef: {name: good-ca}, subjectAltNames: [{type: DNS, value: a.test}]}}]}\n" + all, fields: []string{"X-Forwarded-Client-Cert: a.test"}, status: closed},
		{id: "open-ca-none", from: "CVE-2026-27586", tries: "no client certificate where one is asked for", sni: "shop.test", policy: "authentication: {anyOf: [{clientCertificate: {caConfigMapRef: {name: good-ca}, subjectAltNames: [{type: DNS, value: a.test}]}}]}\n" + all, status: closed},
		{id: "open-cel-syntax", alone: true, from: "envoyproxy/gateway#5366", tries: "a rule that does not parse", policy: authz("{name: a, allow: true, when: 'identity.'}"), status: unavailable},
		{id: "open-cel-type", from: "envoyproxy/gateway#5366", tries: "a rule that gives no bool", policy: authz("{name: a, allow: true, when: '1'}"), status: unavailable},
		{id: "open-cel-name", from: "envoyproxy/gateway#5366", tries: "a rule with an unknown name", policy: authz("{name: a, allow: true, when: 'user.admin'}"), status: unavailable},
		{id: "open-cel-deny-error", from: "Envoy Gateway authorization_types.go", tries: "a refusing rule whose evaluation fails, before one that allows", policy: authz(`{name: a, allow: false, when: 'request.headers["x-missing"] == "x"'}, {name: b, allow: true, when: 'true'}`), status: []int{403, 500, 503}},
		{id: "open-cel-allow-error", from: "Envoy Gateway authorization_types.go", tries: "an allowing rule whose evaluation fails, before one that allows", policy: authz(`{name: a, allow: true, when: 'int(request.path) > 0'}, {name: b, allow: true, when: 'true'}`), status: []int{403, 500, 503}},
		{id: "open-cel-cost", from: "CEL cost", tries: "a rule that costs without end", policy: authz(`{name: a, allow: false, when: '[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, [1,2,3,4,5,6,7,8,9,10].all(g, a*b*c*d*e*f*g < 0)))))) || true)'}, {name: b, allow: false, when: 'true'}`), status: []int{403, 500, 503}},
		{id: "open-cel-nothing", from: "default deny", tries: "no rule that matches", policy: authz("{name: a, allow: true, when: 'false'}"), status: []int{403}},
		{id: "open-rule-zero", from: "zero value", tries: "a rule that does not say what it decides", policy: authz("{name: a, when: 'true'}"), status: []int{403}},
		{id: "open-network", alone: true, from: "envoyproxy/gateway#5366", tries: "a network that is none", policy: sane + "network: {allow: [10.0.0.0/33]}\n", status: unavailable},
		{id: "open-network-deny", from: "control", tries: "an address that is denied", policy: sane + "network: {deny: [127.0.0.0/8]}\n", status: []int{403}},
		{id: "open-network-spoof", from: "CVE-2026-34457 family", tries: "an allowed address claimed by a field", policy: sane + "network: {allow: [192.0.2.0/24]}\n", fields: []string{"X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1", "Forwarded: for=192.0.2.1"}, status: []int{403}},
		{id: "open-agent", from: "CVE-2026-34457", tries: "a health check's user agent", policy: "authentication: {anyOf: [{apiKey: {header: X-API-Key, secretSelector: {matchLabels: {key: nobody}}}}]}\n" + all, fields: []string{"User-Agent: kube-probe/1.36"}, status: undecided},
		{id: "open-rate", alone: true, from: "envoyproxy/gateway#5366", tries: "a rate that is none", policy: sane + "rateLimits: [{name: a, rate: 600/y}]\n", status: unavailable},
		{id: "open-rate-cluster", alone: true, from: "failClosed defaults", tries: "a cluster limit without a shared store", policy: sane + "rateLimits: [{name: a, rate: 600/m, scope: cluster}]\n", status: unavailable},
		{id: "open-rate-key", from: "envoyproxy/gateway#5366", tries: "a limit whose key does not parse", policy: sane + "rateLimits: [{name: a, rate: 600/m, key: 'identity.'}]\n", status: unavailable},
		{id: "open-rate-error", from: "failClosed defaults", tries: "a limit whose key cannot be computed", policy: sane + "rateLimits: [{name: a, rate: 600/m, key: 'identity.claims.tenant'}]\n", status: []int{403, 429, 500, 503}},
		{id: "open-transform", alone: true, from: "CVE-2026-65600", tries: "a rewrite that does not parse", policy: sane + "transform: {request: {path: {pattern: '(', replacement: ''}}}\n", status: unavailable},
		{id: "open-transform-error", from: "GHSA-7r4p-vjf4-gxv4", tries: "an identity field that cannot be computed", policy: sane + "transform: {request: {setHeaders: [{name: X-User, expression: identity.claims.email}]}}\n", status: []int{400, 403, 500, 503}},
		{id: "open-transform-host", alone: true, from: "RFC 9112 3.2", tries: "a transform that writes Host and framing", policy: sane + "transform: {request: {setHeaders: [{name: Transfer-Encoding, value: chunked}]}}\n", status: unavailable},
		{id: "open-cors", alone: true, from: "Fetch 3.3.5", tries: "credentials for every origin", policy: sane + "cors: {allowOrigins: ['*'], allowCredentials: true}\n", status: unavailable},
		{id: "open-backend", from: "control", tries: "a backend that is missing", policy: sane, rule: "backendRefs: [{name: nobody, port: 80}]\n", status: []int{500, 503}},
		{id: "open-reference", from: "CVE-2026-53718", tries: "a backend of another namespace without a grant", policy: sane, rule: "backendRefs: [{name: stranger, namespace: elsewhere, port: 80}]\n", status: []int{500, 503}},
	}
}

func (b *broken) attack() *attack {
	return &attack{id: b.id, from: b.from, tries: b.tries, sni: b.sni, send: get(b.path(), b.fields...), status: b.status}
}

// otherObjects are what the broken routes refer to, and an open one for the
// canary.
func otherObjects(t *testing.T, port int) string {
	t.Helper()
	var objects strings.Builder
	objects.WriteString(route("open", "", "/canary", "", anonymous+allowAll))
	ca, _ := certificate(t, "ca.test")
	for name, pem := range map[string]string{"garbage-ca": "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n", "good-ca": ca} {
		objects.WriteString(object("v1", "ConfigMap", name, map[string]any{"data": map[string]string{"ca.crt": pem}}) + "---\n")
	}
	objects.WriteString(object("v1", "Secret", "passwords", map[string]any{"stringData": map[string]string{".htpasswd": "a:b\n"}}) + "---\n")
	objects.WriteString(labelled("v1", "Secret", "key-malformed", map[string]string{"key": "malformed"}, map[string]any{"stringData": map[string]string{"hash": "open-sesame"}}) + "---\n")
	objects.WriteString(labelled("v1", "Secret", "key-empty", map[string]string{"key": "empty"}, map[string]any{}) + "---\n")
	objects.WriteString(strings.ReplaceAll(service("stranger", port), `"adv"`, `"elsewhere"`))
	objects.WriteString("---\n")
	return objects.String()
}

// runOpen starts a gateway whose routes are broken, each in its own way.
func runOpen(t *testing.T, bin string, n *counter) {
	t.Helper()
	g := &guarded{backend: newBackend(t), keys: newKeys(t)}
	idp := newBackend(t) // an issuer that is no good
	idp.on("/moved", script{reply: "HTTP/1.1 302 Found\r\nLocation: http://" + loopback(idp.port()) + "/jwks.json\r\nContent-Length: 0\r\n\r\n"})
	idp.on("/jwks.json", script{reply: ok("Content-Type: application/json", "Content-Length: "+length(g.keys.jwks)) + g.keys.jwks})
	plain, secure, dead := freePort(t), freePort(t), freePort(t)
	g.http, g.https = loopback(plain), loopback(secure)
	routes := brokenRoutes(t, g.keys, dead, idp.port())
	others := otherObjects(t, g.backend.port())
	shared := []string{others}
	for _, b := range routes {
		if !b.alone {
			shared = append(shared, route(b.id, "", b.path(), b.rule, b.policy))
		}
	}
	files := func(routes string) map[string]string {
		return map[string]string{"gateway.yaml": listeners(t, plain, secure), "backend.yaml": service("backend", g.backend.port()), "routes.yaml": routes}
	}
	dir := t.TempDir()
	write(t, dir, files(strings.Join(shared, "")))
	t.Run("shared", func(t *testing.T) { // the process ends with it
		g.process = launch(t, bin, dir)
		g.await(t, g.http, g.https)
		for _, b := range routes {
			if !b.alone {
				g.run(t, n, b.attack())
			}
		}
	})
	for _, b := range routes {
		if !b.alone {
			continue
		}
		t.Run(b.id, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, files(others+route(b.id, "", b.path(), b.rule, b.policy)))
			g.process = launch(t, bin, dir)
			if code, started := g.outcome(t, g.http); started {
				g.run(t, n, b.attack())
			} else if n.add(t, b.id); code != 2 {
				report(t, b.id, b.from, b.tries, b.policy, g.output.String(), nil, []string{fmt.Sprintf("ended with code %d, want 2", code)})
			}
		})
	}
	if got := idp.take(); slices.ContainsFunc(got, func(r received) bool { return strings.Contains(r.line, "/jwks.json") }) {
		t.Error("open-jwks-redirect: the gateway followed a redirect of the key set")
	}
}

// runStarts starts the program on objects that it must not accept.
func runStarts(t *testing.T, bin string, n *counter) {
	t.Helper()
	port := freePort(t)
	good := func() map[string]string {
		return map[string]string{"gateway.yaml": listeners(t, port, freePort(t)), "backend.yaml": service("backend", 9), "routes.yaml": route("open", "", "/", "", anonymous+allowAll)}
	}
	rows := []struct {
		id, from, tries string
		spoil           func(t *testing.T, dir string)
	}{
		{"start-folder", "fail closed", "a folder that is not there", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}},
		{"start-unreadable", "CVE-2026-27586", "a file that cannot be read", func(t *testing.T, dir string) {
			t.Helper()
			if err := os.Symlink(filepath.Join(dir, "gone"), filepath.Join(dir, "policy.yaml")); err != nil {
				t.Fatal(err)
			}
		}},
		{"start-broken", "fail closed", "a file that is no YAML", spoilWith("kind: [")},
		{"start-field", "kubeshop/kusk-gateway#420", "a field with a spelling mistake", spoilWith(strings.Replace(route("a", "", "/a", "", allowAll+anonymous), "authentication:", "athentication:", 1))},
		{"start-duplicate", "CVE-2017-12635 family", "a key twice", spoilWith(route("a", "", "/a", "", anonymous+allowAll+"authorization: {rules: [{name: a, when: 'false'}]}\n"))},
		{"start-type", "fail closed", "a value of the wrong type", spoilWith(route("a", "", "/a", "", anonymous+"authorization: {rules: [{name: a, allow: 'yes', when: 'true'}]}\n"))},
		{"start-kind", "fail closed", "a policy of a kind with a spelling mistake", spoilWith("apiVersion: bulwark.dev/v1alpha1\nkind: SecurtyPolicy\nmetadata: {name: a, namespace: adv}\nspec: {}\n")},
	}
	for _, r := range rows {
		n.add(t, r.id)
		t.Run(r.id, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "objects")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, dir, good())
			r.spoil(t, dir)
			p := launch(t, bin, dir)
			if code, ended := p.exitCode(); !ended || code != 2 {
				t.Errorf("CASE %s (%s)\n  tries: %s\n  FAULT: ended %t with code %d, want an end with code 2\n  it said: %s", r.id, r.from, r.tries, ended, code, p.output)
			}
		})
	}
}

func spoilWith(body string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		write(t, dir, map[string]string{"spoilt.yaml": body})
	}
}

// runReloads changes the objects of a running gateway for the worse and watches
// the closed path for longer than a reload takes.
func runReloads(t *testing.T, bin string, n *counter) {
	t.Helper()
	rows := []struct {
		id, from, tries string
		spoil           func(t *testing.T, g *guarded)
		// kept wants the open path served as before.
		kept bool
	}{
		{"reload-broken", "envoyproxy/gateway#5905", "a file that is no YAML: all stays as it was", func(t *testing.T, g *guarded) {
			t.Helper()
			spoilWith("kind: [")(t, g.dir)
		}, true},
		{"reload-unreadable", "CVE-2026-27586", "a file that cannot be read: all stays as it was", func(t *testing.T, g *guarded) {
			t.Helper()
			if err := os.Symlink(filepath.Join(g.dir, "gone"), filepath.Join(g.dir, "policy.yaml")); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"reload-policy", "envoyproxy/gateway#5366", "the closed path's rule no longer parses", func(t *testing.T, g *guarded) {
			t.Helper()
			write(t, g.dir, map[string]string{"routes.yaml": strings.ReplaceAll(g.routes(), `"admin" in identity.roles`, `"admin" in`)})
		}, true},
		{"reload-removed", "zero value", "the closed path's policy is gone", func(t *testing.T, g *guarded) {
			t.Helper()
			docs := strings.Split(g.routes(), "---\n")
			docs = slices.DeleteFunc(docs, func(d string) bool {
				return strings.Contains(d, "kind: SecurityPolicy\nmetadata: {name: admin,")
			})
			write(t, g.dir, map[string]string{"routes.yaml": strings.Join(docs, "---\n")})
		}, true},
	}
	for _, r := range rows {
		n.add(t, r.id)
		t.Run(r.id, func(t *testing.T) {
			g := start(t, bin)
			r.spoil(t, g)
			var faults []string
			for end := time.Now().Add(2 * time.Second); time.Now().Before(end) && len(faults) == 0; time.Sleep(50 * time.Millisecond) {
				if o := converse(t, g.dial(t, ""), get("/admin", "Connection: close"), manner{}); !slices.Contains([]int{401, 403, 503}, o.status()) {
					faults = append(faults, fmt.Sprintf("the closed path answers %s", clip(o.raw)))
				}
				if r.kept {
					faults = append(faults, g.canary(t)...)
				}
			}
			if len(faults) > 0 {
				report(t, r.id, r.from, r.tries, "", "", nil, faults)
			}
		})
	}
}
