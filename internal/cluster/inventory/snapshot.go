package inventory

import (
	"bytes"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
)

// Snapshot is one view of a cluster. It is not changed once it is made.
type Snapshot struct {
	objects []*Object // by kind, namespace and name
	byRef   map[name]*Object
	byKind  map[kind][]*Object
	// Unreadable are the kinds of which nothing, or not everything, could be read.
	// A control that depends on one says unknown.
	Unreadable []Unreadable
	// Problems are the parts of the input that could not be read.
	Problems []Problem
	// Facts are what is known of the cluster as a whole.
	Facts Facts
}

// Facts are what is known of the cluster as a whole. The zero Facts are those of
// files: nothing is known.
type Facts struct {
	// Live says that the objects are a cluster's, not files to be applied to one.
	Live bool `json:"live,omitempty"`
	// Version is the API server's, as "v1.36.3"; "" is not known.
	Version string `json:"version,omitempty"`
	// Managed names who runs the control plane: "eks", "aks", "gke"; "" is not
	// known or nobody.
	Managed string `json:"managed,omitempty"`
	// Partial says that a kind without objects may not have been asked for, so
	// that Unread says that it may be missing.
	Partial bool `json:"partial,omitempty"`
}

// Unreadable is a kind, in one namespace or in all, that could not be read.
type Unreadable struct {
	Group string `json:"group"`
	Kind  string `json:"kind"`
	// Namespace is "" for all of them, but for those in Except.
	Namespace string   `json:"namespace,omitempty"`
	Except    []string `json:"except,omitempty"`
	// Reason is for people: "no permission to list secrets".
	Reason string `json:"reason"`
}

// Problem is a part of the input that could not be read.
type Problem struct {
	Location bulwark.Location `json:"location"`
	// What says what is wrong and, where it helps, what to do.
	What string `json:"what"`
}

// name and kind find objects whatever version they are written in.
type (
	kind struct{ group, kind string }
	name struct {
		kind
		namespace, name string
	}
)

func nameOf(o *Object) name { return name{kindOf(o), o.Namespace, o.Name} }
func kindOf(o *Object) kind { return kind{o.Group(), o.Kind} }

// NewSnapshot makes a Snapshot of objects in any order. Two with one name become a
// Problem. In a cluster, and of those that say the same, there is only the first. Of
// files nobody knows which one is applied last, so the others are there too, though
// Find gives the first.
func NewSnapshot(objects []*Object, facts Facts, unreadable []Unreadable, problems []Problem) *Snapshot {
	s := &Snapshot{
		byRef: make(map[name]*Object, len(objects)), byKind: map[kind][]*Object{},
		objects: make([]*Object, 0, len(objects)), Unreadable: unreadable, Problems: slices.Clone(problems), Facts: facts,
	}
	type repeat struct {
		name name
		text string
	}
	others := map[repeat]bool{} // of a name, those beside the first
	for _, o := range objects {
		if !unnamed(o) {
			n := nameOf(o)
			if first := s.byRef[n]; first != nil {
				s.Problems = append(s.Problems, Problem{o.Locate(""), o.String() + " is there already, from " + place(first)})
				again := repeat{n, string(o.raw)}
				if facts.Live || bytes.Equal(o.raw, first.raw) || others[again] {
					continue
				}
				others[again] = true
			} else {
				s.byRef[n] = o
			}
		}
		s.objects = append(s.objects, o)
	}
	if !slices.IsSortedFunc(s.objects, before) { // as those of a saved file are
		slices.SortStableFunc(s.objects, before)
	}
	for _, o := range s.objects {
		s.byKind[kindOf(o)] = append(s.byKind[kindOf(o)], o)
	}
	return s
}

// unnamed reports whether an object has no name yet, as one that is to get one by
// generateName, or none at all, as a component's configuration.
func unnamed(o *Object) bool { return o.Name == "" || strings.HasSuffix(o.Name, "*") }

func place(o *Object) string {
	if at := o.Locate(""); at.File != "" {
		return at.File
	}
	return "the cluster"
}

// Objects gives all objects by kind, namespace and name. Nobody changes the list.
func (s *Snapshot) Objects() []*Object { return s.objects }

// Kind gives the objects of a kind, of any version, by namespace and name. Nobody
// changes the list.
func (s *Snapshot) Kind(group, name string) []*Object { return s.byKind[kind{group, name}] }

// Find gives one object, or nil.
func (s *Snapshot) Find(group, kindName, namespace, objectName string) *Object {
	return s.byRef[name{kind{group, kindName}, namespace, objectName}]
}

// Unread gives why objects of a kind in a namespace may be missing, or "". With
// namespace "" it asks of all namespaces.
func (s *Snapshot) Unread(group, kindName, namespace string) string {
	for _, u := range s.Unreadable {
		if u.Group == group && (u.Kind == kindName || u.Kind == "") && u.covers(namespace) {
			return u.Reason
		}
	}
	if s.Facts.Partial && len(s.byKind[kind{group, kindName}]) == 0 {
		return "the file has no " + kindName + ", and may have only the kinds that were asked for"
	}
	return ""
}

// covers reports whether objects of a namespace, or with "" of any, are missing.
func (u *Unreadable) covers(namespace string) bool {
	if namespace == "" || u.Namespace != "" {
		return namespace == "" || u.Namespace == namespace
	}
	return !slices.Contains(u.Except, namespace)
}
