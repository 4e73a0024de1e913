package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/cluster"
)

// fakeController answers each connection with what script writes.
func fakeController(t *testing.T, ca *testCA, script func(n int64, out io.Writer, r *http.Request)) (addr string) {
	t.Helper()
	conf, err := verifying(ca.server(t))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	srv := &http.Server{TLSConfig: conf, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		script(n.Add(1), flusher{w}, r)
	})}
	done := make(chan error, 1)
	go func() { done <- srv.ServeTLS(ln, "", "") }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String()
}

// flusher sends each write at once.
type flusher struct{ w http.ResponseWriter }

func (f flusher) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	return n, errors.Join(err, http.NewResponseController(f.w).Flush())
}

func goodHello() string { return helloEvery(time.Minute) }

func helloEvery(heartbeat time.Duration) string {
	return string(line(verbHello, hello{Protocol: Protocol, Version: "v9", Kinds: kindIDs(), HeartbeatMS: heartbeat.Milliseconds()}))
}

// stateOf gives the state of objects at a revision.
func stateOf(tb testing.TB, revision uint64, objs ...cluster.Object) *state {
	tb.Helper()
	s := new(encoder).state(nil, snapshot(tb, objs...), everything)
	s.revision = revision
	return s
}

func deltaOf(tb testing.TB, from, to *state) string {
	tb.Helper()
	var b strings.Builder
	w := newWriter(&b)
	if err := writeDelta(w, from, to); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

// TestBadStreams: whatever a controller sends, a data plane acts on nothing but
// what was committed and is right, says what was wrong, and asks for everything
// again.
func TestBadStreams(t *testing.T) {
	a, b := route("shop", "a", "/a"), route("shop", "b", "/b")
	one, two := stateOf(t, 1, a), stateOf(t, 2, a, b)
	full, delta := deltaOf(t, nil, one), deltaOf(t, one, two)
	lines := strings.SplitAfter(full, "\n") // reset, set, commit
	swapped := strings.Replace(full, "/a", "/z", 1)
	commitLine := func(r uint64, s *state) string {
		return string(line(verbCommit, commit{Revision: r, Digest: s.digest}))
	}
	unknownField := strings.Replace(full, `"hostnames"`, `"hostnamez":[],"hostnames"`, 1)
	tests := []struct {
		name   string
		text   string // after hello
		raw    bool   // text is everything
		logged string
		// applied is how many objects are in force in the end; -1 for no state.
		applied int
	}{
		{name: "cut inside a full state", text: lines[0] + lines[1], applied: -1, logged: "EOF"},
		{name: "cut inside a line", text: lines[0] + lines[1][:40], applied: -1, logged: "EOF"},
		{name: "cut inside the commit", text: strings.TrimSuffix(full, "\n"), applied: -1, logged: "EOF"},
		{name: "half a change", text: full + strings.SplitAfter(delta, "\n")[0], applied: 1, logged: "EOF"},
		{name: "tampered object", text: swapped, applied: -1, logged: errMismatch.Error()},
		{name: "tampered change", text: full + strings.Replace(delta, "/b", "/z", 1), applied: 1, logged: errMismatch.Error()},
		{name: "commit of another state", text: lines[0] + lines[1] + commitLine(1, two), applied: -1, logged: errMismatch.Error()},
		{name: "same revision twice", text: full + commitLine(1, one), applied: 1, logged: "revision 1 after 1"},
		{name: "older revision", text: deltaOf(t, nil, two) + string(line(verbDel, "x"))[:0] + commitLine(1, two), applied: 2, logged: "revision 1 after 2"},
		{name: "a change without a beginning", text: lines[1] + lines[2], applied: -1, logged: "without a beginning"},
		{name: "deletion of nothing", text: full + verbDel + " v1/Secret shop x\n" + commitLine(2, one), applied: 1, logged: "was not there"},
		{name: "one object twice", text: lines[0] + lines[1] + lines[1] + lines[2], applied: -1, logged: "twice"},
		{name: "reset inside a change", text: lines[0] + lines[1] + lines[0], applied: -1, logged: "reset inside"},
		{name: "no JSON", text: "commit {\n", applied: -1, logged: errFrame.Error()},
		{name: "unknown word", text: "exec rm\n", applied: -1, logged: "exec"},
		{name: "hello twice", text: goodHello(), applied: -1, logged: "out of turn"},
		{name: "no hello", raw: true, text: full, applied: -1, logged: "out of turn"},
		{name: "not even text", raw: true, text: "\x00\xff\x1b[2J\n", applied: -1, logged: "out of turn"},
		{name: "unknown kind of object", text: strings.Replace(full, "v1/HTTPRoute", "v7/Widget", 1), applied: -1, logged: "v7/Widget"},
		{name: "object of another kind", text: strings.Replace(full, "v1/HTTPRoute", "v1/GRPCRoute", 1), applied: -1, logged: "GRPCRoute"},
		{name: "unknown field", text: unknownField, applied: -1, logged: "hostnamez"},
		{name: "object without a name", text: strings.Replace(full, `"name":"a","namespace"`, `"namespace"`, 1), applied: -1, logged: "no usable name"},
		{name: "object with a forged name", text: strings.Replace(full, `"name":"a","namespace"`, `"name":"a b","namespace"`, 1), applied: -1, logged: "no usable name"},
		{name: "unknown member of commit", text: lines[0] + lines[1] + strings.Replace(lines[2], "{", `{"x":1,`, 1), applied: -1, logged: errFrame.Error()},
		{name: "unreadable kind that nobody knows", text: lines[0] + verbUnreadable + ` [{"Kind":"Widget","Reason":"x"}]` + "\n" + commitLine(1, one), applied: -1, logged: errMismatch.Error()},
		{name: "another protocol", raw: true, text: `hello {"protocol":9,"version":"v9","kinds":[],"heartbeatMs":100}` + "\n", applied: -1, logged: "relay protocol 9"},
		{name: "more kinds", raw: true, text: strings.Replace(goodHello(), `"v1/Secret"`, `"v1/Secret","v1/Widget"`, 1), applied: -1, logged: "relays kind v1/Widget"},
		{name: "fewer kinds", raw: true, text: strings.Replace(goodHello(), `"v1/Secret",`, ``, 1), applied: -1, logged: "does not relay kind"},
		{name: "absurd heartbeat", raw: true, text: helloEvery(-5 * time.Millisecond), applied: -1, logged: "heartbeat"},
		{name: "control characters in a message", text: verbBye + ` {"reason":"x\u001b[31m\ny"}` + "\n", applied: -1, logged: "controller says"},
		{name: "lines after bye", text: verbBye + ` {"reason":"x"}` + "\n" + full, applied: -1, logged: "controller says"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			noLeaks(t)
			ca := newCA(t)
			text := tt.text
			if !tt.raw {
				text = goodHello() + text
			}
			var haves [3]atomic.Value
			addr := fakeController(t, ca, func(n int64, out io.Writer, r *http.Request) {
				if n <= 3 {
					haves[n-1].Store(r.URL.Query().Get("have"))
				}
				_, _ = io.WriteString(out, text)
			})
			p := startPlane(t, ca, addr, nil, nil)
			until(t, "message "+tt.logged, func() bool { return strings.Contains(p.logs.String(), tt.logged) })
			until(t, "third attempt", func() bool { return haves[2].Load() != nil })
			if strings.ContainsAny(p.logs.String(), "\x1b\x00") {
				t.Errorf("control characters are in the log: %q", p.logs.String())
			}
			if tt.applied < 0 {
				if p.last() != nil {
					t.Errorf("%d objects were applied", p.last().Len())
				}
				return
			}
			for _, s := range p.all() {
				if s.Len() != tt.applied {
					t.Errorf("%d objects were applied, want %d", s.Len(), tt.applied)
				}
			}
			if len(p.all()) != 1 {
				t.Errorf("applied %d times, want once", len(p.all()))
			}
			wantHave := ""
			if strings.Contains(tt.logged, "EOF") {
				wantHave = one.digest // nothing wrong was received
			}
			if got := haves[1].Load(); got != wantHave {
				t.Errorf("second attempt has %q, want %q", got, wantHave)
			}
		})
	}
}

