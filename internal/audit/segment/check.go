package segment

import (
	"context"
	"fmt"
	"maps"

	"bulwark.dev/bulwark/internal/audit"
)

// Fault is something in a segment that is not as it was written.
type Fault struct {
	// Seq is the number of the event; 0 where it is the file.
	Seq uint64
	// What says what is wrong.
	What string
}

// String is the fault in words.
func (f Fault) String() string {
	if f.Seq == 0 {
		return f.What
	}
	return fmt.Sprintf("event %d: %s", f.Seq, f.What)
}

// maxFaults is how many faults Check tells; a segment with more is bad enough.
const maxFaults = 1000

// Check reads every row and compares what the file says of itself with what it has: tags,
// block roots, kinds and times. It calls leaf, if not nil, with each row's leaf hash, from
// which the caller makes the root that it was promised: without that, somebody who edited
// the whole file goes unnoticed. The error is of a file that cannot be read.
func (r *Reader) Check(ctx context.Context, leaf func(i int, leaf [32]byte) error) ([]Fault, error) {
	return r.check(ctx, new(audit.Event), func(i int, _ Row, hash [32]byte) error {
		if leaf == nil {
			return nil
		}
		return leaf(i, hash)
	})
}

// check makes every event in the memory of reuse, if that is not nil.
func (r *Reader) check(ctx context.Context, reuse *audit.Event, fn func(i int, row Row, leaf [32]byte) error) ([]Fault, error) {
	var faults []Fault
	fault := func(seq uint64, what string, args ...any) {
		if len(faults) < maxFaults {
			faults = append(faults, Fault{Seq: seq, What: fmt.Sprintf(what, args...)})
		}
	}
	h, count := newHasher(), newTally()
	err := r.each(ctx, 0, r.Len(), reuse, func(i int, row Row) error {
		seq := r.first + uint64(i) //nolint:gosec // i is not negative
		leaf := row.Leaf
		if !row.Pruned {
			leaf = h.leaf(row.Event)
			if [tagSize]byte(leaf[:tagSize]) != row.Tag {
				fault(seq, "it is not the event that was written: its hash begins %x, its tag is %x", leaf[:tagSize], row.Tag)
			}
		}
		count.add(row.Event, leaf)
		return fn(i, row, leaf)
	})
	if err != nil {
		return faults, err
	}
	is := count.finish(nil)
	for n, root := range is.Blocks {
		if root != r.meta.Blocks[n] {
			from := r.first + uint64(n)*blockRows
			fault(0, "events %d to %d have another block root than the file says", from, min(from+blockRows-1, r.last))
		}
	}
	if !maps.Equal(is.Kinds, r.meta.Kinds) {
		fault(0, "it has events of kinds %v and says %v", is.Kinds, r.meta.Kinds)
	}
	if !is.From.Equal(r.meta.From) || !is.To.Equal(r.meta.To) {
		fault(0, "its events are of %s to %s and it says %s to %s", is.From, is.To, r.meta.From, r.meta.To)
	}
	return faults, nil
}
