// Package content runs the controls that are written as YAML and CEL, the catalog's
// and users' own. The form is in catalog/controls/README.md.
package content

import (
	"maps"
	"path"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

// meta is control.Meta under a name that leaves Meta free for the method.
type meta = control.Meta

// Control is one file of content. It is a control.Single.
type Control struct {
	meta
	// File is where it stands, as given to Load or Parse.
	File      string
	AppliesTo AppliesTo
	// Each is what is judged, as in the file; see Scope and List.
	Each string
	// When, Check and Message are CEL. When is "" where it applies always, and
	// NotApplicable is why it does not.
	When, NotApplicable, Check, Message string
	// Field is what failed, relative to the part that is judged.
	Field string
	// Flag, where set, names the flag of a component that failed: its word in the
	// container's command or arguments, or the container where it is not there.
	Flag string
	// Parameters are the names with their defaults, as JSON values.
	Parameters map[string]any
	Fix        []Fix
	Examples   Examples

	scope  Scope
	list   []step
	params map[string]any
	text   []byte // of the file
	memo   *memo
	code   func() (*code, error)
	// passes and skips are what most objects get; nobody changes them.
	passes, skips []control.Result
}

// AppliesTo says which objects a control is for; one of the three is set.
type AppliesTo struct {
	// Pods: everything with a pod specification.
	Pods bool `yaml:"pods"`
	// Kinds: objects of these kinds.
	Kinds []Kind `yaml:"kinds"`
	// Component: pods with a container that runs this command.
	Component string `yaml:"component"`
}

// Kind names a kind of object, of any version.
type Kind struct {
	Group string `yaml:"group"`
	Kind  string `yaml:"kind"`
}

// Fix is one edit, relative to the part that is judged.
type Fix struct {
	Field string
	// Value is what to put there, as JSON values. It is nil with Remove.
	Value  any
	Remove bool
}

// Examples are objects, as JSON values, and what the control says of them.
type Examples struct {
	Pass, Skip []map[string]any
	Fail       []FailExample
}

// FailExample is an object with the fields that must be found in it.
type FailExample struct {
	Want   []string
	Object map[string]any
}

// Scope is what a control judges one by one.
type Scope uint8

// The scopes.
const (
	// ScopeObject: the object, once for each pod specification if it has any.
	ScopeObject Scope = iota
	// ScopePod: each pod specification.
	ScopePod
	// ScopeContainer: each container.
	ScopeContainer
	// ScopeObjectList, ScopePodList and ScopeContainerList: the elements of a list
	// in one of those.
	ScopeObjectList
	ScopePodList
	ScopeContainerList
)

// Scope gives what is judged one by one.
func (c *Control) Scope() Scope { return c.scope }

// Meta gives what the control has in common with all others.
func (c *Control) Meta() control.Meta { return c.meta }

// Compile compiles the expressions now, where Shipped left them for the first object
// that needs them.
func (c *Control) Compile() error {
	_, err := c.code()
	return err
}

// With gives the control with other values for parameters. A name that the control
// does not have is an error.
func (c *Control) With(params map[string]any) (*Control, error) {
	out := *c
	out.memo = newMemo() // what it said was said of the other values
	out.params = make(map[string]any, len(c.params))
	maps.Copy(out.params, c.params)
	for k, v := range params {
		was, ok := c.params[k]
		if !ok {
			return nil, c.errorf("parameters", "there is no parameter %q", k)
		}
		if v, ok = like(was, v); !ok {
			return nil, c.errorf("parameters", "%s must be a %s", k, typeName(was))
		}
		out.params[k] = v
	}
	return &out, nil
}

// command gives the last path element of the command that a container runs, and of
// what hyperkube is told to run.
func command(spec map[string]any) string {
	words, _ := spec["command"].([]any)
	if len(words) == 0 {
		words, _ = spec["args"].([]any)
	}
	for _, w := range words {
		s, _ := w.(string)
		if base := path.Base(s); base != "hyperkube" {
			return base
		}
	}
	return ""
}

// Edits gives the fix of a part of an object with absolute fields; at is the path
// of the part, "" for the object.
func (c *Control) Edits(at string) []bulwark.Edit {
	var out []bulwark.Edit
	for _, f := range c.Fix {
		out = append(out, bulwark.Edit{Field: join(at, f.Field), Value: f.Value, Remove: f.Remove})
	}
	return out
}
