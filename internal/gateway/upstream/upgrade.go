package upstream

import (
	"io"
	"sync"
	"time"
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
func (x *exchange) handOver() io.ReadWriteCloser {
	c := x.c
	x.c = nil
	u := &upgraded{c: c, rest: append([]byte(nil), x.rd[x.r:x.w]...), stop: x.stop}
	x.stop, x.r, x.w = nil, 0, 0
	// Both directions are in use from here on, so that deadlines that are set
	// lazily are out of the question.
	c.sock.want = time.Time{}
	c.sock.arm(time.Time{})
	return u
}

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
