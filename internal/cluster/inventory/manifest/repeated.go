package manifest

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// repeated finds keys that a mapping has twice. kubectl sends the last of them,
// and so it is the last that is judged; a reader of the file may well take the
// first for what counts. A key of its own beside a merged one is none of them.
func (d *document) repeated() []inventory.Problem {
	root, err := d.root()
	if err != nil || root == nil {
		return nil
	}
	var out []inventory.Problem
	walk(root, func(n *yaml.Node) {
		seen := map[string]int{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
				continue
			}
			if first, ok := seen[key.Value]; ok {
				out = append(out, inventory.Problem{Location: d.at(key.Line, key.Column), What: tidy(fmt.Sprintf(
					"repeats the key %q of line %d; the last one counts", key.Value, d.line+first,
				))})
			}
			seen[key.Value] = key.Line
		}
	})
	return out
}

// walk calls f with the mappings that are written in n, not behind aliases.
func walk(n *yaml.Node, f func(*yaml.Node)) {
	if n.Kind == yaml.MappingNode {
		f(n)
	}
	for _, c := range n.Content {
		walk(c, f)
	}
}
