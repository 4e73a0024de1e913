package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Problem is one mistake in the files.
type Problem struct {
	// File as it was found, and Line from 1; 0 where the whole file is meant.
	File string
	Line int
	// Object is what the line belongs to, for example "HTTPRoute shop/orders".
	// It is empty where the text is not an object yet.
	Object string
	// Field is the path inside the object, for example
	// "spec.rules[0].matches[1].path.value". It may be empty.
	Field string
	// Message says what is wrong and what was expected. It holds nothing of a
	// Secret's content.
	Message string
}

// String is "file:line: object: field: message", leaving out what is empty.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	for _, part := range []string{p.Object, p.Field, p.Message} {
		if part != "" {
			b.WriteString(": ")
			b.WriteString(part)
		}
	}
	return b.String()
}

// tidy makes text from a file fit for a terminal and a log: of bounded length,
// without control characters.
func tidy(s string) string {
	const most = 1024
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// LoadError is every mistake that a load found, in the order of files and
// lines. It holds at least one problem.
type LoadError struct {
	Problems []Problem
	// more counts the problems beyond the limit.
	more int
}

// Error gives one problem per line, below a line that counts them.
func (e *LoadError) Error() string {
	files := map[string]bool{}
	for _, p := range e.Problems {
		files[p.File] = true
	}
	n := len(e.Problems) + e.more
	if n == 1 {
		return e.Problems[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d problems in %d %s", n, len(files), plural(len(files), "file"))
	for _, p := range e.Problems {
		b.WriteString("\n  ")
		b.WriteString(p.String())
	}
	if e.more > 0 {
		fmt.Fprintf(&b, "\n  and %d more", e.more)
	}
	return b.String()
}

// newLoadError sorts the problems and keeps the first maxProblems. It gives nil
// for none.
func newLoadError(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
	e := &LoadError{Problems: problems}
	if len(problems) > maxProblems {
		e.Problems, e.more = problems[:maxProblems], len(problems)-maxProblems
	}
	return e
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
