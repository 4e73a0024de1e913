// Package filters holds the steps that a request passes between the match of
// its route and its backend: one file per step, and order.go with the one
// ordered list of them. A step is made once, when a table is loaded, and
// decides at request time without decoding, compiling or looking anything up.
package filters

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// Exchange is one request on its way through the chain, and what the steps
// found out about it. The proxy makes and reuses it.
type Exchange struct {
	Req    *message.Request
	Rule   *ir.Rule
	Match  *ir.Match
	Source netip.Addr
	// TLS is the client's connection, nil for plain HTTP.
	TLS *tls.ConnectionState
	// Now is when the request's head was complete.
	Now time.Time
	// ListenerPort is the port that the request came in by.
	ListenerPort uint16

	// Identity is set by the authenticate step.
	Identity *bulwark.Identity
	// Decided names the rule that allowed the request, for its event.
	Decided string
	// Queued is how long the request waited in a rate-limit queue.
	Queued time.Duration
	// Reply, where a step set it, is the answer: no backend is asked.
	Reply *Reply
	// ResponseHeader are fields that steps want on whatever response goes out,
	// refusals included (RateLimit, CORS, WWW-Authenticate).
	ResponseHeader message.Header
	// MaxBody is the limit of the request's body in bytes.
	MaxBody int64

	released []func()
}

// Reply is an answer made by a step.
type Reply struct {
	Status int
	Header message.Header
	Body   []byte
}

// OnDone registers what must happen when the exchange ends, in whatever way.
func (x *Exchange) OnDone(f func()) { x.released = append(x.released, f) }

// Reset empties the exchange for the next request, running what OnDone
// registered if Done did not.
func (x *Exchange) Reset() {
	x.Done()
	released, rh := x.released[:0], x.ResponseHeader[:0]
	*x = Exchange{released: released, ResponseHeader: rh}
}

// Done ends the exchange: it runs what OnDone registered, last first, once.
func (x *Exchange) Done() {
	for len(x.released) > 0 {
		last := len(x.released) - 1
		f := x.released[last]
		x.released[last] = nil
		x.released = x.released[:last]
		f()
	}
}

// Deps is what steps need from outside.
type Deps struct {
	// Now is the clock.
	Now func() time.Time
	// State outlives tables: counters, caches and locks are found again after a
	// reload.
	State *State
	// Log is for operators.
	Log *slog.Logger
	// HTTP fetches key sets. It has a timeout.
	HTTP *http.Client
}

// A step judges or edits a request. It allows by returning a Decision with
// Allowed set; anything else stops the chain.
type step interface {
	request(ctx context.Context, x *Exchange) bulwark.Decision
}

// A responseStep edits the head of a response.
type responseStep interface {
	response(x *Exchange, resp *message.Response) error
}

// Chain is the steps of one rule, made ready.
type Chain struct {
	steps     []step
	responses []responseStep
}

// Build makes the chain of a rule in the order of order.go. The error says
// which part of which policy cannot be served; the caller then refuses the
// rule's requests.
func Build(rule *ir.Rule, deps Deps) (*Chain, error) {
	c := &Chain{}
	for _, o := range order {
		s, err := o.make(rule, deps)
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", o.name, rule.ID, err)
		}
		if s == nil {
			continue
		}
		c.steps = append(c.steps, s)
		if r, ok := s.(responseStep); ok {
			c.responses = append(c.responses, r)
		}
	}
	return c, nil
}

// Request runs the steps until one refuses or replies. The zero Chain refuses.
func (c *Chain) Request(ctx context.Context, x *Exchange) bulwark.Decision {
	if c == nil || len(c.steps) == 0 {
		return bulwark.Refuse(http.StatusServiceUnavailable, bulwark.CodeUnavailable, "", "the rule has no steps")
	}
	for _, s := range c.steps {
		if d := s.request(ctx, x); !d.Allowed {
			return d
		}
		if x.Reply != nil {
			break
		}
	}
	return bulwark.Allow(x.Decided)
}

// Response runs the response parts of the steps, last step first. An error
// means that the response must not go out.
func (c *Chain) Response(x *Exchange, resp *message.Response) error {
	for _, s := range slices.Backward(c.responses) {
		if err := s.response(x, resp); err != nil {
			return err
		}
	}
	return nil
}
