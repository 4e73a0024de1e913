package proxy

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"bulwark.dev/bulwark/internal/gateway/message"
)

// tunnel sends 101 (Switching Protocols) and then moves bytes both ways until
// one side ends, or nothing moves for Limits.TunnelIdle. The connection is
// never used for HTTP again.
func (c *h1conn) tunnel(resp *message.Response) (int64, error) {
	c.keep = false
	backend := resp.Upgraded
	resp.Upgraded = nil
	defer func() { _ = backend.Close() }()
	b := append(c.out[:0], "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: "...)
	b = append(b, c.e.req.Upgrade...)
	b = append(b, "\r\n"...)
	for _, f := range resp.Header {
		b = append(b, f.Name...)
		b = append(b, ": "...)
		b = append(b, f.Value...)
		b = append(b, "\r\n"...)
	}
	if err := c.send(append(b, "\r\n"...)); err != nil {
		return 0, err
	}
	c.writeFailed = true // whatever follows, there is no lingering
	_ = c.c.SetWriteDeadline(time.Time{})

	idle := c.srv.cfg.Limits.TunnelIdle
	up := make(chan error, 1)
	var last atomic.Int64
	last.Store(c.srv.cfg.Now().UnixNano())
	move := func(dst io.Writer, src io.Reader) (int64, error) {
		n, buf := int64(0), make([]byte, 16<<10)
		for {
			m, err := src.Read(buf)
			if m > 0 {
				last.Store(c.srv.cfg.Now().UnixNano())
				if _, werr := dst.Write(buf[:m]); werr != nil {
					return n, fmt.Errorf("tunnel: %w", werr)
				}
				n += int64(m)
			}
			if err != nil {
				return n, err
			}
		}
	}
	go func() {
		_, err := move(backend, clientSide{c})
		_ = backend.Close() // ends the other direction
		up <- err
	}()
	stopWatch := c.watchIdle(idle, &last, backend)
	n, err := move(c.c, backend)
	stopWatch()
	_ = c.raw.Close() // ends the other direction
	if upErr := <-up; err == nil {
		err = upErr
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// watchIdle cuts both sides once last is further back than idle. It gives what
// ends the watch.
func (c *h1conn) watchIdle(idle time.Duration, last *atomic.Int64, backend io.Closer) (stop func()) {
	done, finished := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(finished)
		t := time.NewTimer(idle)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
			}
			rest := idle - time.Duration(c.srv.cfg.Now().UnixNano()-last.Load())
			if rest <= 0 {
				_ = backend.Close()
				_ = c.raw.Close()
				return
			}
			t.Reset(rest)
		}
	}()
	return func() {
		close(done)
		<-finished
	}
}

// clientSide reads what the client sent behind its head, then the connection.
type clientSide struct{ c *h1conn }

func (s clientSide) Read(p []byte) (int, error) {
	if s.c.r < s.c.w {
		n := copy(p, s.c.buf[s.c.r:s.c.w])
		s.c.r += n
		return n, nil
	}
	_ = s.c.c.SetReadDeadline(time.Time{})
	return s.c.c.Read(p)
}
