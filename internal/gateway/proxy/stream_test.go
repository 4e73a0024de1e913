package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// tcpBackend serves each connection with f, then closes it.
func tcpBackend(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				f(c)
			}()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String()
}

// greeter says its name first, as many protocols do, then echoes.
func greeter(name string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, name+"\n")
		_, _ = io.Copy(c, c)
	}
}

// tlsGreeter is a greeter that ends TLS itself and tells the name it was asked
// for.
func tlsGreeter(t *testing.T, ca *authority, name string, hosts ...string) func(net.Conn) {
	t.Helper()
	cert, key := ca.issue(t, hosts...)
	pair, err := tls.X509KeyPair([]byte(cert), key)
	if err != nil {
		t.Fatal(err)
	}
	return func(c net.Conn) {
		tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"greet"}})
		if err := tc.Handshake(); err != nil {
			return
		}
		_, _ = fmt.Fprintf(tc, "%s %s %s\n", name, tc.ConnectionState().ServerName, tc.ConnectionState().NegotiatedProtocol)
		_, _ = io.Copy(tc, tc)
		_ = tc.Close()
	}
}

// streamRule admits every connection: the operator asked for it by name.
func streamRule(id string, backends ...ir.BackendRef) ir.Rule {
	return ir.Rule{ID: id, Route: ir.RouteRef{Kind: "TLSRoute", Namespace: "ns", Name: id}, Unprotected: true, Backends: backends}
}

// streams is a table in which passthrough, terminated streams and HTTPS share
// one address.
func streams(t *testing.T, ca *authority) *ir.Table {
	t.Helper()
	term := ca.listener(t, "ns/gw/term", "term.example", "/")
	term.Hosts, term.Streams = nil, []ir.Stream{{Pattern: "term.example", Rule: 2}}
	web := ca.listener(t, "ns/gw/web", "web.example", "/")
	web.Hosts[0].Matches[0].Rule = 3
	return &ir.Table{
		Listeners: []ir.Listener{
			{Name: "ns/gw/pass", Hostname: "*.pass.example", Passthrough: true, Streams: []ir.Stream{
				{Pattern: "a.pass.example", Rule: 0}, {Pattern: "*.pass.example", Rule: 1},
			}},
			term, web,
		},
		Rules: []ir.Rule{
			streamRule("0", ir.BackendRef{Backend: 0, Weight: 1}), streamRule("1", ir.BackendRef{Backend: 1, Weight: 1}),
			streamRule("2", ir.BackendRef{Backend: 2, Weight: 1}), open("3", ir.BackendRef{Backend: 3, Weight: 1}),
		},
		Backends: []ir.Backend{
			{Name: "ns/a:443", Protocol: ir.ProtocolTCP, Endpoints: []string{tcpBackend(t, tlsGreeter(t, ca, "a", "a.pass.example"))}},
			{Name: "ns/b:443", Protocol: ir.ProtocolTCP, Endpoints: []string{tcpBackend(t, tlsGreeter(t, ca, "b", "*.pass.example"))}},
			{Name: "ns/c:3000", Protocol: ir.ProtocolTCP, Endpoints: []string{tcpBackend(t, greeter("c"))}},
			{Name: "ns/d:80", Endpoints: []string{httpBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "web") })}},
		},
	}
}

// greet dials with a server name, reads the greeting and has a line echoed.
func (f *fixture) greet(t *testing.T, cfg *tls.Config) (string, error) {
	t.Helper()
	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
	return greetOn(raw, cfg)
}

func greetOn(raw net.Conn, cfg *tls.Config) (string, error) {
	c := tls.Client(raw, cfg)
	br := bufio.NewReader(c)
	line, err := br.ReadString('\n')
	if err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, "ping\n"); err != nil {
		return "", err
	}
	if echo, err := br.ReadString('\n'); err != nil || echo != "ping\n" {
		return "", fmt.Errorf("echo %q: %w", echo, err)
	}
	if err := c.CloseWrite(); err != nil {
		return "", err
	}
	if rest, err := io.ReadAll(br); err != nil || len(rest) > 0 {
		return "", fmt.Errorf("behind the end: %q, %w", rest, err)
	}
	return strings.TrimSpace(line), nil
}

