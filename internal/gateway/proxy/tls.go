package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

var errNoServerName = errors.New("tls: no listener serves the name that the client asked for")

// listenerTLS makes the configuration of one HTTPS listener, or keeps the
// earlier one when nothing changed. Without a usable certificate there is none:
// the handshake fails rather than serve another.
func listenerTLS(l *ir.Listener, old *listener) (*tls.Config, error) {
	stream := len(l.Streams) > 0
	if old != nil && old.tls != nil && (len(old.made.Streams) > 0) == stream && sameTLS(old.made.TLS, l.TLS) {
		return old.tls, nil
	}
	cfg := &tls.Config{MinVersion: max(l.TLS.MinVersion, tls.VersionTLS12)}
	if !stream { // what the bytes of a stream are is between client and backend
		cfg.NextProtos = []string{"h2", "http/1.1"}
	}
	for _, pair := range l.TLS.Certificates {
		cert, err := tls.X509KeyPair([]byte(pair.Cert), pair.Key.Reveal())
		if err != nil {
			// The cause may quote the key: the name of the Secret must do.
			return nil, fmt.Errorf("certificate %s: certificate and key do not make a pair", pair.Name)
		}
		cfg.Certificates = append(cfg.Certificates, cert)
	}
	if len(cfg.Certificates) == 0 {
		return nil, errors.New("no certificate")
	}
	switch {
	case l.TLS.ClientCA != "":
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(l.TLS.ClientCA)) {
			return nil, errors.New("no certificate in the client CA")
		}
		cfg.ClientCAs = pool
		cfg.ClientAuth = tls.VerifyClientCertIfGiven
		if l.TLS.RequireClient {
			cfg.ClientAuth = tls.RequireAndVerifyClientCert
		}
	case l.TLS.RequireClient:
		return nil, errors.New("client certificates are required but no CA is given")
	case l.TLS.RequestClient:
		cfg.ClientAuth = tls.RequestClientCert
	}
	// A ticket would carry a client's certificate past its next judgement, and
	// tickets of one address are shared between its listeners.
	cfg.SessionTicketsDisabled = cfg.ClientAuth != tls.NoClientCert
	return cfg, nil
}

// tlsConfig is the configuration of a bound address: it asks the table of the
// moment for the listener that the client's server name belongs to.
func (s *Server) tlsConfig(key string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			b := s.table.Load().binds[key]
			if b == nil {
				return nil, errNoServerName
			}
			l, ok := b.listeners.find(serverName(hello.ServerName))
			if !ok || l.tls == nil {
				return nil, errNoServerName
			}
			return l.tls, nil
		},
	}
}

func serverName(sni string) string {
	return strings.ToLower(strings.TrimSuffix(sni, "."))
}
