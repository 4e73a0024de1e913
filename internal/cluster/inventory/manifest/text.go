package manifest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf16"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/nodes"
)

// text reads all documents of a file. strict says that each must be an object.
func (r *reader) text(name string, text []byte, strict bool) {
	text, err := decodeUTF16(text)
	if err != nil {
		r.problem(bulwark.Location{File: name}, err.Error())
		return
	}
	whole := text
	if c := bytes.TrimLeft(text, " \t\r\n"); len(c) > 0 && (c[0] == '{' || c[0] == '[') {
		p := &part{}
		n, rest, at, message := p.json(name, text, strict, r.trees)
		if n != 1 {
			rest = text
		}
		switch {
		case message == "":
			r.parts = append(r.parts, p)
			return
		case n > 1 || isJSON(name) && !isYAML(rest):
			if r.parts = append(r.parts, p); strict || looksLikeObject(text) {
				p.problem(at, message)
			} else {
				p.pass(bulwark.Location{File: name})
			}
			return
		case n == 1: // kubectl goes on with YAML behind the first value
			r.parts = append(r.parts, p)
			text = rest
		}
	}
	if line, message := nodes.CheckText(text); message != "" {
		if strict || looksLikeObject(text) {
			r.problem(bulwark.Location{File: name, Line: bytes.Count(whole[:len(whole)-len(text)], []byte("\n")) + line}, message)
		} else {
			r.add(nil).pass(bulwark.Location{File: name})
		}
		return
	}
	before := bytes.Count(whole[:len(whole)-len(text)], []byte("\n"))
	for _, c := range nodes.Split(text) {
		d := &document{file: name, text: c.Text, line: before + c.First - 1, trees: r.trees}
		r.add(func(p *part) { p.yaml(d, strict) })
	}
}

// decodeUTF16 gives UTF-8 without a mark of byte order. Shells of Windows write
// UTF-16, with the mark.
func decodeUTF16(text []byte) ([]byte, error) {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(text, []byte("\xef\xbb\xbf")):
		return text[3:], nil
	case bytes.HasPrefix(text, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(text, []byte("\xfe\xff")):
		order = binary.BigEndian
	default:
		return text, nil
	}
	text = text[2:]
	if len(text)%2 != 0 {
		return nil, fmt.Errorf("is UTF-16 with half a character at its end; save it as UTF-8")
	}
	units := make([]uint16, len(text)/2)
	for i := range units {
		units[i] = order.Uint16(text[2*i:])
	}
	return []byte(string(utf16.Decode(units))), nil
}

// isJSON says how a file is to be read that could be either.
func isJSON(name string) bool { return filepath.Ext(name) == ".json" }

// isYAML reports whether text that is no JSON can be read as YAML all the same, as
// kubectl does whatever the file is called.
func isYAML(text []byte) bool {
	if _, message := nodes.CheckText(text); message != "" {
		return false
	}
	for _, c := range nodes.Split(text) {
		if _, _, err := convert(&document{text: c.Text}); err != nil {
			return false
		}
	}
	return true
}

// looksLikeObject reports whether text that cannot be read was meant to be one: it has
// both keys, in whatever form and order.
func looksLikeObject(text []byte) bool { return hasKey(text, "apiVersion") && hasKey(text, "kind") }

func hasKey(text []byte, key string) bool {
	for at := 0; ; {
		i := bytes.Index(text[at:], []byte(key))
		if i < 0 {
			return false
		}
		before, after := text[:at+i], text[at+i+len(key):]
		at += i + len(key)
		if n := len(before); n > 0 && (before[n-1] == '_' || unicode.IsLetter(rune(before[n-1])) || unicode.IsDigit(rune(before[n-1]))) {
			continue // the end of a longer word
		}
		if len(after) > 0 && (after[0] == '"' || after[0] == '\'') {
			after = after[1:]
		}
		if after = bytes.TrimLeft(after, " \t"); len(after) > 0 && after[0] == ':' {
			return true
		}
	}
}

// tidy makes text from a file fit for a terminal and a log: of bounded length,
// without control characters.
func tidy(s string) string {
	const most = 500
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
