package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

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
	out, err := newWriter(first, Plan{Notes: meta.Notes, Rows: len(rows)}, most)
	if err != nil {
		return err
	}
	for i := range rows {
		if err := out.Add(ctx, &rows[i]); err != nil {
			return err
		}
	}
	return out.Finish(ctx, w)
}

// Plan is what a Writer is told before the first row.
type Plan struct {
	// Notes are Meta's.
	Notes map[string]string
	// Rows is about how many rows will come; 0 is nobody knows.
	Rows int
	// Pause, where it is set, is called between pieces of work of a millisecond or so; a
	// column of a large row group may take some twenty. Writing goes on when it returns, or
	// ends with its error.
	Pause func(ctx context.Context) error
}

// Writer makes a segment of rows that come one after the other. It holds their columns
// and leaf hashes and not the events, of which a segment has some hundred MiB. It is for
// one goroutine and one segment.
type Writer struct {
	first uint64
	plan  Plan
	most  limits
	enc   *encoder
	group *group
	tally *tally
	// leaves are those of the rows so far; pruned has the places of those without an event.
	leaves [][32]byte
	pruned map[int]bool
	said   Meta
	err    error // what ended it
}

// Meta is what the segment says of itself, once Finish has made it.
func (w *Writer) Meta() Meta { return w.said }

// NewWriter begins a segment whose first row has the number first.
func NewWriter(first uint64, plan Plan) (*Writer, error) {
	return newWriter(first, plan, usualLimits())
}

func newWriter(first uint64, plan Plan, most limits) (*Writer, error) {
	if first == 0 || first > math.MaxInt64-maxRows {
		return nil, fmt.Errorf("write a segment: %d cannot be an event's number", first)
	}
	if len(plan.Notes) > maxNotes/2 {
		return nil, fmt.Errorf("write a segment: %d notes are more than the %d allowed", len(plan.Notes), maxNotes/2)
	}
	if plan.Pause == nil {
		plan.Pause = func(context.Context) error { return nil }
	}
	enc, err := newEncoder()
	if err != nil {
		return nil, err
	}
	rows := min(max(plan.Rows, 0), maxRows)
	return &Writer{
		first: first, plan: plan, most: most, enc: enc, tally: newTally(), group: newGroup(min(rows, most.rows)),
		leaves: make([][32]byte, 0, rows), pruned: map[int]bool{},
	}, nil
}

// pauseRows is how many rows are one piece of work.
const pauseRows = 64

// Add adds a row, which needs its leaf hash; the row and its event may be used for
// something else afterwards. After an error the segment cannot be finished.
func (w *Writer) Add(ctx context.Context, row *Row) error {
	if w.err == nil {
		w.err = w.add(ctx, row)
	}
	return w.err
}

func (w *Writer) add(ctx context.Context, row *Row) error {
	n := len(w.leaves)
	if n == maxRows {
		return fmt.Errorf("write a segment: more than %d rows", maxRows)
	}
	if n%pauseRows == 0 {
		if err := w.plan.Pause(ctx); err != nil {
			return err
		}
	}
	if err := w.group.add(w.first+uint64(n), row); err != nil {
		return err
	}
	if row.Pruned {
		w.tally.add(nil, row.Leaf)
		w.pruned[n] = true
	} else {
		w.tally.add(row.Event, row.Leaf)
	}
	w.leaves = append(w.leaves, row.Leaf)
	if w.group.rows == w.most.rows || w.group.size() >= w.most.bytes {
		return w.flush(ctx)
	}
	return nil
}

// flush encodes the row group that was collected.
func (w *Writer) flush(ctx context.Context) error {
	if len(w.enc.footer.groups) == maxGroups {
		return fmt.Errorf("write a segment: its events need more than %d row groups", maxGroups)
	}
	err := w.enc.addGroup(w.group, func() error { return w.plan.Pause(ctx) })
	w.group.reset()
	return err
}

var errFinished = errors.New("write a segment: it was finished")

// Finish makes the segment and gives it to out. Before that it reads back what it made
// and compares every row's leaf hash with the one that was given: what is written is what
// was given, or there is an error and out is untouched.
func (w *Writer) Finish(ctx context.Context, out io.Writer) error {
	if w.err != nil {
		return w.err
	}
	w.err = errFinished
	if len(w.leaves) == 0 {
		return errors.New("write a segment: there are no rows")
	}
	if w.group.rows > 0 {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	w.group = nil // what reads back needs the room
	w.said = w.tally.finish(w.plan.Notes)
	file, err := w.enc.finish(w.said.notes(w.first, len(w.leaves)))
	if err != nil {
		return err
	}
	w.enc = nil
	if err := w.readBack(ctx, file); err != nil {
		return fmt.Errorf("check the segment from event %d before writing it: %w", w.first, err)
	}
	if _, err := out.Write(file); err != nil {
		return fmt.Errorf("write the segment from event %d: %w", w.first, err)
	}
	return nil
}

// readBack compares what was encoded with what was given.
func (w *Writer) readBack(ctx context.Context, file []byte) error {
	r, err := Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		return err
	}
	if r.First() != w.first || r.Len() != len(w.leaves) {
		return fmt.Errorf("it reads back as %d events from %d on, not %d from %d on", r.Len(), r.First(), len(w.leaves), w.first)
	}
	h := newHasher()
	for n := range r.starts {
		g := r.group(n)
		for id := range columnCount {
			if err := w.plan.Pause(ctx); err != nil {
				return err
			}
			if err := r.load(g, id); err != nil {
				return err
			}
		}
		err := r.each(ctx, g.first, g.first+g.rows, new(audit.Event), func(i int, got Row) error {
			if i%pauseRows == 0 {
				if err := w.plan.Pause(ctx); err != nil {
					return err
				}
			}
			return w.compare(h, i, got)
		})
		if err != nil {
			return err
		}
		r.groups[n] = g.fresh()
	}
	return nil
}

// compare compares a row that was read back with the one that was given.
func (w *Writer) compare(h *hasher, i int, got Row) error {
	want, leaf := w.leaves[i], got.Leaf
	if !got.Pruned {
		leaf = h.leaf(got.Event)
	}
	if got.Pruned != w.pruned[i] || leaf != want || got.Tag != [tagSize]byte(want[:tagSize]) {
		return fmt.Errorf("event %d does not read back with the leaf hash that it was given with", w.first+uint64(i)) //nolint:gosec // i is not negative
	}
	return nil
}
