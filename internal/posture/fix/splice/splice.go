// Package splice changes fields of YAML and JSON text where they stand. Whatever
// is not the field itself stays byte for byte: comments, order, indentation,
// quotes, line ends. After each change the text is read again, and unless exactly
// the wanted fields differ it is an error and nothing is changed.
package splice

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
	"bulwark.dev/bulwark/internal/cluster/nodes"
)

// Edit is one change. With Remove the field, or the element of a list, is taken
// away; one that is not there already is no error. Parents that are missing are
// made. An index that is the length of a list adds an element.
type Edit struct {
	Path   fieldpath.Path
	Value  any
	Remove bool
}

// maxText is the longest document that is changed, maxNodes how many values it may
// have once its aliases are written out.
const (
	maxText  = 16 << 20
	maxNodes = 1_000_000
)

// ErrShared says that a field stands in a part of the text that an alias uses
// elsewhere too, so that a change here would be one there.
var ErrShared = errors.New("it stands in an anchor that is used elsewhere too")

// Apply gives the text of one document with the edits applied in order. text is
// one document, with its "---" line if it has one, as Documents gives them.
func Apply(text []byte, edits []Edit) ([]byte, error) {
	for _, e := range edits {
		next, err := one(text, e)
		if err != nil {
			return nil, fmt.Errorf("change %s: %w", e.Path, err)
		}
		text = next
	}
	return text, nil
}

func one(text []byte, e Edit) ([]byte, error) {
	d, err := open(text)
	if err != nil {
		return nil, err
	}
	before, err := d.content()
	if err != nil {
		return nil, err
	}
	want, err := d.note(before, e)
	if errors.Is(err, ErrSame) {
		return text, nil
	}
	if err != nil {
		return nil, err
	}
	out := d.joined()
	if err := proven(out, want); err != nil {
		return nil, err
	}
	return out, nil
}

// proven reads the text again and compares it with what it should be.
func proven(text []byte, want any) error {
	d, err := open(text)
	if err != nil {
		return fmt.Errorf("the changed text cannot be read: %w", err)
	}
	if d.root == nil { // which is not the same as an empty object
		return errors.New("nothing would be left")
	}
	got, err := d.content()
	if err != nil {
		return fmt.Errorf("the changed text cannot be read: %w", err)
	}
	if !reflect.DeepEqual(got, want) {
		return errors.New("the way it is written does not allow to change it alone")
	}
	return nil
}

// Documents cuts text at its document markers. Joined again they are the text.
func Documents(text []byte) [][]byte {
	var out [][]byte
	start, seen := 0, false // seen: something of this document was there
	for at := 0; at < len(text); {
		end := len(text)
		if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		line := text[at:end]
		switch {
		case marker(line, "---"):
			if seen {
				out = append(out, text[start:at])
				start = at
			}
			seen = true
		case marker(line, "..."):
			out = append(out, text[start:end])
			start, seen = end, false
		case len(bytes.TrimSpace(line)) > 0 && !bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")):
			seen = true
		}
		at = end
	}
	if start < len(text) {
		out = append(out, text[start:])
	}
	return out
}

func marker(line []byte, mark string) bool {
	return bytes.HasPrefix(line, []byte(mark)) && (len(line) == 3 || strings.IndexByte(" \t\r\n", line[3]) >= 0)
}

// document is one document and the splices that are to be made in it.
type document struct {
	text    []byte
	lines   []int // offset of each line
	root    *yaml.Node
	shared  map[*yaml.Node]bool // anchors that an alias uses
	eol     string
	splices []change
}

type change struct {
	from, to int
	text     string
}

// open reads a document, without changing it.
func open(text []byte) (*document, error) {
	switch {
	case len(text) > maxText:
		return nil, fmt.Errorf("the document is larger than %d MiB", maxText>>20)
	case !utf8.Valid(text):
		return nil, errors.New("the document is no UTF-8 text")
	case bytes.ContainsAny(text, "\u0085\u2028\u2029"), strings.Contains(strings.ReplaceAll(string(text), "\r\n", ""), "\r"):
		return nil, errors.New("the document has line ends that are neither LF nor CRLF")
	case bytes.Contains(text, []byte("\ufeff")):
		return nil, errors.New("the document has a byte order mark")
	}
	d := &document{text: text, lines: []int{0}, shared: map[*yaml.Node]bool{}, eol: "\n"}
	for i, c := range text {
		if c == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}
	if bytes.Contains(text, []byte("\r\n")) {
		d.eol = "\r\n"
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); err != nil && len(doc.Content) == 0 {
		if errors.Is(err, io.EOF) { // nothing but comments
			return d, nil
		}
		return nil, err
	}
	if err := dec.Decode(&more); err == nil {
		return nil, errors.New("more than one document")
	} else if !errors.Is(err, io.EOF) {
		return nil, err // what follows the document is none, and none of it
	}
	if len(doc.Content) != 1 {
		return nil, errors.New("not one document")
	}
	d.root = doc.Content[0]
	if nodes.Exceeds(d.root, maxNodes) {
		return nil, errors.New("its aliases make it larger than a million values")
	}
	d.anchors(d.root, 0)
	return d, nil
}

func (d *document) anchors(n *yaml.Node, depth int) {
	if n.Kind == yaml.AliasNode {
		d.shared[n.Alias] = true
		return
	}
	for _, c := range n.Content {
		d.anchors(c, depth+1)
	}
}

// content gives the values, as decoded JSON.
func (d *document) content() (any, error) {
	if d.root == nil {
		return map[string]any{}, nil
	}
	var v any
	if err := d.root.Decode(&v); err != nil {
		return nil, err
	}
	return Normal(v)
}

// joined gives the text with the splices made, the last one first.
func (d *document) joined() []byte {
	out := d.text
	for _, s := range slices.Backward(d.splices) {
		next := make([]byte, 0, len(out)+len(s.text))
		next = append(next, out[:s.from]...)
		next = append(next, s.text...)
		out = append(next, out[s.to:]...)
	}
	return out
}

// replace notes a splice. Splices are noted in the order of the text.
func (d *document) replace(from, to int, text string) {
	if d.eol != "\n" {
		text = strings.ReplaceAll(text, "\n", d.eol)
	}
	d.splices = append(d.splices, change{from, to, text})
}
