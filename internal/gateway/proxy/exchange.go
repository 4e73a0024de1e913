package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/filters"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
	"bulwark.dev/bulwark/internal/gateway/upstream"
)

var errEOF = io.EOF

// peer is who is at the other end of a client connection, and by which way.
type peer struct {
	addr   netip.Addr
	text   string // addr as text
	bind   string // "ip:port" of the table
	tls    *tls.ConnectionState
	server string // normalised SNI
}

// newPeer reads what a connection tells about its client.
func newPeer(c net.Conn, bind string, state *tls.ConnectionState) peer {
	p := peer{bind: bind, tls: state}
	if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		p.addr = ap.Addr().Unmap().WithZone("")
		p.text = p.addr.String()
	}
	if state != nil {
		p.server = serverName(state.ServerName)
	}
	return p
}

func (p *peer) scheme() string {
	if p.tls != nil {
		return "https"
	}
	return "http"
}

// replier sends a response to the client, in the client's protocol. It gives
// the number of body bytes sent and closes nothing.
type replier interface {
	reply(req *message.Request, resp *message.Response) (int64, error)
	// bytesIn is how many bytes of the request's body were read.
	bytesIn() int64
}

// exchange is one request and its response. A connection reuses it.
type exchange struct {
	req   message.Request
	x     filters.Exchange
	call  upstream.Call
	resp  message.Response
	event bulwark.Event
	local bytesBody
	// watch says that ctx may end before the exchange does.
	watch bool
	// last says that the connection is of a listener that is gone, and ends.
	last bool

	traceEnd func(int)
	cause    error
}

// handle takes a parsed request through its whole life and records it. The
// client connection is usable afterwards if w says so.
func (s *Server) handle(ctx context.Context, e *exchange, p *peer, start time.Time, w replier) {
	t := s.table.Load()
	e.x.Reset()
	e.x.Req, e.x.Source, e.x.TLS, e.x.Now = &e.req, p.addr, p.tls, start
	e.resp = message.Response{Header: e.resp.Header[:0]}
	e.cause, e.traceEnd, e.last = nil, nil, false
	e.event = bulwark.Event{
		Time: start, RequestID: s.requestID(), SourceIP: p.text, Method: e.req.Method, Scheme: e.req.Scheme,
		Host: e.req.Host, Path: e.req.Path, Protocol: protocolName(e.req.Proto),
	}
	d, r := s.unrecorded(), (*rule)(nil)
	if d.Code == "" {
		d, r = s.decide(ctx, e, t, p)
	}
	if d.Allowed && e.x.Reply == nil {
		d = s.forward(ctx, e, t, r, d)
	}
	s.answer(e, d, w)
	e.event.BytesIn = w.bytesIn()
	e.x.Done()
	s.finish(e, r, d)
}

// unrecorded is the refusal of everything while nobody would know of it; the zero
// Decision otherwise.
func (s *Server) unrecorded() bulwark.Decision {
	if s.cfg.Unable == nil || !s.cfg.Unable() {
		return bulwark.Decision{}
	}
	return bulwark.Refuse(http.StatusServiceUnavailable, bulwark.CodeUnavailable, "", "events cannot be recorded")
}

// decide finds the rule and runs its steps.
func (s *Server) decide(ctx context.Context, e *exchange, t *table, p *peer) (bulwark.Decision, *rule) {
	l, m, d := t.route(&e.req, p)
	if l != nil {
		e.event.Listener, e.x.ListenerPort = l.Name, l.Port
	}
	if m == nil {
		e.last = l == nil && t.binds[p.bind] == nil
		return d, nil
	}
	r := &t.rules[m.Rule]
	e.x.Rule, e.x.Match = r.Rule, m
	e.event.Route = r.ID
	if s.cfg.Tracer != nil {
		s.trace(e, r)
	}
	if r.Refuse != nil {
		return bulwark.Refuse(r.Refuse.Status, refusalCode(r.Refuse.Status), r.ID, r.Refuse.Reason), r
	}
	h := &e.req.Header
	h.Add("x-forwarded-for", p.text)
	h.Add("x-forwarded-proto", e.req.Scheme)
	h.Add("x-forwarded-host", e.req.Authority())
	h.Add("x-request-id", e.event.RequestID)
	e.x.MaxBody = ir.DefaultMaxBody
	return r.chain.Request(ctx, &e.x), r
}

