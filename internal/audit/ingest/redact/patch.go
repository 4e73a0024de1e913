package redact

import (
	"strings"
)

// operation reports whether an object is an operation of a JSON patch, and where it
// is done.
func (w *walker) operation(i int32) (pointer []string, ok bool) {
	at := w.member(i, "path")
	if at == 0 || w.nodes[at].kind != '"' || w.member(i, "value") == 0 || w.member(i, "op") == 0 {
		return nil, false
	}
	text := w.str(at)
	if text == "" {
		return nil, true
	}
	if text[0] != '/' {
		return nil, false
	}
	pointer = strings.Split(text[1:], "/")
	for k, name := range pointer {
		pointer[k] = strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
	}
	return pointer, true
}

// patched looks at the value of an operation.
func (w *walker) patched(c int32, pointer []string, how mode) {
	first, last, n := "", "", len(pointer)
	if n > 0 {
		first, last = pointer[0], pointer[n-1]
	}
	secret := how == strict || how == loose
	switch {
	case n == 0 && secret:
		if w.nodes[c].kind == '{' {
			w.object(c, "", strict)
		} else {
			w.all(c)
		}
		return
	case n == 0:
		w.value(c, "", how)
		return
	case secret && first != "metadata" && first != "type" && first != "kind" && first != "apiVersion" && first != "immutable":
		w.all(c)
		return
	case how == config && (first == "data" || first == "binaryData"):
		if n > 1 {
			w.configEntry(c, pointer[1], first == "binaryData")
		} else {
			w.field(c, first, config, traits{})
		}
		return
	}
	for k, name := range pointer[:n-1] {
		switch {
		case name == "annotations":
			w.annotation(c, pointer[k+1], how)
			return
		case name == "stringData":
			w.all(c)
			return
		case name == "env" && last == "value":
			w.all(c) // the variable's name stands elsewhere
			return
		case (name == "command" || name == "args") && w.nodes[c].kind == '"':
			if s := w.str(c); worth(s) && s[0] != '-' && !strings.ContainsAny(s, " \t\n") {
				w.out(c) // the flag before it stands elsewhere
				return
			}
			w.text(c, "", plain, looking{assigned: true, names: broad, commands: true})
			return
		}
	}
	if how == config {
		how = plain
	}
	if how == strict {
		how = loose
	}
	name := last
	for k := n - 1; k > 0 && (name == "-" || run(name, digit) == len(name)); k-- {
		name = pointer[k-1]
	}
	w.field(c, name, how, traits{})
}

// patches looks at a JSON patch of a Secret. What is no operation may be one with a
// mistake in it: an API server refuses that, and writes it down all the same.
func (w *walker) patches(i int32) {
	w.each(i, func(c int32) {
		if w.nodes[c].kind != '{' {
			w.all(c)
			return
		}
		pointer, ok := w.operation(c)
		w.each(c, func(m int32) {
			switch name := string(w.name(m)); {
			case name == "op" || name == "path" || name == "from":
				w.value(m, name, loose)
			case name == "value" && ok:
				w.patched(m, pointer, loose)
			default:
				w.all(m)
			}
		})
	})
}
