package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/jsonscan"
	"bulwark.dev/bulwark/internal/cluster/nodes"
)

// document is one document of a file, or one object of JSON.
type document struct {
	file string
	text []byte
	json bool
	// line and column are how much stands before it in the file, and in its first
	// line.
	line, column int
	trees        *trees
	once         sync.Mutex
	tree         *yaml.Node
}

func (d *document) at(line, column int) bulwark.Location {
	if line == 1 && column > 0 {
		column += d.column
	}
	return bulwark.Location{File: d.file, Line: d.line + line, Column: column}
}

// first gives the place of the first line that has something on it.
func (d *document) first() bulwark.Location {
	line := 1
	for l := range bytes.Lines(d.text) {
		if l = bytes.TrimSpace(l); len(l) > 0 && l[0] != '#' && string(l) != "---" {
			return d.at(line, 0)
		}
		line++
	}
	return d.at(1, 0)
}

// yaml reads a document of YAML.
func (p *part) yaml(d *document, strict bool) {
	raw, twice, err := convert(d)
	if err != nil {
		at := d.first()
		if e, ok := errors.AsType[*nodes.Error](err); ok {
			at = d.at(e.Line, 0)
		}
		if strict || looksLikeObject(d.text) {
			p.problem(at, err.Error())
		} else {
			p.pass(at)
		}
		return
	}
	if raw == nil {
		return
	}
	u := unfolder{part: p, strict: strict, place: func(path string, _ []byte) (inventory.Origin, bulwark.Location) {
		return &origin{doc: d, path: path}, d.first()
	}}
	u.value(raw, "", implied{}, 0)
	if twice {
		p.problems = append(p.problems, d.repeated()...)
	}
}

// convert gives a document as JSON, nil for one without content, and whether a key
// is set twice somewhere. An error that has a line is a *nodes.Error. It holds no
// values, which may be secret.
func convert(d *document) (raw []byte, twice bool, err error) {
	if len(d.text) > MaxDocument {
		return nil, false, fmt.Errorf("is a document of more than %d bytes, the limit; split it, or give it as JSON if it is a list", MaxDocument)
	}
	if values(d.text) > maxValues {
		return nil, false, fmt.Errorf("has more than about %d values, the limit; split it, or give it as JSON if it is a list", maxValues)
	}
	if hidesMarker(d.text) || bytes.IndexByte(d.text, '&') >= 0 && bytes.IndexByte(d.text, '*') >= 0 {
		root, err := nodes.ParseYAML(d.text)
		if err != nil {
			return nil, false, unvalued(d.text, err)
		}
		if root != nil && expanded(root, map[*yaml.Node]int{}) > maxExpanded {
			return nil, false, fmt.Errorf("has more than %d bytes, the limit, with its aliases written out", maxExpanded)
		}
	}
	raw, err = sigsyaml.YAMLToJSONStrict(d.text)
	if err != nil && strings.Contains(err.Error(), "already set in map") {
		twice = true
		raw, err = sigsyaml.YAMLToJSON(d.text)
	}
	switch {
	case err != nil:
		return nil, false, unvalued(d.text, err)
	case string(raw) == "null":
		return nil, false, nil
	}
	return raw, twice, nil
}

var backQuoted = regexp.MustCompile("`[^`]*`")

// unvalued gives a YAML library's error with its line and without values.
func unvalued(text []byte, err error) error {
	if before, _, ok := bytes.Cut(text, []byte("{{")); ok {
		return &nodes.Error{Line: 1 + bytes.Count(before, []byte("\n")), Message: "is a template, with {{ in it, and no YAML yet; give what it renders to, or the folder of its chart"}
	}
	var e *nodes.Error
	switch {
	case errors.As(err, &e):
	case !strings.HasPrefix(err.Error(), "yaml: ") || strings.Contains(err.Error(), "map key"):
		return errors.New("has a key or a value that JSON, and so the API, does not have")
	default:
		err = nodes.Explain(text, err)
		if !errors.As(err, &e) {
			return errors.New("is not YAML")
		}
	}
	// What ends too early is told of the line behind the last.
	last := bytes.Count(bytes.TrimRight(text, " \t\r\n"), []byte("\n")) + 1
	return &nodes.Error{Line: min(e.Line, last), Message: backQuoted.ReplaceAllString(e.Message, "a value")}
}

// values gives how many values a text may have, at the most: a value needs a line,
// or something between it and the next.
func values(text []byte) int {
	n := 1
	for _, c := range text {
		switch c {
		case '\n', '\r', ',', '[', '{', '?':
			n++
		}
	}
	return n
}

// hidesMarker reports whether a document marker stands behind a line end that is
// not a line feed: YAML 1.1 knows more of them, and what follows the marker must
// not be dropped.
func hidesMarker(text []byte) bool {
	for _, mark := range []string{"---", "..."} {
		for _, end := range []string{"\r", "\u0085", "\u2028", "\u2029"} {
			if bytes.Contains(text, []byte(end+mark)) {
				return true
			}
		}
	}
	return false
}

// expanded gives the size of a node with aliases written out, which is huge for
// one that holds itself.
func expanded(n *yaml.Node, known map[*yaml.Node]int) int {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if size, ok := known[n]; ok {
		return size
	}
	known[n] = maxExpanded + 1 // until it is known: an alias to what is around it
	size := len(n.Value) + 4
	for _, c := range n.Content {
		if size += expanded(c, known); size > maxExpanded {
			size = maxExpanded + 1
			break
		}
	}
	known[n] = size
	return size
}

