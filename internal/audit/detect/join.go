package detect

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

// join is a correlation made ready.
type join struct {
	engine *Engine
	rule   *running
	form   *sigma.Correlation
	window int64 // microseconds
	atEnd  bool
	cap    int
	// by and values are, for each of the rules, the fields of group-by and of value_count.
	by, values [][]int
	groups     map[string]*group
	order      list.List // of *group, the latest in front
	hits       int       // of all groups
}

// The bounds of one group: it remembers so many events, at least.
const (
	minHits      = 4096
	compressFrom = 64
	keepLast     = 16
	keepMuted    = 4 // more than one only where events come late by more than a window
	maxEvidence  = 256
)

// atEnd reports whether a correlation is decided when its window is over: when more
// events can make it untrue.
func atEnd(c *sigma.Correlation) bool {
	return slices.ContainsFunc(c.Bounds, func(b sigma.Bound) bool { return b.Op != sigma.Greater && b.Op != sigma.GreaterOrEqual })
}

func (g *Engine) newJoin(r *running) *join {
	c := r.source.Correlation
	j := &join{engine: g, rule: r, form: c, window: c.Timespan.Microseconds(), atEnd: atEnd(c), cap: minHits, groups: map[string]*group{}}
	for _, b := range c.Bounds {
		j.cap = max(j.cap, 2*int(b.Value)+compressFrom)
	}
	for step := range r.Bases {
		// Aliases name rules as the correlation does: by name or by id.
		name := c.Rules[step]
		slots := func(fields []string) []int {
			var out []int
			for _, f := range fields {
				if of, ok := c.Aliases[f]; ok {
					f = of[name]
					if f == "" {
						out = append(out, -1) // the alias says nothing about this rule
						continue
					}
				}
				out = append(out, g.view.Slot(f))
			}
			return out
		}
		j.by = append(j.by, slots(c.GroupBy))
		j.values = append(j.values, slots(c.Fields))
	}
	return j
}

func (j *join) texts(slots []int) []string {
	out := make([]string, 0, len(slots))
	for _, n := range slots {
		if n < 0 {
			out = append(out, "")
			continue
		}
		out = append(out, j.engine.view.Joined(n))
	}
	return out
}

// add takes in that a rule was met, and raises what follows.
func (j *join) add(step int, f finding) {
	g := j.engine
	e := g.view.Event()
	values := []uint64{0}
	if j.form.Type == sigma.ValueCount {
		if values = j.counted(step); len(values) == 0 {
			return
		}
	}
	group := g.groups.get(j, groupKey(j.texts(j.by[step])))
	group.actor = e.Actor().Username
	h := hit{at: f.at, seq: e.Seq, step: step}
	if f.correlation {
		h.more = f.seqs
	}
	at := -1
	for _, v := range values {
		h.value = v
		if at = j.put(group, h); at < 0 {
			break
		}
	}
	defer g.groups.fit(&g.config, &g.stats)
	if at < 0 {
		return
	}
	j.forget(group, f.at)
	if j.atEnd {
		j.open(group, f.at, e.Source)
		return
	}
	if slices.ContainsFunc(group.muted, func(t int64) bool { return abs(f.at-t) < j.window }) {
		return
	}
	if at = group.find(f.at, e.Seq); at < 0 {
		return
	}
	if w, ok := j.measure(group, at); ok {
		if group.muted = append(group.muted, w.last); len(group.muted) > keepMuted {
			group.muted = slices.Clone(group.muted[1:])
		}
		g.found(j.rule, j.finding(group, w, f))
	}
}

func abs(n int64) int64 { return max(n, -n) }

