package upstream

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// constantBackend answers every request with the same bytes, as cheaply as a
// server can.
func constantBackend(b *testing.B, answer string) string {
	b.Helper()
	l, err := (&net.ListenConfig{}).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				buf := make([]byte, 16<<10)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := io.WriteString(c, answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func answerOf(n int) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: constant\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: application/json\r\n"+
		"Content-Length: %d\r\nCache-Control: no-store\r\nX-Request-Id: 0123456789abcdef\r\n\r\n%s", n, strings.Repeat("x", n))
}

var benchHeader = message.Header{
	{Name: "user-agent", Value: "bench/1.0"},
	{Name: "accept", Value: "*/*"},
	{Name: "accept-encoding", Value: "gzip"},
	{Name: "x-forwarded-for", Value: "127.0.0.1"},
	{Name: "x-forwarded-proto", Value: "http"},
	{Name: "x-forwarded-host", Value: "api.test"},
	{Name: "x-request-id", Value: "0123456789abcdef0123456789abcdef"},
}

func BenchmarkDo(b *testing.B) {
	addr := constantBackend(b, answerOf(1024))
	set, errs := NewSet(&ir.Table{Backends: []ir.Backend{{Name: "b", Endpoints: []string{addr}}}}, nil, Options{})
	if len(errs) > 0 {
		b.Fatal(errs)
	}
	defer func() { _ = set.Close() }()
	bk := set.Backend(0)
	req := &message.Request{Method: "GET", Proto: 11}
	call := &Call{Req: req, Header: benchHeader, Authority: "api.test", Target: "/items?page=2"}
	var resp message.Response
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if err := bk.Do(ctx, call, &resp); err != nil {
			b.Fatal(err)
		}
		if n := len(resp.Body.Buffered()); n != 1024 {
			b.Fatal(n)
		}
		_ = resp.Body.Close()
	}
}

func BenchmarkTransport(b *testing.B) {
	addr := constantBackend(b, answerOf(1024))
	t := &http.Transport{DisableCompression: true}
	defer t.CloseIdleConnections()
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+addr+"/items?page=2", http.NoBody)
		if err != nil {
			b.Fatal(err)
		}
		for _, f := range benchHeader {
			req.Header.Set(f.Name, f.Value)
		}
		resp, err := t.RoundTrip(req)
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := resp.Body.Read(buf); err != nil {
				break
			}
		}
		_ = resp.Body.Close()
	}
}

// BenchmarkRaw is the floor: one write and one read on one connection.
func BenchmarkRaw(b *testing.B) {
	addr := constantBackend(b, answerOf(1024))
	c, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	want := len(answerOf(1024))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := io.WriteString(c, "GET /items?page=2 HTTP/1.1\r\nhost: api.test\r\n\r\n"); err != nil {
			b.Fatal(err)
		}
		if _, err := r.Discard(want); err != nil {
			b.Fatal(err)
		}
	}
}
