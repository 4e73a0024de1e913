package proxy

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
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
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, pem: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// issue gives a pair for both sides of TLS.
func (a *authority) issue(t *testing.T, names ...string) (certPEM string, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk})
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) listener(t *testing.T, name, hostname, path string) ir.Listener {
	t.Helper()
	cert, key := a.issue(t, hostname)
	return ir.Listener{
		Name: name, Hostname: hostname,
		TLS:   &ir.ListenerTLS{Certificates: []ir.KeyPair{{Name: name, Cert: cert, Fingerprint: cert, Key: bulwark.NewSecret(key)}}},
		Hosts: []ir.Host{{Pattern: hostname, Matches: []ir.Match{{PathKind: ir.PathPrefix, Path: path}}}},
	}
}

// request asks once over TLS with the given server name and Host.
func (f *fixture) request(t *testing.T, cfg *tls.Config, host string) (int, error) {
	t.Helper()
	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
	c := tls.Client(raw, cfg)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+host+"\r\n\r\n"); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, err
	}
	_ = resp.Body.Close()
	return resp.StatusCode, nil
}

func TestTLSListeners(t *testing.T) {
	ca := newAuthority(t)
	table := oneBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Forwarded-Proto") != "https" {
			t.Errorf("X-Forwarded-Proto %q", r.Header.Get("X-Forwarded-Proto"))
		}
		w.WriteHeader(http.StatusOK)
	})
	guarded := ca.listener(t, "ns/gw/b", "b.example", "/")
	guarded.TLS.ClientCA, guarded.TLS.RequireClient = ca.pem, true
	strict := ca.listener(t, "ns/gw/c", "c.example", "/")
	strict.TLS.MinVersion = tls.VersionTLS13
	table.Listeners = []ir.Listener{ca.listener(t, "ns/gw/a", "a.example", "/"), guarded, strict}
	f := start(t, table, Limits{})

	clientCert, clientKey := ca.issue(t, "client")
	pair, err := tls.X509KeyPair([]byte(clientCert), clientKey)
	if err != nil {
		t.Fatal(err)
	}
	stranger := newAuthority(t)
	strangerCert, strangerKey := stranger.issue(t, "client")
	strangerPair, err := tls.X509KeyPair([]byte(strangerCert), strangerKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, sni, host string
		pair            *tls.Certificate
		maxVersion      uint16
		status          int // 0: no answer at all
	}{
		{name: "plain TLS", sni: "a.example", host: "a.example", status: 200},
		{name: "host with port and case", sni: "a.example", host: "A.Example:443", status: 200},
		{name: "TLS 1.2", sni: "a.example", host: "a.example", maxVersion: tls.VersionTLS12, status: 200},
		{name: "TLS 1.1", sni: "a.example", host: "a.example", maxVersion: tls.VersionTLS11},
		{name: "TLS 1.2 where 1.3 is asked for", sni: "c.example", host: "c.example", maxVersion: tls.VersionTLS12},
		{name: "other listener's host", sni: "a.example", host: "b.example", status: 421},
		{name: "host of no listener", sni: "a.example", host: "x.example", status: 421},
		{name: "unknown server name", sni: "x.example", host: "a.example"},
		{name: "no client certificate", sni: "b.example", host: "b.example"},
		{name: "client certificate", sni: "b.example", host: "b.example", pair: &pair, status: 200},
		{name: "stranger's certificate", sni: "b.example", host: "b.example", pair: &strangerPair},
		{name: "into the guarded listener by the open one", sni: "a.example", host: "b.example", pair: &pair, status: 421},
	} {
		cfg := &tls.Config{RootCAs: ca.pool(), ServerName: tc.sni, MinVersion: tls.VersionTLS10, MaxVersion: tc.maxVersion}
		if tc.sni == "x.example" {
			cfg.InsecureSkipVerify = true
		}
		if tc.pair != nil {
			cfg.Certificates = []tls.Certificate{*tc.pair}
		}
		status, err := f.request(t, cfg, tc.host)
		if status != tc.status || tc.status == 0 && err == nil {
			t.Errorf("%s: status %d, error %v; want %d", tc.name, status, err, tc.status)
		}
	}
}

