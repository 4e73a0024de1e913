package compile

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// hostPlaces are the hostnames that routes have on a listener, kept from run to run.
type hostPlaces struct {
	by    map[string]*place
	order []*place // most specific first
	grew  bool     // since order was sorted
	last  []ir.Host
}

// place is one hostname of a listener and what meets there.
type place struct {
	pattern string
	gone    bool // no longer one of the listener's

	run int    // the last that had something here
	now []part // of that run

	// What was made last: of what, its entries, which rule each leads to, and
	// whether the order is sure (see byTier).
	was     []part
	leads   []lead
	matches []ir.Match
	sure    bool
}

// part is what one route brings to a hostname: all matches of all its rules.
type part struct {
	by  *attachment
	own string // the hostname of the route
}

// lead says which rule of the table an entry leads to.
type lead struct {
	by   *attachment
	rule int
}

func (l lead) to(rules []int) int { return rules[l.by.first+l.rule] }

// at gives the place of a hostname.
func (h *hostPlaces) at(pattern string) *place {
	p := h.by[pattern]
	if p == nil {
		if h.by == nil {
			h.by = map[string]*place{}
		}
		p = &place{pattern: pattern}
		h.by[pattern] = p
		h.order, h.grew = append(h.order, p), true
	}
	return p
}

// put puts the matches of an attached route onto its listener.
func (a *attachment) put(run int) {
	for i := range a.hosts {
		h := &a.hosts[i]
		if h.at == nil || h.at.gone {
			h.at = a.on.hosts.at(h.pattern)
		}
		if h.at.run != run {
			h.at.run, h.at.now = run, h.at.now[:0]
		}
		h.at.now = append(h.at.now, part{a, h.own})
	}
}

// sorted gives the places of a run, most specific first, and forgets the others.
func (h *hostPlaces) sorted(run int) []*place {
	h.order = slices.DeleteFunc(h.order, func(p *place) bool {
		if p.run != run {
			p.gone = true
			delete(h.by, p.pattern)
		}
		return p.gone
	})
	if h.grew {
		slices.SortFunc(h.order, func(a, b *place) int {
			return cmp.Or(moreSpecific(a.pattern, b.pattern), strings.Compare(a.pattern, b.pattern))
		})
		h.grew = false
	}
	return h.order
}

// entries gives what meets at the place, in no order.
func (p *place) entries() []*entry {
	n := 0
	for _, x := range p.now {
		for _, u := range x.by.route.rules {
			n += len(u.matches)
		}
	}
	all := make([]entry, 0, n)
	out := make([]*entry, 0, n)
	for to, x := range p.now {
		for i, u := range x.by.route.rules {
			for j, m := range u.matches {
				all = append(all, entry{match: m, route: x.by.route, host: x.own, rule: i, place: j, to: to})
				out = append(out, &all[len(all)-1])
			}
		}
	}
	return out
}

func (p *place) lead(e *entry) lead { return lead{p.now[e.to].by, e.rule} }

// host gives the place for the table. rules maps places of making to those of
// the table.
//
// The order depends on the routes that meet and on their hostnames; where their
// rules are in the table is looked at each time.
func (p *place) host(rules []int) ir.Host {
	if p.matches == nil || !slices.Equal(p.now, p.was) {
		entries := p.entries()
		slices.SortFunc(entries, before)
		entries, p.sure = byTier(entries)
		inOrder(entries)
		p.was = slices.Clone(p.now)
		p.leads = make([]lead, 0, len(entries))
		p.matches = make([]ir.Match, 0, len(entries))
		for _, e := range entries {
			l := p.lead(e)
			m := e.Match
			m.Rule = l.to(rules)
			p.leads, p.matches = append(p.leads, l), append(p.matches, m)
		}
		return ir.Host{Pattern: p.pattern, Matches: p.matches}
	}
	for i, l := range p.leads {
		if p.matches[i].Rule == l.to(rules) {
			continue
		}
		p.matches = slices.Clone(p.matches) // the last table has the other
		for i, l := range p.leads {
			p.matches[i].Rule = l.to(rules)
		}
		break
	}
	return ir.Host{Pattern: p.pattern, Matches: p.matches}
}

