package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/gateway/message"
)

// newHTTP2 makes the transport of a backend that speaks HTTP/2: by prior
// knowledge without TLS, by ALPN with it.
func newHTTP2(g *group) *http.Transport {
	p := new(http.Protocols)
	t := &http.Transport{
		Protocols:              p,
		DisableCompression:     true,
		IdleConnTimeout:        g.opt.IdleTimeout,
		MaxResponseHeaderBytes: int64(g.opt.MaxHeaderBytes),
		// A backend that went away without a word is noticed.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
	dial := func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := g.opt.Dial(ctx, "tcp", addr)
		if err != nil {
			return nil, fmt.Errorf("connect: %w", err)
		}
		g.stats.connects.Add(1)
		return c, nil
	}
	if g.tls == nil {
		p.SetUnencryptedHTTP2(true)
		t.DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
			ctx, cancel := context.WithDeadline(ctx, g.connectBy(g.opt.Now(), time.Time{}))
			defer cancel()
			c, err := dial(ctx, addr)
			if err != nil {
				return nil, &connectError{err}
			}
			return c, nil
		}
		return t
	}
	p.SetHTTP2(true)
	t.DialTLSContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
		ctx, cancel := context.WithDeadline(ctx, g.connectBy(g.opt.Now(), time.Time{}))
		defer cancel()
		c, err := dial(ctx, addr)
		if err != nil {
			return nil, &connectError{err}
		}
		tc, err := g.tls.handshake(ctx, c)
		if err != nil {
			_ = c.Close()
			return nil, &connectError{err}
		}
		return tc, nil
	}
	return t
}

// connectError marks that nothing was sent.
type connectError struct{ err error }

func (e *connectError) Error() string { return e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

// http2Exchange is one request over HTTP/2.
type http2Exchange struct {
	b        *Backend
	call     *Call
	buffered []byte // the whole body, where it is small
	whole    bool   // buffered is all there is
	sent     *http2Request
}

func (b *Backend) doHTTP2(ctx context.Context, c *Call, resp *message.Response) error {
	x := &http2Exchange{b: b, call: c}
	if err := x.prepare(); err != nil {
		return b.named(err)
	}
	return b.run(ctx, c, x, resp)
}

// prepare reads a small body, so that it can be sent again.
func (x *http2Exchange) prepare() error {
	req := x.call.Req
	if !message.ValidToken(req.Method) || !validTarget(x.call.Target) || x.call.Authority == "" {
		return errUnwritable()
	}
	for i := range x.call.Header {
		if f := &x.call.Header[i]; forwarded(f.Name) && (!message.ValidName(f.Name) || !message.ValidValue(f.Value)) {
			return errUnwritable()
		}
	}
	if req.Body == nil {
		x.whole = true
		return nil
	}
	if req.Expect && x.call.OnContinue != nil {
		if err := x.call.OnContinue(); err != nil {
			return &Error{Kind: BodyRead, Err: err}
		}
	}
	if req.ContentLength < 0 || req.ContentLength > replaySize || len(req.TrailerNames) > 0 {
		return nil
	}
	x.buffered = make([]byte, req.ContentLength)
	if _, err := io.ReadFull(req.Body, x.buffered); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errShortBody
		}
		return &Error{Kind: BodyRead, Err: err}
	}
	x.whole = true
	return nil
}

func (x *http2Exchange) replayable() bool { return x.whole || x.sent == nil || !x.sent.touched() }

func (x *http2Exchange) discard(resp *message.Response) {
	if resp.Body != nil {
		_ = resp.Body.Close()
	}
}

