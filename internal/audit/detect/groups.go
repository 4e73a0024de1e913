package detect

import (
	"cmp"
	"container/list"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sort"
	"strings"

	"bulwark.dev/bulwark/internal/audit"
)

// groups are what all correlations remember. Where that is too much, the correlation
// that remembers most forgets what it has not seen for longest: who makes up names for
// one of them does not empty the others.
type groups struct {
	engine      *Engine
	used        *group
	count, hits int
}

// group is what one correlation remembers of one combination of values.
type group struct {
	join *join
	key  string
	// hits are sorted by time, then by number.
	hits []hit
	// muted are the ends of the windows of the last alerts; less than a window away from
	// one there is no other.
	muted []int64
	// A window that is decided at its end: where it begins, when it is decided and by whose
	// clock.
	open   bool
	start  int64
	due    int64
	source string
	actor  string

	place *list.Element
}

// hit is that a rule of a correlation was met.
type hit struct {
	at    int64
	seq   uint64
	step  int
	value uint64   // of value_count: what identifies the value
	back  int      // of temporal_ordered: the hit before it in a row, while one is looked for
	more  []uint64 // where the rule is a correlation: all its evidence
}

// before is the order of hits. Of one event, a later step comes first, so that it is
// not taken for what follows itself.
func (h *hit) before(o *hit) bool {
	switch {
	case h.at != o.at:
		return h.at < o.at
	case h.seq != o.seq:
		return h.seq < o.seq
	}
	return h.step > o.step
}

// insert puts a hit in its place and gives its index.
func (g *group) insert(h hit) int {
	n := len(g.hits)
	if n > 0 && h.before(&g.hits[n-1]) {
		n = sort.Search(n, func(i int) bool { return h.before(&g.hits[i]) })
	}
	g.hits = slices.Insert(g.hits, n, h)
	g.join.engine.groups.hits++
	g.join.hits++
	return n
}

// drop removes the hits [from, to). Those at the front cost nothing.
func (g *group) drop(from, to int) {
	g.join.engine.groups.hits -= to - from
	g.join.hits -= to - from
	if from == 0 {
		g.hits = g.hits[to:]
		return
	}
	g.hits = slices.Delete(g.hits, from, to)
}

// find is the index of a hit of an event, or -1.
func (g *group) find(at int64, seq uint64) int {
	i := sort.Search(len(g.hits), func(i int) bool {
		h := &g.hits[i]
		return h.at > at || h.at == at && h.seq >= seq
	})
	if i < len(g.hits) && g.hits[i].at == at && g.hits[i].seq == seq {
		return i
	}
	return -1
}

// since is the index of the first hit at t or later.
func (g *group) since(t int64) int {
	return sort.Search(len(g.hits), func(i int) bool { return g.hits[i].at >= t })
}

// get finds or makes a group and marks it as used.
func (s *groups) get(j *join, key string) *group {
	if g := j.groups[key]; g != nil {
		j.order.MoveToFront(g.place)
		s.used = g
		return g
	}
	g := &group{join: j, key: key}
	g.place = j.order.PushFront(g)
	j.groups[key] = g
	s.used = g
	s.count++
	return g
}

func (s *groups) remove(g *group) {
	g.join.order.Remove(g.place)
	delete(g.join.groups, g.key)
	s.count--
	s.hits -= len(g.hits)
	g.join.hits -= len(g.hits)
	g.hits, g.open = nil, false
	if s.used == g {
		s.used = nil
	}
}

// largest is the group to forget: of the correlation with the most groups, or hits, the
// one that was not seen for longest. The group in use is not among them.
func (s *groups) largest(byCount bool) *group {
	var most *join
	size := func(j *join) int {
		if byCount {
			return j.order.Len()
		}
		return j.hits
	}
	for _, j := range s.engine.joins {
		if s.oldest(j) != nil && (most == nil || size(j) > size(most)) {
			most = j
		}
	}
	if most == nil {
		return nil
	}
	return s.oldest(most)
}

// oldest is the group of a correlation that was not seen for longest, unless it is the
// one in use.
func (s *groups) oldest(j *join) *group {
	el := j.order.Back()
	if el == nil {
		return nil
	}
	if g, ok := el.Value.(*group); ok && g != s.used {
		return g
	}
	return nil
}

// fit forgets what is too much. The group in use stays.
func (s *groups) fit(config *Config, stats *counters) {
	for s.count > 1 && (s.count > config.MaxGroups || s.hits > config.MaxHits) {
		last := s.largest(s.count > config.MaxGroups)
		if last == nil {
			return
		}
		stats.groupsEvicted.Add(1)
		s.remove(last)
	}
}

// maxKey is from how many bytes on a group is known by a hash of its values.
const maxKey = 512

// separator stands between the values of a group's key.
const separator = "\x00"

func groupKey(values []string) string {
	for i, v := range values {
		values[i] = strings.ReplaceAll(strings.ToValidUTF8(v, "\uFFFD"), separator, "\uFFFD")
	}
	key := strings.Join(values, separator)
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return key[:0] + "sha256:" + hex.EncodeToString(sum[:])
}

// clock is how far the events of a source have come, and the windows that wait for it.
type clock struct {
	now     int64
	waiting []*group // sorted by due, then by rule and key
}

// maxClocks is how many sources have a clock of their own; all others share one.
const maxClocks = 256

func (g *Engine) clock(source string) *clock {
	c := g.clocks[source]
	if c == nil {
		if len(g.clocks) >= maxClocks {
			source = ""
		}
		if c = g.clocks[source]; c == nil {
			c = &clock{}
			g.clocks[source] = c
		}
	}
	return c
}

// tick moves the clock of an event's source, and ends the windows that it has passed.
func (g *Engine) tick(e *audit.Event) {
	c := g.clock(e.Source)
	g.at = g.timeOf(e)
	c.now = max(c.now, g.at)
	for len(c.waiting) > 0 && c.waiting[0].due < c.now {
		one := c.waiting[0]
		c.waiting = c.waiting[1:]
		if one.open {
			one.join.end(one, c)
		}
	}
}

// wait puts a group's window into the line. Groups that were forgotten leave it when
// there are more of them than there can be others.
func (c *clock) wait(g *group) {
	if len(c.waiting) > 2*g.join.engine.config.MaxGroups {
		c.waiting = slices.DeleteFunc(c.waiting, func(o *group) bool { return !o.open })
	}
	n := sort.Search(len(c.waiting), func(i int) bool {
		o := c.waiting[i]
		return cmp.Or(cmp.Compare(o.due, g.due), strings.Compare(o.join.rule.Key, g.join.rule.Key), strings.Compare(o.key, g.key)) > 0
	})
	c.waiting = slices.Insert(c.waiting, n, g)
}
