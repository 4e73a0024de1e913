package ingest

import (
	"encoding/base64"
	"strings"
)

// mode says what an object is, as far as secrets go.
type mode uint8

const (
	plain mode = iota
	// strict is a Secret or a patch of one: what it should not have goes, too.
	strict
	// loose may have Secrets, or parts of them, anywhere in it.
	loose
	// config is a ConfigMap, a list of them, or a patch.
	config
)

// walker looks through one JSON text.
type walker struct {
	about   topic
	depth   int // of JSON in strings of JSON
	raw     []byte
	nodes   []node
	decoded [][]byte
	steps   []step
	edits   []edit
}

// document says what a text is that may be JSON.
type document uint8

const (
	noJSON document = iota
	brokenJSON
	cleanJSON
	secretJSON
)

// inspect looks for secrets in a text that may be JSON. What is nested too deep to
// look at counts as one.
func inspect(text string, how mode, depth int) document {
	begin := strings.TrimLeft(text, " \t\r\n")
	if len(begin) < 2 || begin[0] != '{' && begin[0] != '[' {
		return noJSON
	}
	w := walker{depth: depth + 1}
	if !w.read([]byte(text)) {
		return brokenJSON
	}
	if w.depth > 3 {
		return secretJSON
	}
	w.value(0, "", how)
	if len(w.edits) > 0 {
		return secretJSON
	}
	return cleanJSON
}

