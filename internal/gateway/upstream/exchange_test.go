package upstream

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"bulwark.dev/bulwark/internal/gateway/message"
)

// TestRequestBytes: exactly these bytes go out. Nothing that the client said
// about framing or about its own hop is among them.
func TestRequestBytes(t *testing.T) {
	hostile := message.Header{
		{Name: "accept", Value: "*/*"},
		{Name: "host", Value: "evil"},
		{Name: "content-length", Value: "99"},
		{Name: "transfer-encoding", Value: "chunked"},
		{Name: "connection", Value: "close"},
		{Name: "keep-alive", Value: "1"},
		{Name: "te", Value: "gzip"},
		{Name: "trailer", Value: "x"},
		{Name: "upgrade", Value: "h2c"},
		{Name: "expect", Value: "100-continue"},
		{Name: "http2-settings", Value: "x"},
		{Name: "proxy-connection", Value: "x"},
		{Name: "proxy-authorization", Value: "x"},
		{Name: ":path", Value: "/x"},
		{Name: "", Value: "x"},
		{Name: "x-last", Value: "1"},
	}
	const head = "host: api.test\r\naccept: */*\r\nx-last: 1\r\n"
	tests := []struct {
		name string
		call *Call
		want string
	}{
		{"GET", call("GET", "/a?b"), "GET /a?b HTTP/1.1\r\n" + head + "\r\n"},
		{"OPTIONS *", call("OPTIONS", "*"), "OPTIONS * HTTP/1.1\r\n" + head + "\r\n"},
		{"POST without body", call("POST", "/"), "POST / HTTP/1.1\r\n" + head + "content-length: 0\r\n\r\n"},
		{"DELETE without body", call("DELETE", "/"), "DELETE / HTTP/1.1\r\n" + head + "\r\n"},
		{"POST", post("POST", strings.NewReader("hello"), 5), "POST / HTTP/1.1\r\n" + head + "content-length: 5\r\n\r\nhello"},
		{"POST of more than its length", post("POST", strings.NewReader("helloGET /smuggled"), 5), "POST / HTTP/1.1\r\n" + head + "content-length: 5\r\n\r\nhello"},
		{"chunked", post("PUT", strings.NewReader("hello"), -1), "PUT / HTTP/1.1\r\n" + head + "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"},
		{"chunked and empty", post("PUT", strings.NewReader(""), -1), "PUT / HTTP/1.1\r\n" + head + "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"},
		{"body of GET", post("GET", strings.NewReader("x"), 1), "GET / HTTP/1.1\r\n" + head + "content-length: 1\r\n\r\nx"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 1)
			f := listen(t, func(s *session) {
				buf := make([]byte, 4096)
				all := ""
				for len(all) < len(tt.want) {
					n, err := s.Read(buf)
					all += string(buf[:n])
					if err != nil {
						break
					}
				}
				got <- all
				s.send(okay)
			})
			tt.call.Header = hostile
			must(t, newSet(t, Options{}, at(f.addr)).Backend(0), tt.call)
			if diff := cmp.Diff(tt.want, <-got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestRequestTrailersAndTE(t *testing.T) {
	type seen struct {
		TE, Connection string
		Trailer        http.Header
		Body           string
	}
	got := make(chan seen, 1)
	f := listen(t, func(s *session) {
		req, body, err := s.request()
		if err != nil {
			return
		}
		got <- seen{req.Header.Get("Te"), req.Header.Get("Connection"), req.Trailer, body}
		s.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ngrpc-status: 0\r\ncontent-length: 7\r\n\r\n")
	})
	c := post("POST", nil, -1)
	c.Req.Trailers = true
	c.Req.Body = &endReader{r: strings.NewReader("hi"), end: func() {
		c.Req.Trailer = message.Header{{Name: "x-sum", Value: "1"}, {Name: "host", Value: "evil"}}
	}}
	a := must(t, newSet(t, Options{}, at(f.addr)).Backend(0), c)
	want := seen{TE: "trailers", Connection: "te", Trailer: http.Header{"X-Sum": {"1"}}, Body: "hi"}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Errorf("request (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(message.Header{{Name: "grpc-status", Value: "0"}}, a.trailer); diff != "" {
		t.Errorf("trailer (-want +got)\n%s", diff)
	}
	if a.body != "ok" || a.length != -1 {
		t.Errorf("body %q, length %d: a body with a trailer must stay chunked", a.body, a.length)
	}
}

// endReader runs end when r has ended, as a body does that fills Trailer.
type endReader struct {
	r   io.Reader
	end func()
}

func (e *endReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if errors.Is(err, io.EOF) {
		e.end()
	}
	return n, err
}

// TestRequestRefuses: what cannot be written in one meaning is not written.
func TestRequestRefuses(t *testing.T) {
	f := listen(t, always(okay))
	b := newSet(t, Options{}, at(f.addr)).Backend(0)
	with := func(edit func(*Call)) *Call {
		c := call("GET", "/")
		edit(c)
		return c
	}
	tests := map[string]*Call{
		"line break in value":     with(func(c *Call) { c.Header = message.Header{{Name: "a", Value: "b\r\nx-injected: 1"}} }),
		"LF in value":             with(func(c *Call) { c.Header = message.Header{{Name: "a", Value: "b\nx-injected: 1"}} }),
		"CR in value":             with(func(c *Call) { c.Header = message.Header{{Name: "a", Value: "b\r"}} }),
		"NUL in value":            with(func(c *Call) { c.Header = message.Header{{Name: "a", Value: "b\x00"}} }),
		"line break in name":      with(func(c *Call) { c.Header = message.Header{{Name: "a\r\nb", Value: "c"}} }),
		"line break in target":    with(func(c *Call) { c.Target = "/ HTTP/1.1\r\nx: y" }),
		"blank in target":         with(func(c *Call) { c.Target = "/a b" }),
		"no target":               with(func(c *Call) { c.Target = "" }),
		"target of another form":  with(func(c *Call) { c.Target = "http://evil/" }),
		"line break in authority": with(func(c *Call) { c.Authority = "a\r\nx: y" }),
		"no authority":            with(func(c *Call) { c.Authority = "" }),
		"method with blank":       with(func(c *Call) { c.Req.Method = "GET /" }),
		"no method":               with(func(c *Call) { c.Req.Method = "" }),
		"CONNECT": with(func(c *Call) {
			c.Req.Method = "CONNECT"
			c.Req.Body = strings.NewReader("GET /smuggled")
			c.Req.ContentLength = -1
		}),
		"length without body": with(func(c *Call) { c.Req.ContentLength = 5 }),
		"upgrade with body": with(func(c *Call) {
			c.ForwardUpgrade, c.Req.Upgrade, c.Req.Body, c.Req.ContentLength = true, "websocket", strings.NewReader("x"), 1
		}),
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := do(t, b, c)
			wantKind(t, err, Refused)
		})
	}
	if n := f.conns.Load(); n != 0 {
		t.Errorf("%d connections were opened", n)
	}
}

func TestResponseBodies(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 20_000)
	chunks := func(size int) string {
		var b []byte
		for i := 0; i < len(big); i += size {
			b = message.AppendChunk(b, []byte(big[i:min(i+size, len(big))]))
		}
		return string(message.AppendLastChunk(b, nil))
	}
	tests := []struct {
		name, method, answer string
		want                 answer
		reused               bool
	}{
		{"length", "GET", okay, answer{status: 200, body: "ok", length: 2}, true},
		{"length 0", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", answer{status: 200}, true},
		{"small chunked becomes a length", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", answer{status: 200, body: "ok", length: 2}, true},
		{"empty chunked", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", answer{status: 200}, true},
		{"large", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 320000\r\n\r\n" + big, answer{status: 200, body: big, length: 320000}, true},
		{"large, large chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(50_000), answer{status: 200, body: big, length: -1}, true},
		{"large, small chunks", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(37), answer{status: 200, body: big, length: -1}, true},
		{"HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", answer{status: 200, length: 5}, true},
		{"HEAD of chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", answer{status: 200, length: -1}, true},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", answer{status: 204}, true},
		{"304", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", answer{status: 304, length: 7}, true},
		{"close", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", answer{status: 200, body: "ok", length: 2}, false},
		{"103, then the answer", "GET", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + okay, answer{status: 200, body: "ok", length: 2}, true},
		{"100 that nobody waits for", "GET", "HTTP/1.1 100 Continue\r\n\r\n" + okay, answer{status: 200, body: "ok", length: 2}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := listen(t, always(tt.answer))
			b := newSet(t, Options{}, at(f.addr)).Backend(0)
			for range 3 {
				got := must(t, b, call(tt.method, "/"))
				got.header = nil
				if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(answer{}), cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("(-want +got)\n%.2000s", diff)
				}
			}
			if n := f.conns.Load(); (n == 1) != tt.reused {
				t.Errorf("%d connections for 3 requests", n)
			}
		})
	}
}

// TestResponseToClose: bodies that end with the connection.
func TestResponseToClose(t *testing.T) {
	for _, head := range []string{"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"} {
		f := listen(t, func(s *session) {
			if _, _, err := s.request(); err == nil {
				s.send(head + "hel")
				time.Sleep(5 * time.Millisecond)
				s.send("lo")
			}
		})
		b := newSet(t, Options{}, at(f.addr)).Backend(0)
		for range 2 {
			if a := must(t, b, call("GET", "/")); a.body != "hello" || a.length != -1 {
				t.Errorf("%q: body %q, length %d", head, a.body, a.length)
			}
		}
		if n := f.conns.Load(); n != 2 {
			t.Errorf("%q: %d connections for 2 requests", head, n)
		}
	}
}

// TestResponseInPieces: a backend that sends one byte at a time.
func TestResponseInPieces(t *testing.T) {
	const slow = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
	f := listen(t, func(s *session) {
		for {
			if _, _, err := s.request(); err != nil {
				return
			}
			for i := range len(slow) {
				s.send(slow[i : i+1])
				time.Sleep(100 * time.Microsecond)
			}
		}
	})
	b := newSet(t, Options{}, at(f.addr)).Backend(0)
	for range 2 {
		a := must(t, b, call("GET", "/"))
		if a.body != "hello" || a.trailer.Get("x-t") != "1" || a.header.Get("x-a") != "b" {
			t.Errorf("got %+v", a)
		}
	}
	if n := f.conns.Load(); n != 1 {
		t.Errorf("%d connections for 2 requests", n)
	}
}

// TestLargeRequests: bodies that are streamed arrive whole, and the connection
// stays good.
func TestLargeRequests(t *testing.T) {
	f := listen(t, func(s *session) {
		for {
			_, body, err := s.request()
			if err != nil {
				return
			}
			sum := 0
			for i := range len(body) {
				sum += int(body[i])
			}
			s.send("HTTP/1.1 200 OK\r\nX-Sum: " + http.StatusText(200) + "\r\nContent-Length: 0\r\nX-Len: " + strings.Repeat("i", len(body)>>16) + "\r\n\r\n")
		}
	})
	b := trusted(newSet(t, Options{}, at(f.addr))).Backend(0)
	for _, size := range []int{1, 4000, bufferSize - 200, bufferSize, bufferSize + 1, 65536, 1 << 20} {
		for _, length := range []int64{int64(size), -1} {
			body := bytes.Repeat([]byte("x"), size)
			a := must(t, b, post("POST", bytes.NewReader(body), length))
			if len(a.header.Get("x-len")) != size>>16 {
				t.Errorf("size %d, length %d: backend saw %d × 64 KiB", size, length, len(a.header.Get("x-len")))
			}
		}
	}
	if n := f.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestClientBodyFails: the cause reaches the caller, and the half-sent request
// ends with its connection.
func TestClientBodyFails(t *testing.T) {
	var seen error
	done := make(chan struct{}, 8)
	f := listen(t, func(s *session) {
		if _, _, err := s.request(); err != nil {
			seen = err
		} else {
			s.send(okay)
		}
		done <- struct{}{}
	})
	b := newSet(t, Options{}, at(f.addr)).Backend(0)
	for name, length := range map[string]int64{"length": 1 << 20, "chunked": -1} {
		seen = nil
		body := io.MultiReader(bytes.NewReader(make([]byte, 100_000)), failing{message.ErrBodyTooLarge})
		_, err := do(t, b, post("POST", body, length))
		wantKind(t, err, BodyRead)
		if !errors.Is(err, message.ErrBodyTooLarge) {
			t.Errorf("%s: error %v does not lead to its cause", name, err)
		}
		if <-done; seen == nil {
			t.Errorf("%s: the backend saw a whole request", name)
		}
	}
	_, err := do(t, b, post("POST", strings.NewReader("short"), 10))
	wantKind(t, err, BodyRead)
	_, err = do(t, b, post("POST", bytes.NewReader(make([]byte, 50_000)), 100_000))
	wantKind(t, err, BodyRead)
}

// TestEarlyResponse: the backend answers in the middle of a body.
func TestEarlyResponse(t *testing.T) {
	const early = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"
	scripts := map[string]func(s *session){
		"and closes":        func(s *session) { _, _ = io.CopyN(io.Discard, s, 1000); s.send(early) },
		"and stops reading": func(s *session) { _, _ = io.CopyN(io.Discard, s, 1000); s.send(early); time.Sleep(2 * time.Second) },
		"when the client is stuck": func(s *session) {
			_, _ = io.CopyN(io.Discard, s, 1000)
			time.Sleep(200 * time.Millisecond) // the buffers are full by now
			s.send(early)
			time.Sleep(2 * time.Second)
		},
		"and reads on": func(s *session) { _, _ = io.CopyN(io.Discard, s, 1000); s.send(early); _, _ = io.Copy(io.Discard, s) },
	}
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			f := listen(t, script)
			b := newSet(t, Options{}, at(f.addr)).Backend(0)
			start := time.Now()
			for _, length := range []int64{64 << 20, -1} {
				body := io.LimitReader(zeros{}, 64<<20)
				a := must(t, b, post("POST", body, length))
				if a.status != 413 || a.body != "big" {
					t.Errorf("got %+v", a)
				}
			}
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("took %v", d)
			}
			if n := f.conns.Load(); n != 2 {
				t.Errorf("%d connections for 2 requests: one was used again", n)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestExpectContinue(t *testing.T) {
	tests := []struct {
		name   string
		script func(s *session)
		status int
		asked  bool
		within time.Duration
	}{
		{"backend asks", func(s *session) {
			req, err := http.ReadRequest(s.r)
			if err != nil || req.Header.Get("Expect") != "100-continue" {
				return
			}
			s.send("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
			if body, err := io.ReadAll(req.Body); err == nil && string(body) == "hello" {
				s.send(okay)
			}
		}, 200, true, expectWait},
		{"backend refuses", func(s *session) {
			if _, err := http.ReadRequest(s.r); err == nil {
				s.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
			}
		}, 401, false, expectWait},
		{"backend knows nothing of it", func(s *session) {
			if _, body, err := s.request(); err == nil && body == "hello" {
				s.send(okay)
			}
		}, 200, true, 3 * expectWait},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := listen(t, tt.script)
			asked := false
			c := post("POST", nil, 5)
			c.Req.Expect = true
			c.Req.Body = &endReader{r: io.MultiReader(checked{t, &asked}, strings.NewReader("hello")), end: func() {}}
			c.OnContinue = func() error { asked = true; return nil }
			start := time.Now()
			a := must(t, newSet(t, Options{}, at(f.addr)).Backend(0), c)
			if a.status != tt.status || asked != tt.asked {
				t.Errorf("status %d, client asked %v", a.status, asked)
			}
			if d := time.Since(start); d > tt.within {
				t.Errorf("took %v", d)
			}
		})
	}
}

// checked fails the test if it is read before the client was asked.
type checked struct {
	t     *testing.T
	asked *bool
}

func (c checked) Read([]byte) (int, error) {
	if !*c.asked {
		c.t.Error("the body was read before the client was asked for it")
	}
	return 0, io.EOF
}
