package proxy

import (
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// A listener is bound where BindPort says; everything that clients are told is
// about Port.
func TestBindPort(t *testing.T) {
	table := oneBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "old") })
	table.Rules[0].Backends = nil
	table.Rules[0].Redirect = &ir.Redirect{Status: 302}
	f := start(t, table, Limits{})
	bound := table.Listeners[0].Port
	for port, want := range map[uint16]string{80: "http://a.example/x", 8080: "http://a.example:8080/x", 443: "http://a.example:443/x"} {
		next := *table
		next.Listeners = []ir.Listener{table.Listeners[0]}
		next.Listeners[0].Port, next.Listeners[0].BindPort = port, bound
		if _, err := f.server.Apply(t.Context(), &next); err != nil {
			t.Fatal(err)
		}
		c, br := f.dial(t)
		resp, _ := send(t, c, br, "GET", "GET /x HTTP/1.1\r\nHost: a.example:9999\r\n\r\n")
		if got := resp.Header.Get("Location"); got != want {
			t.Errorf("port %d: redirected to %q, want %q", port, got, want)
		}
	}
	if n := len(f.server.Addresses()); n != 1 {
		t.Errorf("%d addresses are open", n)
	}
}

// Two Gateways with the same port do not meet where their bind ports differ.
func TestBindPortsKeepGatewaysApart(t *testing.T) {
	answer := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) }
	}
	table := oneBackend(t, answer("one"))
	other := oneBackend(t, answer("two"))
	table.Rules = append(table.Rules, open("other", ir.BackendRef{Backend: 1, Weight: 1}))
	table.Backends = append(table.Backends, other.Backends[0])
	table.Backends[1].Name = "ns/svc2:80"
	f := start(t, table, Limits{})
	second := other.Listeners[0]
	second.Name, second.Addresses, second.Port, second.BindPort = "ns/gw2/http", []string{"127.0.0.1"}, table.Listeners[0].Port, freePort(t)
	second.Hosts = []ir.Host{{Matches: []ir.Match{{PathKind: ir.PathPrefix, Path: "/", Rule: 1}}}}
	next := *table
	next.Listeners = append(next.Listeners[:1:1], second)
	if _, err := f.server.Apply(t.Context(), &next); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"one", "two"} {
		c, br := f.dial(t)
		if _, body := send(t, c, br, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); body != want {
			t.Errorf("%s: got %q, want %q", f.addr, body, want)
		}
		f.addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), second.BindPort).String()
	}
}

// With PartialBind an address that cannot be opened is the problem of its
// listeners alone, until it can.
func TestPartialBind(t *testing.T) {
	f := start(t, oneBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "old") }), Limits{})
	f.server.cfg.PartialBind = true
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	next := *f.table
	blocked := f.table.Listeners[0]
	blocked.Name, blocked.Port, blocked.Hostname = "ns/gw/blocked", netip.MustParseAddrPort(taken.Addr().String()).Port(), "b.example"
	twin := blocked
	twin.Name, twin.Hostname = "ns/gw/twin", "t.example"
	next.Listeners = append(next.Listeners[:1:1], blocked, twin)
	for range 2 { // it is tried each time
		problems, err := f.server.Apply(t.Context(), &next)
		if err != nil || len(problems) != 2 || problems[0].Listener != "ns/gw/blocked" || problems[1].Listener != "ns/gw/twin" || problems[0].Err == nil {
			t.Fatalf("problems %v, %v", problems, err)
		}
		c, br := f.dial(t)
		if _, body := send(t, c, br, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); body != "old" {
			t.Errorf("its neighbour: %q", body)
		}
	}
	_ = taken.Close()
	if problems, err := f.server.Apply(t.Context(), &next); err != nil || len(problems) > 0 {
		t.Fatalf("problems %v, %v", problems, err)
	}
	f.addr = taken.Addr().String()
	c, br := f.dial(t)
	if resp, body := send(t, c, br, "GET", "GET / HTTP/1.1\r\nHost: b.example\r\n\r\n"); body != "old" {
		t.Errorf("once it is free: %d %q", resp.StatusCode, body)
	}
}
