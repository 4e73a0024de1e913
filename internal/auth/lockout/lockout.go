// Package lockout stops the guessing of credentials: it counts failures by
// source address and by claimed name in a sliding window, and locks what failed
// too often.
//
// What it trades. A lock by source is felt by everyone behind the same address,
// so IPv6 counts by /64 and IPv4 by address. A lock by name lets anyone who
// knows a name lock its owner out for as long as they go on failing: a source
// that proved the name within the last day therefore still gets in while others
// are locked, until it fails too often itself. The tables are bounded; whoever
// can fail from more sources than they hold makes them forget the oldest.
package lockout

import (
	"crypto/sha256"
	"net/netip"
	"time"
)

const (
	// Capacity is how many counters there are; then the oldest makes room.
	Capacity = 1 << 16
	// trustFor is how long a source that proved a name is let past the name's
	// lock.
	trustFor = 24 * time.Hour
	// maxNameBytes bounds the names kept; longer ones are kept as hashes.
	maxNameBytes = 64
)

// Policy says what locks. Attempts failures within Window lock for Duration.
type Policy struct {
	// Name tells policies apart: those of one name share counters.
	Name     string
	Attempts int
	Window   time.Duration
	Duration time.Duration
	// ByName locks the claimed name, BySource the address. At least one is set.
	ByName, BySource bool
}

// Subject is who tries: from where, and the name claimed ("" for none).
type Subject struct {
	Source netip.Addr
	Name   string
}

// What is locked.
const (
	Source = "source"
	Name   = "name"
)

// Table is the counters. Make it with New; it is safe for concurrent use.
type Table struct {
	failures *store
	trusted  *store
}

// New makes an empty table.
func New() *Table { return &Table{failures: newStore(Capacity), trusted: newStore(Capacity)} }

// network is what counts as one source.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // the zero address: all such requests are one source
	}
	return p
}

func sourceKey(p *Policy, s Subject) key { return key{policy: p.Name, source: network(s.Source)} }

func nameKey(p *Policy, s Subject) key { return key{policy: p.Name, name: short(s.Name)} }

func pairKey(p *Policy, s Subject) key {
	return key{policy: p.Name, name: short(s.Name), source: network(s.Source)}
}

func short(name string) string {
	if len(name) <= maxNameBytes {
		return "n" + name
	}
	sum := sha256.Sum256([]byte(name))
	return "h" + string(sum[:])
}

// Locked says what is locked for the subject and for how long still; what is ""
// where nothing is.
func (t *Table) Locked(p *Policy, s Subject, now time.Time) (what string, left time.Duration) {
	if t.failures.empty() {
		return "", 0
	}
	if p.BySource {
		if left = t.failures.left(sourceKey(p, s), now); left > 0 {
			return Source, left
		}
	}
	if p.ByName && s.Name != "" {
		left = t.failures.left(nameKey(p, s), now)
		if left > 0 && t.trusted.left(pairKey(p, s), now) <= 0 {
			return Name, left
		}
	}
	return "", 0
}

// Failed counts a failure. It says what became locked by it, "" for nothing.
func (t *Table) Failed(p *Policy, s Subject, now time.Time) (locked string) {
	if p.Attempts <= 0 {
		return ""
	}
	if p.ByName && s.Name != "" {
		if t.failures.count(nameKey(p, s), network(s.Source), p, now) {
			locked = Name
		}
		t.trusted.distrust(pairKey(p, s), p, now)
	}
	if p.BySource && t.failures.count(sourceKey(p, s), network(s.Source), p, now) {
		locked = Source
	}
	return locked
}

// Succeeded forgets the failures of a name, if all of them came from the source
// that now proved it. The failures of the source stay: whoever has one right
// credential could otherwise guess others without end.
func (t *Table) Succeeded(p *Policy, s Subject, now time.Time) {
	if !p.ByName || s.Name == "" {
		return
	}
	t.failures.forget(nameKey(p, s), network(s.Source), now)
	t.trusted.trust(pairKey(p, s), now)
}
