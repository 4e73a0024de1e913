package upstream

import (
	"errors"
	"io"

	"bulwark.dev/bulwark/internal/gateway/message"
)

// directRead is the size from which on a read goes past the buffer.
const directRead = 4 << 10

var errClosed = errors.New("read of a closed response body")

// bodyKind tells how the end of a response's body shows.
type bodyKind uint8

const (
	bodyNone bodyKind = iota
	bodyLength
	bodyChunked
	bodyToClose
)

// body is the body of one response. When it has ended it no longer leads to
// the exchange, so that a late reader cannot see the next one's bytes.
type body struct {
	x       *exchange
	err     error
	trailer message.Header
}

// Read gives body bytes; io.EOF may come with the last of them.
func (b *body) Read(p []byte) (int, error) {
	if b.x == nil {
		return 0, b.err
	}
	n, err := b.x.read(p)
	if err != nil {
		b.end(err)
	}
	return n, err
}

// Buffered gives what is there without reading from the network. It is valid
// until the next Read or Close.
func (b *body) Buffered() []byte {
	if b.x == nil {
		return nil
	}
	return b.x.buffered()
}

// Trailer gives the trailer fields after Read gave io.EOF.
func (b *body) Trailer() message.Header { return b.trailer }

// Close ends the body. The connection is kept where the rest of the body has
// come already.
func (b *body) Close() error {
	x := b.x
	if x == nil {
		return nil
	}
	x.skip()
	b.finish()
	return nil
}

// end finishes the body after Read gave err.
func (b *body) end(err error) {
	b.err = err
	if errors.Is(err, io.EOF) {
		b.trailer = b.x.decoder.Trailer()
	} else {
		b.x.keep = false
	}
	b.finish()
}

func (b *body) finish() {
	x := b.x
	b.x = nil
	x.done()
	x.recycle()
}

func (x *exchange) buffered() []byte {
	if x.kind == bodyChunked {
		p := x.ready
		x.ready = nil
		return p
	}
	n := x.w - x.r
	if x.kind == bodyLength && int64(n) > x.rest {
		n = int(x.rest)
	}
	p := x.rd[x.r : x.r+n]
	x.r += n
	x.rest -= int64(n)
	return p
}

// skip ends a body that nobody reads any further: what is buffered of it goes,
// and the connection stays only if that was all.
func (x *exchange) skip() {
	switch x.kind {
	case bodyLength:
		x.buffered()
		x.keep = x.keep && x.rest == 0
	case bodyChunked:
		x.keep = x.keep && x.decoder.Done()
	case bodyToClose, bodyNone:
		x.keep = false
	}
}

// read gives body bytes, and io.EOF at their end.
func (x *exchange) read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	switch x.kind {
	case bodyLength:
		return x.readLength(p)
	case bodyChunked:
		return x.readChunked(p)
	case bodyToClose:
		n, err := x.readRaw(p)
		_, plain := x.c.rw.(*socket)
		// RFC 9112 9.8: under TLS such a body is whole only if the backend took
		// its leave.
		if (plain || !x.c.sock.ended) && (errors.Is(err, errTruncated) || errors.Is(err, errEnded)) {
			err = io.EOF
		}
		return n, err
	case bodyNone:
	}
	return 0, io.EOF
}

func (x *exchange) readLength(p []byte) (int, error) {
	if int64(len(p)) > x.rest {
		p = p[:x.rest]
	}
	if x.rest == 0 {
		return 0, io.EOF
	}
	n, err := x.readRaw(p)
	if x.rest -= int64(n); x.rest == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// readRaw reads from the buffer, or from the connection.
func (x *exchange) readRaw(p []byte) (int, error) {
	if x.r == x.w {
		x.awaitBody()
		if len(p) >= directRead {
			return x.readDirect(p)
		}
		if err := x.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, x.rd[x.r:x.w])
	x.r += n
	return n, nil
}

func (x *exchange) readDirect(p []byte) (int, error) {
	n, err := x.c.rw.Read(p)
	if n > 0 {
		return n, nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	if errors.Is(err, io.EOF) {
		err = errTruncated
	}
	return 0, fault(x.c.e.addr, err)
}

func (x *exchange) readChunked(p []byte) (int, error) {
	for len(x.ready) == 0 {
		if x.decoder.Done() {
			return 0, io.EOF
		}
		if x.r == x.w {
			x.awaitBody()
			if left := x.decoder.Remaining(); left > 0 && len(p) >= directRead {
				if int64(len(p)) > left {
					p = p[:left]
				}
				n, err := x.readDirect(p)
				x.decoder.Skip(int64(n))
				return n, err
			}
			if err := x.fill(); err != nil {
				return 0, err
			}
		}
		if err := x.decode(); err != nil {
			return 0, err
		}
	}
	n := copy(p, x.ready)
	x.ready = x.ready[n:]
	if len(x.ready) == 0 && x.decoder.Done() {
		return n, io.EOF
	}
	return n, nil
}

// decode takes the chunked coding off what is buffered: the body bytes move
// together at the front of it and become ready.
func (x *exchange) decode() error {
	start, end := x.r, x.r
	for x.r < x.w {
		data, used, err := x.decoder.Next(x.rd[x.r:x.w])
		end += copy(x.rd[end:], data)
		x.r += used
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return x.bad(err)
		}
	}
	x.ready = x.rd[start:end]
	return nil
}

// awaitBody sets the deadline of a read that will wait.
func (x *exchange) awaitBody() {
	if x.idle > 0 {
		x.c.sock.until(soonest(x.by, x.g.opt.Now(), x.idle))
	}
}
