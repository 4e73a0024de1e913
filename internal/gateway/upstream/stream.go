package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// Stream is a connection to a backend of ir.ProtocolTCP, for bytes that nobody
// reads. Read and Write may be called at the same time; Close ends both, once.
type Stream struct {
	net.Conn
	// Endpoint is the "ip:port" that took the connection.
	Endpoint string

	once sync.Once
	e    *endpoint
}

// Close ends the connection.
func (s *Stream) Close() error {
	err := net.ErrClosed
	s.once.Do(func() {
		s.e.active.Add(-1)
		err = s.Conn.Close()
	})
	return err
}

// CloseWrite tells the backend that nothing more will come.
func (s *Stream) CloseWrite() error {
	if c, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return s.Close()
}

// Open connects to one of the backend's endpoints, under TLS where the backend
// asks for it. It tries up to three, for nothing has been sent to those that
// failed. The error is an *Error; ctx counts while connecting only.
func (b *Backend) Open(ctx context.Context) (*Stream, error) {
	switch {
	case b.broken != nil:
		return nil, &Error{Kind: Refused, Endpoint: b.name, Err: b.broken}
	case b.refuse != nil:
		return nil, &Error{Kind: Refused, Endpoint: b.name, Err: errors.New(b.refuse.Reason)}
	case b.g.cfg.Protocol != ir.ProtocolTCP:
		return nil, &Error{Kind: Refused, Endpoint: b.name, Err: errors.New("the backend is one of requests, not of streams")}
	case len(b.endpoints) == 0:
		return nil, &Error{Kind: NoEndpoint, Endpoint: b.name, Err: errors.New("no endpoint is ready")}
	}
	b.g.stats.requests.Add(1)
	var avoid *endpoint
	for try := 1; ; try++ {
		e := b.pick(avoid)
		c, err := e.open(ctx)
		b.judge(ctx, e, kindOf(err))
		if err == nil {
			return &Stream{Conn: c, Endpoint: e.addr, e: e}, nil
		}
		if kindOf(err) != ConnectFailed || try == min(maxConnects, len(b.endpoints)) {
			b.g.stats.failures.Add(1)
			return nil, err
		}
		b.g.stats.retries.Add(1)
		avoid = e
	}
}

// open connects for a stream and counts it as active.
func (e *endpoint) open(ctx context.Context) (net.Conn, error) {
	g := e.g
	by := g.connectBy(g.opt.Now(), time.Time{})
	dctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	c, err := g.opt.Dial(dctx, "tcp", e.addr)
	if err != nil {
		return nil, e.connectFault(ctx, time.Time{}, fmt.Errorf("connect: %w", err))
	}
	g.stats.connects.Add(1)
	e.active.Add(1)
	if g.tls == nil {
		return c, nil
	}
	var tc *tls.Conn
	if tc, err = g.tls.handshake(dctx, c); err != nil {
		e.active.Add(-1)
		_ = c.Close()
		return nil, e.connectFault(ctx, time.Time{}, err)
	}
	return tc, nil
}