// root looks at a whole body.
func (w *walker) root() {
	how := plain
	switch kind := w.nodes[0].kind; {
	case w.about.config:
		how = config
	case !w.about.secrets:
	case kind == '[':
		how = loose // a JSON patch
	case kind == 'n':
		return
	case kind != '{':
		w.out(0)
		return
	case w.member(0, "items") != 0, w.about.deletes && w.member(0, "kind") == 0,
		w.isKind(0, "Status", "DeleteOptions", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
		how = loose
	default:
		how = strict
	}
	w.value(0, "", how)
}

// value looks at a value of any kind. name is what it is called.
func (w *walker) value(i int32, name string, how mode) {
	switch w.nodes[i].kind {
	case '{':
		w.object(i, how)
	case '[':
		index := 0
		for c := w.nodes[i].child; c != 0; c = w.nodes[c].next {
			w.steps = append(w.steps, step{index: index})
			w.value(c, name, how)
			w.steps = w.steps[:len(w.steps)-1]
			index++
		}
	case '"':
		w.text(i, name, how, looking{assigned: true})
	case '0':
		if sensitive(name, narrow) {
			w.out(i)
		}
	}
}

// traits are what members of an object need to know of it.
type traits struct {
	// pair is the name where the object is a name and a value, such as an environment
	// variable or a header.
	pair string
	// client says that its secret is one, and no name.
	client bool
}

func (w *walker) object(i int32, how mode) {
	var of traits
	switch {
	case how == strict || how == loose:
	case w.isKind(i, "Secret", "SecretList"):
		how = loose
	case w.isKind(i, "ConfigMap", "ConfigMapList"):
		how = config
	case w.isKind(i, "OAuthClient"):
		of.client = true
	}
	pointer, operation := w.operation(i)
	if w.member(i, "value") != 0 {
		for _, name := range [...]string{"name", "key"} {
			if m := w.member(i, name); m != 0 && of.pair == "" {
				of.pair = w.str(m)
			}
		}
	}
	for c := w.nodes[i].child; c != 0; c = w.nodes[c].next {
		name := w.name(c)
		w.steps = append(w.steps, step{name: name, index: -1})
		if operation && string(name) == "value" {
			w.patched(c, pointer, how)
		} else {
			w.field(c, string(name), how, of)
		}
		w.steps = w.steps[:len(w.steps)-1]
	}
}

// field looks at a member of an object.
func (w *walker) field(c int32, name string, how mode, of traits) {
	if how == strict && w.strictField(c, name) {
		return
	}
	kind := w.nodes[c].kind
	within := how // what the member's own members are
	if how == config && name != "items" {
		within = plain
	}
	switch name {
	case "stringData":
		w.all(c)
		return
	case "data":
		if how == loose {
			w.all(c)
			return
		}
		if how == config && kind == '{' {
			w.configData(c, false)
			return
		}
	case "binaryData":
		if how == config && kind == '{' {
			w.configData(c, true)
			return
		}
	case "annotations":
		if kind == '{' {
			w.annotations(c, how)
			return
		}
	case "managedFields":
		if kind == '[' {
			return // names of fields only
		}
	case "command", "args", "cmd", "entrypoint":
		switch kind {
		case '[':
			w.argv(c)
			return
		case '"':
			w.text(c, name, within, looking{assigned: true, names: broad, commands: true})
			return
		}
	case "value":
		if of.pair != "" && kind == '"' {
			w.text(c, of.pair, within, looking{assigned: true, names: broad, commands: true})
			return
		}
	case "description":
		if kind == '"' {
			s := w.str(c)
			w.cut(c, s, scan(s, looking{})) // prose
			return
		}
	case "secret":
		if of.client && kind == '"' {
			w.all(c)
			return
		}
	}
	w.value(c, name, within)
}

// strictField looks at a member of a Secret, unless it is one to look at as usual.
func (w *walker) strictField(c int32, name string) bool {
	switch {
	case name == "metadata":
		w.value(c, name, loose)
	case name == "apiVersion" || name == "kind" || name == "type" || name == "immutable" || name == "@type":
		return false
	case strings.HasPrefix(name, "$"): // a directive of a patch
		w.value(c, name, loose)
	default: // its data, or what somebody took for it
		w.all(c)
	}
	return true
}

// all takes out every value, however deep. Names stay, and so do the directives of a
// strategic merge patch.
func (w *walker) all(i int32) {
	n := w.nodes[i]
	switch n.kind {
	case '{':
		for c := n.child; c != 0; c = w.nodes[c].next {
			w.steps = append(w.steps, step{name: w.name(c), index: -1})
			if string(w.name(c)) != "$patch" || !w.directive(c) {
				w.all(c)
			}
			w.steps = w.steps[:len(w.steps)-1]
		}
	case '[':
		index := 0
		for c := n.child; c != 0; c = w.nodes[c].next {
			w.steps = append(w.steps, step{index: index})
			w.all(c)
			w.steps = w.steps[:len(w.steps)-1]
			index++
		}
	case '"':
		if n.to-n.from > 2 && string(w.raw[n.from:n.to]) != marker {
			w.out(i)
		}
	case '0', 't':
		w.out(i)
	}
}

func (w *walker) directive(c int32) bool {
	switch w.str(c) {
	case "replace", "merge", "delete":
		return true
	}
	return false
}

// text looks at a string.
func (w *walker) text(i int32, name string, how mode, look looking) {
	s := w.str(i)
	if s == "" {
		return
	}
	if (sensitive(name, look.names) || look.names == broad && headerName(name)) && worth(s) {
		w.out(i)
		return
	}
	switch inspect(s, nested(how), w.depth) {
	case secretJSON:
		w.out(i)
	case cleanJSON:
	case noJSON, brokenJSON:
		if manifest(s) {
			w.out(i)
			return
		}
		w.cut(i, s, scan(s, look))
	}
}

// nested is the mode of JSON in a string.
func nested(how mode) mode {
	if how == strict || how == loose {
		return loose
	}
	return plain
}

// manifest reports whether a text is YAML with a Secret in it.
func manifest(s string) bool {
	_, after, found := strings.Cut(s, "kind: Secret")
	if !found || after != "" && strings.IndexByte(" \t\r\n#", after[0]) < 0 {
		return false
	}
	return strings.Contains(s, "\ndata:") || strings.Contains(s, "stringData:") || strings.Contains(s, " data:") || strings.HasPrefix(s, "data:")
}

// annotations looks at those of an object.
func (w *walker) annotations(i int32, how mode) {
	for c := w.nodes[i].child; c != 0; c = w.nodes[c].next {
		w.steps = append(w.steps, step{name: w.name(c), index: -1})
		w.annotation(c, string(w.name(c)), how)
		w.steps = w.steps[:len(w.steps)-1]
	}
}

func (w *walker) annotation(c int32, name string, how mode) {
	if w.nodes[c].kind != '"' {
		w.value(c, name, nested(how))
		return
	}
	s := w.str(c)
	ofSecret := nested(how) == loose
	switch {
	case s == "":
	case name == lastApplied:
		if ofSecret || inspect(s, plain, w.depth) != cleanJSON {
			w.all(c)
		}
	case name == "openshift.io/token-secret.value",
		// Other tools' copies of a whole Secret, as JSON or packed.
		ofSecret && (s[0] == '{' || s[0] == '[' || strings.HasPrefix(s, "H4sI")):
		w.all(c)
	default:
		w.text(c, name, how, looking{assigned: true})
	}
}

// argv looks at a command as a list.
func (w *walker) argv(i int32) {
	var words []string
	for c := w.nodes[i].child; c != 0; c = w.nodes[c].next {
		words = append(words, w.str(c)) // "" where it is no string
	}
	found := make([][]span, len(words))
	args(words, 0, func(word, from, to int) { found[word] = append(found[word], span{from, to}) })
	index := 0
	for c := w.nodes[i].child; c != 0; c = w.nodes[c].next {
		w.steps = append(w.steps, step{index: index})
		if w.nodes[c].kind != '"' {
			w.value(c, "", plain)
		} else if s := words[index]; inspect(s, plain, w.depth) == secretJSON || manifest(s) {
			w.out(c)
		} else {
			w.cut(c, s, merge(scan(s, looking{assigned: true, names: broad}), found[index]))
		}
		w.steps = w.steps[:len(w.steps)-1]
		index++
	}
}

// configData looks at what a ConfigMap holds.
func (w *walker) configData(i int32, binary bool) {
	for c := w.nodes[i].child; c != 0; c = w.nodes[c].next {
		w.steps = append(w.steps, step{name: w.name(c), index: -1})
		w.configEntry(c, string(w.name(c)), binary)
		w.steps = w.steps[:len(w.steps)-1]
	}
}

func (w *walker) configEntry(c int32, name string, binary bool) {
	if w.nodes[c].kind != '"' {
		w.value(c, name, plain)
		return
	}
	s := w.str(c)
	look := looking{assigned: true, names: broad, commands: true}
	if secretFile(name) && worth(s) || name == "release" && strings.HasPrefix(s, "H4sI") { // Helm keeps values there
		w.out(c)
		return
	}
	if binary {
		text, err := base64.StdEncoding.DecodeString(s)
		if err == nil && (len(scan(string(text), look)) > 0 || inspect(string(text), plain, w.depth) == secretJSON || manifest(string(text))) {
			w.out(c)
			return
		}
	}
	w.text(c, name, plain, look)
}
