package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"
)

// issuer is a certificate authority that can issue.
type issuer struct {
	cert *x509.Certificate
	// chain is the certificate and those between it and its root, as PEM.
	chain []byte
	key   crypto.Signer
	// keyPEM is the key as it is kept.
	keyPEM []byte
}

// newIssuer makes a self-signed authority.
func newIssuer(now time.Time) (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key of relay authority: %w", err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "Bulwark relay"},
		NotBefore: now.Add(-skew), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make relay authority: %w", err)
	}
	text, err := keyText(key)
	if err != nil {
		return nil, err
	}
	return parseIssuer(certText(der), text)
}

// parseIssuer reads an authority. The error says nothing of the key.
func parseIssuer(chain, key []byte) (*issuer, error) {
	certs, err := parseCerts(chain)
	if err != nil {
		return nil, err
	}
	cert := certs[0]
	if !cert.BasicConstraintsValid || !cert.IsCA {
		return nil, errors.New("the certificate is not that of an authority")
	}
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, errors.New("the key is not PEM")
	}
	signer, err := parseKey(block)
	if err != nil {
		return nil, err
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return nil, errors.New("the key does not belong to the certificate")
	}
	return &issuer{cert: cert, chain: chain, key: signer, keyPEM: key}, nil
}

func parseKey(block *pem.Block) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
		if s, ok := key.(crypto.Signer); ok {
			return s, nil
		}
	}
	if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	return nil, errors.New("the key is none that can be read")
}

// issue makes a certificate and its key, as PEM.
func (i *issuer) issue(template *x509.Certificate, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	template.NotBefore, template.NotAfter = now.Add(-skew), now.Add(leafLife)
	if i.cert.NotAfter.Before(template.NotAfter) {
		template.NotAfter = i.cert.NotAfter
	}
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, key.Public(), i.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issue certificate for %s: %w", template.Subject.CommonName, err)
	}
	certPEM = certText(der)
	if !selfSigned(i.cert) {
		certPEM = append(certPEM, i.chain...)
	}
	keyPEM, err = keyText(key)
	return certPEM, keyPEM, err
}

func selfSigned(c *x509.Certificate) bool { return bytes.Equal(c.RawIssuer, c.RawSubject) }

// forController is what the controller serves with under names, which are DNS
// names and IP addresses.
func forController(names []string) *x509.Certificate {
	c := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "bulwark-controller"},
		URIs:        []*url.URL{uri(ControllerURI)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, n)
		}
	}
	return c
}

// forGateway is what data planes connect with.
func forGateway() *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: "bulwark-gateway"},
		URIs:        []*url.URL{uri(GatewayURI)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func uri(urn string) *url.URL {
	scheme, rest, _ := bytes.Cut([]byte(urn), []byte{':'})
	return &url.URL{Scheme: string(scheme), Opaque: string(rest)}
}

// renewal is when two thirds of a certificate's life are over.
func renewal(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 3 * 2)
}

// parseCerts reads one certificate or more.
func parseCerts(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("expected certificates only, found a " + block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificate: %w", err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("there is no certificate")
	}
	return out, nil
}

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}

func certText(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyText(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("write key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
