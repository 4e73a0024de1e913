package detect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect/behaviour"
	"bulwark.dev/bulwark/internal/audit/detect/match"
	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

// behaviour reads what a rule says about behaviour, and reports whether it could.
func (l *loader) behaviour(r *Rule) bool {
	spec, err := behaviour.Parse(r.File, r.source.Behaviour)
	if err != nil {
		l.errs = append(l.errs, fmt.Errorf("rule %q: %w", r.Key, err))
		return false
	}
	ok := true
	wrong := func(line int, format string, args ...any) {
		l.errs = append(l.errs, fmt.Errorf("%s:%d: rule %q: behaviour: %w", r.File, line, r.Key, fmt.Errorf(format, args...)))
		ok = false
	}
	for _, list := range []*[]string{&spec.GroupBy, &spec.Fields} {
		var names []string
		for _, name := range *list {
			names = append(names, l.rename(r, name)...)
		}
		*list = names
	}
	if spec.Peers.Of != "" {
		spec.Peers.Of = l.rename(r, spec.Peers.Of)[0]
	}
	if spec.Roam.Field != "" {
		spec.Roam.Field = l.rename(r, spec.Roam.Field)[0]
	}
	for _, name := range spec.Names() {
		if _, err := match.ParseField(name); err != nil {
			wrong(spec.Line, "%w", err)
		}
	}
	if spec.Never.When != "" {
		var names []string
		for _, s := range r.source.Detection.Searches {
			names = append(names, s.Name)
		}
		never, err := sigma.ParseCondition(spec.Never.When, names)
		if err != nil {
			wrong(spec.Never.Line, "neverLearn.when: %w", err)
			return false
		}
		r.never = never
	}
	r.Behaviour = spec
	return ok
}

// behaviourFields are the fields that a rule looks at besides those of its selection.
func (r *Rule) behaviourFields() []string {
	if r.Behaviour == nil {
		return nil
	}
	out := r.Behaviour.Names()
	switch r.Behaviour.Value {
	case behaviour.ValueClient:
		out = append(out, "userAgent")
	case behaviour.ValueNetwork:
		out = append(out, "sourceIPs")
	}
	return out
}

// namedBehaviour checks the fields that the attribute bulwark names.
func (l *loader) namedBehaviour(r *Rule) {
	for _, name := range r.Suppress.By {
		if _, err := match.ParseField(name); err != nil {
			l.fail(r.source, "bulwark.suppress.by: %w", err)
		}
	}
	for _, p := range r.summary {
		if p.field == "" || slices.Contains(behaviour.Names(), p.field) {
			continue
		}
		if _, err := match.ParseField(p.field); err != nil {
			l.fail(r.source, "bulwark.summary: %w; of behaviour there are %s", err, strings.Join(behaviour.Names(), ", "))
		}
	}
}

// remembered is how much a state has in it, roughly.
func (g *Engine) remembered() int {
	return g.groups.count + g.groups.hits + int(g.stats.values.Load()+g.stats.identities.Load())
}

// forgetfulEvery is how often the log is told that memories of behaviour are full: what
// is too varied for them is so with every event.
const forgetfulEvery = time.Hour

// tellForgetful puts into the log what rules about behaviour could not learn.
func (r *runner) tellForgetful(ctx context.Context, now behaviour.Counts) error {
	evicted, refused := now.Evicted-r.behaved.Evicted, now.Refused-r.behaved.Refused
	unjudged, late := now.Unjudged-r.behaved.Unjudged, now.Late-r.behaved.Late
	clock := r.Now()
	if evicted+refused+unjudged+late == 0 || clock.Sub(r.behavedTold).Abs() < forgetfulEvery {
		return nil
	}
	r.behaved, r.behavedTold = now, clock
	return r.tell(ctx, "Forgot", fmt.Sprintf("rules about behaviour may miss something: %d identities were forgotten while they were learned, for %d events there was no room to learn who did it, "+
		"%d were new of identities that are too varied, and %d came too late to be counted with others", evicted, refused, unjudged, late))
}

// learner is a rule about behaviour that is made ready.
type learner struct {
	rule    *running
	memory  *behaviour.Memory
	view    *match.View
	slots   []int // of the fields that the memory asks for
	program *match.Program
	counted behaviour.Counts

	risky func() bool
	tell  func(behaviour.Finding)
}

// Len is how many values a field of the event at hand has.
func (l *learner) Len(field int) int { return l.view.Len(l.slots[field]) }

// Text is one of them.
func (l *learner) Text(field, i int) string { return l.view.Text(l.slots[field], i) }

