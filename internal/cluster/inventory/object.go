package inventory

import (
	"encoding/json"
	"fmt"

	"bulwark.dev/bulwark"
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
	// Owner is the UID of the controller that made it, "" where there is none.
	Owner string

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
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Metadata   struct {
			Namespace       string            `json:"namespace"`
			Name            string            `json:"name"`
			GenerateName    string            `json:"generateName"`
			UID             string            `json:"uid"`
			ResourceVersion string            `json:"resourceVersion"`
			Labels          map[string]string `json:"labels"`
			OwnerReferences []struct {
				UID        string `json:"uid"`
				Controller bool   `json:"controller"`
			} `json:"ownerReferences"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return nil, fmt.Errorf("read an object: %w", err)
	}
	m := &head.Metadata
	o := &Object{
		ObjectRef: bulwark.ObjectRef{APIVersion: head.APIVersion, Kind: head.Kind, Namespace: m.Namespace, Name: m.Name},
		UID:       m.UID, ResourceVersion: m.ResourceVersion, Labels: m.Labels, raw: text, origin: origin,
	}
	if o.Name == "" && m.GenerateName != "" {
		o.Name = m.GenerateName + "*"
	}
	for _, r := range m.OwnerReferences {
		if r.Controller {
			o.Owner = r.UID
		}
	}
	switch {
	case o.APIVersion == "" || o.Kind == "":
		return nil, fmt.Errorf("an object has no apiVersion or no kind")
	}
	return o, nil
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
