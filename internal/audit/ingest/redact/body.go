package redact

import (
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
	names   breadth // how much a member's name says
	depth   int     // of JSON in strings of JSON
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
func inspect(text string, how mode, names breadth, depth int) document {
	begin := strings.TrimLeft(text, " \t\r\n")
	if len(begin) < 2 || begin[0] != '{' && begin[0] != '[' {
		return noJSON
	}
	w := walker{depth: depth + 1, names: names}
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
		w.patches(0)
		return
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
		w.object(i, "", how)
	case '[':
		w.each(i, func(c int32) { w.value(c, name, how) })
	case '"':
		if how == config {
			w.text(i, name, how, looking{assigned: true, names: broad, commands: true})
		} else {
			w.text(i, name, how, looking{assigned: true, names: w.names})
		}
	case '0':
		if sensitive(name, w.names) {
			w.out(i)
		}
	}
}

// traits are what members of an object need to know of it.
type traits struct {
	// pair is the name where the object is a name and a value, such as an environment
	// variable or a header.
	pair string
	// holder is what the object's value is, where the object's own name does not say it.
	holder string
	// client says that its secret is one, and no name; token that it is all about one.
	client, token bool
}

func (w *walker) object(i int32, holder string, how mode) {
	of := traits{pair: w.pair(i), holder: holder}
	switch {
	case how == strict:
	case w.isKind(i, "Secret") && w.nodes[w.member(i, "metadata")].kind == '{' && w.member(i, "metadata") != 0:
		how = strict
	case how == loose:
	case w.isKind(i, "Secret", "SecretList"): // or a reference to one
		how = loose
	case w.isKind(i, "ConfigMap", "ConfigMapList"):
		how = config
	case w.isKind(i, "OAuthClient"):
		of.client = true
	case w.isKind(i, "Token", "APIToken", "AccessToken"):
		of.token = true
	}
	pointer, operation := w.operation(i)
	w.each(i, func(c int32) {
		if name := w.name(c); operation && string(name) == "value" {
			w.patched(c, pointer, how)
		} else {
			w.field(c, string(name), how, of)
		}
	})
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
		if n := len(w.steps); kind == '[' && n > 1 && string(w.steps[n-2].name) == "metadata" {
			return // names of fields only
		}
	case "env", "environment", "environmentVariables", "envVars", "extraEnv", "extraEnvVars", "variables", "headers", "httpHeaders", "extraHeaders":
		if kind == '{' || kind == '[' {
			w.named(c, name, within)
			return
		}
	case "values", "valuesObject", "valuesContent": // of a chart
		switch kind {
		case '{':
			w.named(c, name, within)
			return
		case '"':
			w.text(c, name, within, looking{assigned: true, names: broad, commands: true})
			return
		}
	case "auth":
		// What a client of registries keeps: {"auths":{"registry":{"auth":"..."}}}.
		if n := len(w.steps); kind == '"' && n > 2 && string(w.steps[n-3].name) == "auths" {
			w.all(c)
			return
		}
	case "spec", "status":
		if of.token && kind == '{' {
			w.object(c, "token", within)
			return
		}
	case "value", "val", "default", "defaultValue", "plaintext", "plainText", "plain", "literal", "inline":
		if w.said(c, name, within, of) {
			return
		}
	case "message":
		if kind == '"' {
			w.text(c, name, within, looking{assigned: true, prose: true, names: w.names})
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
	if shellName(name) && (kind == '[' || kind == '"') {
		if kind == '[' {
			w.argv(c)
		} else {
			w.text(c, name, within, looking{assigned: true, names: broad, commands: true})
		}
		return
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
	case name == "$patch" && w.directive(c), name == "$retainKeys", strings.HasPrefix(name, "$setElementOrder/"), strings.HasPrefix(name, "$deleteFromPrimitiveList/"):
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
		w.each(i, func(c int32) {
			if string(w.name(c)) != "$patch" || !w.directive(c) {
				w.all(c)
			}
		})
	case '[':
		w.each(i, w.all)
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
	switch inspect(s, nested(how), look.names, w.depth) {
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

// annotations looks at those of an object.
func (w *walker) annotations(i int32, how mode) {
	w.each(i, func(c int32) { w.annotation(c, string(w.name(c)), how) })
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
		if ofSecret || inspect(s, plain, narrow, w.depth) != cleanJSON {
			w.all(c)
		}
	case name == "openshift.io/token-secret.value",
		// Other tools' copies of a whole Secret, as JSON or packed.
		ofSecret && (s[0] == '{' || s[0] == '[' || strings.HasPrefix(s, "H4sI") || strings.HasPrefix(s, "UEsD")):
		w.all(c)
	default:
		w.text(c, name, how, looking{assigned: true})
	}
}
