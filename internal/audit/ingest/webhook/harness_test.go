package webhook

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit/ingest/ingesttest"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert, key, pool}
}

func (a *authority) client(t *testing.T, name string, uris ...string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, u := range uris {
		parsed, err := url.Parse(u)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, parsed)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

const testToken = "0123456789abcdef0123"

// hooked is a webhook behind TLS.
type hooked struct {
	*Handler
	server *httptest.Server
	ca     *authority
	sink   *ingesttest.Sink
	tokens string // the file
}

func hook(t *testing.T, change func(*Config)) *hooked {
	t.Helper()
	h := &hooked{ca: newAuthority(t), sink: &ingesttest.Sink{}, tokens: filepath.Join(t.TempDir(), "token")}
	if err := os.WriteFile(h.tokens, []byte(testToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := OpenTokens(time.Now(), h.tokens)
	if err != nil {
		t.Fatal(err)
	}
	d := ingesttest.Decoder("webhook")
	cfg := Config{
		Sink: h.sink, Decode: d.Decode, Clients: Clients{Names: []string{"apiserver", "spiffe://x/apiserver"}, Tokens: tokens},
		Log: slog.New(slog.DiscardHandler), Now: time.Now,
	}
	if change != nil {
		change(&cfg)
	}
	if h.Handler, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	h.server = httptest.NewUnstartedServer(h.Handler)
	h.server.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: h.ca.pool}
	h.server.EnableHTTP2 = true
	h.server.StartTLS()
	t.Cleanup(h.server.Close)
	return h
}

// post sends a batch and gives the status.
func (h *hooked) post(t *testing.T, path, body string, change func(*http.Request), cert *tls.Certificate) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(r)
	}
	client := h.server.Client()
	if cert != nil {
		transport, ok := client.Transport.(*http.Transport)
		if !ok {
			t.Fatal("no transport")
		}
		transport = transport.Clone()
		transport.TLSClientConfig.Certificates = []tls.Certificate{*cert}
		client = &http.Client{Transport: transport}
		defer transport.CloseIdleConnections()
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	if wait := resp.Header.Get("Retry-After"); (wait != "") != (resp.StatusCode == 503 || resp.StatusCode == 429) {
		t.Errorf("Retry-After %q with status %d", wait, resp.StatusCode)
	}
	return resp.StatusCode
}

func token(r *http.Request) { r.Header.Set("Authorization", "Bearer "+testToken) }
