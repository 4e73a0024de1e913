package redact

import (
	"cmp"
	"strings"
)

// named looks at what people name themselves, such as an environment.
func (w *walker) named(i int32, name string, how mode) {
	before := w.names
	w.names = broad
	w.value(i, name, how)
	w.names = before
}

// pair gives the name in an object that is a name and a value; of several the one that
// says that the value is a secret.
func (w *walker) pair(i int32) string {
	valued := false
	for c := w.nodes[i].child; c != 0 && !valued; c = w.nodes[c].next {
		switch string(w.name(c)) {
		case "value", "val", "default", "defaultValue":
			valued = true
		}
	}
	if !valued {
		return ""
	}
	pair := ""
	for c := w.nodes[i].child; c != 0; c = w.nodes[c].next {
		switch string(w.name(c)) {
		case "name", "key", "header", "field", "param", "parameter", "variable":
			if s := w.str(c); s != "" && (pair == "" || sensitive(s, broad) || headerName(s)) {
				pair = s
			}
		}
	}
	return pair
}

// said looks at the value of a pair, or of an object that is called as a secret.
func (w *walker) said(c int32, name string, how mode, of traits) bool {
	called := of.pair
	if name != "default" && name != "defaultValue" && !sensitive(called, broad) {
		if holder := cmp.Or(of.holder, w.holder()); sensitive(holder, broad) {
			called = holder
		}
	}
	switch kind := w.nodes[c].kind; {
	case called == "":
		return false
	case kind == '"':
		w.text(c, called, how, looking{assigned: true, names: broad, commands: true})
		return true
	case kind == '0' && sensitive(called, broad):
		w.out(c)
		return true
	}
	return false
}

// holder is the name of the object whose member the walker looks at, or of the list that
// it is in.
func (w *walker) holder() string {
	for i := len(w.steps) - 2; i >= 0; i-- {
		if w.steps[i].index < 0 {
			return string(w.steps[i].name)
		}
	}
	return ""
}

// shellName reports whether a field of that name has commands, or the words of one.
func shellName(name string) bool {
	switch name {
	case "command", "commands", "args", "arguments", "cmd", "cmds", "entrypoint", "script", "scripts", "userData", "runcmd", "bootcmd":
		return true
	}
	for _, end := range [...]string{"Command", "Commands", "Args", "Script", "Scripts"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}
