package search

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search/query"
)

// tally adds up groups.
type tally struct {
	g     *query.Grouping
	total int64
	cut   int64 // events of which not every value was counted
	bytes int
	key   []byte // the last group's; its memory is used again
	// of counts the groups by their values, joined by separator; of a timeline, steps
	// has them by their number.
	of    map[string]*sum
	steps map[int64]int64
}

type sum struct {
	count        int64
	since, until int64
	event        *audit.Event
	at           hit
}

// separator stands between the values of a group's key. In values it is doubled.
const separator = "\x00"

func newTally(g *query.Grouping) *tally {
	return &tally{g: g, of: map[string]*sum{}, steps: map[int64]int64{}}
}

// event counts an event.
func (t *tally) event(e *audit.Event) error {
	t.total++
	at := e.Time().UnixMicro()
	if t.g.Task == query.Timeline {
		return t.step(at, 1)
	}
	values, cut := make([][]string, len(t.g.By)), false
	for n, f := range t.g.By {
		of := keys(f, e)
		values[n], cut = of.list(), cut || of.cut
	}
	return t.under(values, cut, at, e)
}

// under counts an event under each combination of its values of the fields.
func (t *tally) under(values [][]string, cut bool, at int64, e *audit.Event) error {
	left := MaxCombinations
	key, err := t.combine(t.key[:0], values, 0, &left, at, e)
	t.key = key
	if cut || left < 0 {
		t.cut++
	}
	return err
}

// combine goes on with the values of field n, and gives key back for its memory.
func (t *tally) combine(key []byte, values [][]string, n int, left *int, at int64, e *audit.Event) ([]byte, error) {
	if n == len(values) {
		if *left--; *left < 0 {
			return key, nil
		}
		return key, t.one(key, at, e)
	}
	length := len(key)
	for _, value := range values[n] {
		if *left < 0 {
			break
		}
		var err error
		if key, err = t.combine(appendKey(key[:length], value, n), values, n+1, left, at, e); err != nil {
			return key, err
		}
	}
	return key, nil
}

// appendKey adds the value of field i to a group's key.
func appendKey(key []byte, value string, i int) []byte {
	if i > 0 {
		key = append(key, separator+","...)
	}
	if strings.Contains(value, separator) {
		value = strings.ReplaceAll(value, separator, separator+separator)
	}
	return append(key, value...)
}

// splitKey undoes appendKey.
func splitKey(key string, fields int) []string {
	if fields == 0 {
		return nil
	}
	out := make([]string, 0, fields)
	var b strings.Builder
	for i := 0; i < len(key); i++ {
		switch {
		case key[i] != 0:
			b.WriteByte(key[i])
		case i+1 < len(key) && key[i+1] == 0:
			b.WriteByte(0)
			i++
		default: // a separator and its comma
			out = append(out, b.String())
			b.Reset()
			i++
		}
	}
	return append(out, b.String())
}

// one counts an event under a group.
func (t *tally) one(key []byte, at int64, e *audit.Event) error {
	s, err := t.group(key)
	if err != nil {
		return err
	}
	s.add(1, at, at)
	if e != nil && (t.g.Task == query.First || t.g.Task == query.Last) {
		s.offer(hit{at: at, seq: e.Seq, event: e}, t.g.Task == query.Last)
	}
	return nil
}

func (t *tally) group(key []byte) (*sum, error) {
	s := t.of[string(key)]
	if s != nil {
		return s, nil
	}
	limit := MaxGroups
	if t.g.Task == query.First || t.g.Task == query.Last {
		limit = MaxKept
	}
	t.bytes += len(key)
	if len(t.of) >= limit || t.bytes > maxNames {
		return nil, fmt.Errorf("%w: more than %d, or %d MiB of names; narrow the query, or group by fewer fields", ErrTooManyGroups, limit, maxNames>>20)
	}
	s = &sum{}
	t.of[string(key)] = s
	return s, nil
}

func (s *sum) add(n, since, until int64) {
	if s.count == 0 || since < s.since {
		s.since = since
	}
	if s.count == 0 || until > s.until {
		s.until = until
	}
	s.count += n
}

// offer keeps the first or the last event.
func (s *sum) offer(h hit, last bool) {
	c := cmp.Compare(h.at, s.at.at)
	if c == 0 {
		c = cmp.Compare(h.seq, s.at.seq)
	}
	if s.event == nil || c < 0 && !last || c > 0 && last {
		s.event, s.at = h.event, h
	}
}

func (t *tally) step(at, n int64) error {
	size := t.g.Step.Microseconds()
	i := at / size
	if at%size < 0 {
		i--
	}
	t.steps[i] += n
	if len(t.steps) > MaxBuckets {
		return fmt.Errorf("%w: the timeline has more than %d steps; take longer ones", ErrTooManyGroups, MaxBuckets)
	}
	return nil
}