// attempt tries one endpoint.
func (x *http2Exchange) attempt(ctx context.Context, e *endpoint, resp *message.Response) error {
	c := x.call
	by := soonest(c.Deadline, x.b.opt.Now(), c.TryTimeout)
	ctx, cancel := context.WithCancelCause(ctx)
	var timers []*time.Timer
	end := func() {
		for _, t := range timers {
			t.Stop()
		}
		cancel(context.Canceled)
	}
	expire := func() { cancel(os.ErrDeadlineExceeded) }
	if !by.IsZero() {
		timers = append(timers, time.AfterFunc(by.Sub(x.b.opt.Now()), expire))
	}
	var head *time.Timer
	if c.HeadTimeout > 0 {
		head = time.AfterFunc(c.HeadTimeout, expire)
		timers = append(timers, head)
	}
	out := x.request(ctx, e)
	e.active.Add(1)
	res, err := x.b.g.h2.RoundTrip(out)
	if err != nil {
		cause := context.Cause(ctx)
		end()
		e.active.Add(-1)
		x.sent.finish()
		return x.fault(e, err, cause)
	}
	if head != nil && !head.Stop() {
		_ = res.Body.Close()
		end()
		e.active.Add(-1)
		x.sent.finish()
		return &Error{Kind: Timeout, Endpoint: e.addr, Err: os.ErrDeadlineExceeded}
	}
	body := &http2Body{res: res, ctx: func() error { return context.Cause(ctx) }, expire: expire, idle: c.BodyTimeout, e: e, sent: x.sent, end: end}
	resp.Status, resp.ContentLength = res.StatusCode, res.ContentLength
	resp.Header = appendHeader(resp.Header[:0], res.Header)
	noBody := c.Req.Method == http.MethodHead || res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified
	switch {
	case res.StatusCode < 200 || res.StatusCode > 599:
		_ = body.Close()
		return &Error{Kind: BadResponse, Endpoint: e.addr, Err: errors.New("status out of range")}
	case noBody, res.Body == http.NoBody:
		if res.StatusCode == http.StatusNoContent || !noBody {
			resp.ContentLength = 0
		}
		_ = body.Close()
	default:
		resp.Body = body
	}
	return nil
}

// request makes net/http's request out of ours. Path and query go out byte for
// byte.
func (x *http2Exchange) request(ctx context.Context, e *endpoint) *http.Request {
	c := x.call
	u := &url.URL{Scheme: "http", Host: e.addr, Opaque: c.Target}
	if x.b.g.tls != nil {
		u.Scheme = "https"
	}
	if strings.HasPrefix(c.Target, "//") {
		u.Opaque = "//" + c.Authority + c.Target // net/http takes scheme and authority off again
	}
	h := make(http.Header, len(c.Header)+1)
	for i := range c.Header {
		f := &c.Header[i]
		if forwarded(f.Name) {
			name := http.CanonicalHeaderKey(f.Name)
			h[name] = append(h[name], f.Value)
		}
	}
	if h["User-Agent"] == nil {
		h["User-Agent"] = []string{""} // else net/http adds its own
	}
	if c.Req.Trailers {
		h["Te"] = []string{"trailers"}
	}
	r := (&http.Request{Method: c.Req.Method, URL: u, Host: c.Authority, Header: h, Proto: "HTTP/2.0", ProtoMajor: 2}).WithContext(ctx)
	x.sent = &http2Request{}
	switch {
	case c.Req.Body == nil:
	case x.whole:
		r.ContentLength = int64(len(x.buffered))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(x.buffered)), nil }
		r.Body = io.NopCloser(bytes.NewReader(x.buffered))
	default:
		x.sent.src, x.sent.req, x.sent.out = c.Req.Body, c.Req, r
		r.ContentLength, r.Body = c.Req.ContentLength, x.sent
		// Only what is announced before the body can be sent behind it.
		for _, name := range c.Req.TrailerNames {
			if r.Trailer == nil {
				r.Trailer = http.Header{}
			}
			r.Trailer[http.CanonicalHeaderKey(name)] = nil
		}
	}
	return r
}

// fault tells what went wrong with a stream.
func (x *http2Exchange) fault(e *endpoint, err, cause error) error {
	if berr := x.sent.failure(); berr != nil {
		return &Error{Kind: BodyRead, Endpoint: e.addr, Err: berr}
	}
	out := fault(e.addr, err)
	var ce *connectError
	switch {
	case errors.Is(cause, os.ErrDeadlineExceeded), errors.Is(cause, context.DeadlineExceeded):
		out.Kind = Timeout
	case cause != nil:
		out.Kind = Canceled
	case errors.As(err, &ce):
		out.Kind = ConnectFailed
	case out.Kind == Canceled:
		out.Kind = BackendGone // of the stream, not of the client
	case strings.Contains(err.Error(), "malformed"), strings.Contains(err.Error(), "PROTOCOL_ERROR"):
		out.Kind = BadResponse
	}
	return out
}

// appendHeader takes over a response's fields, sorted by name: net/http does
// not keep their order.
func appendHeader(dst message.Header, h http.Header) message.Header {
	for name, values := range h {
		lower := strings.ToLower(name)
		if !forwarded(lower) && lower != "host" {
			continue
		}
		for _, v := range values {
			if message.ValidName(lower) && message.ValidValue(v) {
				dst.Add(lower, v)
			}
		}
	}
	slices.SortStableFunc(dst, func(a, b message.Field) int { return strings.Compare(a.Name, b.Name) })
	return dst
}
