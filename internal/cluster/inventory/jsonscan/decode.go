package jsonscan

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Decode gives the values of a text: maps, lists, strings, bools, nil, int64 for
// whole numbers and float64 for others, as the API server's unstructured objects
// have them. Of a field that comes twice the last counts. The strings share one
// copy of the text.
func Decode(text []byte) (any, error) {
	s := scanner[string]{text: string(text)}
	s.space()
	v, err := s.value()
	if err != nil {
		return nil, err
	}
	return v, s.end()
}

func (s *scanner[T]) value() (any, error) {
	switch s.peek() {
	case '{':
		return s.decodeObject()
	case '[':
		return s.decodeList()
	case '"':
		return s.string()
	case 't':
		return true, s.word("true")
	case 'f':
		return false, s.word("false")
	case 'n':
		return nil, s.word("null")
	default:
		return s.decodeNumber()
	}
}

func (s *scanner[T]) decodeObject() (any, error) {
	m := map[string]any{}
	again, err := s.open('}')
	for ; again && err == nil; again, err = s.more('}') {
		key, err := s.key()
		if err != nil {
			return nil, err
		}
		if m[key], err = s.value(); err != nil {
			return nil, err
		}
	}
	return m, err
}

func (s *scanner[T]) decodeList() (any, error) {
	base := len(s.stack)
	again, err := s.open(']')
	for ; again && err == nil; again, err = s.more(']') {
		v, err := s.value()
		if err != nil {
			return nil, err
		}
		s.stack = append(s.stack, v)
	}
	out := make([]any, len(s.stack)-base)
	copy(out, s.stack[base:])
	clear(s.stack[base:])
	s.stack = s.stack[:base]
	return out, err
}

func (s *scanner[T]) decodeNumber() (any, error) {
	start := s.at
	whole, err := s.number()
	if err != nil {
		return nil, err
	}
	text := string(s.text[start:s.at])
	if whole {
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return i, nil
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		return nil, &SyntaxError{Offset: start, What: "number out of range"}
	}
	return f, nil
}

// unescape gives the text of the inside of a string, which was checked. What is no
// UTF-8 becomes the replacement character.
func unescape(in string) string {
	if strings.IndexByte(in, '\\') < 0 && utf8.ValidString(in) {
		return in
	}
	out := make([]byte, 0, len(in)+utf8.UTFMax)
	for i := 0; i < len(in); {
		c := in[i]
		if c != '\\' {
			r, size := utf8.DecodeRuneInString(in[i:])
			out = utf8.AppendRune(out, r)
			i += size
			continue
		}
		c = in[i+1]
		i += 2
		if at := strings.IndexByte("bfnrt", c); at >= 0 {
			out = append(out, "\b\f\n\r\t"[at])
			continue
		}
		if c != 'u' {
			out = append(out, c)
			continue
		}
		r := hexRune(in[i:])
		i += 4
		if utf16.IsSurrogate(r) {
			second := rune(-1)
			if strings.HasPrefix(in[i:], `\u`) {
				second = hexRune(in[i+2:])
			}
			if r = utf16.DecodeRune(r, second); r != utf8.RuneError {
				i += len(`\u0000`)
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}

// hexRune reads four hexadecimal digits, which are there.
func hexRune(s string) rune {
	var r rune
	for i := range 4 {
		c := s[i]
		switch {
		case c <= '9':
			c -= '0'
		case c >= 'a':
			c -= 'a' - 10
		default:
			c -= 'A' - 10
		}
		r = r<<4 | rune(c)
	}
	return r
}
