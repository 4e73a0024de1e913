package detect

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// compiler makes programs of expressions over one view. An item that stands in several
// rules is compiled once, and worked out once for each event.
type compiler struct {
	view  *view
	vars  func(name string) ([]string, bool)
	items map[string]*item
}

func (c *compiler) expr(e *sigma.Expr) (*program, error) {
	if e.Op == sigma.OpItem {
		key := itemKey(e.Item)
		it := c.items[key]
		if it == nil {
			var err error
			if it, err = c.item(e.Item); err != nil {
				return nil, err
			}
			c.items[key] = it
		}
		return &program{op: sigma.OpItem, item: it, cost: it.cost(c.view)}, nil
	}
	out := &program{op: e.Op}
	for _, a := range e.Args {
		p, err := c.expr(a)
		if err != nil {
			return nil, err
		}
		out.args = append(out.args, p)
		out.cost += p.cost
	}
	if len(out.args) == 1 && e.Op != sigma.OpNot {
		return out.args[0], nil
	}
	// Which part is looked at first changes nothing but the time that it takes.
	slices.SortStableFunc(out.args, func(a, b *program) int { return cmp.Compare(a.cost, b.cost) })
	return out, nil
}

// itemKey is the same for items that ask the same.
func itemKey(it *sigma.Item) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%q %t %t %t %s\n", it.Field, it.All, it.Not, it.Cased, it.Unit)
	for _, v := range it.Values {
		for _, t := range v.Tests {
			fmt.Fprintf(&out, "%d %q %s %s %t %q %s %q %s\n", t.Kind, t.Pattern, t.Number.Text, t.Op, t.Bool, regexpText(t.Regexp), t.Prefix, t.Ref, t.Place)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func regexpText(re *regexp.Regexp) string {
	if re == nil {
		return ""
	}
	return re.String()
}

// cost is how long an item takes, roughly, next to others.
func (it *item) cost(v *view) int {
	f := &v.slots[it.slot].field
	cost := 1
	switch {
	case f.path == "":
		cost = 100 // the whole event
	case f.body:
		cost = 40
	case strings.HasPrefix(f.path, "query."):
		cost = 10
	}
	for _, tests := range it.values {
		for i := range tests {
			switch tests[i].kind {
			case sigma.KindRegexp:
				cost += 20
			case sigma.KindPattern, sigma.KindNull, sigma.KindExists, sigma.KindNumber, sigma.KindCompare:
				cost++
			case sigma.KindCIDR, sigma.KindFieldRef:
				cost += 4
			}
		}
	}
	return cost
}

// literalStart gives the text that every match of an expression begins with, where it
// begins at the start of the text.
func literalStart(re *regexp.Regexp) string {
	tree, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil || tree.Op != syntax.OpConcat || len(tree.Sub) < 2 {
		return ""
	}
	begin, literal := tree.Sub[0], tree.Sub[1]
	if begin.Op != syntax.OpBeginText || literal.Op != syntax.OpLiteral || literal.Flags&syntax.FoldCase != 0 {
		return ""
	}
	return string(literal.Rune)
}

// manyTexts is from how many texts on a set is faster than a list.
const manyTexts = 5

func (c *compiler) item(s *sigma.Item) (*item, error) {
	it := &item{slot: c.view.slot(s.Field), all: s.All, not: s.Not, cased: s.Cased, unit: s.Unit}
	literals := map[string]struct{}{}
	only := !s.All
	for _, v := range s.Values {
		var tests []test
		for _, t := range v.Tests {
			made, err := c.test(t, s.Cased)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", v.Line, err)
			}
			tests = append(tests, made...)
		}
		for i := range tests {
			if t := &tests[i]; t.kind == sigma.KindPattern && t.glob.form == globExact {
				literals[t.glob.text] = struct{}{}
			} else {
				only = false
			}
		}
		it.values = append(it.values, tests)
	}
	if only && len(literals) >= manyTexts {
		it.exact = literals
	}
	return it, nil
}

func (c *compiler) test(t sigma.Test, cased bool) ([]test, error) {
	out := test{kind: t.Kind, number: t.Number, op: t.Op, want: t.Bool, re: t.Regexp, prefix: t.Prefix, place: t.Place}
	switch t.Kind {
	case sigma.KindRegexp:
		out.start = literalStart(t.Regexp)
	case sigma.KindFieldRef:
		out.ref = c.view.slot(t.Ref)
	case sigma.KindPattern:
		patterns, err := t.Pattern.Expand(c.vars)
		if err != nil {
			return nil, err
		}
		var all []test
		for _, p := range patterns {
			out.glob = compileGlob(p, cased)
			all = append(all, out)
		}
		return all, nil
	case sigma.KindNumber, sigma.KindCompare, sigma.KindNull, sigma.KindExists, sigma.KindCIDR:
	}
	return []test{out}, nil
}

// allowed gives the texts, in small letters, that a field must have one of for e to
// hold; "" stands for an absent one. It is for fields of one value. Any may do where
// ok is false.
func allowed(e *sigma.Expr, field string) (texts map[string]bool, ok bool) {
	switch e.Op {
	case sigma.OpItem:
		return allowedItem(e.Item, field)
	case sigma.OpAnd:
		for _, a := range e.Args {
			more, bound := allowed(a, field)
			if !bound {
				continue
			}
			if !ok {
				texts, ok = more, true
				continue
			}
			both := map[string]bool{}
			for t := range more {
				if texts[t] {
					both[t] = true
				}
			}
			texts = both
		}
		return texts, ok
	case sigma.OpOr:
		texts = map[string]bool{}
		for _, a := range e.Args {
			more, bound := allowed(a, field)
			if !bound {
				return nil, false
			}
			maps.Copy(texts, more)
		}
		return texts, true
	case sigma.OpNot, sigma.OpSearch:
	}
	return nil, false
}

func allowedItem(it *sigma.Item, field string) (map[string]bool, bool) {
	if it.Field != field || it.Not || it.Unit != "" {
		return nil, false
	}
	texts := map[string]bool{}
	for _, v := range it.Values {
		for _, t := range v.Tests {
			text, literal := t.Pattern.Literal()
			switch {
			case t.Kind == sigma.KindNull:
				texts[""] = true
			case t.Kind == sigma.KindPattern && literal && text != "":
				texts[strings.ToLower(text)] = true
			default:
				return nil, false
			}
		}
	}
	return texts, true
}
