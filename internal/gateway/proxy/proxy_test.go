package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/filters"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// memory keeps a copy of each event.
type memory struct {
	mu     sync.Mutex
	events []bulwark.Event
}

func (m *memory) Record(e *bulwark.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, *e)
}

func (m *memory) last(t *testing.T) bulwark.Event {
	t.Helper()
	for range 200 {
		m.mu.Lock()
		n := len(m.events)
		m.mu.Unlock()
		if n > 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.events) == 0 {
		t.Fatal("no event was recorded")
	}
	return m.events[len(m.events)-1]
}

// fixture is a server on a free loopback port in front of a real backend.
type fixture struct {
	server *Server
	events *memory
	addr   string
	table  *ir.Table
}

// open is a rule that admits everybody, asked for by name.
func open(id string, backends ...ir.BackendRef) ir.Rule {
	return ir.Rule{
		ID: id, Route: ir.RouteRef{Kind: "HTTPRoute", Namespace: "ns", Name: id}, Backends: backends,
		Authentication: &ir.Authentication{Rule: "p", AnyOf: []ir.Authenticator{{Anonymous: &ir.Anonymous{}}}},
		Authorization:  &ir.Authorization{Rule: "p", Rules: []ir.AuthRule{{Name: "all", Allow: true, When: "true"}}},
	}
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return netip.MustParseAddrPort(ln.Addr().String()).Port()
}

func testDeps() filters.Deps {
	return filters.Deps{Now: time.Now, State: filters.NewState(), Log: slog.New(slog.DiscardHandler), HTTP: http.DefaultClient}
}

// start serves table, whose first listener gets a free port.
func start(t *testing.T, table *ir.Table, limits Limits) *fixture {
	t.Helper()
	port := freePort(t)
	for i := range table.Listeners {
		table.Listeners[i].Addresses = []string{"127.0.0.1"}
		table.Listeners[i].Port = port
	}
	f := &fixture{events: &memory{}, addr: fmt.Sprintf("127.0.0.1:%d", port), table: table}
	deps := testDeps()
	s, err := New(Config{
		Now: time.Now, Random: rand.Uint64, Log: slog.New(slog.DiscardHandler), Recorder: f.events, Limits: limits, Filters: deps,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.server = s
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		deps.State.Close()
	})
	problems, err := s.Apply(t.Context(), table)
	if err != nil || len(problems) > 0 {
		t.Fatalf("apply: %v, problems %v", err, problems)
	}
	return f
}

// oneBackend is a table with one listener that sends everything to a backend.
func oneBackend(t *testing.T, h http.HandlerFunc) *ir.Table {
	t.Helper()
	return &ir.Table{
		Listeners: []ir.Listener{{Name: "ns/gw/http", Hosts: []ir.Host{{Matches: []ir.Match{{PathKind: ir.PathPrefix, Path: "/"}}}}}},
		Rules:     []ir.Rule{open("all", ir.BackendRef{Weight: 1})},
		Backends:  []ir.Backend{{Name: "ns/svc:80", Endpoints: []string{httpBackend(t, h)}}},
	}
}

