package told

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/numbers"
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
func (h *Hold) Events() (*numbers.Set, bool, error) {
	n, err := numbers.Parse(h.events)
	if err != nil {
		return nil, false, fmt.Errorf("event %d: the events that hold %q matched: %w", h.Seq, h.Name, err)
	}
	return n, h.listed, nil
}

// maxListed is the longest list of events that a hold has in its event.
const maxListed = 1 << 20

// Event is the event that adds it. Where nobody could look, matched is nil.
func (h *Hold) Event(now time.Time, matched *numbers.Set) *audit.Event {
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
	e := Event(now, VerbHoldAdd, "", fmt.Sprintf("hold %q keeps %s: %s", h.Name, what, h.Reason), notes)
	e.User = h.By.user()
	return e
}

// Release is the event that releases it.
func (h *Hold) Release(now time.Time, reason string, by Who) *audit.Event {
	e := Event(now, VerbHoldRelease, "", fmt.Sprintf("hold %q is released: %s", h.Name, reason), map[string]string{noteHold: h.Name, noteWhy: reason})
	e.User = by.user()
	return e
}

// Holds are all holds that a log ever had, in the order in which they were added.
type Holds []Hold

// Read takes the next of the log's events into account. An event that is not about holds
// is passed over.
func (h *Holds) Read(e *audit.Event) {
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
func (h Holds) Standing() []Hold {
	return slices.DeleteFunc(slices.Clone(h), func(hold Hold) bool { return !hold.Stands() })
}
