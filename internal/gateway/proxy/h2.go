package proxy

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// handover is the listener that net/http's HTTP/2 server accepts from: it gives
// out connections that serveConn has already read the beginning of.
type handover struct {
	ch     chan *h2conn
	closed chan struct{}
	once   sync.Once
	log    *slog.Logger
	// fieldBytes bounds one header field.
	fieldBytes int

	mu   sync.Mutex
	open map[*h2conn]struct{}
}

// h2conn is a connection in net/http's hands.
type h2conn struct {
	net.Conn
	peer *peer
	once sync.Once
	done chan struct{}
}

// Close tells serveConn that net/http is finished.
func (c *h2conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.done) })
	return err
}

// serve hands c over and waits for its end.
func (h *handover) serve(c net.Conn, p *peer) {
	hc := &h2conn{Conn: guardHTTP2(c, h.fieldBytes), peer: p, done: make(chan struct{})}
	h.mu.Lock()
	h.open[hc] = struct{}{}
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.open, hc)
		h.mu.Unlock()
	}()
	select {
	case h.ch <- hc:
		<-hc.done
	case <-h.closed:
		_ = hc.Close()
	}
}

func (h *handover) closeAll() {
	_ = h.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.open {
		_ = c.Close()
	}
}

// Accept is net.Listener's.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.ch:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr is net.Listener's.
func (h *handover) Addr() net.Addr { return &net.TCPAddr{} }

type peerKey struct{}

// startHTTP2 starts the server of HTTP/2 connections.
func (s *Server) startHTTP2() {
	lim := &s.cfg.Limits
	s.h2conns = &handover{ch: make(chan *h2conn), closed: make(chan struct{}), open: map[*h2conn]struct{}{}, log: s.cfg.Log, fieldBytes: lim.HeaderBytes}
	// TLS has been terminated by serveConn: what arrives here is the inside.
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	s.h2 = &http.Server{
		Handler:           http.HandlerFunc(s.serveHTTP2),
		Protocols:         protocols,
		MaxHeaderBytes:    lim.HeaderBytes,
		ReadHeaderTimeout: lim.HeaderTimeout,
		IdleTimeout:       lim.IdleTimeout,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: lim.Streams,
			MaxReadFrameSize:     h2FrameSize, // more than the guard reads is refused
			SendPingTimeout:      lim.IdleTimeout,
			WriteByteTimeout:     lim.BodyTimeout,
		},
		BaseContext: func(net.Listener) context.Context { return s.ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if hc, ok := c.(*h2conn); ok {
				return context.WithValue(ctx, peerKey{}, hc.peer)
			}
			return ctx
		},
	}
	s.wg.Go(func() {
		if err := s.h2.Serve(s.h2conns); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			s.cfg.Log.LogAttrs(s.ctx, slog.LevelError, "HTTP/2 server stopped", slog.Any("error", err))
		}
	})
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

// serveHTTP2 serves one stream.
func (s *Server) serveHTTP2(w http.ResponseWriter, r *http.Request) {
	p, ok := r.Context().Value(peerKey{}).(*peer)
	if !ok || r.ProtoMajor != 2 {
		w.WriteHeader(http.StatusHTTPVersionNotSupported)
		return
	}
	start := s.cfg.Now()
	e := exchanges.Get().(*exchange) //nolint:forcetypeassert // the pool holds nothing else
	defer func() {
		if fault := recover(); fault != nil {
			if fault != http.ErrAbortHandler { //nolint:errorlint // a panic's value is compared, as net/http does
				e.x.Done() // e itself is not given back: something may still hold it
				s.metrics.faults.Add(1)
				s.cfg.Log.LogAttrs(s.ctx, slog.LevelError, "fault while serving a stream; it was reset",
					slog.String("requestId", e.event.RequestID), slog.Any("fault", fault), slog.String("stack", string(debug.Stack())))
			}
			panic(http.ErrAbortHandler)
		}
		exchanges.Put(e)
	}()
	e.watch = true
	e.last = false
	out := &h2reply{w: w, srv: s, last: &e.last}
	if err := e.req.FromHTTP2(r, p.scheme()); err != nil {
		s.refuseStream(e, p, out, err)
		return
	}
	body := &counted{r: e.req.Body, srv: s, rc: http.NewResponseController(w)}
	if e.req.Body != nil {
		e.req.Body = body
	}
	out.received = &body.n
	if err := body.whole(r); err != nil {
		s.refuseStream(e, p, out, err)
		return
	}
	s.handle(r.Context(), e, p, start, out)
	if out.broken {
		panic(http.ErrAbortHandler) // resets the stream: the client must not take the body for whole
	}
}

