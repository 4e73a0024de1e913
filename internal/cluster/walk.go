package cluster

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark/internal/cluster/nodes"
)

// decoder turns the nodes of one document into typed objects. It goes on after
// a mistake, so that all of them are reported at once.
type decoder struct {
	problems []Problem
	// object is what is being read; secret hides values from messages.
	object string
	secret bool
	path   []crumb
	// inAlias is how many aliases deep the reading is, aliased how many nodes
	// were read through aliases.
	inAlias, aliased int
}

// crumb is one step of a field path: a field, a map's key or a list's index.
type crumb struct {
	name  string
	index int
	how   byte // '.', 'k' or 'i'
}

// maxShown is how many steps of a path are shown; no known kind nests deeper.
const maxShown = 24

func (d *decoder) push(c crumb) { d.path = append(d.path, c) }
func (d *decoder) pop()         { d.path = d.path[:len(d.path)-1] }

func (d *decoder) field() string {
	var b strings.Builder
	for i, c := range d.path {
		if i == maxShown {
			b.WriteString("...")
			break
		}
		switch c.how {
		case 'i':
			fmt.Fprintf(&b, "[%d]", c.index)
		case 'k':
			fmt.Fprintf(&b, "[%s]", c.name)
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(c.name)
		}
	}
	return tidy(b.String())
}

func (d *decoder) problem(line int, format string, args ...any) {
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, Problem{Line: line, Object: d.object, Field: d.field(), Message: tidy(fmt.Sprintf(format, args...))})
	}
}

// resolve follows an alias. The caller calls done after reading what is below.
// It gives nil, with a problem, when a document stands for too much.
func (d *decoder) resolve(n *yaml.Node) (target *yaml.Node, done func()) {
	if n.Kind == yaml.AliasNode {
		d.inAlias++
		done = func() { d.inAlias-- }
		n = n.Alias
	} else {
		done = func() {}
	}
	if d.inAlias > 0 {
		d.aliased++
	}
	if d.aliased > maxAliased || len(d.path) > maxDepth {
		if d.aliased <= maxAliased+1 {
			d.aliased = maxAliased + 2
			d.problem(n.Line, "nests or repeats too much: at most %d values may come through aliases, %d deep", maxAliased, maxDepth)
		}
		return nil, done
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.problem(n.Line, "has the tag %s; tags are not accepted, write a plain value", n.Tag)
		return nil, done
	}
	return n, done
}

// value reads n into v, which is settable, and checks it against s.
func (d *decoder) value(n *yaml.Node, v reflect.Value, s *schema) {
	n, done := d.resolve(n)
	defer done()
	if n == nil {
		return
	}
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		p := reflect.New(t.Elem())
		d.value(n, p.Elem(), s)
		v.Set(p)
		return
	}
	if opaque(t) {
		d.opaque(n, v)
		return
	}
	switch t.Kind() { //nolint:exhaustive // what API types do not use ends in default
	case reflect.Struct:
		d.structure(n, v, s)
	case reflect.Map:
		d.mapping(n, v, s)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			d.bytes(n, v)
			return
		}
		d.list(n, v, s)
	case reflect.String:
		d.text(n, v, s)
	case reflect.Bool:
		d.boolean(n, v)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		d.integer(n, v, s)
	default:
		d.problem(n.Line, "cannot be read: type %s is not supported", t)
	}
}

// entries calls read for each distinct key of a mapping. It reports whether n
// is one.
func (d *decoder) entries(n *yaml.Node, what string, read func(key, value *yaml.Node)) bool {
	if n.Kind != yaml.MappingNode {
		d.problem(n.Line, "is %s; expected %s", d.describe(n), what)
		return false
	}
	seen := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind != yaml.ScalarNode || key.Tag == "!!merge" {
			what := "a key that is not text"
			if key.Tag == "!!merge" {
				what = `a merge key "<<"`
			}
			d.problem(key.Line, "has %s, which is not accepted; write the fields out", what)
			continue
		}
		if first, twice := seen[key.Value]; twice {
			d.push(crumb{name: key.Value, how: '.'})
			d.problem(key.Line, "is set twice; the other is %s", above(key.Line, first))
			d.pop()
			continue
		}
		seen[key.Value] = key.Line
		read(key, n.Content[i+1])
	}
	return true
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, s *schema) {
	info := structs()[v.Type()]
	set := make(map[string]bool, 8)
	ok := d.entries(n, "an object with fields", func(key, value *yaml.Node) {
		f, known := info.fields[key.Value]
		if !known {
			d.unknownField(key, info)
			return
		}
		d.push(crumb{name: key.Value, how: '.'})
		defer d.pop()
		if null(value) {
			if !d.mayBeNull(f) {
				d.problem(key.Line, "has no value; give it one or leave the field out")
			}
			return
		}
		set[key.Value] = true
		d.value(value, v.FieldByIndex(f.index), s.property(key.Value))
	})
	if !ok || s == nil {
		return
	}
	for _, name := range s.defaults {
		if f, known := info.fields[name]; known && !set[name] {
			set[name] = true
			d.push(crumb{name: name, how: '.'})
			d.value(s.Properties[name].value, v.FieldByIndex(f.index), s.Properties[name])
			d.pop()
		}
	}
	for _, name := range s.Required {
		if !set[name] {
			d.push(crumb{name: name, how: '.'})
			d.problem(n.Line, "is missing; it is required")
			d.pop()
		}
	}
	if msg := s.checkCount(len(set)); msg != "" && (s.MinProperties != nil || s.MaxProperties != nil) {
		d.problem(n.Line, "%s", msg)
	}
}

