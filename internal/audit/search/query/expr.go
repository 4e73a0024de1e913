package query

import (
	"bytes"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// node is a part of a query's condition.
type node interface {
	// match decides, for one event.
	match(m *Matcher, e *audit.Event) bool
	// write writes it so that it reads back as the same part, where it stands.
	write(b *strings.Builder, where place)
	// plan finds the rows of a segment that it may match, and those that it does.
	plan(s *sheet) (verdict, error)
	// outlook says what is sure of a segment that is not open.
	outlook(k *Known) outlook
}

// place is what a part stands in: it decides on parentheses.
type place uint8

const (
	outermost place = iota + 1
	inOr            // one of several of which one must be met
	inAnd           // one of several that must all be met
	inNot           // after a minus
)

type (
	// allOf is met when each is; it has at least two.
	allOf []node
	// anyOf is met when one is; it has at least two.
	anyOf []node
	// noneOf is met when its part is not.
	noneOf struct{ of node }
	// contains is text anywhere in the event, in any case.
	contains struct {
		glob glob
		find func(text []byte) bool
	}
	// compare is a field and the values to find in it.
	compare struct {
		field    *Field
		order    order
		fold     bool // without regard to case; only for equal
		operands []operand
	}
	// within is a field that is a time, and the time from (inclusive) and to (exclusive);
	// a zero end is open.
	within struct {
		field    *Field
		from, to time.Time
	}
)

// order is how a field is compared.
type order uint8

const (
	equal order = iota + 1
	less
	atMost
	more
	atLeast
)

func (o order) String() string {
	switch o {
	case equal:
		return "="
	case less:
		return "<"
	case atMost:
		return "<="
	case more:
		return ">"
	case atLeast:
		return ">="
	}
	return "?"
}

func (n allOf) match(m *Matcher, e *audit.Event) bool {
	for _, part := range n {
		if !part.match(m, e) {
			return false
		}
	}
	return true
}

func (n anyOf) match(m *Matcher, e *audit.Event) bool {
	for _, part := range n {
		if part.match(m, e) {
			return true
		}
	}
	return false
}

func (n noneOf) match(m *Matcher, e *audit.Event) bool { return !n.of.match(m, e) }

func (n *contains) match(m *Matcher, e *audit.Event) bool { return n.find(m.text(e)) }

func (n *within) match(_ *Matcher, e *audit.Event) bool {
	return n.holds(n.field.when(e))
}

func (n *within) holds(t time.Time) bool {
	return !t.IsZero() && (n.from.IsZero() || !t.Before(n.from)) && (n.to.IsZero() || t.Before(n.to))
}

func (n *compare) match(_ *Matcher, e *audit.Event) bool {
	found, present := false, false
	n.field.each(e, func(s string) bool {
		present = true
		found = n.finds(s)
		return !found
	})
	return found || !present && n.findsAbsence()
}

// finds reports whether a value that is not empty is one of the operands.
func (n *compare) finds(s string) bool {
	if n.fold {
		s = strings.ToLower(s)
	}
	if n.order != equal {
		return n.ordered(s)
	}
	for i := range n.operands {
		if n.operands[i].finds(s) {
			return true
		}
	}
	return false
}

func (n *compare) findsAbsence() bool {
	for i := range n.operands {
		if n.operands[i].form == formAbsent {
			return true
		}
	}
	return false
}

func (n *compare) ordered(s string) bool {
	var sign int
	if n.field.kind == kindSeverity {
		is, ok := rank(s)
		than, _ := n.operands[0].glob.literal()
		limit, ok2 := rank(than)
		if !ok || !ok2 {
			return false
		}
		sign = is - limit
	} else {
		is, ok := parseNumber(s)
		if !ok {
			return false
		}
		sign = is.compare(n.operands[0].low)
	}
	switch n.order {
	case less:
		return sign < 0
	case atMost:
		return sign <= 0
	case more:
		return sign > 0
	case atLeast:
		return sign >= 0
	case equal:
	}
	return false
}

func (n allOf) write(b *strings.Builder, where place) {
	if where == inNot {
		b.WriteByte('(')
		defer b.WriteByte(')')
	}
	for i, part := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		part.write(b, inAnd)
	}
}

func (n anyOf) write(b *strings.Builder, where place) {
	if where != outermost {
		b.WriteByte('(')
		defer b.WriteByte(')')
	}
	for i, part := range n {
		if i > 0 {
			b.WriteString(" or ")
		}
		part.write(b, inOr)
	}
}

func (n noneOf) write(b *strings.Builder, where place) {
	if where == inNot {
		b.WriteByte('(')
		defer b.WriteByte(')')
	}
	b.WriteByte('-')
	n.of.write(b, inNot)
}

func (n *contains) write(b *strings.Builder, _ place) { n.glob.write(b, true) }

func (n *compare) write(b *strings.Builder, _ place) {
	b.WriteString(n.field.name)
	if n.fold {
		b.WriteByte('~')
	}
	b.WriteString(n.order.String())
	if len(n.operands) == 1 {
		n.operands[0].write(b)
		return
	}
	b.WriteByte('(')
	for i := range n.operands {
		if i > 0 {
			b.WriteByte(',')
		}
		n.operands[i].write(b)
	}
	b.WriteByte(')')
}

func (n *within) write(b *strings.Builder, _ place) {
	b.WriteString(n.field.name)
	if n.from.IsZero() && n.to.IsZero() {
		b.WriteString("=*")
		return
	}
	b.WriteByte('=')
	if !n.from.IsZero() {
		b.WriteString(stamp(n.from))
	}
	b.WriteString("..")
	if !n.to.IsZero() {
		b.WriteString(stamp(n.to))
	}
}

// newContains makes free text of a glob. The event's text is JSON, so what is said
// is looked for as it is and as JSON writes it.
func newContains(g glob) *contains {
	low := g.lower()
	var escaped glob
	for _, p := range low {
		if p.wild == 0 {
			p.text = jsonText(p.text)
		}
		escaped = escaped.add(p)
	}
	find := finder(low)
	if raw, ok := low.literal(); !ok || raw != jsonText(raw) {
		plain, inJSON := find, finder(escaped)
		find = func(text []byte) bool { return plain(text) || inJSON(text) }
	}
	return &contains{glob: g, find: find}
}

func finder(g glob) func([]byte) bool {
	if text, ok := g.literal(); ok {
		want := []byte(text)
		return func(in []byte) bool { return bytes.Contains(in, want) }
	}
	// A star at an end says nothing that "anywhere" does not.
	test := glob{{wild: '*'}}
	for _, p := range g {
		test = test.add(p)
	}
	test = test.add(part{wild: '*'})
	find := test.test()
	return func(in []byte) bool { return find(string(in)) }
}

// jsonText is a text as it stands within a string of the canonical form.
func jsonText(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' }) < 0 {
		return s
	}
	const hex = "0123456789abcdef"
	short := map[byte]byte{'"': '"', '\\': '\\', '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch as, ok := short[c]; {
		case ok:
			b.WriteByte('\\')
			b.WriteByte(as)
		case c < ' ':
			b.WriteString(`\u00`)
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
