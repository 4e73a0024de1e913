package query

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parser reads a query from left to right; at is how far it has come.
type parser struct {
	src   string
	env   Env
	at    int
	depth int
}

func (p *parser) fail(at int, format string, args ...any) error {
	return &Error{Query: p.src, At: at, Problem: fmt.Sprintf(format, args...)}
}

func (p *parser) query() (*Query, error) {
	switch {
	case p.env.Now.IsZero():
		return nil, p.fail(0, "the reader was not told what time it is")
	case len(p.src) > maxQuery:
		return nil, p.fail(maxQuery, "a query may have %d bytes, this one has %d", maxQuery, len(p.src))
	case !utf8.ValidString(p.src):
		at := strings.IndexFunc(p.src, func(r rune) bool { return r == utf8.RuneError })
		return nil, p.fail(max(0, at), "bytes that are no UTF-8 text")
	}
	q := &Query{}
	var err error
	if p.space(); p.more() && p.src[p.at] != '|' {
		if q.expr, err = p.either(); err != nil {
			return nil, err
		}
	}
	if p.space(); p.more() && p.src[p.at] == '|' {
		if q.group, err = p.grouping(); err != nil {
			return nil, err
		}
	}
	if p.space(); p.more() {
		if p.src[p.at] == ')' {
			return nil, p.fail(p.at, `this ")" closes nothing`)
		}
		return nil, p.fail(p.at, "expected the end of the query, found %s", p.found())
	}
	return q, nil
}

func (p *parser) more() bool { return p.at < len(p.src) }

func (p *parser) space() {
	for p.more() {
		r, n := utf8.DecodeRuneInString(p.src[p.at:])
		if !unicode.IsSpace(r) {
			return
		}
		p.at += n
	}
}

// found describes what stands here, for messages.
func (p *parser) found() string {
	if !p.more() {
		return "the end of the query"
	}
	r, _ := utf8.DecodeRuneInString(p.src[p.at:])
	return fmt.Sprintf("%q", r)
}

// keyword reports whether a bare word stands here, in any case, and steps over it.
func (p *parser) keyword(word string) bool {
	rest := p.src[p.at:]
	if len(rest) < len(word) || !strings.EqualFold(rest[:len(word)], word) {
		return false
	}
	if rest = rest[len(word):]; rest != "" {
		r, _ := utf8.DecodeRuneInString(rest)
		if !unicode.IsSpace(r) && r != '(' && r != ')' && r != '|' {
			return false
		}
	}
	p.at += len(word)
	return true
}

