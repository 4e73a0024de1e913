package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// deadAddr is an address on which nobody listens.
func deadAddr(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestConnectFailed(t *testing.T) {
	set := newSet(t, Options{}, at(deadAddr(t)))
	_, err := do(t, set.Backend(0), call("GET", "/"))
	wantKind(t, err, ConnectFailed)
	_, err = do(t, newSet(t, Options{}, at()).Backend(0), call("GET", "/"))
	wantKind(t, err, NoEndpoint)
}

// TestOtherEndpoint: where one endpoint cannot be reached another gets the
// request, whatever its method and without a retry policy, and the dead one is
// left alone after a while.
func TestOtherEndpoint(t *testing.T) {
	f := listen(t, always(okay))
	set := newSet(t, Options{}, at(deadAddr(t), f.addr))
	for i := range 60 {
		c := call("GET", "/")
		switch i % 3 {
		case 1:
			c = post("POST", strings.NewReader("x"), 1)
		case 2:
			c = post("POST", bytes.NewReader(make([]byte, 50_000)), -1)
		}
		if a := must(t, set.Backend(0), c); a.body != "ok" {
			t.Errorf("got %+v", a)
		}
	}
	if st := set.Stats()[0]; st.Ejected != 1 || st.Failures != 0 {
		t.Errorf("got %+v", st)
	}
}

func TestEjection(t *testing.T) {
	f := listen(t, always(okay))
	var clock atomic.Int64
	clock.Store(time.Now().UnixNano())
	var dials atomic.Int32
	down := deadAddr(t)
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == down {
			dials.Add(1)
			return nil, errors.New("no route")
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	set := newSet(t, Options{Dial: dial, Now: func() time.Time { return time.Unix(0, clock.Load()) }}, at(down, f.addr))
	ask := func(n int) int32 {
		before := dials.Load()
		for range n {
			c := call("GET", "/")
			c.Deadline = time.Time{}
			must(t, set.Backend(0), c)
		}
		return dials.Load() - before
	}
	if n := ask(40); n != ejectAfter {
		t.Errorf("%d dials to the dead endpoint before it was ejected, want %d", n, ejectAfter)
	}
	clock.Add(int64(ejectBase - time.Millisecond))
	if n := ask(40); n != 0 {
		t.Errorf("%d dials while ejected", n)
	}
	clock.Add(int64(2 * time.Millisecond))
	if n := ask(40); n != ejectAfter {
		t.Errorf("%d dials after the ejection, want %d", n, ejectAfter)
	}
	clock.Add(int64(ejectBase + time.Millisecond))
	if n := ask(40); n != 0 {
		t.Errorf("%d dials during the second ejection, which is longer", n)
	}
	clock.Add(int64(ejectBase))
	if n := ask(40); n == 0 {
		t.Error("the second ejection never ended")
	}
}

// TestHalfStaysIn: never more than half of the endpoints are ejected.
func TestHalfStaysIn(t *testing.T) {
	addrs := []string{deadAddr(t), deadAddr(t), deadAddr(t), deadAddr(t), deadAddr(t)}
	set := newSet(t, Options{}, at(addrs...))
	for range 50 {
		_, err := do(t, set.Backend(0), call("GET", "/"))
		wantKind(t, err, ConnectFailed)
	}
	if st := set.Stats()[0]; st.Ejected != 2 {
		t.Errorf("got %+v", st)
	}
}

// TestPickSpreads: both endpoints get their share, and the busy one less.
func TestPickSpreads(t *testing.T) {
	set := newSet(t, Options{}, at("10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"))
	b := set.Backend(0)
	b.endpoints[0].active.Add(10)
	got := map[string]int{}
	for range 3000 {
		got[b.pick(nil).addr]++
	}
	if n := got["10.0.0.1:1"]; n != 0 {
		t.Errorf("the busy one was picked %d times", n)
	}
	if a, c := got["10.0.0.2:1"], got["10.0.0.3:1"]; a < 1300 || c < 1300 {
		t.Errorf("picked %v", got)
	}
	for range 100 {
		if e := b.pick(b.endpoints[1]); e == b.endpoints[1] {
			t.Fatal("picked the one to avoid")
		}
	}
	for _, e := range b.endpoints { // all out: then all are in
		e.until.Store(time.Now().Add(time.Hour).UnixNano())
	}
	b.g.ejections.Store(time.Now().Add(time.Hour).UnixNano())
	if b.pick(nil) == nil {
		t.Error("picked none")
	}
}

func TestRetry(t *testing.T) {
	big := func() io.Reader { return bytes.NewReader(make([]byte, replaySize+1)) }
	tests := []struct {
		name   string
		call   *Call
		retry  *ir.Retry
		want   int // status, or 0 with kind
		kind   Kind
		served int32
	}{
		{"no policy", call("GET", "/"), nil, 503, 0, 1},
		{"code listed", call("GET", "/"), &ir.Retry{Attempts: 3, Codes: []int{500, 503}}, 200, 0, 3},
		{"too few attempts", call("GET", "/"), &ir.Retry{Attempts: 1, Codes: []int{503}}, 503, 0, 2},
		{"code not listed", call("GET", "/"), &ir.Retry{Attempts: 3, Codes: []int{500}}, 503, 0, 1},
		{"POST", post("POST", strings.NewReader("x"), 1), &ir.Retry{Attempts: 3, Codes: []int{503}}, 503, 0, 1},
		{"PUT", post("PUT", strings.NewReader("x"), 1), &ir.Retry{Attempts: 3, Codes: []int{503}}, 200, 0, 3},
		{"PUT, chunked", post("PUT", strings.NewReader("x"), -1), &ir.Retry{Attempts: 3, Codes: []int{503}}, 200, 0, 3},
		{"PUT of 60 KB", post("PUT", bytes.NewReader(make([]byte, 60_000)), 60_000), &ir.Retry{Attempts: 3, Codes: []int{503}}, 200, 0, 3},
		{"PUT of 60 KB, chunked", post("PUT", bytes.NewReader(make([]byte, 60_000)), -1), &ir.Retry{Attempts: 3, Codes: []int{503}}, 200, 0, 3},
		{"PUT, too large to keep", post("PUT", big(), replaySize+1), &ir.Retry{Attempts: 3, Codes: []int{503}}, 503, 0, 1},
		{"PUT, chunked, too large to keep", post("PUT", big(), -1), &ir.Retry{Attempts: 3, Codes: []int{503}}, 503, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var served atomic.Int32
			var bodies []string
			f := listen(t, func(s *session) {
				for {
					_, body, err := s.request()
					if err != nil {
						return
					}
					bodies = append(bodies, body)
					if served.Add(1) < 3 {
						s.send("HTTP/1.1 503 Unavailable\r\nContent-Length: 4\r\n\r\nbusy")
					} else {
						s.send(okay)
					}
				}
			})
			tt.call.Retry = tt.retry
			set := newSet(t, Options{}, at(f.addr))
			a, err := do(t, set.Backend(0), tt.call)
			wantKind(t, err, tt.kind)
			if a.status != tt.want || served.Load() != tt.served {
				t.Errorf("status %d after %d requests, want %d after %d", a.status, served.Load(), tt.want, tt.served)
			}
			if slices.ContainsFunc(bodies, func(b string) bool { return b != bodies[0] }) {
				t.Error("the tries had different bodies")
			}
			if st := set.Stats()[0]; st.Retries != uint64(tt.served-1) || st.Active != 0 || st.Connects != 1 {
				t.Errorf("got %+v", st)
			}
		})
	}
}

// TestRetryAfterSilence: timeouts and ended connections are retried too, with
// the pause that was asked for, and not past the deadline.
func TestRetryAfterSilence(t *testing.T) {
	script := func(s *session) {
		if _, _, err := s.request(); err != nil {
			return
		}
		switch s.n {
		case 1:
		case 2:
			_, _, _ = s.request() // silence, until the client ends it
		default:
			s.send(okay)
		}
	}
	f := listen(t, script)
	c := call("GET", "/")
	c.Retry = &ir.Retry{Attempts: 5, Backoff: 20 * time.Millisecond}
	c.TryTimeout = 50 * time.Millisecond
	start := time.Now()
	if a := must(t, newSet(t, Options{}, at(f.addr)).Backend(0), c); a.body != "ok" {
		t.Errorf("got %+v", a)
	}
	if d := time.Since(start); d < 90*time.Millisecond || d > time.Second {
		t.Errorf("took %v", d)
	}

	f = listen(t, script)
	c = post("POST", strings.NewReader("x"), 1)
	c.Retry = &ir.Retry{Attempts: 5}
	_, err := do(t, newSet(t, Options{}, at(f.addr)).Backend(0), c)
	wantKind(t, err, BackendGone)

	f = listen(t, func(s *session) { _, _, _ = s.request(); _, _, _ = s.request() })
	c = call("GET", "/")
	c.Retry = &ir.Retry{Attempts: 1000}
	c.TryTimeout = 20 * time.Millisecond
	c.Deadline = time.Now().Add(100 * time.Millisecond)
	start = time.Now()
	_, err = do(t, newSet(t, Options{}, at(f.addr)).Backend(0), c)
	wantKind(t, err, Timeout)
	if d := time.Since(start); d > 500*time.Millisecond {
		t.Errorf("took %v", d)
	}
}

func TestTimeouts(t *testing.T) {
	const ms = time.Millisecond
	head := "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
	hang := func(s *session) { _, _ = io.Copy(io.Discard, s) }
	tests := []struct {
		name   string
		script func(s *session)
		edit   func(c *Call)
		kind   Kind
	}{
		{"no head, Deadline", hang, func(c *Call) { c.Deadline = time.Now().Add(50 * ms) }, Timeout},
		{"no head, TryTimeout", hang, func(c *Call) { c.TryTimeout = 50 * ms }, Timeout},
		{"no head, HeadTimeout", hang, func(c *Call) { c.HeadTimeout = 50 * ms }, Timeout},
		{"slow head, HeadTimeout", func(s *session) {
			for _, b := range head + "0123456789" {
				s.send(string(b))
				time.Sleep(5 * ms)
			}
		}, func(c *Call) { c.HeadTimeout = 50 * ms }, Timeout},
		{"body stops, BodyTimeout", func(s *session) { s.send(head + "01"); hang(s) }, func(c *Call) { c.BodyTimeout = 50 * ms }, Timeout},
		{"body stops, Deadline", func(s *session) { s.send(head + "01"); hang(s) }, func(c *Call) { c.Deadline = time.Now().Add(50 * ms) }, Timeout},
		{"body stops, TryTimeout", func(s *session) { s.send(head + "01"); hang(s) }, func(c *Call) { c.TryTimeout = 50 * ms }, Timeout},
		{"slow body is fine", func(s *session) {
			s.send(head)
			for range 10 {
				time.Sleep(10 * ms)
				s.send("x")
			}
			hang(s)
		}, func(c *Call) { c.BodyTimeout, c.HeadTimeout = 60*ms, 60*ms }, 0},
		{"backend takes no body, BodyTimeout", func(*session) { time.Sleep(300 * ms) }, func(c *Call) {
			c.Req.Method, c.Req.Body, c.Req.ContentLength, c.BodyTimeout = "POST", io.LimitReader(zeros{}, 64<<20), 64<<20, 50*ms
		}, Timeout},
		{"slow client is not the backend's fault", func(s *session) {
			if _, _, err := s.request(); err == nil {
				s.send(okay)
			}
		}, func(c *Call) {
			c.Req.Method, c.Req.ContentLength, c.HeadTimeout = "POST", -1, 60*ms
			c.Req.Body = &slowReader{n: 5, pause: 30 * ms}
		}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := listen(t, tt.script)
			set := newSet(t, Options{}, at(f.addr))
			c := call("GET", "/")
			tt.edit(c)
			start := time.Now()
			_, err := do(t, set.Backend(0), c)
			wantKind(t, err, tt.kind)
			if d := time.Since(start); tt.kind != 0 && (d < 40*ms || d > 280*ms) {
				t.Errorf("took %v", d)
			}
			if st := set.Stats()[0]; tt.kind != 0 && (st.Idle != 0 || st.Active != 0) {
				t.Errorf("after it: %+v", st)
			}
		})
	}
}

