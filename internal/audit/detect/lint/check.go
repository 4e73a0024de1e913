package lint

import (
	"fmt"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect/match"
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

// Rule is what is looked at of a rule.
type Rule struct {
	Key, File string
	Line      int
	Kinds     []audit.Kind
	Source    *sigma.Rule
	// Condition has the searches in it; nil of a correlation. Never is that of what a rule
	// about behaviour does not learn.
	Condition, Never *sigma.Expr
	// Behaviour are the fields that a rule about behaviour remembers; nil of others.
	Behaviour []string
	// Said is the level that its file says is enough, or ""; Needs is the least that is.
	Said, Needs string
}

// Check looks for what keeps a rule from doing what it says.
func Check(r *Rule) []Finding {
	l := linter{rule: r}
	if r.Condition == nil {
		l.correlation()
	} else {
		l.detection()
	}
	return l.out
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
	terms, whole := termsOf(r.Condition)
	alive := 0
	var first *reason
	for _, t := range terms {
		if why := t.impossible(r.Kinds); why == nil {
			alive++
		} else if first == nil {
			first = why
		}
	}
	if whole && alive == 0 && first != nil {
		l.add(first.line, bulwark.SeverityHigh, "it can never fire: %s", first.text)
	}
	for _, it := range itemsOf(r.Condition) {
		l.item(it, whole && alive == 0)
	}
	l.level()
	if whole && alive > 0 && onlyReceived(terms, r.Kinds) {
		l.add(r.Line, bulwark.SeverityLow, "it looks at stage RequestReceived only, which audit policies leave out as a rule")
	}
	for _, s := range r.Source.Detection.Searches {
		if !refers(r.Source.Detection.Condition, s.Name) && (r.Never == nil || !refers(r.Never, s.Name)) {
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
		if why := neverValue(l.rule.Kinds, it, v); why != nil {
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
func (l *linter) level() {
	r := l.rule
	needs := r.Needs
	all, bodies := allLevel(r.Condition), bodyFields(r.Condition)
	if r.Behaviour != nil {
		all = max(all, Rank(r.Behaviour))
		bodies = append(bodies, r.Behaviour...)
	}
	said := r.Said
	switch d := slices.Index(Levels(), said) - slices.Index(Levels(), needs); {
	case said == "":
	case d < 0:
		l.add(r.Line, bulwark.SeverityHigh, "minimumLevel is %s, but it must see some of %s, which needs %s", said, strings.Join(bodies, ", "), needs)
	case d > 0 && slices.Index(Levels(), said) > all:
		l.add(r.Line, bulwark.SeverityInfo, "minimumLevel is %s, but %s is enough for all that it looks at", said, needs)
	}
}

func (l *linter) correlation() {
	r, c := l.rule, l.rule.Source.Correlation
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
		if _, err := match.ParseField(name); err != nil {
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
	needs := r.Needs
	if said := r.Said; said != "" && slices.Index(Levels(), said) < slices.Index(Levels(), needs) {
		l.add(r.Line, bulwark.SeverityHigh, "minimumLevel is %s, but its rules need %s", said, needs)
	}
}
