package chart

import (
	"errors"

	"go.yaml.in/yaml/v3"
)

// maxNodes is how many values one values file may have once its aliases are
// written out.
const maxNodes = 1_000_000

var errBomb = errors.New("aliases make it larger than a million values")

// checkText refuses YAML whose aliases make it grow without end.
func checkText(text []byte) error {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return err
	}
	sizes := map[*yaml.Node]int{}
	if grown(&doc, sizes) > maxNodes {
		return errBomb
	}
	return nil
}

// grown gives how many values a node stands for, or more than maxNodes.
func grown(n *yaml.Node, sizes map[*yaml.Node]int) int {
	if n == nil {
		return 0
	}
	if size, ok := sizes[n]; ok {
		return size
	}
	sizes[n] = maxNodes + 1 // one that holds itself has no end
	total := 1
	if n.Kind == yaml.AliasNode {
		total += grown(n.Alias, sizes)
	}
	for _, c := range n.Content {
		if total += grown(c, sizes); total > maxNodes {
			return maxNodes + 1
		}
	}
	sizes[n] = total
	return total
}
