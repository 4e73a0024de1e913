package upstream

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

func upgradeCall(proto string) *Call {
	c := call("GET", "/ws")
	c.Req.Upgrade, c.ForwardUpgrade = proto, true
	c.Header = message.Header{{Name: "sec-websocket-key", Value: "x"}}
	return c
}

func TestUpgrade(t *testing.T) {
	f := listen(t, func(s *session) {
		req, err := http.ReadRequest(s.r)
		if err != nil {
			return
		}
		if req.Header.Get("Connection") != "upgrade" || req.Header.Get("Upgrade") != "websocket" || req.Header.Get("Sec-Websocket-Key") != "x" {
			s.send("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
			return
		}
		s.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: y\r\n\r\nfirst,")
		_, _ = io.Copy(s, s.r)
	})
	set := newSet(t, Options{}, at(f.addr))
	c := upgradeCall("websocket")
	c.Deadline = time.Now().Add(100 * time.Millisecond) // of the exchange, not of what follows
	var resp message.Response
	if err := set.Backend(0).Do(t.Context(), c, &resp); err != nil {
		t.Fatal(err)
	}
	if resp.Status != 101 || resp.Upgraded == nil || resp.Body != nil || resp.Header.Get("sec-websocket-accept") != "y" || resp.Header.Has("upgrade") {
		t.Fatalf("got %+v", resp)
	}
	time.Sleep(150 * time.Millisecond)
	go func() { _, _ = io.WriteString(resp.Upgraded, "echo") }()
	buf := make([]byte, len("first,echo"))
	if _, err := io.ReadFull(resp.Upgraded, buf); err != nil || string(buf) != "first,echo" {
		t.Errorf("read %q, %v", buf, err)
	}
	if st := set.Stats()[0]; st.Active != 1 {
		t.Errorf("during: %+v", st)
	}
	_ = resp.Upgraded.Close()
	_ = resp.Upgraded.Close()
	if st := set.Stats()[0]; st.Active != 0 || st.Idle != 0 {
		t.Errorf("after: %+v", st)
	}
}

func TestUpgradeRefused(t *testing.T) {
	tests := map[string]struct {
		call   *Call
		answer string
		status int
		kind   Kind
	}{
		"declined":               {upgradeCall("websocket"), okay, 200, 0},
		"another protocol":       {upgradeCall("websocket"), "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 0, BadResponse},
		"two protocols":          {upgradeCall("websocket"), "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n", 0, BadResponse},
		"two fields":             {upgradeCall("websocket"), "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n\r\n", 0, BadResponse},
		"no Connection":          {upgradeCall("websocket"), "HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n", 0, BadResponse},
		"not forwarded":          {func() *Call { c := upgradeCall("websocket"); c.ForwardUpgrade = false; return c }(), "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 0, BadResponse},
		"length in 101":          {upgradeCall("websocket"), "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\n", 0, BadResponse},
		"101 of HTTP/1.0's kind": {upgradeCall("websocket"), "HTTP/1.0 101 X\r\nUpgrade: websocket\r\n\r\n", 0, BadResponse},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := listen(t, always(tt.answer))
			set := newSet(t, Options{}, at(f.addr))
			a, err := do(t, set.Backend(0), tt.call)
			wantKind(t, err, tt.kind)
			if a.status != tt.status {
				t.Errorf("status %d", a.status)
			}
			if st := set.Stats()[0]; st.Idle != 0 || st.Active != 0 {
				t.Errorf("the connection is kept: %+v", st)
			}
		})
	}
}

func TestMirror(t *testing.T) {
	got := make(chan string, 200)
	var hold atomic.Bool
	release := make(chan struct{})
	f := listen(t, func(s *session) {
		for {
			req, body, err := s.request()
			if err != nil {
				return
			}
			got <- req.Method + " " + req.Host + req.RequestURI + " " + req.Header.Get("X-A") + " " + body
			if hold.Load() {
				<-release
			}
			s.send("HTTP/1.1 500 Whatever\r\nContent-Length: 5\r\n\r\nnever")
		}
	})
	set := newSet(t, Options{}, at(f.addr))
	b := set.Backend(0)
	req := func(body io.Reader, length int64) *message.Request {
		return &message.Request{
			Method: "POST", Host: "api.test", Path: "/a", Query: "b", HasQuery: true, Proto: 11,
			Header: message.Header{{Name: "x-a", Value: "1"}}, Body: body, ContentLength: length,
		}
	}
	for _, length := range []int64{5, -1} {
		r := req(strings.NewReader("hello"), length)
		if !b.Mirror(r) {
			t.Fatal("dropped")
		}
		r.Header[0].Value = "changed afterwards"
		if rest, err := io.ReadAll(r.Body); err != nil || string(rest) != "hello" {
			t.Errorf("the request's own body is %q, %v", rest, err)
		}
		if m := <-got; m != "POST api.test/a?b 1 hello" {
			t.Errorf("mirrored %q", m)
		}
	}
	large := bytes.Repeat([]byte("x"), replaySize+1)
	for _, length := range []int64{int64(len(large)), -1} {
		r := req(bytes.NewReader(large), length)
		if b.Mirror(r) {
			t.Error("a large body was mirrored")
		}
		if rest, err := io.ReadAll(r.Body); err != nil || !bytes.Equal(rest, large) {
			t.Errorf("the request's own body has %d bytes, %v", len(rest), err)
		}
	}
	boom := errors.New("boom")
	r := req(io.MultiReader(strings.NewReader("he"), failing{boom}), 5)
	if b.Mirror(r) {
		t.Error("a broken body was mirrored")
	}
	if rest, err := io.ReadAll(r.Body); !errors.Is(err, boom) || string(rest) != "he" {
		t.Errorf("the request's own body is %q, %v", rest, err)
	}
	hold.Store(true)
	sent := 0
	for range maxMirrors + 10 {
		if b.Mirror(req(nil, 0)) {
			sent++
		}
	}
	st := set.Stats()[0]
	if sent > maxMirrors || st.MirrorsDropped < 13 {
		t.Errorf("%d copies under way; %+v", sent, st)
	}
	close(release)
}

// TestMirrorEnds: Close does not wait for a backend that never answers.
func TestMirrorEnds(t *testing.T) {
	f := listen(t, func(s *session) { _, _ = io.Copy(io.Discard, s) })
	s, _ := NewSet(&ir.Table{Backends: []ir.Backend{at(f.addr)}}, nil, Options{})
	if !s.Backend(0).Mirror(&message.Request{Method: "GET", Host: "a", Path: "/"}) {
		t.Fatal("dropped")
	}
	time.Sleep(10 * time.Millisecond)
	start := time.Now()
	_ = s.Close()
	if d := time.Since(start); d > time.Second {
		t.Errorf("Close took %v", d)
	}
	if s.Backend(0).Mirror(&message.Request{Method: "GET", Host: "a", Path: "/"}) {
		t.Error("mirrored after Close")
	}
}
