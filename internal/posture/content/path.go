package content

import (
	"fmt"
	"strconv"
	"strings"
)

// step is one part of a path: a field, or an index of a list. In the path of a
// list, all stands for every element.
type step struct {
	field string
	index int // -1: a field
	all   bool
}

// parsePath reads a path such as spec.rules[0].http, metadata.labels["a.b/c"] or,
// with all, spec.rules[].http.paths.
func parsePath(text string) ([]step, error) {
	var out []step
	rest := text
	for rest != "" {
		if rest[0] == '[' {
			inner, after, err := bracket(rest)
			if err != nil {
				return nil, fmt.Errorf("path %q: %w", text, err)
			}
			out, rest = append(out, inner), after
			if len(out) == 1 && inner.field == "" {
				return nil, fmt.Errorf("path %q begins with an index", text)
			}
			continue
		}
		if len(out) > 0 {
			if rest[0] != '.' {
				return nil, fmt.Errorf("path %q: a dot is missing before %q", text, rest)
			}
			rest = rest[1:]
		}
		end := strings.IndexAny(rest, ".[")
		if end < 0 {
			end = len(rest)
		}
		if end == 0 {
			return nil, fmt.Errorf("path %q has an empty part", text)
		}
		out, rest = append(out, step{field: rest[:end], index: -1}), rest[end:]
	}
	return out, nil
}

func bracket(rest string) (step, string, error) {
	if strings.HasPrefix(rest, "[]") {
		return step{index: -1, all: true}, rest[2:], nil
	}
	if strings.HasPrefix(rest, `["`) {
		quoted, err := strconv.QuotedPrefix(rest[1:])
		if err != nil || !strings.HasPrefix(rest[1+len(quoted):], "]") {
			return step{}, "", fmt.Errorf("a quoted name has no end")
		}
		name, err := strconv.Unquote(quoted)
		if err != nil || name == "" {
			return step{}, "", fmt.Errorf("a quoted name cannot be read")
		}
		return step{field: name, index: -1}, rest[len(quoted)+2:], nil
	}
	num, after, ok := strings.Cut(rest[1:], "]")
	n, err := strconv.ParseUint(num, 10, 31)
	if !ok || err != nil {
		return step{}, "", fmt.Errorf("%q is no index", rest)
	}
	return step{index: int(n)}, after, nil
}

// join puts a relative path after another.
func join(at, rel string) string {
	switch {
	case at == "":
		return rel
	case rel == "":
		return at
	case rel[0] == '[':
		return at + rel
	}
	return at + "." + rel
}

// pathOf gives steps as text, with the places of the elements; a field is quoted where it is no plain name.
func pathOf(steps []step, index []int) string {
	var b strings.Builder
	n := 0
	for _, s := range steps {
		switch {
		case s.all:
			b.WriteByte('[')
			b.WriteString(strconv.Itoa(index[n]))
			b.WriteByte(']')
			n++
		case plain(s.field):
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.field)
		default:
			b.WriteString("[" + strconv.Quote(s.field) + "]")
		}
	}
	return b.String()
}

func plain(name string) bool {
	for _, r := range name {
		if r != '_' && r != '-' && r != '$' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return name != ""
}
