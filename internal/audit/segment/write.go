package segment

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"slices"

	"bulwark.dev/bulwark/internal/audit"
)

// Write writes a segment of rows whose first has the number first. Every row needs its
// leaf hash. Before it gives anything to w, it reads back what it made and compares
// every row's leaf hash, so that what is written is what was given, or there is an error
// and w is untouched. Of meta it takes the notes.
func Write(w io.Writer, first uint64, rows []Row, meta Meta) error {
	return write(context.Background(), w, first, rows, meta, usualLimits())
}

// limits end a row group.
type limits struct{ rows, bytes int }

func usualLimits() limits { return limits{rows: groupRows, bytes: groupBytes} }

func write(ctx context.Context, w io.Writer, first uint64, rows []Row, meta Meta, most limits) error {
	if len(rows) == 0 || len(rows) > maxRows {
		return fmt.Errorf("write a segment: %d rows, not 1 to %d", len(rows), maxRows)
	}
	if first == 0 || first > math.MaxInt64-maxRows {
		return fmt.Errorf("write a segment: %d cannot be an event's number", first)
	}
	if len(meta.Notes) > maxNotes/2 {
		return fmt.Errorf("write a segment: %d notes are more than the %d allowed", len(meta.Notes), maxNotes/2)
	}
	enc, err := newEncoder()
	if err != nil {
		return err
	}
	count := newTally()
	g := newGroup(min(len(rows), most.rows))
	flush := func() error {
		if len(enc.footer.groups) == maxGroups {
			return fmt.Errorf("write a segment: its events need more than %d row groups", maxGroups)
		}
		err := enc.addGroup(g)
		g.reset()
		return err
	}
	for i := range rows {
		row := &rows[i]
		if err := g.add(first+uint64(i), row); err != nil {
			return err
		}
		if row.Pruned {
			count.add(nil, row.Leaf)
		} else {
			count.add(row.Event, row.Leaf)
		}
		if g.rows == most.rows || g.size() >= most.bytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if g.rows > 0 {
		if err := flush(); err != nil {
			return err
		}
	}
	said := count.finish(meta.Notes)
	out, err := enc.finish(said.notes(first, len(rows)))
	if err != nil {
		return err
	}
	if err := readBack(ctx, out, rows); err != nil {
		return fmt.Errorf("check the segment from event %d before writing it: %w", first, err)
	}
	if _, err := w.Write(out); err != nil {
		return fmt.Errorf("write the segment from event %d: %w", first, err)
	}
	return nil
}

// readBack compares what was encoded with what was given.
func readBack(ctx context.Context, out []byte, rows []Row) error {
	r, err := Open(bytes.NewReader(out), int64(len(out)))
	if err != nil {
		return err
	}
	h := newHasher()
	return r.each(ctx, 0, r.Len(), new(audit.Event), func(i int, got Row) error {
		want := &rows[i]
		leaf := got.Leaf
		if !got.Pruned {
			leaf = h.leaf(got.Event)
		}
		if got.Pruned != want.Pruned || leaf != want.Leaf || !slices.Equal(got.Tag[:], want.Leaf[:tagSize]) {
			return fmt.Errorf("event %d does not read back with the leaf hash that it was given with", r.First()+uint64(i)) //nolint:gosec // i is not negative
		}
		return nil
	})
}
