package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"bulwark.dev/bulwark/internal/gateway/message"
	"bulwark.dev/bulwark/internal/gateway/upstream"
)

// relayed is how many bytes went from the client (in) and to it (out).
type relayed struct{ in, out int64 }

var (
	errStreamIdle = errors.New("nothing moved for too long")
	errStreamCut  = errors.New("the route is gone or refuses since")
)

const (
	// waitSize is what each direction of a quiet connection holds in memory.
	waitSize = 2 << 10
	// burst is how long bytes are moved in bulk before the direction is looked
	// at again; bulkSize how many must have come to go on so.
	burst    = time.Second
	bulkSize = 64 << 10
)

// relay moves bytes both ways, first before all others, until both sides have
// ended, one has failed, or nothing moved in either direction for idle. An end
// on one side is passed on to the other, whose own direction stays open. It does
// not close what it was given where both ended by themselves; otherwise it has
// closed both.
func (s *Server) relay(client, backend message.Duplex, first []byte, idle time.Duration) (relayed, error) {
	r := &relaying{now: s.cfg.Now, idle: idle}
	r.touch()
	down := make(chan error, 1)
	var moved relayed
	up := pump{r: r, src: client, dst: backend, moved: &moved.in}
	go func() {
		p := pump{r: r, src: backend, dst: client, moved: &moved.out}
		err := p.run(nil)
		if err != nil {
			_ = client.Close()
			_ = backend.Close()
		}
		down <- err
	}()
	err := up.run(first)
	if err != nil {
		_ = client.Close()
		_ = backend.Close()
	}
	// The direction that failed first tells the cause; the other one failed
	// because of it.
	if derr := <-down; err == nil || derr != nil && errors.Is(err, net.ErrClosed) {
		err = derr
	}
	return moved, err
}

// relaying is what the two directions share.
type relaying struct {
	now  func() time.Time
	idle time.Duration
	last atomic.Int64 // when something moved, in ns since 1970
}

func (r *relaying) touch() { r.last.Store(r.now().UnixNano()) }

// pump is one direction.
type pump struct {
	r        *relaying
	src, dst message.Duplex
	moved    *int64
	writeBy  time.Time
}

// run moves first, and then bytes until src ends.
func (p *pump) run(first []byte) error {
	if len(first) > 0 {
		if err := p.write(first); err != nil {
			return err
		}
	}
	buf := make([]byte, waitSize)
	for {
		n, err := p.read(buf)
		if n > 0 {
			if werr := p.write(buf[:n]); werr != nil {
				return werr
			}
			if n == len(buf) && err == nil {
				err = p.bulk()
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return p.end()
		default:
			return err
		}
	}
}

// end passes the end of src on.
func (p *pump) end() error {
	if err := p.dst.CloseWrite(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("pass on the end: %w", err)
	}
	return nil
}

// read waits for bytes as long as anything moves in either direction.
func (p *pump) read(buf []byte) (int, error) {
	for {
		now := p.r.now()
		rest := p.r.idle - now.Sub(time.Unix(0, p.r.last.Load()))
		if rest <= 0 {
			return 0, errStreamIdle
		}
		if err := p.src.SetReadDeadline(now.Add(rest)); err != nil {
			return 0, fmt.Errorf("stream: %w", err)
		}
		n, err := p.src.Read(buf)
		if n > 0 {
			p.r.touch()
			return n, err
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
	}
}

func (p *pump) write(b []byte) error {
	p.extend(p.r.now())
	n, err := p.dst.Write(b)
	*p.moved += int64(n)
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	p.r.touch()
	return nil
}

// extend bounds how long dst may take bytes. A deadline that is at most a second
// off stays.
func (p *pump) extend(now time.Time) {
	want := now.Add(p.r.idle)
	if want.Sub(p.writeBy) < min(time.Second, p.r.idle/4) {
		return
	}
	p.writeBy = want
	_ = p.dst.SetWriteDeadline(want)
}

var bulkBuffers = sync.Pool{New: func() any {
	b := make([]byte, copySize)
	return &b
}}

// bulk moves bytes as long as they come in masses: from socket to socket inside
// the kernel, where it can, else through a larger buffer. It gives nil when they
// no longer do.
func (p *pump) bulk() error {
	src, dst, direct := sockets(p.src, p.dst)
	if !direct {
		return p.copy()
	}
	for {
		now := p.r.now()
		burst := min(burst, p.r.idle/2)
		if err := src.SetReadDeadline(now.Add(burst)); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		// A kernel-side copy holds bytes in a pipe while dst takes none, so the
		// write side gets its full time from the end of the burst.
		p.writeBy = now.Add(burst + p.r.idle)
		_ = dst.SetWriteDeadline(p.writeBy)
		n, err := dst.ReadFrom(src)
		*p.moved += n
		if n > 0 {
			p.r.touch()
		}
		switch {
		case err == nil:
			return io.EOF // ReadFrom ends without an error where src does
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("stream: %w", err)
		case !p.r.now().Before(p.writeBy):
			return errStreamIdle // dst took nothing: some bytes are lost
		case n < bulkSize:
			return nil
		}
	}
}

// copy is bulk where a side is no plain socket.
func (p *pump) copy() error {
	b := bulkBuffers.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer bulkBuffers.Put(b)
	for {
		n, err := p.read(*b)
		if n > 0 {
			if werr := p.write((*b)[:n]); werr != nil {
				return werr
			}
		}
		if err != nil || n < waitSize {
			return err
		}
	}
}

// sockets gives the plain TCP connections behind both sides, if that is what
// they are.
func sockets(src, dst message.Duplex) (from, to *net.TCPConn, ok bool) {
	plain := func(d message.Duplex) *net.TCPConn {
		switch c := d.(type) {
		case *net.TCPConn:
			return c
		case *upstream.Stream:
			t, _ := c.Conn.(*net.TCPConn)
			return t
		}
		return nil
	}
	from, to = plain(src), plain(dst)
	return from, to, from != nil && to != nil
}
