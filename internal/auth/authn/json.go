package authn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The limits of the JSON inside tokens and key sets.
const (
	maxJSONDepth = 16
	maxJSONNodes = 4096
)

// decodeObject decodes exactly one JSON object and refuses what two parsers may
// read in different ways: a name that occurs twice, invalid UTF-8, data behind
// the object. Numbers stay json.Number.
func decodeObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	d := &strictDecoder{dec: json.NewDecoder(bytes.NewReader(data)), left: maxJSONNodes}
	d.dec.UseNumber()
	tok, err := d.dec.Token()
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if tok != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	m, err := d.object(1)
	if err != nil {
		return nil, err
	}
	if _, err := d.dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("data behind the JSON object")
	}
	return m, nil
}

type strictDecoder struct {
	dec  *json.Decoder
	left int
}

// object decodes the rest of an object whose "{" was read.
func (d *strictDecoder) object(depth int) (map[string]any, error) {
	m := make(map[string]any)
	for d.dec.More() {
		tok, err := d.dec.Token()
		if err != nil {
			return nil, fmt.Errorf("not JSON: %w", err)
		}
		name, ok := tok.(string)
		if !ok {
			return nil, errors.New("not JSON: a member without a name")
		}
		if _, twice := m[name]; twice {
			return nil, fmt.Errorf("the member %q occurs twice", brief(name))
		}
		if m[name], err = d.value(depth); err != nil {
			return nil, err
		}
	}
	_, err := d.dec.Token()
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return m, nil
}

func (d *strictDecoder) value(depth int) (any, error) {
	if d.left--; d.left < 0 {
		return nil, fmt.Errorf("more than %d values", maxJSONNodes)
	}
	tok, err := d.dec.Token()
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return tok, nil
	}
	if depth >= maxJSONDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	if delim == '{' {
		return d.object(depth + 1)
	}
	list := []any{}
	for d.dec.More() {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	if _, err := d.dec.Token(); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return list, nil
}

// plain turns the json.Numbers inside v into int64 where they are whole and fit,
// and else into float64, in place.
func plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return math.NaN() // out of range: equal to nothing, above nothing
		}
		return f
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	}
	return v
}

// lookup finds a claim: by its whole name first, then with each dot stepping
// into an object. Nil where there is none.
func lookup(m map[string]any, path string) any {
	if v, ok := m[path]; ok {
		return v
	}
	for {
		name, rest, more := strings.Cut(path, ".")
		if !more {
			return m[name]
		}
		next, ok := m[name].(map[string]any)
		if !ok {
			return nil
		}
		m, path = next, rest
	}
}
