package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync/atomic"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/message"
)

// h2preface is how a client starts HTTP/2 by prior knowledge (RFC 9113 3.4).
const h2preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// The states of a connection, for Shutdown.
const (
	connActive int32 = iota
	connIdle
)

// h1conn is one HTTP/1.1 connection, served by one goroutine.
type h1conn struct {
	srv  *Server
	raw  net.Conn // the socket
	c    net.Conn // raw, or TLS on it
	peer peer
	key  string // of the bind that it came by

	buf  []byte // buf[r:w] is read but not consumed
	r, w int

	state       atomic.Int32
	ended       atomic.Bool // its listener is gone, or the server goes: no more is waited for
	deadline    time.Time   // the read deadline in force
	writeSet    time.Time   // the write deadline in force
	e           exchange
	body        h1body
	out         []byte
	sentHead    bool
	keep        bool // the connection may serve another request
	writeFailed bool
}

// serveConn serves one client connection to its end.
func (s *Server) serveConn(raw net.Conn, key string, secure *tls.Config) {
	defer func() { _ = raw.Close() }()
	c := &h1conn{srv: s, raw: raw, c: raw, key: key, buf: make([]byte, 4096)}
	// A fault that one request uncovers ends its connection, not the process.
	defer func() {
		if fault := recover(); fault != nil {
			c.e.x.Done()
			s.metrics.faults.Add(1)
			s.cfg.Log.LogAttrs(s.ctx, slog.LevelError, "fault while serving a connection; it was closed",
				slog.String("requestId", c.e.event.RequestID), slog.Any("fault", fault), slog.String("stack", string(debug.Stack())))
		}
	}()
	if !s.track(c) {
		return
	}
	defer s.untrack(c)
	b := s.table.Load().binds[key]
	if b == nil {
		return
	}
	var state *tls.ConnectionState
	if b.tls {
		var tc *tls.Conn
		if b.streams {
			tc = c.bySNI(key)
		} else {
			tc = c.handshake(key, secure)
		}
		if tc == nil {
			return
		}
		cs := tc.ConnectionState()
		state, c.c = &cs, tc
	}
	c.peer = newPeer(raw, key, state)
	if state != nil && state.NegotiatedProtocol == "h2" {
		s.h2conns.serve(c.c, &c.peer)
		return
	}
	if h2 := c.serve(); h2 {
		s.h2conns.serve(&prefixed{Conn: c.c, rest: c.buf[c.r:c.w]}, &c.peer)
	}
}

// handshake ends TLS on an address without streams. It gives nil where that
// failed.
func (c *h1conn) handshake(key string, secure *tls.Config) *tls.Conn {
	s := c.srv
	tc := tls.Server(c.raw, secure)
	_ = c.raw.SetDeadline(s.cfg.Now().Add(s.cfg.Limits.HeaderTimeout))
	if err := tc.HandshakeContext(s.ctx); err != nil {
		c.handshakeFailed(key, err)
		return nil
	}
	_ = c.raw.SetDeadline(time.Time{})
	return tc
}

