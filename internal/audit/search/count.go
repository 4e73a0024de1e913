package search

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search/query"
	"bulwark.dev/bulwark/internal/audit/search/rowset"
)

// Count answers a query that counts or groups. As with [Search], segments that
// cannot be read are left out, and the error is then ErrIncomplete beside what the
// others gave.
func Count(ctx context.Context, view View, q *query.Query, opt Options) (*Groups, Stats, error) {
	if !q.Groups() {
		return nil, Stats{}, errors.New("count in the trail: the query lists events and does not count them")
	}
	sealed := view.Segments()
	stats := Stats{Segments: len(sealed)}
	total := newTally(q.Grouping())
	m := q.Matcher()
	err := view.Unsealed(ctx, func(e *audit.Event) error {
		stats.Rows++
		stats.Read++
		if !m.Match(e) {
			return nil
		}
		return total.event(e)
	})
	if err != nil && !errors.Is(err, ErrTooManyGroups) {
		err = stats.rest(ctx, err)
	}
	if err != nil {
		return nil, stats, fmt.Errorf("count in the trail: %w", err)
	}
	var lock sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, opt.Workers))
	for _, s := range sealed {
		if rulesOut(q, s) {
			lock.Lock()
			stats.Skipped++
			lock.Unlock()
			continue
		}
		g.Go(func() error {
			part, seen, err := countOne(ctx, q, s)
			lock.Lock()
			defer lock.Unlock()
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, ErrTooManyGroups):
				return err
			case err != nil:
				stats.Unreadable = append(stats.Unreadable, Unreadable{s.Name(), err})
				return nil
			}
			stats.add(&seen)
			return total.merge(part)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, stats, fmt.Errorf("count in the trail: %w", err)
	}
	stats.Found = total.total
	groups, err := total.groups()
	if err != nil {
		return nil, stats, fmt.Errorf("count in the trail: %w", err)
	}
	return groups, stats, stats.incomplete()
}

func countOne(ctx context.Context, q *query.Query, sealed Sealed) (*tally, Stats, error) {
	var stats Stats
	part := newTally(q.Grouping())
	seg, err := sealed.Open()
	if err != nil {
		return nil, stats, err
	}
	err = countSegment(ctx, q, seg, part, &stats)
	return part, stats, errors.Join(err, seg.Close())
}

func countSegment(ctx context.Context, q *query.Query, seg Segment, part *tally, stats *Stats) error {
	rows, sure, err := candidates(ctx, q, seg, stats)
	if err != nil || len(rows) == 0 {
		return err
	}
	unsure := rowset.Of(seg.Len(), rows).Without(sure).List()
	counted, err := part.columns(ctx, seg, sure.List())
	if err != nil {
		return err
	}
	if counted {
		rows = unsure
	}
	m := q.Matcher()
	for len(rows) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		some := rows[:min(batch, len(rows))]
		rows = rows[len(some):]
		events, err := seg.Events(ctx, some)
		if err != nil {
			return err
		}
		stats.Read += int64(len(some))
		for i, e := range events {
			if e == nil {
				return fmt.Errorf("row %d has no event", some[i])
			}
			if !m.Match(e) {
				continue
			}
			if err := part.event(e); err != nil {
				return err
			}
		}
	}
	return nil
}
