package upstream

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// Set is the backends of one ir.Table, made ready.
type Set struct {
	opt      Options
	backends []*Backend
	mirrors  *mirrors

	stopOnce sync.Once
	stop     chan struct{}
	stopped  sync.WaitGroup
	released sync.Once
}

// group is what backends of the same settings in sets that follow each other
// share: everything that outlives a reload.
type group struct {
	opt    Options
	cfg    ir.Backend
	tls    *tlsSettings
	h2     *http.Transport
	refs   atomic.Int32 // sets that use it
	coarse atomic.Int64 // a clock that ticks with the janitor, in ns since 1970
	turn   atomic.Uint64
	// ejections is when the last ejection ends, in ns since 1970; 0 for none.
	ejections atomic.Int64
	stats     counters

	exchanges sync.Pool // of *exchange
	buffers   sync.Pool // of *buffer
	// endpoints are those of the latest set, by address.
	endpoints map[string]*endpoint
}

// NewSet makes the backends of table ready, one for each of table.Backends.
// Backends that prev (which may be nil) has with the same settings keep their
// connections and health; where only the endpoints changed, those that stayed
// keep theirs. The errors are by index in table.Backends, for example of one
// whose CA cannot be parsed: that backend refuses every request. The caller
// calls Close in the end.
func NewSet(table *ir.Table, prev *Set, opt Options) (*Set, map[int]error) {
	s := &Set{opt: opt.withDefaults(), stop: make(chan struct{}), mirrors: newMirrors()}
	old := map[string]*group{}
	if prev != nil {
		for _, b := range prev.backends {
			if b.g != nil {
				old[b.name] = b.g
			}
		}
	}
	errs := map[int]error{}
	now := s.opt.Now().UnixNano()
	for i := range table.Backends {
		cfg := &table.Backends[i]
		g := old[cfg.Name]
		if g == nil || !sameSettings(&g.cfg, cfg) {
			var err error
			if g, err = newGroup(cfg, s.opt); err != nil {
				errs[i] = fmt.Errorf("backend %s: %w", cfg.Name, err)
				s.backends = append(s.backends, &Backend{name: cfg.Name, set: s, opt: &s.opt, broken: errs[i]})
				continue
			}
		}
		g.coarse.Store(now)
		s.backends = append(s.backends, g.backend(s, cfg))
	}
	s.stopped.Go(s.janitor)
	return s, errs
}

func newGroup(cfg *ir.Backend, opt Options) (*group, error) {
	g := &group{opt: opt, cfg: *cfg, endpoints: map[string]*endpoint{}}
	if cfg.TLS != nil {
		t, err := newTLS(cfg, opt)
		if err != nil {
			return nil, err
		}
		g.tls = t
	}
	switch cfg.Protocol {
	case "", ir.ProtocolHTTP1:
	case ir.ProtocolHTTP2:
		g.h2 = newHTTP2(g)
	default:
		return nil, fmt.Errorf("unknown protocol %q", cfg.Protocol)
	}
	g.exchanges.New = func() any { return &exchange{} }
	g.buffers.New = func() any { return &buffer{b: make([]byte, 0, bufferSize+chunkRoom)} }
	return g, nil
}

// backend makes the view of g that a set with cfg has.
func (g *group) backend(s *Set, cfg *ir.Backend) *Backend {
	b := &Backend{name: cfg.Name, set: s, opt: &g.opt, g: g, refuse: cfg.Refuse}
	g.refs.Add(1)
	endpoints := make(map[string]*endpoint, len(cfg.Endpoints))
	for _, addr := range cfg.Endpoints {
		if endpoints[addr] != nil {
			continue
		}
		e := g.endpoints[addr]
		if e == nil || e.refs.Load() <= 0 {
			e = &endpoint{addr: addr, g: g}
		}
		e.refs.Add(1)
		endpoints[addr] = e
		b.endpoints = append(b.endpoints, e)
	}
	g.endpoints = endpoints
	return b
}