func httpBackend(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() { _ = srv.Serve(ln); close(done) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return ln.Addr().String()
}

// exchangeRaw sends bytes on a fresh connection and reads all that comes until
// the gateway closes it, or what one response holds.
func (f *fixture) dial(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c, bufio.NewReader(c)
}

func send(t *testing.T, c net.Conn, br *bufio.Reader, method, raw string) (*http.Response, string) {
	t.Helper()
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("read response to %q: %v", raw, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestHop(t *testing.T) {
	f := start(t, oneBackend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Seen", fmt.Sprintf("%s %s %s xff=%s te=%v conn=%q", r.Method, r.URL.RequestURI(), r.Host, r.Header.Get("X-Forwarded-For"), r.TransferEncoding, r.Header.Get("Connection")))
		_, _ = w.Write(b)
	}), Limits{})
	c, br := f.dial(t)
	for _, tc := range []struct{ name, method, raw, seen, body string }{
		{"get", "GET", "GET /%61?q=1 HTTP/1.1\r\nHost: Shop.Example\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n", "GET /a?q=1 shop.example xff=127.0.0.1 te=[] conn=\"\"", ""},
		{"length", "POST", "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "POST /b a xff=127.0.0.1 te=[] conn=\"\"", "hello"},
		{"chunked", "POST", "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", "POST /c a xff=127.0.0.1 te=[chunked] conn=\"\"", "abcde"},
		{"head", "HEAD", "HEAD /d HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD /d a xff=127.0.0.1 te=[] conn=\"\"", ""},
		{"after head", "GET", "GET /e HTTP/1.1\r\nHost: a\r\n\r\n", "GET /e a xff=127.0.0.1 te=[] conn=\"\"", ""},
	} {
		resp, body := send(t, c, br, tc.method, tc.raw)
		if resp.StatusCode != 200 || resp.Header.Get("X-Seen") != tc.seen || body != tc.body {
			t.Errorf("%s: %d %q body %q; want %q body %q", tc.name, resp.StatusCode, resp.Header.Get("X-Seen"), body, tc.seen, tc.body)
		}
		if id := resp.Header.Get("X-Request-Id"); len(id) != 32 {
			t.Errorf("%s: request id %q", tc.name, id)
		}
	}
	if e := f.events.last(t); e.Route != "all" || !e.Decision.Allowed || e.Backend != "ns/svc:80" || e.Listener != "ns/gw/http" {
		t.Errorf("event %+v", e)
	}
}

func TestPipelined(t *testing.T) {
	f := start(t, oneBackend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }), Limits{})
	c, br := f.dial(t)
	if _, err := io.WriteString(c, strings.Repeat("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxx", 5)); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		if want := []string{"/1", "/2"}[i%2]; string(b) != want {
			t.Fatalf("response %d is %q, want %q", i, b, want)
		}
	}
}

// What is refused ends the connection: nothing behind it is served.
func TestRefusedHeadEndsTheConnection(t *testing.T) {
	served := 0
	f := start(t, oneBackend(t, func(http.ResponseWriter, *http.Request) { served++ }), Limits{})
	c, br := f.dial(t)
	resp, body := send(t, c, br, "GET", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp.StatusCode != 400 || !resp.Close || !strings.Contains(body, `"code":"bad-request"`) {
		t.Errorf("%d close=%v %s", resp.StatusCode, resp.Close, body)
	}
	if rest, _ := io.ReadAll(br); len(rest) > 0 || served != 0 {
		t.Errorf("got %q behind the refusal, served %d", rest, served)
	}
	if e := f.events.last(t); e.Decision.Allowed || e.Status != 400 || e.Decision.Reason == "" {
		t.Errorf("event %+v", e)
	}
}

func TestBodyTooLarge(t *testing.T) {
	table := oneBackend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	table.Rules[0].Form = &ir.Form{Rule: "p", MaxBodyBytes: 10}
	f := start(t, table, Limits{})
	for name, raw := range map[string]string{
		"by length": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n0123456789a",
		"chunked":   "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("5\r\n01234\r\n", 3) + "0\r\n\r\n",
	} {
		c, br := f.dial(t)
		if resp, body := send(t, c, br, "POST", raw); resp.StatusCode != 413 || !strings.Contains(body, "too-large") {
			t.Errorf("%s: %d %s", name, resp.StatusCode, body)
		}
	}
	c, br := f.dial(t)
	if resp, body := send(t, c, br, "POST", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789"); resp.StatusCode != 200 || body != "0123456789" {
		t.Errorf("at the limit: %d %s", resp.StatusCode, body)
	}
}

func TestExpectContinue(t *testing.T) {
	f := start(t, oneBackend(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }), Limits{})
	c, br := f.dial(t)
	if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	line, err := br.ReadString('\n')
	if err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	if _, err := br.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if resp, body := send(t, c, br, "POST", "hi"); resp.StatusCode != 200 || body != "hi" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}

