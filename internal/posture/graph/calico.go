package graph

import (
	"fmt"
	"slices"
	"strings"
)

// expression is a Calico selector: has(a), a == "b", a in {"b"}, joined by &&, ||
// and !.
type expression func(labels map[string]string) bool

// calicoDepth is how deep parentheses may be nested.
const calicoDepth = 100

// parseCalico reads a Calico selector. An empty one selects everything.
func parseCalico(s string) (expression, error) {
	p := &calicoParser{rest: s}
	p.space()
	if p.rest == "" {
		return func(map[string]string) bool { return true }, nil
	}
	e, err := p.or(0)
	if err == nil && p.rest != "" {
		err = p.bad("end of the selector")
	}
	if err != nil {
		return nil, fmt.Errorf("read the selector %q: %w", clip(s), err)
	}
	return e, nil
}

func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}

type calicoParser struct{ rest string }

func (p *calicoParser) bad(want string) error {
	return fmt.Errorf("%s expected at %q", want, clip(p.rest))
}

func (p *calicoParser) space() { p.rest = strings.TrimLeft(p.rest, " \t\r\n") }

// take consumes a piece of text if it comes next.
func (p *calicoParser) take(piece string) bool {
	rest, ok := strings.CutPrefix(p.rest, piece)
	if ok {
		p.rest = rest
		p.space()
	}
	return ok
}

func (p *calicoParser) or(depth int) (expression, error) {
	return p.chain(depth, "||", p.and, func(a, b bool) bool { return a || b })
}

func (p *calicoParser) and(depth int) (expression, error) {
	return p.chain(depth, "&&", p.term, func(a, b bool) bool { return a && b })
}

func (p *calicoParser) chain(depth int, sign string, part func(int) (expression, error), join func(a, b bool) bool) (expression, error) {
	first, err := part(depth)
	if err != nil {
		return nil, err
	}
	all := []expression{first}
	for p.take(sign) {
		next, err := part(depth)
		if err != nil {
			return nil, err
		}
		all = append(all, next)
	}
	if len(all) == 1 {
		return first, nil
	}
	return func(l map[string]string) bool {
		out := all[0](l)
		for _, e := range all[1:] {
			out = join(out, e(l))
		}
		return out
	}, nil
}

func (p *calicoParser) term(depth int) (expression, error) {
	if depth > calicoDepth {
		return nil, fmt.Errorf("it is nested more than %d deep", calicoDepth)
	}
	switch {
	case p.take("!"):
		e, err := p.term(depth + 1)
		if err != nil {
			return nil, err
		}
		return func(l map[string]string) bool { return !e(l) }, nil
	case p.take("("):
		e, err := p.or(depth + 1)
		if err == nil && !p.take(")") {
			err = p.bad(")")
		}
		return e, err
	case p.take("all()"):
		return func(map[string]string) bool { return true }, nil
	case p.take("global()"):
		return func(map[string]string) bool { return false }, nil
	case p.take("has("):
		key, err := p.key()
		if err == nil && !p.take(")") {
			err = p.bad(")")
		}
		return func(l map[string]string) bool { _, ok := l[key]; return ok }, err
	}
	return p.comparison()
}

func (p *calicoParser) comparison() (expression, error) {
	key, err := p.key()
	if err != nil {
		return nil, err
	}
	one := func(negate bool, holds func(have, want string) bool) (expression, error) {
		want, err := p.value()
		return func(l map[string]string) bool {
			have, ok := l[key]
			return (ok && holds(have, want)) != negate
		}, err
	}
	equal := func(a, b string) bool { return a == b }
	switch {
	case p.take("=="):
		return one(false, equal)
	case p.take("!="):
		return one(true, equal)
	case p.take("contains"):
		return one(false, strings.Contains)
	case p.take("starts with"):
		return one(false, strings.HasPrefix)
	case p.take("ends with"):
		return one(false, strings.HasSuffix)
	case p.take("not in"):
		values, err := p.set()
		return func(l map[string]string) bool { v, ok := l[key]; return !ok || !slices.Contains(values, v) }, err
	case p.take("in"):
		values, err := p.set()
		return func(l map[string]string) bool { v, ok := l[key]; return ok && slices.Contains(values, v) }, err
	}
	return nil, p.bad("a comparison")
}

func (p *calicoParser) key() (string, error) {
	n := 0
	for n < len(p.rest) && (p.rest[n] == '_' || p.rest[n] == '.' || p.rest[n] == '/' || p.rest[n] == '-' ||
		p.rest[n] >= '0' && p.rest[n] <= '9' || p.rest[n]|0x20 >= 'a' && p.rest[n]|0x20 <= 'z') {
		n++
	}
	if n == 0 {
		return "", p.bad("a label's name")
	}
	key := p.rest[:n]
	p.rest = p.rest[n:]
	p.space()
	return key, nil
}

func (p *calicoParser) value() (string, error) {
	if p.rest == "" || p.rest[0] != '"' && p.rest[0] != '\'' {
		return "", p.bad("a quoted value")
	}
	v, rest, ok := strings.Cut(p.rest[1:], p.rest[:1])
	if !ok {
		return "", p.bad("a closing quote")
	}
	p.rest = rest
	p.space()
	return v, nil
}

func (p *calicoParser) set() ([]string, error) {
	if !p.take("{") {
		return nil, p.bad("{")
	}
	var out []string
	for !p.take("}") {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		out = append(out, v)
		if !p.take(",") && !strings.HasPrefix(p.rest, "}") {
			return nil, p.bad(", or }")
		}
	}
	return out, nil
}