// TestGiantLine: a line without an end costs bounded memory.
func TestGiantLine(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	var sent atomic.Int64
	addr := fakeController(t, ca, func(n int64, out io.Writer, _ *http.Request) {
		if n > 1 {
			return
		}
		_, _ = io.WriteString(out, goodHello()+verbSet+" ")
		for chunk := make([]byte, 1<<20); ; {
			if _, err := out.Write(chunk); err != nil {
				return
			}
			sent.Add(1 << 20)
		}
	})
	p := startPlane(t, ca, addr, nil, nil)
	until(t, "refused", func() bool { return strings.Contains(p.logs.String(), "longer than") })
	if n := sent.Load(); n > 2*MaxFrame {
		t.Errorf("took %d bytes of one line", n)
	}
}

// TestSilentController: one that accepts and says nothing is given up, and the
// state stays.
func TestSilentController(t *testing.T) {
	for name, begin := range map[string]string{
		"at once": "", "after hello": helloEvery(100 * time.Millisecond), "after a state": helloEvery(100*time.Millisecond) + deltaOf(t, nil, stateOf(t, 1)),
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			ca := newCA(t)
			addr := fakeController(t, ca, func(_ int64, out io.Writer, r *http.Request) {
				_, _ = io.WriteString(out, begin)
				_, _ = io.Copy(io.Discard, r.Body)
			})
			p := startPlane(t, ca, addr, func(c *ClientConfig) { c.ConnectTimeout = 300 * time.Millisecond }, nil)
			until(t, "given up", func() bool {
				return strings.Contains(p.logs.String(), errSilent.Error()) || strings.Contains(p.logs.String(), "timeout")
			})
		})
	}
}

