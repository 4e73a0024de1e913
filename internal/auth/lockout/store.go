package lockout

import (
	"container/list"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shards = 16
	// slots is into how many parts a window is divided. Failures leave the
	// window a part at a time, so one counts for up to 1/slots longer than the
	// window: never shorter.
	slots = 8
)

// key is what is counted: a source, a name, or a pair of them.
type key struct {
	policy string
	name   string
	source netip.Prefix
}

// store is counters by key, bounded.
type store struct {
	seed   maphash.Seed
	size   atomic.Int64
	shards [shards]shard
	most   int // entries of one shard
}

type shard struct {
	mu     sync.RWMutex
	m      map[key]*entry
	oldest list.List // of *entry, the one that failed longest ago first
}

// entry is the failures of one key.
type entry struct {
	key   key
	at    *list.Element
	last  int64 // index of the newest slot since the epoch
	slots [slots + 1]uint16
	// until is when the lock, or the trust, ends.
	until time.Time
	// from is where the failures came from, mixed that it was more than one
	// source.
	from  netip.Prefix
	mixed bool
}

func newStore(capacity int) *store {
	s := &store{seed: maphash.MakeSeed(), most: capacity / shards}
	for i := range s.shards {
		s.shards[i].m = make(map[key]*entry)
	}
	return s
}

func (s *store) shard(k key) *shard { return &s.shards[maphash.Comparable(s.seed, k)%shards] }

func (s *store) empty() bool { return s.size.Load() == 0 }

// left is how long the key's lock, or trust, still holds.
func (s *store) left(k key, now time.Time) time.Duration {
	sh := s.shard(k)
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	e := sh.m[k]
	if e == nil {
		return 0
	}
	return e.until.Sub(now)
}

// touch finds or makes the entry of a key and makes it the newest.
func (s *store) touch(sh *shard, k key) *entry {
	if e := sh.m[k]; e != nil {
		sh.oldest.MoveToBack(e.at)
		return e
	}
	if len(sh.m) >= s.most {
		if old, ok := sh.oldest.Front().Value.(*entry); ok {
			s.remove(sh, old)
		}
	}
	e := &entry{key: k}
	e.at = sh.oldest.PushBack(e)
	sh.m[k] = e
	s.size.Add(1)
	return e
}

func (s *store) remove(sh *shard, e *entry) {
	sh.oldest.Remove(e.at)
	delete(sh.m, e.key)
	s.size.Add(-1)
}

// count adds a failure and reports whether it locked the key.
func (s *store) count(k key, from netip.Prefix, p *Policy, now time.Time) bool {
	sh := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := s.touch(sh, k)
	if now.Before(e.until) {
		return false // requests that were under way when it was locked
	}
	n := e.add(p.Window, now)
	e.mixed = e.mixed || e.from.IsValid() && e.from != from
	e.from = from
	if n < p.Attempts {
		return false
	}
	e.until = now.Add(p.Duration)
	e.slots = [slots + 1]uint16{}
	e.from, e.mixed = netip.Prefix{}, false
	return true
}

// add counts one failure and gives the number in the window.
func (e *entry) add(window time.Duration, now time.Time) int {
	slot := now.UnixNano() / max(int64(window)/slots, 1)
	n := int64(len(e.slots))
	for i := max(e.last+1, slot-n+1); i <= slot; i++ {
		e.slots[i%n] = 0
	}
	e.last = max(e.last, slot)
	if at := &e.slots[e.last%n]; *at < 1<<15 {
		*at++
	}
	sum := 0
	for _, c := range e.slots {
		sum += int(c)
	}
	if sum == 1 {
		e.mixed, e.from = false, netip.Prefix{} // the older failures are forgotten
	}
	return sum
}

// forget drops the failures of a key that all came from one source. A lock
// stays.
func (s *store) forget(k key, from netip.Prefix, now time.Time) {
	if s.empty() {
		return
	}
	sh := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.m[k]; e != nil && !e.mixed && e.from == from && !now.Before(e.until) {
		s.remove(sh, e)
	}
}

// trust notes that a pair proved itself.
func (s *store) trust(k key, now time.Time) {
	// Most successes come again and again: looking is cheaper than writing.
	if s.left(k, now) > trustFor-time.Minute {
		return
	}
	sh := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := s.touch(sh, k)
	e.until = now.Add(trustFor)
	e.slots = [slots + 1]uint16{}
}

// distrust counts a failure of a trusted pair, and ends the trust after as many
// as would lock.
func (s *store) distrust(k key, p *Policy, now time.Time) {
	sh := s.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.m[k]; e != nil && e.add(p.Window, now) >= p.Attempts {
		s.remove(sh, e)
	}
}
