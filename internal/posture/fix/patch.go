package fix

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
	"bulwark.dev/bulwark/internal/cluster/inventory/overlay"
	"bulwark.dev/bulwark/internal/posture/fix/splice"
)

// overlay adds a patch for each object to a Kustomize folder. Bases stay as they
// are, since other folders may build on them.
func (w *world) overlay(o *overlay.Overlay, todos []*todo, snap *inventory.Snapshot) {
	kust := o.Kustomization()
	old, err := read(kust)
	if err != nil {
		leave(todos, "the kustomization cannot be changed: "+err.Error())
		return
	}
	objects, _ := o.Render()
	k := &kustomize{overlay: o, kust: kust, text: old, before: contents(objects)}
	byObject := map[*inventory.Object][]*todo{}
	for _, t := range todos {
		byObject[t.object] = append(byObject[t.object], t)
	}
	changed := false
	for _, obj := range sorted(byObject, (*inventory.Object).String) {
		kept := most(agreed(byObject[obj]), func(some []*todo) error {
			_, err := k.with(obj, some)
			return err
		})
		if len(kept) == 0 {
			continue
		}
		next, err := k.with(obj, kept)
		if err != nil {
			leave(kept, err.Error())
			continue
		}
		k, changed = next, true
	}
	if !changed {
		return
	}
	w.change(kust, old, k.text)
	for _, f := range k.patches {
		w.change(f.Path, nil, f.New)
	}
	for _, obj := range snap.Objects() {
		if from, ok := obj.Origin().(*overlay.Origin); ok && from.Overlay() == o {
			w.gone[obj] = true
		}
	}
	w.made = append(w.made, k.made...)
}

// kustomize is a folder with the patches so far.
type kustomize struct {
	overlay *overlay.Overlay
	kust    string
	text    []byte
	before  rendering
	patches []File
	made    []*inventory.Object
}

// with gives the folder with one more patch, if that changes what it should and
// nothing else.
func (k *kustomize) with(obj *inventory.Object, todos []*todo) (*kustomize, error) {
	from, ok := obj.Origin().(*overlay.Origin)
	if !ok {
		return nil, errors.New("it is not made by a kustomization")
	}
	_, source := from.Source()
	if source == nil {
		return nil, errors.New("it is made by a generator: change it in " + k.kust)
	}
	text, err := patch(k.before[obj.ObjectRef], ordered(todos))
	if err != nil {
		return nil, err
	}
	next := *k
	path := k.free(source)
	header := "# Fixes of bulwark scan --fix for " + source.String() + ":\n"
	for _, t := range todos {
		if line := "# " + t.finding.Control + "\n"; !strings.Contains(header, line) {
			header += line
		}
	}
	next.patches = append(append([]File(nil), k.patches...), File{Path: path, New: append([]byte(header), text...)})
	target := map[string]any{"kind": source.Kind, "name": source.Name}
	if group := source.Group(); group != "" {
		target["group"] = group
	}
	if source.Namespace != "" {
		target["namespace"] = source.Namespace
	}
	var doc struct {
		Patches []any `yaml:"patches"`
	}
	if err := yaml.Unmarshal(k.text, &doc); err != nil {
		return nil, err
	}
	at := fieldpath.Path{}.Key("patches").At(len(doc.Patches))
	next.text, err = splice.Apply(k.text, []splice.Edit{{Path: at, Value: map[string]any{"path": filepath.Base(path), "target": target}}})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.kust, err)
	}
	over := map[string][]byte{k.kust: next.text}
	for _, f := range next.patches {
		over[f.Path] = f.New
	}
	objects, problems := k.overlay.With(over).Render()
	if len(problems) > 0 {
		return nil, errors.New("with a patch the folder cannot be built: " + problems[0].What)
	}
	now := contents(objects)
	want := wanted(todos)
	for _, e := range want[obj.ObjectRef] {
		if !met(k.before[obj.ObjectRef], now[obj.ObjectRef], e) {
			return nil, fmt.Errorf("a patch does not change %s: something in the kustomization sets it later", e.Path)
		}
	}
	if extra := unintended(k.before, now, want, nil); extra != "" {
		return nil, errors.New("a patch would do it, but " + extra)
	}
	next.made, next.before = objects, now
	return &next, nil
}

