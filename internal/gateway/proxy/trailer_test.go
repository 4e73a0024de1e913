package proxy

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// trailerBackend answers with the trailers that came behind the body.
func trailerBackend(t *testing.T, h2 bool) string {
	t.Helper()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		names := make([]string, 0, len(r.Trailer))
		for name, values := range r.Trailer {
			names = append(names, fmt.Sprint(name, "=", strings.Join(values, "|")))
		}
		slices.Sort(names)
		_, _ = fmt.Fprint(w, string(b), " ", names, " ", err)
	})
	if !h2 {
		return httpBackend(t, handler)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	srv := &http.Server{Protocols: p, Handler: handler}
	done := make(chan struct{})
	go func() { _ = srv.Serve(ln); close(done) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return ln.Addr().String()
}

// Trailers of a request reach the backend in each pair of protocols, but none
// that frames, routes or authenticates.
func TestRequestTrailers(t *testing.T) {
	const raw = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Other, Host, Authorization, X-Forwarded-For, Content-Length, b@d\r\n\r\n" +
		"2\r\nhi\r\n0\r\nX-Sum: 1\r\nHost: evil\r\nAuthorization: Bearer x\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Length: 5\r\n\r\n"
	for _, h2 := range []bool{false, true} {
		table := oneBackend(t, nil)
		table.Backends[0].Endpoints = []string{trailerBackend(t, h2)}
		want := "hi [X-Other= X-Sum=1] <nil>" // announced, and never sent, is empty there
		if h2 {
			table.Backends[0].Protocol = ir.ProtocolHTTP2
		}
		f := start(t, table, Limits{})
		c, br := f.dial(t)
		if _, body := send(t, c, br, "POST", raw); body != want {
			t.Errorf("HTTP/1.1 to HTTP/2=%v: %s, want %s", h2, body, want)
		}
		if resp, body := send(t, c, br, "POST", strings.ReplaceAll(raw, "Trailer: ", "X: ")); resp.StatusCode != 200 || strings.Contains(body, "evil") {
			t.Errorf("not announced, HTTP/2=%v: %d %s", h2, resp.StatusCode, body)
		}

		for _, length := range []int64{-1, 2} {
			req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+f.addr+"/", nil)
			if err != nil {
				t.Fatal(err)
			}
			// The value is set once the body has been read, as the API wants it.
			req.Trailer = http.Header{"X-Sum": nil, "X-Other": nil}
			req.Body, req.ContentLength = io.NopCloser(&atEnd{r: strings.NewReader("hi"), f: func() { req.Trailer.Set("X-Sum", "1") }}), length
			resp, err := h2client(t).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			// A body of known length goes to HTTP/1.1 as it is, without trailers.
			if got := string(b); got != want && (h2 || length < 0 || got != "hi [] <nil>") {
				t.Errorf("HTTP/2 to HTTP/2=%v, length %d: %s, want %s", h2, length, got, want)
			}
		}
	}
}

// atEnd calls f before it tells that r has ended.
type atEnd struct {
	r io.Reader
	f func()
}

func (a *atEnd) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if n == 0 && err != nil {
		a.f()
	}
	return n, err
}
