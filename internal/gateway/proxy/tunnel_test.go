package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// upgrade is a backend that switches protocols and then runs f.
func upgrade(t *testing.T, f func(net.Conn, *bufio.Reader)) *ir.Table {
	t.Helper()
	table := oneBackend(t, nil)
	table.Backends[0].Endpoints = []string{tcpBackend(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\nhello ")
		f(c, br)
	})}
	return table
}

const upgradeRequest = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\nsent ahead "

func (f *fixture) upgrade(t *testing.T) (*net.TCPConn, *bufio.Reader) {
	t.Helper()
	c, br := f.dial(t)
	if _, err := io.WriteString(c, upgradeRequest); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", resp, err)
	}
	_ = resp.Body.Close()
	return c.(*net.TCPConn), br
}

// An end on one side of an upgraded connection leaves the other direction open.
func TestTunnelHalfClose(t *testing.T) {
	f := start(t, upgrade(t, func(c net.Conn, br *bufio.Reader) {
		b, err := io.ReadAll(br)
		_, _ = fmt.Fprintf(c, "heard %q %v", b, err)
	}), Limits{})
	c, br := f.upgrade(t)
	if _, err := io.WriteString(c, "and behind"); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	if b, err := io.ReadAll(br); string(b) != `hello heard "sent ahead and behind" <nil>` || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	f.events.await(t, func(e *bulwark.Event) bool {
		return e.Status == 101 && e.BytesIn == 21 && e.BytesOut == 41 && e.Error == ""
	})

	heard := make(chan string, 1)
	g := start(t, upgrade(t, func(c net.Conn, br *bufio.Reader) {
		_ = c.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(br)
		heard <- string(b)
	}), Limits{})
	c, br = g.upgrade(t)
	if b, err := io.ReadAll(br); string(b) != "hello " || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := io.WriteString(c, "late"); err != nil {
		t.Fatal(err)
	}
	_ = c.CloseWrite()
	if got := <-heard; got != "sent ahead late" {
		t.Errorf("the backend heard %q", got)
	}
}

func TestTunnelIdleIsCut(t *testing.T) {
	f := start(t, upgrade(t, func(c net.Conn, _ *bufio.Reader) { _, _ = io.Copy(io.Discard, c) }), Limits{TunnelIdle: 100 * time.Millisecond})
	_, br := f.upgrade(t)
	if b, err := io.ReadAll(br); string(b) != "hello " || err != nil && !rejected(err) {
		t.Errorf("%q, %v", b, err)
	}
	f.events.await(t, func(e *bulwark.Event) bool { return e.Status == 101 && e.Error == errStreamIdle.Error() })
}