// rejected reports whether err is that of a connection that ended instead of
// being served, as the conformance suite has it: an alert is not.
func rejected(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

func TestStreams(t *testing.T) {
	ca := newAuthority(t)
	f := start(t, streams(t, ca), Limits{})
	for _, tc := range []struct {
		name, sni, greeting string
		route, backend      string
		alpn                []string
		maxVersion          uint16
	}{
		{name: "passthrough", sni: "a.pass.example", greeting: "a a.pass.example", route: "0", backend: "ns/a:443"},
		{name: "passthrough of a wildcard", sni: "x.pass.example", greeting: "b x.pass.example", route: "1", backend: "ns/b:443"},
		{name: "the client's ALPN reaches the backend", sni: "a.pass.example", alpn: []string{"greet"}, greeting: "a a.pass.example greet", route: "0", backend: "ns/a:443"},
		{name: "TLS 1.2", sni: "a.pass.example", maxVersion: tls.VersionTLS12, greeting: "a a.pass.example", route: "0", backend: "ns/a:443"},
		{name: "upper case", sni: "A.Pass.Example", greeting: "a A.Pass.Example", route: "0", backend: "ns/a:443"},
		{name: "terminated", sni: "term.example", greeting: "c", route: "2", backend: "ns/c:3000"},
		{name: "terminated, HTTP/2 offered", sni: "term.example", alpn: []string{"h2", "http/1.1"}, greeting: "c", route: "2", backend: "ns/c:3000"},
	} {
		f.events.clear()
		got, err := f.greet(t, &tls.Config{RootCAs: ca.pool(), ServerName: tc.sni, NextProtos: tc.alpn, MaxVersion: tc.maxVersion})
		if got != tc.greeting || err != nil {
			t.Errorf("%s: %q, %v; want %q", tc.name, got, err, tc.greeting)
			continue
		}
		f.events.await(t, func(e *bulwark.Event) bool { return e.Route == tc.route && e.Host == strings.ToLower(tc.sni) })
		e := f.events.last(t)
		if !e.Decision.Allowed || e.Backend != tc.backend || e.Protocol != "tls" || e.Scheme != "tls" || e.BytesIn < 5 || e.BytesOut < 5 || e.Error != "" ||
			e.SourceIP != "127.0.0.1" || len(e.RequestID) != 32 || e.Duration <= 0 || e.Status != 0 {
			t.Errorf("%s: event %+v", tc.name, e)
		}
	}
	if status, err := f.request(t, &tls.Config{RootCAs: ca.pool(), ServerName: "web.example"}, "web.example"); status != 200 {
		t.Errorf("HTTPS beside them: %d, %v", status, err)
	}
	if status, err := f.request(t, &tls.Config{RootCAs: ca.pool(), ServerName: "web.example"}, "term.example"); status != 421 {
		t.Errorf("a stream's name as Host: %d, %v", status, err)
	}
	if n := f.server.metrics.handshakes.Load(); n != 0 {
		t.Errorf("%d handshakes counted as failed", n)
	}
}

func (m *memory) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = nil
}

