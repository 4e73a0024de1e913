package services

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
)

// Forward takes connections from l until ctx ends or l is closed, joins each to
// one that dial opens, and returns when all have ended: closing l leaves them
// alone, ending ctx resets them. Each direction ends by itself: a half-closed
// connection still carries the other one. A connection that cannot be joined, or
// breaks, is reset.
func Forward(ctx context.Context, l net.Listener, dial func(context.Context) (net.Conn, error)) {
	var wg sync.WaitGroup
	defer wg.Wait()
	unhook := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer unhook()
	for {
		c, err := l.Accept()
		if err != nil {
			// Accept also fails for want of descriptors: the next try may do.
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return
			}
			continue
		}
		wg.Go(func() {
			d, err := dial(ctx)
			if err != nil {
				reset(c)
				return
			}
			join(ctx, c, d)
		})
	}
}

// join copies both ways between a and b until both directions have ended.
func join(ctx context.Context, a, b net.Conn) {
	defer func() { _ = a.Close() }()
	defer func() { _ = b.Close() }()
	unhook := context.AfterFunc(ctx, func() { reset(a); reset(b) })
	defer unhook()
	var wg sync.WaitGroup
	one := func(to, from net.Conn) {
		if _, err := io.Copy(to, from); err != nil {
			reset(a)
			reset(b)
			return
		}
		if t, ok := to.(interface{ CloseWrite() error }); ok {
			_ = t.CloseWrite() // the reader sees the end, or a reset soon
		}
	}
	wg.Go(func() { one(a, b) })
	wg.Go(func() { one(b, a) })
	wg.Wait()
}

// reset closes c so that its peer sees a broken connection, not a finished one.
func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // closed already: nothing to tell
	}
	_ = c.Close()
}
