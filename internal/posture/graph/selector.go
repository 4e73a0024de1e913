package graph

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// selector picks things by their labels: all needs must hold.
type selector struct {
	needs []need
	// bad says why the selector is not valid; such a one selects nothing.
	bad string
}

type operator uint8

const (
	opIn operator = iota + 1
	opNotIn
	opExists
	opAbsent
)

type need struct {
	key    string
	op     operator
	values []string
}

func (n *need) holds(labels map[string]string) bool {
	v, has := labels[n.key]
	switch n.op {
	case opIn:
		return has && slices.Contains(n.values, v)
	case opNotIn:
		return !has || !slices.Contains(n.values, v)
	case opExists:
		return has
	case opAbsent:
		return !has
	}
	return false
}

func (s *selector) matches(labels map[string]string) bool {
	if s.bad != "" {
		return false
	}
	for i := range s.needs {
		if !s.needs[i].holds(labels) {
			return false
		}
	}
	return true
}

// everything reports whether it selects whatever there is.
func (s *selector) everything() bool { return s.bad == "" && len(s.needs) == 0 }

// parseSelector reads a LabelSelector; rename, if not nil, translates keys. The
// selector of something that is no object selects nothing.
func parseSelector(v any, rename func(string) string) selector {
	m, ok := v.(map[string]any)
	if !ok {
		return selector{bad: "it is no object"}
	}
	if rename == nil {
		rename = func(s string) string { return s }
	}
	var s selector
	if given := at(m, "matchLabels"); given != nil {
		pairs, isMap := given.(map[string]any)
		if !isMap {
			return selector{bad: "matchLabels is no object"}
		}
		for k, e := range pairs {
			value, isText := e.(string)
			if !isText {
				return selector{bad: "the label " + k + " is no string"}
			}
			s.needs = append(s.needs, need{rename(k), opIn, []string{value}})
		}
	}
	for _, e := range list(m, "matchExpressions") {
		n := need{key: rename(text(e, "key")), values: texts(e, "values")}
		switch text(e, "operator") {
		case "In":
			n.op = opIn
		case "NotIn":
			n.op = opNotIn
		case "Exists":
			n.op = opExists
		case "DoesNotExist":
			n.op = opAbsent
		default:
			return selector{bad: "an operator is none of In, NotIn, Exists, DoesNotExist"}
		}
		s.needs = append(s.needs, n)
	}
	return s
}

// equal makes the selector of a Service or ReplicationController. An empty one
// selects nothing.
func equal(pairs map[string]string) selector {
	if len(pairs) == 0 {
		return selector{bad: "it is empty"}
	}
	var s selector
	for k, v := range pairs {
		s.needs = append(s.needs, need{k, opIn, []string{v}})
	}
	return s
}

// id tells selectors apart, whatever their values hold.
func (s *selector) id() string {
	parts := make([]string, 0, len(s.needs))
	for _, n := range s.needs {
		values := slices.Clone(n.values)
		slices.Sort(values)
		parts = append(parts, fmt.Sprintf("%d %q %q", n.op, n.key, values))
	}
	slices.Sort(parts)
	return strconv.Quote(s.bad) + strings.Join(parts, ";")
}

// String shows it as kubectl takes it.
func (s *selector) String() string {
	if s.bad != "" {
		return "nothing (" + s.bad + ")"
	}
	if len(s.needs) == 0 {
		return "everything"
	}
	parts := make([]string, 0, len(s.needs))
	for _, n := range s.needs {
		switch {
		case n.op == opIn && len(n.values) == 1:
			parts = append(parts, n.key+"="+n.values[0])
		case n.op == opIn:
			parts = append(parts, n.key+" in ("+strings.Join(n.values, ",")+")")
		case n.op == opNotIn:
			parts = append(parts, n.key+" notin ("+strings.Join(n.values, ",")+")")
		case n.op == opExists:
			parts = append(parts, n.key)
		case n.op == opAbsent:
			parts = append(parts, "!"+n.key)
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}
