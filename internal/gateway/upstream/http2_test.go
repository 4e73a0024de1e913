package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// http2Backend serves h with HTTP/2: without TLS where cert is nil.
func http2Backend(t *testing.T, cert *tls.Certificate, h http.HandlerFunc) (addr string, conns *atomic.Int32) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := new(http.Protocols)
	conns = new(atomic.Int32)
	srv := &http.Server{Handler: h, Protocols: p, ReadHeaderTimeout: time.Minute, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}}
	serve := srv.Serve
	if cert == nil {
		p.SetUnencryptedHTTP2(true)
	} else {
		p.SetHTTP2(true)
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	done := make(chan error, 1)
	go func() { done <- serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return l.Addr().String(), conns
}

func h2At(addr string) ir.Backend {
	return ir.Backend{Protocol: ir.ProtocolHTTP2, Endpoints: []string{addr}}
}

func TestHTTP2(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, nil)
	type seen struct {
		Proto, Method, Host, URI, UserAgent, TE, Body string
		Hop                                           []string
		Length                                        int64
	}
	got := make(chan seen, 1)
	handler := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s := seen{Proto: r.Proto, Method: r.Method, Host: r.Host, URI: r.RequestURI, UserAgent: r.Header.Get("User-Agent"), TE: r.Header.Get("Te"), Body: string(body), Length: r.ContentLength}
		for _, name := range []string{"Connection", "Transfer-Encoding", "Upgrade", "Keep-Alive", "Accept-Encoding"} {
			if r.Header.Get(name) != "" {
				s.Hop = append(s.Hop, name)
			}
		}
		got <- s
		w.Header().Set("Trailer", "Grpc-Status")
		w.Header().Set("X-B", "1")
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "hello")
		w.Header().Set("Grpc-Status", "0")
	}
	plain, plainConns := http2Backend(t, nil, handler)
	secure, _ := http2Backend(t, &cert, handler)
	overTLS := h2At(secure)
	overTLS.TLS = &ir.BackendTLS{ServerName: "backend.test", CA: ca.pem}
	for name, cfg := range map[string]ir.Backend{"h2c": h2At(plain), "h2": overTLS} {
		t.Run(name, func(t *testing.T) {
			set := newSet(t, Options{}, cfg)
			for _, tt := range []struct {
				call *Call
				want seen
			}{
				{call("GET", "/a%2Fb//c?d=%20"), seen{Proto: "HTTP/2.0", Method: "GET", Host: "api.test", URI: "/a%2Fb//c?d=%20"}},
				{call("GET", "//a/b"), seen{Proto: "HTTP/2.0", Method: "GET", Host: "api.test", URI: "//a/b"}},
				{post("POST", strings.NewReader("12345"), 5), seen{Proto: "HTTP/2.0", Method: "POST", Host: "api.test", URI: "/", Body: "12345", Length: 5}},
				{post("POST", strings.NewReader("12345"), -1), seen{Proto: "HTTP/2.0", Method: "POST", Host: "api.test", URI: "/", Body: "12345", Length: -1}},
			} {
				tt.call.Header = message.Header{{Name: "connection", Value: "x"}, {Name: "upgrade", Value: "h2c"}, {Name: "transfer-encoding", Value: "chunked"}, {Name: "keep-alive", Value: "1"}, {Name: "user-agent", Value: "test"}}
				tt.call.Req.Trailers = true
				tt.want.UserAgent, tt.want.TE = "test", "trailers"
				a := must(t, set.Backend(0), tt.call)
				if diff := cmp.Diff(tt.want, <-got); diff != "" {
					t.Errorf("request (-want +got)\n%s", diff)
				}
				a.header.Del("date")
				a.header.Del("content-type")
				want := message.Header{{Name: "set-cookie", Value: "a=1"}, {Name: "set-cookie", Value: "b=2"}, {Name: "x-b", Value: "1"}}
				if diff := cmp.Diff(want, a.header); diff != "" {
					t.Errorf("header (-want +got)\n%s", diff)
				}
				if a.status != 202 || a.body != "hello" || a.trailer.Get("grpc-status") != "0" {
					t.Errorf("got %+v", a)
				}
			}
			if st := set.Stats()[0]; st.Active != 0 || st.Connects != 1 {
				t.Errorf("after it: %+v", st)
			}
		})
	}
	if n := plainConns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestHTTP2Duplex: the response begins while the request is still under way, as
