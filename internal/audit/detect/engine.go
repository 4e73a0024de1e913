package detect

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect/behaviour"
	"bulwark.dev/bulwark/internal/audit/detect/match"
)

// Config is what an engine may use. A zero number is the default.
type Config struct {
	// Placeholders are the values of placeholders in rules with the modifier expand; they
	// come before those of pipelines.
	Placeholders map[string][]string
	// MaxGroups is how many groups all correlations remember, together; 100,000. The one
	// that was not seen for longest is forgotten first.
	MaxGroups int
	// MaxHits is how many events all groups remember, together; 1,000,000.
	MaxHits int
	// MaxSuppressed is how many held back alerts are remembered; 100,000.
	MaxSuppressed int
	// Lateness is by how much events may come out of order; 5 minutes.
	Lateness time.Duration
	// Stateful are detections beside the rules.
	Stateful []Stateful
}

const (
	defaultGroups     = 100_000
	defaultHits       = 1_000_000
	defaultSuppressed = 100_000
	defaultLateness   = 5 * time.Minute
)

// Stats count what an engine did since it was made.
type Stats struct {
	Events, Matches, Alerts, Suppressed uint64
	// GroupsEvicted and HitsDropped are what had to be forgotten before its time: a
	// correlation may have missed something.
	GroupsEvicted, HitsDropped uint64
	// Groups and Hits are what is remembered now.
	Groups, Hits int
	// Behaviour is what rules about behaviour did, and remember now, in all.
	Behaviour behaviour.Counts
}

// counters are Stats as they are counted: others may read them meanwhile.
type counters struct {
	events, matches, alerts, suppressed, groupsEvicted, hitsDropped atomic.Uint64
	groups, hits                                                    atomic.Int64
	evicted, refused, unjudged, late                                atomic.Uint64
	identities, values                                              atomic.Int64
}

// Engine observes events. One goroutine at a time uses it; only Stats is for all.
type Engine struct {
	config Config
	rules  []*running
	keys   map[string]*running
	index  *match.Index
	view   *match.View
	groups groups
	joins  []*join // in the order of the rules
	clocks map[string]*clock
	at     int64 // timeOf the event at hand
	hold   *holder
	// behaviours is what the memories of behaviour share.
	behaviours *behaviour.Keys
	stats      counters

	alerts []Alert
	visit  func(int)
}

// running is a rule that is made ready.
type running struct {
	*Rule
	program *match.Program
	join    *join
	learner *learner
	parents []parent
	by      []int // what alerts are held back by
}

// parent is a correlation that a rule counts for, and as which of its rules.
type parent struct {
	rule *running
	step int
}

