package forward

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"
)

// Credentials are files that say who the trail is and who the sender is. They are
// read again after every failure, so that renewed ones are picked up.
type Credentials struct {
	// CAFile has the authorities of the trail's certificate. Empty: those of the system.
	CAFile string
	// TokenFile has a bearer token; CertFile and KeyFile a client certificate. One of
	// the two is required.
	TokenFile, CertFile, KeyFile string
}

// check says what can be said without reading files.
func (c *Credentials) check(target string) error {
	u, err := url.Parse(target)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return errors.New("the trail's URL is not https://HOST:PORT/PATH")
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("a client certificate and its key go together")
	case (c.TokenFile == "") == (c.CertFile == ""):
		return errors.New("either a token or a client certificate is required")
	}
	return nil
}

// link is a way to the trail.
type link struct {
	http  *http.Client
	token string
}

// dial reads the files. Nothing is sent yet.
func (c *Credentials) dial(timeout time.Duration) (*link, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read the trail's authority: %w", err)
		}
		secure.RootCAs = x509.NewCertPool()
		if !secure.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read the trail's authority: no certificate in %s", c.CAFile)
		}
	}
	if c.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read the client certificate: %w", err)
		}
		secure.Certificates = []tls.Certificate{cert}
	}
	l := &link{http: &http.Client{
		Timeout: timeout,
		// A token goes to the trail that was named and to nobody that it names.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig: secure, MaxConnsPerHost: 1, MaxIdleConns: 1, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: 10 * time.Second, DisableCompression: true,
		},
	}}
	if c.TokenFile != "" {
		text, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("read the token: %w", err)
		}
		if text = bytes.TrimSpace(text); len(text) == 0 || bytes.ContainsAny(text, " \t\r\n\x00") {
			return nil, fmt.Errorf("read the token: %s has no single token", c.TokenFile)
		}
		l.token = string(text)
	}
	return l, nil
}

func (l *link) close() { l.http.CloseIdleConnections() }
