package forward

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/ingest"
	"bulwark.dev/bulwark/internal/audit/ingest/webhook"
)

const testToken = "0123456789abcdef0123"

// files are a certificate for 127.0.0.1 and a token.
type files struct{ cert, key, token string }

func newFiles(tb testing.TB) files {
	tb.Helper()
	dir := tb.TempDir()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "trail"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		tb.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		tb.Fatal(err)
	}
	f := files{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"), filepath.Join(dir, "token")}
	put(tb, f.cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	put(tb, f.key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})))
	put(tb, f.token, testToken+"\n")
	return f
}

func put(tb testing.TB, file, text string) {
	tb.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// trail is the webhook of a trail that keeps its events in memory. It can be killed,
// and come back at the same address.
type trail struct {
	files
	address string
	// answer, where it is set, decides about a request before the webhook gets it.
	answer func(rw http.ResponseWriter, r *http.Request) bool

	mu     sync.Mutex
	server *http.Server
	events []*audit.Event
}

func newTrail(tb testing.TB) *trail {
	tb.Helper()
	tr := &trail{files: newFiles(tb)}
	ln, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tr.address = ln.Addr().String()
	if err := ln.Close(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { tr.kill(tb) })
	return tr
}

// Append is for ingest.Sink.
func (tr *trail) Append(_ context.Context, entries []audit.Entry) (uint64, error) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	for _, e := range entries {
		tr.events = append(tr.events, e.Event)
	}
	return uint64(len(tr.events)), nil
}

func (tr *trail) all() []*audit.Event {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return append([]*audit.Event(nil), tr.events...)
}

func (tr *trail) start(tb testing.TB) {
	tb.Helper()
	tokens, err := webhook.OpenTokens(time.Now(), "gateway="+tr.token)
	if err != nil {
		tb.Fatal(err)
	}
	decoder := &ingest.Decoder{Source: "webhook", Now: time.Now, Redact: func(*audit.Event) []audit.Opening { return nil }}
	hook, err := webhook.New(webhook.Config{
		Sink: tr, Decode: decoder.Decode, Clients: webhook.Clients{Tokens: tokens}, Log: slog.New(slog.DiscardHandler), Now: time.Now,
	})
	if err != nil {
		tb.Fatal(err)
	}
	var ln net.Listener
	for range 100 { // another process may have the port for a moment
		if ln, err = (&net.ListenConfig{}).Listen(tb.Context(), "tcp", tr.address); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		tb.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if tr.answer == nil || !tr.answer(rw, r) {
			hook.ServeHTTP(rw, r)
		}
	})}
	tr.mu.Lock()
	tr.server = server
	tr.mu.Unlock()
	go func() { _ = server.ServeTLS(ln, tr.cert, tr.key) }()
}

// kill cuts all connections, whatever is on them.
func (tr *trail) kill(tb testing.TB) {
	tb.Helper()
	tr.mu.Lock()
	server := tr.server
	tr.server = nil
	tr.mu.Unlock()
	if server != nil {
		if err := server.Close(); err != nil {
			tb.Error(err)
		}
	}
}

// config is that of a sender to the trail, with short pauses.
func (tr *trail) config(dir string) Config {
	return Config{
		URL: "https://" + tr.address + "/audit/v1/gateway", Credentials: Credentials{CAFile: tr.cert, TokenFile: tr.token},
		Part: "gateway", Instance: "pod 1", Dir: dir, SpoolBytes: 8 << 20, Pause: 5 * time.Millisecond, LongPause: 40 * time.Millisecond,
		Log: slog.New(slog.DiscardHandler), Now: time.Now, Random: mrand.Uint64, Salts: rand.Reader,
	}
}

func mustNew(tb testing.TB, cfg Config) *Sender {
	tb.Helper()
	s, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close(canceled()) }) // where the test did not get to it
	return s
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func mustClose(t *testing.T, s *Sender) {
	t.Helper()
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func event(id string) *bulwark.Event {
	return &bulwark.Event{
		Time: time.Now(), RequestID: id, Method: http.MethodGet, Host: "shop.example", Path: "/orders", Status: 200, SourceIP: "192.0.2.1",
		Decision: bulwark.Decision{Allowed: true, Code: bulwark.CodeAllowed},
	}
}

// eventually waits until done is true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 3000 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("it never came true that %s", what)
}

// requests counts how often each request stands in the trail.
func (tr *trail) requests() map[string]int {
	out := map[string]int{}
	for _, e := range tr.all() {
		if e.Kind == audit.KindGateway {
			out[e.AuditID]++
		}
	}
	return out
}

// delivery is where an event stood in its sender's run.
func delivery(t *testing.T, e *audit.Event) (run string, n uint64) {
	t.Helper()
	var more map[string]struct{ Delivery string }
	if err := json.Unmarshal(e.More, &more); err != nil {
		t.Fatalf("%s: %v", e.More, err)
	}
	for _, m := range more {
		i := strings.LastIndexByte(m.Delivery, '/')
		n, err := strconv.ParseUint(m.Delivery[i+1:], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return m.Delivery[:i], n
	}
	t.Fatalf("no delivery in %s", e.More)
	return "", 0
}

// notices gives the parts' own events with a reason.
func (tr *trail) notices(reason string) []*audit.Event {
	var out []*audit.Event
	for _, e := range tr.all() {
		if e.Kind == audit.KindSystem && e.Status.Reason == reason {
			out = append(out, e)
		}
	}
	return out
}

// ordered wants each run's events in order, but for those that came again, and without
// a gap. It gives how many there are.
func (tr *trail) ordered(t *testing.T) (events, again int) {
	t.Helper()
	newest := map[string]uint64{}
	for _, e := range tr.all() {
		run, n := delivery(t, e)
		switch last := newest[run]; {
		case n == last+1:
			newest[run] = n
			events++
		case n <= last:
			again++
		default:
			t.Fatalf("%s/%d comes after %d", run, n, last)
		}
	}
	return events, again
}

// emptied reports whether nothing waits.
func (s *Sender) emptied() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)+len(s.stuck) == 0 && !s.taken && s.spool.unread() == 0
}

func ids(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s-%05d", prefix, i)
	}
	return out
}

func drain(r io.Reader) { _, _ = io.Copy(io.Discard, r) }

// missing reads what a notice says of events that were dropped.
func missing(t *testing.T, e *audit.Event) (events uint64, from, to string) {
	t.Helper()
	var more struct {
		Part struct {
			Fields struct {
				Events   uint64
				From, To string
			}
		}
	}
	if err := json.Unmarshal(e.More, &more); err != nil {
		t.Fatal(err)
	}
	return more.Part.Fields.Events, more.Part.Fields.From, more.Part.Fields.To
}
