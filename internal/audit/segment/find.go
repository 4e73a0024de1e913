package segment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Find gives the rows that the query selects, in their order.
func (r *Reader) Find(ctx context.Context, q Query) ([]int32, error) {
	sources := make([]source, len(q.Conditions))
	for n := range q.Conditions {
		var err error
		if sources[n], err = resolve(q.Conditions[n].Field); err != nil {
			return nil, err
		}
	}
	var found []int32
	for n := range r.starts {
		g := r.group(n)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		rows, err := r.findIn(g, &q, sources)
		if err != nil {
			return nil, fmt.Errorf("search the segment from event %d: %w", r.first, err)
		}
		for _, i := range rows {
			found = append(found, i+count32(g.first))
		}
	}
	return found, nil
}

// findIn first asks the dictionaries alone, so that a row group that cannot have a match
// costs no look at its rows.
func (r *Reader) findIn(g *rowGroup, q *Query, sources []source) ([]int32, error) {
	tests := make([]*test, 0, len(sources))
	for n := range sources {
		t, err := r.prepare(g, &sources[n], &q.Conditions[n])
		if err != nil {
			return nil, err
		}
		if t.never {
			return nil, nil
		}
		tests = append(tests, t)
	}
	rows, err := r.unpruned(g)
	if err != nil {
		return nil, err
	}
	if !q.From.IsZero() || !q.To.IsZero() {
		if err := r.load(g, colStageAt, colRequestReceived, colReceived); err != nil {
			return nil, err
		}
		rows = g.between(rows, q.From, q.To)
	}
	for _, t := range tests {
		if len(rows) == 0 {
			return nil, nil
		}
		if err := r.load(g, t.needs...); err != nil {
			return nil, err
		}
		rows = t.filter(g, rows)
	}
	return rows, nil
}

// unpruned lists a group's rows that still have their event.
func (r *Reader) unpruned(g *rowGroup) ([]int32, error) {
	if err := r.load(g, colLeaf); err != nil {
		return nil, err
	}
	leaf := &g.columns[colLeaf]
	rows := make([]int32, 0, g.rows)
	for i := range g.rows {
		if leaf.fixed(i) == nil {
			rows = append(rows, count32(i))
		}
	}
	return rows, nil
}

func (g *rowGroup) between(rows []int32, from, to time.Time) []int32 {
	var least, most int64 = absent, 1<<63 - 1
	if !from.IsZero() {
		least = from.UnixMicro()
		if from.After(time.UnixMicro(least)) { // times here are whole microseconds
			least++
		}
	}
	if !to.IsZero() {
		most = to.UnixMicro() - 1
		if to.After(time.UnixMicro(most + 1)) {
			most++
		}
	}
	kept := rows[:0]
	for _, i := range rows {
		at := g.micros(int(i))
		if at == absent {
			at = time.Time{}.UnixMicro()
		}
		if at >= least && at <= most {
			kept = append(kept, i)
		}
	}
	return kept
}

// micros is Event.Time of row i, or absent.
func (g *rowGroup) micros(i int) int64 {
	for _, id := range [...]columnID{colStageAt, colRequestReceived} {
		if v := g.columns[id].integer(i); v != absent {
			return v
		}
	}
	return g.columns[colReceived].integer(i)
}

// test decides a condition for the rows of one group.
type test struct {
	needs []columnID
	// never says that no row can meet it.
	never bool
	// filter keeps the rows that meet it, in rows' memory. The columns in needs are loaded.
	filter func(g *rowGroup, rows []int32) []int32
}

// prepare asks the condition's Test about every dictionary text that matters.
func (r *Reader) prepare(g *rowGroup, s *source, c *Condition) (*test, error) {
	switch s.origin {
	case fromColumn:
		verdict, some, err := r.verdicts(g, s, s.column, c)
		return &test{needs: []columnID{s.column}, never: !some, filter: func(g *rowGroup, rows []int32) []int32 {
			return keepCodes(rows, g.columns[s.column].codes, verdict)
		}}, err
	case fromActor:
		user, anyUser, err := r.verdicts(g, s, s.column, c)
		if err != nil {
			return nil, err
		}
		as, anyAs, err := r.verdicts(g, s, s.as, c)
		return &test{needs: []columnID{s.column, s.as, colAsUsername}, never: !anyUser && !anyAs, filter: func(g *rowGroup, rows []int32) []int32 {
			return keepIf(rows, func(i int) bool {
				if g.columns[colAsUsername].code(i) != 0 {
					return as[g.columns[s.as].code(i)]
				}
				return user[g.columns[s.column].code(i)]
			})
		}}, err
	case fromAuditID:
		return &test{needs: []columnID{colAuditID, colAuditIDText}, filter: func(g *rowGroup, rows []int32) []int32 {
			return keepIf(rows, func(i int) bool { return c.meets(g.auditID(i)) })
		}}, nil
	case fromVersion:
		return &test{needs: []columnID{colResourceVersion, colResourceVersionText}, filter: func(g *rowGroup, rows []int32) []int32 {
			return keepIf(rows, func(i int) bool { return c.meets(g.resourceVersion(i)) })
		}}, nil
	case fromOutcome:
		yes, no := c.meets("true"), c.meets("false")
		return &test{needs: []columnID{colDecision, colCode, colStatus}, never: !yes && !no, filter: func(g *rowGroup, rows []int32) []int32 {
			succeeded := g.outcomes()
			return keepIf(rows, func(i int) bool {
				if succeeded(i) {
					return yes
				}
				return no
			})
		}}, nil
	}
	return nil, errors.New("a field has no origin")
}

// meets decides a condition for a field with one value, or none where text is "".
func (c *Condition) meets(text string) bool {
	if text == "" {
		return c.Absent != c.Not
	}
	return (c.Test != nil && c.Test(text)) != c.Not
}

