package inventory

import (
	"fmt"
	"unique"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory/jsonscan"
)

// readMetadata takes from an object's metadata what an Object has of it. Metadata
// that comes twice counts as it comes last.
func (o *Object) readMetadata(text []byte) error {
	o.Namespace, o.Name, o.UID, o.ResourceVersion, o.Labels = "", "", "", "", nil
	o.Owner, o.OwnerRef = "", bulwark.ObjectRef{}
	if null(text) {
		return nil
	}
	var generate string
	err := jsonscan.Fields(text, func(key string, value []byte) error {
		switch key {
		case "namespace":
			return set(&o.Namespace, key, value)
		case "name":
			return set(&o.Name, key, value)
		case "generateName":
			return set(&generate, key, value)
		case "uid":
			return set(&o.UID, key, value)
		case "resourceVersion":
			return set(&o.ResourceVersion, key, value)
		case "labels":
			return o.readLabels(value)
		case "ownerReferences":
			return o.readOwner(value)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	if o.Name == "" && generate != "" {
		o.Name = generate + "*"
	}
	return nil
}

func (o *Object) readLabels(text []byte) error {
	o.Labels = nil
	if null(text) {
		return nil
	}
	err := jsonscan.Fields(text, func(key string, value []byte) error {
		var v string
		if err := set(&v, key, value); err != nil {
			return err
		}
		if o.Labels == nil {
			o.Labels = map[string]string{}
		}
		o.Labels[unique.Make(key).Value()] = unique.Make(v).Value()
		return nil
	})
	if err != nil {
		return fmt.Errorf("labels: %w", err)
	}
	return nil
}

func (o *Object) readOwner(text []byte) error {
	o.Owner, o.OwnerRef = "", bulwark.ObjectRef{}
	if null(text) {
		return nil
	}
	err := jsonscan.Elements(text, func(_ int, value []byte) error {
		var uid string
		var ref bulwark.ObjectRef
		controller := false
		err := jsonscan.Fields(value, func(key string, value []byte) error {
			switch key {
			case "uid":
				return set(&uid, key, value)
			// What is no text here names no owner.
			case "apiVersion":
				_ = set(&ref.APIVersion, key, value)
			case "kind":
				_ = set(&ref.Kind, key, value)
			case "name":
				_ = set(&ref.Name, key, value)
			case "controller":
				controller = string(value) == "true"
			}
			return nil
		})
		if err == nil && controller {
			o.Owner, o.OwnerRef = uid, ref
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("ownerReferences: %w", err)
	}
	return nil
}

func null(text []byte) bool { return string(text) == "null" }

// set reads a string. Those that many objects have are kept once.
func set(to *string, key string, value []byte) error {
	*to = ""
	if null(value) {
		return nil
	}
	text, ok := jsonscan.String(value)
	if !ok {
		return fmt.Errorf("%s is not text", key)
	}
	switch key {
	case "apiVersion", "kind", "namespace":
		text = unique.Make(text).Value()
	}
	*to = text
	return nil
}
