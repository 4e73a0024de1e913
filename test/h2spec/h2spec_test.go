package h2spec_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"text/template"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/test/h2spec"
	"bulwark.dev/bulwark/test/peers"
)

// answer is what the servers under test say: enough for the cases on flow
// control.
var answer = bytes.Repeat([]byte("0123456789abcdef"), 64)

// answering serves answer after reading the request.
func answering() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(answer)
	})
}

// TestStandardLibrary proves that the harness sees failures: net/http fails
// exactly these cases. Bulwark uses net/http for HTTP/2 and must pass them, so
// each is one thing that its listener does on top. A case that net/http starts
// to pass is one thing less to do.
func TestStandardLibrary(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(answering())
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	srv.Start()
	t.Cleanup(srv.Close)

	cases := run(t, h2spec.Target{Port: port(t, srv.Listener.Addr()), Path: "/"})
	var failed []string
	for _, c := range cases {
		if c.Failure != "" {
			failed = append(failed, c.ID())
		}
	}
	want := []string{
		// Read as HTTP/1.1 and answered with 400; h2spec wants the connection
		// closed without an answer.
		"http2/3.5: Sends invalid connection preface",
		// net/http offers frames of 1 MiB unless told otherwise; h2spec sends
		// more than the protocol's default of 16 KiB.
		"http2/4.2: Sends a large size HEADERS frame that exceeds the SETTINGS_MAX_FRAME_SIZE",
		// Any setting given twice in one frame closes the connection.
		"http2/6.5.3: Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE",
		// Both are answered with 400; the RFC calls the request malformed, which
		// is a stream error.
		"http2/8.1.2.2: Sends a HEADERS frame that contains the connection-specific header field",
		`http2/8.1.2.2: Sends a HEADERS frame that contains the TE header field with any value other than "trailers"`,
	}
	if diff := cmp.Diff(want, failed); diff != "" {
		t.Errorf("cases that net/http fails (-want +got):\n%s", diff)
	}
}

// TestBulwark runs every case against both kinds of HTTP/2 that Bulwark speaks.
func TestBulwark(t *testing.T) {
	t.Parallel()
	ports := bulwark(t)
	for name, target := range map[string]h2spec.Target{
		"tls": {Port: ports.TLS, TLS: true, Path: "/"},
		"h2c": {Port: ports.Plain, Path: "/"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			passed := 0
			for _, c := range run(t, target) {
				switch {
				case c.Failure != "":
					t.Errorf("%s\n%s", c.ID(), c.Failure)
				case c.Skipped:
					t.Errorf("%s\nskipped", c.ID())
				default:
					passed++
				}
			}
			t.Logf("%d of %d cases passed", passed, h2spec.Cases)
		})
	}
}

// run runs h2spec, built at its pinned version.
func run(t *testing.T, target h2spec.Target) []h2spec.Case {
	t.Helper()
	binary, err := peers.Build(t.Context(), peers.H2Spec)
	if err != nil {
		t.Fatal(err)
	}
	cases, err := h2spec.Run(t.Context(), binary, target)
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// listeners are the ports of Bulwark under test, and what its configuration is
// made of.
type listeners struct {
	Plain, TLS, Backend, Admin int
	Cert, Key                  string
}

// bulwark starts the built program in front of a backend, with one plain and
// one TLS listener.
func bulwark(t *testing.T) listeners {
	t.Helper()
	backend := httptest.NewServer(answering())
	t.Cleanup(backend.Close)
	free, err := peers.Ports(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	l := listeners{Plain: free[0], TLS: free[1], Admin: free[2], Backend: port(t, backend.Listener.Addr())}
	l.Cert, l.Key = certificate(t)

	dir := t.TempDir()
	objects := filepath.Join(dir, "objects")
	if err := os.Mkdir(objects, 0o755); err != nil {
		t.Fatal(err)
	}
	tmpl, err := template.ParseFiles(filepath.Join("testdata", "bulwark.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := tmpl.Execute(&b, l); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(objects, "h2spec.yaml"), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	binary, err := peers.BuildBulwark(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	// Cleanups run after t.Context ends, and Stop must be what ends the program.
	proc, err := peers.Start(context.WithoutCancel(t.Context()), "bulwark", binary, "up", "-f", objects,
		"--data", filepath.Join(dir, "data"), "--events=none", "--admin", fmt.Sprintf("127.0.0.1:%d", l.Admin))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proc.Stop(); err != nil {
			t.Errorf("%v; it said:\n%s", err, proc.Log())
		}
	})
	ready(t, proc, l)
	return l
}

// ready waits until both listeners serve the backend's answer.
func ready(t *testing.T, proc *peers.Process, l listeners) {
	t.Helper()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}}
	get := func(url string) error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			return fmt.Errorf("ask %s: %w", url, err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return fmt.Errorf("ask %s: %w", url, err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			return fmt.Errorf("ask %s: %w", url, err)
		}
		if resp.StatusCode != http.StatusOK || !bytes.Equal(body, answer) {
			return fmt.Errorf("ask %s: status %d, %d bytes", url, resp.StatusCode, len(body))
		}
		return nil
	}
	for _, url := range []string{fmt.Sprintf("http://127.0.0.1:%d/", l.Plain), fmt.Sprintf("https://127.0.0.1:%d/", l.TLS)} {
		var err error
		for range 200 {
			if gone, end := proc.Exited(); gone {
				t.Fatalf("bulwark ended: %v; it said:\n%s", end, proc.Log())
			}
			if err = get(url); err == nil {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if err != nil {
			t.Fatalf("bulwark is not ready: %v; it said:\n%s", err, proc.Log())
		}
	}
}

// certificate makes a self-signed certificate for 127.0.0.1 and gives it and its
// key as a Secret holds them: PEM in base64.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, b []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", pkcs8)
}

// port is the TCP port of an address.
func port(t *testing.T, a net.Addr) int {
	t.Helper()
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		t.Fatalf("%s is no TCP address", a)
	}
	return tcp.Port
}

// TestParse reads the three ways in which a report marks a case.
func TestParse(t *testing.T) {
	t.Parallel()
	const report = `<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="a" package="http2/1" tests="4">
    <testcase package="http2/1" classname="good" time="0.1"></testcase>
    <testcase package="http2/1" classname="bad"><error>want GOAWAY
got DATA</error></testcase>
    <testcase package="http2/1" classname="silent"><failure></failure></testcase>
    <testcase package="http2/1" classname="left out"><skipped></skipped></testcase>
  </testsuite>
</testsuites>`
	got, err := h2spec.Parse([]byte(report))
	if err != nil {
		t.Fatal(err)
	}
	want := []h2spec.Case{
		{Section: "http2/1", Name: "good"},
		{Section: "http2/1", Name: "bad", Failure: "failed: want GOAWAY\ngot DATA"},
		{Section: "http2/1", Name: "silent", Failure: "failed:"},
		{Section: "http2/1", Name: "left out", Skipped: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Parse (-want +got):\n%s", diff)
	}
	if _, err := h2spec.Parse([]byte("no report")); err == nil {
		t.Error("Parse accepts what is no report")
	}
}
