package splice

import (
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// remove takes a field or an element away.
func (d *document) remove(at *spot) error {
	if at.parent == nil {
		return errors.New("the whole object cannot be removed")
	}
	if at.node.Anchor != "" && d.shared[at.node] || at.key != nil && d.shared[at.key] {
		return ErrShared
	}
	if d.inside(at.node) {
		return ErrShared
	}
	size := len(at.parent.Content)
	if at.key != nil {
		size /= 2
	}
	if at.flow {
		return d.removeFlow(at)
	}
	if size == 1 { // an empty map is not the same as none
		hollow := any(map[string]any{})
		if at.key == nil {
			hollow = []any{}
		}
		return d.set(at.up, hollow)
	}
	first := at.node
	if at.key != nil {
		first = at.key
	}
	from, err := d.start(first)
	if err != nil {
		return err
	}
	var end int
	switch {
	case !empty(at.node):
		end, err = d.end(at.node, false)
	case at.key != nil:
		end, err = d.colon(at.key, false)
	default:
		err = errWritten
	}
	if err != nil {
		return err
	}
	if err := d.onlyComment(end); err != nil {
		return err
	}
	lead := string(d.text[d.lineStart(from):from])
	if at.key == nil { // an element: its dash goes too
		trimmed := strings.TrimRight(lead, " \t")
		if !strings.HasSuffix(trimmed, "-") {
			return errWritten
		}
		lead = strings.TrimSuffix(trimmed, "-")
	}
	if strings.TrimSpace(lead) == "" {
		d.cutLines(from, end)
		return nil
	}
	return d.removeFirst(at, from, end)
}

// removeFirst removes what shares its line with the dash of the element around:
// what comes next takes its place.
func (d *document) removeFirst(at *spot, from, end int) error {
	next := at.index + 1
	if next >= len(at.parent.Content) {
		return errWritten
	}
	to, err := d.start(at.parent.Content[next])
	if err != nil {
		return err
	}
	if at.key == nil { // the dash before it
		for from--; from > 0 && d.text[from] != '-'; from-- {
			continue
		}
		for to--; to > end && d.text[to] != '-'; to-- {
			continue
		}
	}
	if to <= end || strings.TrimSpace(string(d.text[end:to])) != "" {
		return errors.New("a comment stands where it would be cut")
	}
	d.replace(from, to, "")
	return nil
}

// inside reports whether anything below a node is used by an alias elsewhere.
func (d *document) inside(n *yaml.Node) bool {
	return d.shared[n] || slices.ContainsFunc(n.Content, d.inside)
}

// removeFlow removes from braces, with one of the commas around.
func (d *document) removeFlow(at *spot) error {
	n, step := at.parent, 1
	first := at.node
	if at.key != nil {
		first, step = at.key, 2
	}
	from, err := d.start(first)
	if err != nil {
		return err
	}
	begin := at.index - step + 1 // of this entry in Content
	if next := begin + step; next < len(n.Content) {
		to, err := d.start(n.Content[next])
		if err != nil {
			return err
		}
		return d.cutFlow(at, from, to)
	}
	end := from
	switch {
	case !empty(at.node):
		end, err = d.end(at.node, true)
	case at.key != nil:
		end, err = d.colon(at.key, true)
	default:
		err = errWritten
	}
	if err != nil {
		return err
	}
	if begin == 0 {
		open, err := d.start(n)
		if err != nil {
			return err
		}
		stop, err := d.end(n, true)
		if err != nil {
			return err
		}
		open = d.properties(open)
		if strings.ContainsRune(string(d.text[open+1:from])+string(d.text[end:stop]), '#') {
			return errors.New("a comment stands where it would be cut")
		}
		d.replace(open+1, stop-1, "")
		return nil
	}
	before := n.Content[begin-1]
	if empty(before) {
		return errWritten
	}
	prev, err := d.end(before, true)
	if err != nil {
		return err
	}
	if strings.ContainsRune(string(d.text[prev:from]), '#') {
		return errors.New("a comment stands where it would be cut")
	}
	d.replace(prev, end, "")
	return nil
}

// cutFlow cuts one entry and what separates it from the next.
func (d *document) cutFlow(at *spot, from, to int) error {
	end := from
	var err error
	if !empty(at.node) {
		if end, err = d.end(at.node, true); err != nil {
			return err
		}
	}
	if strings.ContainsRune(string(d.text[end:to]), '#') {
		return errors.New("a comment stands where it would be cut")
	}
	d.replace(from, to, "")
	return nil
}
