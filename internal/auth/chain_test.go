package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/auth/authn"
)

var testNow = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

// request is a fake Request; fields are "name: value".
type request struct {
	fields []string
	query  string
	certs  []*x509.Certificate
}

func (r *request) Header(name string) (value string, count int) {
	for _, f := range r.fields {
		if n, v, _ := strings.Cut(f, ": "); n == name {
			if count == 0 {
				value = v
			}
			count++
		}
	}
	return value, count
}

func (r *request) RawQuery() string                      { return r.query }
func (r *request) PeerCertificates() []*x509.Certificate { return r.certs }
func (r *request) SetRawQuery(raw string)                { r.query = raw }

func (r *request) RemoveHeader(name string) {
	var out []string
	for _, f := range r.fields {
		if n, _, _ := strings.Cut(f, ": "); n != name {
			out = append(out, f)
		}
	}
	r.fields = out
}

// world is keys, users and certificates for the tests.
type world struct {
	key    *ecdsa.PrivateKey
	jwt    *authn.JWTConfig
	apiKey *authn.APIKeyConfig
	basic  *authn.BasicConfig
	cert   *authn.ClientCertificateConfig
	leaf   *x509.Certificate
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	w := &world{}
	var err error
	w.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: w.key.Public(), KeyID: "k"}}})
	must(err)
	w.jwt = &authn.JWTConfig{Issuer: "https://idp.example", Audiences: []string{"orders"}, JWKS: string(set)}
	sum := sha256.Sum256([]byte("saltsaltrobot-key"))
	w.apiKey = &authn.APIKeyConfig{Issuer: "P", Keys: []authn.Key{{
		Name: "robot", Salt: bulwark.NewSecret([]byte("saltsalt")), Hash: bulwark.NewSecret(sum[:]),
	}}}
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	must(err)
	w.basic = &authn.BasicConfig{Issuer: "P", Realm: "shop", Users: []authn.User{{Name: "ann", Hash: bulwark.NewSecret(hash)}}}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, w.key.Public(), w.key)
	must(err)
	w.cert = &authn.ClientCertificateConfig{
		CA:              string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		SubjectAltNames: []authn.SAN{{Type: authn.SANDNS, Value: "pod.example"}},
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"pod.example"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err = x509.CreateCertificate(rand.Reader, leaf, ca, w.key.Public(), w.key)
	must(err)
	w.leaf, err = x509.ParseCertificate(der)
	must(err)
	return w
}

func (w *world) token(tb testing.TB, iss string) string {
	tb.Helper()
	b64 := base64.RawURLEncoding.EncodeToString
	signed := b64([]byte(`{"alg":"ES256","kid":"k"}`)) + "." +
		b64(fmt.Appendf(nil, `{"iss":%q,"aud":"orders","sub":"tok","exp":%d}`, iss, testNow.Unix()+60))
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, w.key, sum[:])
	if err != nil {
		tb.Fatal(err)
	}
	return signed + "." + b64(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
}

