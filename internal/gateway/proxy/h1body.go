package proxy

import (
	"errors"
	"fmt"
	"io"
	"time"

	"bulwark.dev/bulwark/internal/gateway/message"
)

const continueLine = "HTTP/1.1 100 Continue\r\n\r\n"

// h1body is the body of the request on an HTTP/1.1 connection. It reads what
// the head's framing says and not a byte more.
type h1body struct {
	c       *h1conn
	left    int64 // bytes to come, where the length is known
	chunked message.Chunked
	err     error
	waiting bool // the client waits for 100 (Continue)
	read    int64

	pace pace
}

// start makes the body of the request just parsed its reader.
func (b *h1body) start(c *h1conn) {
	req := &c.e.req
	b.chunked.Reset()
	*b = h1body{c: c, chunked: b.chunked}
	switch {
	case req.ContentLength == 0:
		b.err = io.EOF
		return
	case req.ContentLength > 0:
		b.left = req.ContentLength
	default:
		b.left = -1
	}
	b.waiting = req.Expect
	req.Body = b
}

// Read gives the next bytes of the body.
func (b *h1body) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if b.waiting {
		b.waiting = false
		if b.c.r == b.c.w {
			if _, err := io.WriteString(b.c.c, continueLine); err != nil {
				b.err = fmt.Errorf("write 100 Continue: %w", err)
				return 0, b.err
			}
		}
	}
	var n int
	if b.left >= 0 {
		n, b.err = connBytes{b.c}.Read(p[:min(int64(len(p)), b.left)])
		if b.left -= int64(n); b.left == 0 {
			b.err = io.EOF
		} else if errors.Is(b.err, io.EOF) {
			b.err = io.ErrUnexpectedEOF
		}
	} else {
		n, b.err = b.readChunked(p)
	}
	b.read += int64(n)
	if n > 0 {
		return n, nil
	}
	return 0, b.err
}

func (b *h1body) readChunked(p []byte) (int, error) {
	for {
		if b.c.r == b.c.w {
			b.c.r, b.c.w = 0, 0
			n, err := b.source().Read(b.c.buf)
			b.c.w = n
			if n == 0 {
				if errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return 0, err
			}
		}
		src := b.c.buf[b.c.r:min(b.c.w, b.c.r+len(p))]
		data, used, err := b.chunked.Next(src)
		b.c.r += used
		if err != nil {
			b.c.e.req.Trailer = b.chunked.Trailer()
			return 0, err
		}
		if len(data) > 0 {
			return copy(p, data), nil
		}
	}
}

func (b *h1body) source() connBytes { return connBytes{b.c} }

// drained reports whether nothing of the body is left on the connection,
// reading a rest that has already arrived.
func (b *h1body) drained() bool {
	if b.waiting {
		return false // the client may send the body or not: nobody knows
	}
	for b.err == nil && b.left > 0 && b.c.w > b.c.r {
		n := min(int64(b.c.w-b.c.r), b.left)
		b.c.r += int(n)
		b.left -= n
	}
	if b.left == 0 && b.err == nil {
		b.err = io.EOF
	}
	return errors.Is(b.err, io.EOF)
}

// connBytes reads what the connection buffered, then the connection, with the
// limits on how slowly a body may come.
type connBytes struct{ c *h1conn }

func (s connBytes) Read(p []byte) (int, error) {
	c := s.c
	if c.r < c.w {
		n := copy(p, c.buf[c.r:c.w])
		c.r += n
		return n, nil
	}
	lim, b := &c.srv.cfg.Limits, &c.body
	now := c.srv.cfg.Now()
	if err := b.pace.check(now, lim); err != nil {
		return 0, err
	}
	c.readBy(now, lim.BodyTimeout)
	n, err := c.c.Read(p)
	b.pace.bytes += n
	return n, err
}

// pace judges how slowly a body comes, over windows of Limits.BodyTimeout.
type pace struct {
	since time.Time
	bytes int
}

func (p *pace) check(now time.Time, lim *Limits) error {
	if p.since.IsZero() {
		p.since = now
		return nil
	}
	passed := now.Sub(p.since)
	if passed < lim.BodyTimeout {
		return nil
	}
	if float64(p.bytes) < float64(lim.MinBodyRate)*passed.Seconds() {
		return errSlowBody
	}
	p.since, p.bytes = now, 0
	return nil
}

// slowBodyError is a body that came more slowly than Limits.MinBodyRate.
type slowBodyError struct{}

var errSlowBody error = slowBodyError{}

// Error, Timeout and Temporary make it a net.Error.
func (slowBodyError) Error() string   { return "the body came too slowly" }
func (slowBodyError) Timeout() bool   { return true }
func (slowBodyError) Temporary() bool { return false }