// prefixed is a connection of which some bytes have been read already.
type prefixed struct {
	net.Conn
	rest []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.rest) > 0 {
		n := copy(b, p.rest)
		p.rest = p.rest[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// serve answers requests until the connection ends. It gives true where the
// client speaks HTTP/2.
func (c *h1conn) serve() (h2 bool) {
	for first := true; ; first = false {
		end, err := c.readHead(first)
		if err != nil {
			if errors.Is(err, errPreface) {
				return true
			}
			c.refuseHead(err)
			return false
		}
		if !c.one(end) {
			return false
		}
	}
}

var (
	errPreface = errors.New("HTTP/2 preface")
	errIdle    = errors.New("connection ended between requests")
)

// readHead reads until a whole request head is in the buffer and gives its
// length.
func (c *h1conn) readHead(first bool) (int, error) {
	lim := &c.srv.cfg.Limits
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	next, started, timed := 0, c.w > c.r, false
	for {
		if c.w > c.r {
			end, n, err := message.HeadEnd(c.buf[c.r:c.w], next)
			switch {
			case err != nil:
				return 0, err
			case first && end > 0 && c.peer.tls == nil && c.preface():
				c.state.Store(connActive) // from here on HTTP/2 knows whether it is idle
				return 0, errPreface
			case end > lim.HeaderBytes || end == 0 && c.w-c.r > lim.HeaderBytes:
				return 0, &message.ParseError{Status: 431, What: "request head too large"}
			case end > 0:
				c.state.Store(connActive)
				return end, nil
			}
			next = n
		}
		if c.w == len(c.buf) {
			c.makeRoom()
		}
		now := c.srv.cfg.Now()
		if !started {
			// The deadline first: endIdle puts another in its place. And then the
			// state: either endIdle sees it, or what endIdle did is seen here.
			c.readBy(now, lim.IdleTimeout)
			c.state.Store(connIdle)
			if c.ended.Load() {
				return 0, errIdle
			}
		} else if !timed {
			// One deadline for the whole head: a byte now and then does not
			// extend it.
			timed = true
			c.deadline = now.Add(lim.HeaderTimeout)
			_ = c.c.SetReadDeadline(c.deadline)
		}
		n, err := c.c.Read(c.buf[c.w:])
		c.w += n
		if n == 0 && err != nil {
			if !started {
				return 0, errIdle
			}
			return 0, err
		}
		started = true
	}
}

// preface reports whether the buffer begins with HTTP/2's. HeadEnd has seen its
// first half; the rest may still be on its way.
func (c *h1conn) preface() bool {
	n := min(len(h2preface), c.w-c.r)
	return string(c.buf[c.r:c.r+n]) == h2preface[:n] && n >= len("PRI * HTTP/2.0\r\n\r\n")
}

func (c *h1conn) makeRoom() {
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
		return
	}
	bigger := make([]byte, 2*len(c.buf))
	c.w = copy(bigger, c.buf[:c.w])
	c.buf = bigger
}

// readBy sets the read deadline to d from now. Setting one costs more than it
// seems, so a deadline that is at most a second off stays.
func (c *h1conn) readBy(now time.Time, d time.Duration) {
	want := now.Add(d)
	if diff := want.Sub(c.deadline); diff >= 0 && diff < time.Second {
		return
	}
	c.deadline = want
	_ = c.c.SetReadDeadline(want)
}

func (c *h1conn) writeBy(now time.Time, d time.Duration) {
	want := now.Add(d)
	if diff := want.Sub(c.writeSet); diff >= 0 && diff < time.Second {
		return
	}
	c.writeSet = want
	_ = c.c.SetWriteDeadline(want)
}

// endIdle ends the connection as soon as no request is on it. Who ends its listener calls
// it.
func (c *h1conn) endIdle() {
	c.ended.Store(true)
	if c.state.Load() == connIdle {
		_ = c.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// one serves the request whose head is the next end bytes of the buffer. It is
// false when the connection is over.
func (c *h1conn) one(end int) bool {
	start := c.srv.cfg.Now()
	e := &c.e
	head := c.buf[c.r : c.r+end]
	c.r += end
	if err := e.req.Parse(head, c.peer.scheme()); err != nil {
		c.refuseHead(err)
		return false
	}
	c.body.start(c)
	c.sentHead, c.keep, c.writeFailed = false, !e.req.Close, false
	c.srv.handle(c.srv.ctx, e, &c.peer, start, c)
	if !c.sentHead || c.writeFailed || !c.keep {
		c.linger()
		return false
	}
	return !c.ended.Load() || c.w > c.r
}

// refuseHead answers a request that could not even be parsed, and records it.
// The connection ends: nobody knows where the next request would begin.
func (c *h1conn) refuseHead(err error) {
	if errors.Is(err, errIdle) {
		return
	}
	status, code, reason := 0, bulwark.CodeClientGone, "the head did not arrive"
	var pe *message.ParseError
	var ne net.Error
	switch {
	case errors.As(err, &pe):
		status, code, reason = pe.Status, bulwark.CodeBadRequest, pe.What
	case errors.As(err, &ne) && ne.Timeout():
		status, code, reason = 408, bulwark.CodeTimeout, "the head came too slowly"
	}
	e := &c.e
	now := c.srv.cfg.Now()
	e.x.Reset()
	e.resp = message.Response{Header: e.resp.Header[:0]}
	e.cause = nil
	e.req = message.Request{Header: e.req.Header[:0], Proto: 11, Close: true}
	e.event = bulwark.Event{Time: now, RequestID: c.srv.requestID(), SourceIP: c.peer.text, Protocol: "HTTP/1.1", Status: status}
	e.event.Decision = bulwark.Refuse(status, code, "", reason)
	if status != 0 {
		e.local.b = problem(status, code, e.event.RequestID, &e.resp)
		e.resp.Body = &e.local
		c.keep = false
		e.event.BytesOut, _ = c.reply(&e.req, &e.resp)
	}
	c.srv.metrics.count(nil, &e.event)
	c.srv.cfg.Recorder.Record(&e.event)
	if status != 0 {
		c.linger()
	}
}

// linger lets the client read the answer before the connection is cut: closing
// with unread bytes would reset it. It reads a little, for a short time.
func (c *h1conn) linger() {
	if !c.sentHead || c.writeFailed {
		return
	}
	if cw, ok := c.c.(interface{ CloseWrite() error }); ok {
		_ = cw.CloseWrite()
	}
	_ = c.c.SetReadDeadline(c.srv.cfg.Now().Add(500 * time.Millisecond))
	_, _ = io.CopyN(io.Discard, c.c, 256<<10)
}
