package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// TestDeadConnectionStorm: the backend closes idle connections whenever it
// likes, by FIN and by RST, and 10 000 requests see nothing of it.
func TestDeadConnectionStorm(t *testing.T) {
	var served atomic.Int64
	f := listen(t, func(s *session) {
		left := 1 + rand.IntN(6)
		for {
			if left--; left < 0 {
				// The connection is idle for a short while, and then ends, with a
				// reset or without.
				_ = s.SetReadDeadline(time.Now().Add(time.Duration(rand.IntN(300)) * time.Microsecond))
				if _, err := s.r.Peek(1); err != nil {
					if rand.IntN(2) == 0 {
						_ = s.Conn.(*net.TCPConn).SetLinger(0)
					}
					return
				}
				_ = s.SetReadDeadline(time.Time{})
			}
			if _, _, err := s.request(); err != nil {
				return
			}
			served.Add(1)
			s.send(okay)
		}
	})
	set := newSet(t, Options{}, at(f.addr))
	b := set.Backend(0)
	const workers, each = 8, 1250
	var wg sync.WaitGroup
	var failed atomic.Int64
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				c := call("GET", "/")
				switch (w + i) % 4 {
				case 1:
					c = post("POST", strings.NewReader("hello"), 5)
				case 2:
					c = post("PUT", strings.NewReader("hello"), -1)
				case 3:
					c = post("POST", bytes.NewReader(make([]byte, 40_000)), 40_000)
				}
				a, err := do(t, b, c)
				if err != nil || a.body != "ok" {
					failed.Add(1)
					t.Errorf("%s: %v %+v", c.Req.Method, err, a)
				}
			}
		})
	}
	wg.Wait()
	st := set.Stats()[0]
	t.Logf("served %d, %+v", served.Load(), st)
	if failed.Load() > 0 || st.Failures > 0 {
		t.Errorf("%d requests failed", failed.Load())
	}
	if st.Stale == 0 || st.Connects >= workers*each {
		t.Errorf("the storm did not blow, or nothing was reused: %+v", st)
	}
	if st.Active != 0 {
		t.Errorf("%d exchanges are left", st.Active)
	}
}

// staleSet gives a set whose one idle connection the backend closes at the
// moment the next request arrives, too late for any look to see it.
func staleSet(t *testing.T, answered *atomic.Int32, afterReading bool) *Set {
	t.Helper()
	f := listen(t, func(s *session) {
		for i := 0; ; i++ {
			if i == 1 && s.n == 1 {
				if afterReading {
					_, _, _ = s.request()
				}
				return
			}
			if _, _, err := s.request(); err != nil {
				return
			}
			answered.Add(1)
			s.send(okay)
		}
	})
	return trusted(newSet(t, Options{}, at(f.addr)))
}

// TestReadButUnanswered: the backend took the request and closed. What may be
// sent twice is sent again; what may not is an error, not a second order.
func TestReadButUnanswered(t *testing.T) {
	tests := map[string]struct {
		call *Call
		kind Kind
	}{
		"GET":               {call("GET", "/"), 0},
		"PUT":               {post("PUT", strings.NewReader("x"), 1), 0},
		"DELETE":            {call("DELETE", "/"), 0},
		"POST":              {post("POST", strings.NewReader("x"), 1), BackendGone},
		"PATCH":             {post("PATCH", strings.NewReader("x"), 1), BackendGone},
		"PUT of a stream":   {post("PUT", bytes.NewReader(make([]byte, 100_000)), 100_000), BackendGone},
		"an unknown method": {call("BREW", "/"), BackendGone},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var answered atomic.Int32
			set := staleSet(t, &answered, true)
			b := set.Backend(0)
			must(t, b, call("GET", "/"))
			a, err := do(t, b, tt.call)
			wantKind(t, err, tt.kind)
			if tt.kind == 0 && a.body != "ok" {
				t.Errorf("got %+v", a)
			}
		})
	}
}

// TestTrust: what must not be sent twice gets new connections until the endpoint
// is known for keeping them open, and again after it closed a fresh one.
func TestTrust(t *testing.T) {
	var drop atomic.Bool
	f := listen(t, func(s *session) {
		for {
			if _, _, err := s.request(); err != nil {
				return
			}
			s.send(okay)
			if drop.Load() {
				return
			}
		}
	})
	set := newSet(t, Options{}, at(f.addr))
	order := func(n int) (connects int32) {
		before := f.conns.Load()
		for range n {
			must(t, set.Backend(0), post("POST", strings.NewReader("x"), 1))
		}
		return f.conns.Load() - before
	}
	if n := order(trustAfter); n != trustAfter {
		t.Errorf("%d connections for the first %d orders", n, trustAfter)
	}
	if n := order(50); n != 0 {
		t.Errorf("%d connections although the endpoint is trusted", n)
	}
	drop.Store(true)
	must(t, set.Backend(0), call("GET", "/"))
	drop.Store(false)
	time.Sleep(5 * time.Millisecond)
	must(t, set.Backend(0), call("GET", "/")) // finds the dead one
	if n := order(10); n != 10 {
		t.Errorf("%d connections for 10 orders to an endpoint that is not trusted any more", n)
	}
}

