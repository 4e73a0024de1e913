package authz

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// object is one of the typed variables. It knows its view only: fields are read
// when an expression asks, without reflection.
type object struct {
	typ  *objectType
	view *View
}

func (o *object) bind(t *objectType, v *View) { o.typ, o.view = t, v }

func (o *object) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("%s does not convert to %v", o.typ.name, t)
}

func (o *object) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("%s does not convert to %s", o.typ.name, t.TypeName())
}

func (o *object) Equal(other ref.Val) ref.Val {
	p, ok := other.(*object)
	return types.Bool(ok && p.typ == o.typ && p.view == o.view)
}

func (o *object) Type() ref.Type { return o.typ.celType }
func (o *object) Value() any     { return o }

// mapper is the part of a lazy map that differs.
type mapper interface {
	Find(key ref.Val) (ref.Val, bool)
	whole() (map[string]string, error)
}

// lazyMap is a map of strings that is built only when an expression looks at
// all of it.
type lazyMap struct {
	view *View
	self mapper
}

func (m *lazyMap) built() ref.Val {
	all, err := m.self.whole()
	if err != nil {
		return types.WrapErr(err)
	}
	return types.NewStringStringMap(types.DefaultTypeAdapter, all)
}

func (m *lazyMap) mapper() (traits.Mapper, ref.Val) {
	b := m.built()
	if t, ok := b.(traits.Mapper); ok {
		return t, nil
	}
	return nil, b
}

func (m *lazyMap) Get(key ref.Val) ref.Val {
	v, ok := m.self.Find(key)
	switch {
	case ok, v != nil:
		return v
	}
	return types.ValOrErr(key, "no such key: %v", key)
}

func (m *lazyMap) Contains(key ref.Val) ref.Val {
	v, ok := m.self.Find(key)
	if !ok && v != nil {
		return v
	}
	return types.Bool(ok)
}

func (m *lazyMap) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a map of the request does not convert to %v", t)
}

func (m *lazyMap) ConvertToType(t ref.Type) ref.Val {
	return types.NewErr("a map of the request does not convert to %s", t.TypeName())
}

func (m *lazyMap) Equal(other ref.Val) ref.Val { return m.built().Equal(other) }
func (m *lazyMap) Type() ref.Type              { return types.MapType }
func (m *lazyMap) Value() any                  { return m.self }

func (m *lazyMap) Size() ref.Val {
	t, e := m.mapper()
	if e != nil {
		return e
	}
	return t.Size()
}

func (m *lazyMap) Iterator() traits.Iterator {
	t, e := m.mapper()
	if e != nil {
		// An iterator cannot fail: it gives the error as its one element.
		return &errorIterator{err: e}
	}
	return t.Iterator()
}

type errorIterator struct {
	object
	err  ref.Val
	done bool
}

func (i *errorIterator) HasNext() ref.Val { return types.Bool(!i.done) }

func (i *errorIterator) Next() ref.Val {
	i.done = true
	return i.err
}

// stringList is a list of strings that finds its elements without making values
// of them.
type stringList struct{ all []string }

func (l *stringList) list() traits.Lister {
	return types.NewStringList(types.DefaultTypeAdapter, l.all)
}

func (l *stringList) Contains(v ref.Val) ref.Val {
	if s, ok := v.(types.String); ok {
		return types.Bool(slices.Contains(l.all, string(s)))
	}
	return l.list().Contains(v)
}

func (l *stringList) Add(other ref.Val) ref.Val        { return l.list().Add(other) }
func (l *stringList) Get(index ref.Val) ref.Val        { return l.list().Get(index) }
func (l *stringList) Iterator() traits.Iterator        { return l.list().Iterator() }
func (l *stringList) Size() ref.Val                    { return types.Int(len(l.all)) }
func (l *stringList) ConvertToType(t ref.Type) ref.Val { return l.list().ConvertToType(t) }
func (l *stringList) Equal(other ref.Val) ref.Val      { return l.list().Equal(other) }
func (l *stringList) Type() ref.Type                   { return types.ListType }
func (l *stringList) Value() any                       { return l.all }

func (l *stringList) ConvertToNative(t reflect.Type) (any, error) {
	v, err := l.list().ConvertToNative(t)
	if err != nil {
		return nil, fmt.Errorf("convert a list of strings: %w", err)
	}
	return v, nil
}
