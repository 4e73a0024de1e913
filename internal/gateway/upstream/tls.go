package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// tlsSettings is how one backend is spoken to under TLS.
type tlsSettings struct{ config *tls.Config }

// sessionCache is how many TLS sessions of one backend are kept for resumption.
const sessionCache = 64

// newTLS makes the settings of a backend's ir.BackendTLS. Whatever is missing
// or cannot be read is an error: nothing is verified less than asked for.
func newTLS(b *ir.Backend, opt Options) (*tlsSettings, error) {
	t := b.TLS
	if t.ServerName == "" {
		return nil, errors.New("TLS without a server name")
	}
	roots, err := roots(t, opt)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: t.ServerName,
		RootCAs:    roots,
		Time:       opt.Now,
		NextProtos: []string{"http/1.1"},
	}
	switch b.Protocol {
	case ir.ProtocolHTTP2:
		c.NextProtos = []string{"h2"}
	case ir.ProtocolTCP:
		c.NextProtos = nil // what the bytes are is between client and backend
		c.ClientSessionCache = tls.NewLRUClientSessionCache(sessionCache)
	case "", ir.ProtocolHTTP1:
		c.ClientSessionCache = tls.NewLRUClientSessionCache(sessionCache)
	}
	if t.Client != nil {
		pair, err := tls.X509KeyPair([]byte(t.Client.Cert), t.Client.Key.Reveal())
		if err != nil {
			return nil, fmt.Errorf("client certificate %s: %w", t.Client.Name, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if len(t.SubjectAltNames) > 0 {
		names, err := newNames(t.SubjectAltNames)
		if err != nil {
			return nil, err
		}
		// crypto/tls would check ServerName, which the list replaces. Chain,
		// times and purpose are verified all the same, on every connection.
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(cs tls.ConnectionState) error {
			return verify(&cs, roots, opt.Now(), names)
		}
	}
	return &tlsSettings{config: c}, nil
}

// roots gives the authorities that may have signed a backend's certificate.
func roots(t *ir.BackendTLS, opt Options) (*x509.CertPool, error) {
	switch {
	case t.CA != "":
		return parseCA(t.CA)
	case t.System:
		p, err := opt.Roots()
		if err != nil {
			return nil, fmt.Errorf("system certificate authorities: %w", err)
		}
		if p == nil {
			return nil, errors.New("no system certificate authorities")
		}
		return p, nil
	}
	return nil, errors.New("TLS without certificate authorities")
}

// parseCA reads PEM that holds certificates and nothing else. A part that
// cannot be read spoils the whole: nobody should trust less than was written.
func parseCA(text string) (*x509.CertPool, error) {
	pool, n := x509.NewCertPool(), 0
	for rest := []byte(text); ; n++ {
		block, after := pem.Decode(rest)
		if block == nil {
			if n == 0 || len(strings.TrimSpace(string(rest))) > 0 {
				return nil, errors.New("certificate authority is not PEM")
			}
			return pool, nil
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("certificate authority holds a %q", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		pool.AddCert(cert)
		rest = after
	}
}

// verify judges a backend's certificate where subject alternative names are
// listed: the chain must lead to roots and one name must match.
func verify(cs *tls.ConnectionState, roots *x509.CertPool, now time.Time, names []matchName) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("backend sent no certificate")
	}
	leaf := cs.PeerCertificates[0]
	between := x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("verify backend certificate: %w", err)
	}
	for _, match := range names {
		if match(leaf) {
			return nil
		}
	}
	return errors.New("no subject alternative name of the backend's certificate is accepted")
}

type matchName func(*x509.Certificate) bool

// newNames prepares the accepted names.
func newNames(sans []ir.SAN) ([]matchName, error) {
	out := make([]matchName, 0, len(sans))
	for _, s := range sans {
		value := s.Value
		if value == "" {
			return nil, fmt.Errorf("empty subject alternative name of type %q", s.Type)
		}
		switch s.Type {
		case "DNS":
			if _, err := netip.ParseAddr(strings.Trim(value, "[]")); err == nil {
				return nil, fmt.Errorf("subject alternative name %q is an address, not a DNS name", value)
			}
			out = append(out, func(c *x509.Certificate) bool { return c.VerifyHostname(value) == nil })
		case "URI":
			out = append(out, func(c *x509.Certificate) bool {
				for _, u := range c.URIs {
					if u.String() == value {
						return true
					}
				}
				return false
			})
		case "Email":
			out = append(out, func(c *x509.Certificate) bool { return slices.Contains(c.EmailAddresses, value) })
		case "IP":
			want, err := netip.ParseAddr(value)
			if err != nil {
				return nil, fmt.Errorf("subject alternative name: %w", err)
			}
			out = append(out, func(c *x509.Certificate) bool {
				for _, ip := range c.IPAddresses {
					if a, ok := netip.AddrFromSlice(ip); ok && a.Unmap() == want.Unmap() {
						return true
					}
				}
				return false
			})
		default:
			return nil, fmt.Errorf("unknown type of subject alternative name %q", s.Type)
		}
	}
	return out, nil
}

// handshake speaks TLS on sock.
func (t *tlsSettings) handshake(ctx context.Context, sock net.Conn) (*tls.Conn, error) {
	c := tls.Client(sock, t.config)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	if len(t.config.NextProtos) == 0 {
		return c, nil
	}
	want := t.config.NextProtos[0]
	if p := c.ConnectionState().NegotiatedProtocol; p != want && (p != "" || want == "h2") {
		return nil, fmt.Errorf("TLS: backend chose protocol %q, not %q", p, want)
	}
	return c, nil
}
