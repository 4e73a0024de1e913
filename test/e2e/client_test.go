package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"bulwark.dev/bulwark/test/controltest"
)

// client calls one address, whatever name the URL has.
type client struct {
	t    *testing.T
	at   string // host:port
	host string // name in the URL and in TLS
	http *http.Client
	tls  bool
}

// dial makes a client of an address. With a TLS configuration it speaks https.
func dial(t *testing.T, at, host string, conf *tls.Config) *client {
	t.Helper()
	var d net.Dialer
	tr := &http.Transport{TLSClientConfig: conf, DisableCompression: true, MaxIdleConnsPerHost: 100}
	c := &client{t: t, at: at, host: host, tls: conf != nil, http: &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	tr.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return d.DialContext(ctx, network, c.at)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return c
}

// request is what is sent: method (GET where empty), path with query, header
// fields as "Name: value".
type request struct {
	method, path, body string
	fields             []string
}

// answer is what came back, and what the backend saw where it was reached.
type answer struct {
	status int
	header http.Header
	body   string
	seen   *seen
}

// code gives the code of a problem document.
func (a *answer) code() string {
	var p struct{ Code string }
	if json.Unmarshal([]byte(a.body), &p) != nil {
		return ""
	}
	return p.Code
}

// try sends one request.
func (c *client) try(r request) (*answer, error) {
	scheme := "http://"
	if c.tls {
		scheme = "https://"
	}
	if r.method == "" {
		r.method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(c.t.Context(), r.method, scheme+c.host+r.path, strings.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	for _, f := range r.fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Add(name, value)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read answer %d: %w", resp.StatusCode, err)
	}
	a := &answer{status: resp.StatusCode, header: resp.Header, body: string(b)}
	if resp.Header.Get("X-Echo") != "" {
		a.seen = new(seen)
		if err := json.Unmarshal(b, a.seen); err != nil {
			return nil, fmt.Errorf("read echo %q: %w", b, err)
		}
	}
	return a, nil
}

// do sends one request that must be answered.
func (c *client) do(r request) *answer {
	c.t.Helper()
	a, err := c.try(r)
	if err != nil {
		c.t.Fatalf("%s %s at %s: %v", r.method, r.path, c.at, err)
	}
	return a
}

// want sends one request and compares the status.
func (c *client) want(status int, what string, r request) *answer {
	c.t.Helper()
	a := c.do(r)
	asked.Add(1)
	if a.status != status {
		c.t.Errorf("%s: %s %s is answered %d, want %d\n%s", what, r.method, r.path, a.status, status, a.body)
	}
	return a
}

// everywhere waits until each of several doors answers with the status.
func everywhere(t *testing.T, doors []string, host string, status int, r request) {
	t.Helper()
	for _, door := range doors {
		c := dial(t, door, host, nil)
		controltest.Until(t, fmt.Sprintf("%d of %s at %s", status, r.path, door), func() error {
			a, err := c.try(r)
			if err == nil && a.status != status {
				err = fmt.Errorf("status %d: %s", a.status, a.body)
			}
			return err
		})
	}
}
