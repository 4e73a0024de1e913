package compile

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/api/v1alpha1"
)

// fixtures are the files that test input may insert, made from fixed seeds so
// that they are the same in each run and no key lies in the repository.
var fixtures = sync.OnceValue(func() map[string]string {
	out := map[string]string{}
	ca := newCert(1, "Test CA", nil, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC))
	add := func(name string, c *testCert) {
		out[name+".crt"], out[name+".key"] = c.certPEM, c.keyPEM
	}
	add("ca", ca)
	add("ca2", newCert(2, "Other CA", nil, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)))
	add("expired-ca", newCert(3, "Expired CA", nil, time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)))
	add("server", newCert(4, "shop.example", ca, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)))
	add("client", newCert(5, "edge", ca, time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)))
	out["ca-and-key.pem"] = out["ca.crt"] + out["ca.key"]
	out["broken.pem"] = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
	out["truncated.pem"] = out["ca.crt"] + "-----BEGIN CERTIFICATE-----\nMIIB"
	out["empty.pem"] = ""

	b64 := base64.RawURLEncoding.EncodeToString
	public := b64(testKey(9).Public().(ed25519.PublicKey))
	out["jwks.json"] = `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","alg":"EdDSA","use":"sig","x":"` + public + `"}]}`
	out["jwks-private.json"] = `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k1","x":"` + public + `","d":"` + b64(testKey(9).Seed()) + `"}]}`
	out["jwks-oct.json"] = `{"keys":[{"kty":"oct","kid":"k1","k":"c2hhcmVkLXNlY3JldC1zaGFyZWQtc2VjcmV0"}]}`
	out["jwks-empty.json"] = `{"keys":[]}`
	out["hash-reader"] = HashKey([]byte("reader-key-plain"), []byte("0123456789abcdef"))
	out["hash-writer"] = HashKey([]byte("writer-key-plain"), []byte("fedcba9876543210"))
	out["hash-short-salt"] = HashKey([]byte("reader-key-plain"), []byte("0123"))
	out["bcrypt"] = testBcrypt
	return out
})

const testBcrypt = "$2a$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"

// secrets are the texts that no output may hold.
func secrets() []string {
	var out []string
	for name, s := range fixtures() {
		switch {
		case strings.HasSuffix(name, ".key"):
			out = append(out, s, strings.Split(s, "\n")[1])
		case strings.HasPrefix(name, "hash-"):
			out = append(out, strings.Split(s, ":")[1:]...)
		}
	}
	private := base64.RawURLEncoding.EncodeToString(testKey(9).Seed())
	return append(out, testBcrypt, private, "c2hhcmVkLXNlY3JldC1zaGFyZWQtc2VjcmV0", "reader-key-plain", "PRIVATE KEY")
}

type testCert struct {
	cert            *x509.Certificate
	key             ed25519.PrivateKey
	certPEM, keyPEM string
}

func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

// newCert makes a certificate; without a parent that of an authority.
func newCert(seed byte, name string, parent *testCert, end time.Time) *testCert {
	c := &testCert{key: testKey(seed)}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(int64(seed)), Subject: pkix.Name{CommonName: name}, SubjectKeyId: []byte{seed},
		NotBefore: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: end,
		BasicConstraintsValid: true, IsCA: parent == nil, DNSNames: []string{strings.ReplaceAll(strings.ToLower(name), " ", "-")},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "test", Path: "/" + fmt.Sprint(seed)}},
	}
	if parent == nil {
		parent = &testCert{cert: tmpl, key: c.key}
	}
	der, err := x509.CreateCertificate(nil, tmpl, parent.cert, c.key.Public(), parent.key)
	if err != nil {
		panic(err)
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		panic(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		panic(err)
	}
	c.certPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	c.keyPEM = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	return c
}

var insertion = regexp.MustCompile(`\$\{(base64|json):([a-z0-9.-]+)\}`)