// verdicts decides a condition for null, at 0, and for each text of a dictionary, and
// reports whether any is yes.
func (r *Reader) verdicts(g *rowGroup, s *source, id columnID, c *Condition) ([]bool, bool, error) {
	dict, err := r.loadDictionary(g, id)
	if err != nil {
		return nil, false, err
	}
	verdict := make([]bool, 1+len(dict))
	verdict[0] = c.Absent != c.Not
	for i, text := range dict {
		values, err := s.values(text)
		if err != nil {
			return nil, false, err
		}
		met := len(values) == 0 && c.Absent || c.Test != nil && slices.ContainsFunc(values, c.Test)
		verdict[1+i] = met != c.Not
	}
	return verdict, slices.Contains(verdict, true), nil
}

// keepCodes keeps rows whose code has a yes.
func keepCodes(rows []int32, codes []uint32, verdict []bool) []int32 {
	if codes == nil { // null in every row
		if verdict[0] {
			return rows
		}
		return nil
	}
	kept := rows[:0]
	for _, i := range rows {
		if verdict[codes[i]] {
			kept = append(kept, i)
		}
	}
	return kept
}

func keepIf(rows []int32, keep func(i int) bool) []int32 {
	kept := rows[:0]
	for _, i := range rows {
		if keep(int(i)) {
			kept = append(kept, i)
		}
	}
	return kept
}

// outcomes tells of a row what Event.Succeeded tells of its event.
func (g *rowGroup) outcomes() func(i int) bool {
	decision, code, status := &g.columns[colDecision], &g.columns[colCode], &g.columns[colStatus]
	is := func(c *column, want func(text string) bool) []bool {
		verdict := make([]bool, 1+len(c.dict))
		for i, text := range c.dict {
			verdict[1+i] = want(text)
		}
		return verdict
	}
	forbidden := is(decision, func(text string) bool { return text == "forbid" })
	// Codes are numbers without leading zeros; a negative one is below 300.
	high := is(code, func(text string) bool { return text[0] != '-' && (len(text) > 3 || len(text) == 3 && text >= "300") })
	failure := is(status, func(text string) bool { return text == "Failure" })
	return func(i int) bool {
		return !forbidden[decision.code(i)] && !high[code.code(i)] && (code.code(i) != 0 || !failure[status.code(i)])
	}
}

// Values gives the first value of a field in each of the rows, "" where it has none, for
// counting and sorting.
func (r *Reader) Values(field string, rows []int32) ([]string, error) {
	s, err := resolve(field)
	if err != nil {
		return nil, err
	}
	values := make([]string, len(rows))
	var g *rowGroup
	var value func(i int) string
	for n, i := range rows {
		if i < 0 || int(i) >= r.Len() {
			return nil, fmt.Errorf("read row %d of a segment of %d", i, r.Len())
		}
		if next := r.groupOf(int(i)); next != g {
			g = next
			if value, err = r.valuer(g, &s); err != nil {
				return nil, fmt.Errorf("read %s in the segment from event %d: %w", field, r.first, err)
			}
		}
		values[n] = value(int(i) - g.first)
	}
	return values, nil
}

// valuer loads what a field needs in a group.
func (r *Reader) valuer(g *rowGroup, s *source) (func(i int) string, error) {
	firsts := func(id columnID) (func(i int) string, error) {
		if err := r.load(g, id); err != nil {
			return nil, err
		}
		c := &g.columns[id]
		if s.split == nil {
			return c.text, nil
		}
		first := make([]string, 1+len(c.dict))
		for i, text := range c.dict {
			values, err := s.values(text)
			if err != nil {
				return nil, err
			}
			if len(values) > 0 {
				first[1+i] = values[0]
			}
		}
		return func(i int) string { return first[c.code(i)] }, nil
	}
	switch s.origin {
	case fromColumn:
		return firsts(s.column)
	case fromActor:
		user, err := firsts(s.column)
		if err != nil {
			return nil, err
		}
		as, err := firsts(s.as)
		if err != nil {
			return nil, err
		}
		err = r.load(g, colAsUsername)
		return func(i int) string {
			if g.columns[colAsUsername].code(i) != 0 {
				return as(i)
			}
			return user(i)
		}, err
	case fromAuditID:
		return g.auditID, r.load(g, colAuditID, colAuditIDText)
	case fromVersion:
		return g.resourceVersion, r.load(g, colResourceVersion, colResourceVersionText)
	case fromOutcome:
		if err := r.load(g, colLeaf, colDecision, colCode, colStatus); err != nil {
			return nil, err
		}
		succeeded := g.outcomes()
		return func(i int) string {
			if g.columns[colLeaf].has(i) {
				return ""
			}
			if succeeded(i) {
				return "true"
			}
			return "false"
		}, nil
	}
	return nil, errors.New("a field has no origin")
}

// Times gives Event.Time of each of the rows; the zero time for a pruned row.
func (r *Reader) Times(rows []int32) ([]time.Time, error) {
	times := make([]time.Time, len(rows))
	var g *rowGroup
	for n, i := range rows {
		if i < 0 || int(i) >= r.Len() {
			return nil, fmt.Errorf("read row %d of a segment of %d", i, r.Len())
		}
		if next := r.groupOf(int(i)); next != g {
			g = next
			if err := r.load(g, colStageAt, colRequestReceived, colReceived); err != nil {
				return nil, fmt.Errorf("read times in the segment from event %d: %w", r.first, err)
			}
		}
		if v := g.micros(int(i) - g.first); v != absent {
			times[n] = time.UnixMicro(v).UTC()
		}
	}
	return times, nil
}
