// Package redact takes the values out of Secrets, so that a Snapshot says which
// there are and never what they hold.
package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
)

const (
	// Plain stands where a value was.
	Plain = "<value not read>"
	// Value is Plain in base64, as the values of data are.
	Value = "PHZhbHVlIG5vdCByZWFkPg=="
)

// fields are all that a Secret has. Nobody knows what another one holds.
var fields = []string{"apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData"} //nolint:gochecknoglobals // constant

// Secret gives the JSON text of a core/v1 Secret without its values. What stays
// are names, types, keys, values that are empty, and values that are certificates
// in PEM and nothing else, which are public. Annotations that hold a copy of a
// value, as kubectl apply makes one, lose their text too. Fields of another type
// than the API's are left out. No error has a part of the text.
func Secret(text []byte) ([]byte, error) {
	top := object(text)
	if top == nil {
		return nil, fmt.Errorf("a Secret is no JSON object")
	}
	var values []string
	for name, given := range top {
		switch {
		case !slices.Contains(fields, name):
			delete(top, name)
		case name == "data" || name == "stringData":
			found, err := mask(top, name, given)
			if err != nil {
				return nil, err
			}
			values = append(values, found...)
		}
	}
	if err := annotations(top, values); err != nil {
		return nil, err
	}
	return write(top)
}

// mask puts the marker in place of the values of a field, and gives them, as they
// stand and as they are meant.
func mask(top map[string]json.RawMessage, name string, given json.RawMessage) ([]string, error) {
	data := object(given)
	if data == nil {
		delete(top, name) // what it is instead may hold anything
		return nil, nil
	}
	marker, err := write(Value)
	if name == "stringData" {
		marker, err = write(Plain)
	}
	if err != nil {
		return nil, err
	}
	var values []string
	for key, entry := range data {
		var v string
		if json.Unmarshal(entry, &v) != nil {
			data[key] = marker
			continue
		}
		if v == "" || v == Value || v == Plain {
			continue
		}
		plain, notBase64 := base64.StdEncoding.DecodeString(v)
		switch {
		case name == "stringData" && certificates([]byte(v)), name == "data" && notBase64 == nil && certificates(plain):
			continue
		case notBase64 == nil:
			values = append(values, string(plain))
		}
		values = append(values, v)
		data[key] = marker
	}
	top[name], err = write(data)
	return values, err
}

func annotations(top map[string]json.RawMessage, values []string) error {
	meta := object(top["metadata"])
	if meta == nil {
		delete(top, "metadata")
		return nil
	}
	given, ok := meta["annotations"]
	if !ok {
		return nil
	}
	var texts map[string]string
	if json.Unmarshal(given, &texts) != nil {
		delete(meta, "annotations")
	} else {
		for key, v := range texts {
			if copied(v, values) {
				texts[key] = Plain
			}
		}
		var err error
		if meta["annotations"], err = write(texts); err != nil {
			return err
		}
	}
	var err error
	top["metadata"], err = write(meta)
	return err
}

// copied reports whether an annotation may hold a value of its Secret. A value of
// three characters would be found everywhere.
func copied(annotation string, values []string) bool {
	if strings.Contains(annotation, `"data"`) || strings.Contains(annotation, `"stringData"`) {
		return true
	}
	const telling = 4
	return slices.ContainsFunc(values, func(v string) bool { return len(v) >= telling && strings.Contains(annotation, v) })
}

// certificates reports whether a value is certificates in PEM and nothing else.
func certificates(text []byte) bool {
	text = bytes.TrimSpace(text)
	some := len(text) > 0
	for ; len(text) > 0; text = bytes.TrimSpace(text) {
		if !bytes.HasPrefix(text, []byte("-----BEGIN CERTIFICATE-----")) {
			return false
		}
		block, rest := pem.Decode(text)
		if block == nil || len(block.Headers) > 0 {
			return false
		}
		text = rest
	}
	return some
}

// object gives the fields of an object, nil for anything else.
func object(text []byte) map[string]json.RawMessage {
	var out map[string]json.RawMessage
	if json.Unmarshal(text, &out) != nil {
		return nil
	}
	return out
}

func write(v any) (json.RawMessage, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write a Secret: %w", err)
	}
	return text, nil
}
