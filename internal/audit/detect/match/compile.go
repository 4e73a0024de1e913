package match

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

// Compiler makes programs of expressions over one view. An item that stands in several
// rules is compiled once, and worked out once for each event.
type Compiler struct {
	view  *View
	vars  func(name string) ([]string, bool)
	items map[string]*item
}

// NewCompiler makes a compiler for one view. vars gives the values of a placeholder.
func NewCompiler(view *View, vars func(name string) ([]string, bool)) *Compiler {
	return &Compiler{view: view, vars: vars, items: map[string]*item{}}
}

// Compile makes a program. A placeholder without values is an error.
func (c *Compiler) Compile(e *sigma.Expr) (*Program, error) {
	if e.Op == sigma.OpItem {
		key := Key(e.Item)
		it := c.items[key]
		if it == nil {
			var err error
			if it, err = c.item(e.Item); err != nil {
				return nil, err
			}
			c.items[key] = it
		}
		return &Program{op: sigma.OpItem, item: it, cost: it.cost(c.view)}, nil
	}
	out := &Program{op: e.Op}
	for _, a := range e.Args {
		p, err := c.Compile(a)
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
	slices.SortStableFunc(out.args, func(a, b *Program) int { return cmp.Compare(a.cost, b.cost) })
	return out, nil
}

// Key is the same for items that ask the same.
func Key(it *sigma.Item) string {
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
func (it *item) cost(v *View) int {
	f := &v.slots[it.slot].field
	cost := 1
	switch {
	case f.Path == "":
		cost = 100 // the whole event
	case f.Body:
		cost = 40
	case strings.HasPrefix(f.Path, "query."):
		cost = 10
	}
	for _, tests := range it.values {
		for i := range tests {
			switch tests[i].kind {
			case sigma.KindRegexp:
				cost += cmp.Or(len(tests[i].starts), 20)
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

func (c *Compiler) item(s *sigma.Item) (*item, error) {
	it := &item{slot: c.view.Slot(s.Field), all: s.All, not: s.Not, cased: s.Cased, unit: s.Unit}
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

func (c *Compiler) test(t sigma.Test, cased bool) ([]test, error) {
	out := test{kind: t.Kind, number: t.Number, op: t.Op, want: t.Bool, re: t.Regexp, prefix: t.Prefix, place: t.Place}
	switch t.Kind {
	case sigma.KindRegexp:
		out.start, out.starts = literalStart(t.Regexp), literalStarts(t.Regexp)
	case sigma.KindFieldRef:
		out.ref = c.view.Slot(t.Ref)
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

// Allowed gives the texts, in small letters, that a field must have one of for e to
// hold; "" stands for an absent one. It is for fields of one value. Any may do where
// ok is false.
func Allowed(e *sigma.Expr, field string) (texts map[string]bool, ok bool) {
	switch e.Op {
	case sigma.OpItem:
		return AllowedItem(e.Item, field)
	case sigma.OpAnd:
		for _, a := range e.Args {
			more, bound := Allowed(a, field)
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
			more, bound := Allowed(a, field)
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

// AllowedItem is Allowed of one item.
func AllowedItem(it *sigma.Item, field string) (map[string]bool, bool) {
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

// Meets reports whether a text meets one of the tests of a value of an item. One that
// cannot be compiled is taken as met.
func Meets(it *sigma.Item, v sigma.Value, text string) bool {
	c := NewCompiler(NewView(), func(string) ([]string, bool) { return nil, false })
	compiled := item{cased: it.Cased}
	for _, t := range v.Tests {
		made, err := c.test(t, it.Cased)
		if err != nil {
			return true
		}
		for i := range made {
			if compiled.one(&made[i], &value{text: text}, c.view) {
				return true
			}
		}
	}
	return false
}
