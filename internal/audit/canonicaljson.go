package audit

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf8"
)

// CanonicalJSON gives one JSON value in canonical form: no white space; names sorted
// by their bytes; strings with the shortest escapes, and those only where JSON asks
// for them; numbers as they were written. Bytes that are no UTF-8 and halves of
// surrogate pairs become U+FFFD. A name that stands twice in one object is an error,
// and so is what is deeper than MaxDepth.
func CanonicalJSON(raw []byte) ([]byte, error) {
	c := Cursor{data: raw}
	out, err := c.AppendValue(make([]byte, 0, len(raw)))
	if err != nil {
		return nil, err
	}
	return out, c.End()
}

// member is one member of an object that AppendValue has written. It has no pointers,
// so that sorting does not bother the garbage collector.
type member struct {
	nameFrom, nameTo int  // the name, in data
	decoded          bool // or, if it had to be decoded, in names
	from, to         int  // the member's bytes
}

func (c *Cursor) name(m *member) []byte {
	if m.decoded {
		return c.names[m.nameFrom:m.nameTo]
	}
	return c.data[m.nameFrom:m.nameTo]
}

// AppendValue reads a value and appends it in canonical form: see CanonicalJSON. On
// an error the cursor stands somewhere within the value.
func (c *Cursor) AppendValue(dst []byte) ([]byte, error) {
	c.members, c.names = c.members[:0], c.names[:0]
	return c.appendValue(dst, 0)
}

func (c *Cursor) appendValue(dst []byte, depth int) ([]byte, error) {
	var text []byte
	var err error
	switch b := c.Next(); {
	case depth == MaxDepth && (b == '{' || b == '['):
		return dst, errDeep
	case b == '{':
		return c.appendObject(dst, depth+1)
	case b == '[':
		dst = append(dst, '[')
		start := len(dst)
		err = c.Array(func() (err error) {
			if len(dst) > start {
				dst = append(dst, ',')
			}
			dst, err = c.appendValue(dst, depth+1)
			return err
		})
		return append(dst, ']'), err
	case b == '"':
		if text, err = c.String(); err == nil {
			dst = c.quote(dst, text)
		}
		return dst, err
	case b == '-' || '0' <= b && b <= '9':
		text, err = c.Number()
	default:
		text, err = c.literal()
	}
	return append(dst, text...), err
}

func (c *Cursor) appendObject(dst []byte, depth int) ([]byte, error) {
	first, names := len(c.members), len(c.names)
	dst = append(dst, '{')
	start, sorted := len(dst), true
	err := c.Object(func(name []byte) (err error) {
		m := member{nameTo: c.nameEnd, nameFrom: c.nameEnd - len(name)}
		if c.decoded { // the next string takes its memory
			m = member{nameFrom: len(c.names), nameTo: len(c.names) + len(name), decoded: true}
			c.names = append(c.names, name...)
		}
		if n := len(c.members); n > first && bytes.Compare(c.name(&c.members[n-1]), name) >= 0 {
			sorted = false
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		m.from = len(dst)
		dst = append(c.quote(dst, name), ':')
		if dst, err = c.appendValue(dst, depth); err != nil {
			return err
		}
		m.to = len(dst)
		c.members = append(c.members, m)
		return nil
	})
	members := c.members[first:]
	c.members = c.members[:first]
	if err != nil || sorted {
		c.names = c.names[:names]
		return append(dst, '}'), err
	}
	c.sort(members)
	c.spare = append(c.spare[:0], dst[start:]...)
	dst = dst[:start]
	for i, m := range members {
		if i > 0 {
			if bytes.Equal(c.name(&members[i-1]), c.name(&members[i])) {
				return dst, errTwice
			}
			dst = append(dst, ',')
		}
		dst = append(dst, c.spare[m.from-start:m.to-start]...)
	}
	c.names = c.names[:names]
	return append(dst, '}'), nil
}

// sort sorts members by name. Most objects have a few, almost in order.
func (c *Cursor) sort(members []member) {
	if len(members) > 16 {
		slices.SortFunc(members, func(a, b member) int { return bytes.Compare(c.name(&a), c.name(&b)) })
		return
	}
	for i := 1; i < len(members); i++ {
		m := members[i]
		name, j := c.name(&m), i
		for ; j > 0 && bytes.Compare(name, c.name(&members[j-1])) < 0; j-- {
			members[j] = members[j-1]
		}
		members[j] = m
	}
}

// quote appends the string that was read last.
func (c *Cursor) quote(dst, text []byte) []byte {
	if c.decoded {
		return quote(dst, text)
	}
	return append(append(append(dst, '"'), text...), '"') // what needed no decoding needs no escapes
}

// quote appends s as a JSON string in canonical form.
func quote[T []byte | string](dst []byte, s T) []byte {
	dst = append(dst, '"')
	from := len(dst)
	dst = append(dst, s...)
	to := plain(dst, from)
	if to < len(dst) {
		dst = escape(dst[:to], s[to-from:])
	}
	return append(dst, '"')
}

// escape appends s with the escapes that it needs.
func escape[T []byte | string](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	done := 0
	for i := 0; i < len(s); i++ {
		b := s[i]
		if b >= ' ' && b < utf8.RuneSelf && b != '"' && b != '\\' {
			continue
		}
		if b >= utf8.RuneSelf {
			if r, n := utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)])); r != utf8.RuneError || n > 1 {
				i += n - 1
				continue
			}
		}
		dst = append(dst, s[done:i]...)
		done = i + 1
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			if b >= utf8.RuneSelf {
				dst = append(dst, "\uFFFD"...)
			} else {
				dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
			}
		}
	}
	return append(dst, s[done:]...)
}

// tree parses a value into maps, lists, strings, truth values and json.Numbers. What
// is no JSON, or too deep, has none.
func tree(raw []byte) any {
	c := Cursor{data: raw}
	v, err := c.tree(0)
	if err != nil || c.End() != nil {
		return nil
	}
	return v
}

func (c *Cursor) tree(depth int) (any, error) {
	switch b := c.Next(); {
	case depth > MaxDepth:
		return nil, errDeep
	case b == '{':
		object := map[string]any{}
		return object, c.Object(func(name []byte) error {
			key := string(name)
			v, err := c.tree(depth + 1)
			object[key] = v
			return err
		})
	case b == '[':
		list := []any{}
		err := c.Array(func() error {
			v, err := c.tree(depth + 1)
			list = append(list, v)
			return err
		})
		return list, err
	case b == '"':
		s, err := c.String()
		return string(s), err
	case b == '-' || '0' <= b && b <= '9':
		n, err := c.Number()
		return json.Number(n), err
	}
	word, err := c.literal()
	switch string(word) {
	case "true":
		return true, err
	case "false":
		return false, err
	}
	return nil, err
}