// gRPC's bidirectional streams need it.
func TestHTTP2Duplex(t *testing.T) {
	addr, _ := http2Backend(t, nil, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		w.WriteHeader(http.StatusOK)
		_ = rc.Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			if n > 0 {
				_, _ = w.Write(bytes.ToUpper(buf[:n]))
				_ = rc.Flush()
			}
			if err != nil {
				return
			}
		}
	})
	set := newSet(t, Options{}, h2At(addr))
	pr, pw := io.Pipe()
	c := post("POST", pr, -1)
	c.Req.Proto = 20
	var resp message.Response
	if err := set.Backend(0).Do(t.Context(), c, &resp); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two", "three"} {
		if _, err := io.WriteString(pw, text); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, len(text))
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != strings.ToUpper(text) {
			t.Errorf("read %q, %v", buf, err)
		}
	}
	_ = pw.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("rest %q, %v", rest, err)
	}
	_ = resp.Body.Close()
	if st := set.Stats()[0]; st.Active != 0 {
		t.Errorf("after it: %+v", st)
	}
}

// TestHTTP2BodyIsLetGo: once the response is closed nobody reads the client's
// body any more, although the client has not finished it.
func TestHTTP2BodyIsLetGo(t *testing.T) {
	addr, _ := http2Backend(t, nil, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	set := newSet(t, Options{}, h2At(addr))
	pr, pw := io.Pipe() // has Close, which ends a Read that waits
	c := post("POST", pr, -1)
	c.Req.Proto = 20
	if a := must(t, set.Backend(0), c); a.status != 403 {
		t.Errorf("got %+v", a)
	}
	if _, err := io.WriteString(pw, "late"); err == nil {
		t.Error("somebody took the late bytes")
	}
	// Under HTTP/1.1 the body cannot be closed: the Read under way is waited for.
	for range 10 {
		busy := &busyReader{}
		if a := must(t, set.Backend(0), post("POST", busy, -1)); a.status != 403 {
			t.Errorf("got %+v", a)
		}
		if busy.reading.Load() {
			t.Fatal("the body is still being read")
		}
		n := busy.reads.Load()
		time.Sleep(5 * time.Millisecond)
		if busy.reads.Load() != n {
			t.Fatal("the body is read again")
		}
	}
}

// busyReader is a client that sends a byte now and then.
type busyReader struct {
	reading atomic.Bool
	reads   atomic.Int32
}

func (r *busyReader) Read(p []byte) (int, error) {
	r.reads.Add(1)
	r.reading.Store(true)
	defer r.reading.Store(false)
	time.Sleep(20 * time.Millisecond)
	p[0] = 'x'
	return 1, nil
}

func TestHTTP2Errors(t *testing.T) {
	addr, _ := http2Backend(t, nil, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			<-r.Context().Done()
		case "/abort":
			panic(http.ErrAbortHandler)
		case "/cut":
			_, _ = io.WriteString(w, "hel")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/stop":
			_, _ = io.WriteString(w, "hel")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		default:
			_, _ = io.Copy(io.Discard, r.Body)
		}
	})
	set := newSet(t, Options{}, h2At(addr))
	const ms = time.Millisecond
	tests := map[string]struct {
		target string
		edit   func(c *Call)
		kind   Kind
	}{
		"Deadline":          {"/hang", func(c *Call) { c.Deadline = time.Now().Add(50 * ms) }, Timeout},
		"TryTimeout":        {"/hang", func(c *Call) { c.TryTimeout = 50 * ms }, Timeout},
		"HeadTimeout":       {"/hang", func(c *Call) { c.HeadTimeout = 50 * ms }, Timeout},
		"BodyTimeout":       {"/stop", func(c *Call) { c.BodyTimeout = 50 * ms }, Timeout},
		"Deadline in body":  {"/stop", func(c *Call) { c.Deadline = time.Now().Add(50 * ms) }, Timeout},
		"reset before head": {"/abort", func(*Call) {}, BackendGone},
		"reset in body":     {"/cut", func(*Call) {}, BackendGone},
		"client's body": {"/", func(c *Call) {
			c.Req.Method, c.Req.ContentLength = "POST", -1
			c.Req.Body = io.MultiReader(strings.NewReader("x"), failing{message.ErrBodyTooLarge})
		}, BodyRead},
		"client's small body": {"/", func(c *Call) {
			c.Req.Method, c.Req.ContentLength, c.Req.Body = "POST", 5, strings.NewReader("x")
		}, BodyRead},
		"line break": {"/", func(c *Call) { c.Header = message.Header{{Name: "a", Value: "b\r\nc: d"}} }, Refused},
		"CONNECT":    {"/", func(c *Call) { c.Req.Method = "CONNECT" }, Refused},
		"upgrade":    {"/", func(c *Call) { c.Req.Upgrade, c.ForwardUpgrade = "websocket", true }, Refused},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := call("GET", tt.target)
			tt.edit(c)
			_, err := do(t, set.Backend(0), c)
			wantKind(t, err, tt.kind)
			if name == "client's body" && !errors.Is(err, message.ErrBodyTooLarge) {
				t.Errorf("error %v does not lead to its cause", err)
			}
		})
	}
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer time.AfterFunc(30*ms, cancel).Stop()
		c := call("GET", "/hang")
		c.Watch = true
		var resp message.Response
		wantKind(t, set.Backend(0).Do(ctx, c, &resp), Canceled)
	})
	if st := set.Stats()[0]; st.Active != 0 {
		t.Errorf("after it: %+v", st)
	}
}