// counted gives what identifies the values of the event that are counted.
func (j *join) counted(step int) []uint64 {
	v := j.engine.view
	slots := j.values[step]
	var texts []string
	if len(slots) == 1 && slots[0] >= 0 {
		for i := range v.Len(slots[0]) {
			texts = append(texts, v.Text(slots[0], i))
		}
	} else {
		if whole := j.texts(slots); strings.Join(whole, "") != "" {
			texts = []string{strings.Join(whole, separator)}
		}
	}
	var out []uint64
	for _, t := range texts {
		sum := sha256.Sum256([]byte(t))
		if id := binary.BigEndian.Uint64(sum[:8]); t != "" && !slices.Contains(out, id) {
			out = append(out, id)
		}
		if len(out) == minHits {
			break
		}
	}
	return out
}

// put inserts a hit, or gives -1 where the event is counted already.
func (j *join) put(g *group, h hit) int {
	switch j.form.Type {
	case sigma.EventCount:
		if g.find(h.at, h.seq) >= 0 {
			return -1
		}
	case sigma.ValueCount:
		// Of one value the last two are enough: the last for windows that end now or later, and
		// one more for an event that comes late.
		same := 0
		for i, o := range slices.Backward(g.hits) {
			if o.value != h.value {
				continue
			}
			if same++; same > 1 && !j.atEnd {
				g.drop(i, i+1)
			}
		}
	case sigma.Temporal, sigma.TemporalOrdered:
		if len(g.hits) >= compressFrom*len(j.by) && !j.atEnd {
			j.compress(g)
		}
	}
	return g.insert(h)
}

// compress leaves, of each rule, the last hits and the ones that the best row of
// events so far is made of: in what comes later, they do for all that are dropped.
func (j *join) compress(g *group) {
	keep := make([]bool, len(g.hits))
	for _, i := range j.row(g.hits) {
		for ; i >= 0; i = g.hits[i].back {
			keep[i] = true
		}
	}
	seen := make([]int, len(j.by))
	for i := len(g.hits) - 1; i >= 0; i-- {
		step := g.hits[i].step
		if seen[step]++; seen[step] <= keepLast {
			keep[i] = true
		}
	}
	kept := make([]hit, 0, len(g.hits))
	for i := range g.hits {
		if keep[i] {
			kept = append(kept, g.hits[i])
		}
	}
	j.engine.groups.hits -= len(g.hits) - len(kept)
	j.hits -= len(g.hits) - len(kept)
	g.hits = kept
}

// forget drops what no window can need any more, and what is too much.
func (j *join) forget(g *group, now int64) {
	if !j.atEnd {
		if n := g.since(now - j.window - j.engine.config.Lateness.Microseconds()); n > 0 {
			g.drop(0, n)
		}
	}
	if n := len(g.hits) - j.cap; n > 0 {
		j.engine.stats.hitsDropped.Add(uint64(n))
		g.drop(0, n)
	}
}

// window is a window that meets the condition.
type window struct {
	hits  []hit
	last  int64
	count int
}

// measure looks at the windows that the hit at index n is in, the earliest first.
func (j *join) measure(g *group, n int) (window, bool) {
	for last := n; last < len(g.hits) && g.hits[last].at-g.hits[n].at <= j.window; last++ {
		hits := g.hits[g.since(g.hits[last].at-j.window) : last+1]
		w := window{hits: hits, last: g.hits[last].at}
		if j.holds(&w) {
			return w, true
		}
	}
	return window{}, false
}

// holds reports whether the hits of a window meet the condition. It may leave only
// those that do.
func (j *join) holds(w *window) bool {
	switch j.form.Type {
	case sigma.EventCount:
		w.count = len(w.hits)
	case sigma.ValueCount:
		seen := make(map[uint64]struct{}, len(w.hits))
		for i := range w.hits {
			seen[w.hits[i].value] = struct{}{}
		}
		w.count = len(seen)
	case sigma.TemporalOrdered:
		return j.ordered(w)
	case sigma.Temporal:
		last := make([]int, len(j.by))
		for i := range w.hits {
			last[w.hits[i].step] = i + 1
		}
		var hits []hit
		for _, i := range last {
			if i > 0 {
				hits = append(hits, w.hits[i-1])
			}
		}
		w.hits, w.count = hits, len(hits)
		if j.form.Condition != nil {
			return j.names(j.form.Condition, last)
		}
		if len(j.form.Bounds) == 0 {
			return w.count == len(j.by)
		}
	}
	for _, b := range j.form.Bounds {
		n := sigma.Number{Int: int64(w.count), Whole: true}
		if !n.Holds(b.Op, sigma.Number{Int: b.Value, Whole: true}) {
			return false
		}
	}
	return true
}

