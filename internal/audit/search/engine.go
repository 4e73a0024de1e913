// Package search finds events in the trail, and counts them: an engine that asks the
// columns of sealed segments first, for as long as the language (package query) can decide
// by them. What it finds is written by package results.
package search

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search/query"
)

// View is a trail to search: what is sealed, and the events after it.
type View interface {
	// Segments gives the sealed segments, the oldest first.
	Segments() []Sealed
	// Unsealed gives the events that are in no segment, in order.
	Unsealed(ctx context.Context, fn func(*audit.Event) error) error
}

// Sealed is a sealed segment that is not open.
type Sealed interface {
	// Name says which it is, for messages.
	Name() string
	Open() (Segment, error)
}

// Segment is a sealed segment. It is used by one goroutine at a time.
type Segment interface {
	query.Columns
	// Pruned gives the rows whose events were taken away by retention.
	Pruned(ctx context.Context) ([]int32, error)
	// Values gives each row's value of a field, "" for none. It is false when no column
	// has the field, or rows may have several values.
	Values(ctx context.Context, field string, rows []int32) ([]string, bool, error)
	// Lists gives each row's values of a field that may have several. It is false when no
	// column has the field.
	Lists(ctx context.Context, field string, rows []int32) ([][]string, bool, error)
	Events(ctx context.Context, rows []int32) ([]*audit.Event, error)
	Close() error
}

// Options say how to search.
type Options struct {
	// Limit is how many events are wanted, 0 for all.
	Limit int
	// OldestFirst turns the order around, which is newest first: by time, and where
	// times are the same by number.
	OldestFirst bool
	// Workers is how many segments are read at once; 0 is one.
	Workers int
}

// Unreadable is a segment that could not be searched.
type Unreadable struct {
	Name string
	Err  error
}

// Stats say what a search did.
type Stats struct {
	Segments int   // sealed ones in the trail
	Skipped  int   // of them, those that nothing had to be read of but their ends, or nothing at all
	Rows     int64 // in the segments that were searched, and unsealed
	Read     int64 // events that were read as a whole
	Found    int64
	// Pruned counts rows whose events retention has taken away: they may have matched.
	Pruned int64
	// Unreadable are the segments whose events are missing from the result.
	Unreadable []Unreadable
}

func (s *Stats) add(o *Stats) {
	s.Skipped += o.Skipped
	s.Rows += o.Rows
	s.Read += o.Read
	s.Found += o.Found
	s.Pruned += o.Pruned
	s.Unreadable = append(s.Unreadable, o.Unreadable...)
}

// String tells what a search did in one sentence.
func (s *Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d found among %d events", s.Found, s.Rows)
	if s.Segments > 0 {
		fmt.Fprintf(&b, " (%d segments, %d of them without reading rows, %d events read)", s.Segments, s.Skipped, s.Read)
	}
	if s.Pruned > 0 {
		fmt.Fprintf(&b, "; %d more were taken away by retention and cannot be searched", s.Pruned)
	}
	if n := len(s.Unreadable); n > 0 {
		fmt.Fprintf(&b, "; %d segments could not be read", n)
	}
	return b.String()
}

// ErrIncomplete is in the error of a search that could not read every segment. What
// it found elsewhere was given all the same.
var ErrIncomplete = errors.New("the result is incomplete")

// incomplete is the error that the stats ask for.
func (s *Stats) incomplete() error {
	if len(s.Unreadable) == 0 {
		return nil
	}
	slices.SortFunc(s.Unreadable, func(a, b Unreadable) int { return cmp.Compare(a.Name, b.Name) })
	errs := []error{fmt.Errorf("search the trail: %w: %d of %d segments could not be read", ErrIncomplete, len(s.Unreadable), s.Segments+1)}
	for _, u := range s.Unreadable {
		errs = append(errs, fmt.Errorf("segment %s: %w", u.Name, u.Err))
	}
	return errors.Join(errs...)
}

