package upstream

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// maxConnects is how many endpoints one try may fail to connect to.
const maxConnects = 3

// Backend is one backend of a Set.
type Backend struct {
	name      string
	set       *Set
	opt       *Options
	g         *group   // nil where broken
	addrs     []string // as the table had them
	endpoints []*endpoint
	broken    error
	refuse    *ir.Refusal
}

// Do sends a request and reads the head of its response into resp, of which it
// keeps only the memory of Header. The caller then reads resp.Body to its end
// or closes it, or takes over resp.Upgraded. On error, which is always an
// *Error, there is neither. c and what it points to are not used after Do
// returned, with one exception: an HTTP/2 backend may answer before it has the
// whole body of an HTTP/2 client, and c.Req.Body is then read until it ends or
// resp.Body is closed.
func (b *Backend) Do(ctx context.Context, c *Call, resp *message.Response) error {
	*resp = message.Response{Header: resp.Header[:0]}
	if err := b.admit(ctx, c); err != nil {
		return err
	}
	stats := &b.g.stats
	stats.requests.Add(1)
	var err error
	if b.g.h2 != nil {
		err = b.doHTTP2(ctx, c, resp)
	} else {
		err = b.doHTTP1(ctx, c, resp)
	}
	if err != nil {
		stats.failures.Add(1)
		*resp = message.Response{Header: resp.Header[:0]}
	}
	return err
}

// admit refuses what must not be sent to any backend.
func (b *Backend) admit(ctx context.Context, c *Call) error {
	refused := func(text string) error { return &Error{Kind: Refused, Endpoint: b.name, Err: errors.New(text)} }
	req := c.Req
	switch {
	case b.broken != nil:
		return &Error{Kind: Refused, Endpoint: b.name, Err: b.broken}
	case b.refuse != nil:
		return refused(b.refuse.Reason)
	case b.g.cfg.Protocol == ir.ProtocolTCP:
		return refused("the backend is one of streams, not of requests")
	case len(b.endpoints) == 0:
		return &Error{Kind: NoEndpoint, Endpoint: b.name, Err: errors.New("no endpoint is ready")}
	case req.Method == http.MethodConnect:
		// Its body is a tunnel in HTTP/2; to a backend of HTTP/1.1 it would be
		// the next request.
		return refused("CONNECT is not forwarded")
	case req.Body == nil && req.ContentLength != 0:
		return refused("a length without a body")
	case c.ForwardUpgrade && req.Upgrade != "" && (req.Body != nil || b.g.h2 != nil):
		return refused("an upgrade with a body or over HTTP/2")
	case c.Watch && ctx.Err() != nil:
		return &Error{Kind: Canceled, Endpoint: b.name, Err: ctx.Err()}
	}
	return nil
}

// attempter is one exchange in the protocol of its backend.
type attempter interface {
	// attempt tries e until the head of a response is there.
	attempt(ctx context.Context, e *endpoint, resp *message.Response) error
	// discard ends the response that attempt gave.
	discard(resp *message.Response)
	// replayable reports whether the whole request can be sent again.
	replayable() bool
}

// run makes attempts until one is good enough.
func (b *Backend) run(ctx context.Context, c *Call, a attempter, resp *message.Response) error {
	var avoid *endpoint
	connects, retries := 1, 0
	for {
		e := b.pick(avoid)
		err := a.attempt(ctx, e, resp)
		kind := kindOf(err)
		b.judge(ctx, e, kind)
		if kind == ConnectFailed && connects < min(maxConnects, len(b.endpoints)) {
			// Nothing was sent: any other endpoint may have it.
			connects++
			avoid = e
			continue
		}
		if !b.again(c, a, kind, resp.Status, retries) {
			return err
		}
		if err == nil {
			a.discard(resp)
		}
		*resp = message.Response{Header: resp.Header[:0]}
		retries, connects = retries+1, 1
		b.g.stats.retries.Add(1)
		if cerr := b.backoff(ctx, c); cerr != nil {
			return cerr
		}
		if avoid = e; len(b.endpoints) == 1 {
			avoid = nil
		}
	}
}

// again tells whether the route's retry policy asks for another try, and
// whether that is safe.
func (b *Backend) again(c *Call, a attempter, kind Kind, status, retries int) bool {
	r := c.Retry
	if r == nil || retries >= r.Attempts {
		return false
	}
	switch kind {
	case 0:
		if !slices.Contains(r.Codes, status) || !c.Req.Idempotent() || !a.replayable() {
			return false
		}
	case ConnectFailed:
		if !a.replayable() {
			return false
		}
	case Timeout, BackendGone, BadResponse:
		if !c.Req.Idempotent() || !a.replayable() {
			return false
		}
	case BodyRead, NoEndpoint, Refused, Canceled:
		return false
	}
	return c.Deadline.IsZero() || b.opt.Now().Add(r.Backoff).Before(c.Deadline)
}

// backoff waits between two tries.
func (b *Backend) backoff(ctx context.Context, c *Call) error {
	if c.Retry.Backoff <= 0 {
		return nil
	}
	t := time.NewTimer(c.Retry.Backoff)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return &Error{Kind: Canceled, Endpoint: b.name, Err: ctx.Err()}
	}
}

// judge keeps the health of an endpoint.
func (b *Backend) judge(ctx context.Context, e *endpoint, kind Kind) {
	switch kind {
	case 0:
		e.good()
	case ConnectFailed, Timeout, BackendGone:
		b.failed(ctx, e)
	case BadResponse, BodyRead, NoEndpoint, Refused, Canceled:
	}
}
