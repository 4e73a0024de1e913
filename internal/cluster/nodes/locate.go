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

// merged is Entry that also looks into what the mapping merges ("<<").
func merged(n *yaml.Node, name string, depth int) (key, value *yaml.Node) {
	if key, value = Entry(n, name); key != nil || depth > MaxDepth {
		return key, value
	}
	n = Follow(n)
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Tag != "!!merge" {
			continue
		}
		from := Follow(n.Content[i+1])
		if from == nil || from.Kind != yaml.SequenceNode {
			return merged(from, name, depth+1)
		}
		for _, m := range from.Content {
			if key, value = merged(m, name, depth+1); key != nil {
				return key, value
			}
		}
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
		key, value := merged(n, step, 0)
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