// TestDeafDataPlane: one that reads nothing is given up, and costs no memory
// while it is there; others are not held up.
func TestDeafDataPlane(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	c := startController(t, ca, "127.0.0.1:0", func(cfg *ServerConfig) { cfg.WriteTimeout, cfg.Heartbeat = 3*time.Second, time.Minute })
	big := secret("big", strings.Repeat("x", 900<<10))
	objs := []cluster.Object{big}
	for i := range 20 {
		b := big.DeepCopy()
		b.Name = fmt.Sprintf("big-%d", i)
		objs = append(objs, b)
	}
	c.Publish(snapshot(t, objs...), everything)
	deaf := dialRaw(t, ca, c.addr, "deaf", nil)
	until(t, "deaf one is there", func() bool { return len(c.Clients()) == 1 })
	p := startPlane(t, ca, c.addr, nil, nil)
	until(t, "the other has everything", func() bool { return p.last() != nil && p.last().Len() == 21 })
	until(t, "deaf one is given up", func() bool {
		return !slices.ContainsFunc(c.Clients(), func(cl Client) bool { return cl.Name == "deaf" })
	})
	if !strings.Contains(c.logs.String(), "send revision 1: i/o timeout") {
		t.Errorf("log: %s", c.logs.String())
	}
	discardAll(deaf)
}

// TestDeafDataPlaneDoesNotHoldUpTheEnd: the controller stops although one data
// plane takes nothing.
func TestDeafDataPlaneDoesNotHoldUpTheEnd(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	c := startController(t, ca, "127.0.0.1:0", func(cfg *ServerConfig) { cfg.WriteTimeout = time.Hour })
	var objs []cluster.Object
	for i := range 10 {
		objs = append(objs, secret(fmt.Sprintf("big-%d", i), strings.Repeat("x", 900<<10)))
	}
	c.Publish(snapshot(t, objs...), everything)
	body := dialRaw(t, ca, c.addr, "deaf", nil)
	until(t, "sending", func() bool { return c.count.full.Load() == 1 })
	c.stop()
	discardAll(body)
}

// TestSlowLine: bytes are a sign of life, even if a line takes longer than the
// longest silence.
func TestSlowLine(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	addr := fakeController(t, ca, func(n int64, out io.Writer, r *http.Request) {
		if n > 1 {
			t.Error("the connection was given up")
		}
		_, _ = io.WriteString(out, helloEvery(time.Second))
		for _, c := range []byte("ping\n" + "ping\n") {
			time.Sleep(400 * time.Millisecond)
			_, _ = out.Write([]byte{c})
		}
		_, _ = io.WriteString(out, deltaOf(t, nil, stateOf(t, 1)))
		<-r.Context().Done()
	})
	p := startPlane(t, ca, addr, nil, nil)
	until(t, "state", func() bool { return p.last() != nil })
	p.stop()
}

// TestSilentDataPlane: one that sends no sign of life is given up.
func TestSilentDataPlane(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	c := startController(t, ca, "127.0.0.1:0", func(cfg *ServerConfig) { cfg.Heartbeat = 50 * time.Millisecond })
	c.Publish(snapshot(t), nil)
	body := dialRaw(t, ca, c.addr, "silent", nil)
	discardAll(body)
	until(t, "given up", func() bool {
		return len(c.Clients()) == 0 && strings.Contains(c.logs.String(), "data plane disconnected")
	})
}

