// Package graph holds the controls that need more than one object, in Go: one
// file for each question, which adds its checks to the set, with examples in
// testdata/<id>.txtar.
package graph

import (
	"cmp"
	"slices"

	"bulwark.dev/bulwark"
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
	// Weight are those of Reads that only change how much a fail matters, so that a
	// pass stands where they could not be read.
	Weight []Kind
	// Any says that objects of every kind matter, as for what is used by nothing or
	// where Related names whatever uses something.
	Any bool
	// Absence says that a fail rests on something that was not found, so that it
	// is unknown too where a kind could not be read.
	Absence bool
	// Across says that objects of other namespaces matter for the verdict on an
	// object. Without it only its own namespace has to be readable.
	Across bool
	// Local says that the verdict on an object rests only on objects of its own
	// namespace (see home) and on those of the wide kinds. Judge is then given one
	// namespace at a time and sees no more than that, so that a change in one
	// namespace asks for no verdict anew in another. Where this is not certain it
	// stays unset: that is slow, not wrong.
	Local bool
	// Judge gives the verdicts by emit, in any order, each on an object of the
	// snapshot; an object that it is about and that passes gets VerdictPass. What
	// is about the cluster as a whole has a nil object.
	Judge func(ix *Index, emit func(*inventory.Object, control.Result))

	bare func(ix *Index, emit emitter) // Judge as it was written
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

// add puts a check into the set and gives how many there are then; two of one id
// are a mistake of ours.
func add(c Check) int {
	if slices.ContainsFunc(checks, func(o Check) bool { return o.ID == c.ID }) {
		panic("two checks are named " + c.ID)
	}
	c.bare = c.Judge
	c.Judge = func(ix *Index, emit func(*inventory.Object, control.Result)) {
		for _, place := range ix.Places(&c) {
			guard(&c, ix.At(place), emit)
		}
	}
	checks = append(checks, c)
	return len(checks)
}

type emitter = func(*inventory.Object, control.Result)

// guard runs a check in one place and turns what rests on kinds that could not be
// read into unknown: no check can forget it. In a namespace it drops what is said
// of objects of another, which is said there.
func guard(c *Check, ix *Index, emit emitter) {
	blind := map[string]string{} // by namespace; "" is the whole cluster
	unread := func(namespace string) string {
		if c.Across {
			namespace = ""
		}
		why, known := blind[namespace]
		if !known {
			why = ix.unread(c, namespace)
			blind[namespace] = why
		}
		return why
	}
	c.bare(ix, func(o *inventory.Object, r control.Result) {
		if o != nil && !ix.covers(o) {
			return
		}
		namespace := ""
		if o != nil {
			namespace = o.Namespace
		}
		rests := r.Verdict == bulwark.VerdictPass || r.Verdict == bulwark.VerdictFail && c.Absence
		if why := unread(namespace); rests && why != "" {
			r = control.Result{Verdict: bulwark.VerdictUnknown, Field: r.Field, Container: r.Container, Key: r.Key, Related: r.Related, Reason: why}
		}
		emit(o, r)
	})
	// Of the whole cluster it is said once.
	if ix.whole == nil || ix.name == nowhere {
		if why := unread(""); why != "" {
			emit(nil, control.Result{Verdict: bulwark.VerdictUnknown, Reason: why})
		}
	}
	for _, o := range ix.broken(c) {
		emit(o, control.Result{Verdict: bulwark.VerdictUnknown, Reason: "its content cannot be decoded"})
	}
}

// workloadKinds are the kinds of a plain cluster that have pod templates.
func workloadKinds() []Kind {
	return []Kind{
		{"", "Pod"},
		{"", "ReplicationController"},
		{"apps", "Deployment"},
		{"apps", "DaemonSet"},
		{"apps", "ReplicaSet"},
		{"apps", "StatefulSet"},
		{"batch", "Job"},
		{"batch", "CronJob"},
	}
}

// unread gives why the kinds that a check reads may be incomplete in a namespace
// ("" asks of all), or "".
func (ix *Index) unread(c *Check, namespace string) string {
	kinds := c.Reads
	if c.Pods {
		kinds = append(slices.Clone(kinds), workloadKinds()...)
	}
	for _, k := range kinds {
		if slices.Contains(c.Weight, k) {
			continue
		}
		if why := ix.Unread(k.Group, k.Kind, namespace); why != "" {
			return k.Kind + " objects could not all be read: " + why
		}
	}
	return ""
}
