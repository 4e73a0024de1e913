package app

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/crypto/bcrypt"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/gateway/compile"
)

// The faults that each policy part must survive without opening its route.
const (
	none        = "none" // the control: the part in order admits a good request
	invalid     = "invalid"
	missing     = "reference missing"
	issuerDown  = "issuer down"
	caBroken    = "CA unreadable"
	certExpired = "certificate expired"
)

var faults = []string{invalid, missing, issuerDown, caBroken, certExpired}

// faultCase is one cell of the matrix.
type faultCase struct {
	part, fault string
	// policy is the SecurityPolicy's spec beside targetRefs. Anonymous access
	// and a rule that allows everything are added where it has none.
	policy string
	// objects are more documents; rule is more of the HTTPRoute's rule.
	objects string
	rule    string
	// load says that the files must not even load.
	load bool
	// status is what a request gets that would be admitted without the fault;
	// -1 that there is no answer at all.
	status int
	// how says what the request carries.
	how func(*http.Request, *world)
	// https asks by TLS.
	https bool
}

func withToken(r *http.Request, w *world) { r.Header.Set("Authorization", "Bearer "+w.token) }
func withKey(r *http.Request, _ *world)   { r.Header.Set("X-API-Key", "the-key-of-the-matrix") }
func withBasic(r *http.Request, _ *world) { r.SetBasicAuth("rita", "password") }

const (
	jwtPolicy = "authentication: {anyOf: [{jwt: {issuer: https://idp.example, audiences: [api], jwks: {%s}}}]}"
	keyPolicy = "authentication: {anyOf: [{apiKey: {header: X-API-Key, secretSelector: {matchLabels: {key: api}}}}]}"
	basic     = "authentication: {anyOf: [{basic: {secretRef: {name: users}}}]}"
	certs     = "authentication: {anyOf: [{clientCertificate: {caConfigMapRef: {name: ca}, subjectAltNames: [{type: DNS, value: client}]}}]}"
	limit     = "rateLimits: [{name: l, key: %q, rate: 100/s, burst: 100}]"
)

