package search

import (
	"time"

	"bulwark.dev/bulwark/internal/audit/log/summary"
	"bulwark.dev/bulwark/internal/audit/search/query"
)

// Described is a Sealed that may know something of its segment. It answers without
// reading, and says false where it knows nothing that can be relied on.
type Described interface {
	Known() (query.Known, bool)
}

// known asks a Sealed what it knows.
func known(s Sealed) (query.Known, bool) {
	if d, ok := s.(Described); ok {
		return d.Known()
	}
	return query.Known{}, false
}

// rulesOut reports whether a query finds nothing in a segment, as far as is known: then it
// is not opened.
func rulesOut(q *query.Query, s Sealed) bool {
	k, ok := known(s)
	return ok && q.RulesOut(&k)
}

// knownOf makes it of a line of the log's summary.
func knownOf(s *summary.Segment) query.Known {
	at := func(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
	return query.Known{First: s.First, Last: s.Last, Oldest: at(s.Oldest), Newest: at(s.Newest), From: at(s.From), To: at(s.To), Has: s.Has}
}
