package overlay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/cluster/nodes"
)

// refusal is why a build is not even tried.
type refusal struct {
	file string
	line int
	what string
}

// Error says why.
func (r *refusal) Error() string { return r.what }

// maxNodes is how many values a file may have once its aliases are written out.
const maxNodes = 1_000_000

// harmless are the fields whose texts are never taken for the address of a file,
// so a URL in them is just a value.
var harmless = map[string]bool{ //nolint:gochecknoglobals // a table
	"annotations": true, "commonAnnotations": true, "commonLabels": true, "images": true, "imageTag": true, "labels": true,
	"literals": true, "metadata": true, "options": true, "patch": true, "target": true, "targets": true, "vars": true,
}

// programs are the fields that make Kustomize run something, or fetch it.
var programs = map[string]string{ //nolint:gochecknoglobals // a table
	"helmCharts": "Helm charts", "helmChartInflationGenerator": "Helm charts", "helmGlobals": "Helm charts",
}

// account begins "user@host:repository", as Kustomize knows it.
var account = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9-]*@`)

// remote reports whether Kustomize could take a text for an address. It may say so
// of more texts than Kustomize does, never of fewer.
func remote(text string) bool {
	text = strings.ToLower(strings.TrimSpace(text))
	for strings.HasPrefix(text, "git::") {
		text = text[len("git::"):]
	}
	for _, prefix := range []string{"http:", "https:", "ssh:", "file:", "git:", "github.com/", "github.com:", "gh:"} {
		if strings.HasPrefix(text, prefix) {
			return true
		}
	}
	return account.MatchString(text)
}

// guard looks at a file before Kustomize does. kust says that it is a
// kustomization; others matter if they configure a built-in plugin.
func guard(path string, text []byte, kust bool, isDir func(string) bool) error {
	g := guarded{path: path, isDir: isDir}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if kust { // another reader may read it all the same
				return &refusal{file: path, line: 1, what: "kustomize cannot build it: " + nodes.Explain(text, err).Error()}
			}
			return nil // Kustomize says what is wrong where it wants YAML
		}
		if nodes.Exceeds(&doc, maxNodes) {
			return &refusal{file: path, line: 1, what: "its aliases make it larger than a million values"}
		}
		if len(doc.Content) == 0 {
			continue
		}
		if kust || builtin(doc.Content[0]) {
			if err := g.value(doc.Content[0], "", 0, kust); err != nil {
				return err
			}
		}
	}
	if !kust {
		return nil
	}
	// Kustomize reads its own file by another library, as JSON. What that makes of it
	// counts, should the two ever differ; where it fails, so does the build.
	converted, err := sigsyaml.YAMLToJSON(text)
	if err != nil {
		return nil //nolint:nilerr // Kustomize says so better
	}
	var value any
	if err := json.Unmarshal(converted, &value); err != nil {
		return &refusal{file: path, line: 1, what: "kustomize cannot build it: it is no JSON value"}
	}
	if err := g.value(asNode(value), "", 0, true); err != nil {
		return err
	}
	return nil
}

// asNode gives a decoded value as a node of the first line.
func asNode(v any) *yaml.Node {
	n := &yaml.Node{Line: 1}
	switch v := v.(type) {
	case map[string]any:
		n.Kind = yaml.MappingNode
		for _, k := range slices.Sorted(maps.Keys(v)) {
			n.Content = append(n.Content, asNode(k), asNode(v[k]))
		}
	case []any:
		n.Kind = yaml.SequenceNode
		for _, e := range v {
			n.Content = append(n.Content, asNode(e))
		}
	default:
		n.Kind, n.Value = yaml.ScalarNode, fmt.Sprint(v)
	}
	return n
}

// meant gives what an alias stands for.
func meant(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// named gives the name of a field, which may be an alias: its own name says
// nothing.
func named(key *yaml.Node) string { return meant(key).Value }

// builtin reports whether something in a document could configure a plugin: in a
// list, or merged into an object, it does too.
func builtin(n *yaml.Node) bool {
	n = meant(n)
	if n.Kind != yaml.MappingNode {
		return slices.ContainsFunc(n.Content, builtin)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		v := meant(n.Content[i+1])
		if named(n.Content[i]) == "apiVersion" && (v.Value == "builtin" || strings.HasSuffix(v.Value, "/builtin")) || builtin(v) {
			return true
		}
	}
	return false
}

type guarded struct {
	path  string
	isDir func(string) bool
}

func (g guarded) refuse(n *yaml.Node, what string) error {
	return &refusal{file: g.path, line: n.Line, what: what}
}

// value looks at everything below n; key is the field that it stands in.
func (g guarded) value(n *yaml.Node, key string, depth int, kust bool) error {
	if depth > 100 {
		return g.refuse(n, "is nested too deep")
	}
	switch n.Kind {
	case yaml.AliasNode:
		return g.value(n.Alias, key, depth+1, kust)
	case yaml.ScalarNode:
		return g.text(n, key, depth, kust)
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			name := named(n.Content[i])
			if what := programs[name]; what != "" && kust {
				return g.refuse(n.Content[i], what+" in a kustomization are not run: render the chart by itself")
			}
			if harmless[name] {
				continue
			}
			if err := g.value(n.Content[i+1], name, depth+1, kust); err != nil {
				return err
			}
		}
	case yaml.SequenceNode, yaml.DocumentNode:
		for _, c := range n.Content {
			if err := g.value(c, key, depth+1, kust); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g guarded) text(n *yaml.Node, key string, depth int, kust bool) error {
	text := n.Value
	plugin := key == "generators" || key == "transformers" || key == "validators"
	if kust && plugin && strings.ContainsAny(text, "\n{") { // the plugin itself, not its file
		dec := yaml.NewDecoder(strings.NewReader(text))
		for {
			var doc yaml.Node
			err := dec.Decode(&doc)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return g.refuse(n, "a plugin that is no YAML")
			}
			if nodes.Exceeds(&doc, maxNodes) {
				return g.refuse(n, "its aliases make it larger than a million values")
			}
			for _, c := range doc.Content {
				if err := g.value(c, "", depth+1, false); err != nil {
					return g.refuse(n, err.Error())
				}
			}
		}
		return nil
	}
	// Files of a generator may be given a name: "name=file".
	_, named, _ := strings.Cut(text, "=")
	if remote(text) || remote(named) {
		return g.refuse(n, fmt.Sprintf("%s is not on this machine, and nothing is fetched: copy it beside the kustomization, or build with `kustomize build` and scan what it prints", shorten(text)))
	}
	// What a folder of plugins holds is known only once it is built, which is too
	// late to look at it.
	if kust && plugin && g.isDir(filepath.Join(filepath.Dir(g.path), text)) {
		return g.refuse(n, shorten(text)+" is a folder, and plugins are read from files only")
	}
	return nil
}

// shorten gives an address without what may be a password in it.
func shorten(text string) string {
	if at := strings.Index(text, "://"); at >= 0 {
		rest := text[at+3:]
		end := len(rest)
		if slash := strings.IndexAny(rest, "/?"); slash >= 0 {
			end = slash
		}
		if user := strings.LastIndexByte(rest[:end], '@'); user >= 0 {
			text = text[:at+3] + rest[user+1:]
		}
	}
	text, _, _ = strings.Cut(text, "?")
	if runes := []rune(text); len(runes) > 200 {
		text = string(runes[:200]) + "…"
	}
	return fmt.Sprintf("%q", text)
}
