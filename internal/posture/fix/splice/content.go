package splice

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
)

// Normal gives a value as decoded JSON would be, with exact numbers.
func Normal(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("a value that JSON does not have: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var out any
	if err := dec.Decode(&out); err != nil {
		return nil, err
	}
	return out, nil
}

// Changed gives content with an edit applied. What was given is not changed.
func Changed(content any, e Edit) (any, error) { return changed(content, e.Path, e) }

func changed(v any, path fieldpath.Path, e Edit) (any, error) {
	if len(path) == 0 {
		if e.Remove {
			return nil, errors.New("the whole object cannot be removed")
		}
		return e.Value, nil
	}
	step, rest := path[0], path[1:]
	switch at := v.(type) {
	case nil:
		if e.Remove {
			return v, nil
		}
		if step.Index >= 0 {
			return changed([]any{}, path, e)
		}
		return changed(map[string]any{}, path, e)
	case map[string]any:
		if step.Index >= 0 {
			return nil, fmt.Errorf("%s: an object has no index", path)
		}
		old, there := at[step.Key]
		if e.Remove && !there {
			return v, nil
		}
		out := make(map[string]any, len(at)+1)
		maps.Copy(out, at)
		if e.Remove && len(rest) == 0 {
			delete(out, step.Key)
			return out, nil
		}
		next, err := changed(old, rest, e)
		out[step.Key] = next
		return out, err
	case []any:
		switch {
		case step.Index < 0:
			return nil, fmt.Errorf("%s: a list has no field of a name", path)
		case step.Index >= len(at) && e.Remove:
			return v, nil
		case step.Index > len(at), step.Index == len(at) && len(rest) > 0:
			// A field of an element that is not there must not make one.
			return nil, fmt.Errorf("%s: the list has only %d elements", path, len(at))
		case step.Index == len(at):
			next, err := changed(nil, rest, e)
			return append(slices.Clone(at), next), err
		case e.Remove && len(rest) == 0:
			return slices.Delete(slices.Clone(at), step.Index, step.Index+1), nil
		}
		out := slices.Clone(at)
		next, err := changed(at[step.Index], rest, e)
		out[step.Index] = next
		return out, err
	}
	if e.Remove {
		return v, nil
	}
	return nil, fmt.Errorf("%s: there is a %T, which has no fields", path, v)
}

// missing gives the value that makes the rest of a path with e's value at its end.
func missing(rest fieldpath.Path, e Edit) (any, error) {
	if len(rest) == 0 {
		return e.Value, nil
	}
	return changed(nil, rest, e)
}