// A refused request that waits for 100 must not be told to send its body.
func TestExpectContinueRefused(t *testing.T) {
	table := oneBackend(t, func(http.ResponseWriter, *http.Request) { t.Error("reached the backend") })
	table.Rules[0].Authorization = nil
	f := start(t, table, Limits{})
	c, br := f.dial(t)
	resp, _ := send(t, c, br, "POST", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	if resp.StatusCode != 403 || !resp.Close {
		t.Errorf("%d close=%v", resp.StatusCode, resp.Close)
	}
}

func TestSlowHeadIsCut(t *testing.T) {
	f := start(t, oneBackend(t, func(http.ResponseWriter, *http.Request) {}), Limits{HeaderTimeout: 200 * time.Millisecond})
	c, br := f.dial(t)
	go func() {
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(c, "%c", "GET / HTTP/1.1\r\nHost: a\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"[min(i, 70)]); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 408 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestConnectionLimit(t *testing.T) {
	f := start(t, oneBackend(t, func(http.ResponseWriter, *http.Request) {}), Limits{Connections: 2})
	c1, br1 := f.dial(t)
	c2, br2 := f.dial(t)
	send(t, c1, br1, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	send(t, c2, br2, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	c3, br3 := f.dial(t)
	_, _ = io.WriteString(c3, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if b, _ := io.ReadAll(br3); len(b) > 0 {
		t.Errorf("the third connection got %q", b)
	}
	_ = c1.Close()
	for range 200 {
		if f.server.open.Load() < 2 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	c4, br4 := f.dial(t)
	if resp, _ := send(t, c4, br4, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); resp.StatusCode != 200 {
		t.Errorf("after one left: %d", resp.StatusCode)
	}
}

// A response that the backend cuts short must not look whole.
func TestTruncatedResponse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
			_ = c.Close()
		}
	}()
	table := oneBackend(t, nil)
	table.Backends[0].Endpoints = []string{ln.Addr().String()}
	f := start(t, table, Limits{})
	c, br := f.dial(t)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("a truncated body reads as whole")
	}
}

func TestDrain(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{})
	table := oneBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(entered)
			<-release
		}
		_, _ = io.WriteString(w, "done")
	})
	f := start(t, table, Limits{})
	idle, idleBR := f.dial(t)
	send(t, idle, idleBR, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	busy, busyBR := f.dial(t)
	if _, err := io.WriteString(busy, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-entered
	done := make(chan error, 1)
	go func() { done <- f.server.Shutdown(context.Background()) }()
	if b, err := io.ReadAll(idleBR); len(b) > 0 || err != nil {
		t.Errorf("the idle connection got %q, %v", b, err)
	}
	if _, err := net.Dial("tcp", f.addr); err == nil {
		t.Error("the listener is still open")
	}
	close(release)
	resp, err := http.ReadResponse(busyBR, nil)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(resp.Body); string(b) != "done" || !resp.Close {
		t.Errorf("got %q, close=%v", b, resp.Close)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A table that cannot open its listener changes nothing.
func TestApplyIsAllOrNothing(t *testing.T) {
	f := start(t, oneBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "old") }), Limits{})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	next := oneBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "new") })
	next.Listeners[0].Addresses = []string{"127.0.0.1"}
	next.Listeners[0].Port = netip.MustParseAddrPort(taken.Addr().String()).Port()
	if _, err := f.server.Apply(t.Context(), next); err == nil {
		t.Fatal("a taken port was applied")
	}
	c, br := f.dial(t)
	if _, body := send(t, c, br, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); body != "old" {
		t.Errorf("got %q", body)
	}
}

// A fault that one request uncovers costs its connection and nothing else.
func TestFaultEndsOneConnection(t *testing.T) {
	table := oneBackend(t, func(http.ResponseWriter, *http.Request) {})
	f := start(t, table, Limits{})
	good := f.server.cfg.Recorder
	f.server.cfg.Recorder = recorderFunc(func(e *bulwark.Event) {
		if e.Path == "/fault" {
			panic("found by a request")
		}
		good.Record(e)
	})
	c, br := f.dial(t)
	send(t, c, br, "GET", "GET /fault HTTP/1.1\r\nHost: a\r\n\r\n")
	if rest, _ := io.ReadAll(br); len(rest) > 0 {
		t.Errorf("got %q behind the fault", rest)
	}
	c, br = f.dial(t)
	if resp, _ := send(t, c, br, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); resp.StatusCode != 200 {
		t.Errorf("the next connection: %d", resp.StatusCode)
	}
	if n := f.server.metrics.faults.Load(); n != 1 {
		t.Errorf("%d faults counted", n)
	}
}

type recorderFunc func(*bulwark.Event)

func (f recorderFunc) Record(e *bulwark.Event) { f(e) }