// ErrTooManyResults is a search without a limit that would have to hold more events
// than MaxHeld to put them in order.
var ErrTooManyResults = errors.New("too many results to put in order")

// MaxHeld is how many results wait at most for segments that may have earlier ones.
const MaxHeld = 4_000_000

// hit is an event that was found, in its place of the order.
type hit struct {
	at    int64 // microseconds
	seq   uint64
	seg   int32 // of search.sealed; -1 for unsealed events
	row   int32
	event *audit.Event // nil where it is read when its turn comes
}

// search is one run of a query over a view.
type search struct {
	q       *query.Query
	opt     Options
	sealed  []Sealed
	ranges  []span // those that can be opened, in the order in which they are searched
	stats   Stats
	pending []hit // in order
	held    int   // how many may be pending
	cache   cache
}

// span is a segment's place in time.
type span struct {
	seg            int32
	oldest, newest int64
	last           uint64
	first          uint64
}

// before puts two hits in the order that was asked for.
func (s *search) before(a, b *hit) int {
	c := cmp.Compare(a.at, b.at)
	if c == 0 {
		c = cmp.Compare(a.seq, b.seq)
	}
	if s.opt.OldestFirst {
		return c
	}
	return -c
}

// best is where the first hit of a segment can stand.
func (s *search) best(r *span) hit {
	if s.opt.OldestFirst {
		return hit{at: r.oldest, seq: r.first}
	}
	return hit{at: r.newest, seq: r.last}
}

// Search calls fn with the events that a query finds, in order, until it gives an
// error. Segments that cannot be read are left out and named in the error, which is
// then ErrIncomplete.
func Search(ctx context.Context, view View, q *query.Query, opt Options, fn func(*audit.Event) error) (Stats, error) {
	if q.Groups() {
		return Stats{}, errors.New("search the trail: the query counts events and does not list them")
	}
	s := &search{q: q, opt: opt, sealed: view.Segments(), held: MaxHeld}
	s.stats.Segments = len(s.sealed)
	defer s.cache.close()
	if err := s.unsealed(ctx, view); err != nil {
		return s.stats, fmt.Errorf("search the trail: %w", err)
	}
	if err := s.order(ctx); err != nil {
		return s.stats, fmt.Errorf("search the trail: %w", err)
	}
	if err := s.run(ctx, fn); err != nil {
		return s.stats, err
	}
	return s.stats, s.stats.incomplete()
}

// unsealed searches the events that are in no segment.
func (s *search) unsealed(ctx context.Context, view View) error {
	m := s.q.Matcher()
	err := view.Unsealed(ctx, func(e *audit.Event) error {
		s.stats.Rows++
		s.stats.Read++
		if m.Match(e) {
			s.pending = append(s.pending, hit{at: e.Time().UnixMicro(), seq: e.Seq, seg: -1, event: e})
			if s.opt.Limit > 0 && len(s.pending) >= 2*s.opt.Limit+1024 {
				s.sort()
			}
		}
		return nil
	})
	s.sort()
	return s.stats.rest(ctx, err)
}

// rest tells of unsealed events that could not be read, as of a segment.
func (s *Stats) rest(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil {
		s.Unreadable = append(s.Unreadable, Unreadable{"of the newest events, which is not sealed", err})
		return nil
	}
	return err
}

// sort puts the pending hits in order and drops those beyond the limit.
func (s *search) sort() {
	slices.SortFunc(s.pending, func(a, b hit) int { return s.before(&a, &b) })
	if s.opt.Limit > 0 && len(s.pending) > s.opt.Limit {
		clear(s.pending[s.opt.Limit:])
		s.pending = s.pending[:s.opt.Limit]
	}
}

func (s *search) workers() int { return max(1, s.opt.Workers) }