// names evaluates a condition on which of the rules were met.
func (j *join) names(e *sigma.Expr, last []int) bool {
	switch e.Op {
	case sigma.OpSearch:
		return last[slices.Index(j.form.Rules, e.Name)] > 0
	case sigma.OpOr:
		return slices.ContainsFunc(e.Args, func(a *sigma.Expr) bool { return j.names(a, last) })
	case sigma.OpAnd, sigma.OpItem, sigma.OpNot:
	}
	return !slices.ContainsFunc(e.Args, func(a *sigma.Expr) bool { return !j.names(a, last) })
}

// ordered looks for one event of each rule, in their order.
func (j *join) ordered(w *window) bool {
	last := j.row(w.hits)
	i := last[len(last)-1]
	if i < 0 {
		return false
	}
	var hits []hit
	for ; i >= 0; i = w.hits[i].back {
		hits = append(hits, w.hits[i])
	}
	slices.Reverse(hits)
	w.hits, w.count, w.last = hits, len(hits), hits[len(hits)-1].at
	return true
}

// row gives, for each rule, the last hit that one of each rule before it leads to, or
// -1, and writes into each hit which one is before it. Of the ways to reach a rule the
// one that ends last has also begun last, so that it leaves the most time.
func (j *join) row(hits []hit) []int {
	last := make([]int, len(j.by))
	for i := range last {
		last[i] = -1
	}
	for i := range hits {
		step := hits[i].step
		hits[i].back = -1
		if step > 0 {
			if last[step-1] < 0 {
				continue
			}
			hits[i].back = last[step-1]
		}
		last[step] = i
	}
	return last
}

// finding makes a finding of a window.
func (j *join) finding(g *group, w window, cause finding) finding {
	out := finding{at: w.last, first: w.hits[0].at, count: w.count, correlation: true, actor: g.actor, past: cause.past}
	out.group = strings.Split(g.key, separator)
	for i := range w.hits {
		out.seqs = append(out.seqs, w.hits[i].seq)
		out.seqs = append(out.seqs, w.hits[i].more...)
		out.first = min(out.first, w.hits[i].at)
	}
	slices.Sort(out.seqs)
	out.seqs = slices.Compact(out.seqs)
	if n := len(out.seqs); n > maxEvidence {
		out.seqs = append(out.seqs[:maxEvidence/2:maxEvidence/2], out.seqs[n-maxEvidence/2:]...)
	}
	return out
}

// open begins a window that is decided at its end, or moves its beginning back.
func (j *join) open(g *group, at int64, source string) {
	if g.open {
		if at < g.start && g.start-at <= j.engine.config.Lateness.Microseconds() {
			g.start = at
		}
		return
	}
	g.source = source
	j.begin(g, at, j.engine.clock(source))
}

func (j *join) begin(g *group, at int64, c *clock) {
	g.open, g.start, g.due = true, at, at+j.window+j.engine.config.Lateness.Microseconds()
	c.wait(g)
}

// end decides a window, and begins the next with what came after it.
func (j *join) end(g *group, c *clock) {
	to := g.since(g.start + j.window + 1)
	w := window{hits: slices.Clone(g.hits[g.since(g.start):to])}
	if len(w.hits) > 0 {
		w.last = w.hits[len(w.hits)-1].at
		if j.holds(&w) && len(w.hits) > 0 {
			j.engine.found(j.rule, j.finding(g, w, finding{past: true}))
		}
	}
	g.drop(0, to)
	g.open = false
	if len(g.hits) == 0 {
		j.engine.groups.remove(g)
		return
	}
	j.begin(g, g.hits[0].at, c)
}