// TestLyingDataPlane: what a data plane says is bounded and believed only as far
// as it can be true.
func TestLyingDataPlane(t *testing.T) {
	for name, tt := range map[string]struct{ text, logged string }{
		"revision of the future": {`applied {"revision":99}` + "\n", ""},
		"no JSON":                {"applied x\n", errFrame.Error()},
		"unknown word":           {"give me secrets\n", errFrame.Error()},
		"endless line":           {strings.Repeat("x", 1<<20), "longer than"},
		"control characters":     {`refuse {"reason":"\u001b[31mred\nlevel=ERROR"}` + "\n", "refuses the stream"},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			ca := newCA(t)
			c := startController(t, ca, "127.0.0.1:0", nil)
			c.Publish(snapshot(t), nil)
			pr, pw := io.Pipe()
			body := dialRaw(t, ca, c.addr, "liar", pr)
			until(t, "sent", func() bool { cl := c.Clients(); return len(cl) == 1 && cl[0].Sent == 1 })
			_, _ = io.WriteString(pw, tt.text)
			if tt.logged == "" {
				_, _ = io.WriteString(pw, "ping\n")
				if got := c.Clients()[0].Applied; got != 0 {
					t.Errorf("applied %d", got)
				}
				_ = pw.Close()
			}
			discardAll(body)
			until(t, "gone", func() bool { return len(c.Clients()) == 0 })
			if !strings.Contains(c.logs.String(), tt.logged) || strings.Contains(c.logs.String(), "\x1b") {
				t.Errorf("log: %q", c.logs.String())
			}
			_ = pw.Close()
		})
	}
}

// dialRaw opens a stream by hand and gives what comes back.
func dialRaw(t *testing.T, ca *testCA, addr, name string, up io.ReadCloser) io.ReadCloser {
	t.Helper()
	if up == nil {
		pr, pw := io.Pipe()
		t.Cleanup(func() { _ = pw.Close() })
		up = pr
	}
	resp, err := post(t, ca, addr, Path+"?protocol=1&name="+name, up)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d", resp.StatusCode)
	}
	return resp.Body
}

func post(t *testing.T, ca *testCA, addr, path string, up io.Reader) (*http.Response, error) {
	t.Helper()
	conf, err := ca.client(t)()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	tr := transportFor(conf, 10*time.Second)
	t.Cleanup(func() {
		cancel()
		tr.CloseIdleConnections()
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+path, up)
	if err != nil {
		t.Fatal(err)
	}
	return tr.RoundTrip(req)
}

func discardAll(r io.ReadCloser) {
	_, _ = io.Copy(io.Discard, r)
	_ = r.Close()
}

// TestTurnedAway: requests that are not those of a data plane of this version.
func TestTurnedAway(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	c := startController(t, ca, "127.0.0.1:0", func(cfg *ServerConfig) { cfg.MaxClients = 1 })
	c.Publish(snapshot(t), nil)
	for _, tt := range []struct {
		path   string
		status int
		text   string
	}{
		{"/", 404, "connect to " + Path},
		{Path, 409, "install the same version"},
		{Path + "?protocol=2&version=v2.0.0&name=gw", 409, "relay protocol 2 of data plane version v2.0.0 is not protocol 1 of controller version v0.0.1"},
		{Path + "?protocol=1", 400, "name"},
		{Path + "?protocol=1&name=a%0Alevel%3DERROR", 400, "name"},
	} {
		resp, err := post(t, ca, c.addr, tt.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(b), tt.text) {
			t.Errorf("%s: %d %q %v", tt.path, resp.StatusCode, b, err)
		}
		_ = resp.Body.Close()
	}
	if !strings.Contains(c.logs.String(), "relay protocol 2 of data plane version v2.0.0") {
		t.Error("the controller does not log the mismatch")
	}
	p := startPlane(t, ca, c.addr, nil, nil)
	until(t, "first", func() bool { return p.last() != nil })
	q := startPlane(t, ca, c.addr, nil, nil)
	until(t, "second is turned away", func() bool { return strings.Contains(q.logs.String(), "as many data planes as it may") })
	p.stop()
	until(t, "second has its turn", func() bool { return q.last() != nil })
}

// TestSkewIsToldToTheController: the controller's log says why a data plane of
// another version leaves.
func TestSkewIsToldToTheController(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	var said atomic.Value
	addr := fakeController(t, ca, func(_ int64, out io.Writer, r *http.Request) {
		_, _ = io.WriteString(out, strings.Replace(goodHello(), `"v1/Secret"`, `"v1/Secret","v1/Widget"`, 1))
		b, _ := io.ReadAll(r.Body)
		if len(b) > 0 {
			said.CompareAndSwap(nil, string(b))
		}
	})
	startPlane(t, ca, addr, nil, nil)
	until(t, "said", func() bool { return said.Load() != nil })
	var n notice
	if err := json.Unmarshal([]byte(strings.TrimPrefix(said.Load().(string), verbRefuse+" ")), &n); err != nil || !strings.Contains(n.Reason, "v1/Widget") {
		t.Errorf("said %q: %v", said.Load(), err)
	}
}
