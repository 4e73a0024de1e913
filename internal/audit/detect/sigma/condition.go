package sigma

import (
	"fmt"
	"slices"
	"strings"
)

const (
	maxCondition = 8 << 10
	maxNesting   = 100
	maxLeaves    = 5000
)

// ParseCondition reads a condition over searches of these names. "1 of" and "all of"
// become Or and And of the searches that they mean.
func ParseCondition(text string, names []string) (*Expr, error) {
	if len(text) > maxCondition {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", len(text), maxCondition)
	}
	words, err := conditionWords(text)
	if err != nil {
		return nil, err
	}
	if len(words) == 0 {
		return nil, fmt.Errorf("it is empty; expected the name of a search, such as one of %s", some(names))
	}
	p := conditionParser{words: words, names: names}
	e, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.at < len(p.words) {
		return nil, fmt.Errorf("%q after a whole condition; expected the end, and, or", p.words[p.at])
	}
	return e, nil
}

// some lists the first names for an error.
func some(names []string) string {
	if len(names) == 0 {
		return "none, as there is no search"
	}
	if len(names) > 8 {
		return strings.Join(names[:8], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// conditionWords cuts a condition into brackets and words.
func conditionWords(text string) ([]string, error) {
	var out []string
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
		case c == '(' || c == ')':
			out = append(out, string(c))
			i++
		case c == '|':
			return nil, fmt.Errorf("aggregations (\"| count() …\") are no longer part of Sigma: write a correlation")
		case wordByte(c):
			end := i
			for end < len(text) && wordByte(text[end]) {
				end++
			}
			out = append(out, text[i:end])
			i = end
		default:
			return nil, fmt.Errorf("%q is no part of a condition; expected names, and, or, not, 1 of, all of and brackets", []rune(text[i:])[0])
		}
	}
	return out, nil
}

func wordByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_-.*?", c) >= 0 || c >= 0x80
}

// conditionParser goes down the precedences: or binds least, then and, then not.
type conditionParser struct {
	words  []string
	at     int
	names  []string
	leaves int
}

func (p *conditionParser) is(word string) bool {
	return p.at < len(p.words) && strings.EqualFold(p.words[p.at], word)
}

func (p *conditionParser) or(depth int) (*Expr, error) { return p.chain(OpOr, "or", depth, p.and) }

func (p *conditionParser) and(depth int) (*Expr, error) { return p.chain(OpAnd, "and", depth, p.not) }

func (p *conditionParser) chain(op Op, word string, depth int, part func(int) (*Expr, error)) (*Expr, error) {
	first, err := part(depth)
	if err != nil {
		return nil, err
	}
	out := &Expr{Op: op, Args: []*Expr{first}}
	for p.is(word) {
		p.at++
		next, err := part(depth)
		if err != nil {
			return nil, err
		}
		out.Args = append(out.Args, next)
	}
	if len(out.Args) == 1 {
		return first, nil
	}
	return out, nil
}

func (p *conditionParser) not(depth int) (*Expr, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("it is nested deeper than %d", maxNesting)
	}
	if !p.is("not") {
		return p.term(depth)
	}
	p.at++
	e, err := p.not(depth + 1)
	if err != nil {
		return nil, err
	}
	return &Expr{Op: OpNot, Args: []*Expr{e}}, nil
}

func (p *conditionParser) term(depth int) (*Expr, error) {
	if p.at == len(p.words) {
		return nil, fmt.Errorf("it ends after %q; expected the name of a search", p.last())
	}
	word := p.words[p.at]
	p.at++
	switch {
	case word == "(":
		e, err := p.or(depth + 1)
		if err != nil {
			return nil, err
		}
		if !p.is(")") {
			return nil, fmt.Errorf("a bracket is not closed; expected )")
		}
		p.at++
		return e, nil
	case word == ")":
		return nil, fmt.Errorf("a bracket closes that was not opened, or has nothing in it")
	case p.is("of"):
		return p.of(word)
	}
	if slices.Contains(p.names, word) {
		return p.leaf(word)
	}
	for _, reserved := range []string{"and", "or", "not", "of"} {
		if strings.EqualFold(word, reserved) {
			return nil, fmt.Errorf("%q where the name of a search was expected", word)
		}
	}
	if strings.ContainsAny(word, "*?") {
		return nil, fmt.Errorf("%q stands alone; expected \"1 of %s\" or \"all of %s\"", word, word, word)
	}
	return nil, fmt.Errorf("no search is called %q; there are %s", word, some(p.names))
}

func (p *conditionParser) last() string {
	if p.at == 0 {
		return ""
	}
	return p.words[p.at-1]
}

func (p *conditionParser) leaf(name string) (*Expr, error) {
	if p.leaves++; p.leaves > maxLeaves {
		return nil, fmt.Errorf("it stands for more than %d searches", maxLeaves)
	}
	return &Expr{Op: OpSearch, Name: name}, nil
}

// of reads what follows "1 of", "any of" and "all of".
func (p *conditionParser) of(quantity string) (*Expr, error) {
	out := &Expr{Op: OpOr}
	switch strings.ToLower(quantity) {
	case "1", "any":
	case "all":
		out.Op = OpAnd
	default:
		return nil, fmt.Errorf("\"%s of\": expected 1 of, any of or all of", quantity)
	}
	p.at++ // of
	if p.at == len(p.words) || p.words[p.at] == "(" || p.words[p.at] == ")" {
		return nil, fmt.Errorf("\"%s of\" is followed by nothing; expected them or a pattern such as selection*", quantity)
	}
	pattern := p.words[p.at]
	p.at++
	for _, name := range p.names {
		hidden := strings.HasPrefix(name, "_")
		if strings.EqualFold(pattern, "them") {
			if hidden {
				continue
			}
		} else if !matchName(pattern, name) || hidden && !strings.HasPrefix(pattern, "_") {
			continue
		}
		e, err := p.leaf(name)
		if err != nil {
			return nil, err
		}
		out.Args = append(out.Args, e)
	}
	switch len(out.Args) {
	case 0:
		return nil, fmt.Errorf("\"%s of %s\": no search has such a name; there are %s", quantity, pattern, some(p.names))
	case 1:
		return out.Args[0], nil
	}
	return out, nil
}

// matchName matches a pattern in which * stands for any characters.
func matchName(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}