// await waits until an event is what it should be.
func (m *memory) await(t *testing.T, ok func(*bulwark.Event) bool) {
	t.Helper()
	for t.Context().Err() == nil {
		m.mu.Lock()
		found := slices.ContainsFunc(m.events, func(e bulwark.Event) bool { return ok(&e) })
		m.mu.Unlock()
		if found {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	t.Fatal("no such event")
}

func TestStreamToTLSBackend(t *testing.T) {
	ca := newAuthority(t)
	table := streams(t, ca)
	table.Backends[2] = ir.Backend{
		Name: "ns/c:443", Protocol: ir.ProtocolTCP, Endpoints: []string{tcpBackend(t, tlsGreeter(t, ca, "inner", "inner.example"))},
		TLS: &ir.BackendTLS{ServerName: "inner.example", CA: ca.pem},
	}
	f := start(t, table, Limits{})
	if got, err := f.greet(t, &tls.Config{RootCAs: ca.pool(), ServerName: "term.example"}); got != "inner inner.example" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	next := *table
	next.Backends = slices.Clone(table.Backends)
	next.Backends[2].TLS = &ir.BackendTLS{ServerName: "inner.example", CA: newAuthority(t).pem}
	if _, err := f.server.Apply(t.Context(), &next); err != nil {
		t.Fatal(err)
	}
	if got, err := f.greet(t, &tls.Config{RootCAs: ca.pool(), ServerName: "term.example"}); err == nil {
		t.Errorf("a backend of another authority answers %q", got)
	}
	f.events.await(t, func(e *bulwark.Event) bool { return e.Decision.Code == bulwark.CodeBadGateway && e.Error != "" })
}

// What must not be served ends without an alert, and nothing reaches a backend.
func TestStreamRefused(t *testing.T) {
	ca := newAuthority(t)
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	for _, tc := range []struct {
		name, sni string
		edit      func(*ir.Table)
		code      bulwark.Code
		rule      string
	}{
		{name: "no listener", sni: "x.example", code: bulwark.CodeNotFound},
		{name: "no server name", sni: "", code: bulwark.CodeNotFound},
		{name: "parent of a wildcard", sni: "pass.example", code: bulwark.CodeNotFound},
		{name: "no stream", sni: "x.pass.example", edit: func(t *ir.Table) { t.Listeners[0].Streams = t.Listeners[0].Streams[:1] }, code: bulwark.CodeNotFound},
		{name: "refusing listener", sni: "a.pass.example", edit: func(t *ir.Table) { t.Listeners[0].Refuse = &ir.Refusal{Status: 500, Reason: "r"} }, code: bulwark.CodeInternal},
		{name: "refused rule", sni: "a.pass.example", edit: func(t *ir.Table) { t.Rules[0].Refuse = &ir.Refusal{Status: 503, Reason: "r"} }, code: bulwark.CodeUnavailable},
		{name: "refused rule, terminated", sni: "term.example", edit: func(t *ir.Table) { t.Rules[2].Refuse = &ir.Refusal{Status: 503, Reason: "r"} }, code: bulwark.CodeUnavailable},
		{name: "denied source", sni: "a.pass.example", edit: func(t *ir.Table) {
			t.Rules[0].Network = &ir.Network{Rule: "p", Deny: []netip.Prefix{loopback}}
		}, code: bulwark.CodeForbidden, rule: "p network"},
		{name: "denied source, terminated", sni: "term.example", edit: func(t *ir.Table) {
			t.Rules[2].Network = &ir.Network{Rule: "p", Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		}, code: bulwark.CodeForbidden, rule: "p network"},
		{name: "no weight", sni: "a.pass.example", edit: func(t *ir.Table) { t.Rules[0].Backends[0].Weight = 0 }, code: bulwark.CodeUnavailable},
		{name: "no backends", sni: "a.pass.example", edit: func(t *ir.Table) { t.Rules[0].Backends = nil }, code: bulwark.CodeUnavailable},
		{name: "refused reference", sni: "a.pass.example", edit: func(t *ir.Table) {
			t.Rules[0].Backends[0] = ir.BackendRef{Backend: -1, Weight: 1, Refuse: &ir.Refusal{Status: 500, Reason: "no such Service"}}
		}, code: bulwark.CodeInternal},
		{name: "refused backend", sni: "a.pass.example", edit: func(t *ir.Table) { t.Backends[0].Refuse = &ir.Refusal{Status: 500, Reason: "r"} }, code: bulwark.CodeInternal},
		{name: "no endpoint", sni: "a.pass.example", edit: func(t *ir.Table) { t.Backends[0].Endpoints = nil }, code: bulwark.CodeUnavailable},
		{name: "no endpoint, terminated", sni: "term.example", edit: func(t *ir.Table) { t.Backends[2].Endpoints = nil }, code: bulwark.CodeUnavailable},
		{name: "dead endpoint", sni: "a.pass.example", edit: func(t *ir.Table) { t.Backends[0].Endpoints = []string{"127.0.0.1:1"} }, code: bulwark.CodeBadGateway},
		{name: "backend of requests", sni: "a.pass.example", edit: func(t *ir.Table) { t.Backends[0].Protocol = ir.ProtocolHTTP1 }, code: bulwark.CodeUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table := streams(t, ca)
			if tc.edit != nil {
				tc.edit(table)
			}
			f := start(t, table, Limits{})
			cfg := &tls.Config{RootCAs: ca.pool(), ServerName: tc.sni, InsecureSkipVerify: tc.sni == ""}
			if got, err := f.greet(t, cfg); !rejected(err) {
				t.Fatalf("greeting %q, %v", got, err)
			}
			e := f.events.last(t)
			if e.Decision.Allowed || e.Decision.Code != tc.code || e.Host != tc.sni || e.Protocol != "tls" || e.BytesIn+e.BytesOut != 0 || tc.rule != "" && e.Decision.Rule != tc.rule {
				t.Errorf("event %+v", e)
			}
		})
	}
}

// A stream rule that nobody covers, or that asks for what cannot be done, is a
// problem and refuses.
func TestStreamRuleMustBeWithinReach(t *testing.T) {
	ca := newAuthority(t)
	for name, edit := range map[string]func(*ir.Rule){
		"uncovered":      func(r *ir.Rule) { r.Unprotected = false },
		"authentication": func(r *ir.Rule) { r.Authentication = &ir.Authentication{Rule: "p"} },
		"authorization":  func(r *ir.Rule) { r.Authorization = &ir.Authorization{Rule: "p"} },
		"rate limit":     func(r *ir.Rule) { r.RateLimits = []ir.RateLimit{{Rule: "p"}} },
		"network":        func(r *ir.Rule) { r.Network = &ir.Network{Rule: "p"} },
	} {
		table := streams(t, ca)
		f := start(t, table, Limits{})
		next := *table
		next.Rules = slices.Clone(table.Rules)
		edit(&next.Rules[0])
		problems, err := f.server.Apply(t.Context(), &next)
		if err != nil || len(problems) != 1 || problems[0].Rule != "0" {
			t.Errorf("%s: problems %v, %v", name, problems, err)
		}
		if got, err := f.greet(t, &tls.Config{RootCAs: ca.pool(), ServerName: "a.pass.example"}); !rejected(err) {
			t.Errorf("%s: greeting %q, %v", name, got, err)
		}
	}
}

// A rule for streams that a request is matched to refuses it.
func TestStreamRuleRefusesRequests(t *testing.T) {
	ca := newAuthority(t)
	table := streams(t, ca)
	table.Listeners[2].Hosts[0].Matches[0].Rule = 2
	f := start(t, table, Limits{})
	if status, err := f.request(t, &tls.Config{RootCAs: ca.pool(), ServerName: "web.example"}, "web.example"); status != 503 {
		t.Errorf("%d, %v", status, err)
	}
}

func TestStreamConcurrency(t *testing.T) {
	ca := newAuthority(t)
	table := streams(t, ca)
	table.Rules[0].Concurrency = &ir.Concurrency{Rule: "p", Max: 1, Key: "request.sourceIP"}
	f := start(t, table, Limits{})
	cfg := &tls.Config{RootCAs: ca.pool(), ServerName: "a.pass.example"}
	held, err := tls.Dial("tcp", f.addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.greet(t, cfg); !rejected(err) {
		t.Errorf("the second one: %v", err)
	}
	if e := f.events.last(t); e.Decision.Code != bulwark.CodeOverloaded {
		t.Errorf("event %+v", e)
	}
	_ = held.Close()
	f.events.await(t, func(e *bulwark.Event) bool { return e.Decision.Allowed })
	if _, err := f.greet(t, cfg); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// Large bodies both ways at once, through the kernel and through TLS.
func TestStreamCarriesMasses(t *testing.T) {
	ca := newAuthority(t)
	table := streams(t, ca)
	table.Backends[2].Endpoints = []string{tcpBackend(t, func(c net.Conn) { _, _ = io.Copy(c, c) })}
	inner := tlsGreeter(t, ca, "", "a.pass.example")
	table.Backends[0].Endpoints = []string{tcpBackend(t, inner)}
	f := start(t, table, Limits{})
	data := make([]byte, 8<<20)
	_, _ = rand.Read(data)
	for _, sni := range []string{"a.pass.example", "term.example"} {
		c, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: ca.pool(), ServerName: sni})
		if err != nil {
			t.Fatal(err)
		}
		sent := make(chan error, 1)
		go func() {
			_, err := c.Write(data)
			sent <- errors.Join(err, c.CloseWrite())
		}()
		br := bufio.NewReader(c)
		if sni == "a.pass.example" {
			if _, err := br.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		got, err := io.ReadAll(br)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: %d bytes came back, %v", sni, len(got), err)
		}
		if err := <-sent; err != nil {
			t.Errorf("%s: %v", sni, err)
		}
		_ = c.Close()
	}
}

// Either side may end first while the other still speaks.
func TestStreamHalfClose(t *testing.T) {
	ca := newAuthority(t)
	table := streams(t, ca)
	table.Backends[2].Endpoints = []string{tcpBackend(t, func(c net.Conn) {
		b, _ := io.ReadAll(c) // answers only once the client has ended
		_, _ = fmt.Fprintf(c, "got %d", len(b))
	})}
	heard := make(chan string, 1)
	table.Backends[0].Endpoints = []string{tcpBackend(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "bye")
		_ = c.(*net.TCPConn).CloseWrite() // ends first, and goes on to listen
		b, _ := io.ReadAll(c)
		heard <- string(b[len(b)-len("after"):])
	})}
	f := start(t, table, Limits{})
	c, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: ca.pool(), ServerName: "term.example"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	if b, err := io.ReadAll(c); string(b) != "got 5" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	_ = c.Close()

	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	if _, err := raw.Write(clientHello(t, &tls.Config{ServerName: "a.pass.example"})); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(raw); string(b) != "bye" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := io.WriteString(raw, "after"); err != nil {
		t.Fatal(err)
	}
	_ = raw.(*net.TCPConn).CloseWrite()
	if got := <-heard; got != "after" {
		t.Errorf("the backend heard %q", got)
	}
}

