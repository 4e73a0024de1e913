package upstream

import (
	"context"
	"errors"
	"net/http"
	"time"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

const (
	// bufferSize is what is read, and written of a streamed body, at a time.
	bufferSize = 16 << 10
	// replaySize is the largest body that is kept for another try.
	replaySize = 64 << 10
	// maxInterim is how many 1xx responses may come before the real one.
	maxInterim = 8
	// expectWait is how long a body is held back for a 100 (Continue).
	expectWait = time.Second
)

// exchange is one request over HTTP/1.1 and its response. It is used again and
// again; a body handle that its owner has finished with no longer leads to it.
type exchange struct {
	g    *group
	call *Call // until the head of the response is there
	c    *conn
	stop func() bool // ends the watch over ctx

	// The request. wr holds its bytes: as long as spilled is false all of
	// them that were taken from the client, ready to be sent again.
	out     *buffer
	wr      []byte // out's
	left    int64  // bytes of a body with Content-Length not yet in wr
	chunked bool
	ended   bool // the whole body has been taken from the client
	spilled bool
	invited bool // the client was told to go on, or did not ask
	sent    bool // everything was written

	// The response. rd[r:w] is read but not consumed.
	array    [bufferSize]byte
	rd       []byte
	r, w     int
	head     message.ResponseHead
	received bool // a byte of the response has come
	keep     bool // the connection may serve another exchange

	kind    bodyKind
	rest    int64 // of a body with Content-Length
	ready   []byte
	decoder message.Chunked
	by      time.Time // the deadline of the body
	idle    time.Duration
}

// doHTTP1 makes one exchange over HTTP/1.1.
func (b *Backend) doHTTP1(ctx context.Context, c *Call, resp *message.Response) error {
	x := b.g.exchanges.Get().(*exchange) // the pool holds nothing else
	x.g, x.call = b.g, c
	if err := x.prepare(); err != nil {
		x.recycle()
		return b.named(err)
	}
	err := b.run(ctx, c, x, resp)
	if x.c == nil {
		x.recycle()
	} else {
		x.call = nil
		x.dropRequest()
	}
	return err
}

// named puts the backend's name where no endpoint was tried.
func (b *Backend) named(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Endpoint == "" {
		e.Endpoint = b.name
	}
	return err
}

// replayable reports whether wr holds all that was taken from the client.
func (x *exchange) replayable() bool { return !x.spilled }

// attempt tries one endpoint. A pooled connection that turns out to be dead is
// replaced by a new one where that is safe; see RATIONALE.md.
func (x *exchange) attempt(ctx context.Context, e *endpoint, resp *message.Response) error {
	now, by := x.deadline()
	e.active.Add(1)
	// What must not be sent twice goes over connections that are certainly
	// alive.
	careful := !x.ended || !x.call.Req.Idempotent()
	c := e.get(careful)
	for {
		if c == nil {
			var err error
			if c, err = e.dial(ctx, by); err != nil {
				e.active.Add(-1)
				return err
			}
		}
		x.open(ctx, c)
		before := c.sock.sent
		x.head.Header = resp.Header[:0]
		err := x.roundTrip(now, by)
		if err == nil && !x.staleReply(before) {
			return x.deliver(resp, by)
		}
		again := err == nil || x.stale(err, before)
		x.abandon()
		if !again {
			return err
		}
		e.dead(c)
		e.active.Add(1)
		c = nil
	}
}

// deadline gives the present time, where it is needed, and when the try must be
// over, zero for never.
func (x *exchange) deadline() (now, by time.Time) {
	c := x.call
	by = c.Deadline
	if c.TryTimeout > 0 || c.HeadTimeout > 0 {
		now = x.g.opt.Now()
	}
	if c.TryTimeout > 0 {
		if t := now.Add(c.TryTimeout); by.IsZero() || t.Before(by) {
			by = t
		}
	}
	return now, by
}

// open takes c for the exchange.
func (x *exchange) open(ctx context.Context, c *conn) {
	x.c = c
	x.rd, x.r, x.w = x.array[:], 0, 0
	x.received, x.keep, x.sent = false, false, false
	x.kind, x.ready = bodyNone, nil
	x.decoder.Reset()
	if x.call.Watch {
		x.stop = context.AfterFunc(ctx, c.sock.cancel)
	}
}

// stale reports whether err tells of a pooled connection that the backend had
// closed, and the request may be sent again on another: nothing of a response
// has come, all of the request is at hand, and either the method permits it or
// the backend's kernel has not taken a single byte.
func (x *exchange) stale(err error, before uint64) bool {
	if !x.c.used || x.received || x.spilled || kindOf(err) != BackendGone {
		return false
	}
	return x.call.Req.Idempotent() || x.c.sock.untouched(before)
}

// staleReply reports whether the response is not one to this request but the
// 408 (Request Timeout) with which a backend ended the idle connection.
func (x *exchange) staleReply(before uint64) bool {
	return x.head.Status == http.StatusRequestTimeout && x.head.Close && x.c.used && !x.spilled &&
		(x.call.Req.Idempotent() || x.c.sock.untouched(before))
}

// untouched reports whether the peer has not acknowledged anything sent after
// the first before bytes: it cannot have acted on it.
func (s *socket) untouched(before uint64) bool {
	if s.raw == nil {
		return false
	}
	ok := false
	err := s.raw.Control(func(fd uintptr) {
		n, known := acked(fd)
		ok = known && n <= before+1 // the SYN counts for one
	})
	return err == nil && ok
}

// roundTrip sends the request and reads the head of the response.
func (x *exchange) roundTrip(now, by time.Time) error {
	x.c.sock.until(soonest(by, now, x.call.HeadTimeout))
	if answered, err := x.send(by); err != nil || answered {
		return err
	}
	return x.receive()
}

// done gives the connection back, or closes it, and ends the exchange.
func (x *exchange) done() {
	c := x.c
	x.c = nil
	if x.stop != nil {
		if !x.stop() {
			x.keep = false // cancel runs or has run
		}
		x.stop = nil
	}
	c.e.active.Add(-1)
	if x.keep && x.r == x.w && x.sent {
		c.e.put(c)
		return
	}
	_ = c.sock.Close()
}

// abandon closes the connection and leaves the request as it was.
func (x *exchange) abandon() {
	x.keep = false
	x.done()
}

// discard ends a response that is not delivered after all.
func (x *exchange) discard(resp *message.Response) {
	if b, ok := resp.Body.(*body); ok && b.x != nil {
		b.x = nil
		x.skip()
		x.done()
	}
	if resp.Upgraded != nil {
		_ = resp.Upgraded.Close()
	}
}

// dropRequest gives up the request's bytes: no further try is made.
func (x *exchange) dropRequest() {
	if x.out == nil {
		return
	}
	if cap(x.out.b) <= 2*bufferSize {
		x.g.buffers.Put(x.out)
	}
	x.out, x.wr = nil, nil
}

// recycle makes x ready for another exchange.
func (x *exchange) recycle() {
	g := x.g
	x.dropRequest()
	x.g, x.call, x.rd, x.ready, x.head.Header = nil, nil, nil, nil, nil
	g.exchanges.Put(x)
}

// upgradeAsked gives the protocol that the request asks to switch to, or "".
func (x *exchange) upgradeAsked() string {
	if x.call.ForwardUpgrade {
		return x.call.Req.Upgrade
	}
	return ""
}

// retryable reports whether the route wants bodies kept for another try.
func retryable(r *ir.Retry, req *message.Request) bool {
	return r != nil && r.Attempts > 0 && req.Idempotent()
}
