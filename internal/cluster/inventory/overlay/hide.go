package overlay

import (
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// quotes are the ways in which Kustomize quotes whole files, patches and
// configurations in its errors.
var quotes = regexp.MustCompile("(?s) with config: `.*`|from \\[.*\\]|has invalid utf8 bytes : .*")

// inNumbers is a line of a file, byte by byte.
var inNumbers = regexp.MustCompile(`\[[0-9 ]+\]`)

// secretive are the fields whose texts may be secret.
var secretive = map[string]bool{ //nolint:gochecknoglobals // a table
	"args": true, "binaryData": true, "command": true, "data": true, "jsonOp": true, "literals": true, "patch": true,
	"patchesStrategicMerge": true, "stringData": true, "value": true,
}

// plainly are fields that say which object is meant.
var plainly = map[string]bool{"apiVersion": true, "kind": true, "name": true, "namespace": true} //nolint:gochecknoglobals // a table

// hide takes out of an error, whose white space is single blanks, what the files
// hold that may be secret.
func (d *disk) hide(text string) string {
	text = inNumbers.ReplaceAllString(quotes.ReplaceAllString(text, " from a text"), "(hidden)")
	found := map[string]bool{}
	for _, file := range d.read {
		secretsOf(file, found)
	}
	var all []string
	for s := range found {
		if len(s) >= 6 && strings.Contains(text, s) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	for _, s := range all {
		text = strings.ReplaceAll(text, s, "(hidden)")
	}
	return text
}

// secretsOf gathers the texts of one file: those of secretive fields, and all lines
// of what is no YAML, as a file of variables may be.
func secretsOf(file []byte, found map[string]bool) {
	dec := yaml.NewDecoder(strings.NewReader(string(file)))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil || (len(doc.Content) > 0 && doc.Content[0].Kind == yaml.ScalarNode) {
			lines(string(file), found)
			return
		}
		for _, n := range doc.Content {
			gather(n, false, 0, found)
		}
	}
}

// A plugin within a kustomization is a text of its own.
func gather(n *yaml.Node, secret bool, depth int, found map[string]bool) {
	if depth > 100 {
		return
	}
	switch n.Kind {
	case yaml.ScalarNode:
		if secret || strings.Contains(n.Value, "\n") {
			lines(n.Value, found)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			gather(n.Content[i+1], secret || secretive[n.Content[i].Value], depth+1, found)
		}
	case yaml.SequenceNode, yaml.DocumentNode:
		for _, c := range n.Content {
			gather(c, secret, depth+1, found)
		}
	case yaml.AliasNode: // what it names is there itself, or secret by this field
		if secret && n.Alias.Kind == yaml.ScalarNode {
			lines(n.Alias.Value, found)
		}
	}
}

// lines takes in a text by its lines, and of "key: value" and "key=value" the
// values.
func lines(text string, found map[string]bool) {
	for line := range strings.Lines(text) {
		line = strings.Join(strings.Fields(line), " ")
		found[line] = true
		for _, mark := range []string{"=", ": "} {
			if key, value, ok := strings.Cut(line, mark); ok && !plainly[strings.TrimLeft(key, "- {")] {
				found[strings.Trim(value, `'"{}[], `)] = true
			}
		}
	}
}
