package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// credentials are a certificate with its key, and who is trusted.
type credentials struct {
	pair  tls.Certificate
	roots *x509.CertPool
	// now is the clock of handshakes; nil is the system's.
	now func() time.Time
}

// parseCredentials reads PEM. The error says nothing of the key.
func parseCredentials(cert, key, bundle []byte) (*credentials, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", keyCert, keyKey, err)
	}
	certs, err := parseCerts(bundle)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyBundle, err)
	}
	return &credentials{pair: pair, roots: pool(certs)}, nil
}

// server is the controller's side: TLS 1.3, and nobody but data planes.
func (c *credentials) server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Time: c.now,
		Certificates: []tls.Certificate{c.pair},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: c.roots,
		SessionTicketsDisabled: true,
		VerifyConnection:       func(s tls.ConnectionState) error { return gatewayOnly(s.PeerCertificates) },
	}
}

// client is a data plane's side. The name to verify is that of the URL.
func (c *credentials) client() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{c.pair}, RootCAs: c.roots,
	}
}

// gatewayOnly refuses all certificates but those of data planes. That it is
// valid and for clients was verified already.
func gatewayOnly(peer []*x509.Certificate) error {
	if len(peer) == 0 {
		return errors.New("relay: a client certificate is required")
	}
	if len(peer[0].URIs) == 1 && peer[0].URIs[0].String() == GatewayURI {
		return nil
	}
	var has []string
	for _, u := range peer[0].URIs {
		has = append(has, u.String())
	}
	if slices.Contains(has, ControllerURI) {
		return errors.New("relay: the certificate is that of a controller, not of a data plane")
	}
	return fmt.Errorf("relay: the client certificate has the URIs %.200q, expected %s alone", has, GatewayURI)
}

// choosing makes a server configuration that asks for the current one in each
// handshake.
func choosing(current func() (*credentials, error)) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, SessionTicketsDisabled: true,
		// Whoever does not ask for the current configuration gets no certificate.
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: x509.NewCertPool(),
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := current()
			if err != nil {
				return nil, err
			}
			return c.server(), nil
		},
	}
}
