package overlay

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
	"bulwark.dev/bulwark/internal/cluster/inventory/manifest"
)

// Origin is where an object of a build comes from. A field that has the value of
// the base's file is placed there. One that has another is placed in the patch
// that sets it, if one can be found that does, and else in the kustomization
// whose images, replicas or namespace say so; where nothing is found it is placed
// in the base. What a generator makes is placed at the generator.
type Origin struct {
	tree   *tree
	raw    []byte
	source string // absolute path of the file that it was read from, or generated in
}

// tree is what one build read, shared by its objects.
type tree struct {
	overlay *Overlay
	files   map[string][]byte

	mu      sync.Mutex
	decoded map[string][]*inventory.Object
}

// Overlay gives the build.
func (o *Origin) Overlay() *Overlay { return o.tree.overlay }

// Source gives the path of the file that the object was read from, "" if that is
// not known, and the object as it is there, nil where a generator made it.
func (o *Origin) Source() (path string, object *inventory.Object) {
	if o.source == "" {
		return "", nil
	}
	var self head
	if json.Unmarshal(o.raw, &self) != nil {
		return o.tree.overlay.shown(o.source), nil
	}
	return o.tree.overlay.shown(o.source), o.tree.like(o.source, self)
}

type head struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
}

// Locate gives the place of a field.
func (o *Origin) Locate(path string) bulwark.Location {
	steps, err := fieldpath.Parse(path)
	var final any
	var self head
	if err != nil || json.Unmarshal(o.raw, &final) != nil || json.Unmarshal(o.raw, &self) != nil {
		return o.fallback()
	}
	want, there := steps.Get(final)
	for !there { // what is not there is placed at what it would be in
		steps = steps[:len(steps)-1]
		want, there = steps.Get(final)
	}
	base := o.tree.like(o.source, self)
	if base != nil {
		if at, same := sameIn(base, final, steps, want); same {
			return base.Locate(at.String())
		}
	}
	if loc, ok := o.tree.patched(self, final, steps, want); ok {
		return loc
	}
	if loc, ok := o.tree.declared(steps, want); ok {
		return loc
	}
	if base != nil {
		found, at := o.tree.deepest(base, self, final, steps)
		return found.Locate(at.String())
	}
	if loc, ok := o.tree.generated(o.source, self.Metadata.Name, steps); ok {
		return loc
	}
	return o.fallback()
}

// deepest finds which of the base and the patches goes furthest towards a field
// that several of them make together.
func (t *tree) deepest(base *inventory.Object, self head, final any, steps fieldpath.Path) (*inventory.Object, fieldpath.Path) {
	best := base
	far, _ := sameIn(base, final, steps, nil)
	for _, file := range t.nearest() {
		for _, o := range t.objects(file) {
			if o.Kind != self.Kind || !strings.Contains(self.Metadata.Name, o.Name) {
				continue
			}
			if at, _ := sameIn(o, final, steps, nil); len(at) > len(far) {
				best, far = o, at
			}
		}
	}
	return best, far
}

// fallback is the file alone, or the kustomization.
func (o *Origin) fallback() bulwark.Location {
	if o.source == "" {
		return bulwark.Location{File: o.tree.overlay.Kustomization(), Line: 1}
	}
	return bulwark.Location{File: o.tree.overlay.shown(o.source), Line: 1}
}

// objects decodes a file that was read, once.
func (t *tree) objects(file string) []*inventory.Object {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found, ok := t.decoded[file]; ok {
		return found
	}
	found, _ := manifest.Decode(t.overlay.shown(file), t.files[file])
	if t.decoded == nil {
		t.decoded = map[string][]*inventory.Object{}
	}
	t.decoded[file] = found
	return found
}