func TestStreamIdleIsCut(t *testing.T) {
	ca := newAuthority(t)
	f := start(t, streams(t, ca), Limits{TunnelIdle: 150 * time.Millisecond})
	for _, sni := range []string{"a.pass.example", "term.example"} {
		c, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: ca.pool(), ServerName: sni})
		if err != nil {
			t.Fatal(err)
		}
		br := bufio.NewReader(c)
		begin := time.Now()
		// One direction that moves keeps the other alive.
		for time.Since(begin) < 400*time.Millisecond {
			if _, err := io.WriteString(c, "x\n"); err != nil {
				t.Fatalf("%s: cut after %v", sni, time.Since(begin))
			}
			if _, err := br.ReadString('\n'); err != nil {
				t.Fatalf("%s: cut after %v", sni, time.Since(begin))
			}
			time.Sleep(20 * time.Millisecond)
		}
		if _, err := io.Copy(io.Discard, br); err != nil && !rejected(err) {
			t.Errorf("%s: %v", sni, err)
		}
		_ = c.Close()
		f.events.await(t, func(e *bulwark.Event) bool { return e.Host == sni && e.Error == errStreamIdle.Error() })
	}
}

// A client that takes nothing holds a backend for TunnelIdle and no longer.
func TestStreamStalledClientIsCut(t *testing.T) {
	ca := newAuthority(t)
	table := streams(t, ca)
	ended := make(chan struct{})
	table.Backends[0].Endpoints = []string{tcpBackend(t, func(c net.Conn) {
		defer close(ended)
		for {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})}
	f := start(t, table, Limits{TunnelIdle: 300 * time.Millisecond})
	raw, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	if _, err := raw.Write(clientHello(t, &tls.Config{ServerName: "a.pass.example"})); err != nil {
		t.Fatal(err)
	}
	<-ended
}

func TestStreamDrain(t *testing.T) {
	ca := newAuthority(t)
	f := start(t, streams(t, ca), Limits{})
	c, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: ca.pool(), ServerName: "a.pass.example"})
	if err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(c)
	if _, err := br.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.server.Shutdown(ctx) }()
	for {
		if _, err := net.Dial("tcp", f.addr); err != nil {
			break
		}
	}
	// It goes on while there is time, and is cut when there is none.
	if _, err := io.WriteString(c, "still\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := br.ReadString('\n'); line != "still\n" {
		t.Errorf("%q, %v", line, err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown: %v", err)
	}
	if _, err := br.ReadByte(); err == nil {
		t.Error("the stream is still open")
	}
}
