package overlay

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
	"bulwark.dev/bulwark/internal/cluster/inventory/manifest"
)

// inline looks for a patch in the texts of a kustomization, and for JSON 6902
// operations in any file.
func (t *tree) inline(file string, self head, final any, steps fieldpath.Path, want any) (bulwark.Location, bool) {
	root := t.root(file)
	if root == nil {
		return bulwark.Location{}, false
	}
	if root.Kind == yaml.SequenceNode {
		if n := operation(root, steps, want); n != nil {
			return bulwark.Location{File: t.overlay.shown(file), Line: n.Line}, true
		}
		return bulwark.Location{}, false
	}
	for _, key := range []string{"patches", "patchesStrategicMerge", "patchesJson6902"} {
		list := field(root, key)
		if list == nil {
			continue
		}
		for _, e := range list.Content {
			text := e
			if e.Kind == yaml.MappingNode {
				text = field(e, "patch")
			}
			if text == nil || text.Kind != yaml.ScalarNode || !strings.ContainsAny(text.Value, "\n{[") {
				continue
			}
			if line, ok := inText(text, self, final, steps, want); ok {
				return bulwark.Location{File: t.overlay.shown(file), Line: line}, true
			}
		}
	}
	return bulwark.Location{}, false
}

// inText looks into one patch that stands in a kustomization. The line counts
// from that of the text, where it is a block; else it is the text's own.
func inText(text *yaml.Node, self head, final any, steps fieldpath.Path, want any) (int, bool) {
	start := 0
	if text.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		start = 1
	}
	line := func(n int) int {
		if start == 0 {
			return text.Line
		}
		return text.Line + n
	}
	var doc yaml.Node
	if yaml.Unmarshal([]byte(text.Value), &doc) != nil || len(doc.Content) == 0 {
		return 0, false
	}
	if doc.Content[0].Kind == yaml.SequenceNode {
		if n := operation(doc.Content[0], steps, want); n != nil {
			return line(n.Line), true
		}
		return 0, false
	}
	found, _ := manifest.Decode("", []byte(text.Value))
	for _, o := range found {
		if o.Kind != self.Kind {
			continue
		}
		if at, same := sameIn(o, final, steps, want); same {
			return line(o.Locate(at.String()).Line), true
		}
	}
	return 0, false
}

// operation finds the JSON 6902 operation that sets a field or what it is in.
func operation(list *yaml.Node, steps fieldpath.Path, want any) *yaml.Node {
	for _, op := range slices.Backward(list.Content) {
		at, value := field(op, "path"), field(op, "value")
		if at == nil || value == nil {
			continue
		}
		var set any
		if value.Decode(&set) != nil {
			continue
		}
		pointer := strings.Split(strings.TrimPrefix(at.Value, "/"), "/")
		if len(pointer) > len(steps) || !points(pointer, steps) {
			continue
		}
		if got, ok := steps[len(pointer):].Get(plain(set)); ok && reflect.DeepEqual(got, want) {
			return at
		}
	}
	return nil
}

// points reports whether a JSON pointer names the first steps of a path. "-" is
// any element.
func points(pointer []string, steps fieldpath.Path) bool {
	for i, p := range pointer {
		p = strings.NewReplacer("~1", "/", "~0", "~").Replace(p)
		if steps[i].Index >= 0 {
			if p != "-" && (fieldpath.Path{steps[i]}).String() != "["+p+"]" {
				return false
			}
		} else if p != steps[i].Key {
			return false
		}
	}
	return true
}

// plain turns decoded YAML into what decoded JSON would be.
func plain(v any) any {
	text, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var out any
	if json.Unmarshal(text, &out) != nil {
		return nil
	}
	return out
}
