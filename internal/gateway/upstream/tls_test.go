package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// issue makes a certificate; edit changes what is not the default.
func (a *authority) issue(t *testing.T, edit func(c *x509.Certificate)) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "backend.test"}, DNSNames: []string{"backend.test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if edit != nil {
		edit(c)
	}
	parent, signer := a.cert, a.key
	if c.IsCA { // stands for itself
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func keyPair(t *testing.T, c tls.Certificate) *ir.KeyPair {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return &ir.KeyPair{
		Name: "ns/client",
		Cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})),
		Key:  bulwark.NewSecret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}
}

func listenTLS(t *testing.T, cfg *tls.Config, script func(s *session)) *fake {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, tls.NewListener(l, cfg), script)
}

func TestTLS(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	good := ca.issue(t, nil)
	sans := func(kind, value string) []ir.SAN {
		return []ir.SAN{{Type: "DNS", Value: "not.this"}, {Type: kind, Value: value}}
	}
	spiffe, err := url.Parse("spiffe://cluster/ns/shop/sa/orders")
	if err != nil {
		t.Fatal(err)
	}
	basic := ir.BackendTLS{ServerName: "backend.test", CA: ca.pem}
	with := func(edit func(*ir.BackendTLS)) ir.BackendTLS {
		c := basic
		edit(&c)
		return c
	}
	uriCert := ca.issue(t, func(c *x509.Certificate) { c.URIs = []*url.URL{spiffe} })
	tests := []struct {
		name string
		cert tls.Certificate
		tls  ir.BackendTLS
		ok   bool
	}{
		{"good", good, basic, true},
		{"wildcard", ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"*.test"} }), basic, true},
		{"wrong CA", good, with(func(b *ir.BackendTLS) { b.CA = other.pem }), false},
		{"system's CAs", good, with(func(b *ir.BackendTLS) { b.CA, b.System = "", true }), false},
		{"wrong name", good, with(func(b *ir.BackendTLS) { b.ServerName = "other.test" }), false},
		{"name only in the subject", ca.issue(t, func(c *x509.Certificate) { c.DNSNames = nil }), basic, false},
		{"NUL in name", ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"backend.test\x00.evil.test"} }), basic, false},
		{"NUL in name, SAN list", ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"backend.test\x00.evil.test"} }), with(func(b *ir.BackendTLS) { b.SubjectAltNames = sans("DNS", "backend.test") }), false},
		{"expired", ca.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), basic, false},
		{"expired, SAN list", ca.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), with(func(b *ir.BackendTLS) { b.SubjectAltNames = sans("DNS", "backend.test") }), false},
		{"not yet valid", ca.issue(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), basic, false},
		{"self-signed", ca.issue(t, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), basic, false},
		{"self-signed, SAN list", ca.issue(t, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), with(func(b *ir.BackendTLS) { b.SubjectAltNames = sans("DNS", "backend.test") }), false},
		{"client's certificate", ca.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), basic, false},
		{"client's certificate, SAN list", ca.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), with(func(b *ir.BackendTLS) { b.SubjectAltNames = sans("DNS", "backend.test") }), false},
		{"SAN list replaces the name", good, with(func(b *ir.BackendTLS) { b.ServerName, b.SubjectAltNames = "sni.test", sans("DNS", "backend.test") }), true},
		{"SAN list without the name", good, with(func(b *ir.BackendTLS) { b.SubjectAltNames = sans("DNS", "other.test") }), false},
		{"SAN list, wrong CA", good, with(func(b *ir.BackendTLS) { b.CA, b.SubjectAltNames = other.pem, sans("DNS", "backend.test") }), false},
		{"URI", uriCert, with(func(b *ir.BackendTLS) { b.SubjectAltNames = sans("URI", spiffe.String()) }), true},
		{"URI's prefix", uriCert, with(func(b *ir.BackendTLS) { b.SubjectAltNames = sans("URI", "spiffe://cluster/ns/shop/sa/order") }), false},
		{"URI in a DNS name", ca.issue(t, func(c *x509.Certificate) { c.DNSNames = []string{"spiffe://x"} }), with(func(b *ir.BackendTLS) { b.SubjectAltNames = sans("URI", "spiffe://x") }), false},
		{"IP", ca.issue(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("10.1.2.3")} }), with(func(b *ir.BackendTLS) { b.SubjectAltNames = sans("IP", "10.1.2.3") }), true},
		{"other IP", ca.issue(t, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP("10.1.2.3")} }), with(func(b *ir.BackendTLS) { b.SubjectAltNames = sans("IP", "10.1.2.4") }), false},
		{"email", ca.issue(t, func(c *x509.Certificate) { c.EmailAddresses = []string{"a@b.test"} }), with(func(b *ir.BackendTLS) { b.SubjectAltNames = sans("Email", "a@b.test") }), true},
	}
	oks := 0
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := listenTLS(t, &tls.Config{Certificates: []tls.Certificate{tt.cert}, MinVersion: tls.VersionTLS12}, always(okay))
			cfg := at(f.addr)
			cfg.TLS = &tt.tls
			b := newSet(t, Options{}, cfg).Backend(0)
			for range 3 {
				a, err := do(t, b, call("GET", "/"))
				if tt.ok && (err != nil || a.body != "ok") {
					t.Fatalf("%v, %+v", err, a)
				}
				if !tt.ok {
					wantKind(t, err, ConnectFailed)
				}
			}
			if n := f.conns.Load(); tt.ok && n != 1 {
				t.Errorf("%d connections for 3 requests", n)
			}
		})
		if tt.ok {
			oks++
		}
	}
	if oks < 5 || len(tests)-oks < 15 {
		t.Errorf("%d of %d cases are good", oks, len(tests))
	}
}

