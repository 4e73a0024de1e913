// Package behaviour remembers what identities usually do, and finds what they did not
// do before: a new combination of values, a new client or network, more than usual, or
// what none of a group ever did.
//
// A Spec is what a rule says, a Memory is what was learned for it. A Memory reads no
// clock and no random number: the same events in the same order give the same findings,
// also with a State and a Restore in between.
//
// What is remembered are short keyed hashes. A Memory that is full forgets nobody who is
// known well for somebody who is new: it says that it is full.
package behaviour

import (
	"net/netip"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// Type is what a rule looks for. The zero Type is not valid.
type Type string

// The types.
const (
	FirstSeen Type = "first_seen" // an identity does what it did not do before
	NewValue  Type = "new_value"  // it comes with a new client, or from a new network
	Rate      Type = "rate"       // it does more than it usually does
	PeerGroup Type = "peer_group" // it does what none of its group did before
)

// Types lists all types.
func Types() []Type { return []Type{FirstSeen, NewValue, Rate, PeerGroup} }

// Outcome is which events a rule learns from and judges. The zero Outcome is not valid.
type Outcome string

// The outcomes. With OutcomeAny, what failed and what succeeded are two memories.
const (
	OutcomeSucceeded Outcome = "succeeded"
	OutcomeFailed    Outcome = "failed"
	OutcomeAny       Outcome = "any"
)

// The values that NewValue works out of an event.
const (
	ValueClient  = "client"
	ValueNetwork = "network"
)

// Spec is what a rule says.
type Spec struct {
	Line    int
	Type    Type
	Outcome Outcome
	// GroupBy are the fields that make an identity. None of them: all that happens in a
	// cluster is one.
	GroupBy []string
	// Fields are what is remembered of an identity; of a Rate, what is counted apart.
	Fields []string
	// Value is what a NewValue looks at: ValueClient or ValueNetwork.
	Value   string
	Network Network
	// An identity is judged when it is known for LearnFor and by LearnEvents.
	LearnFor    time.Duration
	LearnEvents int
	// Forget is after how long what was not seen again is forgotten. It is whole days.
	Forget time.Duration
	Roam   Roam
	Never  Never
	// A Rate is told when a Window has Least events and Times the usual number.
	Window time.Duration
	Times  int
	Least  int
	Peers  Peers
	// Identities is how many are remembered, and Values how many of each.
	Identities, Values int
}

// Network says how a source address becomes a network.
type Network struct {
	IPv4, IPv6 int // lengths of prefixes
	// Proxies are believed what they say about where a request came from; see Source.
	Proxies []netip.Prefix
	// Together are networks that count as one, however large.
	Together []netip.Prefix
}

// Roam says that an identity goes everywhere: what it does with so many values of one of
// Fields is not new with another.
type Roam struct {
	Field string
	After int
}

// Never says what is told of an identity that is still learned.
type Never struct {
	// When is a condition over the searches of the rule's selection.
	When string
	Line int
	// Rare is by how many other identities the same may have been done.
	Rare int
	// After is how long the rule must have seen events at all.
	After time.Duration
}

// Peers says what a group is.
type Peers struct {
	// Of is the field whose values are the groups that an identity is in, but for Ignore.
	Of     string
	Ignore []string
	// Members is how many different identities a group must have to be judged.
	Members int
}

// Fields gives the values of the fields of the event at hand, by their place in
// Spec.Names.
type Fields interface {
	Len(field int) int
	Text(field, i int) string
}

// Kind is what a Finding says. The zero Kind is not valid.
type Kind uint8

// The kinds of findings.
const (
	Unusual Kind = iota + 1 // what the rule is for
	Varied                  // an identity does more different things than are remembered
	Crowded                 // there are more identities than are remembered
)

// Finding is what a Memory found in an event.
type Finding struct {
	Kind Kind
	// Learned says that the identity was judged before; a Varied without it is one that
	// was never judged.
	Learned bool
	Seqs    []uint64
	Count   int
	// Values are for people, by names that begin with "behaviour.".
	Values map[string]string
}

// Names lists what Values may have.
func Names() []string {
	return []string{
		"behaviour.days", "behaviour.events", "behaviour.known", "behaviour.learned", "behaviour.others", "behaviour.value",
		"behaviour.count", "behaviour.usual", "behaviour.times", "behaviour.window", "behaviour.group", "behaviour.members",
	}
}

// Counts are what a Memory did since it was made, and what it remembers now.
type Counts struct {
	// Evicted are identities that were forgotten for others while they were learned;
	// Refused are events of identities that there was no room for; Unjudged are events
	// that were new, of identities with too many values to remember; Late are events of a
	// Rate that came more than a window behind.
	Evicted, Refused, Unjudged, Late uint64
	Identities, Values               int
}

// Names lists the fields that the rule reads, in the order of Fields.
func (s *Spec) Names() []string {
	out := append(append([]string(nil), s.GroupBy...), s.Fields...)
	if s.Type == PeerGroup {
		out = append(out, s.Peers.Of)
	}
	return out
}

// Concerns reports whether an event, which has succeeded or not, is one that the rule
// learns from. What an API server has only received has not been answered yet.
func (s *Spec) Concerns(e *audit.Event, succeeded bool) bool {
	if e.Stage == "RequestReceived" || s.Type == Rate && e.Stage == "ResponseStarted" {
		return false
	}
	return s.Outcome == OutcomeAny || succeeded == (s.Outcome == OutcomeSucceeded)
}
