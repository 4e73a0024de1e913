package cluster

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"bulwark.dev/bulwark/internal/cluster/nodes"
)

// document is one decoded document. Lines count from its own first line, so
// that it can be reused wherever the same text stands. It is never changed
// after decodeDocument.
type document struct {
	text     []byte
	json     bool
	objects  []decoded
	ignored  []Ignored
	problems []Problem
}

// decoded is one object of a document.
type decoded struct {
	kind *kind
	obj  Object
	line int
	// steps lead from the document's roots to the object: the number of the
	// root, then the item of each List around it.
	steps []int
}

// parse gives the roots of the text.
func (doc *document) parse() ([]*yaml.Node, error) {
	if doc.json {
		return nodes.ParseJSON(doc.text)
	}
	root, err := nodes.ParseYAML(doc.text)
	if root == nil || err != nil {
		return nil, err
	}
	return []*yaml.Node{root}, nil
}

// decodeDocument reads every object of a document. It looks at nothing else, so
// that documents can be read at the same time and remembered.
func decodeDocument(text []byte, isJSON bool) *document {
	doc := &document{text: text, json: isJSON}
	roots, err := doc.parse()
	if err != nil {
		p := Problem{Line: 1, Message: err.Error()}
		if pe := (*nodes.Error)(nil); errors.As(err, &pe) {
			p.Line = pe.Line
		}
		doc.problems = []Problem{p}
		return doc
	}
	d := &decoder{}
	for i, root := range roots {
		doc.root(d, root, metav1.TypeMeta{}, []int{i})
	}
	doc.problems = d.problems
	return doc
}

// root reads an object or a list of them. The items of a typed list, such as
// HTTPRouteList, may leave out what the list says: implied.
func (doc *document) root(d *decoder, n *yaml.Node, implied metav1.TypeMeta, steps []int) {
	d.object, d.secret, d.path = "", false, nil
	line := n.Line
	n, done := d.resolve(n)
	defer done()
	if n == nil {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.problem(line, "is %s; expected an object with apiVersion, kind and metadata", d.describe(n))
		return
	}
	apiVersion, ok1 := doc.typeField(d, n, "apiVersion", implied.APIVersion)
	name, ok2 := doc.typeField(d, n, "kind", implied.Kind)
	if !ok1 || !ok2 {
		return
	}
	if items, ok := listOf(apiVersion, name); ok {
		doc.list(d, n, items, steps)
		return
	}
	k, message := identify(apiVersion, name)
	meta := nodes.Child(n, "metadata")
	ref := Ref{
		Group: apischema.FromAPIVersionAndKind(apiVersion, name).Group,
		Kind:  name, Namespace: nodes.Scalar(nodes.Child(meta, "namespace")), Name: nodes.Scalar(nodes.Child(meta, "name")),
	}
	switch {
	case message != "":
		d.object = ref.String()
		d.problem(line, "%s", message)
	case k == nil:
		doc.ignored = append(doc.ignored, Ignored{Ref: ref, APIVersion: apiVersion, Line: line})
	default:
		if !k.wide && ref.Namespace == "" {
			ref.Namespace = metav1.NamespaceDefault
		}
		doc.object(d, n, k, ref, steps)
	}
}

// typeField gives apiVersion or kind.
func (doc *document) typeField(d *decoder, n *yaml.Node, name, implied string) (string, bool) {
	_, v := nodes.Entry(n, name)
	v = nodes.Follow(v)
	switch {
	case v == nil && implied != "":
		return implied, true
	case v == nil:
		d.problem(n.Line, "%s is missing; every object says what it is by apiVersion and kind", name)
		return "", false
	case v.Kind != yaml.ScalarNode || v.Tag != "!!str" || v.Value == "":
		d.problem(v.Line, "%s is %s; expected text", name, d.describe(v))
		return "", false
	}
	return v.Value, true
}

// listOf reports whether a kind is a list of objects, and what a typed list
// says about its items.
func listOf(apiVersion, name string) (implied metav1.TypeMeta, ok bool) {
	if apiVersion == "v1" && name == "List" {
		return metav1.TypeMeta{}, true
	}
	item, ok := strings.CutSuffix(name, "List")
	if !ok {
		return metav1.TypeMeta{}, false
	}
	k, message := identify(apiVersion, item)
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: item}, k != nil && message == ""
}

