package detect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

// Finding is what is wrong with a rule that could be read all the same.
type Finding struct {
	Rule, File string
	Line       int
	// Severity is high where the rule can never fire or is blind at the level that it says
	// is enough, medium where a part of it does nothing, and less for matters of form.
	Severity bulwark.Severity
	Message  string
}

// Lint looks for rules that cannot do what they say.
func (s *Set) Lint() []Finding {
	var out []Finding
	for _, r := range s.Rules {
		l := linter{rule: r}
		if r.Correlation {
			l.correlation()
		} else {
			l.detection()
		}
		if r.muted != "" && r.own.Quiet == nil {
			l.add(r.Line, bulwark.SeverityInfo, "it does not alert by itself, as correlation %q uses it without generate: true; say quiet: false or quiet: true", r.muted)
		}
		out = append(out, l.out...)
	}
	slices.SortStableFunc(out, func(a, b Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Message, b.Message))
	})
	return slices.Compact(out)
}

type linter struct {
	rule *Rule
	out  []Finding
}

func (l *linter) add(line int, severity bulwark.Severity, format string, args ...any) {
	l.out = append(l.out, Finding{Rule: l.rule.Key, File: l.rule.File, Line: line, Severity: severity, Message: fmt.Sprintf(format, args...)})
}

func (l *linter) detection() {
	r := l.rule
	terms, whole := termsOf(r.cond)
	alive := 0
	var first *reason
	for _, t := range terms {
		if why := t.impossible(r); why == nil {
			alive++
		} else if first == nil {
			first = why
		}
	}
	if whole && alive == 0 && first != nil {
		l.add(first.line, bulwark.SeverityHigh, "it can never fire: %s", first.text)
	}
	for _, it := range itemsOf(r.cond) {
		l.item(it, whole && alive == 0)
	}
	l.level(terms)
	if whole && alive > 0 && onlyReceived(terms, r) {
		l.add(r.Line, bulwark.SeverityLow, "it looks at stage RequestReceived only, which audit policies leave out as a rule")
	}
	for _, s := range r.source.Detection.Searches {
		if !refers(r.source.Detection.Condition, s.Name) && (r.never == nil || !refers(r.never, s.Name)) {
			l.add(s.Line, bulwark.SeverityLow, "search %q is not in the condition", s.Name)
		}
	}
}

// refers reports whether a condition has a search.
func refers(e *sigma.Expr, name string) bool {
	return e.Op == sigma.OpSearch && e.Name == name || slices.ContainsFunc(e.Args, func(a *sigma.Expr) bool { return refers(a, name) })
}

// itemsOf lists the items of an expression, each once.
func itemsOf(e *sigma.Expr) []*sigma.Item {
	var out []*sigma.Item
	var walk func(*sigma.Expr)
	walk = func(e *sigma.Expr) {
		if e.Op == sigma.OpItem && !slices.Contains(out, e.Item) {
			out = append(out, e.Item)
		}
		for _, a := range e.Args {
			walk(a)
		}
	}
	walk(e)
	return out
}

// item says what is wrong with one item by itself.
func (l *linter) item(it *sigma.Item, dead bool) {
	nulls := slices.ContainsFunc(it.Values, func(v sigma.Value) bool {
		return len(v.Tests) == 1 && v.Tests[0].Kind == sigma.KindNull && v.Written != ""
	})
	switch {
	case it.All && len(it.Values) == 1:
		l.add(it.Line, bulwark.SeverityLow, "%s: the modifier all has one value, where it says nothing", it.Field)
	case nulls && len(it.Values) > 1:
		l.add(it.Line, bulwark.SeverityLow, "%s: null in a list is not of Sigma; it is read as one more value: absent or empty", it.Field)
	}
	if it.Field == "" || dead {
		return
	}
	if why := unknownField(it); why != nil {
		l.add(why.line, bulwark.SeverityMedium, "%s, so that this part does nothing", why.text)
		return
	}
	for _, v := range it.Values {
		if why := neverValue(l.rule, it, v); why != nil {
			l.add(why.line, bulwark.SeverityMedium, "%s", why.text)
		}
	}
	if it.Field == "objectRef.resource" {
		for _, v := range it.Values {
			if !it.Cased && strings.ToLower(v.Written) != v.Written {
				l.add(v.Line, bulwark.SeverityLow, "objectRef.resource %q: resources are written in small letters", v.Written)
			}
		}
	}
}

// level compares what the rule says that it needs with what its fields need.
func (l *linter) level(terms []term) {
	r := l.rule
	needs := needsLevel(r, terms)
	all, bodies := allLevel(r.cond), bodyFields(r.cond)
	if r.Behaviour != nil {
		needs, all = r.NeedsLevel(), max(all, rankOf(r.Behaviour.Names()))
		bodies = append(bodies, r.Behaviour.Names()...)
	}
	said := r.own.MinimumLevel
	switch d := slices.Index(levels(), said) - slices.Index(levels(), needs); {
	case said == "":
	case d < 0:
		l.add(r.Line, bulwark.SeverityHigh, "minimumLevel is %s, but it must see some of %s, which needs %s", said, strings.Join(bodies, ", "), needs)
	case d > 0 && slices.Index(levels(), said) > all:
		l.add(r.Line, bulwark.SeverityInfo, "minimumLevel is %s, but %s is enough for all that it looks at", said, needs)
	}
}

