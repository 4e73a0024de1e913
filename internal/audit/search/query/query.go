// Package query is the language of searches: reading it, the test over one event that
// decides what a query means, and what the columns of a segment can say of that test.
//
// One evaluator decides. [Query.Matcher] tells for a single event; [Query.Plan] only
// leaves out rows that the same tests, asked of a column, rule out. So searching,
// following live events and checking a result by hand agree.
package query

import (
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// The bounds of what is read as a query.
const (
	maxQuery    = 16 << 10 // bytes
	maxDepth    = 100      // parentheses and negations within each other
	maxOperands = 1000     // values in one list
)

// Query is a search that was read. The zero Query finds every event.
type Query struct {
	expr  node // nil finds everything
	group *Grouping
}

// Env is what the words of a query that depend on it are read with.
type Env struct {
	// Now is what "2h" counts back from, and what "today" is. It is required.
	Now time.Time
	// Location is the zone of times that name none; nil is UTC.
	Location *time.Location
}

// Parse reads a query. What is wrong with it comes as an *Error.
func Parse(text string, env Env) (*Query, error) {
	p := &parser{src: text, env: env}
	q, err := p.query()
	if err != nil {
		return nil, err
	}
	return q, nil
}

// String writes the query so that it reads as the same one, at any time: what was
// relative to now is absolute. With its escapes it may be longer than a query may be.
func (q *Query) String() string {
	var b strings.Builder
	if q.expr != nil {
		q.expr.write(&b, outermost)
	}
	if q.group != nil {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		q.group.write(&b)
	}
	return b.String()
}

// Groups reports whether the query counts or groups what it finds, and does not list it.
func (q *Query) Groups() bool { return q.group != nil }

// Grouping is what the query does with what it finds, nil where it lists it.
func (q *Query) Grouping() *Grouping { return q.group }

// Match reports whether the query finds an event. Who asks often uses a [Matcher].
func (q *Query) Match(e *audit.Event) bool { return q.Matcher().Match(e) }

// Matcher tests events one after the other. It is for one goroutine.
func (q *Query) Matcher() *Matcher { return &Matcher{expr: q.expr} }

// Matcher is a query and the memory to test events with.
type Matcher struct {
	expr  node
	lower []byte // the event's text in lower case; made when a term first asks
	buf   []byte
	made  bool
}

// Match reports whether the query finds an event.
func (m *Matcher) Match(e *audit.Event) bool {
	if m.expr == nil {
		return true
	}
	m.made = false
	return m.expr.match(m, e)
}

// text gives the event's canonical text in lower case.
func (m *Matcher) text(e *audit.Event) []byte {
	if !m.made {
		m.buf = audit.AppendCanonical(m.buf[:0], e)
		m.lower = appendLower(m.lower[:0], m.buf)
		m.made = true
	}
	return m.lower
}