func (g *Engine) newLearner(c *match.Compiler, r *running) (*learner, error) {
	memory, err := behaviour.New(r.Behaviour, g.behaviours)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it was doing
	}
	l := &learner{rule: r, memory: memory, view: g.view}
	for _, name := range r.Behaviour.Names() {
		l.slots = append(l.slots, g.view.Slot(name))
	}
	if r.never != nil {
		if l.program, err = c.Compile(flat(r.never, r.source.Detection)); err != nil {
			return nil, err
		}
	}
	l.risky = func() bool { return l.program != nil && l.program.Eval(g.view) }
	l.tell = func(f behaviour.Finding) { g.noticed(l, &f) }
	return l, nil
}

// forget empties the memory.
func (l *learner) forget(keys *behaviour.Keys) {
	if memory, err := behaviour.New(l.rule.Behaviour, keys); err == nil { // it was made of the same before
		l.memory, l.counted = memory, behaviour.Counts{}
	}
}

// learn shows an event that a rule's selection has met to its memory.
func (g *Engine) learn(l *learner, e *audit.Event) {
	l.memory.Observe(e, g.at, l, l.risky, l.tell)
	g.count(l)
}

// count keeps the sums of all memories, which others may read meanwhile.
func (g *Engine) count(l *learner) {
	now, before := l.memory.Counts(), l.counted
	if now == before {
		return
	}
	s := &g.stats
	s.evicted.Add(now.Evicted - before.Evicted)
	s.refused.Add(now.Refused - before.Refused)
	s.unjudged.Add(now.Unjudged - before.Unjudged)
	s.late.Add(now.Late - before.Late)
	s.identities.Add(int64(now.Identities - before.Identities))
	s.values.Add(int64(now.Values - before.Values))
	l.counted = now
}

// noticed raises what a memory found in the event at hand.
func (g *Engine) noticed(l *learner, f *behaviour.Finding) {
	found := finding{at: g.timeOf(g.view.Event()), seqs: f.Seqs, count: f.Count, values: f.Values}
	if f.Kind == behaviour.Unusual {
		g.stats.matches.Add(1)
		g.found(l.rule, found)
		return
	}
	if l.rule.Quiet {
		return
	}
	// That a memory is full is told by the rule itself, and never held back: a day has one.
	a := g.alert(l.rule, found, 0)
	name := "crowded"
	if f.Kind == behaviour.Varied {
		name = "varied"
		if !f.Learned {
			a.Severity = bulwark.SeverityInfo
		}
	}
	a.ID = alertID(l.rule.Key+"/"+name, f.Seqs)
	a.Fields["behaviour.full"] = name
	a.Summary = l.full(g, f)
	g.emit(a)
}

// full says that a memory is full.
func (l *learner) full(g *Engine, f *behaviour.Finding) string {
	title, spec := safe(l.rule.Title, maxSummary), l.rule.Behaviour
	if f.Kind == behaviour.Crowded {
		what := "another was forgotten while it was learned"
		if !f.Learned {
			what = "new ones are not learned"
		}
		return fmt.Sprintf("%s: the rule remembers %d identities and has met one more, so that %s: somebody may be making up names", title, spec.Identities, what)
	}
	var who []string
	for _, name := range spec.GroupBy {
		who = append(who, shown(g.texts(name)))
	}
	if group := f.Values["behaviour.group"]; group != "" {
		who = []string{safe(group, maxShown)}
	}
	what := "it is too varied to be judged by this rule"
	if f.Learned {
		what = "it does new things, which are told of once a day and not learned"
	}
	return fmt.Sprintf("%s: %s has done the %d different things that the rule remembers of one; %s", title, strings.Join(who, ", "), spec.Values, what)
}

// learned is what all memories remember, by the keys of their rules.
func (g *Engine) learned() map[string][]byte {
	out := map[string][]byte{}
	for _, r := range g.rules {
		if r.learner != nil {
			out[r.Key] = r.learner.memory.State()
		}
	}
	return out
}

// relearn puts back what memories remembered. A rule that cannot go on with it learns
// anew, and the error says so.
func (g *Engine) relearn(states map[string][]byte) error {
	var errs []error
	for _, r := range g.rules {
		state, ok := states[r.Key]
		if r.learner == nil || !ok {
			continue
		}
		if err := r.learner.memory.Restore(state); err != nil {
			errs = append(errs, fmt.Errorf("restore the detection %s: %w", r.Key, err))
		}
		g.count(r.learner)
	}
	return errors.Join(errs...)
}
