// Package pipeline fits Sigma rules to the fields of Bulwark's events, in the words of
// pySigma's processing pipelines: field_name_mapping, field_name_prefix_mapping,
// field_name_prefix, map_string, drop_detection_item, change_logsource and
// rule_failure, each with conditions on the rule, the item and the field. Any other
// transformation or condition is an error.
package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

// Pipeline is a list of steps.
type Pipeline struct {
	Name string
	// Priority says which of several comes first: the lesser.
	Priority int
	// Vars are values for placeholders.
	Vars  map[string][]string
	steps []step
}

// RefusedError is what Apply gives when a step of type rule_failure meets a rule.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return e.Reason }

type step struct {
	typ       string
	mapping   map[string][]string
	prefix    string
	logSource sigma.LogSource
	message   string
	rule      conditions[sigma.LogSource]
	item      conditions[*sigma.Item]
	field     conditions[string]
}

// conditions are tests, all of which must hold, or one; or the other way around.
type conditions[T any] struct {
	tests  []func(T) bool
	any    bool
	negate bool
}

func (c conditions[T]) hold(v T) bool {
	if len(c.tests) == 0 {
		return true
	}
	got := !c.any
	for _, test := range c.tests {
		if test(v) == c.any {
			got = c.any
			break
		}
	}
	return got != c.negate
}

// Apply changes a rule. The rule's file and lines stay as they are. A rule of which
// nothing is left is an error.
func (p *Pipeline) Apply(r *sigma.Rule) error {
	for i := range p.steps {
		s := &p.steps[i]
		if !s.rule.hold(r.LogSource) {
			continue
		}
		switch s.typ {
		case "rule_failure":
			return &RefusedError{Reason: fmt.Sprintf("pipeline %q: %s", p.Name, s.message)}
		case "change_logsource":
			r.LogSource = s.logSource
		default:
			if err := s.apply(r); err != nil {
				return fmt.Errorf("%s:%d: pipeline %q: %w", r.File, r.Line, p.Name, err)
			}
		}
	}
	return nil
}

func (s *step) apply(r *sigma.Rule) error {
	if r.Detection == nil {
		return nil
	}
	gone := map[string]bool{}
	for i := range r.Detection.Searches {
		search := &r.Detection.Searches[i]
		if search.Expr == nil {
			continue
		}
		if search.Expr = s.expr(search.Expr); search.Expr == nil {
			gone[search.Name] = true
		}
	}
	if len(gone) > 0 {
		r.Detection.Searches = slices.DeleteFunc(r.Detection.Searches, func(x sigma.Search) bool { return gone[x.Name] })
		if r.Detection.Condition = prune(r.Detection.Condition, gone); r.Detection.Condition == nil {
			return fmt.Errorf("nothing is left of rule %q after %s", r.Title, s.typ)
		}
	}
	var fields []string
	for _, f := range r.Fields {
		fields = append(fields, s.fields(f)...)
	}
	r.Fields = fields
	return nil
}

// prune takes searches out of a condition: what is left of an And or Or is its rest.
func prune(e *sigma.Expr, gone map[string]bool) *sigma.Expr {
	if e.Op == sigma.OpSearch {
		if gone[e.Name] {
			return nil
		}
		return e
	}
	return rebuilt(e, func(a *sigma.Expr) *sigma.Expr { return prune(a, gone) })
}

// rebuilt is e with each argument changed, and without those that fell away.
func rebuilt(e *sigma.Expr, change func(*sigma.Expr) *sigma.Expr) *sigma.Expr {
	out := &sigma.Expr{Op: e.Op, Item: e.Item, Name: e.Name}
	for _, a := range e.Args {
		if a = change(a); a != nil {
			out.Args = append(out.Args, a)
		}
	}
	switch {
	case len(out.Args) == 0:
		return nil
	case len(out.Args) == 1 && e.Op != sigma.OpNot:
		return out.Args[0]
	}
	return out
}

func (s *step) expr(e *sigma.Expr) *sigma.Expr {
	if e.Op != sigma.OpItem {
		return rebuilt(e, s.expr)
	}
	if !s.item.hold(e.Item) || !s.field.hold(e.Item.Field) {
		return e
	}
	switch s.typ {
	case "drop_detection_item":
		return nil
	case "map_string":
		return &sigma.Expr{Op: sigma.OpItem, Item: s.mapped(e.Item)}
	}
	if e.Item.Field == "" {
		return e
	}
	item := *e.Item
	item.Values = slices.Clone(item.Values)
	for i := range item.Values {
		item.Values[i].Tests = slices.Clone(item.Values[i].Tests)
		for j := range item.Values[i].Tests {
			if t := &item.Values[i].Tests[j]; t.Kind == sigma.KindFieldRef {
				t.Ref = s.fields(t.Ref)[0]
			}
		}
	}
	names := s.fields(item.Field)
	if len(names) == 1 {
		item.Field = names[0]
		return &sigma.Expr{Op: sigma.OpItem, Item: &item}
	}
	// One field that stands for several: one of them is enough; where none may be equal, all must differ.
	out := &sigma.Expr{Op: sigma.OpOr}
	if item.Not {
		out.Op = sigma.OpAnd
	}
	for _, name := range names {
		one := item
		one.Field = name
		out.Args = append(out.Args, &sigma.Expr{Op: sigma.OpItem, Item: &one})
	}
	return out
}

// fields gives what a field's name becomes: at least one name.
func (s *step) fields(name string) []string {
	switch s.typ {
	case "field_name_mapping":
		if to, ok := s.mapping[name]; ok {
			return to
		}
	case "field_name_prefix":
		return []string{s.prefix + name}
	case "field_name_prefix_mapping":
		best := ""
		for from := range s.mapping {
			if strings.HasPrefix(name, from) && len(from) > len(best) {
				best = from
			}
		}
		if best != "" {
			var out []string
			for _, to := range s.mapping[best] {
				out = append(out, to+name[len(best):])
			}
			return out
		}
	}
	return []string{name}
}

// mapped puts other values in the place of texts.
func (s *step) mapped(item *sigma.Item) *sigma.Item {
	out := *item
	out.Values = nil
	for _, v := range item.Values {
		var tests []sigma.Test
		for _, t := range v.Tests {
			text, ok := t.Pattern.Literal()
			to, found := s.mapping[text]
			if t.Kind != sigma.KindPattern || !ok || !found {
				tests = append(tests, t)
				continue
			}
			for _, text := range to {
				t.Pattern = sigma.ParsePattern(text)
				tests = append(tests, t)
			}
		}
		v.Tests = tests
		out.Values = append(out.Values, v)
	}
	return &out
}

// Fields gives what a field's name becomes in a rule of that log, outside of its
// searches: in the group-by of a correlation, for example. Steps with conditions on
// items or fields do not count.
func (p *Pipeline) Fields(log sigma.LogSource, name string) []string {
	names := []string{name}
	for i := range p.steps {
		s := &p.steps[i]
		if !s.rule.hold(log) || len(s.item.tests)+len(s.field.tests) > 0 {
			continue
		}
		var next []string
		for _, n := range names {
			next = append(next, s.fields(n)...)
		}
		names = next
	}
	return names
}

// matchString is pySigma's condition on the texts of an item.
func matchString(re *regexp.Regexp, all bool) func(*sigma.Item) bool {
	return func(item *sigma.Item) bool {
		for _, v := range item.Values {
			if re.MatchString(v.Written) != all {
				return !all
			}
		}
		return all
	}
}
