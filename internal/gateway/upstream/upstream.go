// Package upstream sends requests to backends and reads their responses. The
// HTTP/1.1 exchange is made for the hot path: the caller's goroutine, a pooled
// connection, one write for head and small body, one read for head and small
// body. A response whose framing two readers could understand in two ways is an
// error and its connection is never used again. HTTP/2 backends go through
// net/http. RATIONALE.md tells what may be sent twice, and why.
package upstream

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"time"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// Options is what a Set needs from outside. The zero value of each field means
// its default. Sets that follow each other (see NewSet) are given the same.
type Options struct {
	// Now is the clock; the default is the system's. Deadlines of connections are
	// set by it, so it must run with the system's.
	Now func() time.Time
	// Dial opens connections; the default is net.Dialer's DialContext. A
	// connection that is not a syscall.Conn is never reused, because nobody
	// can tell whether it is dead.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// ConnectTimeout bounds connecting, TLS handshake included, for backends
	// that set none. Default 5s.
	ConnectTimeout time.Duration
	// IdleTimeout ends connections that nobody used for so long. Default 60s.
	IdleTimeout time.Duration
	// MaxIdlePerEndpoint is the largest number of idle connections kept for one
	// address. Default 256.
	MaxIdlePerEndpoint int
	// MaxHeaderBytes is the largest response head. Default 64 KiB.
	MaxHeaderBytes int
	// Log is for operators; the default discards.
	Log *slog.Logger
	// Roots gives the certificate authorities of backends that name none;
	// the default is the system's.
	Roots func() (*x509.CertPool, error)
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now //nolint:forbidigo // the default where the caller brings no clock
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = 5 * time.Second
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = time.Minute
	}
	if o.MaxIdlePerEndpoint <= 0 {
		o.MaxIdlePerEndpoint = 256
	}
	if o.MaxHeaderBytes <= 0 {
		o.MaxHeaderBytes = 64 << 10
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Roots == nil {
		o.Roots = x509.SystemCertPool
	}
	return o
}

// Call is one request for a backend.
type Call struct {
	// Req gives method and body, and what the client asked for beside: Upgrade,
	// Expect, Trailers, Trailer. Its Header is not looked at.
	Req *message.Request
	// Header is what to forward. Fields of one hop, fields that frame the body
	// and "host" are left out whatever it says.
	Header message.Header
	// Authority is sent as Host or ":authority".
	Authority string
	// Target is path and query, as it stands in the request line.
	Target string

	// Deadline bounds the whole exchange, the response's body included. Zero
	// means none.
	Deadline time.Time
	// TryTimeout bounds each try in the same way. Zero means none.
	TryTimeout time.Duration
	// HeadTimeout bounds the time from a try's start to its response's head.
	// Zero means none.
	HeadTimeout time.Duration
	// BodyTimeout bounds each wait for the backend to take or give body bytes.
	// Zero means none.
	BodyTimeout time.Duration

	// Retry is nil for no retries but those that are always safe.
	Retry *ir.Retry
	// Watch says that ctx may end before the exchange does and must then end
	// it. Without it ctx counts while connecting and waiting only.
	Watch bool
	// ForwardUpgrade says that Req.Upgrade may be asked of the backend.
	ForwardUpgrade bool
	// OnContinue, where set, is called once before the body is read if the
	// client waits for 100 (Continue): when the backend sent it, or when
	// waiting for it has taken long enough.
	OnContinue func() error
}
