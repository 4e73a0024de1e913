package splice

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// The YAML parser says where a node begins and not where it ends, so the end is
// found here by reading the text from there. If that goes wrong in a corner of
// YAML, the proof afterwards refuses the change.

var errWritten = errors.New("the way it is written is not understood well enough")

// start gives the offset of a node.
func (d *document) start(n *yaml.Node) (int, error) {
	if n.Line < 1 || n.Line > len(d.lines) {
		return 0, errWritten
	}
	at := d.lines[n.Line-1]
	for range n.Column - 1 {
		_, size := utf8.DecodeRune(d.text[at:])
		if at += size; size == 0 {
			return 0, errWritten
		}
	}
	return at, nil
}

// lineStart and lineEnd give the bounds of the line that at is in, without the
// line's end.
func (d *document) lineStart(at int) int { return bytes.LastIndexByte(d.text[:at], '\n') + 1 }

func (d *document) lineEnd(at int) int {
	end := bytes.IndexByte(d.text[at:], '\n')
	if end < 0 {
		return len(d.text)
	}
	end += at
	if end > at && d.text[end-1] == '\r' {
		end--
	}
	return end
}

// nextLine gives the start of the line after the one that at is in.
func (d *document) nextLine(at int) int {
	end := bytes.IndexByte(d.text[at:], '\n')
	if end < 0 {
		return len(d.text)
	}
	return at + end + 1
}

// empty reports whether a value is not written at all.
func empty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Value == "" && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}

