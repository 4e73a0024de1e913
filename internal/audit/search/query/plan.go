package query

import (
	"context"
	"math"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit/search/rowset"
)

// Columns are those of a sealed segment. Rows are numbered from 0, and lists of them are in
// order.
type Columns interface {
	// First is the number of the first row's event.
	First() uint64
	Len() int
	// TimeRange has the times of all its events in it, both ends included. Every event has
	// a time: the log takes no other.
	TimeRange() (oldest, newest time.Time)
	// Find gives the rows with a value of a field for which test is true. It is false
	// when no column has the field.
	Find(ctx context.Context, field string, test func(text string) bool) ([]int32, bool, error)
	// Text gives the rows in which find likes the canonical JSON of a value that is no
	// time, no number but the code, and not the name of a member that every event has.
	Text(ctx context.Context, find func(json []byte) bool) ([]int32, error)
	// Times gives when each row's event happened: audit.Event.Time.
	Times(ctx context.Context, rows []int32) ([]time.Time, error)
}

// sheet is a segment that a query is planned for.
type sheet struct {
	//nolint:containedctx // a sheet lives for one call of Plan
	ctx            context.Context
	seg            Columns
	rows           int
	live           rowset.Set // the rows whose events are there
	oldest, newest time.Time
}

// verdict is what columns can say: the rows that may be met, and those of them that
// are.
type verdict struct{ may, must rowset.Set }

// Plan asks the columns of a segment what they can decide: which of the rows that are live
// the query may find, and which of those it does find.
func (q *Query) Plan(ctx context.Context, seg Columns, live rowset.Set) (may, must rowset.Set, err error) {
	if q.expr == nil {
		return live, live, nil
	}
	s := &sheet{ctx: ctx, seg: seg, rows: seg.Len(), live: live}
	s.oldest, s.newest = seg.TimeRange()
	v, err := q.expr.plan(s)
	return v.may, v.must, err
}

func (s *sheet) all() verdict    { return verdict{s.live, s.live} }
func (s *sheet) none() verdict   { return verdict{rowset.New(s.rows), rowset.New(s.rows)} }
func (s *sheet) unsure() verdict { return verdict{s.live, rowset.New(s.rows)} }

// exactly is met by these rows and no others.
func (s *sheet) exactly(rows rowset.Set) verdict {
	rows = rows.And(s.live)
	return verdict{rows, rows}
}

// cheap says in which order the parts of a conjunction are asked: the first ones may
// leave nothing for the rest.
func cheap(n node) int {
	switch n.(type) {
	case *within:
		return 0
	case *compare:
		return 1
	case *contains:
		return 3
	}
	return 2
}

func (n allOf) plan(s *sheet) (verdict, error) {
	v := s.all()
	for turn := range 4 {
		for _, part := range n {
			if cheap(part) != turn {
				continue
			}
			p, err := part.plan(s)
			if err != nil {
				return v, err
			}
			v = verdict{v.may.And(p.may), v.must.And(p.must)}
			if v.may.Empty() {
				return v, nil
			}
		}
	}
	return v, nil
}

func (n anyOf) plan(s *sheet) (verdict, error) {
	v := s.none()
	for _, part := range n {
		p, err := part.plan(s)
		if err != nil {
			return v, err
		}
		v = verdict{v.may.Or(p.may), v.must.Or(p.must)}
	}
	return v, nil
}

func (n noneOf) plan(s *sheet) (verdict, error) {
	p, err := n.of.plan(s)
	if err != nil {
		return p, err
	}
	return verdict{s.live.Without(p.must), s.live.Without(p.may)}, nil
}

// Text anywhere in an event is decided by reading it, if a column has it at all.
func (n *contains) plan(s *sheet) (verdict, error) {
	if text, literal := n.glob.literal(); !literal || !withinOneValue(strings.ToLower(text)) {
		return s.unsure(), nil
	}
	var lower []byte
	rows, err := s.seg.Text(s.ctx, func(json []byte) bool {
		lower = appendLower(lower[:0], json)
		return n.find(lower)
	})
	if err != nil {
		return verdict{}, err
	}
	return verdict{s.live.And(rowset.Of(s.rows, rows)), rowset.New(s.rows)}, nil
}

// withinOneValue reports whether a text in lower case can stand in an event's
// canonical form only within one value that [Columns.Text] looks at: not across several,
// not in a time or number, and not in the name of a member.
func withinOneValue(text string) bool {
	// A colon between a name and a value comes right after a quotation mark.
	if strings.ContainsAny(text, `"\{}[],`) || strings.HasPrefix(text, ":") || strings.Trim(text, "0123456789tz:.-") == "" {
		return false
	}
	for _, name := range memberNames() {
		if strings.Contains(name, text) {
			return false
		}
	}
	return true
}

// memberNames are the names of members of the canonical form, in lower case.
func memberNames() []string {
	return []string{
		"kind", "source", "cluster", "received", "auditid", "level", "stage", "requesturi", "verb", "saidverb", "user", "username", "uid", "groups", "extra",
		"impersonateduser", "sourceips", "useragent", "objectref", "apigroup", "apiversion", "resource", "subresource", "namespace", "name",
		"resourceversion", "responsestatus", "code", "status", "reason", "message", "requestobject", "responseobject", "requestreceivedtimestamp",
		"stagetimestamp", "annotations", "redactions", "path", "commitment", "more",
		"authorization.k8s.io/decision", "authorization.k8s.io/reason", // columns have their values alone
	}
}

