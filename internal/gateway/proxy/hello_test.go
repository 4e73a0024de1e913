package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark"
)

// clientHello gives the first bytes that a client with this configuration sends.
func clientHello(tb testing.TB, cfg *tls.Config) []byte {
	tb.Helper()
	if cfg.ServerName == "" {
		cfg.InsecureSkipVerify = true
	}
	var rec recorder
	_ = tls.Client(&rec, cfg).HandshakeContext(tb.Context())
	return rec.Bytes()
}

// recorder is a connection whose peer says nothing.
type recorder struct {
	net.Conn
	bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error)      { return r.Buffer.Write(p) }
func (r *recorder) Read([]byte) (int, error)         { return 0, io.EOF }
func (r *recorder) Close() error                     { return nil }
func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

// slowConn sends what is written in pieces.
type slowConn struct {
	net.Conn
	cut func([]byte) [][]byte
	n   int // how many writes are cut up; the first is the ClientHello
}

func (c *slowConn) Write(p []byte) (int, error) {
	if c.n <= 0 {
		return c.Conn.Write(p)
	}
	c.n--
	for i, piece := range c.cut(p) {
		if _, err := c.Conn.Write(piece); err != nil {
			return 0, err
		}
		if i%100 == 0 {
			time.Sleep(time.Millisecond) // the reader gets its turn
		}
	}
	return len(p), nil
}

// inRecords puts a ClientHello into TLS records of at most size bytes.
func inRecords(hello []byte, size int) []byte {
	var out []byte
	for rest := hello[5:]; len(rest) > 0; {
		n := min(size, len(rest))
		out = append(out, 22, hello[1], hello[2], byte(n>>8), byte(n))
		out = append(out, rest[:n]...)
		rest = rest[n:]
	}
	return out
}

