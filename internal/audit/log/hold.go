package log

import (
	"context"
	"fmt"
	"slices"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/told"
	"bulwark.dev/bulwark/internal/audit/segment"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// ReadHolds finds the holds of a log. Of sealed segments it reads no more than the
// columns that tell which events are about holds. Where a segment is missing or cannot
// be read nobody can say which holds there are, and that is an error.
func ReadHolds(ctx context.Context, v *View) (told.Holds, error) {
	segments, err := v.Segments()
	if err != nil {
		return nil, fmt.Errorf("find the holds: %w", err)
	}
	var holds told.Holds
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

func (v *View) holdsOf(ctx context.Context, s SegmentFile, holds *told.Holds) error {
	return withSegment(s, v.opts.Keys, func(r *segment.Reader) error {
		if r.Meta().Kinds[audit.KindSystem] == 0 {
			return nil
		}
		is := func(texts ...string) func(string) bool {
			return func(text string) bool { return slices.Contains(texts, text) }
		}
		rows, err := r.Find(ctx, segment.Query{Conditions: []segment.Condition{
			{Field: "kind", Test: is(string(audit.KindSystem))},
			{Field: "verb", Test: is(told.VerbHoldAdd, told.VerbHoldRelease)},
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