func (doc *document) list(d *decoder, n *yaml.Node, implied metav1.TypeMeta, steps []int) {
	if len(steps) > 2 {
		d.problem(n.Line, "is a list in a list in a list; expected objects")
		return
	}
	d.object = "List"
	var items *yaml.Node
	d.entries(n, "", func(key, value *yaml.Node) {
		switch key.Value {
		case "apiVersion", "kind", "metadata":
		case "items":
			items = nodes.Follow(value)
		default:
			d.push(crumb{name: key.Value, how: '.'})
			d.problem(key.Line, "unknown field; expected one of apiVersion, items, kind, metadata")
			d.pop()
		}
	})
	switch {
	case items == nil:
		d.problem(n.Line, "items is missing")
	case null(items):
	case items.Kind != yaml.SequenceNode:
		d.problem(items.Line, "items is %s; expected a list", d.describe(items))
	default:
		for i, item := range items.Content {
			doc.root(d, item, implied, append(slices.Clip(steps), i))
		}
	}
}

// object reads one object of a known kind.
func (doc *document) object(d *decoder, n *yaml.Node, k *kind, ref Ref, steps []int) {
	d.object, d.secret = ref.String(), k.name == "Secret"
	before := len(d.problems)
	v := reflect.New(k.typ)
	d.value(n, v.Elem(), schemas()[k.name])
	obj, ok := reflect.TypeAssert[Object](v)
	if !ok {
		return
	}
	obj.GetObjectKind().SetGroupVersionKind(apischema.GroupVersionKind{Group: k.group, Version: k.versions[0], Kind: k.name})
	completeMeta(k, obj)
	if k.complete != nil {
		k.complete(obj)
	}
	errs := checkMeta(k, obj)
	if k.check != nil {
		errs = append(errs, k.check(obj)...)
	}
	d.report(n, errs, d.problems[before:])
	doc.objects = append(doc.objects, decoded{kind: k, obj: obj, line: n.Line, steps: steps})
}

// report adds what the checks of a typed object found, but nothing about a
// field that could not be read: the object holds no value for it to judge.
func (d *decoder) report(n *yaml.Node, errs field.ErrorList, reported []Problem) {
	for _, e := range errs {
		known := false
		for _, p := range reported {
			known = known || within(e.Field, p.Field) || within(p.Field, e.Field)
		}
		if known || len(d.problems) >= maxProblems {
			continue
		}
		d.problems = append(d.problems, Problem{Line: nodes.Line(n, e.Field), Object: d.object, Field: tidy(e.Field), Message: tidy(d.errorBody(e))})
	}
}

// errorBody is the text of a field error. Values of a Secret stay out.
func (d *decoder) errorBody(e *field.Error) string {
	if d.secret && e.Type == field.ErrorTypeInvalid {
		return "Invalid value: " + e.Detail
	}
	return e.ErrorBody()
}

// within reports whether a field is outer or inside outer.
func within(inner, outer string) bool {
	rest, ok := strings.CutPrefix(inner, outer)
	return ok && outer != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// node gives the object's node again. Trees take many times the room of their
// text, so they are not kept.
func (doc *document) node(steps []int) *yaml.Node {
	roots, err := doc.parse()
	if err != nil || len(steps) == 0 || steps[0] >= len(roots) {
		return nil
	}
	n := nodes.Follow(roots[steps[0]])
	for _, i := range steps[1:] {
		items := nodes.Child(n, "items")
		if items == nil || i >= len(items.Content) {
			return nil
		}
		n = nodes.Follow(items.Content[i])
	}
	return n
}

// Ref names an object.
type Ref struct {
	Group, Kind, Namespace, Name string
}

// String is "Kind namespace/name", or "Kind name" for kinds without namespace.
func (r Ref) String() string {
	name := r.Name
	if name == "" {
		name = "(without name)"
	}
	if r.Namespace != "" {
		name = r.Namespace + "/" + name
	}
	return tidy(r.Kind + " " + name)
}
