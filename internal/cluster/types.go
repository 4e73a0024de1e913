package cluster

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// fieldInfo is a field of a JSON object.
type fieldInfo struct {
	index []int
	// nullable fields print null when empty, so that null must be readable.
	nullable bool
}

// structInfo is a struct as JSON sees it.
type structInfo struct {
	fields map[string]fieldInfo
	names  []string // sorted
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// opaque reports whether t reads JSON by itself, so that its fields are not the
// fields of the text.
func opaque(t reflect.Type) bool { return reflect.PointerTo(t).Implements(unmarshaler) }

// structs gives the JSON form of every struct that a known kind can hold. It is
// made once and never changed.
var structs = sync.OnceValue(func() map[reflect.Type]*structInfo {
	out := map[reflect.Type]*structInfo{}
	for _, k := range kinds() {
		describe(k.typ, out)
	}
	return out
})

func describe(t reflect.Type, out map[reflect.Type]*structInfo) {
	switch t.Kind() { //nolint:exhaustive // the other kinds hold no types
	case reflect.Pointer, reflect.Slice, reflect.Map:
		describe(t.Elem(), out)
	case reflect.Struct:
		if out[t] != nil || opaque(t) {
			return
		}
		info := &structInfo{fields: map[string]fieldInfo{}}
		out[t] = info
		info.add(t, nil)
		for _, f := range info.fields {
			describe(t.FieldByIndex(f.index).Type, out)
		}
		for name := range info.fields {
			info.names = append(info.names, name)
		}
		slices.Sort(info.names)
	}
}

// add enters the fields of t, those of embedded structs as its own.
func (s *structInfo) add(t reflect.Type, prefix []int) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		index := append(slices.Clone(prefix), i)
		switch {
		case name == "-" || !f.IsExported():
		case name == "" && f.Anonymous:
			s.add(f.Type, index)
		case name == "":
			// Every API field has a tag; one without is not part of the API.
		default:
			s.fields[name] = fieldInfo{index: index, nullable: !strings.Contains(options, "omitempty")}
		}
	}
}
