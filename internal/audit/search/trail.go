package search

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/log/summary"
	"bulwark.dev/bulwark/internal/audit/search/query"
	"bulwark.dev/bulwark/internal/audit/search/rowset"
	"bulwark.dev/bulwark/internal/audit/segment"
)

// Trail makes a log searchable as it is now: its sealed segments, and what came after
// them. Events that no file has are an unreadable segment.
func Trail(v *log.View) (View, error) {
	files, err := v.Segments()
	if err != nil {
		return nil, fmt.Errorf("search the trail: %w", err)
	}
	// Without a summary that can be relied on, every segment is opened.
	summaries, _ := v.Summaries()
	t := &trail{view: v, next: 1}
	for _, f := range files {
		if f.First > t.next {
			t.sealed = append(t.sealed, missing{t.next, f.First - 1})
		}
		for len(summaries) > 0 && summaries[0].First < f.First {
			summaries = summaries[1:]
		}
		var known *summary.Segment
		if len(summaries) > 0 && summaries[0].First == f.First && summaries[0].Last == f.Last {
			known = &summaries[0]
		}
		t.sealed = append(t.sealed, file{f, v, known})
		t.next = max(t.next, f.Last+1)
	}
	return t, nil
}

// trail is a log of which the segments were listed.
type trail struct {
	view   *log.View
	sealed []Sealed
	next   uint64 // the first event that is in none of them
}

func (t *trail) Segments() []Sealed { return t.sealed }

func (t *trail) Unsealed(ctx context.Context, fn func(*audit.Event) error) error {
	return t.view.Events(ctx, t.next, fn)
}

// missing is a run of events without a file.
type missing struct{ from, to uint64 }

func (m missing) Name() string { return fmt.Sprintf("of events %d to %d", m.from, m.to) }

func (m missing) Open() (Segment, error) { return nil, errors.New("no file has these events") }

// file is a segment's file.
type file struct {
	log.SegmentFile
	view    *log.View
	summary *summary.Segment // nil where there is none
}

func (f file) Known() (query.Known, bool) {
	if f.summary == nil {
		return query.Known{}, false
	}
	return knownOf(f.summary), true
}

func (f file) Name() string { return filepath.Base(f.Path) }

func (f file) Open() (Segment, error) {
	in, err := f.view.OpenSegment(f.SegmentFile)
	if err != nil {
		return nil, err
	}
	r, err := segment.Open(in, in.Size)
	if err == nil && (r.First() != f.First || r.Last() != f.Last) {
		err = fmt.Errorf("it has events %d to %d: %w", r.First(), r.Last(), segment.ErrFormat)
	}
	if err == nil {
		err = f.fits(r)
	}
	if err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return &columns{Reader: r, file: in}, nil
}

// fits compares what a segment says of itself with what the writer saw and signed.
func (f file) fits(r *segment.Reader) error {
	oldest, newest := r.TimeRange()
	k, ok := f.Known()
	if !ok || oldest.IsZero() || !oldest.Before(k.Oldest) && !newest.After(k.Newest) {
		return nil
	}
	return fmt.Errorf("it says its events are of %s to %s, and when it was sealed they were of %s to %s: %w", oldest, newest, k.Oldest, k.Newest, segment.ErrFormat)
}

// columns is a segment's reader as the engine wants it.
type columns struct {
	*segment.Reader
	file io.Closer
}

func (c *columns) Close() error { return c.file.Close() }

// Pruned gives the rows that a search of everything does not select.
func (c *columns) Pruned(ctx context.Context) ([]int32, error) {
	rows, err := c.Reader.Find(ctx, segment.Query{})
	if err != nil || len(rows) == c.Len() {
		return nil, err
	}
	all := rowset.New(c.Len())
	all.AddRange(0, c.Len())
	return all.Without(rowset.Of(c.Len(), rows)).List(), nil
}

func (c *columns) Find(ctx context.Context, field string, test func(string) bool) ([]int32, bool, error) {
	if !segment.Decides(field) {
		return nil, false, nil
	}
	rows, err := c.Reader.Find(ctx, segment.Query{Conditions: []segment.Condition{{Field: field, Test: test}}})
	return rows, true, err
}

func (c *columns) Values(_ context.Context, field string, rows []int32) ([]string, bool, error) {
	if !segment.Decides(field) || query.SeveralValues(field) {
		return nil, false, nil
	}
	values, err := c.Reader.Values(field, rows)
	return values, true, err
}

func (c *columns) Lists(_ context.Context, field string, rows []int32) ([][]string, bool, error) {
	if !segment.Decides(field) {
		return nil, false, nil
	}
	lists, err := c.Reader.Lists(field, rows)
	return lists, true, err
}

func (c *columns) Times(_ context.Context, rows []int32) ([]time.Time, error) {
	return c.Reader.Times(rows)
}

func (c *columns) Events(_ context.Context, rows []int32) ([]*audit.Event, error) {
	return c.Reader.Events(rows)
}