// root gives the document as nodes, which are forgotten when enough other
// documents were asked for.
func (d *document) root() (*yaml.Node, error) {
	d.once.Lock()
	defer d.once.Unlock()
	if d.tree != nil {
		return d.tree, nil
	}
	var root *yaml.Node
	var err error
	if d.json {
		var roots []*yaml.Node
		if roots, err = nodes.ParseJSON(d.text); err == nil && len(roots) > 0 {
			root = roots[0]
		}
	} else {
		root, err = nodes.ParseYAML(d.text)
	}
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	d.tree = root
	d.trees.keep(d)
	return root, nil
}

// trees forgets the nodes of documents that were asked for long ago.
type trees struct {
	mu     sync.Mutex
	recent []*document
}

func (t *trees) keep(d *document) {
	const most = 64
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent = append(t.recent, d)
	if len(t.recent) <= most {
		return
	}
	old := t.recent[0]
	t.recent = append(t.recent[:0], t.recent[1:]...)
	if old != d && old.once.TryLock() {
		old.tree = nil
		old.once.Unlock()
	}
}

// origin is where an object stands in a document: at path.
type origin struct {
	doc  *document
	path string
}

// Locate gives the place of a field, or of the nearest one around it.
func (o *origin) Locate(path string) bulwark.Location {
	root, err := o.doc.root()
	if err != nil || root == nil {
		return o.doc.first()
	}
	full := o.path
	if path != "" && full != "" && path[0] != '[' {
		full += "."
	}
	return o.doc.at(nodes.Locate(root, full+path))
}

// implied is what a typed list says of its items.
type implied struct{ apiVersion, kind string }

// unfolder makes objects of a value, which may be a list of them.
type unfolder struct {
	*part
	strict bool
	// place gives the origin of the object at path, and its place for a Problem.
	place func(path string, raw []byte) (inventory.Origin, bulwark.Location)
}

func (u *unfolder) value(raw []byte, path string, given implied, depth int) {
	from, at := u.place(path, raw)
	if depth > maxLists {
		u.problem(at, fmt.Sprintf("has lists in lists more than %d deep", maxLists))
		return
	}
	if raw[0] == '[' { // some tools print a bare list
		_ = jsonscan.Elements(raw, func(i int, item []byte) error {
			u.value(item, path+"["+strconv.Itoa(i)+"]", given, depth+1)
			return nil
		})
		return
	}
	apiVersion, kind, items, err := head(raw)
	switch {
	case err != nil:
		if u.strict || apiVersion != "" || kind != "" {
			u.problem(at, err.Error())
		} else {
			u.pass(at)
		}
		return
	case items != nil && strings.HasSuffix(kind, "List"):
		given = implied{}
		if kind != "List" {
			given = implied{apiVersion, strings.TrimSuffix(kind, "List")}
		}
		prefix := path
		if prefix != "" {
			prefix += "."
		}
		_ = jsonscan.Elements(items, func(i int, item []byte) error {
			u.value(item, prefix+"items["+strconv.Itoa(i)+"]", given, depth+1)
			return nil
		})
		return
	case apiVersion == "" && kind == "" && given.kind != "":
		raw = inventory.WithKind(raw, given.apiVersion, given.kind)
	case apiVersion == "" || kind == "":
		if u.strict || apiVersion != "" && kind != "" {
			u.problem(at, "has no apiVersion or no kind, so it is no Kubernetes object")
		} else {
			u.pass(at)
		}
		return
	case len(raw) > MaxDocument:
		u.problem(at, fmt.Sprintf("is an object of more than %d bytes, the limit", MaxDocument))
		return
	}
	if items != nil {
		u.within(items, path, depth)
	}
	if group, _, _ := strings.Cut(apiVersion, "/"); group == "kustomize.config.k8s.io" {
		u.pass(at) // it tells how to build objects, and is none
		return
	}
	o, err := inventory.New(raw, from)
	if err != nil {
		u.problem(at, err.Error())
		return
	}
	u.objects = append(u.objects, o)
}

// within makes objects of what a value has as items that is no list by its kind: to
// kubectl everything with items is one, and creates them.
func (u *unfolder) within(items []byte, path string, depth int) {
	if path != "" {
		path += "."
	}
	_ = jsonscan.Elements(items, func(i int, item []byte) error {
		if apiVersion, kind, _, err := head(item); err == nil && apiVersion != "" && kind != "" {
			u.value(item, path+"items["+strconv.Itoa(i)+"]", implied{}, depth+1)
		}
		return nil
	})
}

// head gives what says what a value is. items is nil for anything but a list.
func head(raw []byte) (apiVersion, kind string, items []byte, err error) {
	if raw[0] != '{' {
		return "", "", nil, errors.New("is no object with apiVersion, kind and metadata")
	}
	err = jsonscan.Fields(raw, func(key string, value []byte) error {
		ok := true
		switch key {
		case "apiVersion":
			apiVersion, ok = jsonscan.String(value)
		case "kind":
			kind, ok = jsonscan.String(value)
		case "items":
			if items = nil; value[0] == '[' {
				items = value
			}
		}
		if !ok && string(value) != "null" {
			return fmt.Errorf("%s is not text", key)
		}
		return nil
	})
	return apiVersion, kind, items, err
}
