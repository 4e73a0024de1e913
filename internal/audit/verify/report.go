package verify

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Kind says what sort of thing is wrong.
type Kind string

// The kinds of findings.
const (
	KindKey        Kind = "key"        // the public key beside the log is not the one that was given
	KindCheckpoint Kind = "checkpoint" // missing, not signed with the key, or not over these records
	KindRollback   Kind = "rollback"   // the ledger is shorter than it was
	KindFork       Kind = "fork"       // the ledger's past is not what it was
	KindWitness    Kind = "witness"    // a witness's signature is missing or does not fit
	KindTile       Kind = "tile"       // a tile of the ledger is missing or wrong
	KindRecord     Kind = "record"     // a record of the ledger is missing or wrong

	KindMissing    Kind = "segment-missing"    // a sealed segment is not there
	KindExtra      Kind = "segment-extra"      // a file that no record of the ledger knows
	KindUnreadable Kind = "segment-unreadable" // a segment was cut off or edited so that it cannot be read
	KindExchanged  Kind = "segment-exchanged"  // a segment's file has the events of another one
	KindChanged    Kind = "segment-changed"    // a segment's events are not those that were sealed

	KindEventChanged   Kind = "event-changed"   // an event is not what it was
	KindEventMissing   Kind = "event-missing"   // events were taken out
	KindEventInserted  Kind = "event-inserted"  // events were put in
	KindEventReordered Kind = "event-reordered" // events changed places
	KindEventMoved     Kind = "event-moved"     // events went from one segment into another
	KindPruned         Kind = "pruned"          // events were taken away, and nothing in the log says who did it
	KindHold           Kind = "held"            // events were taken away that a hold kept

	KindActive  Kind = "active"  // what is not sealed yet is damaged or does not follow
	KindOpening Kind = "opening" // an opening is not of its commitment
)

// Place is where something was found; what does not apply is zero.
type Place struct {
	File string `json:"file,omitempty"` // relative to the data directory
	// Segment is a segment's number, which is its record's in the ledger.
	Segment uint64 `json:"segment,omitempty"`
	// First and Last are the numbers of the events concerned.
	First uint64 `json:"first,omitempty"`
	Last  uint64 `json:"last,omitempty"`
	// Size is a checkpoint's.
	Size uint64 `json:"size,omitempty"`
}

// String names the place for people.
func (p Place) String() string {
	var parts []string
	if p.Segment > 0 {
		parts = append(parts, fmt.Sprintf("segment %d", p.Segment))
	}
	switch {
	case p.First > 0 && p.Last > p.First:
		parts = append(parts, fmt.Sprintf("events %d to %d", p.First, p.Last))
	case p.First > 0:
		parts = append(parts, fmt.Sprintf("event %d", p.First))
	}
	if p.Size > 0 {
		parts = append(parts, fmt.Sprintf("checkpoint of %d", p.Size))
	}
	if p.File != "" {
		parts = append(parts, p.File)
	}
	return strings.Join(parts, ", ")
}

// Finding is one thing that is wrong, or, among notes, one that is worth knowing.
type Finding struct {
	Kind   Kind   `json:"kind"`
	What   Place  `json:"what"`
	Detail string `json:"detail"`
}

// Ledger is the signed state that the log was measured against.
type Ledger struct {
	Origin string `json:"origin"`
	Size   uint64 `json:"size"`
	Root   string `json:"root"` // in hex
	// Signed says that the checkpoint has the signature of the key that was given. Nothing
	// is proven without it.
	Signed bool `json:"signed"`
}

// Report is what a verification saw.
type Report struct {
	Ledger Ledger `json:"ledger"`
	// Segments and Events are those sealed and read; Pruned of the events have only their
	// leaf hash left.
	Segments int    `json:"segments"`
	Events   uint64 `json:"events"`
	Pruned   uint64 `json:"pruned"`
	// Last is the last event in the log, and Active how many of the events are not sealed
	// yet: their order is chained to the last segment, but nobody signed them.
	Last   uint64 `json:"last"`
	Active uint64 `json:"active"`
	// Openings is how many commitments were opened and compared.
	Openings int `json:"openings"`
	// Kept is how many older checkpoints, of whatever keeper, the ledger grew out of.
	Kept int `json:"kept"`

	Findings []Finding `json:"findings"`
	Notes    []Finding `json:"notes"`
}

// OK reports whether nothing was found.
func (r *Report) OK() bool { return len(r.Findings) == 0 && r.Ledger.Signed }

// sort gives the findings the order of the log.
func (r *Report) sort() {
	order := func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.What.Segment, b.What.Segment), cmp.Compare(a.What.First, b.What.First),
			cmp.Compare(a.What.File, b.What.File), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Detail, b.Detail))
	}
	slices.SortFunc(r.Findings, order)
	slices.SortFunc(r.Notes, order)
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "log         %s\n", r.Ledger.Origin)
	signed := "signed with the key that was given"
	if !r.Ledger.Signed {
		signed = "NOT SIGNED with the key that was given: nothing here is proven"
	}
	fmt.Fprintf(&b, "checkpoint  %d segments, root %s, %s\n", r.Ledger.Size, r.Ledger.Root, signed)
	fmt.Fprintf(&b, "grew out of %d older checkpoints\n", r.Kept)
	fmt.Fprintf(&b, "read        %d segments with %d events, of which %d are pruned; %d events not sealed yet; last event %d\n",
		r.Segments, r.Events, r.Pruned, r.Active, r.Last)
	if r.Openings > 0 {
		fmt.Fprintf(&b, "openings    %d agree with their commitments or are named below\n", r.Openings)
	}
	for _, f := range r.Notes {
		fmt.Fprintf(&b, "note  %s: %s\n", f.What, f.Detail)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "WRONG %s: %s: %s\n", f.Kind, f.What, f.Detail)
	}
	switch {
	case !r.OK():
		fmt.Fprintf(&b, "Wrong: %d.\n", len(r.Findings))
	case r.Kept == 0:
		b.WriteString("Nothing is wrong with what is here. No checkpoint kept elsewhere was given, so a log that was put back whole to an older state would look the same.\n")
	default:
		b.WriteString("Nothing is wrong.\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}
