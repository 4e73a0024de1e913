package segment

import (
	"context"
	"fmt"
	"io"

	"bulwark.dev/bulwark/internal/audit"
)

// Prune writes r's segment to w without the events that drop says yes to: of them only
// number, tag and leaf hash are left, so the segment keeps its root. Nothing of them stays
// in a dictionary or a bound. It tells how many events it took away, and refuses to
// prune a segment that Check finds fault with, because pruning would hide the fault.
func Prune(ctx context.Context, w io.Writer, r *Reader, drop func(*audit.Event) bool) (int, error) {
	rows := make([]Row, 0, r.Len())
	pruned := 0
	faults, err := r.check(ctx, nil, func(_ int, row Row, leaf [32]byte) error {
		row.Leaf = leaf
		if !row.Pruned && drop(row.Event) {
			row.Event, row.Pruned = nil, true
			pruned++
		}
		rows = append(rows, row)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("prune the segment from event %d: %w", r.first, err)
	}
	if len(faults) > 0 {
		return 0, fmt.Errorf("prune the segment from event %d: %w: %s", r.first, ErrFormat, faults[0])
	}
	return pruned, write(ctx, w, r.first, rows, Meta{Notes: r.meta.Notes}, usualLimits())
}
