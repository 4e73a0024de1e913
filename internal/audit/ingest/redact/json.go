package redact

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"

	"bulwark.dev/bulwark/internal/audit"
)

// maxNodes bounds what a body may cost while it is looked through, about 14 MiB. A
// list of a thousand pods has a third of it.
const maxNodes = 1 << 19

// node is a value in a JSON text, by where it stands. Node 0 is the root.
type node struct {
	from, to         int32 // the value's bytes
	nameFrom, nameTo int32 // its name's bytes, without quotes; negative: see walker.decoded
	child, next      int32 // 0: none
	kind             byte  // '{', '[', '"', '0', 't' for true and false, 'n'
}

// step is a part of the way to a node: a name in an object, or an index in a list.
type step struct {
	name  []byte
	index int // -1: by name
}

// edit replaces bytes of a text.
type edit struct {
	from, to int32
	with     []byte
	path     string
}

// read parses a text; false where it is no JSON, too large or nested too deep.
func (w *walker) read(raw []byte) bool {
	if len(raw) > math.MaxInt32/2 {
		return false
	}
	w.raw = raw
	w.nodes = make([]node, 0, 8+len(raw)/16)
	w.steps = make([]step, 0, 16)
	c := audit.NewCursor(raw)
	return w.parse(c, 0) == nil && c.End() == nil
}

var errLarge = fmt.Errorf("more than %d values, or deeper than %d", maxNodes, audit.MaxDepth)

// parse reads one value into a new node.
func (w *walker) parse(c *audit.Cursor, depth int) error {
	at := len(w.nodes)
	if depth > audit.MaxDepth || at == maxNodes {
		return errLarge
	}
	b := c.Next()
	w.nodes = append(w.nodes, node{kind: b, from: offset(c)})
	var err error
	last := int32(0)
	add := func(name []byte) error {
		child := int32(len(w.nodes)) //nolint:gosec // not above maxNodes
		from, to := w.locate(c, name)
		if err := w.parse(c, depth+1); err != nil {
			return err
		}
		w.nodes[child].nameFrom, w.nodes[child].nameTo = from, to
		if last == 0 {
			w.nodes[at].child = child
		} else {
			w.nodes[last].next = child
		}
		last = child
		return nil
	}
	switch b {
	case '{':
		err = c.Object(add)
	case '[':
		err = c.Array(func() error { return add(nil) })
	default:
		err = c.Skip()
		switch {
		case b == 'f':
			w.nodes[at].kind = 't'
		case b == '-' || '0' <= b && b <= '9':
			w.nodes[at].kind = '0'
		}
	}
	w.nodes[at].to = offset(c)
	return err
}

func offset(c *audit.Cursor) int32 {
	return int32(c.Offset()) //nolint:gosec // texts of 2 GiB are not read
}

// locate says where the name stands that the cursor has just read; one with escapes
// is kept beside the text.
func (w *walker) locate(c *audit.Cursor, name []byte) (from, to int32) {
	if len(name) == 0 {
		return 0, 0
	}
	end := bytes.LastIndexByte(w.raw[:c.Offset()], '"')
	if begin := end - len(name); begin >= 0 && bytes.Equal(w.raw[begin:end], name) {
		return int32(begin), int32(end) //nolint:gosec // texts of 2 GiB are not read
	}
	w.decoded = append(w.decoded, bytes.Clone(name))
	return -int32(len(w.decoded)), 0 //nolint:gosec // not above maxNodes
}

// name gives a member's name.
func (w *walker) name(i int32) []byte {
	n := &w.nodes[i]
	if n.nameFrom < 0 {
		return w.decoded[-n.nameFrom-1]
	}
	return w.raw[n.nameFrom:n.nameTo]
}

// each visits the members or elements of a node, and walks there.
func (w *walker) each(i int32, visit func(c int32)) {
	list := w.nodes[i].kind == '['
	index := 0
	for c := w.nodes[i].child; c != 0; c = w.nodes[c].next {
		if list {
			w.steps = append(w.steps, step{index: index})
		} else {
			w.steps = append(w.steps, step{name: w.name(c), index: -1})
		}
		visit(c)
		w.steps = w.steps[:len(w.steps)-1]
		index++
	}
}

// str decodes a string node.
func (w *walker) str(i int32) string {
	n := &w.nodes[i]
	if n.kind != '"' {
		return ""
	}
	inner := w.raw[n.from+1 : n.to-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	text, err := audit.NewCursor(w.raw[n.from:n.to]).String()
	if err != nil {
		return string(inner)
	}
	return string(text)
}

// member gives the first member of that name, or 0.
func (w *walker) member(i int32, name string) int32 {
	if w.nodes[i].kind != '{' {
		return 0
	}
	for c := w.nodes[i].child; c != 0; c = w.nodes[c].next {
		if string(w.name(c)) == name {
			return c
		}
	}
	return 0
}

// isKind reports whether any member that tells the kind is one of the texts: a name
// that stands twice must not hide what an object is.
func (w *walker) isKind(i int32, texts ...string) bool {
	for c := w.nodes[i].child; c != 0; c = w.nodes[c].next {
		if string(w.name(c)) != "kind" || w.nodes[c].kind != '"' {
			continue
		}
		for _, text := range texts {
			if w.str(c) == text {
				return true
			}
		}
	}
	return false
}

// out takes a value out.
func (w *walker) out(i int32) { w.replace(i, []byte(marker)) }

// cut replaces parts of a string.
func (w *walker) cut(i int32, text string, found []span) {
	if len(found) > 0 {
		w.replace(i, quoted(cut(text, found)))
	}
}

func (w *walker) replace(i int32, with []byte) {
	if len(w.edits) > maxRedactions {
		return // the whole body goes
	}
	n := &w.nodes[i]
	w.edits = append(w.edits, edit{n.from, n.to, with, w.path()})
}

// path is the way to where the walker stands.
func (w *walker) path() string {
	var b strings.Builder
	for i, s := range w.steps {
		if s.index >= 0 {
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
			continue
		}
		if i > 0 {
			b.WriteByte('.')
		}
		for _, c := range s.name {
			if i > 0 && (c == '.' || c == '[') {
				b.WriteByte('\\')
			}
			b.WriteByte(c)
		}
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// apply gives the text with the edits, which are in order and do not overlap.
func (w *walker) apply() []byte {
	out := make([]byte, 0, len(w.raw))
	done := int32(0)
	for _, e := range w.edits {
		out = append(append(out, w.raw[done:e.from]...), e.with...)
		done = e.to
	}
	return append(out, w.raw[done:]...)
}
