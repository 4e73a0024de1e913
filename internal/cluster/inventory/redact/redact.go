// Package redact takes the values out of Secrets, so that a Snapshot says which
// there are and never what they hold.
package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

const (
	// Plain stands where a value was.
	Plain = "<value not read>"
	// Value is Plain in base64, as the values of data are.
	Value = "PHZhbHVlIG5vdCByZWFkPg=="
)

// fields are all that a Secret has, metaFields all that its metadata has. Nobody
// knows what another one holds: "data" that is indented too far stands in metadata.
var (
	fields     = []string{"apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData"} //nolint:gochecknoglobals // constant
	metaFields = []string{                                                                             //nolint:gochecknoglobals // constant
		"name", "generateName", "namespace", "uid", "resourceVersion", "generation", "selfLink", "creationTimestamp",
		"deletionTimestamp", "deletionGracePeriodSeconds", "labels", "annotations", "ownerReferences", "finalizers",
	}
)

// Secret gives the JSON text of a core/v1 Secret without its values. What stays
// are names, types, keys, values that are empty, and values that are certificates
// in PEM and nothing else, which are public. An annotation that is a copy of the
// Secret, as kubectl apply makes one, is treated as the Secret itself, so that it
// still shows that there is a copy; one that holds a value in another form, or is
// packed, loses its text. Fields of another type than the API's are left out. No
// error has a part of the text.
func Secret(text []byte) ([]byte, error) { return secret(text, nil) }

// maxCopies is how deep copies in annotations of copies are followed.
const maxCopies = 3

// secret does it for a Secret or for a copy in an annotation; around looks for the
// values of what the copy is in.
func secret(text []byte, around *finder) ([]byte, error) {
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
	if err := metadata(top, newFinder(values, around)); err != nil {
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

func metadata(top map[string]json.RawMessage, look *finder) error {
	meta := object(top["metadata"])
	if meta == nil {
		delete(top, "metadata")
		return nil
	}
	maps.DeleteFunc(meta, func(name string, _ json.RawMessage) bool { return !slices.Contains(metaFields, name) })
	var texts map[string]string
	if given, ok := meta["annotations"]; !ok || json.Unmarshal(given, &texts) != nil {
		delete(meta, "annotations")
	} else {
		for key, v := range texts {
			texts[key] = annotation(v, look)
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

// annotation gives the text of an annotation without the values of its Secret.
func annotation(text string, look *finder) string {
	if o := object([]byte(text)); look.depth < maxCopies && (o["data"] != nil || o["stringData"] != nil || o["metadata"] != nil) {
		if masked, err := secret([]byte(text), look); err == nil {
			return string(masked)
		}
		return Plain
	}
	if manifest.MatchString(text) || look.finds(text) {
		return Plain
	}
	const short = 16 // a value that long would be no annotation but a word
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if len(text) < short || err != nil {
		return text
	}
	// Rancher keeps what it applied as base64 of a packed object, others pack too.
	if packed(raw) || manifest.Match(raw) || look.finds(string(raw)) {
		return Plain
	}
	return text
}

// manifest matches the fields of a Secret in JSON, quoted once or more, and in YAML.
var manifest = regexp.MustCompile(`"(?:data|stringData)\\*"|(?m:^[ \t]*(?:data|stringData)[ \t]*:)`)

// packed reports whether a text begins as gzip, zip, zstd, bzip2, xz or zlib do.
func packed(raw []byte) bool {
	for _, magic := range []string{"\x1f\x8b", "PK\x03\x04", "\x28\xb5\x2f\xfd", "BZh", "\xfd7zXZ", "\x78\x01", "\x78\x5e", "\x78\x9c", "\x78\xda"} {
		if bytes.HasPrefix(raw, []byte(magic)) {
			return true
		}
	}
	return false
}

// finder finds the values of a Secret in its annotations and, of a copy, those of
// what it is in too.
type finder struct {
	values []string
	around *finder
	depth  int
	// left is how many bytes are still compared: a made-up Secret has a hundred
	// thousand values and annotations as long.
	left int
}

// newFinder takes the values and, of those with several lines, the lines: a copy in
// JSON or YAML writes the line ends in its own way. A value of three characters
// would be found everywhere.
func newFinder(values []string, around *finder) *finder {
	const telling, tellingLine, work = 4, 8, 32 << 20
	f := &finder{left: work, around: around}
	if around != nil {
		f.depth = around.depth + 1
	}
	for _, v := range values {
		if len(v) >= telling {
			f.values = append(f.values, v)
		}
		if !strings.Contains(v, "\n") {
			continue
		}
		for line := range strings.Lines(v) {
			if line = strings.TrimSpace(line); len(line) >= tellingLine {
				f.values = append(f.values, line)
			}
		}
	}
	return f
}

// finds reports whether a value is, or may be, in a text.
func (f *finder) finds(text string) bool {
	if f == nil {
		return false
	}
	if f.left -= len(text) * len(f.values); f.left < 0 && len(f.values) > 0 {
		return true
	}
	return slices.ContainsFunc(f.values, func(v string) bool { return strings.Contains(text, v) }) || f.around.finds(text)
}

// certificates reports whether a value is certificates in PEM and nothing else.
func certificates(text []byte) bool {
	const begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
	text = bytes.TrimSpace(text)
	some := len(text) > 0
	for ; len(text) > 0; text = bytes.TrimSpace(text) {
		// Not pem.Decode, which passes over what is no block and tells nobody.
		body, ok := bytes.CutPrefix(text, []byte(begin))
		if !ok {
			return false
		}
		if body, text, ok = bytes.Cut(body, []byte(end)); !ok {
			return false
		}
		der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(body)), ""))
		if err != nil || len(der) == 0 {
			return false
		}
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
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false) // six bytes for one, in texts that no browser reads
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("write a Secret: %w", err)
	}
	return bytes.Clone(bytes.TrimSuffix(out.Bytes(), []byte("\n"))), nil // without room behind it: objects are kept
}
