package leak

import (
	"strings"

	"bulwark.dev/bulwark"
)

// hit is one credential in a text.
type hit struct {
	// kind is what it is, for people: "a GitHub token".
	kind     string
	severity bulwark.Severity
	at, end  int // where it stands
	length   int // of the value as it was written
}

// anchor is a literal that a credential begins with, or that stands in it.
type anchor struct {
	literal string
	// word asks that no letter or digit stands before the literal.
	word bool
	// find judges what stands at the literal. It looks at a bounded part of text.
	// With false, an end says that there is nothing up to there.
	find func(s *source, at int) (hit, bool)
}

// table finds the anchors that begin at a place by its first two bytes.
type table struct {
	// A bit for each pair of bytes that an anchor begins with: words for those that
	// begin where a word does, inner for all others.
	words, inner [1 << 10]uint64
	by           map[uint16][]anchor
}

var known = newTable(append(tokens(), structures()...))

func newTable(anchors []anchor) *table {
	t := &table{by: map[uint16][]anchor{}}
	for _, a := range anchors {
		p := pair(a.literal[0], a.literal[1])
		if a.word {
			t.words[p>>6] |= 1 << (p & 63)
		} else {
			t.inner[p>>6] |= 1 << (p & 63)
		}
		t.by[p] = append(t.by[p], a)
	}
	return t
}

func pair(a, b byte) uint16 { return uint16(a)<<8 | uint16(b) }

// find gives the credentials of published formats in a text, none within another.
func (t *table) find(s *source) []hit {
	text := s.text
	var out []hit
	var kinds map[string]int
	for i := 0; i+1 < len(text); i++ {
		p := pair(text[i], text[i+1])
		bit := uint64(1) << (p & 63)
		if t.inner[p>>6]&bit == 0 && (t.words[p>>6]&bit == 0 || !boundary(text, i)) {
			continue
		}
		for _, a := range t.by[p] {
			if a.word && !boundary(text, i) || !strings.HasPrefix(text[i:], a.literal) {
				continue
			}
			s.look(len(a.literal))
			h, ok := a.find(s, i)
			if !ok {
				// What was decoded for nothing is not decoded again from each of its parts.
				if h.end > i+1 {
					i = h.end - 1
					break
				}
				continue
			}
			if n := len(out); n > 0 && h.at < out[n-1].end {
				if h.severity <= out[n-1].severity {
					continue
				}
				out = out[:n-1] // a better one that begins before
			}
			i = max(i, h.end-1)
			if kinds == nil {
				kinds = map[string]int{}
			}
			// Of one kind only: twenty ids that are harmless must not hide a key.
			if kinds[h.kind]++; kinds[h.kind] <= maxHits {
				out = append(out, h)
			}
			break
		}
	}
	return out
}

// maxHits is how many credentials of one kind are told of in one text: more say
// nothing new.
const maxHits = 20
