package query

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"bulwark.dev/bulwark/internal/audit/search/plain"
)

// part is a piece of a value as it was written: a text that stands for itself, or a
// wildcard.
type part struct {
	text string
	wild byte // '*' any number of characters, '?' one; 0: text
}

// glob is a value with its wildcards. Neighbouring texts are one part, and so are
// neighbouring stars.
type glob []part

func (g glob) add(p part) glob {
	if n := len(g); n > 0 && g[n-1].wild == p.wild && p.wild != '?' {
		g[n-1].text += p.text
		return g
	}
	if p.wild == 0 && p.text == "" {
		return g
	}
	return append(g, p)
}

// literal gives the text of a glob without wildcards.
func (g glob) literal() (string, bool) {
	switch {
	case len(g) == 0:
		return "", true
	case len(g) == 1 && g[0].wild == 0:
		return g[0].text, true
	}
	return "", false
}

// anything reports whether it is a single star.
func (g glob) anything() bool { return len(g) == 1 && g[0].wild == '*' }

// lower is the glob for texts in lower case.
func (g glob) lower() glob {
	out := make(glob, len(g))
	for i, p := range g {
		out[i] = part{strings.ToLower(p.text), p.wild}
	}
	return out
}

// test compiles it.
func (g glob) test() func(string) bool {
	if text, ok := g.literal(); ok {
		return func(s string) bool { return s == text }
	}
	star := func(i int) bool { return g[i].wild == '*' }
	switch {
	case len(g) == 1 && star(0):
		return func(string) bool { return true }
	case len(g) == 2 && g[0].wild == 0 && star(1):
		return func(s string) bool { return strings.HasPrefix(s, g[0].text) }
	case len(g) == 2 && star(0) && g[1].wild == 0:
		return func(s string) bool { return strings.HasSuffix(s, g[1].text) }
	case len(g) == 3 && star(0) && g[1].wild == 0 && star(2):
		return func(s string) bool { return strings.Contains(s, g[1].text) }
	}
	return g.match
}

// match goes back to the last star only, so its time is at most the product of both
// lengths. A star and a question mark never split a character.
func (g glob) match(s string) bool {
	at, i := 0, 0           // in g and in s
	starAt, starI := -1, -1 // the part after the last star, and where in s it was tried
	for {
		if at == len(g) {
			if i == len(s) {
				return true
			}
		} else {
			p := g[at]
			switch {
			case p.wild == '*':
				starAt, starI = at+1, i
				at++
				continue
			case p.wild == '?' && i < len(s):
				_, n := utf8.DecodeRuneInString(s[i:])
				i += n
				at++
				continue
			case p.wild == 0 && strings.HasPrefix(s[i:], p.text):
				i += len(p.text)
				at++
				continue
			}
		}
		if starAt < 0 || starI >= len(s) {
			return false
		}
		_, n := utf8.DecodeRuneInString(s[starI:])
		starI += n
		at, i = starAt, starI
	}
}

// write writes the glob as a query has it.
func (g glob) write(b *strings.Builder, alwaysQuote bool) {
	if len(g) == 0 {
		b.WriteString(`""`)
	}
	for _, p := range g {
		switch {
		case p.wild != 0:
			b.WriteByte(p.wild)
		case !alwaysQuote && plainWord(p.text):
			b.WriteString(p.text)
		default:
			quote(b, p.text)
		}
	}
}

// plainWord reports whether a text reads as itself without quotes. Two dots make a
// range.
func plainWord(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._-/:@+%#=", rune(c)) {
			return false
		}
	}
	return s != "" && !strings.Contains(s, "..")
}

func quote(b *strings.Builder, s string) {
	const hex = "0123456789abcdef"
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r <= 0xffff && plain.Hidden(r) && r != ' ':
			b.WriteString(`\u`)
			for shift := 12; shift >= 0; shift -= 4 {
				b.WriteByte(hex[r>>shift&15])
			}
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

// appendLower appends text in lower case. Events are mostly ASCII, which takes no
// decoding.
func appendLower(dst, text []byte) []byte {
	for i, c := range text {
		if c >= utf8.RuneSelf {
			return append(dst, bytes.ToLower(text[i:])...)
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
