package output

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Plain makes text safe for one line of a terminal: escape sequences, line breaks
// and marks that reorder text are shown, not obeyed.
func Plain(s string) string { return plain(s) }

func plain(s string) string {
	if strings.IndexFunc(s, odd) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case odd(r):
			_, _ = fmt.Fprintf(&b, "\\u%04x", r)
		default:
			b.WriteRune(r) // bytes that are no character come as the replacement character
		}
	}
	return b.String()
}

// odd reports whether a rune must not reach a terminal or a report as it is:
// control characters and invisible marks (bidirectional overrides, joiners, tags).
func odd(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs)
}

// short cuts text to a number of characters.
func short(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	runes := []rune(s)
	return string(runes[:max(0, n-1)]) + "…"
}

// place writes a location as file:line, "" where there is none.
func place(file string, line int) string {
	switch {
	case file == "":
		return ""
	case line == 0:
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// number writes a count with its noun.
func number(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// xmlLines is plain for text of several lines.
func xmlLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = plain(lines[i])
	}
	return strings.Join(lines, "\n")
}
