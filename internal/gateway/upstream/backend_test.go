package upstream

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// TestMain fails the run if a goroutine of this package outlives it.
func TestMain(m *testing.M) {
	code := m.Run()
	var left string
	for range 100 {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		left = ""
		for g := range strings.SplitSeq(string(buf), "\n\n") {
			if strings.Contains(g, "gateway/upstream") && !strings.Contains(g, "TestMain") {
				left += g + "\n\n"
			}
		}
		if left == "" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if left != "" && code == 0 {
		fmt.Fprintf(os.Stderr, "goroutines are left:\n%s", left)
		code = 1
	}
	os.Exit(code)
}

// fake is a backend on a real socket, with a script for each connection.
type fake struct {
	addr  string
	conns atomic.Int32 // accepted so far
	l     net.Listener

	mu   sync.Mutex
	open map[net.Conn]struct{}
	wg   sync.WaitGroup
}

// session is one connection as a script sees it.
type session struct {
	net.Conn
	r *bufio.Reader
	n int // number of the connection, from 1
}

// request reads one request with its body, as net/http understands it.
func (s *session) request() (*http.Request, string, error) {
	req, err := http.ReadRequest(s.r)
	if err != nil {
		return nil, "", fmt.Errorf("read request: %w", err)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return req, string(body), fmt.Errorf("read body: %w", err)
	}
	return req, string(body), nil
}

// send writes raw bytes; a script whose peer is gone just ends.
func (s *session) send(text string) { _, _ = io.WriteString(s, text) }

// listen starts a fake backend.
func listen(tb testing.TB, script func(s *session)) *fake {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	return serve(tb, l, script)
}

func serve(tb testing.TB, l net.Listener, script func(s *session)) *fake {
	tb.Helper()
	f := &fake{addr: l.Addr().String(), l: l, open: map[net.Conn]struct{}{}}
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n := int(f.conns.Add(1))
			f.mu.Lock()
			f.open[c] = struct{}{}
			f.mu.Unlock()
			f.wg.Go(func() {
				defer func() {
					_ = c.Close()
					f.mu.Lock()
					delete(f.open, c)
					f.mu.Unlock()
				}()
				script(&session{Conn: c, r: bufio.NewReader(c), n: n})
			})
		}
	})
	tb.Cleanup(f.close)
	return f
}

// close ends the backend with all its connections.
func (f *fake) close() {
	_ = f.l.Close()
	f.mu.Lock()
	for c := range f.open {
		_ = c.Close()
	}
	f.mu.Unlock()
	f.wg.Wait()
}

// always answers every request of a connection with the same bytes.
func always(answer string) func(*session) {
	return func(s *session) {
		for {
			if _, _, err := s.request(); err != nil {
				return
			}
			s.send(answer)
		}
	}
}

const okay = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// newSet makes a set of one backend.
func newSet(tb testing.TB, opt Options, cfg ir.Backend) *Set {
	tb.Helper()
	if cfg.Name == "" {
		cfg.Name = "ns/test:80"
	}
	s, errs := NewSet(&ir.Table{Backends: []ir.Backend{cfg}}, nil, opt)
	if len(errs) > 0 {
		tb.Fatal(errs)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func at(addrs ...string) ir.Backend { return ir.Backend{Endpoints: addrs} }

// trusted makes all endpoints of a set known for keeping connections open.
func trusted(s *Set) *Set {
	for _, b := range s.backends {
		for _, e := range b.endpoints {
			e.trust.Store(trustAfter)
		}
	}
	return s
}

// answer is a response that was read to its end.
type answer struct {
	status  int
	header  message.Header
	body    string
	trailer message.Header
	length  int64
}

func call(method, target string) *Call {
	return &Call{Req: &message.Request{Method: method, Proto: 11}, Authority: "api.test", Target: target, Deadline: time.Now().Add(10 * time.Second)}
}

func post(method string, body io.Reader, length int64) *Call {
	c := call(method, "/")
	c.Req.Body, c.Req.ContentLength = body, length
	return c
}

// do makes one exchange and reads all of the response.
func do(tb testing.TB, b *Backend, c *Call) (answer, error) {
	tb.Helper()
	var resp message.Response
	if err := b.Do(tb.Context(), c, &resp); err != nil {
		var e *Error
		if !errors.As(err, &e) || e.Kind == 0 {
			tb.Errorf("Do gave %v, which is no *Error with a kind", err)
		}
		if resp.Body != nil || resp.Upgraded != nil {
			tb.Error("Do gave a response with its error")
		}
		return answer{}, err
	}
	a := answer{status: resp.Status, header: resp.Header, length: resp.ContentLength}
	if resp.Upgraded != nil {
		_ = resp.Upgraded.Close()
		return a, errors.New("upgraded")
	}
	if resp.Body == nil {
		return a, nil
	}
	defer func() { _ = resp.Body.Close() }()
	body := append([]byte(nil), resp.Body.Buffered()...)
	rest, err := io.ReadAll(resp.Body)
	a.body, a.trailer = string(append(body, rest...)), resp.Body.Trailer()
	return a, err
}

func must(tb testing.TB, b *Backend, c *Call) answer {
	tb.Helper()
	a, err := do(tb, b, c)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

func wantKind(tb testing.TB, err error, want Kind) {
	tb.Helper()
	if got := kindOf(err); got != want {
		tb.Errorf("error %v (kind %v), want kind %v", err, got, want)
	}
}
