package proxy

import (
	"context"
	"crypto/tls"
	"net/http"
	"sync/atomic"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/filters"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
	"bulwark.dev/bulwark/internal/gateway/upstream"
)

// stream is one connection whose bytes go on unread to a backend, chosen by the
// server name of its ClientHello. RATIONALE.md tells what a new table does to
// it.
type stream struct {
	srv   *Server
	c     *h1conn
	key   string // "ip:port" of the bind
	start time.Time

	// What the hello led to.
	name     string
	table    *table
	listener *listener // nil where none serves the name
	rule     *rule
	ref      *ir.BackendRef
	verdict  bulwark.Decision

	req     message.Request
	x       filters.Exchange
	backend atomic.Pointer[upstream.Stream]
	cut     atomic.Bool // a new table ended it
}

// streams reports whether the listener has its connections go on as bytes.
func (st *stream) streams() bool { return st.listener.Passthrough || len(st.listener.Streams) > 0 }

// choose decides on a ClientHello. It gives the configuration to end TLS with,
// or errLeftAlone.
func (st *stream) choose(sni string) (*tls.Config, error) {
	name, err := hostOfSNI(sni)
	if err != nil {
		return nil, err
	}
	st.name, st.table = name, st.srv.table.Load()
	if b := st.table.binds[st.key]; b != nil {
		st.listener, _ = b.listeners.find(name)
	}
	if st.listener == nil {
		st.verdict = bulwark.Refuse(http.StatusNotFound, bulwark.CodeNotFound, "", "no listener serves the server name")
		return nil, errLeftAlone
	}
	if !st.streams() {
		if st.listener.tls == nil {
			return nil, errNoServerName
		}
		return st.listener.tls, nil
	}
	st.verdict = st.admit(st.srv.ctx)
	if !st.verdict.Allowed || st.listener.Passthrough {
		return nil, errLeftAlone
	}
	return st.listener.tls, nil
}

// admit judges the connection and picks its backend, before anything is sent to
// either side.
func (st *stream) admit(ctx context.Context) bulwark.Decision {
	p := newPeer(st.c.raw, st.key, nil)
	st.req = message.Request{Scheme: "tls", Host: st.name}
	st.x.Req, st.x.Source, st.x.Now, st.x.ListenerPort = &st.req, p.addr, st.start, st.listener.Port
	d, r := st.srv.unrecorded(), (*rule)(nil)
	if d.Code == "" {
		d, r = st.table.stream(st.listener, st.name)
	}
	st.rule = r
	if r == nil {
		return d
	}
	st.x.Rule = r.Rule
	if d = r.stream.Admit(ctx, &st.x); !d.Allowed {
		return d
	}
	i := upstream.Pick(r.Backends, uint32(st.srv.cfg.Random()>>32))
	if i < 0 {
		return failed(d, http.StatusServiceUnavailable, bulwark.CodeUnavailable, "the rule has no backend with weight")
	}
	if st.ref = &r.Backends[i]; st.ref.Refuse != nil {
		return failed(d, st.ref.Refuse.Status, refusalCode(st.ref.Refuse.Status), st.ref.Refuse.Reason)
	}
	if b := &st.table.ir.Backends[st.ref.Backend]; b.Refuse != nil {
		return failed(d, b.Refuse.Status, refusalCode(b.Refuse.Status), b.Refuse.Reason)
	}
	return d
}

// stream finds the rule of a server name. Without one the decision says why.
func (t *table) stream(l *listener, name string) (bulwark.Decision, *rule) {
	if l.Refuse != nil {
		return bulwark.Refuse(l.Refuse.Status, refusalCode(l.Refuse.Status), l.Name, l.Refuse.Reason), nil
	}
	i, ok := l.streams.find(name)
	if !ok {
		return bulwark.Refuse(http.StatusNotFound, bulwark.CodeNotFound, "", "no route serves the server name"), nil
	}
	r := &t.rules[i]
	if r.Refuse != nil {
		return bulwark.Refuse(r.Refuse.Status, refusalCode(r.Refuse.Status), r.ID, r.Refuse.Reason), nil
	}
	return bulwark.Decision{}, r
}

