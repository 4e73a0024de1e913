package controltest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"bulwark.dev/bulwark/test/controltest"
)

func TestMain(m *testing.M) { os.Exit(controltest.Main(m, controltest.Options{Flags: everything})) }

// everything asks for every option that the tests look at.
func everything(dir string) ([]string, error) {
	p := func(file string) string { return filepath.Join(dir, file) }
	cert, err := issuerCertificate(p("issuer.key"))
	if err != nil {
		return nil, err
	}
	authentication, err := json.Marshal(map[string]any{
		"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
		"jwt": []any{map[string]any{
			"issuer":        map[string]any{"url": issuerURL, "audiences": []string{"bulwark"}, "certificateAuthority": string(cert)},
			"claimMappings": map[string]any{"username": map[string]any{"claim": "sub", "prefix": "oidc:"}},
		}},
	})
	if err != nil {
		return nil, err
	}
	encryption, err := json.Marshal(map[string]any{
		"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
		"resources": []any{map[string]any{
			"resources": []string{"secrets"},
			"providers": []any{map[string]any{"kms": map[string]any{
				"apiVersion": "v2", "name": "bulwark", "endpoint": "unix://" + p("kms.sock"), "timeout": "3s",
			}}},
		}},
	})
	if err != nil {
		return nil, err
	}
	flags := []string{
		"--audit-log",
		"--authentication-config", p("authentication.yaml"),
		"--encryption-config", p("encryption.yaml"), "--kms-plugin", p("kms.sock"),
	}
	return flags, errors.Join(
		os.WriteFile(p("issuer.crt"), cert, 0o600),
		os.WriteFile(p("authentication.yaml"), authentication, 0o600),
		os.WriteFile(p("encryption.yaml"), encryption, 0o600),
	)
}

// issuerCertificate makes the identity provider's certificate, its own
// authority, and leaves the key in keyFile.
func issuerCertificate(keyFile string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), os.WriteFile(keyFile, text, 0o600)
}
