package adversarial

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
)

// guarded is a gateway with the suite's own backend behind it.
type guarded struct {
	*process
	http, https string // addresses
	backend     *backend
	keys        *keys
	canaries    int
}

// apiKey is a good key for /key.
const apiKey = "adversarial-test-key"

// start runs a gateway on the suite's objects.
func start(t *testing.T, bin string) *guarded {
	t.Helper()
	g := &guarded{backend: newBackend(t), keys: newKeys(t)}
	plain, secure := freePort(t), freePort(t)
	g.http, g.https = loopback(plain), loopback(secure)
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"gateway.yaml": listeners(t, plain, secure),
		"backend.yaml": service("backend", g.backend.port()),
		"routes.yaml":  g.routes(),
	})
	g.process = launch(t, bin, dir)
	g.await(t, g.http, g.https)
	return g
}

// listeners is a Gateway with one plain listener and two TLS listeners that
// share a port.
func listeners(t *testing.T, plain, secure int) string {
	t.Helper()
	objects := []string{fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: bulwark}
spec: {controllerName: bulwark.dev/gateway}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: adv}
spec:
  gatewayClassName: bulwark
  addresses: [{type: IPAddress, value: 127.0.0.1}]
  listeners:
  - {name: plain, protocol: HTTP, port: %d}
  - {name: shop, protocol: HTTPS, port: %d, hostname: shop.test, tls: {mode: Terminate, certificateRefs: [{name: shop-cert}]}}
  - {name: other, protocol: HTTPS, port: %d, hostname: other.test, tls: {mode: Terminate, certificateRefs: [{name: other-cert}]}}