// TestFreshConnectionIsNotRetried: a backend that closes new connections is
// broken, and asking it again without being told to is no help.
func TestFreshConnectionIsNotRetried(t *testing.T) {
	f := listen(t, func(s *session) { _, _, _ = s.request() })
	_, err := do(t, newSet(t, Options{}, at(f.addr)).Backend(0), call("GET", "/"))
	wantKind(t, err, BackendGone)
	if n := f.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestUntouched: bytes that the peer's kernel refused count as unsent, bytes
// that it took do not, whatever the application did with them.
func TestUntouched(t *testing.T) {
	closing := make(chan bool)
	f := listen(t, func(s *session) {
		if <-closing {
			_ = s.Conn.(*net.TCPConn).SetLinger(0)
			return
		}
		time.Sleep(50 * time.Millisecond)
	})
	for _, refused := range []bool{true, false} {
		nc, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		s := newSocket(nc, time.Now)
		closing <- refused
		if refused {
			for s.look() == peekQuiet {
				time.Sleep(time.Millisecond)
			}
		}
		before := s.sent
		_, werr := s.Write([]byte("POST / HTTP/1.1\r\n\r\n"))
		if !refused {
			_, _ = s.Read(make([]byte, 1))
		}
		if got := s.untouched(before); got != refused {
			t.Errorf("refused %v (write: %v): untouched = %v", refused, werr, got)
		}
		_ = s.Close()
	}
}

// TestBlockedWrite: a write that is stuck ends when the backend answers.
func TestBlockedWrite(t *testing.T) {
	f := listen(t, func(s *session) {
		time.Sleep(50 * time.Millisecond)
		s.send("early")
		time.Sleep(2 * time.Second)
	})
	nc, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	s := newSocket(nc, time.Now)
	defer func() { _ = s.Close() }()
	s.until(time.Now().Add(5 * time.Second))
	s.stream(true)
	start := time.Now()
	_, err = s.Write(make([]byte, 64<<20))
	if d := time.Since(start); !errors.Is(err, errEarlyReply) || d > time.Second {
		t.Errorf("error %v after %v", err, d)
	}
	s.stream(false)
	buf := make([]byte, 5)
	if _, err := io.ReadFull(s, buf); err != nil || string(buf) != "early" {
		t.Errorf("read %q, %v", buf, err)
	}
}

// TestIdle408: what some servers send before they close an idle connection is
// no answer to the request that crosses it.
func TestIdle408(t *testing.T) {
	f := listen(t, func(s *session) {
		for i := 0; ; i++ {
			if _, _, err := s.request(); err != nil {
				return
			}
			if i == 1 && s.n == 1 {
				s.send("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
				return
			}
			s.send(okay)
		}
	})
	b := newSet(t, Options{}, at(f.addr)).Backend(0)
	for range 2 {
		if a := must(t, b, call("GET", "/")); a.status != 200 {
			t.Errorf("status %d", a.status)
		}
	}
}

func TestIdleLimits(t *testing.T) {
	f := listen(t, always(okay))
	set := newSet(t, Options{MaxIdlePerEndpoint: 2, IdleTimeout: time.Hour}, at(f.addr))
	b := set.Backend(0)
	bodies := make([]message.Response, 5)
	for i := range bodies {
		if err := b.Do(t.Context(), call("GET", "/"), &bodies[i]); err != nil {
			t.Fatal(err)
		}
	}
	if st := set.Stats()[0]; st.Active != 5 || st.Idle != 0 {
		t.Errorf("during: %+v", st)
	}
	for i := range bodies {
		_ = bodies[i].Body.Close()
	}
	if st := set.Stats()[0]; st.Active != 0 || st.Idle != 2 {
		t.Errorf("after: %+v", st)
	}
	set.sweep(time.Now().Add(59 * time.Minute))
	if st := set.Stats()[0]; st.Idle != 2 {
		t.Errorf("swept too early: %+v", st)
	}
	set.sweep(time.Now().Add(61 * time.Minute))
	if st := set.Stats()[0]; st.Idle != 0 {
		t.Errorf("not swept: %+v", st)
	}
}

// TestUnreadBody: a body that was closed early does not leave its bytes to the
// next exchange.
func TestUnreadBody(t *testing.T) {
	f := listen(t, always("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"+strings.Repeat("x", 300_000)))
	set := newSet(t, Options{}, at(f.addr))
	for range 2 {
		var resp message.Response
		if err := set.Backend(0).Do(t.Context(), call("GET", "/"), &resp); err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadFull(resp.Body, make([]byte, 100))
		_ = resp.Body.Close()
		if st := set.Stats()[0]; st.Idle != 0 || st.Active != 0 {
			t.Errorf("after it: %+v", st)
		}
	}
}

// TestReload: what did not change keeps its connections; what did, or went,
// leaves none behind.
func TestReload(t *testing.T) {
	f1, f2, f3 := listen(t, always(okay)), listen(t, always(okay)), listen(t, always(okay))
	table := func(backends ...ir.Backend) *ir.Table { return &ir.Table{Backends: backends} }
	first, errs := NewSet(table(
		ir.Backend{Name: "changes", Endpoints: []string{f1.addr}},
		ir.Backend{Name: "goes", Endpoints: []string{f2.addr}},
		ir.Backend{Name: "stays", Endpoints: []string{f3.addr}},
	), nil, Options{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for i := range 3 {
		must(t, first.Backend(i), call("GET", "/"))
	}
	var during message.Response
	if err := first.Backend(1).Do(t.Context(), call("GET", "/"), &during); err != nil {
		t.Fatal(err)
	}
	second, errs := NewSet(table(
		ir.Backend{Name: "changes", Endpoints: []string{f1.addr}, ConnectTimeout: time.Second},
		ir.Backend{Name: "new", Endpoints: []string{f2.addr}},
		ir.Backend{Name: "stays", Endpoints: []string{f3.addr, f1.addr}},
	), first, Options{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	first.Retire(second)
	if st := first.Stats(); st[0].Idle+st[1].Idle != 0 || st[2].Idle != 1 {
		t.Errorf("after Retire: %+v", st)
	}
	if body, err := io.ReadAll(during.Body); err != nil || string(body) != "ok" {
		t.Errorf("exchange in flight: %q, %v", body, err)
	}
	if a := must(t, first.Backend(1), call("GET", "/")); a.body != "ok" {
		t.Errorf("a late request on the old set: %+v", a)
	}
	if st := first.Stats(); st[1].Idle != 0 {
		t.Errorf("the old set keeps a connection: %+v", st[1])
	}
	for range 8 {
		must(t, second.Backend(2), call("GET", "/"))
	}
	if n := f3.conns.Load(); n != 1 {
		t.Errorf("the endpoint that stayed has %d connections", n)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if st := second.Stats(); st[2].Idle == 0 {
		t.Errorf("closing the old set took the new one's connections: %+v", st[2])
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if st := second.Stats(); st[2].Idle != 0 {
		t.Errorf("after Close: %+v", st[2])
	}
}

// TestReloadUnderLoad: 50 reloads while requests run.
func TestReloadUnderLoad(t *testing.T) {
	f := listen(t, always(okay))
	table := &ir.Table{Backends: []ir.Backend{{Name: "b", Endpoints: []string{f.addr}}}}
	set, _ := NewSet(table, nil, Options{})
	var current atomic.Pointer[Set]
	current.Store(set)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := do(t, current.Load().Backend(0), call("GET", "/")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 50 {
		next, _ := NewSet(table, current.Load(), Options{})
		old := current.Swap(next)
		old.Retire(next)
		if err := old.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	st := current.Load().Stats()[0]
	if err := current.Load().Close(); err != nil {
		t.Error(err)
	}
	if n := f.conns.Load(); n > 8 || st.Active != 0 || st.Failures != 0 {
		t.Errorf("%d connections for 4 clients; %+v", n, st)
	}
}

// TestNoSyscallConn: what cannot be looked at is not used again.
func TestNoSyscallConn(t *testing.T) {
	f := listen(t, always(okay))
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return struct{ net.Conn }{c}, err
	}
	set := newSet(t, Options{Dial: dial}, at(f.addr))
	for range 2 {
		must(t, set.Backend(0), call("GET", "/"))
	}
	if n, st := f.conns.Load(), set.Stats()[0]; n != 2 || st.Idle != 0 {
		t.Errorf("%d connections; %+v", n, st)
	}
}

func TestErrorText(t *testing.T) {
	err := error(&Error{Kind: Timeout, Endpoint: "10.0.0.1:80", Err: io.ErrUnexpectedEOF})
	if got, want := err.Error(), "backend 10.0.0.1:80: timeout: unexpected EOF"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	for k := ConnectFailed; k <= Canceled; k++ {
		if k.String() == "unknown" {
			t.Errorf("kind %d has no name", k)
		}
	}
}
