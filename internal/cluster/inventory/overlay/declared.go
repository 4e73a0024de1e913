package overlay

import (
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
)

// kustomizations gives the kustomization files that were read, the nearest first.
func (t *tree) kustomizations() []string {
	return slices.DeleteFunc(slices.Clone(t.nearest()), func(f string) bool {
		return !slices.Contains(konfig.RecognizedKustomizationFileNames(), filepath.Base(f))
	})
}

// root gives what stands in a YAML file, read once, or nil.
func (t *tree) root(file string) *yaml.Node {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n, ok := t.roots[file]; ok {
		return n
	}
	if t.roots == nil {
		t.roots = map[string]*yaml.Node{}
	}
	var doc yaml.Node
	if yaml.Unmarshal(t.files[file], &doc) == nil && len(doc.Content) > 0 {
		t.roots[file] = doc.Content[0]
	} else {
		t.roots[file] = nil
	}
	return t.roots[file]
}

// declared finds the line of a kustomization that sets a value for many objects:
// images, replicas, namespace, labels and annotations.
func (t *tree) declared(steps fieldpath.Path, want any) (bulwark.Location, bool) {
	if len(steps) == 0 {
		return bulwark.Location{}, false
	}
	last := steps[len(steps)-1].Key
	text, _ := want.(string)
	for _, file := range t.kustomizations() {
		root := t.root(file)
		var at *yaml.Node
		switch {
		case last == "image" && text != "":
			at = image(field(root, "images"), text)
		case last == "replicas":
			for _, e := range contents(field(root, "replicas")) {
				at = field(e, "count")
			}
		case last == "namespace":
			if n := field(root, "namespace"); n != nil && n.Value == text {
				at = n
			}
		case last == "name" && text != "":
			for _, key := range []string{"namePrefix", "nameSuffix"} {
				if n := field(root, key); n != nil && n.Value != "" && strings.Contains(text, n.Value) {
					at = n
				}
			}
		case text != "":
			for _, key := range []string{"commonLabels", "commonAnnotations"} {
				if n := field(field(root, key), last); n != nil && n.Value == text {
					at = n
				}
			}
			for _, e := range contents(field(root, "labels")) {
				if n := field(field(e, "pairs"), last); n != nil && n.Value == text {
					at = n
				}
			}
		}
		if at != nil {
			return bulwark.Location{File: t.overlay.shown(file), Line: at.Line}, true
		}
	}
	return bulwark.Location{}, false
}

// image finds what made an image of an entry of images.
func image(list *yaml.Node, text string) *yaml.Node {
	for _, e := range contents(list) {
		name := field(e, "newName")
		if name == nil {
			name = field(e, "name")
		}
		if name == nil || !strings.HasPrefix(text, name.Value) {
			continue
		}
		for _, key := range []string{"digest", "newTag", "tagSuffix"} {
			if n := field(e, key); n != nil && strings.HasSuffix(text, n.Value) {
				return n
			}
		}
		return name
	}
	return nil
}

// generated finds the generator of a ConfigMap or Secret.
func (t *tree) generated(file, name string, steps fieldpath.Path) (bulwark.Location, bool) {
	root := t.root(file)
	var best *yaml.Node
	length := 0
	for _, key := range []string{"configMapGenerator", "secretGenerator"} {
		for _, e := range contents(field(root, key)) {
			n := field(e, "name")
			if n == nil || !strings.Contains(name, n.Value) || len(n.Value) < length {
				continue
			}
			best, length = n, len(n.Value)
			if len(steps) > 1 {
				for _, literal := range contents(field(e, "literals")) {
					if k, _, _ := strings.Cut(literal.Value, "="); k == steps[1].Key {
						best = literal
					}
				}
			}
		}
	}
	if best == nil {
		return bulwark.Location{}, false
	}
	return bulwark.Location{File: t.overlay.shown(file), Line: best.Line}, true
}

func contents(n *yaml.Node) []*yaml.Node {
	if n == nil {
		return nil
	}
	return n.Content
}
