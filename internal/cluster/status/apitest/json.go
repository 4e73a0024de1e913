package apitest

import (
	"io"
	"maps"
	"net/http"
)

func readAll(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
}

// meta gives the metadata of an object, which is made if missing.
func meta(o map[string]any) map[string]any {
	m, _ := o["metadata"].(map[string]any)
	if m == nil {
		m = map[string]any{}
		o["metadata"] = m
	}
	return m
}

func field(o map[string]any, name string) any {
	m, _ := o["metadata"].(map[string]any)
	return m[name]
}

// merge applies a JSON merge patch (RFC 7396). Neither argument is changed.
func merge(have, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	h, _ := have.(map[string]any)
	out := maps.Clone(h)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range p {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = merge(out[k], v)
		}
	}
	return out
}
