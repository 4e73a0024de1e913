package log

import (
	"context"
	"errors"
	"slices"
	"sync"

	"bulwark.dev/bulwark/internal/audit"
)

// recent are the last events that were written, without a gap between them, so that who
// looks at each event as it comes need not read it from the disk. It holds between most
// and twice as many; a most of 0 holds none.
type recent struct {
	most int

	mu     sync.Mutex
	first  uint64
	events []*audit.Event
}

// add takes events that are durable. Slices that from gave stay as they are.
func (r *recent) add(events []*audit.Event) {
	if r.most == 0 || len(events) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if first := events[0].Seq; len(r.events) == 0 || first != r.first+uint64(len(r.events)) {
		r.first, r.events = first, nil
	}
	r.events = append(r.events, events...)
	if spare := len(r.events) - r.most; spare > r.most {
		r.first += uint64(spare) //nolint:gosec // more than 0
		r.events = slices.Clone(r.events[spare:])
	}
}

// remember numbers the events of a frame that is durable, and keeps them for Events. The
// requests are not answered yet: nobody else has the events.
func (l *Log) remember(first uint64, own []*audit.Event, group []*request) {
	events := slices.Clip(own)
	for _, r := range group {
		for i := range r.entries {
			events = append(events, r.entries[i].Event)
		}
	}
	for i, e := range events {
		e.Seq = first + uint64(i)
	}
	l.recent.add(events)
}

// from gives the events from a number on, or none where it does not hold that one.
func (r *recent) from(seq uint64) []*audit.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	if seq < r.first || seq >= r.first+uint64(len(r.events)) {
		return nil
	}
	return slices.Clip(r.events[seq-r.first:])
}

// errRecent ends a reading from the disk where memory has the rest.
var errRecent = errors.New("the rest is in memory")

// Events calls fn with each event from a number on, in their order, up to the last one
// that is durable when it ends. What was written lately comes from memory (see
// Config.Recent): those events are fn's alone, so only one goroutine may follow a log
// in this way. Events whose bodies retention has taken away are passed over.
func (l *Log) Events(ctx context.Context, from uint64, fn func(*audit.Event) error) error {
	for from <= l.Last() {
		lately := l.recent.from(from)
		for _, e := range lately {
			if err := fn(e); err != nil {
				return err
			}
			from = e.Seq + 1
		}
		if len(lately) > 0 {
			continue
		}
		v, err := l.View()
		if err != nil {
			return err
		}
		err = v.Events(ctx, from, func(e *audit.Event) error {
			if err := fn(e); err != nil {
				return err
			}
			from = e.Seq + 1
			if len(l.recent.from(from)) > 0 {
				return errRecent
			}
			return nil
		})
		if !errors.Is(err, errRecent) {
			return err
		}
	}
	return nil
}
