package load

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const objects = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: load}
spec:
  gatewayClassName: bulwark
  addresses: [{type: IPAddress, value: 127.0.0.1}]
  listeners: [{name: http, protocol: HTTP, port: $PORT}]
---
apiVersion: v1
kind: Service
metadata: {name: steady, namespace: load}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: steady-1, namespace: load, labels: {kubernetes.io/service-name: steady}}
addressType: IPv4
ports: [{name: http, port: $STEADY}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: v1
kind: Service
metadata: {name: flaky, namespace: load}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: flaky-1, namespace: load, labels: {kubernetes.io/service-name: flaky}}
addressType: IPv4
ports: [{name: http, port: $FLAKY}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: open, namespace: load}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /open}}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Version, value: "$VERSION"}]}}]
    backendRefs: [{name: steady, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /flaky}}]
    backendRefs: [{name: flaky, port: 80}]
---
apiVersion: bulwark.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: open, namespace: load}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: open}]
  authentication: {anyOf: [{anonymous: {}}]}
  authorization: {rules: [{name: all, allow: true, when: "true"}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: guarded, namespace: load}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /guarded}}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Version, value: "$VERSION"}]}}]
    backendRefs: [{name: steady, port: 80}]
---
apiVersion: bulwark.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: guarded, namespace: load}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: guarded}]
  authentication: {anyOf: [{jwt: {issuer: https://idp.load.example, audiences: [load], jwks: {inline: '$JWKS'}}}]}
  authorization:
    rules:
    - {name: readers, allow: true, when: 'request.method == "GET" && "reader" in identity.roles'}
    - {name: writers, allow: true, when: 'request.method == "POST" && "writer" in identity.roles'}
  rateLimits: [{name: plenty, key: identity.name, rate: 1000000/s, burst: 1000000}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: toggle, namespace: load}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {type: Exact, value: /toggle}}]
    backendRefs: [{name: steady, port: 80}]
---
apiVersion: bulwark.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: toggle, namespace: load}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: toggle}]
  authentication: {anyOf: [{jwt: {issuer: https://idp.load.example, audiences: [load], jwks: {inline: '$JWKS'}}}]}
  authorization: {rules: [{name: toggle, allow: $ALLOW, when: '"reader" in identity.roles'}]}
`

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{dir: t.TempDir(), token: map[string]string{}}
	ports := freePorts(t, 4)
	s.gateway, s.admin = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	s.steady, s.flaky = ports[2], ports[3]
	key, forged := newKey(t), newKey(t)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	s.jwks = string(set)
	s.token["rita"] = sign(t, key, "rita", "reader")
	s.token["walt"] = sign(t, key, "walt", "reader", "writer")
	s.token["forged"] = sign(t, forged, "rita", "reader", "writer")
	return s
}

// freePorts gives ports that nobody listens on, all different.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var out []int
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ln.Close() }()
		out = append(out, ln.Addr().(*net.TCPAddr).Port)
	}
	return out
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, key *ecdsa.PrivateKey, name string, roles ...string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(map[string]any{
		"iss": "https://idp.load.example", "aud": "load", "sub": name, "roles": roles, "exp": time.Now().Add(time.Hour).Unix(),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}
