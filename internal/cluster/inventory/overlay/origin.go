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

	once    sync.Once
	mu      sync.Mutex
	decoded map[string][]*inventory.Object
	roots   map[string]*yaml.Node // nil for what is no YAML
	sorted  []string
	kinds   map[string][]*inventory.Object // of all files, the nearest first
	inlines []string                       // files that may hold patches in them
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
	for _, o := range t.ofKind(self.Kind) {
		if !strings.Contains(self.Metadata.Name, o.Name) {
			continue
		}
		if at, _ := sameIn(o, final, steps, nil); len(at) > len(far) {
			best, far = o, at
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

// ofKind gives the objects of a kind of all files that were read, patches too, the
// nearest first.
func (t *tree) ofKind(kind string) []*inventory.Object {
	t.once.Do(func() {
		t.kinds = map[string][]*inventory.Object{}
		for _, file := range t.nearest() {
			for _, o := range t.objects(file) {
				t.kinds[o.Kind] = append(t.kinds[o.Kind], o)
			}
			if root := t.root(file); root != nil && (root.Kind == yaml.SequenceNode || field(root, "patches") != nil ||
				field(root, "patchesStrategicMerge") != nil || field(root, "patchesJson6902") != nil) {
				t.inlines = append(t.inlines, file)
			}
		}
	})
	return t.kinds[kind]
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
	for _, o := range t.ofKind(self.Kind) {
		if !strings.Contains(self.Metadata.Name, o.Name) {
			continue
		}
		if at, same := sameIn(o, final, steps, want); same {
			return o.Locate(at.String()), true
		}
	}
	for _, file := range t.inlines {
		if loc, ok := t.inline(file, self, final, steps, want); ok {
			return loc, true
		}
	}
	return bulwark.Location{}, false
}

// nearest lists the files that were read, those of the built folder first and
// then by how far away they are.
func (t *tree) nearest() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sorted != nil {
		return t.sorted
	}
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
	t.sorted = files
	return files
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
