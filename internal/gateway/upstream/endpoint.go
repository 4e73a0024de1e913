package upstream

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Passive health. An endpoint is ejected after ejectAfter failures in a row
// (connection refused, reset, timeout), for ejectBase doubled with each ejection
// in a row up to ejectMax, and never more than half of a backend's endpoints.
const (
	ejectAfter = 3
	ejectBase  = time.Second
	ejectMax   = time.Minute
)

// endpoint is one address of a backend: its idle connections and its health.
// Sets that follow each other share it.
type endpoint struct {
	addr string
	g    *group

	active  atomic.Int32 // exchanges on it
	fails   atomic.Int32 // in a row
	ejected atomic.Int32 // ejections in a row
	until   atomic.Int64 // ejected until, in ns since 1970; 0 for not ejected
	wary    atomic.Int64 // until, like it; see dead
	trust   atomic.Int32 // looks in a row that found a connection alive
	refs    atomic.Int32 // sets that use it; at 0 nothing is pooled any more

	mu   sync.Mutex
	idle []*conn // the most recently used last
}

// conn is one connection to an endpoint.
type conn struct {
	e    *endpoint
	sock *socket
	rw   stream // sock, or TLS on it
	// since is when it became idle, in ns of the group's coarse clock.
	since int64
	// used says that it has carried an exchange before.
	used bool
}

// stream is what an exchange reads and writes.
type stream interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	Close() error
}

// get gives a connection that was open a moment ago, or nil. Where careful is
// set, it is one that was idle for less than freshIdle, of an endpoint that is
// known not to close such connections.
func (e *endpoint) get(careful bool) *conn {
	if careful && e.wary.Load() > e.g.coarse.Load() {
		return nil
	}
	for {
		e.mu.Lock()
		last := len(e.idle) - 1
		if last < 0 {
			e.mu.Unlock()
			return nil
		}
		c := e.idle[last]
		if careful && e.g.coarse.Load()-c.since >= int64(freshIdle) {
			e.mu.Unlock()
			return nil
		}
		e.idle[last] = nil
		e.idle = e.idle[:last]
		e.mu.Unlock()
		// Anything but silence is the end: a close, a response that nobody
		// asked for, or TLS business that nobody is there to attend to.
		if c.sock.look() == peekQuiet {
			if e.trust.Load() < trustAfter && e.trust.Add(1) < trustAfter && careful {
				e.mu.Lock()
				e.idle = append(e.idle, c)
				e.mu.Unlock()
				return nil
			}
			return c
		}
		_ = c.sock.Close()
		if e.dead(c); careful && e.wary.Load() > e.g.coarse.Load() {
			return nil
		}
	}
}

// dead notes that the idle connection c had ended. If it had hardly been idle,
// the backend closes connections without waiting for silence, and what must not
// be sent twice stays away from pooled ones for a while, and then until it has
// earned trust again.
func (e *endpoint) dead(c *conn) {
	e.g.stats.stale.Add(1)
	if now := e.g.coarse.Load(); now-c.since < int64(freshIdle) {
		e.wary.Store(now + int64(waryFor))
		e.trust.Store(0)
	}
}

// put takes back a connection on which nothing is under way.
func (e *endpoint) put(c *conn) {
	c.since, c.used = e.g.coarse.Load(), true
	e.mu.Lock()
	if e.refs.Load() > 0 && len(e.idle) < e.g.opt.MaxIdlePerEndpoint && c.sock.raw != nil {
		e.idle = append(e.idle, c)
		e.mu.Unlock()
		return
	}
	e.mu.Unlock()
	_ = c.rw.Close()
}

// release ends one set's use.
func (e *endpoint) release() {
	if e.refs.Add(-1) == 0 {
		e.expire(int64(^uint64(0) >> 1))
	}
}

// expire closes the connections that have been idle since before.
func (e *endpoint) expire(before int64) {
	e.mu.Lock()
	n := 0
	for n < len(e.idle) && e.idle[n].since < before {
		n++
	}
	old := append([]*conn(nil), e.idle[:n]...)
	rest := copy(e.idle, e.idle[n:])
	clear(e.idle[rest:])
	e.idle = e.idle[:rest]
	e.mu.Unlock()
	for _, c := range old {
		_ = c.rw.Close()
	}
}

func (e *endpoint) idleCount() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.idle)
}

// isEjected reports whether e is to be left alone for now.
func (e *endpoint) isEjected(now int64) bool {
	until := e.until.Load()
	return until != 0 && until > now
}

// good notes that e did what it should.
func (e *endpoint) good() {
	if e.fails.Load() != 0 || e.until.Load() != 0 {
		e.fails.Store(0)
		e.ejected.Store(0)
		e.until.Store(0)
	}
}

// failed notes that e did not, and ejects it where that is due.
func (b *Backend) failed(ctx context.Context, e *endpoint) {
	if e.fails.Add(1) < ejectAfter || len(b.endpoints) < 2 {
		return
	}
	now := b.opt.Now().UnixNano()
	out := 0
	for _, o := range b.endpoints {
		if o.isEjected(now) {
			out++
		}
	}
	if e.isEjected(now) || 2*(out+1) > len(b.endpoints) {
		return
	}
	d := min(ejectBase<<min(e.ejected.Add(1)-1, 10), ejectMax)
	e.fails.Store(0)
	e.until.Store(now + int64(d))
	b.g.ejections.Store(now + int64(d))
	b.opt.Log.LogAttrs(ctx, slog.LevelWarn, "endpoint ejected", slog.String("backend", b.name), slog.String("endpoint", e.addr), slog.Duration("for", d))
}

// pick chooses an endpoint: of two at random the one with fewer exchanges,
// leaving out avoid and the ejected where others are left.
func (b *Backend) pick(avoid *endpoint) *endpoint {
	n := uint64(len(b.endpoints))
	if n == 1 {
		return b.endpoints[0]
	}
	r := mix(b.g.turn.Add(1))
	i := r >> 32 % n
	j := (i + 1 + r&0xffffffff%(n-1)) % n
	x, y := b.endpoints[i], b.endpoints[j]
	if y.active.Load() < x.active.Load() {
		x, y = y, x
	}
	var now int64
	if b.g.ejections.Load() != 0 {
		now = b.opt.Now().UnixNano()
		if now > b.g.ejections.Load() {
			b.g.ejections.Store(0) // all are over; a racing ejection shows in until
		}
	}
	usable := func(e *endpoint) bool { return e != avoid && (now == 0 || !e.isEjected(now)) }
	if usable(x) {
		return x
	}
	if usable(y) {
		return y
	}
	for k := range n {
		if e := b.endpoints[(i+k)%n]; usable(e) {
			return e
		}
	}
	if x == avoid {
		return y
	}
	return x
}

// mix spreads a counter over 64 bits (SplitMix64's finaliser).
func mix(x uint64) uint64 {
	x *= 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
