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
	s := &Set{opt: opt.withDefaults(), stop: make(chan struct{}), mirrors: newMirrors(), backends: make([]*Backend, 0, len(table.Backends))}
	before := earlier{set: prev}
	errs := map[int]error{}
	now := s.opt.Now().UnixNano()
	for i := range table.Backends {
		cfg := &table.Backends[i]
		old := before.find(cfg)
		if old == nil {
			g, err := newGroup(cfg, s.opt)
			if err != nil {
				errs[i] = fmt.Errorf("backend %s: %w", cfg.Name, err)
				s.backends = append(s.backends, &Backend{name: cfg.Name, set: s, opt: &s.opt, broken: errs[i]})
				continue
			}
			old = &Backend{g: g}
		}
		old.g.coarse.Store(now)
		s.backends = append(s.backends, old.next(s, cfg))
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
	case "", ir.ProtocolHTTP1, ir.ProtocolTCP:
	case ir.ProtocolHTTP2:
		g.h2 = newHTTP2(g)
	default:
		return nil, fmt.Errorf("unknown protocol %q", cfg.Protocol)
	}
	g.exchanges.New = func() any { return &exchange{} }
	g.buffers.New = func() any { return &buffer{b: make([]byte, 0, bufferSize+chunkRoom)} }
	return g, nil
}

// earlier finds backends in the set before.
type earlier struct {
	set    *Set
	at     int // where the last one was found, and one further
	byName map[string][]*Backend
}

// find gives the backend of the same name and settings, or nil. Tables keep
// their order, so that most are where they were, but for what came and went.
func (p *earlier) find(cfg *ir.Backend) *Backend {
	if p.set == nil {
		return nil
	}
	for ; p.byName == nil && p.at < len(p.set.backends) && p.set.backends[p.at].name <= cfg.Name; p.at++ {
		if b := p.set.backends[p.at]; b.serves(cfg) {
			p.at++
			return b
		}
	}
	if p.byName == nil {
		p.byName = make(map[string][]*Backend, len(p.set.backends))
		for _, b := range p.set.backends {
			p.byName[b.name] = append(p.byName[b.name], b)
		}
	}
	for _, b := range p.byName[cfg.Name] {
		if b.serves(cfg) {
			return b
		}
	}
	return nil
}

// serves reports whether b, of an earlier set, is the backend that cfg asks for.
func (b *Backend) serves(cfg *ir.Backend) bool {
	return b.g != nil && b.name == cfg.Name && sameSettings(&b.g.cfg, cfg)
}

// next makes the view of b's group that a set with cfg has.
func (b *Backend) next(s *Set, cfg *ir.Backend) *Backend {
	g := b.g
	out := &Backend{name: cfg.Name, set: s, opt: &g.opt, g: g, refuse: cfg.Refuse, addrs: cfg.Endpoints}
	g.refs.Add(1)
	if len(b.addrs) > 0 && slices.Equal(b.addrs, cfg.Endpoints) {
		out.endpoints = b.endpoints
		for _, e := range out.endpoints {
			e.refs.Add(1)
		}
		return out
	}
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
		out.endpoints = append(out.endpoints, e)
	}
	g.endpoints = endpoints
	return out
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
