// Package jsonscan reads JSON fast: it cuts a text into its fields or elements
// without copying, and decodes it to plain values. It reads what encoding/json
// reads and refuses what that refuses; a fuzz test holds it to that. A snapshot
// has a hundred thousand objects, and each is read once or twice in a scan.
package jsonscan

import (
	"fmt"
	"unicode/utf8"
)

// maxDepth is that of encoding/json.
const maxDepth = 10_000

// SyntaxError says what is wrong at which byte.
type SyntaxError struct {
	Offset int
	What   string
}

// Error gives both.
func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.What, e.Offset) }

// Fields calls f with the fields of the object that text is, in their order; a
// field may come twice. The values are parts of text and end where they end. It
// stops at the first error of f and gives that. The whole text is checked.
func Fields(text []byte, f func(key string, value []byte) error) error {
	s := scanner[[]byte]{text: text}
	s.space()
	if s.peek() != '{' {
		return s.fail("expected an object")
	}
	again, err := s.open('}')
	for ; again && err == nil; again, err = s.more('}') {
		key, err := s.key()
		if err != nil {
			return err
		}
		value, err := s.cut()
		if err != nil {
			return err
		}
		if err := f(key, value); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return s.end()
}

// Elements calls f with the elements of the list that text is.
func Elements(text []byte, f func(i int, value []byte) error) error {
	s := scanner[[]byte]{text: text}
	s.space()
	if s.peek() != '[' {
		return s.fail("expected a list")
	}
	again, err := s.open(']')
	for i := 0; again && err == nil; i++ {
		value, err := s.cut()
		if err != nil {
			return err
		}
		if err := f(i, value); err != nil {
			return err
		}
		if again, err = s.more(']'); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return s.end()
}

// Next cuts the first value off a stream of them, without the space around it.
// At the end of the stream value is nil.
func Next(text []byte) (value, rest []byte, err error) {
	s := scanner[[]byte]{text: text}
	s.space()
	if s.at == len(text) {
		return nil, nil, nil
	}
	if value, err = s.cut(); err != nil {
		return nil, nil, err
	}
	return value, text[s.at:], nil
}

// String gives the text of a JSON string, and false for anything else.
func String(value []byte) (string, bool) {
	s := scanner[[]byte]{text: value}
	s.space()
	if s.peek() != '"' {
		return "", false
	}
	text, err := s.string()
	return text, err == nil && s.end() == nil
}

type scanner[T string | []byte] struct {
	text  T
	at    int
	depth int
	stack []any // elements of lists that are not complete yet
}

func (s *scanner[T]) fail(what string) error {
	if s.at >= len(s.text) {
		what = "unexpected end"
	}
	return &SyntaxError{Offset: s.at, What: what}
}

// peek gives the next byte, 0 at the end: no value begins with it.
func (s *scanner[T]) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *scanner[T]) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\n', '\t', '\r':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner[T]) end() error {
	if s.space(); s.at < len(s.text) {
		return s.fail("unexpected text after the value")
	}
	return nil
}

// open goes behind an opening bracket and reports whether a member follows.
func (s *scanner[T]) open(closing byte) (bool, error) {
	if s.depth++; s.depth > maxDepth {
		return false, s.fail("nests too deep")
	}
	s.at++
	if s.space(); s.peek() != closing {
		return true, nil
	}
	s.at++
	s.depth--
	return false, nil
}

// more goes behind what follows a member and reports whether another one does.
func (s *scanner[T]) more(closing byte) (bool, error) {
	s.space()
	switch s.peek() {
	case ',':
		s.at++
		s.space()
		return true, nil
	case closing:
		s.at++
		s.depth--
		return false, nil
	default:
		return false, s.fail("expected a comma or an end")
	}
}

// key reads a key and goes to its value.
func (s *scanner[T]) key() (string, error) {
	if s.peek() != '"' {
		return "", s.fail("expected a key")
	}
	key, err := s.string()
	if err != nil {
		return "", err
	}
	return key, s.colon()
}

func (s *scanner[T]) colon() error {
	if s.space(); s.peek() != ':' {
		return s.fail("expected a colon")
	}
	s.at++
	s.space()
	return nil
}

// cut reads a value and gives its text.
func (s *scanner[T]) cut() (T, error) {
	start := s.at
	if err := s.skip(); err != nil {
		return s.text[:0], err
	}
	return s.text[start:s.at], nil
}

// skip checks and passes over a value.
func (s *scanner[T]) skip() error {
	switch c := s.peek(); c {
	case '{':
		again, err := s.open('}')
		for ; again && err == nil; again, err = s.more('}') {
			if s.peek() != '"' {
				return s.fail("expected a key")
			}
			if _, err := s.quoted(); err != nil {
				return err
			}
			if err := s.colon(); err != nil {
				return err
			}
			if err := s.skip(); err != nil {
				return err
			}
		}
		return err
	case '[':
		again, err := s.open(']')
		for ; again && err == nil; again, err = s.more(']') {
			if err := s.skip(); err != nil {
				return err
			}
		}
		return err
	case '"':
		_, err := s.quoted()
		return err
	case 't':
		return s.word("true")
	case 'f':
		return s.word("false")
	case 'n':
		return s.word("null")
	default:
		_, err := s.number()
		return err
	}
}

func (s *scanner[T]) word(word string) error {
	if end := s.at + len(word); end <= len(s.text) && string(s.text[s.at:end]) == word {
		s.at = end
		return nil
	}
	return s.fail("expected a value")
}

// number passes over a number and gives whether it has no fraction.
func (s *scanner[T]) number() (whole bool, err error) {
	run := func() bool {
		start := s.at
		for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
			s.at++
		}
		return s.at > start
	}
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !run() {
		return false, s.fail("expected a value")
	}
	whole = true
	if s.peek() == '.' {
		s.at++
		if whole = false; !run() {
			return false, s.fail("expected a digit")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		if whole = false; !run() {
			return false, s.fail("expected a digit")
		}
	}
	return whole, nil
}

// quoted passes over a string and gives whether what is between its quotes can be
// taken as it is.
func (s *scanner[T]) quoted() (plain bool, err error) {
	plain = true
	text, i := s.text, s.at+1
	for ; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			s.at = i + 1
			return plain, nil
		case c == '\\':
			plain = false
			i++
			if i == len(text) {
				break
			}
			switch text[i] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
			case 'u':
				for range 4 {
					if i++; i >= len(text) || !hex(text[i]) {
						s.at = i
						return false, s.fail("expected four hexadecimal digits")
					}
				}
			default:
				s.at = i
				return false, s.fail("unknown escape")
			}
		case c < ' ':
			s.at = i
			return false, s.fail("control character in a string")
		case c >= utf8.RuneSelf:
			plain = false // it may be no UTF-8
		}
	}
	s.at = len(text)
	return false, s.fail("")
}

func hex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// string reads a string.
func (s *scanner[T]) string() (string, error) {
	start := s.at + 1
	plain, err := s.quoted()
	if err != nil {
		return "", err
	}
	inside := s.text[start : s.at-1]
	if plain {
		return string(inside), nil
	}
	return unescape(string(inside)), nil
}
