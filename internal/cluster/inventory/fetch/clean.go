package fetch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"bulwark.dev/bulwark/internal/cluster/inventory/redact"
)

// clean makes of an object of a list one that stands alone: kind and apiVersion,
// which lists of built-in kinds leave out, are put in; managedFields, often half
// of the text, and the values of Secrets are taken out.
func clean(text []byte, k resource, secretValues bool) ([]byte, error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(text, &top); err != nil || top == nil {
		return nil, errors.Join(errors.New("an item is no object"), err)
	}
	for field, want := range map[string]string{"kind": k.kind, "apiVersion": k.apiVersion()} {
		if given, ok := top[field]; ok {
			var got string
			if err := json.Unmarshal(given, &got); err != nil || got != "" && got != want {
				return nil, fmt.Errorf("an item has another %s than the list, %q", field, shorten(got))
			}
		}
		quoted, err := write(want)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", field, err)
		}
		top[field] = quoted
	}
	var meta map[string]json.RawMessage
	if err := json.Unmarshal(top["metadata"], &meta); err != nil || meta == nil {
		return nil, errors.Join(errors.New("an item has no metadata"), err)
	}
	delete(meta, "managedFields")
	var err error
	if top["metadata"], err = write(meta); err != nil {
		return nil, fmt.Errorf("write metadata: %w", err)
	}
	out, err := write(top)
	if err != nil {
		return nil, fmt.Errorf("write an object: %w", err)
	}
	if k.group == "" && k.kind == "Secret" && !secretValues {
		return redact.Secret(out)
	}
	return out, nil
}

// write is json.Marshal without escapes for HTML, which are six bytes for one.
func write(v any) (json.RawMessage, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return bytes.Clone(bytes.TrimSuffix(out.Bytes(), []byte("\n"))), nil // without room behind it: objects are kept
}