// like finds in a file the object that became self: one of its kind, of its name
// or of the longest name within it, since prefixes, suffixes and hashes are added.
func (t *tree) like(file string, self head) *inventory.Object {
	var best *inventory.Object
	only := 0
	for _, o := range t.objects(file) {
		if o.Kind != self.Kind {
			continue
		}
		only++
		switch {
		case o.Name == self.Metadata.Name && o.APIVersion == self.APIVersion:
			return o
		case strings.Contains(self.Metadata.Name, o.Name) && (best == nil || len(o.Name) > len(best.Name)):
			best = o
		}
	}
	if best == nil && only == 1 {
		for _, o := range t.objects(file) {
			if o.Kind == self.Kind {
				best = o
			}
		}
	}
	return best
}

// sameIn turns the path of a field of the built object into that of the same
// field of another, where list elements that have names are found by these, and
// says whether the value is the same there.
func sameIn(other *inventory.Object, final any, steps fieldpath.Path, want any) (fieldpath.Path, bool) {
	var there any
	if json.Unmarshal(other.Raw(), &there) != nil {
		return nil, false
	}
	return follow(there, final, steps, want)
}

func follow(there, final any, steps fieldpath.Path, want any) (fieldpath.Path, bool) {
	var out fieldpath.Path
	for _, s := range steps {
		if s.Index >= 0 {
			list, _ := there.([]any)
			finals, _ := final.([]any)
			s.Index = sameElement(list, finals, s.Index)
			if s.Index < 0 {
				return out, false
			}
		}
		next, ok := (fieldpath.Path{s}).Get(there)
		if !ok {
			return out, false
		}
		out = append(out, s)
		there = next
		if final, ok = (fieldpath.Path{steps[len(out)-1]}).Get(final); !ok {
			return out, false
		}
	}
	return out, reflect.DeepEqual(there, want)
}

// sameElement finds the element of list that is element i of finals, by name
// where it has one.
func sameElement(list, finals []any, i int) int {
	if i >= len(finals) {
		return -1
	}
	element, _ := finals[i].(map[string]any)
	for _, key := range []string{"name", "containerPort", "port", "mountPath"} {
		if element[key] == nil {
			continue
		}
		for k, e := range list {
			if e, ok := e.(map[string]any); ok && reflect.DeepEqual(e[key], element[key]) {
				return k
			}
		}
		if key == "name" {
			return -1
		}
	}
	if i < len(list) {
		return i
	}
	return -1
}

// patched finds the patch that gives a field its value: a file of the same kind
// that was read, or one within a kustomization. The files nearest to the overlay
// come first, since they are laid on last.
func (t *tree) patched(self head, final any, steps fieldpath.Path, want any) (bulwark.Location, bool) {
	for _, file := range t.nearest() {
		for _, o := range t.objects(file) {
			if o.Kind != self.Kind || !(strings.Contains(self.Metadata.Name, o.Name) || o.Name == "") {
				continue
			}
			if at, same := sameIn(o, final, steps, want); same {
				return o.Locate(at.String()), true
			}
		}
		if loc, ok := t.inline(file, self, final, steps, want); ok {
			return loc, true
		}
	}
	return bulwark.Location{}, false
}

// nearest lists the files that were read, those of the built folder first and
// then by how far away they are.
func (t *tree) nearest() []string {
	files := make([]string, 0, len(t.files))
	for f := range t.files {
		files = append(files, f)
	}
	away := func(f string) int {
		rel, err := filepath.Rel(t.overlay.abs, f)
		if err != nil {
			return 1000
		}
		return strings.Count(rel, "..")*100 + strings.Count(rel, string(filepath.Separator))
	}
	slices.SortFunc(files, func(a, b string) int {
		if d := away(a) - away(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return files
}

// inline looks for a patch in the texts of a kustomization, and for JSON 6902
// operations in any file.
func (t *tree) inline(file string, self head, final any, steps fieldpath.Path, want any) (bulwark.Location, bool) {
	var doc yaml.Node
	if yaml.Unmarshal(t.files[file], &doc) != nil || len(doc.Content) == 0 {
		return bulwark.Location{}, false
	}
	root := doc.Content[0]
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

func field(n *yaml.Node, key string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}
