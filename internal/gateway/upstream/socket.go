package upstream

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// slice is how long a write of a streamed body may block before the socket
// looks whether the backend has answered already.
const slice = 250 * time.Millisecond

// socket is a backend's connection below TLS. Its deadline costs nothing where
// nothing changes: the runtime's may be earlier than the one wanted, and when
// it fires too early it is set again and the call goes on.
type socket struct {
	net.Conn
	now    func() time.Time
	raw    syscall.RawConn
	peekFn func(fd uintptr)
	peeked peekResult

	want time.Time // the deadline that counts; zero for none
	set  time.Time // the runtime's
	sent uint64    // bytes given to the kernel
	// streaming says that a body is being sent and that the backend may answer
	// meanwhile.
	streaming bool
	canceled  atomic.Bool
	// free says that the deadlines are the owner's business.
	free bool
	// ended says that the backend's end of the stream was read. Under TLS that
	// comes after its close_notify, unless somebody cut the connection.
	ended bool
}

func newSocket(c net.Conn, now func() time.Time) *socket {
	s := &socket{Conn: c, now: now}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw = raw
			s.peekFn = func(fd uintptr) { s.peeked = peek(fd) }
		}
	}
	return s
}

// peekResult is what a look at a socket's receive buffer tells.
type peekResult uint8

const (
	peekEnded    peekResult = iota // closed, failed, or unknown
	peekQuiet                      // open, nothing there
	peekReadable                   // bytes are there
)

// CloseWrite tells the backend that nothing more will come.
func (s *socket) CloseWrite() error {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return s.Close()
}

// look tells the state of the receive buffer without waiting.
func (s *socket) look() peekResult {
	if s.raw == nil {
		return peekEnded
	}
	s.peeked = peekEnded
	if err := s.raw.Control(s.peekFn); err != nil {
		return peekEnded
	}
	return s.peeked
}

// until sets the deadline of what follows; zero for none.
func (s *socket) until(t time.Time) {
	s.want = t
	if !t.IsZero() && (s.set.IsZero() || s.set.After(t)) {
		s.arm(t)
	}
}

func (s *socket) arm(t time.Time) {
	s.set = t
	// An error here is the connection's end, which the next call tells.
	_ = s.SetDeadline(t)
	if s.canceled.Load() {
		// cancel may have set its deadline before this one.
		_ = s.SetDeadline(time.Unix(1, 0))
	}
}

// cancel ends whatever the socket is doing. It is called by another goroutine.
func (s *socket) cancel() {
	s.canceled.Store(true)
	_ = s.SetDeadline(time.Unix(1, 0))
}

// early judges an error of Read or Write: nil means that the deadline fired
// before it was due, and that the call is to be repeated.
func (s *socket) early(err error) error {
	if s.canceled.Load() {
		return errCanceled
	}
	if s.free || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	next := s.want
	if s.streaming || !next.IsZero() {
		now := s.now()
		if !next.IsZero() && !now.Before(next) {
			return err
		}
		if s.streaming && s.look() != peekQuiet {
			return errEarlyReply
		}
		if s.streaming && (next.IsZero() || next.Sub(now) > slice) {
			next = now.Add(slice)
		}
	}
	s.arm(next)
	return nil
}

// Read reads until the deadline that counts.
func (s *socket) Read(p []byte) (int, error) {
	for {
		n, err := s.Conn.Read(p)
		if n > 0 || err == nil {
			return n, nil
		}
		if err = s.early(err); err != nil {
			s.ended = s.ended || errors.Is(err, io.EOF)
			return 0, err
		}
	}
}

// Write writes all of p until the deadline that counts.
func (s *socket) Write(p []byte) (int, error) {
	done := 0
	for {
		n, err := s.Conn.Write(p[done:])
		done += n
		s.sent += uint64(n) //nolint:gosec // a count of bytes written
		if err == nil {
			return done, nil
		}
		if err = s.early(err); err != nil {
			return done, err
		}
	}
}

// stream turns the look-out for early answers on or off.
func (s *socket) stream(on bool) {
	s.streaming = on
	if on {
		if t := s.now().Add(slice); s.set.IsZero() || s.set.After(t) {
			s.arm(t)
		}
	}
}
