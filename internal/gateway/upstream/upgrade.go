package upstream

import (
	"net"
	"sync"
	"time"

	"bulwark.dev/bulwark/internal/gateway/message"
)

// upgraded is a backend's connection after 101 (Switching Protocols). Read and
// Write may be called at the same time; Close ends both.
type upgraded struct {
	c    *conn
	rest []byte // came with the response
	stop func() bool
	once sync.Once
}

// handOver takes the connection out of the exchange.
func (x *exchange) handOver() message.Duplex {
	c := x.c
	x.c = nil
	u := &upgraded{c: c, rest: append([]byte(nil), x.rd[x.r:x.w]...), stop: x.stop}
	x.stop, x.r, x.w = nil, 0, 0
	// Both directions are in use from here on, so that deadlines that are set
	// lazily are out of the question.
	c.sock.want = time.Time{}
	c.sock.arm(time.Time{})
	c.sock.free = true
	return u
}

// CloseWrite tells the backend that nothing more will come.
func (u *upgraded) CloseWrite() error {
	if c, ok := u.c.rw.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return net.ErrClosed
}

// SetReadDeadline bounds what Read waits.
func (u *upgraded) SetReadDeadline(t time.Time) error { return u.c.sock.SetReadDeadline(t) }

// SetWriteDeadline bounds what Write waits.
func (u *upgraded) SetWriteDeadline(t time.Time) error { return u.c.sock.SetWriteDeadline(t) }

// Read gives what the backend sends.
func (u *upgraded) Read(p []byte) (int, error) {
	if len(u.rest) > 0 {
		n := copy(p, u.rest)
		u.rest = u.rest[n:]
		return n, nil
	}
	return u.c.rw.Read(p)
}

// Write sends to the backend.
func (u *upgraded) Write(p []byte) (int, error) { return u.c.rw.Write(p) }

// Close ends the connection.
func (u *upgraded) Close() error {
	var err error
	u.once.Do(func() {
		if u.stop != nil {
			u.stop()
		}
		err = u.c.sock.Close()
		u.c.e.active.Add(-1)
	})
	return err
}
