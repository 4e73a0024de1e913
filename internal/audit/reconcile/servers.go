package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Servers knows when each server was heard last, and says which fall silent. It may be
// used by several goroutines. Times should come from a clock that does not step.
type Servers struct {
	silence time.Duration
	learn   bool

	mu    sync.Mutex
	known map[string]*server
}

type server struct {
	last    time.Time // or when the waiting for it began
	heard   bool
	silent  bool
	since   time.Time // silent since
	changed bool      // it was heard again since the last Check
}

// mostServers bounds what is learned: who may send may call itself by any name.
const mostServers = 1000

// NewServers waits for each of expected from now on. A server is known by the name of its
// feed, such as "webhook/apiserver-0", or by what stands there after the first slash.
// With learn, every other that is heard is expected from then on.
func NewServers(silence time.Duration, expected []string, learn bool, now time.Time) (*Servers, error) {
	if silence <= 0 {
		return nil, errors.New("watch for silent servers: a positive time is required")
	}
	s := &Servers{silence: silence, learn: learn, known: map[string]*server{}}
	for _, name := range expected {
		if name == "" || s.known[name] != nil {
			return nil, fmt.Errorf("watch for silent servers: %q is empty or named twice", name)
		}
		s.known[name] = &server{last: now}
	}
	return s, nil
}

// Hear notes that a feed has something. It reports whether the server is a new one.
func (s *Servers) Hear(source string, now time.Time) (fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := source
	if _, rest, ok := strings.Cut(source, "/"); ok && s.known[rest] != nil {
		name = rest
	}
	one := s.known[name]
	if one == nil {
		if !s.learn || len(s.known) >= mostServers {
			return false
		}
		one, fresh = &server{}, true
		s.known[name] = one
	}
	one.last, one.heard = now, true
	if one.silent {
		one.changed = true
	}
	return fresh
}

// Learned lists the servers that were heard, for Hear of the next process.
func (s *Servers) Learned() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for name, one := range s.known {
		if one.heard {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Change is that a server fell silent, or is heard again.
type Change struct {
	Server string
	Silent bool
	// For is how long it has told nothing, or had not.
	For time.Duration
	// Summary says it in one sentence.
	Summary string
}

// Check gives what changed since the last call, by name.
func (s *Servers) Check(now time.Time) []Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Change
	for name, one := range maps.All(s.known) {
		switch gap := now.Sub(one.last); {
		case one.silent && one.changed:
			one.silent, one.changed = false, false
			gap = one.last.Sub(one.since)
			out = append(out, Change{
				Server: name, For: gap,
				Summary: fmt.Sprintf("API server %s sends audit events again, after %s", name, gap.Round(time.Second)),
			})
		case !one.silent && gap > s.silence:
			one.silent, one.since = true, one.last
			c := Change{Server: name, Silent: true, For: gap, Summary: fmt.Sprintf("API server %s has sent no audit event for %s", name, gap.Round(time.Second))}
			if !one.heard {
				c.Summary = fmt.Sprintf("API server %s is expected to send audit events, and has sent none for %s", name, gap.Round(time.Second))
			}
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b Change) int { return cmp.Compare(a.Server, b.Server) })
	return out
}
