// Package graph holds the controls that need more than one object, in Go: one
// file each, which adds itself to the set, with examples in testdata/<id>.txtar.
package graph

import (
	"cmp"
	"slices"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

// Check is a control over the whole snapshot.
type Check struct {
	control.Meta
	// Reads are the kinds whose objects the verdicts rest on, beside those with pod
	// templates if Pods is set. A change of any other object changes no verdict.
	// Where one of them could not be read, Judge says unknown.
	Reads []Kind
	Pods  bool
	// Judge gives the verdicts by emit, in any order, each on an object of the
	// snapshot; an object that it is about and that passes gets VerdictPass. What
	// is about the cluster as a whole has a nil object.
	Judge func(ix *Index, emit func(*inventory.Object, control.Result))
}

// Kind names a kind of object, of any version.
type Kind struct{ Group, Kind string }

// Checks gives all of them by id.
func Checks() []Check {
	out := slices.Clone(checks)
	slices.SortFunc(out, func(a, b Check) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

var checks []Check //nolint:gochecknoglobals // the set that the files of this package add to

// add puts a check into the set; two of one id are a mistake of ours.
func add(c Check) struct{} {
	if slices.ContainsFunc(checks, func(o Check) bool { return o.ID == c.ID }) {
		panic("two checks are named " + c.ID)
	}
	checks = append(checks, c)
	return struct{}{}
}

// Index is a Snapshot with what several checks look for, each made once, when it
// is first asked for.
type Index struct {
	*inventory.Snapshot
}

// NewIndex makes an Index.
func NewIndex(s *inventory.Snapshot) *Index { return &Index{Snapshot: s} }