// order finds each segment's place in time, for which it opens those of which nothing is
// known, and puts them in the order in which their first hits can come.
func (s *search) order(ctx context.Context) error {
	found := make([]*span, len(s.sealed))
	failed := make([]error, len(s.sealed))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.workers())
	for i, sealed := range s.sealed {
		if rulesOut(s.q, sealed) {
			s.stats.Skipped++
			continue
		}
		if k, ok := known(sealed); ok {
			found[i] = &span{
				seg: int32(i), oldest: k.Oldest.UnixMicro(), newest: k.Newest.UnixMicro(), first: k.First, last: k.Last,
			}
			continue
		}
		g.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			found[i], failed[i] = placeOf(int32(i), sealed) //nolint:gosec // a count of files
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, r := range found {
		if failed[i] != nil {
			s.stats.Unreadable = append(s.stats.Unreadable, Unreadable{s.sealed[i].Name(), failed[i]})
		} else if r != nil {
			s.ranges = append(s.ranges, *r)
		}
	}
	slices.SortStableFunc(s.ranges, func(a, b span) int {
		x, y := s.best(&a), s.best(&b)
		return s.before(&x, &y)
	})
	return nil
}

// placeOf opens a segment for its place in time.
func placeOf(id int32, sealed Sealed) (*span, error) {
	seg, err := sealed.Open()
	if err != nil {
		return nil, err
	}
	oldest, newest := seg.TimeRange()
	first := seg.First()
	return &span{
		seg: id, oldest: oldest.UnixMicro(), newest: newest.UnixMicro(),
		first: first, last: first + uint64(seg.Len()), //nolint:gosec // a length
	}, seg.Close()
}

// run searches segments until nothing that can still come would be among the
// results, and gives results out as soon as their place is sure.
func (s *search) run(ctx context.Context, fn func(*audit.Event) error) error {
	given := 0
	for next := 0; ; {
		// What stands before the first hit that the rest can have is sure.
		sure := len(s.pending)
		if next < len(s.ranges) {
			best := s.best(&s.ranges[next])
			sure, _ = slices.BinarySearchFunc(s.pending, best, func(a, b hit) int { return s.before(&a, &b) })
		}
		if s.opt.Limit > 0 {
			sure = min(sure, s.opt.Limit-given)
		}
		if err := s.give(ctx, s.pending[:sure], fn); err != nil {
			return err
		}
		given += sure
		rest := copy(s.pending, s.pending[sure:])
		clear(s.pending[rest:])
		s.pending = s.pending[:rest]
		if next == len(s.ranges) || s.opt.Limit > 0 && given >= s.opt.Limit {
			s.stats.Skipped += len(s.ranges) - next
			return nil
		}
		wave := s.ranges[next:min(next+s.workers(), len(s.ranges))]
		next += len(wave)
		if err := s.search(ctx, wave, given); err != nil {
			return err
		}
		if len(s.pending) > s.held {
			return fmt.Errorf("search the trail: %w: segments overlap in time, and %d results wait for older ones; set a limit, or a shorter time", ErrTooManyResults, len(s.pending))
		}
	}
}

// search looks into some segments at once.
func (s *search) search(ctx context.Context, wave []span, given int) error {
	hits, stats := make([][]hit, len(wave)), make([]Stats, len(wave))
	g, ctx := errgroup.WithContext(ctx)
	for i := range wave {
		g.Go(func() error {
			var err error
			hits[i], err = s.one(ctx, wave[i].seg, s.room(given), &stats[i])
			switch {
			case err == nil:
			case ctx.Err() != nil:
				return fmt.Errorf("search the trail: %w", ctx.Err())
			default:
				hits[i] = nil
				stats[i] = Stats{Unreadable: []Unreadable{{s.sealed[wave[i].seg].Name(), err}}}
			}
			return nil
		})
	}
	err := g.Wait()
	for i := range wave {
		s.pending = append(s.pending, hits[i]...)
		s.stats.add(&stats[i])
	}
	s.sort()
	return err
}

// room is how many hits are still wanted, 0 for all.
func (s *search) room(given int) int {
	if s.opt.Limit == 0 {
		return 0
	}
	return s.opt.Limit - given
}