// columns counts rows without reading their events, where columns have all that the
// grouping needs. It reports whether it did.
func (t *tally) columns(ctx context.Context, seg Segment, rows []int32) (bool, error) {
	if t.g.Task == query.First || t.g.Task == query.Last {
		return false, nil
	}
	var parts []func(i int) valueSet
	for _, f := range t.g.By {
		part, err := shown(ctx, f, seg, rows)
		if err != nil || part == nil {
			return false, err
		}
		parts = append(parts, part)
	}
	times, err := seg.Times(ctx, rows)
	if err != nil {
		return false, err
	}
	t.total += int64(len(rows))
	values := make([][]string, len(parts))
	for i := range rows {
		at, cut := times[i].UnixMicro(), false
		for n, part := range parts {
			of := part(i)
			values[n], cut = of.list(), cut || of.cut
		}
		if t.g.Task == query.Timeline {
			err = t.step(at, 1)
		} else {
			err = t.under(values, cut, at, nil)
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// shown gives what rows are grouped under, as keys does of an event, where columns can
// say; nil where they cannot.
func shown(ctx context.Context, f *query.Field, seg Segment, rows []int32) (func(i int) valueSet, error) {
	columns := f.Columns()
	if len(columns) == 0 {
		return nil, nil
	}
	if f.Several() {
		return shownLists(ctx, columns, seg, rows)
	}
	values := make([][]string, len(columns))
	for n, column := range columns {
		texts, ok, err := seg.Values(ctx, column, rows)
		if err != nil || !ok {
			return nil, err
		}
		values[n] = texts
	}
	if len(columns) == 3 { // of a resource
		e := &audit.Event{}
		return func(i int) valueSet {
			e.Object = audit.ObjectRef{APIGroup: values[0][i], Resource: values[1][i], Subresource: values[2][i]}
			return valueSet{all: []string{query.ResourceOf(e)}}
		}, nil
	}
	return func(i int) valueSet { return valueSet{all: values[0][i : i+1]} }, nil
}

// shownLists is of a field with several values, or in several columns.
func shownLists(ctx context.Context, columns []string, seg Segment, rows []int32) (func(i int) valueSet, error) {
	lists := make([][][]string, len(columns))
	for n, column := range columns {
		values, ok, err := seg.Lists(ctx, column, rows)
		if err != nil || !ok {
			return nil, err
		}
		lists[n] = values
	}
	return func(i int) valueSet {
		if len(lists) == 1 && len(lists[0][i]) == 1 {
			return valueSet{all: lists[0][i]} // nearly all of them
		}
		var of valueSet
		for n := range lists {
			for _, value := range lists[n][i] {
				of.add(value)
			}
		}
		return of
	}, nil
}

// merge adds the groups of a segment.
func (t *tally) merge(o *tally) error {
	t.total += o.total
	t.cut += o.cut
	for i, n := range o.steps {
		if err := t.step(i*t.g.Step.Microseconds(), n); err != nil {
			return err
		}
	}
	for key, from := range o.of {
		s, err := t.group([]byte(key))
		if err != nil {
			return err
		}
		s.add(from.count, from.since, from.until)
		if from.event != nil {
			s.offer(from.at, t.g.Task == query.Last)
		}
	}
	return nil
}

// groups puts what was counted in order: the most first, the oldest or newest event
// first, or the steps of time one after the other.
func (t *tally) groups() (*Groups, error) {
	out := &Groups{Total: t.total, Cut: t.cut, Timeline: t.g.Step}
	for _, f := range t.g.By {
		out.By = append(out.By, f.Name())
	}
	if t.g.Task == query.Timeline {
		return out, t.timeline(out)
	}
	for key, s := range t.of {
		out.List = append(out.List, Group{
			Values: splitKey(key, len(t.g.By)), Count: s.count, Event: s.event,
			Since: time.UnixMicro(s.since).UTC(), Until: time.UnixMicro(s.until).UTC(),
		})
	}
	if len(out.List) == 0 && len(t.g.By) == 0 {
		out.List = []Group{{}} // nothing was found, and that is the answer
	}
	slices.SortFunc(out.List, func(a, b Group) int {
		var c int
		switch t.g.Task {
		case query.First:
			c = a.Event.Time().Compare(b.Event.Time())
		case query.Last:
			c = b.Event.Time().Compare(a.Event.Time())
		case query.Count, query.Top, query.Timeline:
			c = cmp.Compare(b.Count, a.Count)
		}
		if c == 0 {
			c = slices.Compare(a.Values, b.Values)
		}
		return c
	})
	if t.g.Task == query.Top && len(out.List) > t.g.N {
		out.More = len(out.List) - t.g.N
		out.List = out.List[:t.g.N]
	}
	return out, nil
}

// timeline lists every step from the first to the last with an event, those without
// one too.
func (t *tally) timeline(out *Groups) error {
	if len(t.steps) == 0 {
		return nil
	}
	var first, last int64
	begun := false
	for i := range t.steps {
		if !begun || i < first {
			first = i
		}
		if !begun || i > last {
			last = i
		}
		begun = true
	}
	if last-first >= MaxBuckets {
		return fmt.Errorf("%w: from the first event to the last the timeline has %d steps, and %d are possible; take longer ones or a shorter time", ErrTooManyGroups, last-first+1, MaxBuckets)
	}
	size := t.g.Step.Microseconds()
	for i := first; i <= last; i++ {
		out.List = append(out.List, Group{Count: t.steps[i], Since: time.UnixMicro(i * size).UTC(), Until: time.UnixMicro((i + 1) * size).UTC()})
	}
	return nil
}