// refuseStream answers a stream whose head breaks the rules, and records it.
func (s *Server) refuseStream(e *exchange, p *peer, w *h2reply, err error) {
	status := http.StatusBadRequest
	reason := "malformed request"
	if pe, ok := errors.AsType[*message.ParseError](err); ok {
		status, reason = pe.Status, pe.What
	}
	e.x.Reset()
	e.resp = message.Response{Header: e.resp.Header[:0]}
	e.event = bulwark.Event{Time: s.cfg.Now(), RequestID: s.requestID(), SourceIP: p.text, Protocol: "HTTP/2.0", Status: status}
	e.event.Decision = bulwark.Refuse(status, bulwark.CodeBadRequest, "", reason)
	e.local.b = problem(status, bulwark.CodeBadRequest, e.event.RequestID, &e.resp)
	e.resp.Body = &e.local
	e.req = message.Request{Method: http.MethodGet, Proto: 20}
	e.event.BytesOut, _ = w.reply(&e.req, &e.resp)
	s.metrics.count(nil, &e.event)
	s.cfg.Recorder.Record(&e.event)
}

// h2reply writes responses through net/http.
type h2reply struct {
	w      http.ResponseWriter
	srv    *Server
	broken bool
	last   *bool // exchange.last
	// received counts the bytes of the request's body.
	received *int64
}

// counted counts what is read of a stream's body, and bounds how slowly it may
// come.
type counted struct {
	r    io.Reader
	n    int64
	srv  *Server
	rc   *http.ResponseController
	pace pace
	by   time.Time
}

// whole waits for the end of a stream that declares a body of 0 bytes but left the
// end open. Whether bytes follow after all is known only there, and the backend
// would have the request by then: nothing else makes a stream's body wait for its end.
func (c *counted) whole(r *http.Request) error {
	if r.ContentLength != 0 || r.Header["Content-Length"] == nil || r.Body == nil {
		return nil
	}
	c.r = r.Body
	switch n, err := c.Read(make([]byte, 1)); {
	case n == 0 && errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &message.ParseError{Status: http.StatusRequestTimeout, What: "the end of an empty body did not come"}
	}
	return &message.ParseError{Status: http.StatusBadRequest, What: "content-length is 0, and a body follows"}
}

// Close ends a Read that waits.
func (c *counted) Close() error {
	if closer, ok := c.r.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

func (c *counted) Read(p []byte) (int, error) {
	now, lim := c.srv.cfg.Now(), &c.srv.cfg.Limits
	if err := c.pace.check(now, lim); err != nil {
		return 0, err
	}
	if by := now.Add(lim.BodyTimeout); by.Sub(c.by) >= time.Second {
		c.by = by
		_ = c.rc.SetReadDeadline(by)
	}
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.pace.bytes += n
	return n, err
}

func (o *h2reply) bytesIn() int64 {
	if o.received == nil {
		return 0
	}
	return *o.received
}

func (o *h2reply) reply(req *message.Request, resp *message.Response) (int64, error) {
	if *o.last {
		o.w.Header().Set("Connection", "close") // which HTTP/2 says by GOAWAY
	}
	h := o.w.Header()
	for i := range resp.Header {
		f := &resp.Header[i]
		name := http.CanonicalHeaderKey(f.Name)
		h[name] = append(h[name], f.Value)
	}
	if h["Content-Type"] == nil {
		h["Content-Type"] = nil // no sniffing
	}
	noBody := req.Method == http.MethodHead || resp.Status == http.StatusNoContent || resp.Status == http.StatusNotModified
	if resp.ContentLength >= 0 && (resp.ContentLength > 0 || !noBody) {
		h["Content-Length"] = []string{strconv.FormatInt(resp.ContentLength, 10)}
	}
	o.w.WriteHeader(resp.Status)
	if noBody || resp.Body == nil {
		return 0, nil
	}
	return o.copy(h, resp)
}

func (o *h2reply) copy(h http.Header, resp *message.Response) (int64, error) {
	rc := http.NewResponseController(o.w)
	sent := int64(0)
	// A client that opens no window must not hold the backend.
	var by time.Time
	extend := func() {
		if next := o.srv.cfg.Now().Add(o.srv.cfg.Limits.BodyTimeout); next.Sub(by) >= time.Second {
			by = next
			_ = rc.SetWriteDeadline(by)
		}
	}
	extend()
	if b := resp.Body.Buffered(); len(b) > 0 {
		n, err := o.w.Write(b)
		sent += int64(n)
		if err != nil {
			return sent, err
		}
	}
	if resp.ContentLength < 0 || sent < resp.ContentLength {
		_ = rc.Flush()
	}
	buf := make([]byte, copySize)
	for resp.ContentLength < 0 || sent < resp.ContentLength {
		n, err := resp.Body.Read(buf)
		if n > 0 {
			extend()
			if _, werr := o.w.Write(buf[:n]); werr != nil {
				return sent, werr
			}
			sent += int64(n)
			if resp.ContentLength < 0 {
				_ = rc.Flush()
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			o.broken = true
			return sent, err
		}
	}
	if resp.ContentLength >= 0 && sent != resp.ContentLength {
		o.broken = true
		return sent, io.ErrUnexpectedEOF
	}
	for _, f := range resp.Body.Trailer() {
		h[http.TrailerPrefix+http.CanonicalHeaderKey(f.Name)] = []string{f.Value}
	}
	return sent, nil
}