type slowReader struct {
	n     int
	pause time.Duration
}

func (r *slowReader) Read(p []byte) (int, error) {
	if r.n--; r.n < 0 {
		return 0, io.EOF
	}
	time.Sleep(r.pause)
	p[0] = 'x'
	return 1, nil
}

// TestDeadlineOfAnotherExchange: the deadline that an earlier exchange left on
// a connection does not end a later one.
func TestDeadlineOfAnotherExchange(t *testing.T) {
	f := listen(t, func(s *session) {
		for i := 0; ; i++ {
			if _, _, err := s.request(); err != nil {
				return
			}
			if i > 0 {
				time.Sleep(80 * time.Millisecond)
			}
			s.send(okay)
		}
	})
	b := newSet(t, Options{}, at(f.addr)).Backend(0)
	short := call("GET", "/")
	short.Deadline = time.Now().Add(30 * time.Millisecond)
	must(t, b, short)
	must(t, b, call("GET", "/")) // 10s
	none := call("GET", "/")
	none.Deadline = time.Time{}
	must(t, b, none)
	if n := f.conns.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestWatch(t *testing.T) {
	tests := map[string]func(s *session){
		"before the head": func(s *session) { _, _, _ = s.request(); _, _, _ = s.request() },
		"in the body": func(s *session) {
			_, _, _ = s.request()
			s.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01")
			_, _, _ = s.request()
		},
	}
	for name, script := range tests {
		t.Run(name, func(t *testing.T) {
			set := newSet(t, Options{}, at(listen(t, script).addr))
			ctx, cancel := context.WithCancel(t.Context())
			defer time.AfterFunc(30*time.Millisecond, cancel).Stop()
			c := call("GET", "/")
			c.Watch = true
			var resp message.Response
			err := set.Backend(0).Do(ctx, c, &resp)
			if err == nil {
				_, err = io.ReadAll(resp.Body)
			}
			wantKind(t, err, Canceled)
			if st := set.Stats()[0]; st.Idle != 0 || st.Active != 0 || st.Ejected != 0 {
				t.Errorf("after it: %+v", st)
			}
		})
	}
	t.Run("ended before", func(t *testing.T) {
		f := listen(t, always(okay))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c := call("GET", "/")
		c.Watch = true
		var resp message.Response
		wantKind(t, newSet(t, Options{}, at(f.addr)).Backend(0).Do(ctx, c, &resp), Canceled)
		if n := f.conns.Load(); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
	t.Run("ended after", func(t *testing.T) {
		f := listen(t, always(okay))
		b := newSet(t, Options{}, at(f.addr)).Backend(0)
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			c := call("GET", "/")
			c.Watch = true
			var resp message.Response
			if err := b.Do(ctx, c, &resp); err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "ok" {
				t.Errorf("%q, %v", body, err)
			}
			cancel()
		}
		if n := f.conns.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

func TestPick(t *testing.T) {
	refs := func(weights ...int32) []ir.BackendRef {
		out := make([]ir.BackendRef, len(weights))
		for i, w := range weights {
			out[i].Weight = w
		}
		return out
	}
	for _, none := range [][]ir.BackendRef{nil, refs(0), refs(0, 0), refs(-1)} {
		if got := Pick(none, 7); got != -1 {
			t.Errorf("Pick(%v) = %d", none, got)
		}
	}
	tests := []struct {
		refs []ir.BackendRef
		want []float64
	}{
		{refs(1), []float64{1}},
		{refs(1, 1), []float64{.5, .5}},
		{refs(9, 1), []float64{.9, .1}},
		{refs(0, 3, 0, 1), []float64{0, .75, 0, .25}},
		{refs(1<<31-1, 1<<31-1, 1<<31-1, 1<<31-1), []float64{.25, .25, .25, .25}},
	}
	for _, tt := range tests {
		const n = 1 << 14
		got := make([]int, len(tt.refs))
		for i := range n {
			got[Pick(tt.refs, uint32(i)<<18)]++
		}
		for i := range got {
			if share := float64(got[i]) / n; share < tt.want[i]-.001 || share > tt.want[i]+.001 {
				t.Errorf("weights %v: index %d has share %v, want %v", tt.refs, i, share, tt.want[i])
			}
		}
	}
	if got := Pick(refs(1, 0, 1), 1<<32-1); got != 2 {
		t.Errorf("the last bits give %d", got)
	}
}
