package manifest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"regexp"
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
	if line, message := nodes.CheckText(text); message != "" {
		if strict || looksLikeObject(text) {
			r.problem(bulwark.Location{File: name, Line: line}, message)
		} else {
			r.add(nil).pass(bulwark.Location{File: name})
		}
		return
	}
	if c := bytes.TrimLeft(text, " \t\r\n"); len(c) > 0 && (c[0] == '{' || c[0] == '[') {
		p := &part{}
		if p.json(name, text, strict, r.trees) {
			r.parts = append(r.parts, p)
			return
		}
	}
	for _, c := range nodes.Split(text) {
		d := &document{file: name, text: c.Text, line: c.First - 1, trees: r.trees}
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

var (
	hasVersion = regexp.MustCompile(`(?m)^[ \t{-]*["']?apiVersion["']?[ \t]*:`)
	hasKind    = regexp.MustCompile(`(?m)["']?\bkind["']?[ \t]*:`)
)

// looksLikeObject reports whether text that cannot be read was meant to be one.
func looksLikeObject(text []byte) bool {
	const most = 1 << 20
	text = text[:min(len(text), most)]
	return hasVersion.Match(text) && hasKind.Match(text)
}

// isJSON says how a file is to be read that could be either.
func isJSON(name string) bool { return filepath.Ext(name) == ".json" }

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