`, plain, secure, secure)}
	for _, name := range []string{"shop", "other"} {
		cert, key := certificate(t, name+".test")
		objects = append(objects, object("v1", "Secret", name+"-cert", map[string]any{
			"type": "kubernetes.io/tls", "stringData": map[string]string{"tls.crt": cert, "tls.key": key},
		}))
	}
	return strings.Join(objects, "---\n")
}

// object is a document of namespace adv. JSON is YAML.
func object(apiVersion, kind, name string, rest map[string]any) string {
	return labelled(apiVersion, kind, name, nil, rest)
}

func labelled(apiVersion, kind, name string, labels map[string]string, rest map[string]any) string {
	o := map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": map[string]any{"name": name, "namespace": "adv", "labels": labels}}
	maps.Copy(o, rest)
	b, err := json.MarshalIndent(o, "", " ")
	if err != nil {
		panic(err) // only maps and strings get here
	}
	return string(b) + "\n"
}

func service(name string, port int) string {
	return object("v1", "Service", name, map[string]any{"spec": map[string]any{"ports": []any{map[string]any{"name": "http", "port": 80, "targetPort": port}}}}) + "---\n" +
		labelled("discovery.k8s.io/v1", "EndpointSlice", name+"-1", map[string]string{"kubernetes.io/service-name": name}, map[string]any{
			"addressType": "IPv4",
			"ports":       []any{map[string]any{"name": "http", "port": port, "protocol": "TCP"}},
			"endpoints":   []any{map[string]any{"addresses": []string{"127.0.0.1"}, "conditions": map[string]bool{"ready": true}}},
		})
}

// route is an HTTPRoute and the policy on it, whose spec is YAML without
// targetRefs; an empty one leaves the route bare. more is YAML of the rule.
func route(name, hostname, prefix, more, policy string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: %s, namespace: adv}\nspec:\n  parentRefs: [{name: edge}]\n", name)
	if hostname != "" {
		fmt.Fprintf(&b, "  hostnames: [%s]\n", hostname)
	}
	fmt.Fprintf(&b, "  rules:\n  - matches: [{path: {type: PathPrefix, value: %s}}]\n", prefix)
	if !strings.Contains(more, "backendRefs") {
		b.WriteString("    backendRefs: [{name: backend, port: 80}]\n")
	}
	b.WriteString(indent(more, "    "))
	if policy != "" {
		fmt.Fprintf(&b, "---\napiVersion: bulwark.dev/v1alpha1\nkind: SecurityPolicy\nmetadata: {name: %s, namespace: adv}\nspec:\n  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: %s}]\n", name, name)
		b.WriteString(indent(policy, "  "))
	}
	b.WriteString("---\n")
	return b.String()
}

func indent(s, by string) string {
	if s == "" {
		return ""
	}
	return by + strings.ReplaceAll(strings.TrimSpace(s), "\n", "\n"+by) + "\n"
}

const (
	anonymous = "authentication: {anyOf: [{anonymous: {}}]}\n"
	allowAll  = "authorization: {rules: [{name: all, allow: true, when: 'true'}]}\n"
	onlyAdmin = "authorization: {rules: [{name: admins, allow: true, when: '\"admin\" in identity.roles'}]}\n"
)

// jwtWith is an authentication by tokens with the given key source.
func jwtWith(jwks string) string {
	return fmt.Sprintf("authentication: {anyOf: [{jwt: {issuer: %q, audiences: [%s], jwks: %s}}]}\n", issuer, audience, jwks)
}

// routes: everything under "/" is open, so that a path which policy reads in
// another way than the backend would get through; /admin and the host
// internal.test are closed.
func (g *guarded) routes() string {
	jwt := jwtWith(fmt.Sprintf("{inline: %q}", g.keys.jwks))
	salt := []byte("0123456789abcdef")
	sum := sha256.Sum256(append(salt, apiKey...))
	return strings.Join([]string{
		route("open", "", "/", "", anonymous+allowAll+"request: {maxBodyBytes: 1024}\n"),
		route("admin", "", "/admin", "", jwt+onlyAdmin),
		route("internal", "internal.test", "/", "", jwt+onlyAdmin),
		route("who", "", "/who", "", jwt+onlyAdmin+"transform: {request: {setHeaders: [{name: X-User, expression: identity.name}]}}\n"),
		route("key", "", "/key", "", "authentication: {anyOf: [{apiKey: {header: X-API-Key, secretSelector: {matchLabels: {key: adv}}}}]}\n"+allowAll),
		route("limited", "", "/limited", "", anonymous+allowAll+"rateLimits: [{name: a, key: request.sourceIP, rate: 2/h, burst: 2}]\n"),
		route("guessed", "", "/guessed", "", "authentication: {anyOf: [{apiKey: {header: X-API-Key, secretSelector: {matchLabels: {key: adv}}}}]}\n"+allowAll+"lockOut: {attempts: 3, window: 1h, duration: 1h, by: source}\n"),
		route("loose", "", "/loose", "", anonymous+allowAll+"request: {allowEncoded: [\"%2F\", \"%25\"]}\n"),
		route("strip", "", "/strip", "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /files}}}]\n", anonymous+allowAll),
		route("rewrite", "", "/rewrite", "", anonymous+allowAll+"transform: {request: {path: {pattern: '^/rewrite/x(.*)$', replacement: '/files/.$1'}}}\n"),
		route("redirect", "", "/redirect", "filters: [{type: RequestRedirect, requestRedirect: {hostname: shop.test, statusCode: 302}}]\nbackendRefs: []\n", anonymous+allowAll),
		labelled("v1", "Secret", "key-good", map[string]string{"key": "adv"}, map[string]any{"stringData": map[string]string{
			"name": "partner", "roles": "reader", "hash": "sha256:" + hex.EncodeToString(salt) + ":" + hex.EncodeToString(sum[:]),
		}}),
		"---\n",
		labelled("v1", "Secret", "key-old", map[string]string{"key": "adv"}, map[string]any{"stringData": map[string]string{
			"name": "former", "hash": keyHash("expired-key"), "expires": "2020-01-01T00:00:00Z",
		}}),
	}, "")
}

func keyHash(key string) string {
	salt := []byte("fedcba9876543210")
	sum := sha256.Sum256(append(salt, key...))
	return "sha256:" + hex.EncodeToString(salt) + ":" + hex.EncodeToString(sum[:])
}
