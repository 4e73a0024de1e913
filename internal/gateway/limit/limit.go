// Package limit counts: a GCRA rate limiter per key, a bounded fair queue in
// front of it, and a count of what is in flight per key. All of it lives in
// memory, is bounded, and errs on the strict side: clocks that go backwards,
// keys beyond the bound and lost races never grant more than was asked for.
package limit

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultMaxKeys is how many keys a limiter tells apart where Config says 0.
const DefaultMaxKeys = 1 << 16

const (
	shards = 16
	// sweepPerInsert is how many old keys are looked at for each new one. Two
	// means that dead keys go faster than new ones come.
	sweepPerInsert = 2
)

// Config is a rate: Count per Period sustained, Burst at once.
type Config struct {
	Count  int
	Period time.Duration
	// Burst is how many may come at the same instant; at least 1.
	Burst int
	// MaxKeys bounds the memory, at about 40 bytes for each. Zero means
	// DefaultMaxKeys.
	MaxKeys int
}

// Verdict is what a limiter says about one request. The zero Verdict refuses.
type Verdict struct {
	OK bool
	// Remaining is how many more could come at this instant.
	Remaining int
	// RetryAfter is when the next one has room; 0 where OK.
	RetryAfter time.Duration
	// Reset is when the whole burst is there again.
	Reset time.Duration
}

// Limiter is a generic cell rate algorithm for many keys. Keys are told apart
// by a seeded 64-bit hash and never kept, so they may be of any length. When
// MaxKeys are in use at once, further keys share one bucket, which Overflowed
// counts: a flood of keys makes newcomers wait and never lets them through.
type Limiter struct {
	seed     maphash.Seed
	base     time.Time
	interval int64 // nanoseconds between requests at the sustained rate
	slack    int64 // interval × (Burst-1)
	perShard int

	shard [shards]shard

	// overflow is the arrival time of the bucket that keys beyond the bound
	// share. A key that gets a place later starts from it, so changing places
	// wins nothing.
	overflow   atomic.Int64
	overflowed atomic.Uint64
}

// shard is a part of the keys. Its clock only moves forward: a swept key must
// not come back to life in the past.
type shard struct {
	mu      sync.Mutex
	clock   int64
	index   map[uint64]int32
	entries []entry
	cursor  int
	_       [64]byte // keeps neighbours off the cache line
}

// entry is one key: tat is its theoretical arrival time, in nanoseconds since
// base, when its bucket is empty of requests again.
type entry struct {
	hash uint64
	tat  int64
}

// New makes a limiter whose time begins at now. The rate is rounded down to
// whole nanoseconds between requests. The error says which number is out of
// range.
func New(c Config, now time.Time) (*Limiter, error) {
	switch {
	case c.Count < 1:
		return nil, fmt.Errorf("limit: count is %d, must be at least 1", c.Count)
	case c.Period <= 0:
		return nil, fmt.Errorf("limit: period is %v, must be positive", c.Period)
	case c.Burst < 1:
		return nil, fmt.Errorf("limit: burst is %d, must be at least 1", c.Burst)
	case c.MaxKeys < 0:
		return nil, fmt.Errorf("limit: bound of keys is %d, must not be negative", c.MaxKeys)
	case now.IsZero():
		return nil, errors.New("limit: the clock stands at zero")
	}
	interval := int64(c.Period) / int64(c.Count)
	if int64(c.Period)%int64(c.Count) != 0 {
		interval++
	}
	// A quarter of the range leaves room for sums of a time and a burst.
	if interval > math.MaxInt64/4/int64(c.Burst) {
		return nil, fmt.Errorf("limit: a burst of %d at %d per %v fills more than a lifetime", c.Burst, c.Count, c.Period)
	}
	maxKeys := c.MaxKeys
	if maxKeys == 0 {
		maxKeys = DefaultMaxKeys
	}
	return &Limiter{
		seed:     maphash.MakeSeed(),
		base:     now,
		interval: interval,
		slack:    interval * int64(c.Burst-1),
		perShard: max(1, maxKeys/shards),
	}, nil
}

// Allow counts one request of key at now, where there is room for it.
func (l *Limiter) Allow(key string, now time.Time) Verdict {
	return l.take(l.hash(key), l.since(now), true)
}

// Peek says what Allow would, and counts nothing.
func (l *Limiter) Peek(key string, now time.Time) Verdict {
	return l.take(l.hash(key), l.since(now), false)
}

// Keys is how many keys are held, some of which may be dead.
func (l *Limiter) Keys() int {
	n := 0
	for i := range l.shard {
		s := &l.shard[i]
		s.mu.Lock()
		n += len(s.entries)
		s.mu.Unlock()
	}
	return n
}

// Overflowed is how many requests met the shared bucket because the bound of
// keys was reached.
func (l *Limiter) Overflowed() uint64 { return l.overflowed.Load() }

func (l *Limiter) hash(key string) uint64 { return maphash.String(l.seed, key) }

// since clamps to a range in which no later sum can overflow.
func (l *Limiter) since(now time.Time) int64 {
	return min(max(int64(now.Sub(l.base)), 0), math.MaxInt64/4)
}

func (l *Limiter) take(h uint64, now int64, commit bool) Verdict {
	s := &l.shard[h%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	now = max(now, s.clock)
	s.clock = now
	if i, ok := s.index[h]; ok {
		tat, v := l.judge(s.entries[i].tat, now)
		if v.OK && commit {
			s.entries[i].tat = tat
		}
		return v
	}
	if !commit {
		// Whether there is a place or not, this is where the key would start.
		_, v := l.judge(l.overflow.Load(), now)
		return v
	}
	s.sweep(now)
	if len(s.entries) >= l.perShard {
		return l.takeOverflow(now)
	}
	tat, v := l.judge(l.overflow.Load(), now)
	if !v.OK {
		return v
	}
	if s.index == nil {
		s.index = make(map[uint64]int32)
	}
	s.index[h] = int32(len(s.entries)) //nolint:gosec // bounded by perShard
	s.entries = append(s.entries, entry{h, tat})
	return v
}

func (l *Limiter) takeOverflow(now int64) Verdict {
	l.overflowed.Add(1)
	for {
		old := l.overflow.Load()
		tat, v := l.judge(old, now)
		if !v.OK || l.overflow.CompareAndSwap(old, tat) {
			return v
		}
	}
}

// judge gives the verdict for one request at now in a bucket that stands at
// tat, and where the bucket stands after it if the verdict is OK.
func (l *Limiter) judge(tat, now int64) (int64, Verdict) {
	tat = max(tat, now)
	if wait := tat - l.slack - now; wait > 0 {
		return 0, Verdict{RetryAfter: time.Duration(wait), Reset: time.Duration(tat - now)}
	}
	tat += l.interval
	used := tat - now
	return tat, Verdict{
		OK:        true,
		Remaining: int((l.slack + l.interval - used) / l.interval),
		Reset:     time.Duration(used),
	}
}

// sweep drops a few keys whose buckets are empty: to forget them changes
// nothing.
func (s *shard) sweep(now int64) {
	for range sweepPerInsert {
		if len(s.entries) == 0 {
			return
		}
		if s.cursor >= len(s.entries) {
			s.cursor = 0
		}
		e := s.entries[s.cursor]
		if e.tat > now {
			s.cursor++
			continue
		}
		last := len(s.entries) - 1
		moved := s.entries[last]
		s.entries[s.cursor] = moved
		s.entries = s.entries[:last]
		delete(s.index, e.hash)
		if moved.hash != e.hash {
			s.index[moved.hash] = int32(s.cursor) //nolint:gosec // bounded by perShard
		}
	}
}
