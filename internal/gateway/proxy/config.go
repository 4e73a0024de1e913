// Package proxy serves an ir.Table: it owns the listeners, parses each request
// strictly, once, into a message.Request, finds its rule, runs the rule's
// steps, asks a backend, and records one event. A new table is swapped in by
// one atomic pointer; a request finishes on the table that it began with.
package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/filters"
	"bulwark.dev/bulwark/internal/gateway/upstream"
)

// Recorder takes the event of each request. It must not keep e after it
// returned, and it may block: a full recorder slows the gateway rather than
// losing events.
type Recorder interface{ Record(e *bulwark.Event) }

// Tracer continues or starts the trace of a request. It is asked only for
// requests that reach a rule.
type Tracer interface {
	// Start gives the traceparent to forward, the trace id for the event, and
	// what to call with the status at the end.
	Start(traceparent, tracestate, name string) (forward, traceID string, end func(status int))
}

// Limits bound what one client may cost. The zero value of each field means its
// default.
type Limits struct {
	// HeaderBytes is the largest request head, and the largest ClientHello of a
	// stream with what the client sent behind it. Default 32 KiB.
	HeaderBytes int
	// HeaderTimeout is the time from a head's first byte to its last, and for a
	// TLS handshake. Default 10s.
	HeaderTimeout time.Duration
	// IdleTimeout ends a connection between requests. Default 90s.
	IdleTimeout time.Duration
	// BodyTimeout is the longest wait for the next byte of a body, in either
	// direction. Default 60s.
	BodyTimeout time.Duration
	// RequestTimeout bounds an exchange up to the response's head, where the
	// route sets no other. Default 60s.
	RequestTimeout time.Duration
	// MinBodyRate is the slowest acceptable body in bytes per second, judged
	// over BodyTimeout windows. Default 64.
	MinBodyRate int
	// TunnelIdle ends an upgraded connection or a stream on which nothing moved
	// in either direction. Default 10m.
	TunnelIdle time.Duration
	// Connections is the largest number of client connections. Default 16384.
	Connections int
	// Streams is the largest number of concurrent HTTP/2 streams of one
	// connection. Default 128.
	Streams int
}

func (l Limits) withDefaults() Limits {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	num := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	num(&l.HeaderBytes, 32<<10)
	def(&l.HeaderTimeout, 10*time.Second)
	def(&l.IdleTimeout, 90*time.Second)
	def(&l.BodyTimeout, 60*time.Second)
	def(&l.RequestTimeout, 60*time.Second)
	def(&l.TunnelIdle, 10*time.Minute)
	num(&l.MinBodyRate, 64)
	num(&l.Connections, 16384)
	num(&l.Streams, 128)
	return l
}

// Config is what a Server needs from outside. Now, Random, Log, Recorder and
// Filters are required.
type Config struct {
	Now func() time.Time
	// Random gives unpredictable bits, for request ids and weighted choices. It
	// is called by many goroutines.
	Random   func() uint64
	Log      *slog.Logger
	Recorder Recorder
	// Tracer is nil where no traces are exported: trace headers then pass
	// through.
	Tracer   Tracer
	Filters  filters.Deps
	Upstream upstream.Options
	Limits   Limits
	// APIServers names the backends ("namespace/service:port") that are Kubernetes API
	// servers: each request to one gets an Audit-ID that begins with Stamp and that
	// nobody can guess, which its event tells too.
	APIServers []string
	Stamp      string
	// Unable, where it is set, reports that no event could be recorded: every request and
	// connection is refused with 503 then.
	Unable func() bool
	// PartialBind lets a table come into force although some of its addresses
	// cannot be opened: their listeners are problems then, and the next Apply
	// tries again. Without it such a table is refused as a whole.
	PartialBind bool
	// Listen opens listeners. Default net.ListenConfig.Listen.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
}

func (c *Config) check() error {
	if c.Now == nil || c.Random == nil || c.Log == nil || c.Recorder == nil {
		return errors.New("proxy: Now, Random, Log and Recorder are required")
	}
	if len(c.APIServers) > 0 && c.Stamp == "" {
		return errors.New("proxy: requests to API servers need a stamp")
	}
	if c.Filters.Now == nil || c.Filters.State == nil {
		return errors.New("proxy: filters need a clock and state")
	}
	c.Limits = c.Limits.withDefaults()
	if c.Listen == nil {
		var lc net.ListenConfig
		c.Listen = lc.Listen
	}
	return nil
}
