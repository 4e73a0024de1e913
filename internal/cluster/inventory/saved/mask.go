package saved

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"

	utiljson "k8s.io/apimachinery/pkg/util/json"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// Redacted stands where a value of a Secret was, in base64 as those are.
const Redacted = "PHZhbHVlIG5vdCByZWFkPg=="

// applied is where kubectl keeps the object as it was applied, in full.
const applied = "kubectl.kubernetes.io/last-applied-configuration"

// masked gives an object's text, that of a Secret without its values.
func masked(o *inventory.Object) ([]byte, error) {
	if o.Kind != "Secret" || o.Group() != "" {
		return o.Raw(), nil
	}
	var content map[string]any
	if err := utiljson.Unmarshal(o.Raw(), &content); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	var values []string
	for _, field := range []string{"data", "stringData"} {
		data, ok := content[field].(map[string]any)
		if !ok {
			delete(content, field) // what it is instead may hold anything
			continue
		}
		for key, v := range data {
			text, _ := v.(string)
			if v == "" || v == nil || certificates(text) {
				continue
			}
			values = append(values, text)
			if plain, err := base64.StdEncoding.DecodeString(text); err == nil {
				values = append(values, string(plain))
			}
			data[key] = Redacted
		}
	}
	if meta, ok := content["metadata"].(map[string]any); ok {
		annotations, _ := meta["annotations"].(map[string]any)
		for key, v := range annotations {
			if text, _ := v.(string); key == applied || copied(text, values) {
				annotations[key] = Redacted
			}
		}
	}
	text, err := json.Marshal(content)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return text, nil
}

// copied reports whether an annotation holds a value of its Secret. One of three
// characters would be found everywhere.
func copied(annotation string, values []string) bool {
	const telling = 4
	return slices.ContainsFunc(values, func(v string) bool { return len(v) >= telling && strings.Contains(annotation, v) })
}

// certificates reports whether a value is certificates in PEM and nothing else.
func certificates(value string) bool {
	text, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(text) == 0 {
		return false
	}
	for text = bytes.TrimSpace(text); len(text) > 0; text = bytes.TrimSpace(text) {
		if !bytes.HasPrefix(text, []byte("-----BEGIN CERTIFICATE-----")) {
			return false
		}
		block, rest := pem.Decode(text)
		if block == nil || len(block.Headers) > 0 {
			return false
		}
		text = rest
	}
	return true
}
