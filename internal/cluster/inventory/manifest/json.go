package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/jsonscan"
)

// json reads a stream of JSON values. Where the text is no JSON, or no longer, message
// says what is wrong, and n is how many values there were and rest what follows them,
// which may be YAML. Bytes that are no UTF-8 are read as encoding/json reads them.
func (p *part) json(name string, text []byte, strict bool, trees *trees) (n int, rest []byte, where bulwark.Location, message string) {
	at := &cursor{file: name, text: text, line: 1, column: 1}
	for rest = text; ; n++ {
		value, next, err := jsonscan.Next(rest)
		if err != nil {
			offset := len(text) - len(rest)
			if e := (*jsonscan.SyntaxError)(nil); errors.As(err, &e) {
				offset += e.Offset
			}
			return n, rest, at.to(offset), fmt.Sprintf("is not JSON: %v", err)
		}
		if value == nil {
			return n, nil, bulwark.Location{}, ""
		}
		u := unfolder{part: p, strict: strict, place: func(_ string, raw []byte) (inventory.Origin, bulwark.Location) {
			// raw is a part of text, so what follows its start tells where that is.
			place := at.to(cap(text) - cap(raw))
			return &origin{doc: &document{
				file: name, text: raw, json: true, line: place.Line - 1, column: place.Column - 1, trees: trees,
			}}, place
		}}
		u.value(value, "", implied{}, 0)
		rest = next
	}
}

// cursor counts lines in a text, forward.
type cursor struct {
	file         string
	text         []byte
	offset       int
	line, column int
}

func (c *cursor) to(offset int) bulwark.Location {
	if offset = min(offset, len(c.text)); offset < c.offset {
		c.offset, c.line, c.column = 0, 1, 1
	}
	passed := c.text[c.offset:offset]
	c.line += bytes.Count(passed, []byte("\n"))
	if i := bytes.LastIndexByte(passed, '\n'); i >= 0 {
		c.column, passed = 1, passed[i+1:]
	}
	c.column += utf8.RuneCount(passed)
	c.offset = offset
	return bulwark.Location{File: c.file, Line: c.line, Column: c.column}
}
