package audit

import (
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth is how many objects and lists may stand in one another in a body that is
// kept. The deepest that Kubernetes itself makes, the schemas of custom resources,
// stay well below.
const MaxDepth = 256

// Cursor reads one JSON text from its beginning, without copying: RFC 8259 and
// nothing besides. Names are matched exactly. Bytes that are no UTF-8, and halves of
// surrogate pairs, are read as U+FFFD, and Replaced tells.
//
// What the methods give points into the text, or into memory that the next call
// uses again: copy what is to stay.
type Cursor struct {
	// Replaced says that some text was not valid Unicode.
	Replaced bool

	data    []byte
	at      int
	text    []byte   // the last string that had to be decoded
	decoded bool     // whether the last string is there
	nameEnd int      // where the last string that was not decoded ends
	members []member // of the objects that AppendValue is in
	names   []byte   // of members, where they had to be decoded
	spare   []byte
}

// NewCursor starts at the beginning of a text.
func NewCursor(data []byte) *Cursor { return &Cursor{data: data} }

// Reset starts at the beginning of another text and keeps the memory.
func (c *Cursor) Reset(data []byte) { c.data, c.at, c.Replaced = data, 0, false }

// Offset is how many bytes were read.
func (c *Cursor) Offset() int { return c.at }

// Seek goes back, or on, to an offset that Offset gave.
func (c *Cursor) Seek(offset int) { c.at = offset }

// Next skips white space and gives the first byte of what comes, or 0 at the end.
func (c *Cursor) Next() byte {
	for ; c.at < len(c.data); c.at++ {
		if b := c.data[c.at]; b > ' ' || b != ' ' && b != '\t' && b != '\n' && b != '\r' {
			return b
		}
	}
	return 0
}

// End reports an error unless the text is at its end.
func (c *Cursor) End() error {
	if c.Next(); c.at < len(c.data) {
		return c.problem("something follows the value")
	}
	return nil
}

func (c *Cursor) problem(what string) error {
	return fmt.Errorf("no JSON at byte %d: %s", c.at, what)
}

// wrong says what stands where something else was wanted.
func (c *Cursor) wrong(want string) error {
	there := "something that is no JSON"
	switch b := c.Next(); {
	case c.at >= len(c.data):
		return c.problem("it ends where " + want + " should be")
	case b == '{':
		there = "an object"
	case b == '[':
		there = "a list"
	case b == '"':
		there = "a string"
	case b == 't' || b == 'f':
		there = "a truth value"
	case b == 'n':
		there = "null"
	case b == '-' || '0' <= b && b <= '9':
		there = "a number"
	}
	return fmt.Errorf("at byte %d is %s where %s should be", c.at, there, want)
}

// Object reads an object and calls member at each member's value, which member has to
// read. It does not notice a name that stands twice.
func (c *Cursor) Object(member func(name []byte) error) error {
	if c.Next() != '{' {
		return c.wrong("an object")
	}
	c.at++
	if c.Next() == '}' {
		c.at++
		return nil
	}
	for {
		name, err := c.String()
		if err != nil {
			return err
		}
		if c.Next() != ':' {
			return c.problem("no colon after a name")
		}
		c.at++
		if err := member(name); err != nil {
			return err
		}
		switch c.Next() {
		case ',':
			c.at++
		case '}':
			c.at++
			return nil
		default:
			return c.problem("no comma or brace after a member")
		}
	}
}

// Array reads a list and calls element at each element, which element has to read.
func (c *Cursor) Array(element func() error) error {
	if c.Next() != '[' {
		return c.wrong("a list")
	}
	c.at++
	if c.Next() == ']' {
		c.at++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		switch c.Next() {
		case ',':
			c.at++
		case ']':
			c.at++
			return nil
		default:
			return c.problem("no comma or bracket after an element")
		}
	}
}

// Null reads a null, if that is what comes, and reports whether it was.
func (c *Cursor) Null() bool {
	if c.Next() != 'n' || c.at+4 > len(c.data) || string(c.data[c.at:c.at+4]) != "null" {
		return false
	}
	c.at += 4
	return true
}

// String reads a string.
func (c *Cursor) String() ([]byte, error) {
	if c.Next() != '"' {
		return nil, c.wrong("a string")
	}
	from := c.at + 1
	to := plain(c.data, from)
	if c.decoded = to == len(c.data) || c.data[to] != '"'; !c.decoded {
		c.at, c.nameEnd = to+1, to
		return c.data[from:to:to], nil
	}
	out := append(c.text[:0], c.data[from:to]...)
	for c.at = to; c.at < len(c.data); {
		switch b := c.data[c.at]; {
		case b == '"':
			c.at++
			c.text = out
			return out, nil
		case b == '\\':
			r, err := c.escape()
			if err != nil {
				return nil, err
			}
			out = utf8.AppendRune(out, r)
		case b < ' ':
			return nil, c.problem("a control character in a string")
		case b < utf8.RuneSelf:
			to := plain(c.data, c.at)
			out = append(out, c.data[c.at:to]...)
			c.at = to
		default:
			r, n := utf8.DecodeRune(c.data[c.at:])
			if r == utf8.RuneError && n == 1 {
				c.Replaced = true
			}
			out = utf8.AppendRune(out, r)
			c.at += n
		}
	}
	return nil, c.problem("a string has no end")
}

// escape reads what a backslash begins.
func (c *Cursor) escape() (rune, error) {
	if c.at+1 < len(c.data) {
		short := rune(0)
		switch b := c.data[c.at+1]; b {
		case '"', '\\', '/':
			short = rune(b)
		case 'b':
			short = '\b'
		case 'f':
			short = '\f'
		case 'n':
			short = '\n'
		case 'r':
			short = '\r'
		case 't':
			short = '\t'
		}
		if short != 0 {
			c.at += 2
			return short, nil
		}
	}
	r := c.unit(c.at)
	if r < 0 {
		return 0, c.problem("an escape that JSON does not have")
	}
	c.at += 6
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if pair := utf16.DecodeRune(r, c.unit(c.at)); pair != utf8.RuneError {
		c.at += 6
		return pair, nil
	}
	c.Replaced = true
	return utf8.RuneError, nil
}

// unit is the value of the \uXXXX at an offset, or -1 if there is none.
func (c *Cursor) unit(at int) rune {
	if at+6 > len(c.data) || c.data[at] != '\\' || c.data[at+1] != 'u' {
		return -1
	}
	r := rune(0)
	for _, b := range c.data[at+2 : at+6] {
		switch {
		case '0' <= b && b <= '9':
			r = r<<4 | rune(b-'0')
		case 'a' <= b && b <= 'f':
			r = r<<4 | rune(b-'a'+10)
		case 'A' <= b && b <= 'F':
			r = r<<4 | rune(b-'A'+10)
		default:
			return -1
		}
	}
	return r
}

// Number reads a number and gives its text.
func (c *Cursor) Number() ([]byte, error) {
	if b := c.Next(); b != '-' && (b < '0' || b > '9') {
		return nil, c.wrong("a number")
	}
	from, i := c.at, c.at
	some := func() bool { // digits
		start := i
		for i < len(c.data) && '0' <= c.data[i] && c.data[i] <= '9' {
			i++
		}
		return i > start
	}
	if c.data[i] == '-' {
		i++
	}
	ok := true
	if i < len(c.data) && c.data[i] == '0' {
		i++
	} else {
		ok = some()
	}
	if ok && i < len(c.data) && c.data[i] == '.' {
		i++
		ok = some()
	}
	if ok && i < len(c.data) && c.data[i]|0x20 == 'e' {
		i++
		if i < len(c.data) && (c.data[i] == '+' || c.data[i] == '-') {
			i++
		}
		ok = some()
	}
	if !ok {
		return nil, c.problem("a number that JSON does not have")
	}
	c.at = i
	return c.data[from:i:i], nil
}

// literal reads true, false or null.
func (c *Cursor) literal() ([]byte, error) {
	for _, word := range [...]string{"true", "false", "null"} {
		if to := c.at + len(word); to <= len(c.data) && string(c.data[c.at:to]) == word {
			from := c.at
			c.at = to
			return c.data[from:to:to], nil
		}
	}
	return nil, c.problem("no value")
}

var (
	errTwice = errors.New("a name stands twice in one object")
	errDeep  = fmt.Errorf("nested deeper than %d", MaxDepth)
)