// free gives a name for a patch that no file has.
func (k *kustomize) free(o *inventory.Object) string {
	base := "bulwark-fix-" + strings.ToLower(o.Kind) + "-" + strings.ToLower(strings.Map(func(r rune) rune {
		if r == '/' || r == '\\' || r == ':' || r < 0x21 || r > 0x7e {
			return '-'
		}
		return r
	}, o.Name))
	for i := 1; ; i++ {
		name := base + ".yaml"
		if i > 1 {
			name = base + "-" + strconv.Itoa(i) + ".yaml"
		}
		path := filepath.Join(k.overlay.Dir(), name)
		_, err := read(path)
		used := err == nil
		for _, f := range k.patches {
			used = used || f.Path == path
		}
		if !used {
			return path
		}
	}
}

// patch writes edits as JSON 6902 operations. Elements of lists that have names
// are tested for these first, so that a list that changes later makes the build
// fail and not change the wrong one.
func patch(content any, edits []splice.Edit) ([]byte, error) {
	var ops []yaml.Node
	tested := map[string]bool{}
	add := func(op string, path fieldpath.Path, value any) error {
		node := yaml.Node{Kind: yaml.MappingNode}
		for _, pair := range [][2]any{{"op", op}, {"path", pointer(path)}, {"value", value}} {
			if pair[0] == "value" && op == "remove" {
				continue
			}
			var k, v yaml.Node
			if err := k.Encode(pair[0]); err != nil {
				return err
			}
			if err := v.Encode(splice.Plain(pair[1])); err != nil {
				return err
			}
			node.Content = append(node.Content, &k, &v)
		}
		ops = append(ops, node)
		return nil
	}
	for _, e := range edits {
		next, err := splice.Changed(content, e)
		if err != nil {
			return nil, err
		}
		if reflect.DeepEqual(next, content) {
			continue
		}
		for i, s := range e.Path {
			if s.Index < 0 {
				continue
			}
			name, ok := e.Path[:i+1].Key("name").Get(content)
			at := e.Path[:i+1].Key("name")
			if _, text := name.(string); ok && text && !tested[at.String()] {
				tested[at.String()] = true
				if err := add("test", at, name); err != nil {
					return nil, err
				}
			}
		}
		if e.Remove {
			err = add("remove", e.Path, nil)
		} else {
			// What is missing is made together with the outermost of it.
			n := len(e.Path)
			for n > 1 {
				if parent, ok := e.Path[:n-1].Get(content); ok && parent != nil {
					break
				}
				n--
			}
			value, _ := e.Path[:n].Get(next)
			op := "add"
			if _, ok := e.Path[:n].Get(content); ok {
				op = "replace"
			}
			err = add(op, e.Path[:n], value)
		}
		if err != nil {
			return nil, err
		}
		content = next
	}
	if len(ops) == 0 {
		return nil, errors.New("the built object says so already")
	}
	list := yaml.Node{Kind: yaml.SequenceNode}
	for i := range ops {
		list.Content = append(list.Content, &ops[i])
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&list); err != nil {
		return nil, fmt.Errorf("write a patch: %w", err)
	}
	return out.Bytes(), enc.Close()
}

// pointer writes a path as a JSON pointer.
func pointer(path fieldpath.Path) string {
	var b strings.Builder
	for _, s := range path {
		b.WriteByte('/')
		if s.Index >= 0 {
			b.WriteString(strconv.Itoa(s.Index))
			continue
		}
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(s.Key))
	}
	return b.String()
}