// sameSettings reports whether connections to endpoints of a may serve b.
func sameSettings(a, b *ir.Backend) bool {
	if a.Protocol != b.Protocol || a.ConnectTimeout != b.ConnectTimeout || (a.TLS == nil) != (b.TLS == nil) {
		return false
	}
	if a.TLS == nil {
		return true
	}
	x, y := a.TLS, b.TLS
	sameSAN := func(p, q ir.SAN) bool { return p.Type == q.Type && p.Value == q.Value }
	if x.ServerName != y.ServerName || x.CA != y.CA || x.System != y.System ||
		!slices.EqualFunc(x.SubjectAltNames, y.SubjectAltNames, sameSAN) || (x.Client == nil) != (y.Client == nil) {
		return false
	}
	return x.Client == nil || x.Client.Cert == y.Client.Cert && bytes.Equal(x.Client.Key.Reveal(), y.Client.Key.Reveal())
}

// Backend gives the backend of table.Backends[i].
func (s *Set) Backend(i int) *Backend { return s.backends[i] }

// janitor ticks the coarse clocks and closes connections that were idle for
// too long, until the set ends.
func (s *Set) janitor() {
	t := time.NewTicker(min(max(s.opt.IdleTimeout/8, 10*time.Millisecond), freshIdle/4))
	defer t.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-t.C:
			s.sweep(s.opt.Now())
		}
	}
}

// sweep does one round of the janitor's work.
func (s *Set) sweep(now time.Time) {
	before := now.Add(-s.opt.IdleTimeout).UnixNano()
	for _, b := range s.backends {
		if b.g == nil {
			continue
		}
		b.g.coarse.Store(now.UnixNano())
		for _, e := range b.endpoints {
			e.expire(before)
		}
	}
}

// Retire tells that next took the place of s. Idle connections that next does
// not share are closed; exchanges in flight finish and may still start, but
// leave no idle connection behind.
func (s *Set) Retire(next *Set) {
	_ = next // what it shares is counted, so it needs no asking
	s.stopOnce.Do(func() { close(s.stop) })
	s.stopped.Wait()
	s.released.Do(func() {
		for _, b := range s.backends {
			if b.g == nil {
				continue
			}
			for _, e := range b.endpoints {
				e.release()
			}
			if b.g.refs.Add(-1) == 0 && b.g.h2 != nil {
				b.g.h2.CloseIdleConnections()
			}
		}
	})
}

// Close ends what the set owns and waits for it: the janitor, mirrored requests
// and idle connections. Exchanges in flight finish by themselves.
func (s *Set) Close() error {
	s.Retire(nil)
	s.mirrors.close()
	return nil
}

// counters of one backend, kept over reloads.
type counters struct {
	requests, failures, retries, stale, connects, mirrored, dropped atomic.Uint64
}

// Stats are the figures of one backend. Counts go on over reloads as long as
// the backend's settings stay the same.
type Stats struct {
	Backend string
	// Requests were asked for; Failures of them gave an error.
	Requests, Failures uint64
	// Retries are further tries after a try failed or gave a code to retry.
	Retries uint64
	// Stale are pooled connections that turned out to be dead.
	Stale uint64
	// Connects are connections that were opened.
	Connects uint64
	// Mirrored copies were sent; MirrorsDropped were not, because too many
	// were under way or the body was too large.
	Mirrored, MirrorsDropped uint64
	// Endpoints is how many there are; Ejected how many of them are left alone
	// for now.
	Endpoints, Ejected int
	// Idle connections, and exchanges in flight.
	Idle, Active int
}

// Stats gives the figures of all backends that are in order, in the order of
// the table.
func (s *Set) Stats() []Stats {
	now := s.opt.Now().UnixNano()
	out := make([]Stats, 0, len(s.backends))
	for _, b := range s.backends {
		if b.g == nil {
			continue
		}
		c := &b.g.stats
		st := Stats{
			Backend: b.name, Requests: c.requests.Load(), Failures: c.failures.Load(), Retries: c.retries.Load(), Stale: c.stale.Load(),
			Connects: c.connects.Load(), Mirrored: c.mirrored.Load(), MirrorsDropped: c.dropped.Load(), Endpoints: len(b.endpoints),
		}
		for _, e := range b.endpoints {
			st.Idle += e.idleCount()
			st.Active += int(e.active.Load())
			if e.isEjected(now) {
				st.Ejected++
			}
		}
		out = append(out, st)
	}
	return out
}
