package graph

import "strconv"

// The functions below read decoded JSON that anybody may have written: a field of
// the wrong type is like one that is not there. An API server refuses such
// objects, so nothing runs that they ask for.

func at(v any, path ...string) any {
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

func text(v any, path ...string) string {
	s, _ := at(v, path...).(string)
	return s
}

func list(v any, path ...string) []any {
	l, _ := at(v, path...).([]any)
	return l
}

func fields(v any, path ...string) map[string]any {
	m, _ := at(v, path...).(map[string]any)
	return m
}

func truth(v any, path ...string) bool {
	b, _ := at(v, path...).(bool)
	return b
}

func number(v any, path ...string) (int64, bool) {
	switch n := at(v, path...).(type) {
	case int64:
		return n, true
	case float64:
		return int64(n), true
	}
	return 0, false
}

func texts(v any, path ...string) []string {
	var out []string
	for _, e := range list(v, path...) {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func labels(v any, path ...string) map[string]string {
	m := fields(v, path...)
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, e := range m {
		if s, ok := e.(string); ok {
			out[k] = s
		}
	}
	return out
}

// portOf gives a port as int64 or string, and nil for anything else.
func portOf(v any, path ...string) any {
	if n, ok := number(v, path...); ok {
		return n
	}
	if s := text(v, path...); s != "" {
		return s
	}
	return nil
}

func itoa(n int) string { return strconv.Itoa(n) }

// count says how many there are of something.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return itoa(n) + " " + what + "s"
}

// item gives the path of an element of a list.
func item(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
