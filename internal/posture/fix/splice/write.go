package splice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// bare is what needs no quotes anywhere, if the YAML writer has none for it
// either: words, names and paths.
var bare = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$`)

// small reports whether a value is best written on one line.
func small(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		for _, e := range v {
			switch e.(type) {
			case map[string]any, []any:
				return false
			}
		}
		return len(fmt.Sprint(v)) < 60
	case string:
		return !strings.Contains(v, "\n")
	}
	return true
}

// block writes a value on lines of its own; the first line has no indentation,
// those after it have indent spaces; step is the indentation of each level.
func block(value any, indent, step int) (string, error) {
	if small(value) {
		return flow(value, false)
	}
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(step)
	if err := enc.Encode(Plain(value)); err != nil {
		return "", fmt.Errorf("write the value: %w", err)
	}
	if err := enc.Close(); err != nil {
		return "", fmt.Errorf("write the value: %w", err)
	}
	lines := strings.Split(strings.TrimRight(buf.String(), "\n"), "\n")
	for i := 1; i < len(lines); i++ {
		if lines[i] != "" {
			lines[i] = strings.Repeat(" ", indent) + lines[i]
		}
	}
	return strings.Join(lines, "\n"), nil
}

// Plain turns exact numbers into what the YAML writer knows as numbers.
func Plain(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = Plain(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = Plain(e)
		}
		return out
	}
	return v
}

// entry writes one field for a block map whose keys stand at indent.
func entry(key string, value any, indent, step int, quoted bool) (string, error) {
	k := flowKey(key, quoted)
	if small(value) {
		text, err := flow(value, quoted)
		return k + ": " + text, err
	}
	inner := indent + step
	if _, ok := value.([]any); ok {
		inner = indent
	}
	if text, ok := value.(string); ok { // of several lines
		out, err := flow(text, true)
		return k + ": " + out, err
	}
	text, err := block(value, inner, step)
	return k + ":\n" + strings.Repeat(" ", inner) + text, err
}

// flow writes a value on one line. quoted asks for JSON.
func flow(value any, quoted bool) (string, error) {
	switch v := value.(type) {
	case map[string]any:
		parts := make([]string, 0, len(v))
		for _, k := range slices.Sorted(maps.Keys(v)) {
			text, err := flow(v[k], quoted)
			if err != nil {
				return "", err
			}
			parts = append(parts, flowKey(k, quoted)+": "+text)
		}
		return "{" + strings.Join(parts, ", ") + "}", nil
	case []any:
		parts := make([]string, 0, len(v))
		for _, e := range v {
			text, err := flow(e, quoted)
			if err != nil {
				return "", err
			}
			parts = append(parts, text)
		}
		return "[" + strings.Join(parts, ", ") + "]", nil
	case string:
		return flowKey(v, quoted), nil
	}
	text, err := json.Marshal(value)
	return string(text), err
}

// flowKey writes a text that is safe anywhere, with quotes only if it needs them.
func flowKey(text string, quoted bool) string {
	if !quoted && bare.MatchString(text) {
		if out, err := yaml.Marshal(text); err == nil && strings.TrimSpace(string(out)) == text {
			return text
		}
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		return `""`
	}
	return strings.TrimSpace(buf.String())
}
