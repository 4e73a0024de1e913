package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory/jsonscan"
)

// Object is one object of a Snapshot. It keeps the text, not the values: a
// hundred thousand objects are held at once and each is looked at seldom.
// Objects are not changed once they are made and may be read by many goroutines.
type Object struct {
	bulwark.ObjectRef
	// UID and ResourceVersion are "" for what comes from files.
	UID, ResourceVersion string
	// Labels are the object's own. Nobody changes them.
	Labels map[string]string
	// Owner is the UID of the controller that made it, "" where there is none, and
	// OwnerRef is what the object says of it, which has no namespace: whoever wrote the
	// object may have written that.
	Owner    string
	OwnerRef bulwark.ObjectRef

	raw    []byte // JSON
	origin Origin
}

// Origin says where an object comes from. It is an interface because a place in a
// Helm template is found in another way than one in a plain file.
type Origin interface {
	// Locate gives the place of a field, or of the nearest parent that is there
	// (a field that is missing, or that only the API's defaults fill in). It may
	// read files again. path is like bulwark.Finding.Field, "" for the object.
	Locate(path string) bulwark.Location
}

// New makes an Object of its JSON text, which it keeps. The text must be an object
// with apiVersion, kind and metadata.name (a configuration file of a component,
// as KubeletConfiguration, may have no name). origin may be nil.
func New(text []byte, origin Origin) (*Object, error) {
	// Without room behind it, so that appending to Raw changes no neighbour.
	o := &Object{raw: slices.Clip(text), origin: origin}
	err := jsonscan.Fields(text, func(key string, value []byte) error {
		switch key {
		case "apiVersion":
			return set(&o.APIVersion, key, value)
		case "kind":
			return set(&o.Kind, key, value)
		case "metadata":
			return o.readMetadata(value)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read an object: %w", err)
	case o.APIVersion == "" || o.Kind == "":
		return nil, errors.New("an object has no apiVersion or no kind")
	}
	return o, nil
}

// WithKind gives the text of an object with apiVersion and kind, which the items
// of a list of one kind do not have.
func WithKind(text []byte, apiVersion, kindName string) []byte {
	head, err := json.Marshal(map[string]string{"apiVersion": apiVersion, "kind": kindName})
	_, rest, ok := bytes.Cut(text, []byte("{"))
	if err != nil || !ok {
		return text
	}
	if rest = bytes.TrimLeft(rest, " \t\r\n"); len(rest) > 0 && rest[0] != '}' {
		head[len(head)-1] = ','
		return append(head, rest...)
	}
	return head
}

// Raw gives the JSON text as it came. Nobody changes it.
func (o *Object) Raw() []byte { return o.raw }

// Content gives the object's values with API defaults applied, decoded anew: maps,
// lists, strings, bools, int64, float64 and nil, as an API server hands them to
// CEL. The caller may keep and change them.
func (o *Object) Content() (map[string]any, error) {
	content, err := decode(o.raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o, err)
	}
	if bytes.Contains(o.raw, []byte("null")) {
		dropNulls(content, "")
	}
	Default(content)
	return content, nil
}

// Locate gives the place of a field, see Origin.
func (o *Object) Locate(path string) bulwark.Location {
	if o.origin == nil {
		return bulwark.Location{}
	}
	return o.origin.Locate(path)
}

// Origin gives where the object comes from, nil where nobody said.
func (o *Object) Origin() Origin { return o.origin }
