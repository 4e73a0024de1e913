package adversarial

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"testing"
	"time"
)

// The tokens of the suite's own issuer.
const (
	issuer   = "https://idp.test"
	audience = "shop"
)

// keys are what the issuer signs with. Its key set is given to the gateway
// inline.
type keys struct {
	ec   *ecdsa.PrivateKey
	rsa  *rsa.PrivateKey
	jwks string
}

func newKeys(t *testing.T) *keys {
	t.Helper()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	k := &keys{ec: ec, rsa: rs}
	set, err := json.Marshal(map[string]any{"keys": []any{k.ecJWK(t), map[string]string{
		"kty": "RSA", "kid": "rsa-1", "alg": "RS256", "use": "sig",
		"n": b64(rs.N.Bytes()), "e": b64(big.NewInt(int64(rs.E)).Bytes()),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	k.jwks = string(set)
	return k
}

func (k *keys) ecJWK(t *testing.T) map[string]string {
	t.Helper()
	point, err := k.ec.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{"kty": "EC", "crv": "P-256", "kid": "ec-1", "alg": "ES256", "use": "sig", "x": b64(point[1:33]), "y": b64(point[33:])}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// claims gives good claims, edited.
func claims(edit ...func(map[string]any)) map[string]any {
	now := time.Now().Unix()
	c := map[string]any{"iss": issuer, "aud": audience, "sub": "ada", "roles": []string{"admin"}, "iat": now, "nbf": now - 5, "exp": now + 600}
	for _, e := range edit {
		e(c)
	}
	return c
}

func with(name string, value any) func(map[string]any) {
	return func(c map[string]any) { c[name] = value }
}

func without(name string) func(map[string]any) { return func(c map[string]any) { delete(c, name) } }

// signing gives what stands before the signature.
func signing(t *testing.T, header, claims any) string {
	t.Helper()
	h, err := json.Marshal(header)
	if err != nil {
		t.Fatal(err)
	}
	c, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return b64(h) + "." + b64(c)
}

// es256 signs with the issuer's key, or with another.
func (k *keys) es256(t *testing.T, header map[string]any, claims any, other ...*ecdsa.PrivateKey) string {
	t.Helper()
	h := map[string]any{"alg": "ES256", "kid": "ec-1", "typ": "JWT"}
	maps.Copy(h, header)
	return k.sign(t, signing(t, h, claims), other...)
}

func (k *keys) sign(t *testing.T, input string, other ...*ecdsa.PrivateKey) string {
	t.Helper()
	key := k.ec
	if len(other) > 0 {
		key = other[0]
	}
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return input + "." + b64(sig)
}

func (k *keys) rs256(t *testing.T, claims any) string {
	t.Helper()
	input := signing(t, map[string]any{"alg": "RS256", "kid": "rsa-1"}, claims)
	sum := sha256.Sum256([]byte(input))
	sig, err := rsa.SignPKCS1v15(rand.Reader, k.rsa, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64(sig)
}

// hs256 signs with a secret: for the attacks that take a public key for one.
func hs256(t *testing.T, kid string, claims any, secret []byte) string {
	t.Helper()
	input := signing(t, map[string]any{"alg": "HS256", "kid": kid}, claims)
	mac := hmac.New(sha256.New, secret)
	_, _ = mac.Write([]byte(input))
	return input + "." + b64(mac.Sum(nil))
}

// publicPEM is the RSA key as an attacker finds it.
func (k *keys) publicPEM(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&k.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// certificate gives a self-signed server certificate and its key, as PEM.
func certificate(t *testing.T, names ...string) (certPEM, keyPEM string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}