// cases is the matrix. notApplicable holds the cells that cannot exist.
func cases(w *world) []faultCase {
	configMap := func(name, key, value string) string {
		return fmt.Sprintf("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: ns}\ndata:\n  %s: %q\n", name, key, value)
	}
	secret := func(name, labels, data string) string {
		return fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: ns, labels: {%s}}\nstringData: {%s}\n", name, labels, data)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("password"), bcrypt.MinCost)
	if err != nil {
		w.t.Fatal(err)
	}
	goodKey := secret("key-1", "key: api", fmt.Sprintf("name: partner, hash: %q", compile.HashKey([]byte("the-key-of-the-matrix"), []byte("0123456789abcdef"))))
	tlsService := "---\napiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: tls, namespace: ns}\nspec: {targetRefs: [{group: \"\", kind: Service, name: svc}], validation: {hostname: %s, caCertificateRefs: [{group: \"\", kind: ConfigMap, name: backend-ca}]}}\n"
	return []faultCase{
		{part: "jwt inline", fault: none, policy: fmt.Sprintf(jwtPolicy, "inline: '"+w.jwks+"'"), how: withToken, status: 200},
		{part: "jwt inline", fault: invalid, policy: fmt.Sprintf(jwtPolicy, "inline: '{}'"), how: withToken, load: true},

		{part: "jwt from a ConfigMap", fault: none, policy: fmt.Sprintf(jwtPolicy, "configMapRef: {name: keys}"), objects: configMap("keys", "jwks.json", w.jwks), how: withToken, status: 200},
		{part: "jwt from a ConfigMap", fault: missing, policy: fmt.Sprintf(jwtPolicy, "configMapRef: {name: keys}"), how: withToken, status: 503},
		{part: "jwt from a ConfigMap", fault: invalid, policy: fmt.Sprintf(jwtPolicy, "configMapRef: {name: keys}"), objects: configMap("keys", "jwks.json", "not a key set"), how: withToken, status: 503},

		{part: "jwt from a Secret", fault: none, policy: fmt.Sprintf(jwtPolicy, "secretRef: {name: keys}"), objects: secret("keys", "", "jwks.json: '"+w.jwks+"'"), how: withToken, status: 200},
		{part: "jwt from a Secret", fault: missing, policy: fmt.Sprintf(jwtPolicy, "secretRef: {name: keys}"), how: withToken, status: 503},
		{part: "jwt from a Secret", fault: invalid, policy: fmt.Sprintf(jwtPolicy, "secretRef: {name: keys}"), objects: secret("keys", "", "other.json: '{}'"), how: withToken, status: 503},

		{part: "jwt from a URI", fault: none, policy: fmt.Sprintf(jwtPolicy, "uri: '"+w.idp+"/jwks'"), how: withToken, status: 200},
		{part: "jwt from a URI", fault: issuerDown, policy: fmt.Sprintf(jwtPolicy, "uri: '"+w.deadIDP+"/jwks'"), how: withToken, status: 503},
		{part: "jwt from a URI", fault: invalid, policy: fmt.Sprintf(jwtPolicy, "uri: 'http://idp.example/jwks'"), how: withToken, load: true},
		{part: "jwt from a URI", fault: caBroken, policy: fmt.Sprintf(jwtPolicy, "uri: '"+w.selfSignedIDP+"/jwks'"), how: withToken, status: 503},
		{part: "jwt from a URI", fault: certExpired, policy: fmt.Sprintf(jwtPolicy, "uri: '"+w.selfSignedIDP+"/jwks'"), how: withToken, status: 503},

		{part: "apiKey", fault: none, policy: keyPolicy, objects: goodKey, how: withKey, status: 200},
		{part: "apiKey", fault: missing, policy: keyPolicy, how: withKey, status: 401},
		{part: "apiKey", fault: invalid, policy: keyPolicy, objects: goodKey + secret("key-2", "key: api", "hash: 'sha256:zz:zz'"), how: withKey, status: 503},

		{part: "basic", fault: none, policy: basic, objects: secret("users", "", fmt.Sprintf("auth: 'rita:%s:reader'", hash)), how: withBasic, status: 200},
		{part: "basic", fault: missing, policy: basic, how: withBasic, status: 503},
		{part: "basic", fault: invalid, policy: basic, objects: secret("users", "", "auth: 'rita:password'"), how: withBasic, status: 503},

		{part: "clientCertificate", fault: none, policy: certs, objects: configMap("ca", "ca.crt", w.ca.pem), https: true, status: 200},
		{part: "clientCertificate", fault: missing, policy: certs, https: true, status: 503},
		{part: "clientCertificate", fault: invalid, policy: "authentication: {anyOf: [{clientCertificate: {caConfigMapRef: {name: ca}, subjectAltNames: []}}]}", objects: configMap("ca", "ca.crt", w.ca.pem), https: true, load: true},
		{part: "clientCertificate", fault: caBroken, policy: certs, objects: configMap("ca", "ca.crt", "not a certificate"), https: true, status: 503},
		{part: "clientCertificate", fault: certExpired, policy: certs, objects: configMap("ca", "ca.crt", w.expiredCA.pem), https: true, status: 401},

		{part: "authentication", fault: none, policy: "authentication: {anyOf: [{anonymous: {}}]}", status: 200},
		{part: "authentication", fault: invalid, policy: "authentication: {anyOf: []}", load: true},
		{part: "authorization", fault: none, policy: "authorization: {rules: [{name: a, allow: true, when: 'request.method == \"GET\"'}]}", status: 200},
		{part: "authorization", fault: invalid, policy: "authorization: {rules: [{name: a, allow: true, when: 'request.metod == \"GET\"'}]}", status: 503},
		{part: "rateLimits", fault: none, policy: fmt.Sprintf(limit, "request.sourceIP"), status: 200},
		{part: "rateLimits", fault: invalid, policy: fmt.Sprintf(limit, "request.nothing"), status: 503},
		{part: "concurrency", fault: none, policy: "concurrency: {max: 5, key: request.sourceIP}", status: 200},
		{part: "concurrency", fault: invalid, policy: "concurrency: {max: 5, key: '1 + 1'}", status: 503},
		{part: "lockOut", fault: none, policy: "lockOut: {attempts: 5}", status: 200},
		{part: "lockOut", fault: invalid, policy: "lockOut: {attempts: 0}", load: true},
		{part: "network", fault: none, policy: "network: {allow: [127.0.0.0/8]}", status: 200},
		{part: "network", fault: invalid, policy: "network: {allow: [127.0.0.0/80]}", load: true},
		{part: "request", fault: none, policy: "request: {methods: [GET]}", status: 200},
		{part: "request", fault: invalid, policy: "request: {methods: ['G T']}", load: true},
		{part: "cors", fault: none, policy: "cors: {allowOrigins: ['https://a.example']}", status: 200},
		{part: "cors", fault: invalid, policy: "cors: {allowOrigins: ['*'], allowCredentials: true}", load: true},
		{part: "transform", fault: none, policy: "transform: {request: {setHeaders: [{name: X-A, expression: request.method}]}}", status: 200},
		{part: "transform", fault: invalid, policy: "transform: {request: {setHeaders: [{name: X-A, expression: 'request.'}]}}", status: 503},

		{part: "route filter", fault: none, rule: "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}}]", status: 200},
		{part: "route filter", fault: missing, rule: "filters: [{type: ExtensionRef, extensionRef: {group: x.example, kind: Filter, name: z}}]", status: 500},
		{part: "route filter", fault: invalid, rule: "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: b}]}}]", status: 500},

		{part: "backend TLS", fault: none, objects: fmt.Sprintf(tlsService, "backend.example") + configMap("backend-ca", "ca.crt", w.ca.pem), status: 200},
		{part: "backend TLS", fault: missing, objects: fmt.Sprintf(tlsService, "backend.example"), status: 503},
		{part: "backend TLS", fault: caBroken, objects: fmt.Sprintf(tlsService, "backend.example") + configMap("backend-ca", "ca.crt", "garbage"), status: 503},
		{part: "backend TLS", fault: invalid, objects: fmt.Sprintf(tlsService, "other.example") + configMap("backend-ca", "ca.crt", w.ca.pem), status: 502},
		{part: "backend TLS", fault: certExpired, objects: fmt.Sprintf(tlsService, "backend.example") + configMap("backend-ca", "ca.crt", w.expiredCA.pem), status: 502},
	}
}

