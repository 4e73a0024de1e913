package nodes

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Follow gives the node behind an alias.
func Follow(n *yaml.Node) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.AliasNode && i < MaxDepth; i++ {
		n = n.Alias
	}
	return n
}

// Entry gives the key and value nodes of a field, or nils. What is written twice
// is the first.
func Entry(n *yaml.Node, name string) (key, value *yaml.Node) {
	n = Follow(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

// Child gives the value of a field, behind aliases, or nil.
func Child(n *yaml.Node, name string) *yaml.Node {
	_, v := Entry(n, name)
	return Follow(v)
}

// Scalar gives the text of a scalar, "" for anything else.
func Scalar(n *yaml.Node) string {
	if n = Follow(n); n != nil && n.Kind == yaml.ScalarNode {
		return n.Value
	}
	return ""
}

// search finds a field that may be in what a mapping merges ("<<").
type search struct {
	name string
	// none are mappings that do not have it: aliases may name one of them very often.
	none map[*yaml.Node]bool
}

// find gives the field that counts to kubectl's reader: the later of two, merged or
// not, but of what one "<<" names the first.
func (s *search) find(n *yaml.Node) (key, value *yaml.Node) {
	n = Follow(n)
	if n == nil || n.Kind != yaml.MappingNode || s.none[n] {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch k := n.Content[i]; {
		case k.Tag == "!!merge":
			if a, b := s.merged(n, n.Content[i+1]); a != nil {
				key, value = a, b
			}
		case k.Value == s.name:
			key, value = k, n.Content[i+1]
		}
	}
	return key, value
}

func (s *search) merged(into, from *yaml.Node) (key, value *yaml.Node) {
	if s.none == nil {
		s.none = map[*yaml.Node]bool{}
	}
	s.none[into] = true // until it is known: it may merge itself
	defer delete(s.none, into)
	all := []*yaml.Node{from}
	if of := Follow(from); of != nil && of.Kind == yaml.SequenceNode {
		all = of.Content
	}
	for _, m := range all {
		if key, value = s.find(m); key != nil {
			return key, value
		}
		s.none[Follow(m)] = true
	}
	return nil, nil
}

// Locate gives the place of a field of the object at root, or that of the nearest
// field around it that is written: a default, or a field that is missing, has no
// place of its own. A path is as "spec.ports[0].name" or, for a key that is no
// plain name, as metadata.labels["a.b/c"] or metadata.labels[a.b/c].
func Locate(root *yaml.Node, path string) (line, column int) {
	n, at := Follow(root), root
	for path != "" && n != nil {
		var step string
		var indexed bool
		step, indexed, path = CutStep(path)
		if indexed && n.Kind == yaml.SequenceNode {
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(n.Content) {
				break
			}
			at = n.Content[i]
			n = Follow(at)
			continue
		}
		key, value := (&search{name: step}).find(n)
		if key == nil {
			break
		}
		at, n = key, Follow(value)
	}
	return at.Line, at.Column
}

// Line gives the line of Locate.
func Line(root *yaml.Node, path string) int {
	line, _ := Locate(root, path)
	return line
}

// CutStep cuts the first step off a field path: a name, or what is in brackets.
func CutStep(path string) (step string, indexed bool, rest string) {
	path = strings.TrimPrefix(path, ".")
	if inside, ok := strings.CutPrefix(path, "["); ok {
		if quoted, err := strconv.QuotedPrefix(inside); err == nil {
			if key, err := strconv.Unquote(quoted); err == nil {
				return key, false, strings.TrimPrefix(inside[len(quoted):], "]")
			}
		}
		step, rest, _ = strings.Cut(inside, "]")
		return step, true, rest
	}
	if end := strings.IndexAny(path, ".["); end >= 0 {
		return path[:end], false, path[end:]
	}
	return path, false, ""
}