// route finds listener and match. Without a match the decision says why.
func (t *table) route(req *message.Request, p *peer) (*listener, *ir.Match, bulwark.Decision) {
	b := t.binds[p.bind]
	if b == nil {
		return nil, nil, bulwark.Refuse(http.StatusNotFound, bulwark.CodeNotFound, "", "the listener is gone")
	}
	l, ok := b.listeners.find(req.Host)
	if p.tls != nil {
		// The handshake's listener chose certificate and client authentication:
		// no other listener's routes may be had through it.
		if by, found := b.listeners.find(p.server); !found || !ok || by != l {
			return l, nil, bulwark.Refuse(http.StatusMisdirectedRequest, bulwark.CodeMisdirected, "", "host belongs to another listener than the TLS server name")
		}
	}
	if !ok {
		return nil, nil, bulwark.Refuse(http.StatusNotFound, bulwark.CodeNotFound, "", "no listener serves this host")
	}
	if l.Refuse != nil {
		return l, nil, bulwark.Refuse(l.Refuse.Status, refusalCode(l.Refuse.Status), l.Name, l.Refuse.Reason)
	}
	var m *ir.Match
	l.hosts.each(req.Host, func(hm *matcher) bool {
		m = hm.find(req)
		return m != nil
	})
	if m == nil {
		return l, nil, bulwark.Refuse(http.StatusNotFound, bulwark.CodeNotFound, "", "no route matches")
	}
	return l, m, bulwark.Decision{}
}

// forward asks a backend. The decision turns to a refusal where none answers.
func (s *Server) forward(ctx context.Context, e *exchange, t *table, r *rule, allowed bulwark.Decision) bulwark.Decision {
	i := upstream.Pick(r.Backends, uint32(s.cfg.Random()>>32))
	if i < 0 {
		return failed(allowed, http.StatusServiceUnavailable, bulwark.CodeUnavailable, "the rule has no backend with weight")
	}
	ref := &r.Backends[i]
	if ref.Refuse != nil {
		return failed(allowed, ref.Refuse.Status, refusalCode(ref.Refuse.Status), ref.Refuse.Reason)
	}
	b := &t.ir.Backends[ref.Backend]
	e.event.Backend = b.Name
	if b.Refuse != nil {
		return failed(allowed, b.Refuse.Status, refusalCode(b.Refuse.Status), b.Refuse.Reason)
	}
	e.req.LimitBody(e.x.MaxBody)
	s.mirror(e, t, r) //nolint:contextcheck // a mirrored copy outlives the exchange
	filters.ApplyHeaderEdit(&e.req.Header, ref.RequestHeaders)
	e.call = upstream.Call{
		Req: &e.req, Header: e.req.Header, Authority: e.req.Authority(), Target: e.req.Target(),
		TryTimeout: max(r.BackendTimeout, 0), Retry: r.Retry, Watch: e.watch, ForwardUpgrade: e.req.Upgrade != "",
		HeadTimeout: s.cfg.Limits.RequestTimeout, BodyTimeout: s.cfg.Limits.BodyTimeout,
	}
	switch {
	case r.RequestTimeout > 0:
		e.call.Deadline = e.x.Now.Add(r.RequestTimeout)
	case r.RequestTimeout < 0:
		e.call.HeadTimeout = 0
	}
	if t.stamped != nil && t.stamped[ref.Backend] {
		s.stamp(e)
	}
	asked := s.cfg.Now()
	err := t.set.Backend(ref.Backend).Do(ctx, &e.call, &e.resp)
	e.event.Upstream = s.cfg.Now().Sub(asked)
	if err != nil {
		e.cause = err
		return upstreamFailure(allowed, err)
	}
	filters.ApplyHeaderEdit(&e.resp.Header, ref.ResponseEdit)
	if err := r.chain.Response(&e.x, &e.resp); err != nil {
		closeBody(&e.resp)
		e.cause = err
		return failed(allowed, http.StatusBadGateway, bulwark.CodeBadGateway, "a response step failed")
	}
	return allowed
}

// stamp gives a request to an API server an audit id that nobody can know before, so
// that what the server says of it can be told from all else. The id is not the
// request's own: that one other backends are told too.
func (s *Server) stamp(e *exchange) {
	e.event.AuditID = s.cfg.Stamp + s.requestID()
	if e.req.Path != e.event.Path {
		e.event.SentPath = e.req.Path
	}
	e.req.Header.Set("audit-id", e.event.AuditID)
	e.call.Header = e.req.Header
	// Two requests under one stamp look like a stamp that was stolen.
	e.call.Retry = nil
}

// mirror sends copies where the rule asks for them.
func (s *Server) mirror(e *exchange, t *table, r *rule) {
	for i := range r.Mirrors {
		m := &r.Mirrors[i]
		if m.Backend < 0 || m.Denominator <= 0 || s.cfg.Random()%uint64(m.Denominator) >= uint64(max(m.Numerator, 0)) {
			continue
		}
		t.set.Backend(m.Backend).Mirror(&e.req)
	}
}