func (d *decoder) unknownField(key *yaml.Node, info *structInfo) {
	hint := didYouMean(key.Value, info.names)
	if hint == "" {
		hint = "; expected " + oneOf(info.names)
	}
	d.push(crumb{name: key.Value, how: '.'})
	d.problem(key.Line, "unknown field%s", hint)
	d.pop()
}

func oneOf(names []string) string {
	switch len(names) {
	case 0:
		return "no fields here"
	case 1:
		return names[0]
	default:
		return "one of " + strings.Join(names, ", ")
	}
}

// mayBeNull accepts null where the API itself prints it: in fields that print
// when empty, and in what servers fill in. Elsewhere a null is a value that
// somebody forgot, and to drop it could drop a protection.
func (d *decoder) mayBeNull(f fieldInfo) bool {
	top := d.path[0].name
	return f.nullable || top == "metadata" || top == "status"
}

func null(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, s *schema) {
	t := v.Type()
	out := reflect.MakeMapWithSize(t, len(n.Content)/2)
	ok := d.entries(n, "an object of names and values", func(key, value *yaml.Node) {
		d.push(crumb{name: key.Value, how: 'k'})
		defer d.pop()
		if msg := surprise(key); msg != "" {
			d.problem(key.Line, "the key %s", msg)
			return
		}
		if null(value) {
			if d.path[0].name == "metadata" || d.path[0].name == "status" {
				return
			}
			d.problem(key.Line, "has no value; give it one or leave it out")
			return
		}
		elem := reflect.New(t.Elem()).Elem()
		d.value(value, elem, s.additional())
		out.SetMapIndex(reflect.ValueOf(key.Value).Convert(t.Key()), elem)
	})
	if !ok {
		return
	}
	if msg := s.checkCount(out.Len()); msg != "" {
		d.problem(n.Line, "%s", msg)
	}
	v.Set(out)
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, s *schema) {
	if n.Kind != yaml.SequenceNode {
		d.problem(n.Line, `is %s; expected a list`, d.describe(n))
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		d.push(crumb{index: i, how: 'i'})
		if null(item) {
			d.problem(item.Line, "has no value; give it one or leave the entry out")
		} else {
			d.value(item, out.Index(i), s.items())
		}
		d.pop()
	}
	if msg := s.checkCount(len(n.Content)); msg != "" {
		d.problem(n.Line, "%s", msg)
	}
	d.unique(n, s)
	v.Set(out)
}

// unique refuses entries of a set, or of a list keyed by fields, that repeat.
func (d *decoder) unique(n *yaml.Node, s *schema) {
	if s == nil || !s.UniqueItems && len(s.MapKeys) == 0 {
		return
	}
	seen := make(map[string]int, len(n.Content))
	for i, item := range n.Content {
		var key []string
		if s.UniqueItems {
			key = append(key, nodes.Scalar(item))
		}
		for _, name := range s.MapKeys {
			text := ""
			if f := nodes.Child(item, name); f != nil {
				text = nodes.Scalar(f)
			} else if p := s.items().property(name); p != nil && p.value != nil {
				text = p.value.Value
			}
			key = append(key, text)
		}
		k := strings.Join(key, "\x00")
		if first, twice := seen[k]; twice {
			d.push(crumb{index: i, how: 'i'})
			d.problem(item.Line, "has the %s of the entry %s; each must be unique", keyNames(s.MapKeys), above(item.Line, first))
			d.pop()
			continue
		}
		seen[k] = item.Line
	}
}

func keyNames(keys []string) string {
	if len(keys) == 0 {
		return "value"
	}
	return strings.Join(keys, ", ")
}

// above says where an earlier line is. A document may stand anywhere in a file,
// and does not know its lines' numbers there.
func above(line, earlier int) string {
	switch n := line - earlier; n {
	case 0:
		return "on the same line"
	case 1:
		return "one line above"
	default:
		return fmt.Sprintf("%d lines above", n)
	}
}

// opaque reads n by the type's own JSON reader.
func (d *decoder) opaque(n *yaml.Node, v reflect.Value) {
	if want := wants(v.Type()); want != "" {
		if n.Kind != yaml.ScalarNode || n.Tag != "!!str" && n.Tag != "!!timestamp" && (n.Tag != "!!int" || v.Type() != intOrString) {
			d.problem(n.Line, "is %s; expected %s", d.describe(n), want)
			return
		}
	}
	raw, ok := d.json(n, v.Type() == intOrString)
	if !ok {
		return
	}
	if err := json.Unmarshal(raw, v.Addr().Interface()); err != nil {
		if want := wants(v.Type()); want != "" && !d.secret {
			d.problem(n.Line, "%q is not %s", n.Value, want)
			return
		}
		d.problem(n.Line, "cannot be read as %s", v.Type())
	}
}
