package content

import (
	"hash/fnv"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/json"
)

// walk finds the elements of a list, or of lists in lists.
func (e *evaluation) walk(v any, steps []step) {
	switch {
	case len(steps) == 0:
		e.item = v
		e.part()
	case v == nil:
	case steps[0].all:
		list, ok := v.([]any)
		if !ok {
			e.unknown(e.path(len(e.c.list)-len(steps)), "a list is expected here")
			return
		}
		for i, el := range list {
			e.index, e.chain = append(e.index, i), append(e.chain, el)
			e.walk(el, steps[1:])
			e.index, e.chain = e.index[:len(e.index)-1], e.chain[:len(e.chain)-1]
		}
	default:
		m, ok := v.(map[string]any)
		if !ok {
			e.unknown(e.path(len(e.c.list)-len(steps)), "an object is expected here")
			return
		}
		e.walk(m[steps[0].field], steps[1:])
	}
}

// path gives the path of what is judged below the place, after n steps of the list.
func (e *evaluation) path(n int) string {
	if e.c.scope < ScopeObjectList {
		return ""
	}
	return pathOf(e.c.list[:n], e.index)
}

// id tells the elements of a list apart by their names, so that it stays when
// lists are reordered.
func (e *evaluation) id() string {
	var b strings.Builder
	for _, el := range e.chain {
		b.WriteString("/" + identity(el))
	}
	return b.String()
}

// name gives the key of a result: the same in a pod and in what made it.
func (e *evaluation) name(container, id string) string {
	prefix := ""
	if len(e.s.Pods) > 1 && e.pod >= 0 {
		prefix = e.s.Pods[e.pod].Path + ":"
	}
	switch e.c.scope {
	case ScopeObject, ScopeObjectList:
		prefix += "object"
	case ScopePod, ScopePodList:
		prefix += "pod"
	case ScopeContainer, ScopeContainerList:
		prefix += "container"
	}
	if container != "" {
		prefix += " " + container
	}
	return prefix + id
}

// identity names an element of a list: by its name or what else tells it apart,
// and what has nothing of that by what it holds.
func identity(el any) string {
	m, ok := el.(map[string]any)
	if !ok {
		return short(el)
	}
	for _, field := range []string{"name", "host", "path", "key", "mountPath", "containerPort", "port", "ip", "type"} {
		switch v := m[field].(type) {
		case string:
			if v != "" {
				return v
			}
		case int64:
			return strconv.FormatInt(v, 10)
		}
	}
	return short(el)
}

func short(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	h := fnv.New64a()
	_, _ = h.Write(text)
	return strconv.FormatUint(h.Sum64(), 36)
}
