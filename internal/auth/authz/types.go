package authz

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// objectType is the type of one variable: unknown fields are errors when an
// expression is compiled.
type objectType struct {
	name    string
	celType *types.Type
	fields  map[string]field
}

// field is one field: its type and how it is read. Text is set for fields that
// are plain strings.
type field struct {
	typ  *types.Type
	get  func(*View) ref.Val
	text func(*View) string
}

func text(f func(*View) string) field {
	return field{typ: types.StringType, text: f, get: func(v *View) ref.Val { return types.String(f(v)) }}
}

var (
	stringsType   = types.NewListType(types.StringType)
	stringMapType = types.NewMapType(types.StringType, types.StringType)
)

var requestType = &objectType{
	name: "bulwark.Request", celType: types.NewObjectType("bulwark.Request"),
	fields: map[string]field{
		"method":   text(func(v *View) string { return v.Method }),
		"scheme":   text(func(v *View) string { return v.Scheme }),
		"host":     text(func(v *View) string { return v.Host }),
		"path":     text(func(v *View) string { return v.Path }),
		"sourceIP": text(func(v *View) string { return v.Source.Unmap().WithZone("").String() }),
		"size":     {typ: types.IntType, get: func(v *View) ref.Val { return types.Int(v.Size) }},
		"query": {typ: stringMapType, get: func(v *View) ref.Val {
			v.query.lazyMap = lazyMap{view: v, self: &v.query}
			return &v.query
		}},
		"headers": {typ: stringMapType, get: func(v *View) ref.Val {
			v.headers.lazyMap = lazyMap{view: v, self: &v.headers}
			return &v.headers
		}},
	},
}

var identityType = &objectType{
	name: "bulwark.Identity", celType: types.NewObjectType("bulwark.Identity"),
	fields: map[string]field{
		"name":      text(func(v *View) string { return v.Identity.Name }),
		"method":    text(func(v *View) string { return v.Identity.Method }),
		"issuer":    text(func(v *View) string { return v.Identity.Issuer }),
		"assurance": text(func(v *View) string { return v.Identity.Assurance }),
		"groups": {typ: stringsType, get: func(v *View) ref.Val {
			v.groups.all = v.Identity.Groups
			return &v.groups
		}},
		"roles": {typ: stringsType, get: func(v *View) ref.Val {
			v.roles.all = v.Identity.Roles
			return &v.roles
		}},
		"claims": {typ: types.NewMapType(types.StringType, types.DynType), get: func(v *View) ref.Val {
			return types.NewStringInterfaceMap(types.DefaultTypeAdapter, v.Identity.Claims)
		}},
	},
}

var routeType = &objectType{
	name: "bulwark.Route", celType: types.NewObjectType("bulwark.Route"),
	fields: map[string]field{
		"name":      text(func(v *View) string { return v.Route.Name }),
		"namespace": text(func(v *View) string { return v.Route.Namespace }),
		"labels": {typ: stringMapType, get: func(v *View) ref.Val {
			return types.NewStringStringMap(types.DefaultTypeAdapter, v.Route.Labels)
		}},
	},
}

// provider adds the types of the variables to CEL's own.
type provider struct {
	types.Provider
	objects map[string]*objectType
}

func newProvider() (*provider, *types.Registry, error) {
	reg, err := types.NewRegistry()
	if err != nil {
		return nil, nil, fmt.Errorf("cel types: %w", err)
	}
	p := &provider{Provider: reg, objects: make(map[string]*objectType)}
	for _, t := range []*objectType{requestType, identityType, routeType} {
		p.objects[t.name] = t
	}
	return p, reg, nil
}

func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if t, ok := p.objects[name]; ok {
		return types.NewTypeTypeWithParam(t.celType), true
	}
	return p.Provider.FindStructType(name)
}

func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	if t, ok := p.objects[name]; ok {
		return slices.Sorted(maps.Keys(t.fields)), true
	}
	return p.Provider.FindStructFieldNames(name)
}

func (p *provider) FindStructFieldType(name, fieldName string) (*types.FieldType, bool) {
	t, ok := p.objects[name]
	if !ok {
		return p.Provider.FindStructFieldType(name, fieldName)
	}
	f, ok := t.fields[fieldName]
	if !ok {
		return nil, false
	}
	return &types.FieldType{
		Type:  f.typ,
		IsSet: func(any) bool { return true },
		GetFrom: func(target any) (any, error) {
			if err, ok := target.(error); ok {
				return nil, err
			}
			o, ok := target.(*object)
			if !ok || o.typ != t {
				return nil, fmt.Errorf("%T is not a %s", target, t.name)
			}
			return f.get(o.view), nil
		},
	}, true
}