func (n *within) plan(s *sheet) (verdict, error) {
	switch {
	case n.field.name != "time":
		return s.unsure(), nil
	case !n.to.IsZero() && !s.oldest.Before(n.to) || !n.from.IsZero() && s.newest.Before(n.from):
		return s.none(), nil
	case n.holds(s.oldest) && n.holds(s.newest):
		return s.all(), nil
	}
	rows := s.live.List()
	at, err := s.seg.Times(s.ctx, rows)
	if err != nil {
		return verdict{}, err
	}
	found := rowset.New(s.rows)
	for i, row := range rows {
		if n.holds(at[i]) {
			found.Add(int(row))
		}
	}
	return s.exactly(found), nil
}

func (n *compare) plan(s *sheet) (verdict, error) {
	switch n.field.name {
	case "seq":
		return n.planSeq(s), nil
	case "resource":
		return n.planResource(s)
	}
	v, ok, err := n.anyColumn(s, n.field.columns, n.finds)
	if err != nil || !ok {
		return s.unsure(), err
	}
	return v, nil
}

// anyColumn finds the rows with a value in any of the columns, and those without
// one in any where absence is asked for.
func (n *compare) anyColumn(s *sheet, columns []string, test func(string) bool) (verdict, bool, error) {
	if len(columns) == 0 {
		return verdict{}, false, nil
	}
	absence := n.findsAbsence()
	found, present := rowset.New(s.rows), rowset.New(s.rows)
	for _, column := range columns {
		rows, ok, err := s.seg.Find(s.ctx, column, func(text string) bool { return text != "" && test(text) })
		if err != nil || !ok {
			return verdict{}, ok, err
		}
		found = found.Or(rowset.Of(s.rows, rows))
		if !absence {
			continue
		}
		if rows, ok, err = s.seg.Find(s.ctx, column, func(text string) bool { return text != "" }); err != nil || !ok {
			return verdict{}, ok, err
		}
		present = present.Or(rowset.Of(s.rows, rows))
	}
	if absence {
		found = found.Or(s.live.Without(present))
	}
	return s.exactly(found), true, nil
}

// planResource uses that each of the names of what a request was about begins with
// its resource, and goes on with a dot or slash.
func (n *compare) planResource(s *sheet) (verdict, error) {
	plain, texts := true, make([]string, 0, len(n.operands))
	for i := range n.operands {
		o := &n.operands[i]
		switch o.form {
		case formText:
			text, literal := o.glob.literal()
			if !literal {
				return s.unsure(), nil
			}
			if n.fold {
				text = strings.ToLower(text)
			}
			plain = plain && !strings.ContainsAny(text, "./")
			texts = append(texts, text)
		case formPresent, formAbsent:
		case formNumber, formRange, formAddress, formNetwork:
			return s.unsure(), nil
		}
	}
	v, ok, err := n.anyColumn(s, []string{"objectRef.resource"}, func(value string) bool {
		if n.finds(value) {
			return true
		}
		if n.fold {
			value = strings.ToLower(value)
		}
		for _, text := range texts {
			if rest, ok := strings.CutPrefix(text, value); ok && strings.IndexAny(rest, "./") == 0 {
				return true
			}
		}
		return false
	})
	if err != nil || !ok {
		return s.unsure(), err
	}
	if !plain {
		v.must = rowset.New(s.rows)
	}
	return v, nil
}

// planSeq counts rows from the first one's number.
func (n *compare) planSeq(s *sheet) verdict {
	rows := rowset.New(s.rows)
	for i := range n.operands {
		o := &n.operands[i]
		low, high := int64(math.MinInt64), int64(math.MaxInt64)
		switch {
		case o.form == formPresent:
		case o.form == formAbsent:
			continue
		case o.form == formNumber && o.low.whole:
			switch n.order {
			case equal:
				low, high = o.low.i, o.low.i
			case less:
				high = o.low.i - 1
			case atMost:
				high = o.low.i
			case more:
				low = o.low.i + 1
			case atLeast:
				low = o.low.i
			}
		case o.form == formRange && (o.noLow || o.low.whole) && (o.noHigh || o.high.whole):
			if !o.noLow {
				low = o.low.i
			}
			if !o.noHigh {
				high = o.high.i
			}
		default:
			return s.unsure()
		}
		if o.form == formNumber && (o.low.i == math.MinInt64 || o.low.i == math.MaxInt64) {
			return s.unsure() // one more or less would not fit
		}
		first := int64(s.seg.First()) //nolint:gosec // a trail of 2^63 events is far
		from, to := max(low, first)-first, min(high, first+int64(s.rows)-1)-first+1
		if low <= first+int64(s.rows)-1 && high >= first {
			rows.AddRange(int(from), int(to))
		}
	}
	return s.exactly(rows)
}
