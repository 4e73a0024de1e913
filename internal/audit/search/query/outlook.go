package query

import (
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// Known is what is known of a sealed segment before it is opened. It may say more than is
// there, because retention takes events away, but never less.
type Known struct {
	First, Last uint64
	// Oldest and Newest are the ends of Event.Time, From and To those of Event.Received;
	// both ends included.
	Oldest, Newest, From, To time.Time
	// Has reports whether there may be events of a kind.
	Has func(audit.Kind) bool
}

// RulesOut reports whether the query finds nothing in a segment, as far as is known: then
// it need not be opened.
func (q *Query) RulesOut(k *Known) bool {
	return q.expr != nil && !q.expr.outlook(k).may
}

// outlook is what can be said of a segment's events: that some may be met by a condition,
// and that all must be.
type outlook struct{ may, must bool }

// unsure is what is said where nothing is known.
func unsure() outlook { return outlook{may: true} }

func (n allOf) outlook(k *Known) outlook {
	all := outlook{may: true, must: true}
	for _, part := range n {
		o := part.outlook(k)
		all.may, all.must = all.may && o.may, all.must && o.must
	}
	return all
}

func (n anyOf) outlook(k *Known) outlook {
	var some outlook
	for _, part := range n {
		o := part.outlook(k)
		some.may, some.must = some.may || o.may, some.must || o.must
	}
	return some
}

func (n noneOf) outlook(k *Known) outlook {
	o := n.of.outlook(k)
	return outlook{may: !o.must, must: !o.may}
}

func (n *contains) outlook(*Known) outlook { return unsure() }

func (n *compare) outlook(k *Known) outlook {
	if n.field.name != "kind" {
		return unsure()
	}
	// Every event is of one of the kinds: the log takes no other.
	o := outlook{must: true}
	for _, kind := range audit.Kinds() {
		if !k.Has(kind) {
			continue
		}
		if n.finds(string(kind)) {
			o.may = true
		} else {
			o.must = false
		}
	}
	return o
}

func (n *within) outlook(k *Known) outlook {
	var oldest, newest time.Time
	switch n.field.name {
	case "time":
		oldest, newest = k.Oldest, k.Newest
	case "received":
		oldest, newest = k.From, k.To
	default: // an event need not have the others
		return unsure()
	}
	return outlook{
		may:  (n.to.IsZero() || oldest.Before(n.to)) && (n.from.IsZero() || !newest.Before(n.from)),
		must: n.holds(oldest) && n.holds(newest),
	}
}