// However the hello comes in, the listener is found and the backend gets every
// byte of it.
func TestHelloInPieces(t *testing.T) {
	ca := newAuthority(t)
	f := start(t, streams(t, ca), Limits{})
	bytewise := func(p []byte) [][]byte {
		var out [][]byte
		for i := range p {
			out = append(out, p[i:i+1])
		}
		return out
	}
	records := func(size int) func([]byte) [][]byte {
		return func(p []byte) [][]byte { return [][]byte{inRecords(p, size)} }
	}
	for name, cut := range map[string]func([]byte) [][]byte{
		"byte by byte":             bytewise,
		"records of 100":           records(100),
		"records of 1":             records(1),
		"records of 1, bytewise":   func(p []byte) [][]byte { return bytewise(inRecords(p, 1)) },
		"handshake header apart":   records(4),
		"record header on its own": func(p []byte) [][]byte { return [][]byte{p[:5], p[5:]} },
	} {
		for _, sni := range []string{"a.pass.example", "term.example"} {
			raw, err := net.Dial("tcp", f.addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
			got, err := greetOn(&slowConn{Conn: raw, cut: cut, n: 1}, &tls.Config{RootCAs: ca.pool(), ServerName: sni})
			if !strings.HasPrefix(got, map[string]string{"a.pass.example": "a", "term.example": "c"}[sni]) || err != nil {
				t.Errorf("%s to %s: %q, %v", name, sni, got, err)
			}
			_ = raw.Close()
		}
	}
	// Split in two at every byte.
	hello := clientHello(t, &tls.Config{ServerName: "a.pass.example"})
	for at := 1; at < len(hello); at += 7 {
		raw, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
		cut := func(p []byte) [][]byte { return [][]byte{p[:min(at, len(p))], p[min(at, len(p)):]} }
		if got, err := greetOn(&slowConn{Conn: raw, cut: cut, n: 1}, &tls.Config{RootCAs: ca.pool(), ServerName: "a.pass.example"}); got != "a a.pass.example" || err != nil {
			t.Errorf("split at %d: %q, %v", at, got, err)
		}
		_ = raw.Close()
	}
}

// What the client sends right behind its hello is not lost.
func TestHelloWithMoreBehind(t *testing.T) {
	ca := newAuthority(t)
	table := streams(t, ca)
	heard := make(chan []byte, 1)
	table.Backends[0].Endpoints = []string{tcpBackend(t, func(c net.Conn) {
		b, _ := io.ReadAll(c)
		heard <- b
	})}
	f := start(t, table, Limits{})
	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	sent := append(clientHello(t, &tls.Config{ServerName: "a.pass.example"}), bytes.Repeat([]byte("early data "), 100)...)
	if _, err := raw.Write(sent); err != nil {
		t.Fatal(err)
	}
	_ = raw.(*net.TCPConn).CloseWrite()
	if got := <-heard; !bytes.Equal(got, sent) {
		t.Errorf("the backend got %d bytes of %d", len(got), len(sent))
	}
}

// withName puts another server name of the same length into a hello.
func withName(hello []byte, from, to string) []byte {
	return bytes.Replace(hello, []byte(from), []byte(to), 1)
}

// Hellos that are no hellos end in silence, before any backend is asked, and
// within the time for heads.
func TestHelloRefused(t *testing.T) {
	ca := newAuthority(t)
	table := streams(t, ca)
	reached := make(chan struct{}, 100)
	table.Backends[0].Endpoints = []string{tcpBackend(t, func(c net.Conn) {
		reached <- struct{}{}
		_, _ = io.Copy(io.Discard, c)
	})}
	table.Backends[1].Endpoints, table.Backends[2].Endpoints = table.Backends[0].Endpoints, table.Backends[0].Endpoints
	f := start(t, table, Limits{HeaderTimeout: 500 * time.Millisecond, HeaderBytes: 8 << 10})
	good := clientHello(t, &tls.Config{ServerName: "a.pass.example"})
	big := clientHello(t, &tls.Config{ServerName: "a.pass.example", NextProtos: longNames(400)})
	twice := append(bytes.Clone(good[5:]), good[5:]...)
	for name, sent := range map[string][]byte{
		"plain HTTP":       []byte("GET / HTTP/1.1\r\nHost: a.pass.example\r\n\r\n"),
		"HTTP/2 preface":   []byte(h2preface),
		"nothing at all":   nil,
		"cut short":        good[:len(good)-1],
		"address":          withName(good, "a.pass.example", "127.100.100.10"),
		"trailing dot":     withName(good, "a.pass.example", "a.passexample."),
		"blank in name":    withName(good, "a.pass.example", "a pass.example"),
		"line in name":     withName(good, "a.pass.example", "a\npass.example"),
		"NUL in name":      withName(good, "a.pass.example", "a\x00pass.example"),
		"port in name":     withName(good, "a.pass.example", "a.pass.ex:443e"),
		"empty label":      withName(good, "a.pass.example", "a..ass.example"),
		"another message":  append([]byte{22, 3, 1, 0, 4}, 2, 0, 0, 0),
		"huge message":     append([]byte{22, 3, 1, 0x40, 0}, append([]byte{1, 0xff, 0xff, 0xff}, make([]byte, 0x3ffc)...)...),
		"huge record":      append([]byte{22, 3, 1, 0xff, 0xff}, make([]byte, 9<<10)...),
		"too large":        big,
		"empty records":    bytes.Repeat([]byte{22, 3, 1, 0, 0}, 1000),
		"SSL 2":            append([]byte{0x80, 0x2e, 1, 3, 1}, make([]byte, 64)...),
		"alert":            {21, 3, 1, 0, 2, 2, 40},
		"two in a message": append([]byte{22, 3, 1, byte(len(twice) >> 8), byte(len(twice))}, append(append([]byte{1}, twice[1:3]...), twice[3:]...)...)[:40],
	} {
		raw, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = raw.Write(sent)
		if b, err := io.ReadAll(raw); len(b) > 0 || err != nil && !rejected(err) {
			t.Errorf("%s: got %q, %v", name, b, err)
		}
		_ = raw.Close()
	}
	if len(reached) > 0 {
		t.Errorf("%d of them reached a backend", len(reached))
	}
	f.events.mu.Lock()
	defer f.events.mu.Unlock()
	for _, e := range f.events.events {
		if e.Decision.Allowed || strings.ContainsAny(e.Host, " \n\x00:") {
			t.Errorf("event %+v", e)
		}
	}
}

// One deadline for the whole hello: a byte now and then does not extend it.
func TestSlowHelloIsCut(t *testing.T) {
	ca := newAuthority(t)
	f := start(t, streams(t, ca), Limits{HeaderTimeout: 200 * time.Millisecond})
	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	go func() {
		for _, b := range clientHello(t, &tls.Config{ServerName: "a.pass.example"}) {
			if _, err := raw.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	begin := time.Now()
	if b, err := io.ReadAll(raw); len(b) > 0 || err != nil && !rejected(err) {
		t.Errorf("got %q, %v", b, err)
	}
	if took := time.Since(begin); took < 150*time.Millisecond {
		t.Errorf("cut after %v already", took)
	}
}

// Extensions that are there to be ignored are.
func TestHelloWithECH(t *testing.T) {
	ca := newAuthority(t)
	f := start(t, streams(t, ca), Limits{})
	hello := withExtension(clientHello(t, &tls.Config{ServerName: "a.pass.example"}), 0xfe0d, // ECH as GREASE (RFC 9849 6.2)
		append([]byte{0, 0, 1, 0, 1, 7, 0, 32}, append(make([]byte, 32), append([]byte{0, 16}, make([]byte, 16)...)...)...))
	hello = withExtension(hello, 0x2a2a, []byte{0})
	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := raw.Write(hello); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 6)
	if _, err := io.ReadFull(raw, answer); err != nil || answer[0] != 22 || answer[5] != 2 {
		t.Errorf("the backend's answer begins with %x, %v; want a ServerHello", answer, err)
	}
	_ = raw.Close()
	f.events.await(t, func(e *bulwark.Event) bool { return e.Decision.Allowed && e.Host == "a.pass.example" })
}

// withExtension adds an extension to a ClientHello in one record.
func withExtension(hello []byte, id uint16, body []byte) []byte {
	out := bytes.Clone(hello)
	ext := append([]byte{byte(id >> 8), byte(id), byte(len(body) >> 8), byte(len(body))}, body...)
	grow := func(at, size int) {
		n := 0
		for i := range size {
			n = n<<8 | int(out[at+i])
		}
		n += len(ext)
		for i := range size {
			out[at+i] = byte(n >> (8 * (size - 1 - i)))
		}
	}
	at := 5 + 4 + 2 + 32
	at += 1 + int(out[at])                     // session id
	at += 2 + int(out[at])<<8 + int(out[at+1]) // cipher suites
	at += 1 + int(out[at])                     // compression
	grow(3, 2)
	grow(6, 3)
	grow(at, 2)
	// In front: a pre-shared key must stay the last.
	return append(out[:at+2:at+2], append(ext, out[at+2:]...)...)
}

func longNames(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strings.Repeat("x", 30)
	}
	return out
}

func TestHostOfSNI(t *testing.T) {
	for sni, want := range map[string]string{
		"": "", "a.example": "a.example", "A.Example": "a.example", "xn--e1afmkfd.example": "xn--e1afmkfd.example",
		"a.example.": "!", "1.2.3.4": "!", "[::1]": "!", "::1": "!", "a.example:443": "!", "a b": "!", "*.example": "!", ".example": "!",
		strings.Repeat("a", 300): "!", "é.example": "!",
	} {
		got, err := hostOfSNI(sni)
		if want == "!" && !errors.Is(err, errServerName) || want != "!" && (err != nil || got != want) {
			t.Errorf("%q: %q, %v; want %q", sni, got, err, want)
		}
	}
}

// FuzzHello: whatever bytes come, they are kept as they came up to the limit,
// and a name that is decided on is a plain one.
func FuzzHello(f *testing.F) {
	for _, sni := range []string{"a.example", "", "127.0.0.1"} {
		hello := clientHello(f, &tls.Config{ServerName: sni})
		f.Add(hello, 3)
		f.Add(inRecords(hello, 10), 1)
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 4)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		const limit = 2048
		src := &pieces{b: b, step: max(step, 1)}
		h := &hello{Conn: src, limit: limit}
		decided := 0
		tc := tls.Server(h, &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
			decided++
			if name, err := hostOfSNI(info.ServerName); err == nil && strings.ContainsAny(name, " \r\n\x00/:*[") {
				t.Errorf("name %q", name)
			}
			return nil, errLeftAlone
		}})
		err := tc.HandshakeContext(context.WithoutCancel(t.Context())) // no goroutine beside it
		switch {
		case err == nil:
			t.Error("a handshake without a configuration")
		case decided > 1 || (decided == 1) != errors.Is(err, errLeftAlone):
			t.Errorf("decided %d times, %v", decided, err)
		case len(h.kept) > limit || !bytes.HasPrefix(b, h.kept) || src.wrote > 0:
			t.Errorf("kept %d of %d bytes, wrote %d", len(h.kept), len(b), src.wrote)
		}
	})
}

// pieces is a client that sends b, step bytes at a time, and ends.
type pieces struct {
	net.Conn
	b     []byte
	step  int
	wrote int
}

func (p *pieces) Read(to []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(to, p.b[:min(p.step, len(p.b))])
	p.b = p.b[n:]
	return n, nil
}
func (p *pieces) Write(b []byte) (int, error)      { p.wrote += len(b); return len(b), nil }
func (p *pieces) Close() error                     { return nil }
func (p *pieces) SetWriteDeadline(time.Time) error { return nil }