// properties skips anchors and tags, and gives where the value itself begins.
func (d *document) properties(at int) int {
	for at < len(d.text) && (d.text[at] == '&' || d.text[at] == '!') {
		for at < len(d.text) && !isSpace(d.text[at]) && strings.IndexByte(",]}", d.text[at]) < 0 {
			at++
		}
		for at < len(d.text) && isSpace(d.text[at]) {
			at++
		}
	}
	return at
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// end gives the offset after a node. flow says that it stands within braces.
func (d *document) end(n *yaml.Node, flow bool) (int, error) {
	at, err := d.start(n)
	if err != nil {
		return 0, err
	}
	switch n.Kind {
	case yaml.AliasNode:
		for at < len(d.text) && !isSpace(d.text[at]) && strings.IndexByte(",[]{}", d.text[at]) < 0 {
			at++
		}
		return at, nil
	case yaml.ScalarNode:
		return d.scalarEnd(n, d.properties(at), flow)
	case yaml.DocumentNode: // never within one
	case yaml.MappingNode, yaml.SequenceNode:
		if n.Style&yaml.FlowStyle != 0 {
			return d.flowEnd(n, d.properties(at))
		}
		if len(n.Content) == 0 {
			return 0, errWritten
		}
		last := n.Content[len(n.Content)-1]
		if !empty(last) {
			return d.end(last, flow)
		}
		if n.Kind == yaml.MappingNode {
			return d.colon(n.Content[len(n.Content)-2], flow)
		}
	}
	return 0, errWritten
}

// colon gives the offset after the colon of a key.
func (d *document) colon(key *yaml.Node, flow bool) (int, error) {
	at, err := d.end(key, flow)
	if err != nil {
		return 0, err
	}
	for at < len(d.text) && (d.text[at] == ' ' || d.text[at] == '\t') {
		at++
	}
	if at >= len(d.text) || d.text[at] != ':' {
		return 0, errWritten
	}
	return at + 1, nil
}

// gap skips spaces, line ends, comments and commas between parts of braces.
func (d *document) gap(at int) int {
	for at < len(d.text) {
		switch c := d.text[at]; {
		case isSpace(c) || c == ',':
			at++
		case c == '#' && at > 0 && isSpace(d.text[at-1]):
			at = d.nextLine(at)
		default:
			return at
		}
	}
	return at
}

func (d *document) flowEnd(n *yaml.Node, at int) (int, error) {
	closer := byte('}')
	if n.Kind == yaml.SequenceNode {
		closer = ']'
	}
	if at >= len(d.text) || d.text[at] != closer-2 {
		return 0, errWritten
	}
	at++
	if len(n.Content) > 0 {
		var err error
		last := n.Content[len(n.Content)-1]
		if empty(last) && n.Kind == yaml.MappingNode {
			if at, err = d.end(n.Content[len(n.Content)-2], true); err == nil {
				if after := d.gap(at); after < len(d.text) && d.text[after] == ':' {
					at = after + 1
				}
			}
		} else {
			at, err = d.end(last, true)
		}
		if err != nil {
			return 0, err
		}
	}
	if at = d.gap(at); at >= len(d.text) || d.text[at] != closer {
		return 0, errWritten
	}
	return at + 1, nil
}

func (d *document) scalarEnd(n *yaml.Node, at int, flow bool) (int, error) {
	switch {
	case empty(n):
		return at, nil
	case at >= len(d.text):
		return 0, errWritten
	case n.Style&yaml.DoubleQuotedStyle != 0:
		if d.text[at] != '"' {
			return 0, errWritten
		}
		for at++; at < len(d.text); at++ {
			switch d.text[at] {
			case '\\':
				at++
			case '"':
				return at + 1, nil
			}
		}
		return 0, errWritten
	case n.Style&yaml.SingleQuotedStyle != 0:
		if d.text[at] != '\'' {
			return 0, errWritten
		}
		for at++; at < len(d.text); at++ {
			if d.text[at] != '\'' {
				continue
			}
			if at+1 < len(d.text) && d.text[at+1] == '\'' {
				at++
				continue
			}
			return at + 1, nil
		}
		return 0, errWritten
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return d.blockEnd(at)
	default:
		return d.plainEnd(n, at, flow)
	}
}

// plainEnd finds the end of a text without quotes by growing it line by line until
// it says what the parser read.
func (d *document) plainEnd(n *yaml.Node, at int, flow bool) (int, error) {
	said := ""
	breaks := 0
	for line := at; line < len(d.text); {
		end := d.lineEnd(line)
		text := string(d.text[line:end])
		cut := len(text)
		for i := range len(text) {
			after := byte(' ')
			if i+1 < len(text) {
				after = text[i+1]
			}
			if text[i] == '#' && (i == 0 || isSpace(text[i-1])) ||
				text[i] == ':' && (isSpace(after) || flow && strings.IndexByte(",[]{}", after) >= 0) ||
				flow && strings.IndexByte(",[]{}", text[i]) >= 0 {
				cut = i
				break
			}
		}
		part := strings.Trim(text[:cut], " \t")
		stop := line + len(strings.TrimRight(text[:cut], " \t"))
		switch {
		case part == "":
			breaks++
		case said == "":
			said = part
		case breaks > 0:
			said, breaks = said+strings.Repeat("\n", breaks)+part, 0
		default:
			said += " " + part
		}
		if said == n.Value {
			return stop, nil
		}
		if cut < len(text) || len(said) > len(n.Value) {
			break
		}
		line = d.nextLine(end)
	}
	return 0, errWritten
}

// blockEnd finds the end of a text of several lines after | or >.
func (d *document) blockEnd(at int) (int, error) {
	if d.text[at] != '|' && d.text[at] != '>' {
		return 0, errWritten
	}
	head := string(d.text[at:d.lineEnd(at)])
	head, _, _ = strings.Cut(head, " ")
	if strings.ContainsAny(head, "123456789") {
		return 0, errWritten // the indentation is stated, not seen
	}
	end, indent := d.lineEnd(at), -1
	for line := d.nextLine(at); line < len(d.text); {
		stop := d.lineEnd(line)
		text := string(d.text[line:stop])
		here := len(text) - len(strings.TrimLeft(text, " "))
		blank := strings.TrimSpace(text) == ""
		if indent < 0 && !blank {
			if indent = here; indent == 0 {
				break
			}
		}
		if !blank && here < indent {
			break
		}
		if !blank || strings.Contains(head, "+") {
			end = stop
		}
		line = d.nextLine(stop)
	}
	return end, nil
}

// step gives how far the document's maps are indented within each other.
func (d *document) step() int {
	if d.root == nil || d.root.Kind != yaml.MappingNode {
		return 2
	}
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		v := d.root.Content[i+1]
		if v.Kind == yaml.MappingNode && v.Style&yaml.FlowStyle == 0 && len(v.Content) > 0 {
			if by := v.Content[0].Column - d.root.Content[i].Column; by >= 2 && by <= 8 {
				return by
			}
		}
	}
	return 2
}
