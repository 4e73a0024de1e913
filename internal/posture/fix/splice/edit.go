package splice

import (
	"errors"
	"strings"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
)

// spot is a node and what is around it.
type spot struct {
	node *yaml.Node
	// key is the node's key, nil for list elements and the root.
	key *yaml.Node
	// parent is the map or list around, nil for the root; index is where in its
	// Content the node is.
	parent *yaml.Node
	index  int
	// flow says that the node stands within braces.
	flow bool
	up   *spot
}

// apply notes the splices for one edit.
func (d *document) apply(e Edit) error {
	if d.root == nil {
		return d.first(e)
	}
	at := &spot{node: d.root}
	for i, s := range e.Path {
		if at.node.Kind == yaml.AliasNode {
			return errors.New("it comes from an alias, so a change there would be one elsewhere too")
		}
		if d.shared[at.node] {
			return ErrShared
		}
		next, err := d.child(at, s)
		if err != nil {
			return err
		}
		if next == nil {
			if e.Remove {
				return nil
			}
			return d.add(at, s, e.Path[i+1:], e)
		}
		at = next
	}
	if e.Remove {
		return d.remove(at)
	}
	return d.set(at, e.Value)
}

// child gives a field or an element, nil if there is none.
func (d *document) child(at *spot, s fieldpath.Step) (*spot, error) {
	n := at.node
	flow := at.flow || n.Style&yaml.FlowStyle != 0
	switch {
	case n.Kind == yaml.SequenceNode && s.Index >= 0:
		if s.Index >= len(n.Content) {
			return nil, nil //nolint:nilnil // not there
		}
		return &spot{node: n.Content[s.Index], parent: n, index: s.Index, flow: flow, up: at}, nil
	case n.Kind == yaml.MappingNode && s.Index < 0:
		merged := false
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Kind == yaml.ScalarNode && n.Content[i].Value == s.Key {
				return &spot{node: n.Content[i+1], key: n.Content[i], parent: n, index: i + 1, flow: flow, up: at}, nil
			}
			merged = merged || n.Content[i].Tag == "!!merge"
		}
		if merged {
			return nil, errors.New("a merge key (<<) stands beside it")
		}
		return nil, nil //nolint:nilnil // not there
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return nil, nil //nolint:nilnil // not there
	}
	return nil, errWritten
}

// first writes into a document that has nothing but comments.
func (d *document) first(e Edit) error {
	value, err := missing(e.Path, e)
	if err != nil {
		return err
	}
	text, err := block(value, 0, d.step())
	if err != nil {
		return err
	}
	lead := ""
	if len(d.text) > 0 && d.text[len(d.text)-1] != '\n' {
		lead = "\n"
	}
	d.replace(len(d.text), len(d.text), lead+text+"\n")
	return nil
}

// add makes a field or element that is not there, in the map or list at.
func (d *document) add(at *spot, s fieldpath.Step, rest fieldpath.Path, e Edit) error {
	value, err := missing(rest, e)
	if err != nil {
		return err
	}
	n := at.node
	switch {
	case n.Kind == yaml.ScalarNode: // null
		made, err := missing(append(fieldpath.Path{s}, rest...), e)
		if err != nil {
			return err
		}
		return d.set(at, made)
	case n.Style&yaml.FlowStyle != 0 || len(n.Content) == 0:
		return d.addFlow(at, s, value)
	}
	end, err := d.end(n, at.flow)
	if err != nil {
		return err
	}
	if err := d.onlyComment(end); err != nil {
		return err
	}
	// A block text ends at its own line end; others have the rest of theirs.
	end = d.lineEnd(end)
	first, err := d.start(n.Content[0])
	if err != nil {
		return err
	}
	var text string
	if n.Kind == yaml.MappingNode {
		indent := n.Content[0].Column - 1
		text, err = entry(s.Key, value, indent, d.step(), d.quotes(n))
		text = strings.Repeat(" ", indent) + text
	} else {
		indent := n.Column - 1
		if dash, err := d.start(n); err != nil || d.text[dash] != '-' || first <= dash {
			return errWritten
		}
		text, err = block(value, indent+2, d.step())
		text = strings.Repeat(" ", indent) + "- " + text
	}
	if err != nil {
		return err
	}
	d.replace(end, end, "\n"+text)
	return nil
}

// onlyComment reports an error if anything but a comment follows on the line.
func (d *document) onlyComment(at int) error {
	rest := strings.TrimSpace(string(d.text[at:d.lineEnd(at)]))
	if rest != "" && !strings.HasPrefix(rest, "#") {
		return errWritten
	}
	return nil
}

// quotes reports whether the keys of a map are in double quotes, as in JSON.
func (d *document) quotes(n *yaml.Node) bool {
	return len(n.Content) > 0 && n.Content[0].Style&yaml.DoubleQuotedStyle != 0
}

