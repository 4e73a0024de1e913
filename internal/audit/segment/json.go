package segment

import (
	"errors"
	"slices"
	"strings"
)

// The lists and maps of an event are columns of JSON text. These functions write and
// read just the JSON that such columns have, byte for byte: encoding/json would put a
// replacement character for bytes that are no UTF-8, and the text would not come back.

var errJSON = errors.New("a list or map is not as it was written")

const hexDigits = "0123456789abcdef"

// The characters with a short escape, and the letters of those: as in canonical JSON, so
// that a column has the very text of the event's canonical form.
const (
	escaped = "\b\t\n\f\r\"\\"
	escapes = `btnfr"\`
)

func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch short := strings.IndexByte(escaped, c); {
		case short >= 0:
			dst = append(dst, '\\', escapes[short])
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// appendList writes nil as null, so that it comes back as nil.
func appendList(dst []byte, list []string) []byte {
	if list == nil {
		return append(dst, "null"...)
	}
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

// sortedKeys are the map's keys in keys' memory.
func sortedKeys[V any](keys []string, m map[string]V) []string {
	keys = keys[:0]
	for key := range m {
		keys = append(keys, key)
	}
	if len(keys) > 1 {
		slices.Sort(keys)
	}
	return keys
}

func appendLists(dst []byte, m map[string][]string, keys []string) []byte {
	dst = append(dst, '{')
	for i, key := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, key), ':')
		dst = appendList(dst, m[key])
	}
	return append(dst, '}')
}

func appendTexts(dst []byte, m map[string]string, keys []string) []byte {
	dst = append(dst, '{')
	for i, key := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, key), ':')
		dst = appendString(dst, m[key])
	}
	return append(dst, '}')
}

// scanner reads what the functions above wrote.
type scanner struct {
	rest string
}

func (s *scanner) take(token string) bool {
	rest, ok := strings.CutPrefix(s.rest, token)
	if ok {
		s.rest = rest
	}
	return ok
}

func (s *scanner) text() (string, error) {
	if !s.take(`"`) {
		return "", errJSON
	}
	end := strings.IndexAny(s.rest, `"\`)
	if end >= 0 && s.rest[end] == '"' { // nothing is escaped
		text := s.rest[:end]
		s.rest = s.rest[end+1:]
		return text, nil
	}
	var b strings.Builder
	for i := 0; i < len(s.rest); i++ {
		switch c := s.rest[i]; {
		case c == '"':
			s.rest = s.rest[i+1:]
			return b.String(), nil
		case c != '\\':
			b.WriteByte(c)
		default:
			rest := s.rest[i+1:]
			short := -1
			if rest != "" {
				short = strings.IndexByte(escapes, rest[0])
			}
			switch {
			case short >= 0:
				b.WriteByte(escaped[short])
				i++
			case len(rest) >= 5 && rest[:3] == "u00":
				high, low := strings.IndexByte(hexDigits, rest[3]), strings.IndexByte(hexDigits, rest[4])
				if high < 0 || high > 1 || low < 0 {
					return "", errJSON
				}
				b.WriteByte(hexDigit(high)<<4 | hexDigit(low))
				i += 5
			default:
				return "", errJSON
			}
		}
	}
	return "", errJSON
}

func hexDigit(n int) byte { return byte(n & 15) }

func (s *scanner) list() ([]string, error) {
	if s.take("null") {
		return nil, nil
	}
	if !s.take("[") {
		return nil, errJSON
	}
	list := []string{}
	for !s.take("]") {
		if len(list) > 0 && !s.take(",") {
			return nil, errJSON
		}
		text, err := s.text()
		if err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, nil
}

// object calls member after each key.
func (s *scanner) object(member func(key string) error) error {
	if !s.take("{") {
		return errJSON
	}
	for n := 0; !s.take("}"); n++ {
		if n > 0 && !s.take(",") {
			return errJSON
		}
		key, err := s.text()
		if err != nil {
			return err
		}
		if !s.take(":") {
			return errJSON
		}
		if err := member(key); err != nil {
			return err
		}
	}
	return nil
}

// The parsers below refuse every spelling but the one that is written, so that other
// readers of a column see just what the leaf hashes cover.

func parseList(text string) ([]string, error) {
	s := scanner{rest: text}
	list, err := s.list()
	if err == nil && (len(list) == 0 || string(appendList(nil, list)) != text) {
		err = errJSON
	}
	return list, err
}

func parseLists(text string) (map[string][]string, error) {
	s := scanner{rest: text}
	m := map[string][]string{}
	err := s.object(func(key string) error {
		list, err := s.list()
		m[key] = list
		return err
	})
	if err == nil && (len(m) == 0 || string(appendLists(nil, m, sortedKeys(nil, m))) != text) {
		err = errJSON
	}
	return m, err
}

// parseTexts is for annotations without those that have a column of their own.
func parseTexts(text string) (map[string]string, error) {
	s := scanner{rest: text}
	m := map[string]string{}
	err := s.object(func(key string) error {
		if key == keyDecision || key == keyDecisionReason {
			return errJSON
		}
		value, err := s.text()
		m[key] = value
		return err
	})
	if err == nil && (len(m) == 0 || string(appendTexts(nil, m, sortedKeys(nil, m))) != text) {
		err = errJSON
	}
	return m, err
}
