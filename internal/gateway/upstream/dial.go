package upstream

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// freshIdle is how long a connection may have been idle to carry a request that
// must not be sent twice. Servers close idle connections after two seconds and
// more; one that was used less than this ago is hardly being closed right now.
const freshIdle = time.Second

// trustAfter is how many pooled connections in a row must have been alive when
// they were wanted before an endpoint is known not to close fresh ones.
const trustAfter = 64

// waryFor is how long an endpoint that closed such a connection is trusted less.
const waryFor = time.Minute

// connectBy gives when connecting must be done.
func (g *group) connectBy(now, deadline time.Time) time.Time {
	d := g.opt.ConnectTimeout
	if g.cfg.ConnectTimeout > 0 {
		d = g.cfg.ConnectTimeout
	}
	by := now.Add(d)
	if !deadline.IsZero() && deadline.Before(by) {
		by = deadline
	}
	return by
}

// dial opens a connection, with TLS where the backend asks for it. deadline is
// that of the exchange, and zero for none.
func (e *endpoint) dial(ctx context.Context, deadline time.Time) (*conn, error) {
	g := e.g
	by := g.connectBy(g.opt.Now(), deadline)
	dctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	nc, err := g.opt.Dial(dctx, "tcp", e.addr)
	if err != nil {
		return nil, e.connectFault(ctx, deadline, fmt.Errorf("connect: %w", err))
	}
	g.stats.connects.Add(1)
	c := &conn{e: e, sock: newSocket(nc, g.opt.Now)}
	c.rw = c.sock
	if g.tls != nil {
		c.sock.until(by)
		tc, err := g.tls.handshake(dctx, c.sock)
		if err != nil {
			_ = c.sock.Close()
			return nil, e.connectFault(ctx, deadline, err)
		}
		c.rw = tc
	}
	return c, nil
}

// connectFault tells whether connecting took too long for the exchange, or
// failed by itself.
func (e *endpoint) connectFault(ctx context.Context, deadline time.Time, err error) *Error {
	out := &Error{Kind: ConnectFailed, Endpoint: e.addr, Err: err}
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		out.Kind = Canceled
	case ctx.Err() != nil, !deadline.IsZero() && !e.g.opt.Now().Before(deadline):
		out.Kind = Timeout
	}
	return out
}
