package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

var testNow = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

// ring is one key of each kind.
type ring struct {
	rsa, other *rsa.PrivateKey
	ec         map[string]*ecdsa.PrivateKey
	ed         ed25519.PrivateKey
}

func newRing(tb testing.TB) *ring {
	tb.Helper()
	r := &ring{ec: map[string]*ecdsa.PrivateKey{}}
	var err error
	if r.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		tb.Fatal(err)
	}
	if r.other, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		tb.Fatal(err)
	}
	for name, c := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		if r.ec[name], err = ecdsa.GenerateKey(c, rand.Reader); err != nil {
			tb.Fatal(err)
		}
	}
	if _, r.ed, err = ed25519.GenerateKey(rand.Reader); err != nil {
		tb.Fatal(err)
	}
	return r
}

// keyOf is the ring's key for an algorithm, and its kid.
func (r *ring) keyOf(alg string) (crypto.Signer, string) {
	switch {
	case alg == "EdDSA":
		return r.ed, "ed"
	case strings.HasPrefix(alg, "ES"):
		return r.ec[alg], alg
	}
	return r.rsa, "rsa"
}

func jwkJSON(tb testing.TB, public crypto.PublicKey, kid string, extra map[string]any) map[string]any {
	tb.Helper()
	raw, err := json.Marshal(jose.JSONWebKey{Key: public, KeyID: kid})
	if err != nil {
		tb.Fatal(err)
	}
	m := map[string]any{}
	if err := json.Unmarshal(raw, &m); err != nil {
		tb.Fatal(err)
	}
	maps.Copy(m, extra)
	return m
}

func setJSON(tb testing.TB, keys ...map[string]any) string {
	tb.Helper()
	raw, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		tb.Fatal(err)
	}
	return string(raw)
}

func (r *ring) jwks(tb testing.TB) string {
	tb.Helper()
	keys := []map[string]any{jwkJSON(tb, r.rsa.Public(), "rsa", nil), jwkJSON(tb, r.ed.Public(), "ed", nil)}
	for name, k := range r.ec {
		keys = append(keys, jwkJSON(tb, k.Public(), name, map[string]any{"use": "sig", "alg": name}))
	}
	return setJSON(tb, keys...)
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// sign makes a token of a header and claims as they stand.
func sign(tb testing.TB, key crypto.Signer, alg, header, claims string) string {
	tb.Helper()
	return signEncoded(tb, key, alg, b64(header), b64(claims))
}

func signEncoded(tb testing.TB, key crypto.Signer, alg, header, claims string) string {
	tb.Helper()
	signed := header + "." + claims
	var sig []byte
	var err error
	a, _ := algorithmOf(alg)
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if a.pss {
			sig, err = rsa.SignPSS(rand.Reader, k, a.hash, digest(a.hash, []byte(signed)), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			sig, err = rsa.SignPKCS1v15(rand.Reader, k, a.hash, digest(a.hash, []byte(signed)))
		}
	case *ecdsa.PrivateKey:
		var x, y *big.Int
		n := (k.Params().BitSize + 7) / 8
		if x, y, err = ecdsa.Sign(rand.Reader, k, digest(a.hash, []byte(signed))); err == nil {
			sig = append(x.FillBytes(make([]byte, n)), y.FillBytes(make([]byte, n))...)
		}
	case ed25519.PrivateKey:
		sig = ed25519.Sign(k, []byte(signed))
	}
	if err != nil {
		tb.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

const testIssuer = "https://idp.example"

// goodClaims are claims that are accepted at testNow.
func goodClaims() string {
	return fmt.Sprintf(`{"iss":%q,"aud":"orders","sub":"ann","exp":%d,"roles":["reader"],"groups":"staff"}`, testIssuer, testNow.Unix()+60)
}

func newShared(tb testing.TB) *Shared {
	tb.Helper()
	s := NewShared([32]byte{1})
	tb.Cleanup(s.Close)
	return s
}

func testConfig(tb testing.TB, r *ring) JWTConfig {
	tb.Helper()
	return JWTConfig{Issuer: testIssuer, Audiences: []string{"orders", "api"}, JWKS: r.jwks(tb), ClockSkew: 30 * time.Second}
}

func newTestJWT(tb testing.TB, c JWTConfig) *JWT {
	tb.Helper()
	j, err := NewJWT(c, newShared(tb), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return j
}
