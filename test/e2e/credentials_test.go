package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/crypto/bcrypt"
)

// signer makes tokens.
type signer struct {
	key any
	alg jose.SignatureAlgorithm
	kid string
}

// newSigner makes a signer with an Ed25519 key from a seed, or a random ES256 key
// where the seed is empty.
func newSigner(t *testing.T, seed string) *signer {
	t.Helper()
	s := &signer{alg: jose.EdDSA}
	if seed == "" {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s.key, s.alg = key, jose.ES256
	} else {
		sum := sha256.Sum256([]byte(seed))
		s.key = ed25519.NewKeyFromSeed(sum[:])
	}
	public := jose.JSONWebKey{Key: s.public()}
	thumb, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	s.kid = hex.EncodeToString(thumb[:8])
	return s
}

func (s *signer) public() any { return s.key.(crypto.Signer).Public() }

// keySet is the public halves, as JSON.
func keySet(t *testing.T, signers ...*signer) string {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, s := range signers {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.public(), KeyID: s.kid, Algorithm: string(s.alg), Use: "sig"})
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// claims of a token.
type claims map[string]any

// token signs claims, with exp and iat unless they are given.
func (s *signer) token(t *testing.T, typ string, c claims) string {
	t.Helper()
	all := claims{"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, c)
	sig, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: jose.JSONWebKey{Key: s.key, KeyID: s.kid}}, (&jose.SignerOptions{}).WithType(jose.ContentType(typ)))
	if err != nil {
		t.Fatal(err)
	}
	out, err := jwt.Signed(sig).Claims(map[string]any(all)).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// hashKey is what "bulwark policy hash-key" prints for an API key.
func hashKey(key string) string {
	salt := []byte("0123456789abcdef")
	sum := sha256.Sum256(append(salt, key...))
	return "sha256:" + hex.EncodeToString(salt) + ":" + hex.EncodeToString(sum[:])
}

// passwordLine is a line of .htpasswd.
func passwordLine(t *testing.T, user, password, roles string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return user + ":" + string(h) + ":" + roles
}

// authority signs certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  string
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := new(authority)
	pair := a.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	a.key = pair.PrivateKey.(*ecdsa.PrivateKey)
	a.cert, a.pem = pair.Leaf, certPEM(pair)
	return a
}

// issue makes a certificate, self-signed for an authority that has none yet.
func (a *authority) issue(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	c, err := a.sign(template)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (a *authority) sign(template *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-time.Minute)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	parent, by := template, key
	if a.cert != nil {
		parent, by = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// issueExpired makes an authority of the same name that has expired.
func (a *authority) issueExpired(t *testing.T) tls.Certificate {
	t.Helper()
	return new(authority).issue(t, &x509.Certificate{
		Subject: a.cert.Subject, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour),
	})
}

func certPEM(c tls.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
}

func keyPEM(t *testing.T, c tls.Certificate) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// object is YAML of a Secret or ConfigMap.
func object(t *testing.T, kind, namespace, name string, labels, data map[string]string) string {
	t.Helper()
	field := "data"
	if kind == "Secret" {
		field = "stringData"
	}
	b, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": kind, field: data,
		"metadata": map[string]any{"name": name, "namespace": namespace, "labels": labels},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n---\n"
}

// tlsSecret is YAML of a Secret with a certificate.
func tlsSecret(t *testing.T, namespace, name string, c tls.Certificate) string {
	t.Helper()
	return fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","type":"kubernetes.io/tls","metadata":{"name":%q,"namespace":%q},"stringData":{"tls.crt":%q,"tls.key":%q}}
---
`, name, namespace, certPEM(c), keyPEM(t, c))
}

func pemBytes(t *testing.T, text []byte) []byte {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("not PEM")
	}
	return block.Bytes
}

// ecKey reads a private key in PEM.
func ecKey(t *testing.T, text []byte) *ecdsa.PrivateKey {
	t.Helper()
	key, err := x509.ParsePKCS8PrivateKey(pemBytes(t, text))
	if err != nil {
		t.Fatal(err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("key of type %T", key)
	}
	return ec
}
