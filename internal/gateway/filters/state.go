package filters

import (
	"fmt"
	"sync"
	"time"

	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/limit"
)

// State is what outlives a table: rate-limit counters, lock-outs, key sets and
// verdict caches, found again by name and configuration after a reload. Make it
// once per process with NewState.
type State struct {
	// Auth is what authentication keeps.
	Auth *AuthState

	mu       sync.Mutex
	closed   bool
	rates    map[rateID]*rate
	inFlight map[string]*limit.InFlight
	// retired are queues that no table uses but that requests may still wait in.
	retired []*limit.Queue
}

// rateID is what makes two limits the same: a limit with other numbers counts
// anew.
type rateID struct {
	rule   string
	count  int
	period time.Duration
	burst  int
}

// rate is the counters of one limit. queue is nil until a rule asks for it.
type rate struct {
	limiter *limit.Limiter
	queue   *limit.Queue
}

// NewState makes an empty state. Close ends it.
func NewState() *State {
	return &State{
		Auth:     NewAuthState(),
		rates:    make(map[rateID]*rate),
		inFlight: make(map[string]*limit.InFlight),
	}
}

func idOf(l *ir.RateLimit) rateID { return rateID{l.Rule, l.Count, l.Period, l.Burst} }

// rate finds the counters of a limit or begins them. Where the limit has a
// queue, its depth becomes what the newest table says.
func (s *State) rate(l *ir.RateLimit, now func() time.Time) (*rate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := idOf(l)
	r := s.rates[id]
	if r == nil {
		limiter, err := limit.New(limit.Config{Count: l.Count, Period: l.Period, Burst: l.Burst}, now())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.Rule, err)
		}
		r = &rate{limiter: limiter}
		s.rates[id] = r
	}
	if l.Queue == nil {
		return &rate{limiter: r.limiter}, nil
	}
	if r.queue == nil {
		r.queue = limit.NewQueue(r.limiter, l.Queue.Depth, now)
		if s.closed {
			r.queue.Close()
		}
	}
	r.queue.SetDepth(l.Queue.Depth)
	return &rate{limiter: r.limiter, queue: r.queue}, nil
}

// concurrency finds what is in flight under a rule's name, whatever its bound.
func (s *State) concurrency(rule string) *limit.InFlight {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.inFlight[rule]
	if f == nil {
		f = limit.NewInFlight()
		s.inFlight[rule] = f
	}
	return f
}

// Retain forgets the counters that t does not ask for. Call it after t has
// replaced the table before; requests that still run on an older table keep
// what they hold.
func (s *State) Retain(t *ir.Table) {
	rates, inFlight := make(map[rateID]bool), make(map[string]bool)
	for i := range t.Rules {
		r := &t.Rules[i]
		for j := range r.RateLimits {
			rates[idOf(&r.RateLimits[j])] = true
		}
		if r.Concurrency != nil {
			inFlight[r.Concurrency.Rule] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := s.retired[:0]
	for _, q := range s.retired {
		if q.Waiting() > 0 {
			waiting = append(waiting, q)
		}
	}
	clear(s.retired[len(waiting):])
	s.retired = waiting
	for id, r := range s.rates {
		if rates[id] {
			continue
		}
		delete(s.rates, id)
		if r.queue != nil {
			s.retired = append(s.retired, r.queue)
		}
	}
	for rule, f := range s.inFlight {
		// A rule that comes back must find what is still in flight.
		if !inFlight[rule] && f.Keys() == 0 {
			delete(s.inFlight, rule)
		}
	}
}

// Close refuses everyone who waits in a rate-limit queue, now and later.
func (s *State) Close() {
	if s.Auth != nil {
		s.Auth.Close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, r := range s.rates {
		if r.queue != nil {
			r.queue.Close()
		}
	}
	for _, q := range s.retired {
		q.Close()
	}
}

// Stats is the size of the state, for metrics.
type Stats struct {
	// RateKeys is how many keys rate limits hold, Overflowed how many requests
	// met the bucket that keys beyond the bound share.
	RateKeys   int
	Overflowed uint64
	// Waiting is how many requests wait in queues.
	Waiting int
	// InFlightKeys is how many keys of concurrency limits are in use.
	InFlightKeys int
}

// Stats counts now. It takes the locks of all limits one after the other.
func (s *State) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	var st Stats
	for _, r := range s.rates {
		st.RateKeys += r.limiter.Keys()
		st.Overflowed += r.limiter.Overflowed()
		if r.queue != nil {
			st.Waiting += r.queue.Waiting()
		}
	}
	for _, q := range s.retired {
		st.Waiting += q.Waiting()
	}
	for _, f := range s.inFlight {
		st.InFlightKeys += f.Keys()
	}
	return st
}
