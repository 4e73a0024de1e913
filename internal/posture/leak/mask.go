package leak

import (
	"cmp"
	"slices"
	"strings"
)

// hidden stands where a credential was.
const hidden = "<credential not shown>"

// Masked gives a text, as a message about a field, without the credentials in it:
// what a control says of a flag or an image must not repeat the password in it.
func Masked(text string) string {
	s := &source{text: text}
	hits := known.find(s)
	hits = append(hits, pairs(s, hits)...)
	if len(hits) == 0 {
		return text
	}
	slices.SortFunc(hits, func(a, b hit) int { return cmp.Compare(a.at, b.at) })
	var out strings.Builder
	end := 0
	for _, h := range hits {
		if h.at >= end {
			out.WriteString(text[end:h.at] + hidden)
		}
		end = max(end, h.end)
	}
	return out.String() + text[end:]
}

// Error gives an error whose text has no credentials, for one of a library that
// repeats what it was given.
func Error(err error) error {
	if err == nil {
		return nil
	}
	return &masked{err}
}

type masked struct{ err error }

func (m *masked) Error() string { return Masked(m.err.Error()) }
func (m *masked) Unwrap() error { return m.err }
