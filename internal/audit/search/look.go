package search

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search/query"
	"bulwark.dev/bulwark/internal/audit/search/rowset"
)

// batch is how many events of a segment are read at once.
const batch = 1024

// candidates asks a segment's columns: the rows that the query may find, in order,
// and which of them it does find.
func candidates(ctx context.Context, q *query.Query, seg Segment, stats *Stats) (rows []int32, sure rowset.Set, err error) {
	n := seg.Len()
	pruned, err := seg.Pruned(ctx)
	if err != nil {
		return nil, nil, err
	}
	stats.Rows += int64(n)
	stats.Pruned += int64(len(pruned))
	live := rowset.New(n)
	live.AddRange(0, n)
	may, must, err := q.Plan(ctx, seg, live.Without(rowset.Of(n, pruned)))
	if err != nil {
		return nil, nil, err
	}
	rows = may.List()
	if len(rows) == 0 {
		stats.Skipped++
	}
	return rows, must, nil
}

// one finds the first hits of one segment, as many as there is room for; 0 is all.
func (s *search) one(ctx context.Context, id int32, room int, stats *Stats) ([]hit, error) {
	seg, err := s.cache.take(s.sealed, id)
	if err != nil {
		return nil, err
	}
	hits, err := s.within(ctx, seg, id, room, stats)
	if err == nil && len(hits) > 0 {
		return hits, s.cache.keep(id, seg)
	}
	return hits, errors.Join(err, seg.Close())
}

func (s *search) within(ctx context.Context, seg Segment, id int32, room int, stats *Stats) ([]hit, error) {
	rows, sure, err := candidates(ctx, s.q, seg, stats)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	times, err := seg.Times(ctx, rows)
	if err != nil {
		return nil, err
	}
	if len(times) != len(rows) {
		return nil, fmt.Errorf("asked for the times of %d rows, got %d", len(rows), len(times))
	}
	maybe := make([]hit, len(rows))
	for i, row := range rows {
		maybe[i] = hit{at: times[i].UnixMicro(), seq: seg.First() + uint64(row), seg: id, row: row} //nolint:gosec // rows count from 0
	}
	slices.SortFunc(maybe, func(a, b hit) int { return s.before(&a, &b) })
	m := s.q.Matcher()
	var hits []hit
	for len(maybe) > 0 && (room == 0 || len(hits) < room) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		some := maybe[:min(batch, len(maybe))]
		maybe = maybe[len(some):]
		if hits, err = s.test(ctx, seg, some, sure, m, hits, stats); err != nil {
			return nil, err
		}
	}
	if room > 0 && len(hits) > room {
		hits = hits[:room]
	}
	return hits, nil
}

// test adds those hits that the query finds, and reads the events of those that no
// column could decide.
func (s *search) test(ctx context.Context, seg Segment, some []hit, sure rowset.Set, m *query.Matcher, hits []hit, stats *Stats) ([]hit, error) {
	var rows []int32
	for _, h := range some {
		if !sure.Has(h.row) {
			rows = append(rows, h.row)
		}
	}
	events, err := read(ctx, seg, rows)
	if err != nil {
		return nil, err
	}
	stats.Read += int64(len(rows))
	for _, h := range some {
		if e, unsure := events[h.row]; unsure {
			if !m.Match(e) {
				continue
			}
			if s.opt.Limit > 0 {
				h.event = e // few enough to keep
			}
		}
		hits = append(hits, h)
	}
	return hits, nil
}

// read gives the events of rows, by row.
func read(ctx context.Context, seg Segment, rows []int32) (map[int32]*audit.Event, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	slices.Sort(rows)
	events, err := seg.Events(ctx, rows)
	if err != nil {
		return nil, err
	}
	if len(events) != len(rows) {
		return nil, fmt.Errorf("asked for %d events, got %d", len(rows), len(events))
	}
	out := make(map[int32]*audit.Event, len(rows))
	for i, row := range rows {
		if events[i] == nil {
			return nil, fmt.Errorf("row %d has no event", row)
		}
		out[row] = events[i]
	}
	return out, nil
}

// give hands out hits whose place is sure.
func (s *search) give(ctx context.Context, hits []hit, fn func(*audit.Event) error) error {
	for len(hits) > 0 {
		some := hits[:min(batch, len(hits))]
		hits = hits[len(some):]
		if err := s.fill(ctx, some); err != nil {
			return err
		}
		for i := range some {
			if some[i].event == nil {
				continue // its segment is told as unreadable
			}
			s.stats.Found++
			if err := fn(some[i].event); err != nil {
				return err
			}
			some[i].event = nil
		}
	}
	return nil
}

// fill reads the events of hits that have none yet.
func (s *search) fill(ctx context.Context, hits []hit) error {
	wanted := map[int32][]int32{}
	for i := range hits {
		if hits[i].event == nil {
			wanted[hits[i].seg] = append(wanted[hits[i].seg], hits[i].row)
		}
	}
	found := map[int32]map[int32]*audit.Event{}
	for id, rows := range wanted {
		seg, err := s.cache.take(s.sealed, id)
		if err == nil {
			if found[id], err = read(ctx, seg, rows); err == nil {
				err = s.cache.keep(id, seg)
			} else {
				err = errors.Join(err, seg.Close())
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("search the trail: %w", ctx.Err())
		}
		if err != nil {
			s.stats.Unreadable = append(s.stats.Unreadable, Unreadable{s.sealed[id].Name(), err})
			continue
		}
		s.stats.Read += int64(len(rows))
	}
	for i := range hits {
		if hits[i].event == nil {
			hits[i].event = found[hits[i].seg][hits[i].row]
		}
	}
	return nil
}

// cache keeps a few segments open with what was unpacked of them: most results of a
// segment are asked for right after it was searched.
type cache struct {
	mu    sync.Mutex
	order []int32 // of segs, the longest there first
	segs  map[int32]Segment
}

// maxOpen is how many segments stay open.
const maxOpen = 8

// take gives a segment for the use of one goroutine, and takes it out of the cache.
func (c *cache) take(sealed []Sealed, id int32) (Segment, error) {
	c.mu.Lock()
	seg, ok := c.segs[id]
	if ok {
		delete(c.segs, id)
		c.order = slices.DeleteFunc(c.order, func(o int32) bool { return o == id })
	}
	c.mu.Unlock()
	if ok {
		return seg, nil
	}
	return sealed[id].Open()
}

// keep puts a segment back that was read without a fault.
func (c *cache) keep(id int32, seg Segment) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.segs == nil {
		c.segs = map[int32]Segment{}
	}
	c.segs[id] = seg
	if c.order = append(c.order, id); len(c.order) <= maxOpen {
		return nil
	}
	oldest := c.order[0]
	c.order = c.order[1:]
	seg = c.segs[oldest]
	delete(c.segs, oldest)
	return seg.Close()
}

// close closes what is open. What was read of it was good.
func (c *cache) close() {
	for _, seg := range c.segs {
		_ = seg.Close()
	}
}