func newTestChain(tb testing.TB, anyOf ...Alternative) *Chain {
	tb.Helper()
	shared := authn.NewShared([32]byte{})
	tb.Cleanup(shared.Close)
	c, err := New(anyOf, Deps{Shared: shared, HTTP: &http.Client{}})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func basicField(s string) string {
	return "authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(s))
}

func TestChain(t *testing.T) {
	w := newWorld(t)
	var (
		jwt     = Alternative{JWT: w.jwt}
		jwtKept = Alternative{JWT: w.jwt, Forward: true}
		jwtIn   = Alternative{JWT: w.jwt, Header: "X-Token"}
		key     = Alternative{APIKey: w.apiKey, Header: "X-API-Key"}
		keyKept = Alternative{APIKey: w.apiKey, Header: "X-API-Key", Forward: true}
		keyIn   = Alternative{APIKey: w.apiKey, Query: "key"}
		basic   = Alternative{Basic: w.basic}
		cert    = Alternative{ClientCertificate: w.cert}
		anon    = Alternative{Anonymous: &Anonymous{Roles: []string{"guest"}}}
	)
	tok := w.token(t, "https://idp.example")
	bearer := "authorization: Bearer " + tok
	certs := []*x509.Certificate{w.leaf}
	tests := []struct {
		name  string
		anyOf []Alternative
		in    request
		want  string  // "method/name", or the reason of the refusal
		left  request // what the backend gets
	}{
		{"nothing listed", nil, request{}, "carries no accepted credential", request{}},
		{"nothing there", []Alternative{jwt, key, basic, cert}, request{}, "carries no accepted credential", request{}},
		{"nothing there, anonymous", []Alternative{anon, jwt}, request{}, "anonymous/anonymous", request{}},
		{"jwt", []Alternative{jwt}, request{fields: []string{bearer, "a: b"}}, "jwt/tok", request{fields: []string{"a: b"}}},
		{"jwt, scheme in other case", []Alternative{jwt}, request{fields: []string{"authorization: bEARER " + tok}}, "jwt/tok", request{}},
		{"jwt, two spaces", []Alternative{jwt}, request{fields: []string{"authorization: Bearer  " + tok}}, "not canonical", request{}},
		{"jwt, tab", []Alternative{jwt}, request{fields: []string{"authorization: Bearer\t" + tok}}, "scheme", request{}},
		{"jwt without scheme", []Alternative{jwt}, request{fields: []string{"authorization: " + tok}}, "scheme", request{}},
		{"scheme alone", []Alternative{jwt, anon}, request{fields: []string{"authorization: Bearer"}}, "scheme", request{}},
		{"empty field", []Alternative{jwt, anon}, request{fields: []string{"authorization: "}}, "scheme", request{}},
		{"jwt forwarded", []Alternative{jwtKept}, request{fields: []string{bearer}}, "jwt/tok", request{fields: []string{bearer}}},
		{"jwt twice", []Alternative{jwt, anon}, request{fields: []string{bearer, bearer}}, "more than once", request{}},
		{"jwt and junk", []Alternative{jwt, anon}, request{fields: []string{bearer, "authorization: x"}}, "more than once", request{}},
		{"jwt in another field", []Alternative{jwtIn}, request{fields: []string{"x-token: " + tok}}, "jwt/tok", request{}},
		{"jwt in the wrong field", []Alternative{jwtIn}, request{fields: []string{bearer}}, "carries no accepted", request{}},
		{"invalid jwt is not anonymous", []Alternative{jwt, anon}, request{fields: []string{bearer + "x"}}, "", request{}},
		{"invalid jwt does not fall to a key", []Alternative{jwt, key}, request{fields: []string{bearer + "x", "x-api-key: robot-key"}}, "", request{}},
		{"policy order decides", []Alternative{key, jwt}, request{fields: []string{bearer + "x", "x-api-key: robot-key"}}, "apiKey/robot", request{}},
		{"unknown scheme is not anonymous", []Alternative{jwt, anon}, request{fields: []string{"authorization: Digest x"}}, "scheme", request{}},
		{"a field that no alternative reads", []Alternative{key, anon}, request{fields: []string{"authorization: Digest x"}}, "anonymous/anonymous", request{fields: []string{"authorization: Digest x"}}},
		{"key", []Alternative{key}, request{fields: []string{"x-api-key: robot-key"}}, "apiKey/robot", request{}},
		{"key twice", []Alternative{key}, request{fields: []string{"x-api-key: robot-key", "x-api-key: robot-key"}}, "more than once", request{}},
		{"key empty", []Alternative{key, anon}, request{fields: []string{"x-api-key: "}}, "empty", request{}},
		{"key forwarded, token not", []Alternative{keyKept, jwt}, request{fields: []string{"x-api-key: robot-key", bearer}}, "apiKey/robot", request{fields: []string{"x-api-key: robot-key"}}},
		{"key in the query", []Alternative{keyIn}, request{query: "a=1&key=robot-key&b=2"}, "apiKey/robot", request{query: "a=1&b=2"}},
		{"key in the query, encoded name", []Alternative{keyIn}, request{query: "k%65y=robot%2Dkey"}, "apiKey/robot", request{}},
		{"key in the query twice", []Alternative{keyIn}, request{query: "key=robot-key&k%65y=x"}, "more than once", request{}},
		{"key in a query read in two ways", []Alternative{keyIn, anon}, request{query: "a=1;key=x"}, "semicolon", request{}},
		{"broken query", []Alternative{keyIn, anon}, request{query: "a=%zz"}, "bad escape", request{}},
		{"duplicate elsewhere refuses too", []Alternative{key, jwt}, request{fields: []string{"x-api-key: robot-key", bearer, bearer}}, "more than once", request{}},
		{"basic", []Alternative{jwt, basic}, request{fields: []string{basicField("ann:secret")}}, "basic/ann", request{}},
		{"basic wrong", []Alternative{jwt, basic, anon}, request{fields: []string{basicField("ann:x")}}, "wrong name or password", request{}},
		{"jwt beside basic", []Alternative{basic, jwtKept}, request{fields: []string{bearer}}, "jwt/tok", request{fields: []string{bearer}}},
		{"basic beside a kept jwt", []Alternative{basic, jwtKept}, request{fields: []string{basicField("ann:secret")}}, "basic/ann", request{}},
		{"certificate", []Alternative{cert}, request{certs: certs}, "clientCertificate/pod.example", request{certs: certs}},
		{"certificate after token", []Alternative{jwt, cert}, request{certs: certs, fields: []string{bearer}}, "jwt/tok", request{certs: certs}},
		{"certificate before a token, which is not forwarded", []Alternative{cert, jwt}, request{certs: certs, fields: []string{bearer}}, "clientCertificate/pod.example", request{certs: certs}},
		{"certificate that nobody asked for", []Alternative{anon, jwt}, request{certs: certs}, "anonymous/anonymous", request{certs: certs}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newTestChain(t, tt.anyOf...)
			r := tt.in
			id, f := c.Authenticate(t.Context(), &r, testNow)
			if f != nil {
				if id != nil || f.Status != http.StatusUnauthorized || !strings.Contains(f.Reason, tt.want) {
					t.Errorf("refused %+v, want %q", f, tt.want)
				}
				if strings.Contains(tt.want, "anonymous/") {
					t.Error("refused")
				}
				return
			}
			if got := id.Method + "/" + id.Name; got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if diff := cmp.Diff(tt.left.fields, r.fields); diff != "" {
				t.Errorf("fields left (-want +got)\n%s", diff)
			}
			if r.query != tt.left.query {
				t.Errorf("query left %q, want %q", r.query, tt.left.query)
			}
		})
	}
}

