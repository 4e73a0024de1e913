package export

import (
	"regexp"
	"strings"
)

// opaque gives the parts of an expression that are texts or comments, from begin to
// end.
func opaque(text string) [][2]int {
	var out [][2]int
	for i := 0; i < len(text); i++ {
		end := i
		switch {
		case strings.HasPrefix(text[i:], "//"):
			end = len(text)
			if n := strings.IndexByte(text[i:], '\n'); n >= 0 {
				end = i + n
			}
		case text[i] == '"' || text[i] == '\'':
			end = textEnd(text, i)
		}
		if end > i {
			out = append(out, [2]int{i, end})
			i = end - 1
		}
	}
	return out
}

// textEnd gives where the text ends whose first quote stands at a place.
func textEnd(text string, at int) int {
	quote := text[at : at+1]
	if three := strings.Repeat(quote, 3); strings.HasPrefix(text[at:], three) {
		quote = three
	}
	raw := prefix.MatchString(text[:at])
	for i := at + len(quote); i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], quote):
			return i + len(quote)
		case text[i] == '\\' && !raw:
			i++
		}
	}
	return len(text)
}

// prefix is what stands before the quote of a text in which a backslash is one.
var prefix = regexp.MustCompile(`(^|\W)([bB]?[rR]|[rR][bB])$`) //nolint:gochecknoglobals // constant

// outside changes what is neither text nor comment.
func outside(text string, change, inside func(string) string) string {
	var b strings.Builder
	from := 0
	for _, part := range append(opaque(text), [2]int{len(text), len(text)}) {
		b.WriteString(change(text[from:part[0]]))
		b.WriteString(inside(text[part[0]:part[1]]))
		from = part[1]
	}
	return b.String()
}

func same(text string) string { return text }

// unquoted takes the texts and comments out of an expression.
func unquoted(text string) string {
	return outside(text, same, func(string) string { return `""` })
}

// untyped makes object of no type. The API server checks a policy by the types of
// all kinds that it matches, and a control may look at a field that one of them
// does not have.
func untyped(text string) string {
	return outside(text, func(code string) string { return object.ReplaceAllString(code, "${1}dyn(object)") }, same)
}

var object = regexp.MustCompile(`(^|[^.\w])object\b`) //nolint:gochecknoglobals // constant

// partOf reports whether an expression is about a part, not about the object.
func partOf(text string) bool { return part.MatchString(unquoted(text)) }

var part = regexp.MustCompile(`(^|[^.\w])(container|item)\b`) //nolint:gochecknoglobals // constant

// group puts an expression in brackets; the line ends in case it ends in a comment.
func group(text string) string {
	text = untyped(strings.TrimSpace(text))
	for _, at := range opaque(text) {
		if strings.HasPrefix(text[at[0]:], "//") {
			return "(" + text + "\n)"
		}
	}
	return "(" + text + ")"
}