// table gives all hostnames for the table, the same list while nothing changed.
func (h *hostPlaces) table(run int, rules []int, unsure func(pattern string)) []ir.Host {
	places := h.sorted(run)
	same := len(places) == len(h.last)
	out := h.last
	for i, p := range places {
		x := p.host(rules)
		if !p.sure {
			unsure(p.pattern)
		}
		if same && x.Pattern == out[i].Pattern && sameList(x.Matches, out[i].Matches) {
			continue
		}
		if same || i == 0 {
			out, same = append(make([]ir.Host, 0, len(places)), h.last[:min(i, len(h.last))]...), false
		}
		out = append(out, x)
	}
	if len(places) == 0 {
		out = nil
	}
	h.last = out
	return out
}

// sameList reports whether two lists are one.
func sameList[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// tableParts are parts of the last table.
type tableParts struct {
	rules    []*madeRule // in the order of making
	order    order
	out      []ir.Rule
	statuses []RuleStatus

	backends     []*backend // like rules
	backendOrder order
	inTable      []*backend
	backendsOut  []ir.Backend
	sliced       int // index.sliced that backendsOut was made with
}

// order is the names of a list and their places once they are sorted.
type order struct {
	names  []string
	places []int
}

// sort gives the place of each name in their order. It reports whether the names
// are those of the last time.
func (o *order) sort(n int, name func(int) string) (places []int, same bool) {
	same = len(o.names) == n && o.places != nil
	for i := 0; same && i < n; i++ {
		same = o.names[i] == name(i)
	}
	if same {
		return o.places, true
	}
	o.names = make([]string, n)
	by := make([]int, n)
	for i := range by {
		o.names[i], by[i] = name(i), i
	}
	byName := func(a, b int) int { return strings.Compare(o.names[a], o.names[b]) }
	if !slices.IsSortedFunc(by, byName) {
		slices.SortFunc(by, byName)
	}
	o.places = make([]int, n)
	for to, from := range by {
		o.places[from] = to
	}
	return o.places, false
}

// tableBackends gives the backends that were asked for, by name, and sets their
// places.
func (c *compiler) tableBackends(t *tableParts) []ir.Backend {
	same := slices.Equal(c.asked, t.backends) && t.backendsOut != nil && t.sliced == c.ix.sliced && c.ix.sliced != 0
	if same {
		return t.backendsOut // places too are those of the last time
	}
	places, _ := t.backendOrder.sort(len(c.asked), func(i int) string { return c.asked[i].table.Name })
	t.backends, t.sliced = c.asked, c.ix.sliced
	t.backendsOut, t.inTable = make([]ir.Backend, len(c.asked)), make([]*backend, len(c.asked))
	for i, b := range c.asked {
		b.place = places[i]
		t.backendsOut[b.place], t.inTable[b.place] = b.table, b
	}
	return t.backendsOut
}

// tableRules gives the rules that were made, by ID, the places of each, and their
// statuses. Backends must have their places.
func (c *compiler) tableRules(t *tableParts) (out []ir.Rule, places []int, statuses []RuleStatus) {
	places, same := t.order.sort(len(c.rules), func(i int) string { return c.rules[i].rule.ID })
	same = same && slices.Equal(c.rules, t.rules)
	for _, r := range c.rules {
		same = !r.aim() && same
	}
	if same && t.out != nil {
		return t.out, places, t.statuses
	}
	t.rules = c.rules
	t.out, t.statuses = make([]ir.Rule, len(c.rules)), make([]RuleStatus, len(c.rules))
	for i, r := range c.rules {
		t.out[places[i]], t.statuses[places[i]] = r.rule, ruleStatus(&r.rule)
	}
	return t.out, places, t.statuses
}

// aim brings the places of the rule's backends up to date, and reports whether
// that changed any.
func (m *madeRule) aim() bool {
	changed := false
	for i, b := range m.backends {
		if b != nil && m.rule.Backends[i].Backend != b.place {
			if !changed {
				m.rule.Backends, changed = slices.Clone(m.rule.Backends), true
			}
			m.rule.Backends[i].Backend = b.place
		}
	}
	moved := false
	for i, b := range m.mirrors {
		if m.rule.Mirrors[i].Backend != b.place {
			if !moved {
				m.rule.Mirrors, moved = slices.Clone(m.rule.Mirrors), true
			}
			m.rule.Mirrors[i].Backend = b.place
		}
	}
	return changed || moved
}

// sweepBackends forgets the backends that a run did not ask for.
func (c *compiler) sweepBackends() {
	if len(c.backends) > len(c.asked) {
		maps.DeleteFunc(c.backends, func(_ string, b *backend) bool {
			b.gone = b.run != c.run
			return b.gone
		})
	}
}
