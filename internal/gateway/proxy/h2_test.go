package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// h2client speaks HTTP/2 by prior knowledge.
func h2client(t *testing.T) *http.Transport {
	t.Helper()
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func roundTrip(t *testing.T, tr http.RoundTripper, method, url string, body io.Reader) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func TestHTTP2PriorKnowledge(t *testing.T) {
	f := start(t, oneBackend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s %s %s", r.Method, r.Host, r.URL.RequestURI(), b)
	}), Limits{})
	tr := h2client(t)
	resp, body := roundTrip(t, tr, "POST", "http://"+f.addr+"/%61?x=1", strings.NewReader("hello"))
	if resp.ProtoMajor != 2 || resp.StatusCode != 200 || body != "POST "+f.addr+" /a?x=1 hello" {
		t.Errorf("%s %d %q", resp.Proto, resp.StatusCode, body)
	}
	if e := f.events.last(t); e.Protocol != "HTTP/2.0" || !e.Decision.Allowed {
		t.Errorf("event %+v", e)
	}
	if resp, body := roundTrip(t, tr, "GET", "http://"+f.addr+"/a%00b", nil); resp.StatusCode != 400 || !strings.Contains(body, "bad-request") {
		t.Errorf("NUL in path: %d %q", resp.StatusCode, body)
	}
	if resp, _ := roundTrip(t, tr, "HEAD", "http://"+f.addr+"/", nil); resp.StatusCode != 200 {
		t.Errorf("HEAD: %d", resp.StatusCode)
	}
}

func TestHTTP2OverTLS(t *testing.T) {
	ca := newAuthority(t)
	table := oneBackend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-Proto"))
	})
	table.Listeners = []ir.Listener{ca.listener(t, "ns/gw/a", "a.example", "/"), ca.listener(t, "ns/gw/b", "b.example", "/")}
	f := start(t, table, Limits{})
	tr := &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.pool(), ServerName: "a.example"},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, f.addr)
		},
	}
	t.Cleanup(tr.CloseIdleConnections)
	if resp, body := roundTrip(t, tr, "GET", "https://a.example/", nil); resp.ProtoMajor != 2 || body != "https" {
		t.Errorf("%s %d %q", resp.Proto, resp.StatusCode, body)
	}
	if resp, _ := roundTrip(t, tr, "GET", "https://b.example/", nil); resp.StatusCode != 421 {
		t.Errorf("coalesced onto another listener's connection: %d", resp.StatusCode)
	}
}

// A gRPC call is an HTTP/2 exchange with trailers, to an HTTP/2 backend.
func TestGRPCShape(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{Protocols: p, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" {
			t.Errorf("backend got %s, TE %q", r.Proto, r.Header.Get("Te"))
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		rc := http.NewResponseController(w)
		// Full duplex: each message is echoed before the next is sent.
		buf := make([]byte, 64)
		for {
			n, err := r.Body.Read(buf)
			if n > 0 {
				_, _ = w.Write(buf[:n])
				_ = rc.Flush()
			}
			if err != nil {
				break
			}
		}
		w.Header().Set("Grpc-Status", "0")
	})}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	table := oneBackend(t, nil)
	table.Backends[0].Endpoints, table.Backends[0].Protocol = []string{ln.Addr().String()}, ir.ProtocolHTTP2
	f := start(t, table, Limits{})

	pr, pw := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+f.addr+"/echo.Echo/Say", pr)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	got := make(chan *http.Response, 1)
	go func() {
		resp, err := h2client(t).RoundTrip(req)
		if err != nil {
			t.Error(err)
		}
		got <- resp
	}()
	if _, err := io.WriteString(pw, "one"); err != nil {
		t.Fatal(err)
	}
	resp := <-got
	if resp == nil {
		t.FailNow()
	}
	buf := make([]byte, 3)
	for _, msg := range []string{"one", "two", "six"} {
		if msg != "one" {
			if _, err := io.WriteString(pw, msg); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != msg {
			t.Fatalf("got %q, %v; want %q", buf, err, msg)
		}
	}
	_ = pw.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Fatal(err)
	}
	if s := resp.Trailer.Get("Grpc-Status"); s != "0" {
		t.Errorf("trailers %v", resp.Trailer)
	}
}

