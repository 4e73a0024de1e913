package redact

import (
	"encoding/base64"
	"strings"
)

// argv looks at a command as a list.
func (w *walker) argv(i int32) {
	var words []string
	for c := w.nodes[i].child; c != 0; c = w.nodes[c].next {
		words = append(words, w.str(c)) // "" where it is no string
	}
	found := make([][]span, len(words))
	args(words, 0, func(word, from, to int) { found[word] = append(found[word], span{from, to}) })
	index := 0
	w.each(i, func(c int32) {
		if w.nodes[c].kind != '"' {
			w.value(c, "", plain)
		} else if s := words[index]; inspect(s, plain, broad, w.depth) == secretJSON || manifest(s) {
			w.out(c)
		} else {
			w.cut(c, s, merge(scan(s, looking{assigned: true, names: broad}), found[index]))
		}
		index++
	})
}

// configData looks at what a ConfigMap holds.
func (w *walker) configData(i int32, binary bool) {
	w.each(i, func(c int32) { w.configEntry(c, string(w.name(c)), binary) })
}

func (w *walker) configEntry(c int32, name string, binary bool) {
	if w.nodes[c].kind != '"' {
		w.named(c, name, plain)
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
		if err == nil && (len(scan(string(text), look)) > 0 || inspect(string(text), plain, broad, w.depth) == secretJSON || manifest(string(text))) {
			w.out(c)
			return
		}
	}
	w.text(c, name, plain, look)
}

// manifest reports whether a text that is no JSON as a whole has a Secret's manifest in
// it, in YAML or JSON.
func manifest(s string) bool {
	for rest := s; ; {
		at := strings.Index(rest, "Secret")
		if at < 0 {
			return false
		}
		before := strings.TrimRight(rest[:at], "\"'\\ \t")
		rest = strings.TrimPrefix(rest[at+len("Secret"):], "List")
		kind, ok := strings.CutSuffix(before, ":")
		if ok && strings.HasSuffix(strings.TrimRight(kind, "\"'\\ \t"), "kind") && (rest == "" || !word(rest[0]) && rest[0] != '.' && rest[0] != '/') {
			return strings.Contains(s, "stringData") || hasData(s)
		}
	}
}

// hasData reports whether a text has a member that is called data.
func hasData(s string) bool {
	for from := 0; ; {
		at := strings.Index(s[from:], "data")
		if at < 0 {
			return false
		}
		at += from
		from = at + len("data")
		if (at == 0 || !word(s[at-1])) && strings.HasPrefix(strings.TrimLeft(s[from:], "\"'\\ \t"), ":") {
			return true
		}
	}
}