// notApplicable are the cells without a case, and why.
var notApplicable = map[string]string{
	"jwt inline/reference missing": "it refers to nothing", "jwt inline/issuer down": "nothing is fetched",
	"jwt inline/CA unreadable": "nothing is fetched", "jwt inline/certificate expired": "nothing is fetched",
	"jwt from a ConfigMap/issuer down": "nothing is fetched", "jwt from a ConfigMap/CA unreadable": "nothing is fetched", "jwt from a ConfigMap/certificate expired": "nothing is fetched",
	"jwt from a Secret/issuer down": "nothing is fetched", "jwt from a Secret/CA unreadable": "nothing is fetched", "jwt from a Secret/certificate expired": "nothing is fetched",
	"jwt from a URI/reference missing": "a URI that answers nothing is an issuer that is down",
	"apiKey/issuer down":               "no issuer", "apiKey/CA unreadable": "no CA", "apiKey/certificate expired": "no certificate",
	"basic/issuer down": "no issuer", "basic/CA unreadable": "no CA", "basic/certificate expired": "no certificate",
	"clientCertificate/issuer down": "its issuer is not asked",
	"route filter/issuer down":      "no issuer", "route filter/CA unreadable": "no CA", "route filter/certificate expired": "no certificate",
	"backend TLS/issuer down": "no issuer",
}

func TestFailClosedMatrix(t *testing.T) {
	w := newWorld(t)
	ran, parts := map[string]bool{}, map[string]bool{}
	for _, tc := range cases(w) {
		ran[tc.part+"/"+tc.fault], parts[tc.part] = true, true
		t.Run(tc.part+"/"+tc.fault, func(t *testing.T) { w.run(t, &tc) })
	}
	// Parts that refer to nothing outside the policy have but one fault.
	plain := map[string]bool{"authentication": true, "authorization": true, "rateLimits": true, "concurrency": true, "lockOut": true, "network": true, "request": true, "cors": true, "transform": true}
	for part := range parts {
		if !ran[part+"/"+none] {
			t.Errorf("%s: no control case", part)
		}
		for _, f := range faults {
			cell := part + "/" + f
			if !ran[cell] && notApplicable[cell] == "" && (!plain[part] || f == invalid) {
				t.Errorf("%s: no case and no reason why not", cell)
			}
		}
	}
	t.Logf("%d cells ran, %d cannot exist", len(ran), len(notApplicable))
}

// world is what stands around the gateway.
type world struct {
	t                           *testing.T
	token, jwks                 string
	idp, deadIDP, selfSignedIDP string
	ca, expiredCA               *testCA
	backend, tlsBackend         int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	w.jwks = string(set)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.token, err = jwt.Signed(signer).Claims(map[string]any{"iss": "https://idp.example", "aud": "api", "sub": "rita", "exp": time.Now().Add(time.Hour).Unix()}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	idp := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = rw.Write(set) })
	serve := func(start func(http.Handler) *httptest.Server) string {
		s := start(idp)
		t.Cleanup(s.Close)
		return s.URL
	}
	w.idp = serve(httptest.NewServer)
	w.selfSignedIDP = serve(httptest.NewTLSServer)
	dead := httptest.NewServer(idp)
	w.deadIDP = dead.URL
	dead.Close()

	w.ca = newCA(t, time.Now().Add(time.Hour), nil)
	// The same name and key, but past its time: only the date can tell.
	w.expiredCA = newCA(t, time.Now().Add(-time.Minute), w.ca.key)
	ok := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "reached") })
	plain := httptest.NewServer(ok)
	t.Cleanup(plain.Close)
	w.backend = plain.Listener.Addr().(*net.TCPAddr).Port
	secure := httptest.NewUnstartedServer(ok)
	pair := w.ca.issue(t, "backend.example")
	secure.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	secure.StartTLS()
	t.Cleanup(secure.Close)
	w.tlsBackend = secure.Listener.Addr().(*net.TCPAddr).Port
	return w
}

