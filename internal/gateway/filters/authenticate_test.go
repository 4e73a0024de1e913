package filters

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

const testKeySet = `{"keys":[{"kty":"OKP","kid":"k1","crv":"Ed25519","x":"gTZkkKQFTjLICXwHFcWHOvM34HyqeF5sUeZ4j1hGf2A"}]}`

func testKey(name, secret string) ir.Key {
	salt := []byte("salt of " + name)
	sum := sha256.Sum256(append(append([]byte{}, salt...), secret...))
	return ir.Key{Name: name, Salt: bulwark.NewSecret(salt), Hash: bulwark.NewSecret(sum[:]), Roles: []string{"machine"}}
}

func testUser(t *testing.T, name, password string) ir.User {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return ir.User{Name: name, Hash: bulwark.NewSecret(hash)}
}

func arrives(source string, fields ...string) *Exchange {
	x := &Exchange{
		Req: &message.Request{Method: "GET", Scheme: "https", Host: "shop.example", Path: "/"}, Rule: &ir.Rule{},
		Source: netip.MustParseAddr(source), Now: epoch,
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		x.Req.Header.Add(name, value)
	}
	return x
}

func basicField(s string) string {
	return "authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(s))
}

func build(t *testing.T, rule *ir.Rule, state *State, log *slog.Logger, makers ...func(*ir.Rule, Deps) (step, error)) []step {
	t.Helper()
	var out []step
	for _, m := range makers {
		s, err := m(rule, Deps{State: state, Log: log, HTTP: &http.Client{}, Now: func() time.Time { return epoch }})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func newTestState(t *testing.T) *State {
	t.Helper()
	s := NewState()
	t.Cleanup(s.Close)
	return s
}

// What rule.json of the golden files cannot hold: secrets and TLS.
func TestAuthenticateSecretKinds(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(c, parent *x509.Certificate) *x509.Certificate {
		c.NotBefore, c.NotAfter = epoch.Add(-time.Hour), epoch.Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		out, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	ca = issue(ca, ca)
	leaf := issue(&x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{"pod.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca)
	rule := &ir.Rule{Authentication: &ir.Authentication{Rule: "P", AnyOf: []ir.Authenticator{
		{APIKey: &ir.APIKey{Issuer: "P", Header: "X-API-Key", Keys: []ir.Key{testKey("robot", "robot-key")}}},
		{APIKey: &ir.APIKey{Issuer: "P", Query: "key", Keys: []ir.Key{testKey("robot", "robot-key")}}},
		{Basic: &ir.Basic{Issuer: "P", Realm: "shop", Users: []ir.User{testUser(t, "ann", "secret")}}},
		{ClientCertificate: &ir.ClientCertificate{
			CA:              string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})),
			SubjectAltNames: []ir.SAN{{Type: "DNS", Value: "pod.example", Roles: []string{"pod"}}},
		}},
	}}}
	s := build(t, rule, newTestState(t), nil, newAuthenticate)[0]
	withTLS := func(complete bool) *Exchange {
		x := arrives("192.0.2.1")
		x.TLS = &tls.ConnectionState{HandshakeComplete: complete, PeerCertificates: []*x509.Certificate{leaf}}
		return x
	}
	inQuery := arrives("192.0.2.1")
	inQuery.Req.Query, inQuery.Req.HasQuery = "key=robot-key", true
	tests := []struct {
		name       string
		x          *Exchange
		id, reason string
		challenges int
	}{
		{"key", arrives("192.0.2.1", "x-api-key: robot-key", "accept: */*"), "apiKey robot", "", 0},
		{"key in the query", inQuery, "apiKey robot", "", 0},
		{"wrong key", arrives("192.0.2.1", "x-api-key: robot-kez"), "", "the API key is unknown", 1},
		{"basic", arrives("192.0.2.1", basicField("ann:secret"), "accept: */*"), "basic ann", "", 0},
		{"wrong password", arrives("192.0.2.1", basicField("ann:x")), "", `wrong name or password for user "ann"`, 1},
		{"certificate", withTLS(true), "clientCertificate pod.example", "", 0},
		{"certificate of an unfinished handshake", withTLS(false), "", "the request carries no accepted credential", 3},
		{"nothing", arrives("192.0.2.1"), "", "the request carries no accepted credential", 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := s.request(t.Context(), tt.x)
			if tt.reason != "" {
				want := bulwark.Refuse(http.StatusUnauthorized, bulwark.CodeUnauthenticated, "P authentication", tt.reason)
				if diff := cmp.Diff(want, d); diff != "" || tt.x.Identity != nil {
					t.Errorf("%v (-want +got)\n%s", tt.x.Identity, diff)
				}
				if n := len(tt.x.ResponseHeader); n != tt.challenges {
					t.Errorf("challenges %v, want %d", tt.x.ResponseHeader, tt.challenges)
				}
				return
			}
			if !d.Allowed || tt.x.Identity.Method+" "+tt.x.Identity.Name != tt.id {
				t.Fatalf("got %+v, %+v", d, tt.x.Identity)
			}
			for _, f := range tt.x.Req.Header {
				if f.Name != "accept" {
					t.Errorf("the backend gets %q", f.Name)
				}
			}
			if tt.x.Req.Target() != "/" {
				t.Errorf("the backend gets %q", tt.x.Req.Target())
			}
		})
	}
}

func TestLockOut(t *testing.T) {
	rule := func() *ir.Rule {
		return &ir.Rule{
			LockOut: &ir.LockOut{Rule: "P", Attempts: 3, Window: time.Minute, Duration: 10 * time.Minute, ByIdentity: true, BySource: true},
			Authentication: &ir.Authentication{Rule: "P", AnyOf: []ir.Authenticator{
				{Basic: &ir.Basic{Issuer: "P", Users: []ir.User{testUser(t, "ann", "secret"), testUser(t, "bob", "other")}}},
				{APIKey: &ir.APIKey{Issuer: "P", Header: "x-api-key", Keys: []ir.Key{testKey("robot", "robot-key")}}},
			}},
		}
	}
	var log bytes.Buffer
	state, r := newTestState(t), rule()
	logger := slog.New(slog.NewTextHandler(&log, nil))
	steps := build(t, r, state, logger, newLockOut, newAuthenticate)
	try := func(after time.Duration, source string, fields ...string) bulwark.Decision {
		x := arrives(source, fields...)
		x.Now = epoch.Add(after)
		var d bulwark.Decision
		for _, s := range steps {
			if d = s.request(t.Context(), x); !d.Allowed {
				break
			}
		}
		return d
	}
	want := func(what string, d bulwark.Decision, status int) {
		t.Helper()
		if d.Allowed != (status == 200) || !d.Allowed && d.Status != status {
			t.Errorf("%s: got %+v, want %d", what, d, status)
		}
	}
	// A missing credential is no guess.
	for range 5 {
		want("nothing", try(0, "192.0.2.1"), 401)
	}
	want("guess 1", try(0, "192.0.2.1", basicField("ann:a")), 401)
	want("guess 2", try(time.Second, "192.0.2.1", "x-api-key: guess"), 401)
	want("not yet locked", try(time.Second, "192.0.2.1", basicField("ann:secret")), 200)
	want("guess 3", try(2*time.Second, "192.0.2.1", basicField("bob:a")), 401)
	// The answer no longer depends on the credential.
	right, wrong := try(3*time.Second, "192.0.2.1", basicField("ann:secret")), try(3*time.Second, "192.0.2.1", basicField("ann:x"))
	if diff := cmp.Diff(right, wrong); diff != "" {
		t.Errorf("right and wrong differ:\n%s", diff)
	}
	locked := bulwark.Refuse(http.StatusTooManyRequests, bulwark.CodeLockedOut, "P lockOut", "too many failed credentials: the source is locked")
	locked.RetryAfter = 10*time.Minute - time.Second
	if diff := cmp.Diff(locked, right); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	want("nothing from the locked source", try(3*time.Second, "192.0.2.1"), 429)
	want("another source", try(3*time.Second, "192.0.2.2", "x-api-key: robot-key"), 200)

	// A reload finds the locks again.
	steps = build(t, r, state, logger, newLockOut, newAuthenticate)
	want("after a reload", try(4*time.Second, "192.0.2.1", basicField("ann:secret")), 429)
	want("when it ends", try(10*time.Minute+2*time.Second, "192.0.2.1", basicField("ann:secret")), 200)

	// One name from many sources.
	for i, source := range []string{"198.51.100.1", "198.51.100.2", "198.51.100.3"} {
		want("spread guess", try(11*time.Minute+time.Duration(i), source, basicField("bob:x")), 401)
	}
	want("the locked name", try(11*time.Minute+time.Second, "198.51.100.9", basicField("bob:other")), 429)
	want("another name", try(11*time.Minute+time.Second, "198.51.100.9", basicField("ann:secret")), 200)
	if n := strings.Count(log.String(), "locked out"); n != 2 {
		t.Errorf("%d locks were logged, want 2:\n%s", n, log.String())
	}
	if strings.Contains(log.String(), "secret") {
		t.Error("a password is in the log")
	}
}
