// Package told has the events in which the log tells what was done to it on purpose:
// what was taken away, and which holds keep something from that.
package told

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/numbers"
)

// The verbs of the log's own events that tell what was done to it on purpose. These
// events are never taken away.
const (
	VerbPrune       = "prune"        // the bodies of events are taken away
	VerbShred       = "shred"        // the openings of events are destroyed
	VerbHoldAdd     = "hold-add"     // events are held from now on
	VerbHoldRelease = "hold-release" // and not any more
)

// Source is the source of the log's own events. What is taken in has another.
const Source = "log"

// The annotations of these events.
const (
	noteEvents = "events" // the numbers, as numbers.Set writes them
	noteCount  = "count"
	noteClass  = "class"
	notePolicy = "policy"
	noteWhy    = "why"
	noteHold   = "hold"
	noteSearch = "search"
)

// Who is somebody who does something to the log: a user of the operating system, as far
// as it is known.
type Who struct {
	Name string `json:"name"`
	ID   string `json:"id,omitempty"`
}

func (w Who) user() audit.User {
	return audit.User{Username: strings.ToValidUTF8(w.Name, "?"), UID: strings.ToValidUTF8(w.ID, "?")}
}

func whoOf(e *audit.Event) Who { return Who{Name: e.User.Username, ID: e.User.UID} }

// Removal is what an event of the log says of what was taken away.
type Removal struct {
	// Seq is the number of the event that says so.
	Seq  uint64
	Time time.Time
	// Verb is VerbPrune or VerbShred.
	Verb string
	By   Who
	// Why says it for people.
	Why string
	// Class and Policy are of a pruning: the class's name and the policy's Digest.
	Class, Policy string

	events string
}

// Events are the events that are named.
func (r *Removal) Events() (*numbers.Set, error) {
	n, err := numbers.Parse(r.events)
	if err != nil {
		return nil, fmt.Errorf("event %d: its events: %w", r.Seq, err)
	}
	return n, nil
}

// ReadRemoval reads what an event says of what was taken away; false where it says
// nothing of the kind. Only the log itself makes such events.
func ReadRemoval(e *audit.Event) (Removal, bool) {
	if e.Kind != audit.KindSystem || e.Source != Source || e.Verb != VerbPrune && e.Verb != VerbShred {
		return Removal{}, false
	}
	return Removal{
		Seq: e.Seq, Time: e.Received, Verb: e.Verb, By: whoOf(e), Why: e.Annotations[noteWhy],
		Class: e.Annotations[noteClass], Policy: e.Annotations[notePolicy], events: e.Annotations[noteEvents],
	}, true
}

// Event is the event that says it.
func (r *Removal) Event(now time.Time, events *numbers.Set) *audit.Event {
	count := events.Len()
	notes := map[string]string{noteEvents: events.String(), noteCount: strconv.FormatUint(count, 10), noteWhy: r.Why}
	message := fmt.Sprintf("the openings of %d events are destroyed: %s", count, r.Why)
	if r.Verb == VerbPrune {
		notes[noteClass], notes[notePolicy] = r.Class, r.Policy
		message = fmt.Sprintf("%d events of class %q are taken away: %s", count, r.Class, r.Why)
	}
	e := Event(now, r.Verb, "", message, notes)
	e.User = r.By.user()
	return e
}

// Lasting reports whether an event must stay whatever a policy says: without it nobody
// could say any more why others are gone.
func Lasting(e *audit.Event) bool {
	if e.Kind != audit.KindSystem {
		return false
	}
	switch e.Verb {
	case VerbPrune, VerbShred, VerbHoldAdd, VerbHoldRelease, "shredded":
		return true
	}
	return false
}

// Event makes an event of the log's own life. A failure is its reason, or "".
func Event(now time.Time, verb, failure, message string, notes map[string]string) *audit.Event {
	e := &audit.Event{
		Kind: audit.KindSystem, Source: Source, Verb: verb, Received: now.UTC().Truncate(time.Microsecond),
		Status: audit.Status{Reason: failure, Message: message}, Annotations: notes,
	}
	if failure != "" {
		e.Status.Status = "Failure"
	}
	return e
}