func TestWebSocket(t *testing.T) {
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	f := start(t, oneBackend(t, func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		for {
			kind, msg, err := c.ReadMessage()
			if err != nil {
				return
			}
			if err := c.WriteMessage(kind, append([]byte("echo "), msg...)); err != nil {
				return
			}
		}
	}), Limits{})
	c, resp, err := websocket.DefaultDialer.DialContext(t.Context(), "ws://"+f.addr+"/chat", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	for _, msg := range []string{"a", strings.Repeat("b", 100_000)} {
		if err := c.WriteMessage(websocket.TextMessage, []byte(msg)); err != nil {
			t.Fatal(err)
		}
		if _, got, err := c.ReadMessage(); err != nil || string(got) != "echo "+msg {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
	}
	_ = c.Close()
	if e := f.events.last(t); e.Status != 101 || !e.Decision.Allowed {
		t.Errorf("event %+v", e)
	}
}

// A backend that refuses the upgrade answers like any other.
func TestUpgradeRefusedByBackend(t *testing.T) {
	f := start(t, oneBackend(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUpgradeRequired) }), Limits{})
	c, br := f.dial(t)
	if resp, _ := send(t, c, br, "GET", "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"); resp.StatusCode != 426 {
		t.Errorf("%d", resp.StatusCode)
	}
	if resp, _ := send(t, c, br, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); resp.StatusCode != 426 {
		t.Errorf("the connection after it: %d", resp.StatusCode)
	}
}

// Server-sent events arrive one by one, not when the backend ends.
func TestServerSentEvents(t *testing.T) {
	next := make(chan struct{})
	h := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		for i := range 3 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = rc.Flush()
			<-next
		}
	}
	f := start(t, oneBackend(t, h), Limits{})
	for _, tr := range []*http.Transport{{DisableKeepAlives: true}, h2client(t)} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+f.addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(resp.Body)
		for i := range 3 {
			line, err := br.ReadString('\n')
			if want := fmt.Sprintf("data: %d\n", i); err != nil || line != want {
				t.Fatalf("got %q, %v; want %q", line, err, want)
			}
			if _, err := br.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			next <- struct{}{}
		}
		_ = resp.Body.Close()
	}
}

// A client that goes away ends the exchange with the backend.
func TestHTTP2ClientGone(t *testing.T) {
	gone := make(chan struct{})
	entered := make(chan struct{})
	f := start(t, oneBackend(t, func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		close(gone)
	}), Limits{})
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+f.addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := h2client(t)
	go func() {
		if resp, err := tr.RoundTrip(req); err == nil {
			_ = resp.Body.Close()
		}
	}()
	<-entered
	cancel()
	select {
	case <-gone:
	case <-time.After(20 * time.Second):
		t.Fatal("the backend still works for a client that is gone")
	}
}

// A stream that declares a body of 0 bytes and leaves its end open is not forwarded
// before the end shows that nothing follows.
func TestHTTP2EmptyBodyIsAwaited(t *testing.T) {
	for name, c := range map[string]struct {
		body  string
		calls int32
	}{"nothing follows": {"", 1}, "a body follows": {"GET /smuggled HTTP/1.1\r\n\r\n", 0}} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int32
			f := start(t, oneBackend(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) }), Limits{})
			conn, err := net.Dial("tcp", f.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
				t.Fatal(err)
			}
			var head bytes.Buffer
			enc := hpack.NewEncoder(&head)
			for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", f.addr}, {":path", "/"}, {"content-length", "0"}} {
				if err := enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
					t.Fatal(err)
				}
			}
			fr := http2.NewFramer(conn, conn)
			if err := errors.Join(fr.WriteSettings(), fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: head.Bytes(), EndHeaders: true})); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond) // in which the request would go out
			if n := calls.Load(); n != 0 {
				t.Fatalf("the backend has %d requests before the stream ends", n)
			}
			if err := fr.WriteData(1, true, []byte(c.body)); err != nil {
				t.Fatal(err)
			}
			for done := false; !done; {
				got, err := fr.ReadFrame()
				if err != nil {
					t.Fatal(err)
				}
				done = got.Header().StreamID == 1 && (got.Header().Flags.Has(http2.FlagDataEndStream) || got.Header().Type == http2.FrameRSTStream)
			}
			if e := f.events.last(t); e.Decision.Allowed != (c.calls == 1) {
				t.Errorf("event %+v", e)
			}
			if n := calls.Load(); n != c.calls {
				t.Errorf("the backend has %d requests, want %d", n, c.calls)
			}
		})
	}
}