// addFlow adds to a map or list in braces.
func (d *document) addFlow(at *spot, s fieldpath.Step, value any) error {
	n := at.node
	begin, err := d.start(n)
	if err != nil {
		return err
	}
	begin = d.properties(begin)
	end, err := d.end(n, at.flow)
	if err != nil {
		return err
	}
	quoted := d.json(at)
	text, err := flow(value, quoted)
	if err != nil {
		return err
	}
	if n.Kind == yaml.MappingNode {
		text = flowKey(s.Key, quoted) + ": " + text
	}
	if len(n.Content) == 0 {
		if strings.TrimSpace(string(d.text[begin+1:end-1])) != "" {
			return errors.New("a comment stands in the empty braces")
		}
		d.replace(begin+1, end-1, text)
		return nil
	}
	last := n.Content[len(n.Content)-1]
	if empty(last) {
		return errWritten
	}
	stop, err := d.end(last, true)
	if err != nil {
		return err
	}
	first := n.Content[0]
	sep := " "
	if first.Line != n.Line { // one line each
		from, err := d.start(first)
		if err != nil {
			return err
		}
		sep = "\n" + string(d.text[d.lineStart(from):from])
		if strings.TrimSpace(sep) != "" {
			return errWritten
		}
	}
	comma := ","
	if next := d.gap(stop); strings.Contains(withoutComments(string(d.text[stop:next])), ",") {
		// A comma is there already; what is added goes after it.
		stop += strings.IndexByte(string(d.text[stop:]), ',') + 1
		comma = ""
	}
	d.replace(stop, stop, comma+sep+text)
	return nil
}

func withoutComments(text string) string {
	before, _, _ := strings.Cut(text, "#")
	return before
}

// json reports whether keys must be quoted at a spot: in JSON, or where the
// nearest map with keys does so.
func (d *document) json(at *spot) bool {
	for ; at != nil; at = at.up {
		if at.node.Kind == yaml.MappingNode && len(at.node.Content) > 0 {
			return d.quotes(at.node)
		}
	}
	return false
}

// set replaces the value at a spot.
func (d *document) set(at *spot, value any) error {
	n := at.node
	if n.Anchor != "" && d.shared[n] {
		return ErrShared
	}
	isBlock := (n.Kind == yaml.MappingNode || n.Kind == yaml.SequenceNode) && n.Style&yaml.FlowStyle == 0
	switch {
	case at.flow:
		return d.setFlow(at, value)
	case isBlock:
		return d.setBlock(at, value)
	}
	_, isMap := value.(map[string]any)
	list, isList := value.([]any)
	if at.key == nil || !isMap && !isList || small(value) || n.Style&yaml.FlowStyle != 0 && n.Kind != yaml.ScalarNode {
		if empty(n) {
			return d.setEmpty(at, value)
		}
		return d.setFlow(at, value)
	}
	// A map or list where there was a single value: it goes on lines of its own.
	colon, err := d.colon(at.key, false)
	if err != nil {
		return err
	}
	end := colon
	if !empty(n) {
		if end, err = d.end(n, false); err != nil {
			return err
		}
	}
	if err := d.onlyComment(end); err != nil {
		return err
	}
	indent := at.key.Column - 1 + d.step()
	if isList && len(list) > 0 {
		indent = at.key.Column - 1
	}
	text, err := block(value, indent, d.step())
	if err != nil {
		return err
	}
	if end > colon {
		d.replace(colon, end, "")
	}
	stop := d.lineEnd(end)
	d.replace(stop, stop, "\n"+strings.Repeat(" ", indent)+text)
	return nil
}

// setEmpty writes a small value where a key has none, or an element.
func (d *document) setEmpty(at *spot, value any) error {
	if at.key == nil {
		return errWritten
	}
	text, err := flow(value, d.json(at))
	if err != nil {
		return err
	}
	colon, err := d.colon(at.key, at.flow)
	if err != nil {
		return err
	}
	d.replace(colon, colon, " "+text)
	return nil
}

// setFlow replaces a value by one on the same line.
func (d *document) setFlow(at *spot, value any) error {
	if empty(at.node) {
		return d.setEmpty(at, value)
	}
	from, err := d.start(at.node)
	if err != nil {
		return err
	}
	end, err := d.end(at.node, at.flow)
	if err != nil {
		return err
	}
	if at.node.Kind != yaml.AliasNode && at.node.Anchor == "" {
		// A tag goes with its value, an anchor that nobody uses may stay.
		if d.properties(from) > end {
			return errWritten
		}
	} else if at.node.Kind != yaml.AliasNode {
		from = d.properties(from)
	}
	text, err := flow(value, d.json(at))
	if err != nil {
		return err
	}
	d.replace(from, end, text)
	return nil
}

// setBlock replaces a map or list that stands on lines of its own.
func (d *document) setBlock(at *spot, value any) error {
	n := at.node
	from, err := d.start(n)
	if err != nil {
		return err
	}
	if from = d.properties(from); at.node.Anchor != "" {
		return errWritten
	}
	end, err := d.end(n, false)
	if err != nil {
		return err
	}
	if err := d.onlyComment(end); err != nil {
		return err
	}
	if !small(value) || at.key == nil {
		text, err := block(value, from-d.lineStart(from), d.step())
		if err != nil {
			return err
		}
		d.replace(from, end, text)
		return nil
	}
	text, err := flow(value, false)
	if err != nil {
		return err
	}
	colon, err := d.colon(at.key, false)
	if err != nil {
		return err
	}
	if err := d.onlyComment(colon); err != nil {
		return err
	}
	d.replace(colon, colon, " "+text)
	d.cutLines(from, end)
	return nil
}

// cutLines takes whole lines away, from the one of from to the one of end.
func (d *document) cutLines(from, end int) {
	start, stop := d.lineStart(from), d.nextLine(end)
	if stop == len(d.text) && d.text[stop-1] != '\n' && start > 0 {
		// The last line has no end; then the one before has none either.
		if start--; start > 0 && d.text[start-1] == '\r' {
			start--
		}
	}
	d.replace(start, stop, "")
}
