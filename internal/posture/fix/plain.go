package fix

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/chart"
	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
	"bulwark.dev/bulwark/internal/cluster/inventory/manifest"
	"bulwark.dev/bulwark/internal/cluster/inventory/overlay"
	"bulwark.dev/bulwark/internal/posture/fix/splice"
)

// maxFile is the longest file that is changed.
const maxFile = 64 << 20

// read reads a file that is to be changed.
func read(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // G304: a file that the scan read
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d MiB", path, maxFile>>20)
	}
	return text, nil
}

// spot is where an object stands in a file.
type spot struct {
	doc  int
	path fieldpath.Path
	line int
	head
}

type head struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name         string `yaml:"name"`
		GenerateName string `yaml:"generateName"`
		Namespace    string `yaml:"namespace"`
	} `yaml:"metadata"`
}

// spots finds the objects of a file, those in lists too.
func spots(docs [][]byte) []spot {
	var out []spot
	line := 0
	for i, text := range docs {
		var doc yaml.Node
		if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&doc); err == nil && len(doc.Content) == 1 {
			out = inside(out, spot{doc: i, line: line}, doc.Content[0], head{}, 0)
		}
		line += bytes.Count(text, []byte("\n"))
	}
	return out
}

func inside(out []spot, at spot, n *yaml.Node, implied head, depth int) []spot {
	if n.Kind != yaml.MappingNode || depth > 5 {
		return out
	}
	here := at
	here.head = implied
	here.line += n.Line
	if n.Decode(&here.head) != nil {
		return out
	}
	var items *yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "items" && n.Content[i+1].Kind == yaml.SequenceNode {
			items = n.Content[i+1]
		}
	}
	kind, list := strings.CutSuffix(here.Kind, "List")
	if !list || items == nil {
		return append(out, here)
	}
	var next head
	if kind != "" {
		next.APIVersion, next.Kind = here.APIVersion, kind
	}
	for i, item := range items.Content {
		inner := at
		inner.path = at.path.Key("items").At(i)
		out = inside(out, inner, item, next, depth+1)
	}
	return out
}

// is reports whether a spot holds the object.
func (s spot) is(o bulwark.ObjectRef) bool {
	name := s.Metadata.Name
	if name == "" && s.Metadata.GenerateName != "" {
		name = s.Metadata.GenerateName + "*"
	}
	return s.APIVersion == o.APIVersion && s.Kind == o.Kind && name == o.Name &&
		(s.Metadata.Namespace == o.Namespace || s.Metadata.Namespace == "")
}

// find gives the spot of an object.
func find(all []spot, o *inventory.Object) (spot, error) {
	var found []spot
	for _, s := range all {
		if s.is(o.ObjectRef) {
			found = append(found, s)
		}
	}
	if len(found) > 1 {
		line := o.Locate("").Line
		found = slices.DeleteFunc(found, func(s spot) bool { return s.line != line })
	}
	if len(found) != 1 {
		return spot{}, errors.New("the object is not found in its file in a way that leaves no doubt")
	}
	return found[0], nil
}

// plain changes one file of manifests.
func (w *world) plain(path string, todos []*todo, snap *inventory.Snapshot) {
	old, err := read(path)
	if err != nil {
		leave(todos, "its file cannot be changed: "+err.Error())
		return
	}
	docs := splice.Documents(w.text(path, old))
	all := spots(docs)
	at := map[*inventory.Object]spot{}
	byDoc := map[int][]*todo{}
	for _, t := range todos {
		s, err := find(all, t.object)
		if err != nil {
			t.reason = err.Error()
			continue
		}
		at[t.object] = s
		byDoc[s.doc] = append(byDoc[s.doc], t)
	}
	for doc, list := range byDoc {
		apply := func(some []*todo) ([]byte, error) {
			var placed []*todo
			for _, t := range some { // the fields as they are in the document
				next := &todo{}
				for _, e := range t.edits {
					e.Path = append(slices.Clone(at[t.object].path), e.Path...)
					next.edits = append(next.edits, e)
				}
				placed = append(placed, next)
			}
			return splice.Apply(docs[doc], ordered(placed))
		}
		list = slices.DeleteFunc(list, func(t *todo) bool {
			out, err := apply([]*todo{t})
			switch {
			case err != nil:
				t.reason = err.Error()
			case bytes.Equal(out, docs[doc]):
				t.reason = "the file says so already"
			}
			return t.reason != ""
		})
		kept := most(list, func(some []*todo) error {
			_, err := apply(some)
			return err
		})
		if out, err := apply(kept); err != nil {
			leave(kept, err.Error())
		} else {
			docs[doc] = out
		}
	}
	text := bytes.Join(docs, nil)
	if bytes.Equal(text, old) {
		return
	}
	objects, problems := manifest.Decode(path, text)
	if len(problems) > 0 && len(objects) == 0 {
		leave(todos, "the changed file cannot be read: "+problems[0].What)
		return
	}
	w.change(path, old, text)
	for _, o := range snap.Objects() {
		switch o.Origin().(type) {
		case *chart.Origin, *overlay.Origin:
		default:
			w.gone[o] = w.gone[o] || o.Locate("").File == path
		}
	}
	w.made = append(w.made, objects...)
}

// leave gives all that have none a reason.
func leave(todos []*todo, reason string) {
	for _, t := range todos {
		if t.reason == "" {
			t.reason = reason
		}
	}
}
