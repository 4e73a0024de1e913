package fetch

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Redacted stands where a value of a Secret was, in base64 as values of Secrets
// are. An empty value stays empty, so that it can be told from one that is there.
const Redacted = "PHZhbHVlIG5vdCByZWFkPg==" // <value not read>

// redactedText is the same where no base64 is expected.
const redactedText = "<value not read>"

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
				return nil, fmt.Errorf("an item has another %s than the list, %s", field, shorten(string(given)))
			}
		}
		quoted, err := json.Marshal(want)
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
	if k.group == "" && k.kind == "Secret" && !secretValues {
		if err := redact(top, meta); err != nil {
			return nil, err
		}
	}
	var err error
	if top["metadata"], err = json.Marshal(meta); err != nil {
		return nil, fmt.Errorf("write metadata: %w", err)
	}
	out, err := json.Marshal(top)
	if err != nil {
		return nil, fmt.Errorf("write an object: %w", err)
	}
	return out, nil
}

// redact takes the values out of a Secret, and out of those of its annotations
// that hold a copy, as kubectl apply makes one. No error has a part of it.
func redact(top, meta map[string]json.RawMessage) error {
	for field := range top {
		switch field {
		case "apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData":
		default: // a Secret has no more, and nobody knows what it holds
			delete(top, field)
		}
	}
	var values []string
	for _, field := range []string{"data", "stringData"} {
		given, ok := top[field]
		if !ok {
			continue
		}
		var data map[string]*string
		if json.Unmarshal(given, &data) != nil {
			return fmt.Errorf("the %s of a Secret is no map of texts", field)
		}
		for key, v := range data {
			if v == nil || *v == "" {
				continue
			}
			values = append(values, *v)
			if plain, err := base64.StdEncoding.DecodeString(*v); err == nil {
				values = append(values, string(plain))
			}
			text := Redacted
			if field == "stringData" {
				text = redactedText
			}
			data[key] = &text
		}
		var err error
		if top[field], err = json.Marshal(data); err != nil {
			return fmt.Errorf("write the %s of a Secret: %w", field, err)
		}
	}
	given, ok := meta["annotations"]
	if !ok {
		return nil
	}
	var annotations map[string]string
	if json.Unmarshal(given, &annotations) != nil {
		return errors.New("the annotations of a Secret are no map of texts")
	}
	for key, v := range annotations {
		if copied(v, values) {
			annotations[key] = redactedText
		}
	}
	var err error
	if meta["annotations"], err = json.Marshal(annotations); err != nil {
		return fmt.Errorf("write the annotations of a Secret: %w", err)
	}
	return nil
}

// copied reports whether an annotation may hold a value of its Secret. A value of
// three characters would be found everywhere.
func copied(annotation string, values []string) bool {
	if strings.Contains(annotation, `"data"`) || strings.Contains(annotation, `"stringData"`) {
		return true
	}
	const telling = 4
	for _, v := range values {
		if len(v) >= telling && strings.Contains(annotation, v) {
			return true
		}
	}
	return false
}
