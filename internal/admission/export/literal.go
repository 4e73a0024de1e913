package export

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// literal writes a JSON value as CEL. The API server takes lists and maps of one
// type only, so what is in them is dyn.
func literal(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "null", nil
	case bool:
		return strconv.FormatBool(v), nil
	case string:
		return strconv.Quote(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case float64:
		text := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(text, ".e") {
			text += ".0"
		}
		return text, nil
	case []any:
		var out []string
		for _, e := range v {
			text, err := literal(e)
			if err != nil {
				return "", err
			}
			out = append(out, text)
		}
		if !slices.ContainsFunc(v, func(e any) bool { _, ok := e.(string); return !ok }) {
			return "[" + strings.Join(out, ", ") + "]", nil
		}
		for i, text := range out {
			out[i] = "dyn(" + text + ")"
		}
		return "[" + strings.Join(out, ", ") + "]", nil
	case map[string]any:
		var out []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			text, err := literal(v[k])
			if err != nil {
				return "", err
			}
			out = append(out, strconv.Quote(k)+": dyn("+text+")")
		}
		return "{" + strings.Join(out, ", ") + "}", nil
	}
	return "", fmt.Errorf("a value of type %T cannot be written as CEL", v)
}
