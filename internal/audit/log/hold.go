package log

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/segment"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// Hold keeps events from being pruned and their openings from being destroyed, from when
// it was added until it is released. The log has an event for either; nothing else says
// which holds there are.
type Hold struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	// Search is what is held, as an expression of the search language; "" is everything.
	Search string `json:"search,omitempty"`
	By     Who    `json:"by"`
	// Seq and Since are of the event that added it.
	Seq   uint64    `json:"event"`
	Since time.Time `json:"since"`
	// Matched is how many events of the log it matched when it was added.
	Matched uint64 `json:"matched"`
	// Warning says why these could not be counted and named. They are held all the same.
	Warning string `json:"warning,omitempty"`

	// Released is the event that released it, or 0; Until, Why and Releaser are of that.
	Released uint64    `json:"released,omitempty"`
	Until    time.Time `json:"until,omitzero"`
	Why      string    `json:"releaseReason,omitempty"`
	Releaser *Who      `json:"releasedBy,omitempty"`

	events string
	listed bool
}

// Stands reports whether it is not released.
func (h *Hold) Stands() bool { return h.Released == 0 }

// Holds reports whether the hold stood when the event of that number was written.
func (h *Hold) Holds(seq uint64) bool {
	return seq > h.Seq && (h.Stands() || seq < h.Released)
}

// Events are the events that the hold matched when it was added; false where they were
// too many to be named. A hold of everything names none.
func (h *Hold) Events() (*Numbers, bool, error) {
	n, err := ParseNumbers(h.events)
	if err != nil {
		return nil, false, fmt.Errorf("event %d: the events that hold %q matched: %w", h.Seq, h.Name, err)
	}
	return n, h.listed, nil
}

// maxListed is the longest list of events that a hold has in its event.
const maxListed = 1 << 20

// event is the event that adds it. Where nobody could look, matched is nil.
func (h *Hold) event(now time.Time, matched *Numbers) *audit.Event {
	notes := map[string]string{noteHold: h.Name, noteWhy: h.Reason, noteCount: strconv.FormatUint(h.Matched, 10)}
	what := "everything"
	if h.Search != "" {
		notes[noteSearch], what = h.Search, h.Search
	}
	if matched != nil {
		if text := matched.String(); len(text) <= maxListed {
			notes[noteEvents] = text
		}
	}
	e := system(now, VerbHoldAdd, "", fmt.Sprintf("hold %q keeps %s: %s", h.Name, what, h.Reason), notes)
	e.User = h.By.user()
	return e
}

// release is the event that releases it.
func (h *Hold) release(now time.Time, reason string, by Who) *audit.Event {
	e := system(now, VerbHoldRelease, "", fmt.Sprintf("hold %q is released: %s", h.Name, reason), map[string]string{noteHold: h.Name, noteWhy: reason})
	e.User = by.user()
	return e
}

// HoldHistory are all holds that a log ever had, in the order in which they were added.
type HoldHistory []Hold

// Read takes the next of the log's events into account. An event that is not about holds
// is passed over.
func (h *HoldHistory) Read(e *audit.Event) {
	if e.Kind != audit.KindSystem || e.Source != Source {
		return
	}
	name := e.Annotations[noteHold]
	switch e.Verb {
	case VerbHoldAdd:
		hold := Hold{
			Name: name, Reason: e.Annotations[noteWhy], Search: e.Annotations[noteSearch], By: whoOf(e), Seq: e.Seq, Since: e.Received,
			events: e.Annotations[noteEvents],
		}
		_, hold.listed = e.Annotations[noteEvents]
		hold.Matched, _ = strconv.ParseUint(e.Annotations[noteCount], 10, 64) // what is no number is not known
		*h = append(*h, hold)
	case VerbHoldRelease:
		for i := range *h {
			if hold := &(*h)[i]; hold.Name == name && hold.Stands() {
				by := whoOf(e)
				hold.Released, hold.Until, hold.Why, hold.Releaser = e.Seq, e.Received, e.Annotations[noteWhy], &by
			}
		}
	}
}

// Standing are the holds that are not released.
func (h HoldHistory) Standing() []Hold {
	return slices.DeleteFunc(slices.Clone(h), func(hold Hold) bool { return !hold.Stands() })
}

// ReadHolds finds the holds of a log. Of sealed segments it reads no more than the
// columns that tell which events are about holds. Where a segment is missing or cannot
// be read nobody can say which holds there are, and that is an error.
func ReadHolds(ctx context.Context, v *View) (HoldHistory, error) {
	segments, err := v.Segments()
	if err != nil {
		return nil, fmt.Errorf("find the holds: %w", err)
	}
	var holds HoldHistory
	next := uint64(1)
	for _, s := range segments {
		if s.First != next {
			return nil, fmt.Errorf("find the holds: %w", &GapError{From: next, To: s.First - 1})
		}
		if err := v.holdsOf(ctx, s, &holds); err != nil {
			return nil, fmt.Errorf("find the holds: %s: %w", s.Path, err)
		}
		next = s.Last + 1
	}
	err = v.Events(ctx, next, func(e *audit.Event) error {
		holds.Read(e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("find the holds: %w", err)
	}
	return holds, nil
}

func (v *View) holdsOf(ctx context.Context, s SegmentFile, holds *HoldHistory) error {
	return withSegment(s, v.opts.Keys, func(r *segment.Reader) error {
		if r.Meta().Kinds[audit.KindSystem] == 0 {
			return nil
		}
		is := func(texts ...string) func(string) bool {
			return func(text string) bool { return slices.Contains(texts, text) }
		}
		rows, err := r.Find(ctx, segment.Query{Conditions: []segment.Condition{
			{Field: "kind", Test: is(string(audit.KindSystem))},
			{Field: "verb", Test: is(VerbHoldAdd, VerbHoldRelease)},
		}})
		if err != nil || len(rows) == 0 {
			return err
		}
		events, err := r.Events(rows)
		for _, e := range events {
			holds.Read(e)
		}
		return err
	})
}

// withSegment opens a segment's file.
func withSegment(s SegmentFile, keys vault.Keys, fn func(r *segment.Reader) error) error {
	f, err := OpenSealed(s, keys)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	r, err := segment.Open(f, f.Size)
	if err != nil {
		return err
	}
	if r.First() != s.First || r.Last() != s.Last {
		return fmt.Errorf("%w: it has events %d to %d", segment.ErrFormat, r.First(), r.Last())
	}
	return fn(r)
}