// answer sends what there is to send: the backend's response, a step's reply,
// or the problem document of a refusal.
func (s *Server) answer(e *exchange, d bulwark.Decision, w replier) {
	switch {
	case !d.Allowed && d.Code == bulwark.CodeClientGone:
		return
	case !d.Allowed:
		closeBody(&e.resp)
		e.resp = message.Response{Header: e.resp.Header[:0]}
		e.local.b = problem(d.Status, d.Code, e.event.RequestID, &e.resp)
		e.resp.Body = &e.local
		if d.RetryAfter > 0 && !e.x.ResponseHeader.Has("retry-after") {
			secs := int64((d.RetryAfter + time.Second - 1) / time.Second)
			e.resp.Header.Add("retry-after", strconv.FormatInt(secs, 10))
		}
	case e.x.Reply != nil:
		e.resp = message.Response{Status: e.x.Reply.Status, Header: append(e.resp.Header[:0], e.x.Reply.Header...), ContentLength: int64(len(e.x.Reply.Body))}
		e.local.b = e.x.Reply.Body
		e.resp.Body = &e.local
		e.resp.Header.Set("x-request-id", e.event.RequestID)
	default:
		e.resp.Header.Set("x-request-id", e.event.RequestID)
	}
	for _, f := range e.x.ResponseHeader {
		e.resp.Header.Del(f.Name) // the gateway's word replaces the backend's
	}
	e.resp.Header = append(e.resp.Header, e.x.ResponseHeader...)
	e.event.Status = e.resp.Status
	n, err := w.reply(&e.req, &e.resp)
	e.event.BytesOut = n
	if err != nil && e.cause == nil {
		e.cause = err
	}
	closeBody(&e.resp)
}

func closeBody(r *message.Response) {
	if r.Body != nil {
		_ = r.Body.Close()
		r.Body = nil
	}
	if r.Upgraded != nil {
		_ = r.Upgraded.Close()
		r.Upgraded = nil
	}
}

// finish records the event and counts.
func (s *Server) finish(e *exchange, r *rule, d bulwark.Decision) {
	e.event.Identity = e.x.Identity
	e.event.Decision = d
	e.event.Queued = e.x.Queued
	e.event.Duration = s.cfg.Now().Sub(e.event.Time)
	if e.cause != nil {
		e.event.Error = e.cause.Error()
	}
	var m *ruleMetrics
	if r != nil {
		m = r.metrics
	}
	s.metrics.count(m, &e.event)
	if e.traceEnd != nil {
		e.traceEnd(e.event.Status)
	}
	s.cfg.Recorder.Record(&e.event)
}

// trace continues the client's trace, or starts one.
func (s *Server) trace(e *exchange, r *rule) {
	forward, id, end := s.cfg.Tracer.Start(e.req.Header.Get("traceparent"), e.req.Header.Get("tracestate"), r.ID)
	if forward != "" {
		e.req.Header.Set("traceparent", forward)
	}
	e.event.TraceID, e.traceEnd = id, end
}

func failed(allowed bulwark.Decision, status int, code bulwark.Code, reason string) bulwark.Decision {
	return bulwark.Refuse(status, code, allowed.Rule, reason)
}

// upstreamFailure maps an error of a backend to what the client is told.
func upstreamFailure(allowed bulwark.Decision, err error) bulwark.Decision {
	if errors.Is(err, message.ErrBodyTooLarge) {
		return failed(allowed, http.StatusRequestEntityTooLarge, bulwark.CodeTooLarge, "the body is larger than the limit")
	}
	var ue *upstream.Error
	if !errors.As(err, &ue) {
		return failed(allowed, http.StatusBadGateway, bulwark.CodeBadGateway, "the backend could not be asked")
	}
	reason := fmt.Sprintf("backend: %v", ue.Kind)
	switch ue.Kind {
	case upstream.NoEndpoint, upstream.Refused:
		return failed(allowed, http.StatusServiceUnavailable, bulwark.CodeUnavailable, reason)
	case upstream.Timeout:
		return failed(allowed, http.StatusGatewayTimeout, bulwark.CodeGatewayTimeout, reason)
	case upstream.Canceled:
		return failed(allowed, 0, bulwark.CodeClientGone, reason)
	case upstream.BodyRead:
		var ne net.Error
		if errors.As(err, &ne) && ne.Timeout() {
			return failed(allowed, http.StatusRequestTimeout, bulwark.CodeTimeout, "the body came too slowly")
		}
		return failed(allowed, http.StatusBadRequest, bulwark.CodeBadRequest, "the body could not be read")
	case upstream.ConnectFailed, upstream.BadResponse, upstream.BackendGone:
	}
	return failed(allowed, http.StatusBadGateway, bulwark.CodeBadGateway, reason)
}

func refusalCode(status int) bulwark.Code {
	switch status {
	case http.StatusForbidden:
		return bulwark.CodeForbidden
	case http.StatusNotFound:
		return bulwark.CodeNotFound
	case http.StatusInternalServerError:
		return bulwark.CodeInternal
	}
	return bulwark.CodeUnavailable
}

func protocolName(proto int) string {
	switch proto {
	case 20:
		return "HTTP/2.0"
	case 10:
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// requestID gives 128 random bits in hex.
func (s *Server) requestID() string {
	const hex = "0123456789abcdef"
	var b [32]byte
	hi, lo := s.cfg.Random(), s.cfg.Random()
	for i := range 16 {
		b[i], b[16+i] = hex[hi>>(60-4*i)&15], hex[lo>>(60-4*i)&15]
	}
	return string(b[:])
}
