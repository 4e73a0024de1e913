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

// maxWork bounds how many bytes are read again to try changes of one file.
const maxWork = 512 << 20

// plain is a file of manifests that is to be changed.
type plain struct {
	docs [][]byte
	// before are its objects.
	before []*inventory.Object
	// at says where each object that is to be changed stands, place its index in
	// before.
	at    map[*inventory.Object]spot
	place map[*inventory.Object]int
	work  int
}

// plain changes one file of manifests.
func (w *world) plain(path string, todos []*todo, snap *inventory.Snapshot) {
	old, err := read(path)
	if err != nil {
		leave(todos, "its file cannot be changed: "+err.Error())
		return
	}
	begin := w.text(path, old)
	f := &plain{docs: splice.Documents(begin), at: map[*inventory.Object]spot{}, place: map[*inventory.Object]int{}}
	f.before, _ = manifest.Decode(path, begin)
	all := spots(f.docs)
	byDoc := map[int][]*todo{}
	for _, t := range todos {
		if err := f.find(all, t.object); err != nil {
			t.reason = err.Error()
			continue
		}
		doc := f.at[t.object].doc
		byDoc[doc] = append(byDoc[doc], t)
	}
	for doc, list := range byDoc {
		f.change(doc, list)
	}
	text := bytes.Join(f.docs, nil)
	if bytes.Equal(text, old) {
		return
	}
	objects, _ := manifest.Decode(path, text)
	edits := map[int][]splice.Edit{}
	for _, list := range grouped(todos) {
		if i, ok := f.place[list[0].object]; ok {
			edits[i] = ordered(slices.DeleteFunc(list, func(t *todo) bool { return t.reason != "" }))
		}
	}
	if what := exactly(f.before, objects, edits); what != "" {
		leave(todos, "the change would do more than it should: "+what)
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

// find notes where an object stands. It must be in the file as it was read: what
// is in the place of another that was judged is not changed.
func (f *plain) find(all []spot, o *inventory.Object) error {
	if _, ok := f.at[o]; ok {
		return nil
	}
	s, err := find(all, o)
	if err != nil {
		return err
	}
	var same []int
	for i, b := range f.before {
		if b.ObjectRef == o.ObjectRef && bytes.Equal(b.Raw(), o.Raw()) {
			same = append(same, i)
		}
	}
	if len(same) > 1 {
		at := o.Locate("")
		same = slices.DeleteFunc(same, func(i int) bool { return f.before[i].Locate("") != at })
	}
	if len(same) != 1 {
		return errors.New("the object is not in its file as it was read")
	}
	f.at[o], f.place[o] = s, same[0]
	return nil
}

// change makes what can be made in one document.
func (f *plain) change(doc int, list []*todo) {
	f.possible(doc, list)
	var kept []*todo
	for _, g := range grouped(list) {
		kept = append(kept, agreed(slices.DeleteFunc(g, func(t *todo) bool { return t.reason != "" }))...)
	}
	var made []byte
	try := func(some []*todo) error {
		out, err := f.apply(doc, some)
		if err == nil {
			made = out
		}
		return err
	}
	if try(kept) != nil {
		var alone []*todo
		for _, g := range grouped(kept) {
			alone = append(alone, most(g, try)...)
		}
		if kept = most(alone, try); len(kept) > 0 && try(kept) != nil {
			leave(kept, "the changes of this file do not go together")
			return
		}
	}
	if len(kept) > 0 {
		f.docs[doc] = made
	}
}

// possible gives a reason to the findings whose change cannot be made at all, or is
// there already.
func (f *plain) possible(doc int, list []*todo) {
	var edits []splice.Edit
	for _, t := range list {
		edits = append(edits, f.placed(t.object, t.edits)...)
	}
	tried := splice.Possible(f.docs[doc], edits)
	for _, t := range list {
		mine := tried[:len(t.edits)]
		tried = tried[len(t.edits):]
		done := !slices.ContainsFunc(mine, func(err error) bool { return !errors.Is(err, splice.ErrSame) })
		switch first := mine[0]; { // those after it may need it
		case done:
			t.reason = "the file says so already"
		case first != nil && !errors.Is(first, splice.ErrSame):
			t.reason = first.Error()
		}
	}
}

// placed gives edits with the paths that they have in the document.
func (f *plain) placed(o *inventory.Object, edits []splice.Edit) []splice.Edit {
	out := slices.Clone(edits)
	for i := range out {
		out[i].Path = append(slices.Clone(f.at[o].path), out[i].Path...)
	}
	return out
}

func (f *plain) apply(doc int, some []*todo) ([]byte, error) {
	var parts [][]splice.Edit
	rounds := 0
	for _, g := range grouped(some) {
		edits := f.placed(g[0].object, ordered(g))
		parts, rounds = append(parts, edits), max(rounds, len(edits))
	}
	if f.work += rounds * len(f.docs[doc]); f.work > maxWork {
		return nil, errors.New("the file is too large to try so many changes: split it")
	}
	return splice.Together(f.docs[doc], parts)
}

// grouped parts findings by their objects, in the order of the first of each.
func grouped(todos []*todo) [][]*todo {
	var out [][]*todo
	at := map[*inventory.Object]int{}
	for _, t := range todos {
		i, ok := at[t.object]
		if !ok {
			i = len(out)
			at[t.object], out = i, append(out, nil)
		}
		out[i] = append(out[i], t)
	}
	return out
}

// leave gives all that have none a reason.
func leave(todos []*todo, reason string) {
	for _, t := range todos {
		if t.reason == "" {
			t.reason = reason
		}
	}
}
