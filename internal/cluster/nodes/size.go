package nodes

import "go.yaml.in/yaml/v3"

// Exceeds reports whether a node stands for more than most values once its aliases
// are written out ("billion laughs"). One that holds itself always does.
func Exceeds(n *yaml.Node, most int) bool { return size(n, most, map[*yaml.Node]int{}) > most }

func size(n *yaml.Node, most int, known map[*yaml.Node]int) int {
	if n == nil {
		return 0
	}
	if have, ok := known[n]; ok {
		return have
	}
	known[n] = most + 1 // one that holds itself has no end
	total := 1
	if n.Kind == yaml.AliasNode {
		total += size(n.Alias, most, known)
	}
	for _, c := range n.Content {
		if total += size(c, most, known); total > most {
			return most + 1
		}
	}
	known[n] = total
	return total
}
