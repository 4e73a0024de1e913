package graph

import (
	"slices"
	"sync"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph/rights"
)

// shelf keeps what was read of objects, for as long as they stay: for all views of
// an Index, and for those that follow it.
type shelf struct {
	// all says that whatever is worth it is kept, for an Index that is followed by
	// others; else only what is asked for several times.
	all    bool
	read   sync.Map // entry[T] → T
	mu     sync.Mutex
	failed map[*inventory.Object]bool // whose content could not be decoded
}

// entry is a key of a shelf: what of one type is known of an object.
type entry[T any] struct{ Of *inventory.Object }

func taken[T any](s *shelf, o *inventory.Object) (T, bool) {
	v, ok := s.read.Load(entry[T]{o})
	if !ok {
		var none T
		return none, false
	}
	t, ok := v.(T)
	return t, ok
}

func put[T any](s *shelf, o *inventory.Object, v T) { s.read.Store(entry[T]{o}, v) }

// keep gives what read makes of an object, which is nobody's to change.
func keep[T any](ix *Index, o *inventory.Object, read func() T) T {
	if !ix.shelf.all {
		return read()
	}
	v, ok := taken[T](ix.shelf, o)
	if !ok {
		v = read()
		put(ix.shelf, o, v)
	}
	return v
}

func (s *shelf) fail(o *inventory.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed[o] = true
}

// forget drops all that was read of an object; TestShelf holds the list to what is
// kept.
func (s *shelf) forget(o *inventory.Object) {
	for _, k := range []any{
		entry[map[string]any]{o},
		entry[[]*workload]{o},
		entry[likeness]{o},
		entry[*service]{o},
		entry[*secret]{o},
		entry[*route]{o},
		entry[[]*policy]{o},
		entry[*rights.Role]{o},
		entry[*rights.Binding]{o},
		entry[[]part]{o},
	} {
		s.read.Delete(k)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.failed, o)
}

// Keep makes an Index ready to be followed by others: it keeps more of what it
// reads. Call it before the Index is used.
func (ix *Index) Keep() { ix.shelf.all = true }

// Undecodable tells of an object whose content cannot be decoded, so that it does
// not matter which check would have found out, and when.
func (ix *Index) Undecodable(o *inventory.Object) { ix.shelf.fail(o) }

// Next gives the Index of a snapshot in which, against that of ix, the objects out
// are gone and in are new. What rests on neither is taken over from ix, which is
// not used any more.
func (ix *Index) Next(s *inventory.Snapshot, out, in []*inventory.Object) *Index {
	for _, o := range out {
		ix.shelf.forget(o)
	}
	homes, kinds := map[string]bool{}, map[Kind]bool{}
	for _, o := range slices.Concat(out, in) {
		homes[home(o)] = true
		kinds[Kind{o.Group(), o.Kind}] = true
	}
	touched := func(some []Kind) bool {
		return slices.ContainsFunc(some, func(k Kind) bool { return kinds[k] })
	}
	next := NewIndex(s)
	next.Now, next.shelf = ix.Now, ix.shelf
	laws, roads, grants := touched(widePolicyKinds()), touched(routeKinds()), touched(rbacKinds())
	if !grants {
		next.grants = ix.grants
	}
	if !laws {
		next.laws = ix.laws
	}
	if !roads {
		next.roads = ix.roads
	}
	by := map[string]*Index{}
	for name, v := range ix.all().by {
		if homes[name] {
			continue
		}
		// All tables of a view rest on its own objects, and these on others, too.
		t := v.tables
		if laws {
			t.rules = &lazy[*policies]{}
		}
		if roads {
			t.ways = &lazy[*ways]{}
		}
		if grants {
			t.held = &lazy[[]*tenant]{}
		}
		by[name] = next.view(name, v.own, t)
	}
	for name, p := range gather(s, homes) {
		by[name] = next.view(name, p, newTables())
	}
	next.views.get(func() *views { return sorted(by) })
	return next
}

// Everywhere is the place of a check that is not Local.
const Everywhere = ""

// Places gives where a check runs, one after the other: Everywhere, or each
// namespace if it is Local.
func (ix *Index) Places(c *Check) []string {
	if !c.Local {
		return []string{Everywhere}
	}
	var out []string
	for _, v := range ix.all().list {
		out = append(out, v.name)
	}
	return out
}

// At gives what a check sees in a place, nil if there is no such place any more.
func (ix *Index) At(place string) *Index {
	if place == Everywhere {
		return ix
	}
	return ix.all().by[place]
}

// JudgeAt gives the verdicts of one place, see Judge.
func (c *Check) JudgeAt(ix *Index, place string, emit func(*inventory.Object, control.Result)) {
	switch here := ix.At(place); {
	case here == nil:
	case c.bare == nil: // of somebody else than this package
		c.Judge(here, emit)
	default:
		guard(c, here, emit)
	}
}

// Rests reports whether a check's verdicts may rest on an object.
func (c *Check) Rests(o *inventory.Object) bool {
	k := Kind{o.Group(), o.Kind}
	// Of the kinds with pods even one without any matters: with it the kind is not
	// one of which nothing could be read.
	return c.Any || slices.Contains(c.Reads, k) || c.Pods && (carries(o) || slices.Contains(workloadKinds(), k))
}

// Place gives the one place in which a check gives its verdicts on an object.
func (c *Check) Place(o *inventory.Object) string {
	if !c.Local {
		return Everywhere
	}
	return home(o)
}

// Due gives the places in which the verdicts of a check may be others once some
// objects are gone or new. Some of them may be gone, too.
func (ix *Index) Due(c *Check, touched []*inventory.Object) []string {
	var out []string
	for _, o := range touched {
		switch {
		case !c.Rests(o):
		case wide()[Kind{o.Group(), o.Kind}], ix.Facts.Partial:
			// With Partial a kind is unread as long as the whole cluster has none of it.
			return ix.Places(c)
		case !slices.Contains(out, c.Place(o)):
			out = append(out, c.Place(o))
		}
	}
	return out
}
