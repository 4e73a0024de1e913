package services

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dial(t *testing.T, l net.Listener) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

// forwarder starts Forward to backend; the returned function ends it and waits.
func forwarder(t *testing.T, front net.Listener, backend net.Addr) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Forward(ctx, front, func(ctx context.Context) (net.Conn, error) {
			if backend == nil {
				return nil, errors.New("none")
			}
			return new(net.Dialer).DialContext(ctx, "tcp", backend.String())
		})
	}()
	end = func() { cancel(); <-done }
	t.Cleanup(end)
	return end
}

func TestForwardCarriesTheAnswerAfterAHalfClose(t *testing.T) {
	t.Parallel()
	backend, front := listen(t), listen(t)
	forwarder(t, front, backend.Addr())
	go func() {
		c, err := backend.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		got, err := io.ReadAll(c) // ends only when the client's end of sending arrives
		if err != nil {
			t.Error(err)
		}
		_, _ = c.Write(append([]byte("got "), got...))
		_ = c.Close()
	}()
	c := dial(t, front)
	if _, err := c.Write([]byte("all of it")); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "got all of it" {
		t.Errorf("the answer is %q, %v", got, err)
	}
}

func TestForwardPassesABreakOn(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(*net.TCPConn){
		"reset":    func(c *net.TCPConn) { _ = c.SetLinger(0); _ = c.Close() },
		"finished": func(c *net.TCPConn) { _ = c.Close() },
	} {
		backend, front := listen(t), listen(t)
		forwarder(t, front, backend.Addr())
		c := dial(t, front)
		b, err := backend.Accept()
		if err != nil {
			t.Fatal(err)
		}
		broken(b.(*net.TCPConn))
		_, err = io.ReadAll(c)
		if reset := errors.Is(err, syscall.ECONNRESET); reset != (name == "reset") {
			t.Errorf("backend %s: the client sees %v", name, err)
		}
	}
}

func TestForwardWithoutBackendResets(t *testing.T) {
	t.Parallel()
	front := listen(t)
	forwarder(t, front, nil)
	// The reset may come before the dialler is told that it is connected.
	c, err := net.Dial("tcp", front.Addr().String())
	if err == nil {
		defer func() { _ = c.Close() }()
		_, err = c.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v, want a reset", err)
	}
}

func TestForwardEnds(t *testing.T) {
	t.Parallel()
	backend, front := listen(t), listen(t)
	end := forwarder(t, front, backend.Addr())
	c := dial(t, front)
	if _, err := backend.Accept(); err != nil {
		t.Fatal(err)
	}
	end() // waits for the open connection, which it resets
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection goes on")
	}
}

func TestForwardDatagrams(t *testing.T) {
	t.Parallel()
	backend, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		buf := make([]byte, 100)
		for {
			n, from, err := backend.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = backend.WriteTo(append([]byte(from.String()+" "), buf[:n]...), from)
		}
	}()
	front, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		forwardDatagrams(ctx, front, time.Minute, func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "udp", backend.LocalAddr().String())
		})
	}()
	answers := map[string]bool{}
	for range 2 { // two clients, each on a flow of its own
		c, err := net.Dial("udp", front.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		before := ""
		for range 2 {
			if _, err := c.Write([]byte("hi")); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			n, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(buf[:n]); before != "" && got != before {
				t.Errorf("one client came as %q, then as %q", before, got)
			}
			before = string(buf[:n])
		}
		answers[before] = true
	}
	if len(answers) != 2 {
		t.Errorf("two clients had %d flows", len(answers))
	}
	cancel()
	<-done
	_ = backend.Close()
	<-echoed
}
