package limit

import (
	"hash/maphash"
	"sync"
)

// InFlight counts what is going on per key. It holds only keys in use, so what
// bounds the requests bounds its memory. The zero InFlight is not usable: see
// NewInFlight.
type InFlight struct {
	seed  maphash.Seed
	shard [shards]inFlightShard
}

type inFlightShard struct {
	mu    sync.Mutex
	count map[uint64]int
	free  []*slot
	_     [64]byte
}

// slot is one request in flight. Its release is bound once and the slot used
// again, so that counting does not allocate.
type slot struct {
	shard   *inFlightShard
	hash    uint64
	release func()
}

// keptSlots bounds the idle slots that a shard keeps.
const keptSlots = 256

// NewInFlight makes an empty count.
func NewInFlight() *InFlight { return &InFlight{seed: maphash.MakeSeed()} }

// Acquire counts one more of key where fewer than most are in flight, and gives
// what must be called exactly once when it ends. The bound may differ from call
// to call: the count outlives a change of configuration.
func (f *InFlight) Acquire(key string, most int) (release func(), ok bool) {
	h := maphash.String(f.seed, key)
	s := &f.shard[h%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count[h] >= most {
		return nil, false
	}
	if s.count == nil {
		s.count = make(map[uint64]int)
	}
	s.count[h]++
	var one *slot
	if n := len(s.free); n > 0 {
		one, s.free = s.free[n-1], s.free[:n-1]
	} else {
		one = &slot{shard: s}
		one.release = one.done
	}
	one.hash = h
	return one.release, true
}

// Keys is how many keys have something in flight.
func (f *InFlight) Keys() int {
	n := 0
	for i := range f.shard {
		s := &f.shard[i]
		s.mu.Lock()
		n += len(s.count)
		s.mu.Unlock()
	}
	return n
}

func (one *slot) done() {
	s := one.shard
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count[one.hash] > 1 {
		s.count[one.hash]--
	} else {
		delete(s.count, one.hash)
	}
	if len(s.free) < keptSlots {
		s.free = append(s.free, one)
	}
}
