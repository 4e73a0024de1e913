package lint

import (
	"fmt"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect/match"
	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

// term is one way to meet a condition: literals that must all hold.
type term []literal

// literal is an item that must hold, or must not.
type literal struct {
	item *sigma.Item
	not  bool
}

// reason is why something cannot be, and in which line it stands.
type reason struct {
	line int
	text string
}

// maxPairs is with how many others a literal is compared.
const maxPairs = 300

// maxTerms is how many ways to meet a condition are looked at.
const maxTerms = 1024

// termsOf lists the ways to meet an expression. It reports false, and none, where
// there are too many.
func termsOf(e *sigma.Expr) ([]term, bool) {
	out, ok := spread(e, false)
	if !ok {
		return nil, false
	}
	return out, true
}

func spread(e *sigma.Expr, not bool) ([]term, bool) {
	switch e.Op {
	case sigma.OpItem:
		return []term{{{item: e.Item, not: not != e.Item.Not}}}, true
	case sigma.OpNot:
		return spread(e.Args[0], !not)
	case sigma.OpAnd, sigma.OpOr, sigma.OpSearch:
	}
	either := (e.Op == sigma.OpOr) != not
	out := []term{nil}
	if either {
		out = nil
	}
	for _, a := range e.Args {
		more, ok := spread(a, not)
		if !ok {
			return nil, false
		}
		if either {
			out = append(out, more...)
		} else {
			if len(out)*len(more) > maxTerms {
				return nil, false
			}
			var next []term
			for _, o := range out {
				for _, m := range more {
					next = append(next, append(slices.Clone(o), m...))
				}
			}
			out = next
		}
		if len(out) > maxTerms {
			return nil, false
		}
	}
	return out, true
}

// impossible says why no event can meet all literals, or gives nil.
func (t term) impossible(kinds []audit.Kind) *reason {
	for i, a := range t {
		if why := a.impossible(kinds); why != nil {
			return why
		}
		for _, b := range t[max(0, i-maxPairs):i] {
			if a.not != b.not && sameTest(a.item, b.item) {
				return &reason{max(a.item.Line, b.item.Line), fmt.Sprintf("%s must be equal to and different from the same", nameOf(a.item))}
			}
		}
	}
	for _, field := range audit.FixedFields() {
		if why := t.oneValue(field); why != nil {
			return why
		}
	}
	return t.streams()
}

func nameOf(it *sigma.Item) string {
	if it.Field == "" {
		return "the event's text"
	}
	return it.Field
}

// sameTest reports whether two items ask the same.
func sameTest(a, b *sigma.Item) bool {
	if a == b || a.Field != b.Field {
		return a == b
	}
	x, y := *a, *b
	x.Not, y.Not = false, false // the literals have it
	return match.Key(&x) == match.Key(&y)
}

// manyValued are the fixed fields that may have several values.
func manyValued() []string {
	return []string{"user.groups", "impersonatedUser.groups", "actor.groups", "sourceIPs"}
}

// oneValue says whether literals leave no value for a field that has at most one.
func (t term) oneValue(field string) *reason {
	if slices.Contains(manyValued(), field) {
		return nil
	}
	var left map[string]bool
	line, bound := 0, false
	var excluded []map[string]bool
	for _, lit := range t {
		texts, ok := match.AllowedItem(&sigma.Item{Field: lit.item.Field, Unit: lit.item.Unit, Values: lit.item.Values}, field)
		if !ok {
			continue
		}
		line = max(line, lit.item.Line)
		switch {
		case lit.not && !lit.item.Cased && !lit.item.All:
			excluded = append(excluded, texts)
		case lit.not:
		case !bound && !lit.item.All:
			left, bound = texts, true
		default:
			if !bound {
				left, bound = texts, true
			}
			both := map[string]bool{}
			for text := range texts {
				if left[text] {
					both[text] = true
				}
			}
			if lit.item.All && len(texts) > 1 {
				both = nil // one value cannot be two texts
			}
			left = both
		}
	}
	if !bound {
		return nil
	}
	for _, gone := range excluded {
		rest := map[string]bool{}
		for text := range left {
			if !gone[text] {
				rest[text] = true
			}
		}
		left = rest
	}
	if len(left) > 0 {
		return nil
	}
	return &reason{line, field + " has one value, and none is left that meets all that is asked of it"}
}

// streams knows that exec, attach and port-forward are always create.
func (t term) streams() *reason {
	var verbs, subs map[string]bool
	line := 0
	for _, lit := range t {
		if lit.not {
			continue
		}
		if texts, ok := match.AllowedItem(lit.item, "verb"); ok {
			verbs, line = texts, lit.item.Line
		}
		if texts, ok := match.AllowedItem(lit.item, "objectRef.subresource"); ok {
			subs = texts
		}
	}
	if verbs == nil || len(subs) == 0 || verbs["create"] {
		return nil
	}
	for sub := range subs {
		if !slices.Contains([]string{"exec", "attach", "portforward"}, sub) {
			return nil
		}
	}
	return &reason{line, "exec, attach and port-forward are the verb create here, whatever method carried them; saidVerb has what the source said"}
}

// impossible says why a literal by itself can never hold.
func (l literal) impossible(kinds []audit.Kind) *reason {
	if l.not || l.item.Field == "" {
		return nil
	}
	if why := unknownField(l.item); why != nil {
		return why
	}
	var last *reason
	for _, v := range l.item.Values {
		why := neverValue(kinds, l.item, v)
		switch {
		case why == nil && !l.item.All:
			return nil
		case why != nil && l.item.All:
			return why
		case why != nil:
			last = why
		}
	}
	return last
}

// unknownField says that an item needs a field that no event has. One that asks for an
// absent field is always met.
func unknownField(it *sigma.Item) *reason {
	for _, name := range fieldsOf(it) {
		_, err := match.ParseField(name)
		if err == nil {
			continue
		}
		if name == it.Field && slices.ContainsFunc(it.Values, func(v sigma.Value) bool {
			return slices.ContainsFunc(v.Tests, func(t sigma.Test) bool { return t.Kind == sigma.KindNull || t.Kind == sigma.KindExists && !t.Bool })
		}) {
			continue
		}
		return &reason{it.Line, err.Error() + suggestion(name)}
	}
	return nil
}

// suggestion names the field that ends alike.
func suggestion(name string) string {
	last := name[strings.LastIndexByte(name, '.')+1:]
	for _, f := range audit.FixedFields() {
		if strings.EqualFold(f, name) || last != "" && strings.EqualFold(f[strings.LastIndexByte(f, '.')+1:], last) {
			return "; is " + f + " meant?"
		}
	}
	return ""
}

// onlyReceived reports whether every possible way needs stage RequestReceived.
func onlyReceived(terms []term, kinds []audit.Kind) bool {
	for _, t := range terms {
		if t.impossible(kinds) != nil {
			continue
		}
		found := false
		for _, lit := range t {
			texts, ok := match.AllowedItem(lit.item, "stage")
			found = found || ok && !lit.not && len(texts) == 1 && texts["requestreceived"]
		}
		if !found {
			return false
		}
	}
	return true
}
