package audit

import (
	"encoding/binary"
	"unicode/utf8"
)

// Raw reads a value of any kind and depth, and gives its text.
func (c *Cursor) Raw() ([]byte, error) {
	c.Next()
	from := c.at
	if err := c.Skip(); err != nil {
		return nil, err
	}
	return c.data[from:c.at:c.at], nil
}

// Skip reads a value of any kind and depth. It makes sure that it is JSON and takes
// no more memory than a bit for each level.
func (c *Cursor) Skip() error {
	var inline [8]uint64
	objects, depth := inline[:], 0 // a bit says that the level is an object
	for {
		var err error
		switch b := c.Next(); {
		case b == '{' || b == '[':
			c.at++
			if c.Next() == b+2 { // } and ] stand two after { and [
				c.at++
				break
			}
			if depth/64 == len(objects) {
				objects = append(objects, 0)
			}
			if bit := uint64(1) << (depth % 64); b == '{' {
				objects[depth/64] |= bit
				err = c.skipName()
			} else {
				objects[depth/64] &^= bit
			}
			if depth++; err != nil {
				return err
			}
			continue
		case b == '"':
			err = c.skipString()
		case b == '-' || '0' <= b && b <= '9':
			_, err = c.Number()
		default:
			_, err = c.literal()
		}
		if err != nil {
			return err
		}
		for more := false; !more; { // a value has ended, and perhaps what it stood in
			if depth == 0 {
				return nil
			}
			object := objects[(depth-1)/64]>>((depth-1)%64)&1 == 1
			switch b := c.Next(); {
			case b == ',':
				c.at++
				if object {
					if err := c.skipName(); err != nil {
						return err
					}
				}
				more = true
			case b == '}' && object, b == ']' && !object:
				c.at++
				depth--
			default:
				return c.problem("no comma or end after a value")
			}
		}
	}
}

func (c *Cursor) skipName() error {
	if c.Next() != '"' {
		return c.problem("no name")
	}
	if err := c.skipString(); err != nil {
		return err
	}
	if c.Next() != ':' {
		return c.problem("no colon after a name")
	}
	c.at++
	return nil
}

// skipString reads a string that begins here, and does not decode it.
func (c *Cursor) skipString() error {
	for c.at = plain(c.data, c.at+1); c.at < len(c.data); c.at = plain(c.data, c.at) {
		switch b := c.data[c.at]; {
		case b == '"':
			c.at++
			return nil
		case b == '\\':
			if _, err := c.escape(); err != nil {
				return err
			}
		case b < ' ':
			return c.problem("a control character in a string")
		default:
			c.at++
		}
	}
	return c.problem("a string has no end")
}

// plain is the offset, from one on, of the first byte that is no printable ASCII or
// means something in a string; the length of data if there is none.
func plain(data []byte, from int) int {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i := from
	for ; i+8 <= len(data); i += 8 {
		x := binary.LittleEndian.Uint64(data[i:])
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		// A byte's high bit comes out where the byte is below the number subtracted: a
		// control character, or 0 after the exclusive or. It may be wrong in bytes after
		// a right one, which the loop below sorts out.
		if (x|(x-ones*' ')|(quote-ones)&^quote|(slash-ones)&^slash)&highs != 0 {
			break
		}
	}
	for ; i < len(data); i++ {
		if b := data[i]; b < ' ' || b >= utf8.RuneSelf || b == '"' || b == '\\' {
			break
		}
	}
	return i
}