// NewEngine makes the rules of a set ready. A placeholder without values is an error.
func NewEngine(set *Set, config Config) (*Engine, error) {
	if set == nil {
		return nil, errors.New("detection engine: there is no set of rules")
	}
	g := &Engine{config: config, keys: map[string]*running{}, view: match.NewView(), clocks: map[string]*clock{}, behaviours: behaviour.NewKeys()}
	g.config.MaxGroups = orDefault(config.MaxGroups, defaultGroups)
	g.config.MaxHits = orDefault(config.MaxHits, defaultHits)
	g.config.Lateness = max(orDefault(config.Lateness, defaultLateness), 0)
	g.hold = newHolder(orDefault(config.MaxSuppressed, defaultSuppressed))
	c := match.NewCompiler(g.view, func(name string) ([]string, bool) {
		if v, ok := config.Placeholders[name]; ok {
			return v, true
		}
		v, ok := set.vars[name]
		return v, ok
	})
	var errs []error
	for _, r := range set.Rules {
		run := &running{Rule: r}
		for _, name := range r.Suppress.By {
			run.by = append(run.by, g.view.Slot(name))
		}
		if r.cond != nil {
			var err error
			if run.program, err = c.Compile(r.cond); err != nil {
				errs = append(errs, fmt.Errorf("%s:%d: rule %q: %w", r.File, r.Line, r.Key, err))
			}
		}
		if r.Behaviour != nil {
			var err error
			if run.learner, err = g.newLearner(c, run); err != nil {
				errs = append(errs, fmt.Errorf("%s:%d: rule %q: %w", r.File, r.Line, r.Key, err))
			}
		}
		g.rules = append(g.rules, run)
		g.keys[r.Key] = run
	}
	for _, r := range g.rules {
		if r.Correlation {
			r.join = g.newJoin(r)
			g.joins = append(g.joins, r.join)
			for step, b := range r.Bases {
				base := g.keys[b.Key]
				base.parents = append(base.parents, parent{rule: r, step: step})
			}
		}
	}
	seen := map[string]bool{}
	for _, s := range config.Stateful {
		if s.Name() == "" || seen[s.Name()] {
			errs = append(errs, fmt.Errorf("detection %q has no name of its own", s.Name()))
		}
		seen[s.Name()] = true
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	g.groups = groups{engine: g}
	var indexed []match.Rule
	for _, r := range set.Rules {
		indexed = append(indexed, match.Rule{Kinds: r.Kinds, Condition: r.cond})
	}
	g.index = match.NewIndex(indexed)
	g.visit = g.try
	return g, nil
}

func orDefault[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// forget makes the engine as if it had observed nothing, but for Stats. A new one would
// compile the rules again.
func (g *Engine) forget() {
	g.groups, g.clocks = groups{engine: g}, map[string]*clock{}
	for _, j := range g.joins {
		j.groups, j.hits = map[string]*group{}, 0
		j.order.Init()
	}
	g.hold = newHolder(g.hold.most)
	g.behaviours = behaviour.NewKeys()
	for _, r := range g.rules {
		if r.learner != nil {
			r.learner.forget(g.behaviours)
		}
	}
}

// Stats gives the counts.
func (g *Engine) Stats() Stats {
	c := &g.stats
	return Stats{
		Events: c.events.Load(), Matches: c.matches.Load(), Alerts: c.alerts.Load(), Suppressed: c.suppressed.Load(),
		GroupsEvicted: c.groupsEvicted.Load(), HitsDropped: c.hitsDropped.Load(), Groups: int(c.groups.Load()), Hits: int(c.hits.Load()),
		Behaviour: behaviour.Counts{
			Evicted: c.evicted.Load(), Refused: c.refused.Load(), Unjudged: c.unjudged.Load(), Late: c.late.Load(),
			Identities: int(c.identities.Load()), Values: int(c.values.Load()),
		},
	}
}

// Observe looks at the next event, and gives the alerts that it raises. Events come in
// the order of their Seq.
func (g *Engine) Observe(e *audit.Event) []Alert {
	g.stats.events.Add(1)
	g.alerts = nil
	g.view.Reset(e)
	g.behaviours.Next()
	g.tick(e)
	if !g.own(e) {
		g.index.Each(e, g.visit)
	}
	for _, s := range g.config.Stateful {
		s.Observe(e, g.emit)
	}
	g.stats.groups.Store(int64(g.groups.count))
	g.stats.hits.Store(int64(g.groups.hits))
	return g.alerts
}

// own reports whether an event is the alert of a rule about alerts. Such rules do not
// look at one another: they could go on for ever.
func (g *Engine) own(e *audit.Event) bool {
	if e.Kind != audit.KindAlert {
		return false
	}
	for _, name := range g.texts("more.rule") {
		if r := g.keys[name]; r != nil && slices.Contains(r.Kinds, audit.KindAlert) {
			return true
		}
	}
	return false
}

func (g *Engine) try(n int) {
	r, e := g.rules[n], g.view.Event()
	if r.learner != nil {
		if r.Behaviour.Concerns(e, g.view.Succeeded()) && r.program.Eval(g.view) {
			g.learn(r.learner, e)
		}
		return
	}
	if !r.program.Eval(g.view) {
		return
	}
	g.stats.matches.Add(1)
	g.found(r, finding{at: g.timeOf(e), seqs: []uint64{e.Seq}, count: 1})
}

// finding is that a rule was met.
type finding struct {
	at          int64 // microseconds
	first       int64 // of the first event, where there are several
	seqs        []uint64
	count       int
	group       []string
	actor       string
	past        bool // the event at hand is none of it
	correlation bool
	values      map[string]string // of a behaviour
}

// found raises an alert, unless the rule is quiet, and tells the correlations.
func (g *Engine) found(r *running, f finding) {
	if !r.Quiet {
		g.raise(r, f)
	}
	for _, p := range r.parents {
		p.rule.join.add(p.step, f)
	}
}

// emit takes an alert of a Stateful.
func (g *Engine) emit(a Alert) {
	if a.ID == "" {
		a.ID = alertID(a.Rule, a.Evidence)
	}
	g.stats.alerts.Add(1)
	g.alerts = append(g.alerts, a)
}

// raise makes an alert, or counts it where one like it was raised a short time ago.
func (g *Engine) raise(r *running, f finding) {
	held := 0
	if r.Suppress.For > 0 && !f.past {
		var ok bool
		if held, ok = g.hold.pass(g.likeness(r), f.at, r.Suppress.For.Microseconds()); !ok {
			g.stats.suppressed.Add(1)
			return
		}
	}
	g.emit(g.alert(r, f, held))
}

// timeOf is when an event happened. A clock that is ahead of ours by more than events
// may be late does not count: it would end every window.
func (g *Engine) timeOf(e *audit.Event) int64 {
	t := e.Time()
	if !e.Received.IsZero() && t.Sub(e.Received) > g.config.Lateness {
		t = e.Received
	}
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}