// TestTLSVersionsAndPlain: old TLS, no TLS and the wrong protocol.
func TestTLSVersionsAndPlain(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, nil)
	tests := map[string]*fake{
		"TLS 1.1":      listenTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, always(okay)),
		"no TLS":       listen(t, always(okay)),
		"another ALPN": listenTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"other"}}, always(okay)),
	}
	for name, f := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := at(f.addr)
			cfg.TLS = &ir.BackendTLS{ServerName: "backend.test", CA: ca.pem}
			_, err := do(t, newSet(t, Options{}, cfg).Backend(0), call("GET", "/"))
			wantKind(t, err, ConnectFailed)
		})
	}
	f := listen(t, func(s *session) { _, _ = s.Read(make([]byte, 1000)); time.Sleep(time.Second) })
	cfg := at(f.addr)
	cfg.TLS, cfg.ConnectTimeout = &ir.BackendTLS{ServerName: "backend.test", CA: ca.pem}, 50*time.Millisecond
	start := time.Now()
	_, err := do(t, newSet(t, Options{}, cfg).Backend(0), call("GET", "/"))
	wantKind(t, err, ConnectFailed)
	if d := time.Since(start); d > 500*time.Millisecond {
		t.Errorf("a handshake that hangs took %v", d)
	}
}

func TestTLSClientCertificate(t *testing.T) {
	ca := newAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	f := listenTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, nil)}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}, always(okay))
	mine := ca.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	cfg := at(f.addr)
	cfg.TLS = &ir.BackendTLS{ServerName: "backend.test", CA: ca.pem, Client: keyPair(t, mine)}
	if a := must(t, newSet(t, Options{}, cfg).Backend(0), call("GET", "/")); a.body != "ok" {
		t.Errorf("got %+v", a)
	}
	cfg.TLS = &ir.BackendTLS{ServerName: "backend.test", CA: ca.pem}
	if _, err := do(t, newSet(t, Options{}, cfg).Backend(0), call("GET", "/")); err == nil {
		t.Error("served without a certificate")
	}
}

// TestTLSTruncation: without close_notify a body that ends with the connection
// has been cut by somebody.
func TestTLSTruncation(t *testing.T) {
	ca := newAuthority(t)
	for _, notify := range []bool{true, false} {
		f := listenTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, nil)}}, func(s *session) {
			if _, _, err := s.request(); err != nil {
				return
			}
			s.send("HTTP/1.1 200 OK\r\n\r\nhello")
			if tc, ok := s.Conn.(*tls.Conn); ok && !notify {
				_ = tc.NetConn().Close()
			}
		})
		cfg := at(f.addr)
		cfg.TLS = &ir.BackendTLS{ServerName: "backend.test", CA: ca.pem}
		a, err := do(t, newSet(t, Options{}, cfg).Backend(0), call("GET", "/"))
		if notify && (err != nil || a.body != "hello") {
			t.Errorf("whole: %v, %+v", err, a)
		}
		if !notify {
			wantKind(t, err, BackendGone)
		}
	}
}

