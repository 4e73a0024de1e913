package cluster

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// follow gives the node behind an alias.
func follow(n *yaml.Node) *yaml.Node {
	for i := 0; n != nil && n.Kind == yaml.AliasNode && i < maxDepth; i++ {
		n = n.Alias
	}
	return n
}

// entry gives the key and value nodes of a field, or nils.
func entry(n *yaml.Node, name string) (key, value *yaml.Node) {
	n = follow(n)
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

func child(n *yaml.Node, name string) *yaml.Node {
	_, v := entry(n, name)
	return follow(v)
}

func scalarText(n *yaml.Node) string {
	if n = follow(n); n != nil && n.Kind == yaml.ScalarNode {
		return n.Value
	}
	return ""
}

// locate gives the line of a field of the object at root, or the line of the
// nearest field around it that is written: a default, or a field that is
// missing, has no line of its own.
func locate(root *yaml.Node, path string) int {
	n, line := follow(root), root.Line
	for path != "" && n != nil {
		var step string
		step, path = cutStep(path)
		if index, ok := strings.CutPrefix(step, "["); ok {
			index = strings.TrimSuffix(index, "]")
			if i, err := strconv.Atoi(index); err == nil && n.Kind == yaml.SequenceNode {
				if i < 0 || i >= len(n.Content) {
					return line
				}
				line = n.Content[i].Line
				n = follow(n.Content[i])
				continue
			}
			step = index
		}
		key, value := entry(n, step)
		if key == nil {
			return line
		}
		line, n = key.Line, follow(value)
	}
	return line
}

// cutStep cuts the first step off a field path: "name" or "[key]".
func cutStep(path string) (step, rest string) {
	path = strings.TrimPrefix(path, ".")
	if strings.HasPrefix(path, "[") {
		if end := strings.IndexByte(path, ']'); end >= 0 {
			return path[:end+1], path[end+1:]
		}
		return path, ""
	}
	if end := strings.IndexAny(path, ".["); end >= 0 {
		return path[:end], path[end:]
	}
	return path, ""
}
