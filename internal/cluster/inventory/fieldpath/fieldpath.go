// Package fieldpath reads and writes the paths of fields as findings name them:
// "spec.containers[0].image", with keys that are no plain names quoted, as in
// metadata.labels["app.kubernetes.io/name"].
package fieldpath

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Step is one step of a path: the key of an object or the index of a list.
type Step struct {
	Key string
	// Index counts from 0. It is -1 where the step is a key.
	Index int
}

// Path is a way from an object to a field.
type Path []Step

// maxSteps is far more than any real field needs.
const maxSteps = 1000

// Parse reads a path. "" is the object itself.
func Parse(text string) (Path, error) {
	var out Path
	rest := text
	for rest != "" {
		if len(out) >= maxSteps {
			return nil, fmt.Errorf("field path of %d characters: more than %d steps", len(text), maxSteps)
		}
		switch {
		case rest[0] == '[' && len(rest) > 1 && rest[1] == '"':
			quoted, err := strconv.QuotedPrefix(rest[1:])
			if err != nil {
				return nil, fmt.Errorf("field path %q: a key is not quoted to its end", text)
			}
			key, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, fmt.Errorf("field path %q: %w", text, err)
			}
			rest = rest[1+len(quoted):]
			if !strings.HasPrefix(rest, "]") {
				return nil, fmt.Errorf("field path %q: no ] after %s", text, quoted)
			}
			rest = rest[1:]
			out = append(out, Step{Key: key, Index: -1})
		case rest[0] == '[':
			end := strings.IndexByte(rest, ']')
			if end < 0 {
				return nil, fmt.Errorf("field path %q: no ] for a [", text)
			}
			n, err := strconv.ParseUint(rest[1:end], 10, 31)
			if err != nil {
				return nil, fmt.Errorf("field path %q: %q is no index", text, rest[1:end])
			}
			rest = rest[end+1:]
			out = append(out, Step{Index: int(n)})
		default:
			if len(out) > 0 {
				if rest[0] != '.' {
					return nil, fmt.Errorf("field path %q: no . before %q", text, rest)
				}
				rest = rest[1:]
			}
			end := strings.IndexAny(rest, ".[")
			if end < 0 {
				end = len(rest)
			}
			if end == 0 {
				return nil, fmt.Errorf("field path %q: a name is empty", text)
			}
			out = append(out, Step{Key: rest[:end], Index: -1})
			rest = rest[end:]
		}
	}
	return out, nil
}

// String gives the text that Parse reads.
func (p Path) String() string {
	var b strings.Builder
	for _, s := range p {
		switch {
		case s.Index >= 0:
			b.WriteString("[" + strconv.Itoa(s.Index) + "]")
		case !plain(s.Key):
			b.WriteString("[" + strconv.Quote(s.Key) + "]")
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.Key)
		}
	}
	return b.String()
}

// plain reports whether a key needs no quotes.
func plain(key string) bool {
	for i := range len(key) {
		c := key[i]
		if c != '_' && c != '-' && c != '$' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return key != ""
}

// Get gives the value at the path in decoded JSON.
func (p Path) Get(v any) (any, bool) {
	for _, s := range p {
		switch at := v.(type) {
		case map[string]any:
			next, ok := at[s.Key]
			if s.Index >= 0 || !ok {
				return nil, false
			}
			v = next
		case []any:
			if s.Index < 0 || s.Index >= len(at) {
				return nil, false
			}
			v = at[s.Index]
		default:
			return nil, false
		}
	}
	return v, true
}

// Under reports whether p is the path of a field that is base, or within it.
func (p Path) Under(base Path) bool {
	return len(p) >= len(base) && slices.Equal(p[:len(base)], base)
}

// Key gives the path with one more step.
func (p Path) Key(key string) Path { return append(slices.Clip(p), Step{Key: key, Index: -1}) }

// At gives the path with one more step.
func (p Path) At(index int) Path { return append(slices.Clip(p), Step{Index: index}) }