func TestHTTP2NotSpoken(t *testing.T) {
	ca := newAuthority(t)
	cert := ca.issue(t, nil)
	h1 := listen(t, always(okay))
	_, err := do(t, newSet(t, Options{}, h2At(h1.addr)).Backend(0), call("GET", "/"))
	if k := kindOf(err); k != BackendGone && k != BadResponse {
		t.Errorf("HTTP/1.1 in place of h2c: %v", err)
	}
	_, err = do(t, newSet(t, Options{}, h2At(deadAddr(t))).Backend(0), call("GET", "/"))
	wantKind(t, err, ConnectFailed)
	for name, cfg := range map[string]*tls.Config{
		"no ALPN":         {Certificates: []tls.Certificate{cert}},
		"HTTP/1.1":        {Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}},
		"other's key":     {Certificates: []tls.Certificate{newAuthority(t).issue(t, nil)}, NextProtos: []string{"h2"}},
		"TLS 1.1 at most": {Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
	} {
		t.Run(name, func(t *testing.T) {
			f := listenTLS(t, cfg, always(okay))
			b := h2At(f.addr)
			b.TLS = &ir.BackendTLS{ServerName: "backend.test", CA: ca.pem}
			_, err := do(t, newSet(t, Options{}, b).Backend(0), call("GET", "/"))
			wantKind(t, err, ConnectFailed)
		})
	}
}

func TestHTTP2Retry(t *testing.T) {
	var n atomic.Int32
	addr, _ := http2Backend(t, nil, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if n.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(body)
	})
	c := post("PUT", strings.NewReader("hello"), 5)
	c.Retry = &ir.Retry{Attempts: 3, Codes: []int{503}}
	if a := must(t, newSet(t, Options{}, h2At(addr)).Backend(0), c); a.body != "hello" || n.Load() != 3 {
		t.Errorf("%d requests, %+v", n.Load(), a)
	}
}
