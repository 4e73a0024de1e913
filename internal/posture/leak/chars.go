package leak

import (
	"math"
	"strings"
	"unicode/utf8"
)

// alphabet is a set of the bytes that a format is written in.
type alphabet uint8

const (
	digits alphabet = 1 << iota
	lowerHex
	upperBase32 // A-Z2-7
	alnum
	base64std // + / =
	base64url // - _
	nameByte  // letters, digits, _ and -: what may stand in a name or a token
	dot
)

var classes = func() (t [256]alphabet) {
	for i := range t {
		c := byte(i)
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		digit := c >= '0' && c <= '9'
		set := func(a alphabet, ok bool) {
			if ok {
				t[i] |= a
			}
		}
		set(digits, digit)
		set(lowerHex, digit || c >= 'a' && c <= 'f')
		set(upperBase32, c >= 'A' && c <= 'Z' || c >= '2' && c <= '7')
		set(alnum, letter || digit)
		set(base64std, letter || digit || c == '+' || c == '/' || c == '=')
		set(base64url, letter || digit || c == '-' || c == '_')
		set(nameByte, letter || digit || c == '-' || c == '_')
		set(dot, c == '.')
	}
	return t
}()

// run gives where the bytes of an alphabet that begin at i end, at most limit of
// them.
func run(text string, i int, a alphabet, limit int) int {
	end := min(len(text), i+limit)
	for i < end && classes[text[i]]&a != 0 {
		i++
	}
	return i
}

// source is a text in which credentials are looked for.
type source struct {
	text string
	// looked is how many bytes the judges of what begins at a place have looked at, so
	// that a test can say that the work grows as the text does.
	looked int
}

func (s *source) look(n int) { s.looked += n }

// run is run on the text of the source.
func (s *source) run(i int, a alphabet, limit int) int {
	end := run(s.text, i, a, limit)
	s.looked += end - i
	return end
}

// boundary reports whether a token can begin at i.
func boundary(text string, i int) bool {
	return i == 0 || classes[text[i-1]]&alnum == 0 && text[i-1] != '_'
}

// entropy gives the bits of information of each byte, by how often the bytes of the
// first 256 occur.
func entropy(s string) float64 {
	s = s[:min(len(s), 256)]
	if s == "" {
		return 0
	}
	var count [256]int
	for i := range len(s) {
		count[s[i]]++
	}
	var sum float64
	for _, n := range count {
		if n > 0 {
			sum += float64(n) * math.Log2(float64(n))
		}
	}
	return math.Log2(float64(len(s))) - sum/float64(len(s))
}

// mix reports which kinds of bytes a value has.
func mix(s string) (lower, upper, digit, other bool) {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z':
			lower = true
		case c >= 'A' && c <= 'Z':
			upper = true
		case c >= '0' && c <= '9':
			digit = true
		case c != '-' && c != '_' && c != '.' && c != ' ':
			other = true
		}
	}
	return lower, upper, digit, other
}

// madeUp reports whether a value says of itself that it is no real one. Only short
// values can: in a long one such a word is chance.
func madeUp(s string) bool {
	if len(s) > 300 {
		return false
	}
	low := strings.ToLower(s)
	for _, w := range [...]string{
		"example", "placeholder", "redacted", "dummy", "your_", "your-", "yourpass", "yoursecret", "yourtoken", "yourkey", "replace", "insert",
		"xxxx", "changethis", "change-this", "fixme", "todo", "00000000", "11111111", "12345678901", "abcdefghij", "****", "....", "-here", "_here", "not-a-real", "not-real", "fake", "sample",
	} {
		if strings.Contains(low, w) {
			return true
		}
	}
	_, size := utf8.DecodeRuneInString(low)
	return strings.Trim(low, low[:size]) == "" // one character, again and again
}

// line gives the line of a place, from 1.
func line(text string, at int) int { return 1 + strings.Count(text[:at], "\n") }
