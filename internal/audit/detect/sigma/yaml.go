package sigma

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// The bounds of a file. The largest published rules have some hundred nodes; the
// catalog's have their sample events inside.
const (
	maxFile      = 1 << 20
	maxDocuments = 500
	maxNodes     = 100_000
	maxDepth     = 60
)

// Documents reads the YAML documents of a file as trees without aliases, in which no
// mapping has a key twice and every key is a text.
func Documents(file string, text []byte) ([]*yaml.Node, error) {
	if len(text) > maxFile {
		return nil, at(file, 1, "the file has %d bytes: at most %d are read", len(text), maxFile)
	}
	var out []*yaml.Node
	p := plainer{file: file, left: maxNodes}
	for dec := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var doc yaml.Node
		switch err := dec.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", file, err)
		case len(doc.Content) == 0:
			continue
		case len(out) == maxDocuments:
			return nil, at(file, doc.Line, "more than %d documents", maxDocuments)
		}
		n, err := p.plain(doc.Content[0], 0)
		if err != nil {
			return nil, err
		}
		if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
			continue // nothing between two lines of ---
		}
		out = append(out, n)
	}
}

// plainer copies trees; what it copies in all is bounded, so that an alias of an alias
// of an alias cannot grow.
type plainer struct {
	file string
	left int
}

func (p *plainer) plain(n *yaml.Node, depth int) (*yaml.Node, error) {
	if p.left--; p.left < 0 {
		return nil, at(p.file, n.Line, "the file has more than %d values, aliases counted as what they stand for", maxNodes)
	}
	if depth > maxDepth {
		return nil, at(p.file, n.Line, "values are nested deeper than %d", maxDepth)
	}
	if n.Kind == yaml.AliasNode {
		return p.plain(n.Alias, depth+1)
	}
	switch tag := n.ShortTag(); tag {
	case "!!map", "!!seq", "!!str", "!!int", "!!float", "!!bool", "!!null", "!!timestamp":
	case "!!merge":
		return nil, at(p.file, n.Line, "merge keys (<<) are not read: write the values out")
	default:
		return nil, at(p.file, n.Line, "the tag %s is not read: use plain values", tag)
	}
	out := &yaml.Node{Kind: n.Kind, Style: n.Style, Tag: n.Tag, Value: n.Value, Line: n.Line, Column: n.Column}
	seen := map[string]bool{}
	for i, c := range n.Content {
		c, err := p.plain(c, depth+1)
		if err != nil {
			return nil, err
		}
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if c.Kind != yaml.ScalarNode {
				return nil, at(p.file, c.Line, "a key must be a text")
			}
			if seen[c.Value] {
				return nil, at(p.file, c.Line, "the key %q stands here twice", c.Value)
			}
			seen[c.Value] = true
		}
		out.Content = append(out.Content, c)
	}
	return out, nil
}

// each calls fn with the keys and values of a mapping.
func each(n *yaml.Node, fn func(key, value *yaml.Node)) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		fn(n.Content[i], n.Content[i+1])
	}
}

// get gives the value of a key, or nil.
func get(n *yaml.Node, key string) *yaml.Node {
	var out *yaml.Node
	each(n, func(k, v *yaml.Node) {
		if k.Value == key {
			out = v
		}
	})
	return out
}

// merged is base with over laid on it: mappings key by key, all else replaced.
func merged(base, over *yaml.Node) *yaml.Node {
	if base == nil || base.Kind != yaml.MappingNode || over.Kind != yaml.MappingNode {
		return over
	}
	out := *over
	out.Content = nil
	each(base, func(k, v *yaml.Node) {
		if o := get(over, k.Value); o != nil {
			v = merged(v, o)
		}
		out.Content = append(out.Content, k, v)
	})
	each(over, func(k, v *yaml.Node) {
		if get(base, k.Value) == nil {
			out.Content = append(out.Content, k, v)
		}
	})
	return &out
}

// without is a mapping without a key.
func without(n *yaml.Node, key string) *yaml.Node {
	out := *n
	out.Content = nil
	each(n, func(k, v *yaml.Node) {
		if k.Value != key {
			out.Content = append(out.Content, k, v)
		}
	})
	return &out
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// reader reads parts of one document and gathers what is wrong.
type reader struct {
	file string
	errs []error
}

func (r *reader) fail(n *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, at(r.file, n.Line, format, args...))
}

// text reads one text; a number or a date is its text as written.
func (r *reader) text(n *yaml.Node, what string) string {
	if n.Kind != yaml.ScalarNode || isNull(n) {
		r.fail(n, "%s: expected a text", what)
		return ""
	}
	return strings.TrimSpace(n.Value)
}

// texts reads a list of texts, or one text.
func (r *reader) texts(n *yaml.Node, what string) []string {
	if isNull(n) {
		return nil
	}
	if n.Kind == yaml.ScalarNode {
		return []string{r.text(n, what)}
	}
	if n.Kind != yaml.SequenceNode {
		r.fail(n, "%s: expected a list of texts", what)
		return nil
	}
	var out []string
	for _, c := range n.Content {
		out = append(out, r.text(c, what))
	}
	return out
}

func (r *reader) bool(n *yaml.Node, what string) bool {
	var out bool
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" || n.Decode(&out) != nil {
		r.fail(n, "%s: expected true or false", what)
	}
	return out
}