// run serves one case and asks once.
func (w *world) run(t *testing.T, tc *faultCase) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := ln.Addr().(*net.TCPAddr).Port
	_ = ln.Close()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(w.objects(t, tc, port)), 0o600); err != nil {
		t.Fatal(err)
	}
	snap, err := cluster.LoadFiles([]string{dir})
	if tc.load {
		if err == nil {
			t.Fatal("the files load")
		}
		return
	}
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	log := slog.New(slog.DiscardHandler)
	env := &Env{Now: time.Now, Random: mrand.Uint64}
	g, err := newGateway(env, log, newJudge(compile.Options{}, nil), discard{}, nil, &gatewayFlags{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := g.shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	}()
	if err := g.apply(t.Context(), snap); err != nil {
		t.Fatalf("apply: %v", err)
	}
	status, body := w.ask(t, tc, port)
	if status != tc.status {
		t.Errorf("status %d (%s), want %d", status, body, tc.status)
	}
	if (status == http.StatusOK) != (body == "reached") {
		t.Errorf("status %d with body %q", status, body)
	}
	if tc.status == http.StatusServiceUnavailable && tc.fault != issuerDown && !strings.HasPrefix(tc.part, "jwt from a URI") && len(g.refusedLines()) == 0 {
		t.Error("no condition tells the operator")
	}
}

func (w *world) objects(t *testing.T, tc *faultCase, port int) string {
	t.Helper()
	listener := fmt.Sprintf("{name: l, protocol: HTTP, port: %d}", port)
	var more strings.Builder
	if tc.https {
		listener = fmt.Sprintf("{name: l, protocol: HTTPS, port: %d, tls: {certificateRefs: [{name: server}]}}", port)
		cert, key := pemPair(t, w.ca.issue(t, "gateway.example"))
		b64 := base64.StdEncoding.EncodeToString
		fmt.Fprintf(&more, "---\napiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\nmetadata: {name: server, namespace: ns}\ndata: {tls.crt: %s, tls.key: %s}\n", b64(cert), b64(key))
	}
	policy := tc.policy
	if !strings.Contains(policy, "authentication:") {
		policy += "\n  authentication: {anyOf: [{anonymous: {}}]}"
	}
	if !strings.Contains(policy, "authorization:") {
		policy += "\n  authorization: {rules: [{name: all, allow: true, when: 'true'}]}"
	}
	backend := w.backend
	if tc.part == "backend TLS" {
		backend = w.tlsBackend
	}
	rule := "backendRefs: [{name: svc, port: 80}]"
	if tc.rule != "" {
		rule += ", " + tc.rule
	}
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: ns}
spec: {gatewayClassName: bulwark, addresses: [{type: IPAddress, value: 127.0.0.1}], listeners: [%s]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: ns}
spec: {parentRefs: [{name: gw}], rules: [{%s}]}
---
apiVersion: v1
kind: Service
metadata: {name: svc, namespace: ns}
spec: {ports: [{name: p, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: svc-1, namespace: ns, labels: {kubernetes.io/service-name: svc}}
addressType: IPv4
ports: [{name: p, port: %d}]
endpoints: [{addresses: [127.0.0.1]}]
---
apiVersion: bulwark.dev/v1alpha1
kind: SecurityPolicy
metadata: {name: api, namespace: ns}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: api}]
  %s
%s%s`, listener, rule, backend, policy, more.String(), tc.objects)
}

// ask sends the request that the part in order would admit.
func (w *world) ask(t *testing.T, tc *faultCase, port int) (int, string) {
	t.Helper()
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	tr := &http.Transport{DisableKeepAlives: true}
	if tc.https {
		url = "https" + strings.TrimPrefix(url, "http")
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(w.ca.pem))
		client := w.ca.issue(t, "client")
		tr.TLSClientConfig = &tls.Config{RootCAs: pool, ServerName: "gateway.example", Certificates: []tls.Certificate{client}}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if tc.https {
		req.Host = "gateway.example"
	}
	if tc.how != nil {
		tc.how(req, w)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return -1, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(bytes.TrimSpace(b))
}

// testCA signs certificates for tests.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newCA(t *testing.T, notAfter time.Time, key *ecdsa.PrivateKey) *testCA {
	t.Helper()
	var err error
	if key == nil {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: notAfter}
	tmpl.Subject.CommonName = "matrix CA"
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testCA{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

func (ca *testCA) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, key.Public(), ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func pemPair(t *testing.T, c tls.Certificate) (cert, key []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