// A client comes back with a ticket and saves the signature; a listener that
// asks for client certificates gives none, and takes none of its neighbour's.
func TestSessionsResume(t *testing.T) {
	ca := newAuthority(t)
	table := oneBackend(t, func(http.ResponseWriter, *http.Request) {})
	guarded := ca.listener(t, "ns/gw/b", "b.example", "/")
	guarded.TLS.ClientCA, guarded.TLS.RequireClient = ca.pem, true
	table.Listeners = []ir.Listener{ca.listener(t, "ns/gw/a", "a.example", "/"), guarded}
	f := start(t, table, Limits{})
	cert, key := ca.issue(t, "client")
	pair, err := tls.X509KeyPair([]byte(cert), key)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, host string
		version    uint16
		resumes    bool
	}{
		{"TLS 1.3", "a.example", tls.VersionTLS13, true},
		{"TLS 1.2", "a.example", tls.VersionTLS12, true},
		{"client certificates", "b.example", tls.VersionTLS13, false},
	} {
		resumed := 0
		cfg := &tls.Config{
			RootCAs: ca.pool(), ServerName: tc.host, MaxVersion: tc.version, Certificates: []tls.Certificate{pair},
			ClientSessionCache: tls.NewLRUClientSessionCache(1),
			VerifyConnection: func(s tls.ConnectionState) error {
				if s.DidResume {
					resumed++
				}
				return nil
			},
		}
		for range 3 {
			if status, err := f.request(t, cfg, tc.host); status != 200 {
				t.Errorf("%s: %d, %v", tc.name, status, err)
			}
		}
		if want := map[bool]int{true: 2}[tc.resumes]; resumed != want {
			t.Errorf("%s: %d of 3 handshakes resumed, want %d", tc.name, resumed, want)
		}
	}
	// A's ticket, shown to B: judged as if there were none.
	stolen := tls.NewLRUClientSessionCache(1)
	for i, host := range []string{"a.example", "b.example"} {
		cfg := &tls.Config{RootCAs: ca.pool(), ServerName: host, ClientSessionCache: renamed{stolen}}
		if status, err := f.request(t, cfg, host); (status == 200) != (i == 0) {
			t.Errorf("ticket of a.example at %s: %d, %v", host, status, err)
		}
	}
}

// renamed is a session cache that takes every server for the same.
type renamed struct{ tls.ClientSessionCache }

func (r renamed) Get(string) (*tls.ClientSessionState, bool) { return r.ClientSessionCache.Get("") }
func (r renamed) Put(_ string, s *tls.ClientSessionState)    { r.ClientSessionCache.Put("", s) }

func TestCertificateReload(t *testing.T) {
	old, fresh := newAuthority(t), newAuthority(t)
	table := oneBackend(t, func(http.ResponseWriter, *http.Request) {})
	table.Listeners = []ir.Listener{old.listener(t, "ns/gw/a", "a.example", "/")}
	f := start(t, table, Limits{})
	if status, err := f.request(t, &tls.Config{RootCAs: old.pool(), ServerName: "a.example"}, "a.example"); status != 200 {
		t.Fatalf("before: %d, %v", status, err)
	}
	next := *table
	next.Listeners = []ir.Listener{fresh.listener(t, "ns/gw/a", "a.example", "/")}
	next.Listeners[0].Addresses, next.Listeners[0].Port = table.Listeners[0].Addresses, table.Listeners[0].Port
	if problems, err := f.server.Apply(t.Context(), &next); err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	if status, err := f.request(t, &tls.Config{RootCAs: fresh.pool(), ServerName: "a.example"}, "a.example"); status != 200 {
		t.Errorf("after: %d, %v", status, err)
	}
	if _, err := f.request(t, &tls.Config{RootCAs: old.pool(), ServerName: "a.example"}, "a.example"); err == nil {
		t.Error("the old certificate is still served")
	}
}

// A listener whose certificate cannot be used fails the handshake; its
// neighbours are served.
func TestBadCertificateIsNotServed(t *testing.T) {
	ca := newAuthority(t)
	table := oneBackend(t, func(http.ResponseWriter, *http.Request) {})
	broken := ca.listener(t, "ns/gw/b", "b.example", "/")
	_, otherKey := ca.issue(t, "b.example")
	broken.TLS.Certificates[0].Key = bulwark.NewSecret(otherKey)
	table.Listeners = []ir.Listener{ca.listener(t, "ns/gw/a", "a.example", "/")}
	f := start(t, table, Limits{})
	next := *table
	broken.Addresses, broken.Port = table.Listeners[0].Addresses, table.Listeners[0].Port
	// A neighbour for any host must not take over the broken one's name.
	anyHost := ca.listener(t, "ns/gw/any", "b.example", "/")
	anyHost.Hostname, anyHost.Hosts[0].Pattern = "", ""
	anyHost.Addresses, anyHost.Port = broken.Addresses, broken.Port
	next.Listeners = append(next.Listeners, broken, anyHost)
	problems, err := f.server.Apply(t.Context(), &next)
	if err != nil || len(problems) != 1 || problems[0].Listener != "ns/gw/b" {
		t.Fatalf("error %v, problems %v", err, problems)
	}
	if _, err := f.request(t, &tls.Config{RootCAs: ca.pool(), ServerName: "b.example"}, "b.example"); err == nil {
		t.Error("the broken listener answers")
	}
	if status, err := f.request(t, &tls.Config{RootCAs: ca.pool(), ServerName: "a.example"}, "a.example"); status != 200 {
		t.Errorf("its neighbour: %d, %v", status, err)
	}
}
