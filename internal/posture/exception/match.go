package exception

import (
	"fmt"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// broad says why it covers too much, or "".
func (e *PostureException) broad() string {
	for _, c := range e.Spec.Controls {
		if strings.Contains(c, "*") {
			return fmt.Sprintf("it names the controls %q, so it would cover those that do not exist yet", c)
		}
	}
	if e.on != nil {
		return ""
	}
	for i := range e.Spec.Objects {
		o := &e.Spec.Objects[i]
		if all(o.Name) && all(o.Namespace) && len(o.Labels) == 0 && e.Metadata.Namespace == "" {
			if all(o.Kind) {
				return "it covers every object of the cluster"
			}
			return "it covers every " + o.Kind + " of the cluster"
		}
	}
	return ""
}

// all reports whether a pattern matches every text.
func all(pattern string) bool { return strings.Trim(pattern, "*") == "" }

// target is an object that a finding is about.
type target struct {
	bulwark.ObjectRef
	labels map[string]string
}

// covers reports whether it is about a finding on an object, its expiry aside.
func (e *PostureException) covers(f *bulwark.Finding, o *target) bool {
	if !slices.Contains(e.Spec.Controls, f.Control) {
		return false
	}
	if e.on != nil {
		return e.on.ObjectRef == o.ObjectRef && (named(e.on) || e.on.Locate(f.Field) == f.Location)
	}
	if (e.own || e.Metadata.Namespace != "") && e.Metadata.Namespace != o.Namespace {
		return false
	}
	if len(e.Spec.Containers) > 0 && !slices.Contains(e.Spec.Containers, f.Container) {
		return false
	}
	field := func(p string) bool { return match(p, f.Field) }
	if len(e.Spec.Fields) > 0 && !slices.ContainsFunc(e.Spec.Fields, field) {
		return false
	}
	return slices.ContainsFunc(e.Spec.Objects, func(s Selector) bool { return s.matches(o) })
}

// named reports whether no other object of a snapshot has the same name: those
// without one, or with one to be generated, may be several.
func named(o *inventory.Object) bool { return o.Name != "" && !strings.HasSuffix(o.Name, "*") }

func (s *Selector) matches(o *target) bool {
	if s.Kind != "" && !match(s.Kind, o.Kind) || s.Name != "" && !match(s.Name, o.Name) {
		return false
	}
	// "Any namespace" is not "no namespace".
	if s.Namespace != "" && (o.Namespace == "" || !match(s.Namespace, o.Namespace)) {
		return false
	}
	for k, v := range s.Labels {
		if have, ok := o.labels[k]; !ok || !match(v, have) {
			return false
		}
	}
	return true
}

// match compares a text with a pattern in which "*" stands for any text, and "[*]"
// for one index or key in brackets. It takes time in proportion to the product of
// both lengths at worst.
func match(pattern, text string) bool {
	if !strings.Contains(pattern, "*") {
		return pattern == text
	}
	// at[p] says that the first p characters of the pattern match what was read.
	at := make([]bool, len(pattern)+1)
	next := make([]bool, len(pattern)+1)
	at[0] = true
	skip := func(at []bool) { // a star may stand for nothing
		for p := range len(pattern) {
			if at[p] && pattern[p] == '*' && !indexed(pattern, p) {
				at[p+1] = true
			}
		}
	}
	skip(at)
	for t := range len(text) {
		clear(next)
		for p := range len(pattern) {
			switch c := pattern[p]; {
			case !at[p]:
			case c == '*' && indexed(pattern, p):
				if text[t] != ']' {
					next[p], next[p+1] = true, true
				}
			case c == '*':
				next[p] = true
			case c == text[t]:
				next[p+1] = true
			}
		}
		skip(next)
		at, next = next, at
	}
	return at[len(pattern)]
}

// indexed reports whether the star at p stands alone in brackets.
func indexed(pattern string, p int) bool {
	return p > 0 && pattern[p-1] == '[' && p+1 < len(pattern) && pattern[p+1] == ']'
}
