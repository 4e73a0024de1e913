package upstream

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

func tcpAt(addrs ...string) ir.Backend {
	return ir.Backend{Name: "ns/svc:443", Protocol: ir.ProtocolTCP, Endpoints: addrs}
}

// sink takes connections and says hello on each.
func sink(t *testing.T) string {
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
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-done })
	return ln.Addr().String()
}

func TestStreamFindsALiveEndpoint(t *testing.T) {
	alive := sink(t)
	set := newSet(t, Options{}, tcpAt("127.0.0.1:1", "127.0.0.1:2", alive))
	for range 20 {
		s, err := set.Backend(0).Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if st := set.Stats()[0]; s.Endpoint != alive || st.Active != 1 {
			t.Errorf("endpoint %s, %+v", s.Endpoint, st)
		}
		if b, err := io.ReadAll(s); string(b) != "hello" || err != nil {
			t.Errorf("%q, %v", b, err)
		}
		_ = s.Close()
		_ = s.Close()
	}
	if st := set.Stats()[0]; st.Active != 0 || st.Requests != 20 || st.Failures != 0 || st.Idle != 0 {
		t.Errorf("after it: %+v", st)
	}
}

func TestStreamRefused(t *testing.T) {
	dead := tcpAt("127.0.0.1:1", "127.0.0.1:2")
	refused := tcpAt(sink(t))
	refused.Refuse = &ir.Refusal{Status: 500, Reason: "no CA"}
	badTLS := tcpAt(sink(t))
	badTLS.TLS = &ir.BackendTLS{ServerName: "x", System: true}
	broken := tcpAt(sink(t))
	broken.TLS = &ir.BackendTLS{ServerName: "x", CA: "nonsense"}
	for name, tc := range map[string]struct {
		cfg  ir.Backend
		kind Kind
	}{
		"dead": {dead, ConnectFailed}, "no endpoint": {tcpAt(), NoEndpoint}, "refused": {refused, Refused},
		"of requests": {at(sink(t)), Refused}, "no TLS there": {badTLS, ConnectFailed}, "no authority": {broken, Refused},
	} {
		set, _ := NewSet(&ir.Table{Backends: []ir.Backend{tc.cfg}}, nil, Options{})
		s, err := set.Backend(0).Open(t.Context())
		if s != nil || kindOf(err) != tc.kind {
			t.Errorf("%s: %v, %v", name, s, err)
		}
		if st := set.Stats(); len(st) > 0 && st[0].Active != 0 {
			t.Errorf("%s: %+v", name, st[0])
		}
		_ = set.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	set := newSet(t, Options{}, tcpAt(sink(t)))
	if _, err := set.Backend(0).Open(ctx); kindOf(err) != Canceled {
		t.Errorf("canceled: %v", err)
	}
}

// A backend of streams takes no requests.
func TestRequestToStreamBackend(t *testing.T) {
	set := newSet(t, Options{}, tcpAt(sink(t)))
	var resp message.Response
	if err := set.Backend(0).Do(t.Context(), call("GET", "/"), &resp); kindOf(err) != Refused {
		t.Errorf("%v", err)
	}
}

// One Service port may be a backend of requests and of streams, side by side,
// and each keeps its own over reloads.
func TestBackendsOfOneName(t *testing.T) {
	addr := sink(t)
	web := at(addr)
	tcp := tcpAt(addr)
	tcp.Name = web.Name
	table := &ir.Table{Backends: []ir.Backend{web, tcp}}
	first, errs := NewSet(table, nil, Options{})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, order := range [][]ir.Backend{{web, tcp}, {tcp, web}, {tcp}, {web}, {{Name: "a"}, web, {Name: "zz"}, tcp}} {
		next, _ := NewSet(&ir.Table{Backends: order}, first, Options{})
		for i, b := range order {
			want := first.backends[0].g
			if b.Protocol == ir.ProtocolTCP {
				want = first.backends[1].g
			}
			if b.Name == web.Name && next.backends[i].g != want {
				t.Errorf("%d backends: the one at %d was made anew", len(order), i)
			}
		}
		next.Retire(first)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestStreamHalfClose(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		b, _ := io.ReadAll(c)
		_, _ = c.Write(append(b, '!'))
		_ = c.Close()
	}()
	s, err := newSet(t, Options{}, tcpAt(ln.Addr().String())).Backend(0).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	_ = s.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(s, "hi"); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(s); string(b) != "hi!" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}
