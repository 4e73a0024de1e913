package detect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit/detect/lint"
)

// Lint looks for rules that cannot do what they say.
func (s *Set) Lint() []lint.Finding {
	var out []lint.Finding
	for _, r := range s.Rules {
		one := lint.Rule{
			Key: r.Key, File: r.File, Line: r.Line, Kinds: r.Kinds, Source: r.source, Condition: r.cond, Never: r.never,
			Said: r.own.MinimumLevel, Needs: r.NeedsLevel(),
		}
		if r.Behaviour != nil {
			one.Behaviour = r.Behaviour.Names()
		}
		out = append(out, lint.Check(&one)...)
		if r.muted != "" && r.own.Quiet == nil {
			out = append(out, lint.Finding{
				Rule: r.Key, File: r.File, Line: r.Line, Severity: bulwark.SeverityInfo,
				Message: fmt.Sprintf("it does not alert by itself, as correlation %q uses it without generate: true; say quiet: false or quiet: true", r.muted),
			})
		}
	}
	slices.SortStableFunc(out, func(a, b lint.Finding) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), strings.Compare(a.Message, b.Message))
	})
	return slices.Compact(out)
}

// NeedsLevel is the least audit level at which the rule sees the fields that it looks
// at. Where one way to meet it needs less than another, the lesser counts.
func (r *Rule) NeedsLevel() string { return lint.Levels()[r.needs(map[*Rule]int{})] }

// needs is the rank of NeedsLevel. known has the rules that were looked at.
func (r *Rule) needs(known map[*Rule]int) int {
	if rank, ok := known[r]; ok {
		return rank
	}
	if !r.Correlation {
		known[r] = lint.Needs(r.Kinds, r.cond)
		if r.Behaviour != nil {
			known[r] = max(known[r], lint.Rank(r.Behaviour.Names()))
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
	known[r] = max(rank, lint.Rank(slices.Concat(c.GroupBy, c.Fields)))
	return known[r]
}

// Fields lists the fields that a rule or correlation looks at, sorted.
func (r *Rule) Fields() []string {
	seen := map[string]bool{}
	for _, b := range withBases(r) {
		if !b.Correlation {
			for _, f := range append(lint.Fields(b.cond), b.behaviourFields()...) {
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
	return slices.Sorted(maps.Keys(seen))
}