// either reads parts with "or" between.
func (p *parser) either() (node, error) {
	var parts anyOf
	for {
		part, err := p.all()
		if err != nil {
			return nil, err
		}
		if inner, ok := part.(anyOf); ok {
			parts = append(parts, inner...)
		} else {
			parts = append(parts, part)
		}
		if p.space(); !p.keyword("or") {
			break
		}
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return parts, nil
}

// all reads parts that must all be met.
func (p *parser) all() (node, error) {
	var parts allOf
	for {
		part, err := p.one()
		if err != nil {
			return nil, err
		}
		if inner, ok := part.(allOf); ok {
			parts = append(parts, inner...)
		} else {
			parts = append(parts, part)
		}
		if p.space(); p.keyword("and") {
			continue
		}
		if !p.more() || strings.IndexByte("|)", p.src[p.at]) >= 0 {
			break
		}
		if here := p.at; p.keyword("or") {
			p.at = here
			break
		}
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return parts, nil
}

// one reads a term, a negation or parentheses.
func (p *parser) one() (node, error) {
	p.space()
	start := p.at
	if !p.more() {
		return nil, p.fail(p.at, "expected a term such as user=alice, found the end of the query")
	}
	if p.depth++; p.depth > maxDepth {
		return nil, p.fail(p.at, "more than %d parentheses and negations within each other", maxDepth)
	}
	defer func() { p.depth-- }()
	negated := p.keyword("not")
	if !negated && p.src[p.at] == '-' {
		p.at++
		negated = true
		if r, _ := utf8.DecodeRuneInString(p.src[p.at:]); !p.more() || unicode.IsSpace(r) {
			return nil, p.fail(start, `a "-" stands right before what it excludes; quote it to look for it`)
		}
	}
	if negated {
		part, err := p.one()
		if err != nil {
			return nil, err
		}
		return noneOf{part}, nil
	}
	if p.keyword("or") || p.keyword("and") {
		return nil, p.fail(start, "expected a term before %q; quote it to look for the word", p.src[start:p.at])
	}
	switch c := p.src[p.at]; c {
	case '(':
		p.at++
		if p.space(); p.more() && p.src[p.at] == ')' {
			return nil, p.fail(start, "nothing stands between these parentheses")
		}
		part, err := p.either()
		if err != nil {
			return nil, err
		}
		if p.space(); !p.more() || p.src[p.at] != ')' {
			return nil, p.fail(p.at, `expected ")" for the "(" of character %d, found %s`, 1+utf8.RuneCountInString(p.src[:start]), p.found())
		}
		p.at++
		return part, nil
	case ')', '|', ',':
		return nil, p.fail(p.at, "expected a term such as user=alice, found %q", c)
	case '=', '<', '>', '!', '~':
		return nil, p.fail(p.at, "expected a field's name before %q; write field=value, without spaces", c)
	}
	return p.term()
}

// term reads a comparison, or a text to look for.
func (p *parser) term() (node, error) {
	start := p.at
	name := p.name()
	if name != "" && p.more() {
		if op := p.operator(); op != "" {
			return p.comparison(name, start, op)
		}
	}
	p.at = start
	v, err := p.value(false)
	if err != nil {
		return nil, err
	}
	if len(v.glob) == 0 {
		return nil, p.fail(start, "every event has an empty text in it; say what to look for")
	}
	return newContains(v.glob), nil
}

// name steps over what can be a field's name: letters, digits and the marks that
// paths have. A backslash takes a dot into a part of a path.
func (p *parser) name() string {
	start := p.at
	for p.more() {
		c := p.src[p.at]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte(`._-/:+\[]@`, c) < 0 && c < utf8.RuneSelf {
			break
		}
		if c >= utf8.RuneSelf {
			if r, _ := utf8.DecodeRuneInString(p.src[p.at:]); !unicode.IsLetter(r) && !unicode.IsDigit(r) {
				break
			}
			_, n := utf8.DecodeRuneInString(p.src[p.at:])
			p.at += n
			continue
		}
		p.at++
	}
	return p.src[start:p.at]
}

// operator steps over an operator, "" where there is none.
func (p *parser) operator() string {
	for _, op := range []string{"!~=", "~=", "!=", ">=", "<=", "=", ">", "<"} {
		if strings.HasPrefix(p.src[p.at:], op) {
			p.at += len(op)
			return op
		}
	}
	return ""
}

// said is a value as it was written.
type said struct {
	at   int
	raw  string // of the source
	glob glob
	bare bool // no part of it was quoted or escaped
}

// text is what was said without wildcards having a meaning.
func (v said) text() string {
	if v.bare {
		return v.raw
	}
	var b strings.Builder
	for _, part := range v.glob {
		if part.wild != 0 {
			b.WriteByte(part.wild)
		}
		b.WriteString(part.text)
	}
	return b.String()
}

// value reads a value: words and quoted texts without a space between.
func (p *parser) value(inList bool) (said, error) {
	v := said{at: p.at, bare: true}
	for p.more() {
		r, n := utf8.DecodeRuneInString(p.src[p.at:])
		if unicode.IsSpace(r) || r == '|' || r == ')' || r == ',' && inList {
			break
		}
		switch r {
		case '(':
			return v, p.fail(p.at, `quote a value that has "(" in it`)
		case '"':
			v.bare = false
			text, err := p.quoted()
			if err != nil {
				return v, err
			}
			v.glob = v.glob.add(part{text: text})
			continue
		case '\\':
			v.bare = false
			p.at++
			if r, n = utf8.DecodeRuneInString(p.src[p.at:]); n == 0 {
				return v, p.fail(p.at-1, "expected a character after the backslash")
			}
			v.glob = v.glob.add(part{text: string(r)})
		case '*', '?':
			v.glob = v.glob.add(part{wild: byte(r)})
		default:
			v.glob = v.glob.add(part{text: string(r)})
		}
		p.at += n
	}
	v.raw = p.src[v.at:p.at]
	return v, nil
}

// quoted reads a text in quotes.
func (p *parser) quoted() (string, error) {
	start := p.at
	var b strings.Builder
	for p.at++; p.more(); {
		c := p.src[p.at]
		p.at++
		switch c {
		case '"':
			return b.String(), nil
		case '\\':
			if !p.more() {
				return "", p.fail(start, "these quotes are not closed")
			}
			c = p.src[p.at]
			p.at++
			switch c {
			case '"', '\\', '/', '*', '?':
				b.WriteByte(c)
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			case 'u':
				r, ok := hexRune(p.src[p.at:])
				if !ok {
					return "", p.fail(p.at-2, `expected four hexadecimal digits of a character after \u`)
				}
				p.at += 4
				b.WriteRune(r)
			default:
				return "", p.fail(p.at-2, `within quotes a backslash stands before ", \, n, r, t or u; write \\ for a backslash`)
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", p.fail(start, "these quotes are not closed")
}

func hexRune(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	var r rune
	for i := range 4 {
		digit := strings.IndexByte("0123456789abcdef", s[i]|0x20)
		if digit < 0 {
			return 0, false
		}
		r = r<<4 | rune(digit) //nolint:gosec // below 16
	}
	return r, utf8.ValidRune(r)
}
