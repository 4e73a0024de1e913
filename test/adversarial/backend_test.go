package adversarial

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// received is one request as the backend got it.
type received struct {
	line    string   // the request line
	head    []string // the field lines
	body    string
	trailer []string
	raw     string
	// complete says that the request was there to its end.
	complete bool
	// wrong is what a strict reader would not accept.
	wrong string
}

// field gives the values of a field, by lower-case name.
func (r *received) field(name string) []string {
	var out []string
	for _, f := range slices.Concat(r.head, r.trailer) {
		if n, v, ok := strings.Cut(f, ":"); ok && strings.EqualFold(n, name) {
			out = append(out, strings.Trim(v, " \t"))
		}
	}
	return out
}

// lateness is the moment after which a connection looks idle.
const lateness = 10 * time.Millisecond

// script is what the backend answers on one path, byte for byte.
type script struct {
	reply string
	// later is sent a moment after reply, when the connection looks idle.
	later string
	// close ends the connection behind it.
	close bool
	// early answers before the body is read.
	early bool
	// done, where set, is closed when reply has been taken or refused.
	done chan struct{}
}

// backend reads requests strictly, keeps them, and answers each with its own
// request line.
type backend struct {
	ln net.Listener
	wg sync.WaitGroup

	mu      sync.Mutex
	got     []received
	scripts map[string]script
	conns   map[net.Conn]struct{}
	closed  bool
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{ln: ln, scripts: map[string]script{}, conns: map[net.Conn]struct{}{}}
	b.wg.Go(b.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		b.mu.Lock()
		b.closed = true
		for c := range b.conns {
			_ = c.Close()
		}
		b.mu.Unlock()
		b.wg.Wait()
	})
	return b
}

func (b *backend) port() int { return b.ln.Addr().(*net.TCPAddr).Port }

func (b *backend) accept() {
	for {
		c, err := b.ln.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.conns[c] = struct{}{}
		closed := b.closed
		b.mu.Unlock()
		if closed {
			_ = c.Close()
			return
		}
		b.wg.Go(func() { b.serve(c) })
	}
}

// on sets what path answers from now on.
func (b *backend) on(path string, s script) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.scripts[path] = s
}

// take gives what was received since the last take.
func (b *backend) take() []received {
	b.mu.Lock()
	defer b.mu.Unlock()
	got := b.got
	b.got = nil
	return got
}

func (b *backend) keep(r *received) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got = append(b.got, *r)
}

func (b *backend) serve(c net.Conn) {
	defer func() {
		_ = c.Close()
		b.mu.Lock()
		delete(b.conns, c)
		b.mu.Unlock()
	}()
	br := bufio.NewReader(c)
	for {
		r := &received{}
		w := &wire{br: br, r: r}
		length, err := w.readHead()
		if r.raw == "" {
			return // the connection was idle and ended
		}
		s, scripted := b.script(r.line)
		if scripted && s.early {
			if _, werr := io.WriteString(c, s.reply); werr != nil {
				scripted = false
			}
		}
		if err == nil {
			err = w.readBody(length)
		}
		r.complete = err == nil
		b.keep(r)
		if err != nil || r.wrong != "" {
			return
		}
		if !scripted {
			body := "served " + r.line
			s.reply = fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len(body))
			if !strings.HasPrefix(r.line, "HEAD ") {
				s.reply += body
			}
		}
		if !s.early {
			_, err := io.WriteString(c, s.reply)
			if s.done != nil {
				close(s.done)
			}
			if err != nil {
				return
			}
		}
		if s.later != "" {
			time.Sleep(lateness)
			if _, err := io.WriteString(c, s.later); err != nil {
				return
			}
		}
		if s.close {
			return
		}
	}
}

func (b *backend) script(line string) (script, bool) {
	parts := strings.Split(line, " ")
	if len(parts) != 3 {
		return script{}, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.scripts[parts[1]]
	return s, ok
}

// wire reads one request and notes the first thing that is wrong with it.
type wire struct {
	br *bufio.Reader
	r  *received
}

var errWrong = errors.New("request that a strict reader refuses")

func (w *wire) fault(format string, args ...any) error {
	if w.r.wrong == "" {
		w.r.wrong = fmt.Sprintf(format, args...)
	}
	return errWrong
}

// readLine gives a line without its CRLF.
func (w *wire) readLine() (string, error) {
	line, err := w.br.ReadString('\n')
	w.r.raw += line
	if err != nil {
		return "", err
	}
	text, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return "", w.fault("line ends with a bare LF: %q", line)
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }); i >= 0 {
		return "", w.fault("control character in %q", text)
	}
	return text, nil
}

// readHead gives the length of the body, or -1 for chunked.
func (w *wire) readHead() (int, error) {
	line, err := w.readLine()
	if err != nil {
		return 0, err
	}
	w.r.line = line
	if parts := strings.Split(line, " "); len(parts) != 3 || parts[2] != "HTTP/1.1" || parts[0] == "" || !strings.HasPrefix(parts[1], "/") {
		return 0, w.fault("request line %q", line)
	}
	if w.r.head, err = w.readFields(); err != nil {
		return 0, err
	}
	if n := len(w.r.field("host")); n != 1 {
		return 0, w.fault("%d Host fields", n)
	}
	lengths, codings := w.r.field("content-length"), w.r.field("transfer-encoding")
	switch {
	case len(lengths)+len(codings) > 1:
		return 0, w.fault("framed %d times", len(lengths)+len(codings))
	case len(codings) == 1 && codings[0] != "chunked":
		return 0, w.fault("Transfer-Encoding %q", codings[0])
	case len(codings) == 1:
		return -1, nil
	case len(lengths) == 1:
		n, err := strconv.ParseUint(lengths[0], 10, 31)
		if err != nil {
			return 0, w.fault("Content-Length %q", lengths[0])
		}
		return int(n), nil
	}
	return 0, nil
}

func (w *wire) readFields() ([]string, error) {
	var fields []string
	for {
		line, err := w.readLine()
		if err != nil || line == "" {
			return fields, err
		}
		name, _, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t\"(),/;<=>?@[\\]{}") {
			return fields, w.fault("field line %q", line)
		}
		fields = append(fields, line)
	}
}

func (w *wire) readBody(length int) error {
	if length >= 0 {
		return w.readBytes(length)
	}
	for {
		size, err := w.readLine()
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(size, 16, 31)
		if err != nil {
			return w.fault("chunk size %q", size)
		}
		if n == 0 {
			w.r.trailer, err = w.readFields()
			return err
		}
		if err := w.readBytes(int(n)); err != nil {
			return err
		}
		if end, err := w.readLine(); err != nil {
			return err
		} else if end != "" {
			return w.fault("%q behind a chunk", end)
		}
	}
}

func (w *wire) readBytes(n int) error {
	buf := make([]byte, n)
	n, err := io.ReadFull(w.br, buf)
	w.r.body += string(buf[:n])
	w.r.raw += string(buf[:n])
	return err
}
