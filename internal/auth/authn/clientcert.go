package authn

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"bulwark.dev/bulwark"
)

// The limits of client certificates.
const (
	maxChain     = 8    // certificates presented
	maxCertCache = 4096 // verified leaves remembered
)

// ClientCertificateConfig says which TLS client certificates are accepted.
type ClientCertificateConfig struct {
	// CA is the PEM of the authorities; at least one.
	CA string
	// SubjectAltNames is at least one rule: an authority alone does not say who.
	SubjectAltNames []SAN
	// Issuers, where set, are the distinguished names of accepted issuers of the
	// leaf, in the form of RFC 4514 ("CN=Clients,O=Shop").
	Issuers []string
}

// ClientCertificate accepts TLS client certificates. The common name is never
// looked at.
type ClientCertificate struct {
	roots   *x509.CertPool
	rules   []SAN
	issuers []string

	mu       sync.RWMutex
	verified map[digestOf]certVerdict
}

type certVerdict struct {
	identity *bulwark.Identity
	window   window
}

// CertificateChallenge asks for a TLS client certificate. The scheme is not a
// registered one; RFC 9110 15.5.2 wants some challenge with every 401.
const CertificateChallenge = `ClientCertificate realm="` + Realm + `"`

// NewClientCertificate checks a configuration. The same configuration gives the
// same ClientCertificate, with the certificates that it has verified, for as
// long as anyone uses it.
func NewClientCertificate(c ClientCertificateConfig, shared *Shared) (*ClientCertificate, error) {
	if shared == nil {
		return nil, errors.New("client certificate: no shared state")
	}
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("client certificate: encode: %w", err)
	}
	return shared.certs.get(sha256.Sum256(text), func() (*ClientCertificate, error) { return newClientCertificate(c) })
}

func newClientCertificate(c ClientCertificateConfig) (*ClientCertificate, error) {
	a := &ClientCertificate{
		roots: x509.NewCertPool(), rules: slices.Clone(c.SubjectAltNames), issuers: slices.Clone(c.Issuers),
		verified: make(map[digestOf]certVerdict),
	}
	if len(a.rules) == 0 {
		return nil, errors.New("client certificate: at least one subject alternative name is required")
	}
	for _, r := range a.rules {
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
	}
	if slices.Contains(a.issuers, "") {
		return nil, errors.New("client certificate: an issuer is empty")
	}
	rest, n := []byte(c.CA), 0
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("client certificate: authorities: unexpected PEM block %q", block.Type)
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("client certificate: authority %d: %w", n, err)
		}
		if !ca.BasicConstraintsValid || !ca.IsCA {
			return nil, fmt.Errorf("client certificate: %q is not a certificate authority", ca.Subject.String())
		}
		a.roots.AddCert(ca)
		n++
	}
	if n == 0 || strings.TrimSpace(string(rest)) != "" {
		return nil, errors.New("client certificate: authorities: at least one certificate and nothing else must be there in PEM")
	}
	return a, nil
}

// Authenticate judges the certificates that a finished handshake presented.
func (a *ClientCertificate) Authenticate(_ context.Context, c Credential, now time.Time) (*bulwark.Identity, *Failure) {
	if len(c.Certificates) == 0 || len(c.Certificates) > maxChain {
		return nil, wrong(fmt.Sprintf("%d certificates were presented, accepted are 1 to %d", len(c.Certificates), maxChain), CertificateChallenge)
	}
	sum := sha256.Sum256(c.Certificates[0].Raw)
	a.mu.RLock()
	v, ok := a.verified[sum]
	a.mu.RUnlock()
	if ok && v.window.holds(now.Unix()) {
		return v.identity, nil
	}
	v, err := a.verify(c.Certificates, now)
	if err != nil {
		f := wrong(err.Error(), CertificateChallenge)
		var invalid x509.CertificateInvalidError
		f.Guess = !errors.As(err, &invalid) || invalid.Reason != x509.Expired
		return nil, f
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for old := range a.verified {
		if len(a.verified) < maxCertCache {
			break
		}
		delete(a.verified, old)
	}
	a.verified[sum] = v
	return v.identity, nil
}

func (a *ClientCertificate) verify(certs []*x509.Certificate, now time.Time) (certVerdict, error) {
	leaf := certs[0]
	inter := x509.NewCertPool()
	for _, c := range certs[1:] {
		inter.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: a.roots, Intermediates: inter, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return certVerdict{}, fmt.Errorf("verify the certificate: %w", err)
	}
	issuer, err := distinguishedName(leaf.RawIssuer)
	if err != nil {
		return certVerdict{}, err
	}
	if len(a.issuers) > 0 && !slices.Contains(a.issuers, issuer) {
		return certVerdict{}, fmt.Errorf("issuer %q is not accepted", brief(issuer))
	}
	names, err := altNames(leaf)
	if err != nil {
		return certVerdict{}, err
	}
	id := a.identity(leaf, names, issuer)
	if id == nil {
		return certVerdict{}, errors.New("no subject alternative name is accepted")
	}
	return certVerdict{identity: id, window: chainWindow(chains[0])}, nil
}

// identity is named after the name that the first matching rule matched; the
// roles of every matching rule add up.
func (a *ClientCertificate) identity(leaf *x509.Certificate, names []altName, issuer string) *bulwark.Identity {
	var id *bulwark.Identity
	sum := sha256.Sum256(leaf.Raw)
	for _, r := range a.rules {
		i := slices.IndexFunc(names, r.match)
		if i < 0 || !printable(names[i].value) {
			continue
		}
		if id == nil {
			all := make([]any, len(names))
			for k, n := range names {
				all[k] = n.kind + ":" + n.value
			}
			id = &bulwark.Identity{
				Name: names[i].value, Method: MethodClientCertificate, Issuer: issuer,
				Claims: map[string]any{
					"subjectAltNames": all,
					"serialNumber":    leaf.SerialNumber.Text(16),
					"sha256":          hex.EncodeToString(sum[:]),
				},
			}
		}
		for _, role := range r.Roles {
			if !slices.Contains(id.Roles, role) {
				id.Roles = append(id.Roles, role)
			}
		}
	}
	return id
}

// chainWindow is when every certificate of a chain is valid.
func chainWindow(chain []*x509.Certificate) window {
	w := window{notBefore: chain[0].NotBefore.Unix(), expires: chain[0].NotAfter.Unix()}
	for _, c := range chain[1:] {
		w.notBefore, w.expires = max(w.notBefore, c.NotBefore.Unix()), min(w.expires, c.NotAfter.Unix())
	}
	return w
}

// distinguishedName writes a name in the form of RFC 4514.
func distinguishedName(raw []byte) (string, error) {
	var rdn pkix.RDNSequence
	rest, err := asn1.Unmarshal(raw, &rdn)
	if err != nil {
		return "", fmt.Errorf("the issuer's name cannot be read: %w", err)
	}
	if len(rest) > 0 {
		return "", errors.New("data behind the issuer's name")
	}
	return rdn.String(), nil
}