// TestTLSLargeRequest: streaming under TLS, where what the backend sends
// meanwhile may be a session ticket.
func TestTLSLargeRequest(t *testing.T) {
	ca := newAuthority(t)
	f := listenTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, nil)}}, func(s *session) {
		for {
			_, body, err := s.request()
			if err != nil {
				return
			}
			s.send("HTTP/1.1 200 OK\r\nContent-Length: " + []string{"0", "1"}[min(len(body)>>20, 1)] + "\r\n\r\n" + strings.Repeat("y", min(len(body)>>20, 1)))
		}
	})
	cfg := at(f.addr)
	cfg.TLS = &ir.BackendTLS{ServerName: "backend.test", CA: ca.pem}
	b := trusted(newSet(t, Options{}, cfg)).Backend(0)
	for range 3 {
		if a := must(t, b, post("POST", strings.NewReader(strings.Repeat("x", 1<<20)), 1<<20)); a.body != "y" {
			t.Errorf("got %+v", a)
		}
	}
	if n := f.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestBrokenSettings: a backend that cannot be made ready refuses, with the
// others untouched.
func TestBrokenSettings(t *testing.T) {
	ca := newAuthority(t)
	good := ca.issue(t, nil)
	f := listen(t, always(okay))
	broken := map[string]ir.BackendTLS{
		"no CA":               {ServerName: "a"},
		"no server name":      {CA: ca.pem},
		"CA is no PEM":        {ServerName: "a", CA: "hello"},
		"CA is half PEM":      {ServerName: "a", CA: ca.pem + "-----BEGIN CERTIFICATE-----\nxx"},
		"CA has rubbish":      {ServerName: "a", CA: ca.pem + "rubbish"},
		"CA holds a key":      {ServerName: "a", CA: string(keyPair(t, good).Key.Reveal())},
		"CA is no DER":        {ServerName: "a", CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))},
		"unknown SAN type":    {ServerName: "a", CA: ca.pem, SubjectAltNames: []ir.SAN{{Type: "Odd", Value: "x"}}},
		"empty SAN":           {ServerName: "a", CA: ca.pem, SubjectAltNames: []ir.SAN{{Type: "DNS"}}},
		"bad IP":              {ServerName: "a", CA: ca.pem, SubjectAltNames: []ir.SAN{{Type: "IP", Value: "x"}}},
		"IP as DNS":           {ServerName: "a", CA: ca.pem, SubjectAltNames: []ir.SAN{{Type: "DNS", Value: "10.0.0.1"}}},
		"client without key":  {ServerName: "a", CA: ca.pem, Client: &ir.KeyPair{Cert: ca.pem}},
		"client key of other": {ServerName: "a", CA: ca.pem, Client: &ir.KeyPair{Cert: ca.pem, Key: keyPair(t, good).Key}},
	}
	for name, cfg := range broken {
		t.Run(name, func(t *testing.T) {
			s, errs := NewSet(&ir.Table{Backends: []ir.Backend{
				{Name: "bad", Endpoints: []string{f.addr}, TLS: &cfg},
				{Name: "good", Endpoints: []string{f.addr}},
			}}, nil, Options{})
			defer func() { _ = s.Close() }()
			if errs[0] == nil || errs[1] != nil {
				t.Fatalf("errors %v", errs)
			}
			_, err := do(t, s.Backend(0), call("GET", "/"))
			wantKind(t, err, Refused)
			if a := must(t, s.Backend(1), call("GET", "/")); a.body != "ok" {
				t.Errorf("the other: %+v", a)
			}
		})
	}
	s, errs := NewSet(&ir.Table{Backends: []ir.Backend{
		{Name: "odd", Protocol: "spdy", Endpoints: []string{f.addr}},
		{Name: "refuses", Endpoints: []string{f.addr}, Refuse: &ir.Refusal{Status: 500, Reason: "no such CA"}},
	}}, nil, Options{})
	defer func() { _ = s.Close() }()
	if errs[0] == nil || errs[1] != nil {
		t.Errorf("errors %v", errs)
	}
	for i := range 2 {
		_, err := do(t, s.Backend(i), call("GET", "/"))
		wantKind(t, err, Refused)
	}
}

// TestTLSSettingsChange: connections verified by old settings serve no new ones.
func TestTLSSettingsChange(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	f := listenTLS(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, nil)}}, always(okay))
	cfg := ir.Backend{Name: "b", Endpoints: []string{f.addr}, TLS: &ir.BackendTLS{ServerName: "backend.test", CA: ca.pem}}
	first, _ := NewSet(&ir.Table{Backends: []ir.Backend{cfg}}, nil, Options{})
	must(t, first.Backend(0), call("GET", "/"))
	changed := cfg
	changed.TLS = &ir.BackendTLS{ServerName: "backend.test", CA: other.pem}
	second, errs := NewSet(&ir.Table{Backends: []ir.Backend{changed}}, first, Options{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	_, err := do(t, second.Backend(0), call("GET", "/"))
	wantKind(t, err, ConnectFailed)
	first.Retire(second)
	_ = first.Close()
	_ = second.Close()
}