// serve connects to the backend, moves bytes until both sides are done, and
// records it. first has been read from the client and comes first.
func (st *stream) serve(client message.Duplex, first []byte) {
	var moved relayed
	var took time.Duration
	var cause error
	d := st.verdict
	if d.Allowed {
		asked := st.srv.cfg.Now()
		backend, err := st.table.set.Backend(st.ref.Backend).Open(st.srv.ctx)
		took = st.srv.cfg.Now().Sub(asked)
		if err != nil {
			d, cause = upstreamFailure(d, err), err
		} else {
			moved, cause = st.join(client, backend, first)
			_ = backend.Close()
		}
	}
	st.record(d, moved, took, cause)
}

// join moves bytes between the two sides while the stream is known to the
// server, so that tables and Shutdown can end it.
func (st *stream) join(client message.Duplex, backend *upstream.Stream, first []byte) (relayed, error) {
	s := st.srv
	st.c.buf = nil // for heads of requests
	st.backend.Store(backend)
	s.mu.Lock()
	s.streams[st] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.streams, st)
		s.mu.Unlock()
	}()
	// A table that came into force since the hello has not seen this stream.
	if t := s.table.Load(); t != st.table {
		st.review(t)
	}
	moved, err := s.relay(client, backend, first, s.cfg.Limits.TunnelIdle)
	if st.cut.Load() {
		err = errStreamCut
	}
	return moved, err
}

// review ends the stream if t would not have admitted it by the rule that did.
// The number of its like is not asked for: it has its place.
func (st *stream) review(t *table) {
	if st.keeps(t) {
		return
	}
	st.cut.Store(true)
	_ = st.c.raw.Close()
	if b := st.backend.Load(); b != nil {
		_ = b.Close()
	}
}

func (st *stream) keeps(t *table) bool {
	b := t.binds[st.key]
	if b == nil {
		return false
	}
	l, ok := b.listeners.find(st.name)
	if !ok || l.Name != st.listener.Name || l.Passthrough != st.listener.Passthrough {
		return false
	}
	_, r := t.stream(l, st.name)
	if r == nil || r.ID != st.rule.ID {
		return false
	}
	x := filters.Exchange{Req: &st.req, Rule: r.Rule, Source: st.x.Source, Now: st.x.Now, ListenerPort: l.Port}
	return r.stream.Still(st.srv.ctx, &x).Allowed
}

// abandon gives up a stream whose TLS came to nothing.
func (st *stream) abandon(err error) {
	if st.rule == nil {
		st.x.Done()
		return // a hello that could not be read: counted, and no event
	}
	st.record(failed(st.verdict, 0, bulwark.CodeClientGone, "the TLS handshake failed"), relayed{}, 0, err)
}

// record ends the stream's accounts.
func (st *stream) record(d bulwark.Decision, moved relayed, took time.Duration, cause error) {
	st.x.Done()
	s := st.srv
	e := &bulwark.Event{
		Time: st.start, RequestID: s.requestID(), Scheme: "tls", Protocol: "tls", Host: st.name, Decision: d,
		BytesIn: moved.in, BytesOut: moved.out, Upstream: took, Duration: s.cfg.Now().Sub(st.start),
	}
	if p := newPeer(st.c.raw, st.key, nil); p.text != "" {
		e.SourceIP = p.text
	}
	if st.listener != nil {
		e.Listener = st.listener.Name
	}
	var m *ruleMetrics
	if st.rule != nil {
		e.Route, m = st.rule.ID, st.rule.metrics
	}
	if st.ref != nil && st.ref.Backend >= 0 {
		e.Backend = st.table.ir.Backends[st.ref.Backend].Name
	}
	if cause != nil {
		e.Error = cause.Error()
	}
	s.metrics.countStream(m, e)
	s.cfg.Recorder.Record(e)
}