// expand replaces "${json:file}" by a fixture as a JSON string and
// "${base64:file}" by its base64.
func expand(tb testing.TB, s string) string {
	tb.Helper()
	return insertion.ReplaceAllStringFunc(s, func(m string) string {
		parts := insertion.FindStringSubmatch(m)
		v, ok := fixtures()[parts[2]]
		if !ok {
			tb.Fatalf("no fixture %q", parts[2])
		}
		if parts[1] == "base64" {
			return base64.StdEncoding.EncodeToString([]byte(v))
		}
		b, err := json.Marshal(v)
		if err != nil {
			tb.Fatal(err)
		}
		return string(b)
	})
}

// parse reads objects from YAML documents, strictly.
func parse(tb testing.TB, in *Input, docs string) {
	tb.Helper()
	for doc := range strings.SplitSeq(expand(tb, docs), "\n---\n") {
		if strings.TrimSpace(doc) == "" {
			continue
		}
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &meta); err != nil {
			tb.Fatalf("%v in\n%s", err, doc)
		}
		switch meta.Kind {
		case "GatewayClass":
			in.GatewayClasses = append(in.GatewayClasses, decode[gwv1.GatewayClass](tb, doc))
		case "Gateway":
			in.Gateways = append(in.Gateways, decode[gwv1.Gateway](tb, doc))
		case "HTTPRoute":
			in.HTTPRoutes = append(in.HTTPRoutes, decode[gwv1.HTTPRoute](tb, doc))
		case "GRPCRoute":
			in.GRPCRoutes = append(in.GRPCRoutes, decode[gwv1.GRPCRoute](tb, doc))
		case "TLSRoute":
			in.TLSRoutes = append(in.TLSRoutes, decode[gwv1.TLSRoute](tb, doc))
		case "ListenerSet":
			in.ListenerSets = append(in.ListenerSets, decode[gwv1.ListenerSet](tb, doc))
		case "ReferenceGrant":
			in.ReferenceGrants = append(in.ReferenceGrants, decode[gwv1.ReferenceGrant](tb, doc))
		case "BackendTLSPolicy":
			in.BackendTLSPolicies = append(in.BackendTLSPolicies, decode[gwv1.BackendTLSPolicy](tb, doc))
		case "SecurityPolicy":
			in.SecurityPolicies = append(in.SecurityPolicies, decode[v1alpha1.SecurityPolicy](tb, doc))
		case "Service":
			in.Services = append(in.Services, decode[corev1.Service](tb, doc))
		case "EndpointSlice":
			in.EndpointSlices = append(in.EndpointSlices, decode[discoveryv1.EndpointSlice](tb, doc))
		case "Secret":
			in.Secrets = append(in.Secrets, decode[corev1.Secret](tb, doc))
		case "ConfigMap":
			in.ConfigMaps = append(in.ConfigMaps, decode[corev1.ConfigMap](tb, doc))
		case "Namespace":
			in.Namespaces = append(in.Namespaces, decode[corev1.Namespace](tb, doc))
		default:
			tb.Fatalf("unknown kind %q in\n%s", meta.Kind, doc)
		}
	}
}

func decode[T any](tb testing.TB, doc string) *T {
	tb.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(doc), out); err != nil {
		tb.Fatalf("%v in\n%s", err, doc)
	}
	return out
}

// clone copies an input deeply enough to shuffle it.
func (in Input) shuffled(swap func(n int, swap func(i, j int))) Input {
	mix(&in.GatewayClasses, swap)
	mix(&in.Gateways, swap)
	mix(&in.HTTPRoutes, swap)
	mix(&in.GRPCRoutes, swap)
	mix(&in.TLSRoutes, swap)
	mix(&in.ListenerSets, swap)
	mix(&in.ReferenceGrants, swap)
	mix(&in.BackendTLSPolicies, swap)
	mix(&in.SecurityPolicies, swap)
	mix(&in.Services, swap)
	mix(&in.EndpointSlices, swap)
	mix(&in.Secrets, swap)
	mix(&in.ConfigMaps, swap)
	mix(&in.Namespaces, swap)
	return in
}

func mix[T any](list *[]T, shuffle func(int, func(i, j int))) {
	l := append([]T(nil), *list...)
	shuffle(len(l), func(i, j int) { l[i], l[j] = l[j], l[i] })
	*list = l
}