func TestChainConfiguration(t *testing.T) {
	w := newWorld(t)
	tests := map[string][]Alternative{
		"no kind":                    {{}},
		"two kinds":                  {{JWT: w.jwt, Basic: w.basic}},
		"anonymous and a kind":       {{JWT: w.jwt, Anonymous: &Anonymous{}}},
		"key nowhere":                {{APIKey: w.apiKey}},
		"key in two places":          {{APIKey: w.apiKey, Header: "a", Query: "b"}},
		"key in Host":                {{APIKey: w.apiKey, Header: "Host"}},
		"key in a bad name":          {{APIKey: w.apiKey, Header: "a b"}},
		"token in Content-Length":    {{JWT: w.jwt, Header: "Content-Length"}},
		"token and key in one place": {{JWT: w.jwt, Header: "X-Token"}, {APIKey: w.apiKey, Header: "x-token"}},
		"key beside a scheme":        {{JWT: w.jwt}, {APIKey: w.apiKey, Header: "Authorization"}},
		"scheme beside a key":        {{APIKey: w.apiKey, Header: "Authorization"}, {Basic: w.basic}},
		"basic twice":                {{Basic: w.basic}, {Basic: w.basic}},
		"certificate twice":          {{ClientCertificate: w.cert}, {ClientCertificate: w.cert}},
		"broken jwt":                 {{JWT: &authn.JWTConfig{}}},
	}
	shared := authn.NewShared([32]byte{})
	defer shared.Close()
	for name, anyOf := range tests {
		if _, err := New(anyOf, Deps{Shared: shared}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for name, anyOf := range tests {
		if _, err := New(anyOf, Deps{}); err == nil {
			t.Errorf("%s without state: no error", name)
		}
	}
}

func TestSeveralOfOneKind(t *testing.T) {
	w := newWorld(t)
	other := *w.jwt
	other.Issuer = "https://other.example"
	sum := sha256.Sum256([]byte("saltsaltsecond"))
	second := &authn.APIKeyConfig{Issuer: "Q", Keys: []authn.Key{{
		Name: "second", Salt: bulwark.NewSecret([]byte("saltsalt")), Hash: bulwark.NewSecret(sum[:]),
	}}}
	c := newTestChain(t, Alternative{JWT: w.jwt}, Alternative{JWT: &other},
		Alternative{APIKey: w.apiKey, Header: "k"}, Alternative{APIKey: second, Header: "k"})
	for field, want := range map[string]string{
		"authorization: Bearer " + w.token(t, "https://idp.example"):   "https://idp.example",
		"authorization: Bearer " + w.token(t, "https://other.example"): "https://other.example",
		"authorization: Bearer " + w.token(t, "https://evil.example"):  "",
		"k: robot-key": "P",
		"k: second":    "Q",
		"k: third":     "",
	} {
		id, f := c.Authenticate(t.Context(), &request{fields: []string{field}}, testNow)
		if got := issuer(id); got != want || (f == nil) != (want != "") {
			t.Errorf("%.20s…: issuer %q, want %q (%+v)", field, got, want, f)
		}
	}
}

func issuer(id *bulwark.Identity) string {
	if id == nil {
		return ""
	}
	return id.Issuer
}

func TestChallengesAndClaimed(t *testing.T) {
	w := newWorld(t)
	c := newTestChain(t, Alternative{JWT: w.jwt}, Alternative{Basic: w.basic}, Alternative{APIKey: w.apiKey, Header: "k"},
		Alternative{ClientCertificate: w.cert}, Alternative{APIKey: w.apiKey, Query: "k"})
	want := []string{`Bearer realm="api"`, `Basic realm="shop", charset="UTF-8"`, `ApiKey realm="api"`, `ClientCertificate realm="api"`}
	if diff := cmp.Diff(want, c.Challenges()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for field, want := range map[string]string{
		basicField("ann:wrong"): "ann",
		basicField("ann"):       "",
		"authorization: Bearer " + w.token(t, "https://idp.example"): "",
		"k: robot-key": "",
	} {
		if got := c.Claimed(&request{fields: []string{field}}); got != want {
			t.Errorf("%.20s…: claimed %q, want %q", field, got, want)
		}
	}
	if got := newTestChain(t, Alternative{JWT: w.jwt}).Claimed(&request{fields: []string{basicField("ann:x")}}); got != "" {
		t.Errorf("claimed %q where no password is accepted", got)
	}
	if id, f := new(Chain).Authenticate(t.Context(), &request{fields: []string{"k: robot-key"}}, testNow); f == nil {
		t.Errorf("the zero Chain accepted %+v", id)
	}
}

// FuzzAuthorizationHeader sends anything in the one field and in the query:
// nothing but the known credentials gets in, and none of them stays behind.
func FuzzAuthorizationHeader(f *testing.F) {
	w := newWorld(f)
	c := newTestChain(f, Alternative{JWT: w.jwt}, Alternative{Basic: w.basic}, Alternative{APIKey: w.apiKey, Query: "key"})
	good := "Bearer " + w.token(f, "https://idp.example")
	f.Add(good, "")
	f.Add(strings.TrimPrefix(basicField("ann:secret"), "authorization: "), "")
	f.Add("Basic Og==", "key=")
	f.Add("", "key=robot-key")
	f.Add("Bearer", "k%65y=robot-key&key=x")
	f.Add("basic\tQQ==", "a;key=robot-key")
	f.Fuzz(func(t *testing.T, value, rawQuery string) {
		r := &request{query: rawQuery}
		if value != "" {
			r.fields = []string{"authorization: " + value}
		}
		id, failure := c.Authenticate(t.Context(), r, testNow)
		if (id == nil) == (failure == nil) {
			t.Fatalf("neither or both: %v, %v", id, failure)
		}
		if failure != nil {
			return
		}
		switch {
		case id.Method == authn.MethodJWT && strings.EqualFold(value[:7], "Bearer ") && value[7:] == good[7:]:
		case id.Method == authn.MethodBasic && strings.EqualFold(value[:6], "Basic ") && value[6:] == base64.StdEncoding.EncodeToString([]byte("ann:secret")):
		case id.Method == authn.MethodAPIKey && value == "":
		default:
			t.Fatalf("%q, %q is %+v", value, rawQuery, id)
		}
		if _, n := r.Header("authorization"); n != 0 || strings.Contains(r.query, "robot-key") && id.Method == authn.MethodAPIKey && !strings.Contains(rawQuery, "=robot-key&") && strings.Count(rawQuery, "robot-key") == 1 {
			t.Fatalf("the credential stays: %q", r.query)
		}
	})
}

func BenchmarkChain(b *testing.B) {
	w := newWorld(b)
	c := newTestChain(b, Alternative{JWT: w.jwt, Forward: true}, Alternative{APIKey: w.apiKey, Header: "X-API-Key", Forward: true})
	r := &request{fields: []string{"authorization: Bearer " + w.token(b, "https://idp.example")}}
	b.ReportAllocs()
	for b.Loop() {
		if _, f := c.Authenticate(b.Context(), r, testNow); f != nil {
			b.Fatal(f.Reason)
		}
	}
}