func (l *linter) correlation() {
	r, c := l.rule, l.rule.source.Correlation
	fields := slices.Concat(c.GroupBy, c.Fields)
	for _, name := range fields {
		if of, alias := c.Aliases[name]; alias {
			for _, rule := range c.Rules {
				if of[rule] == "" {
					l.add(c.Line, bulwark.SeverityMedium, "alias %q names no field for rule %q, whose events stand in a group of their own", name, rule)
				}
			}
			continue
		}
		if _, err := parseField(name); err != nil {
			l.add(c.Line, bulwark.SeverityHigh, "%s: all events are in the same group, or none is counted", err)
		}
	}
	if c.Type == sigma.ValueCount {
		for _, b := range c.Bounds {
			if b.Op == sigma.Greater && b.Value == 0 || b.Op == sigma.GreaterOrEqual && b.Value <= 1 {
				l.add(c.Line, bulwark.SeverityLow, "the count is met by every event")
			}
		}
	}
	needs := r.NeedsLevel()
	if said := r.own.MinimumLevel; said != "" && slices.Index(levels(), said) < slices.Index(levels(), needs) {
		l.add(r.Line, bulwark.SeverityHigh, "minimumLevel is %s, but its rules need %s", said, needs)
	}
}

// NeedsLevel is the least audit level at which the rule sees the fields that it looks
// at. Where one way to meet it needs less than another, the lesser counts.
func (r *Rule) NeedsLevel() string { return levels()[r.needs(map[*Rule]int{})] }

// needs is the rank of NeedsLevel. known has the rules that were looked at.
func (r *Rule) needs(known map[*Rule]int) int {
	if rank, ok := known[r]; ok {
		return rank
	}
	if !r.Correlation {
		terms, _ := termsOf(r.cond)
		known[r] = slices.Index(levels(), needsLevel(r, terms))
		if r.Behaviour != nil {
			known[r] = max(known[r], rankOf(r.Behaviour.Names()))
		}
		return known[r]
	}
	c := r.source.Correlation
	rank := -1
	for _, b := range r.Bases {
		n := b.needs(known)
		all := len(c.Bounds) == 0 && c.Condition == nil // every one of the rules is needed
		if rank < 0 || all && n > rank || !all && n < rank {
			rank = n
		}
	}
	known[r] = max(rank, rankOf(slices.Concat(c.GroupBy, c.Fields)))
	return known[r]
}

// rankOf is the rank of the level at which all of some fields are seen.
func rankOf(names []string) int {
	rank := 0
	for _, name := range names {
		if f, err := parseField(name); err == nil {
			rank = max(rank, fieldLevel(f))
		}
	}
	return rank
}

// Fields lists the fields that a rule or correlation looks at, sorted.
func (r *Rule) Fields() []string {
	seen := map[string]bool{}
	for _, b := range withBases(r) {
		if !b.Correlation {
			for _, it := range itemsOf(b.cond) {
				for _, f := range fieldsOf(it) {
					seen[f] = true
				}
			}
			for _, f := range b.behaviourFields() {
				seen[f] = true
			}
			continue
		}
		c := b.source.Correlation
		for _, f := range slices.Concat(c.GroupBy, c.Fields) {
			of, alias := c.Aliases[f]
			for _, f := range of {
				seen[f] = true
			}
			if !alias {
				seen[f] = true
			}
		}
	}
	return sortedKeys(seen)
}

// fieldsOf are the field of an item and those that it refers to.
func fieldsOf(it *sigma.Item) []string {
	var out []string
	if it.Field != "" {
		out = append(out, it.Field)
	}
	for _, v := range it.Values {
		for _, t := range v.Tests {
			if t.Kind == sigma.KindFieldRef {
				out = append(out, t.Ref)
			}
		}
	}
	return out
}

// fieldLevel is the rank of the level that a field needs.
func fieldLevel(f field) int {
	switch {
	case f.response:
		return 2
	case f.body:
		return 1
	}
	return 0
}

func itemLevel(it *sigma.Item) int {
	rank := 0
	for _, name := range fieldsOf(it) {
		if f, err := parseField(name); err == nil {
			rank = max(rank, fieldLevel(f))
		}
	}
	return rank
}

func bodyFields(e *sigma.Expr) []string {
	var out []string
	for _, it := range itemsOf(e) {
		for _, name := range fieldsOf(it) {
			if f, err := parseField(name); err == nil && f.body && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

// allLevel is the rank of the level at which every field of an expression is seen.
func allLevel(e *sigma.Expr) int {
	rank := 0
	for _, it := range itemsOf(e) {
		rank = max(rank, itemLevel(it))
	}
	return rank
}

// excludes reports whether a literal only takes events away: where its field is not
// seen, the rule fires too often, but it fires.
func (l literal) excludes() bool {
	return l.not && !slices.ContainsFunc(l.item.Values, func(v sigma.Value) bool {
		return slices.ContainsFunc(v.Tests, func(t sigma.Test) bool { return t.Kind == sigma.KindNull || t.Kind == sigma.KindExists && !t.Bool })
	})
}

// needsLevel is the least level of those ways to meet a rule that are possible. What
// is excluded does not count.
func needsLevel(r *Rule, terms []term) string {
	best := -1
	for _, alive := range []bool{true, false} {
		for _, t := range terms {
			if alive && t.impossible(r) != nil {
				continue
			}
			rank := 0
			for _, lit := range t {
				if !lit.excludes() {
					rank = max(rank, itemLevel(lit.item))
				}
			}
			if best < 0 || rank < best {
				best = rank
			}
		}
		if best >= 0 {
			break
		}
	}
	if best < 0 { // too many ways to list
		best = allLevel(r.cond)
	}
	return levels()[max(best, 0)]
}
