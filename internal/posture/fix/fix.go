// Package fix turns findings that say what to change into changes of the user's
// own files: fields of YAML and JSON, values of Helm charts, patches of Kustomize
// folders. Nothing is written until Plan.Write. Every change is proven first: the
// files are read, the chart or folder is rendered again, and only the intended
// fields may differ. What cannot be proven is left, with the reason.
package fix

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/chart"
	"bulwark.dev/bulwark/internal/cluster/inventory/fieldpath"
	"bulwark.dev/bulwark/internal/cluster/inventory/overlay"
	"bulwark.dev/bulwark/internal/posture/fix/splice"
)

// Options are the parts of a Plan that callers choose.
type Options struct {
	// Judge runs the controls. With it a change counts only if its finding is gone
	// afterwards, and Plan.Arisen is known.
	Judge func(*inventory.Snapshot) ([]bulwark.Finding, error)
	// Roots are the files and folders that may be written: a file that is a link,
	// or behind one, is changed only if what it leads to is in one of them.
	// Default: the folder of each file.
	Roots []string
}

// Plan is what would be changed.
type Plan struct {
	// Files are those that change, by path.
	Files []File
	// Fixed are the findings that the files resolve, Left the others.
	Fixed []bulwark.Finding
	Left  []Left
	// Arisen are findings that were not there before.
	Arisen []bulwark.Finding

	// roots may be written, and so may files that the user named one by one.
	roots, named []string
}

// File is one file before and after.
type File struct {
	Path string
	// Old is nil for a file that is new.
	Old, New []byte
}

// Left is a finding that is not fixed.
type Left struct {
	Finding bulwark.Finding
	// Reason says why, and what to do by hand where that is known.
	Reason string
}

// todo is one finding on its way.
type todo struct {
	finding bulwark.Finding
	object  *inventory.Object
	edits   []splice.Edit
	// reason says why it is left; "" while there is none.
	reason string
}

// New works out the changes for findings of a snapshot. An error means that the
// controls could not be run; what cannot be fixed is in Left.
func New(findings []bulwark.Finding, snap *inventory.Snapshot, opt Options) (*Plan, error) {
	refused := map[int]string{}
	var was []bulwark.Finding
	for {
		p, todos, after := plan(findings, snap, refused)
		p.roots = opt.Roots
		if opt.Judge == nil || len(p.Files) == 0 {
			return p, nil
		}
		if was == nil { // it is the same in each round
			var err error
			if was, err = opt.Judge(snap); err != nil {
				return nil, fmt.Errorf("judge what the fixes change: %w", err)
			}
		}
		now, err := opt.Judge(after)
		if err != nil {
			return nil, fmt.Errorf("judge what the fixes make: %w", err)
		}
		still := p.judge(findings, todos, was, now)
		if len(still) == 0 {
			return p, nil
		}
		for _, i := range still { // each round leaves at least one more
			refused[i] = "with the change made the finding is still there: change it by hand"
		}
	}
}

// plan works out the changes, without those that are refused already.
func plan(findings []bulwark.Finding, snap *inventory.Snapshot, refused map[int]string) (*Plan, []*todo, *inventory.Snapshot) {
	w := &world{files: map[string]*File{}, gone: map[*inventory.Object]bool{}}
	todos := make([]*todo, len(findings))
	plainly := map[string][]*todo{}
	charts := map[*chart.Chart][]*todo{}
	overlays := map[*overlay.Overlay][]*todo{}
	for i, f := range findings {
		t := &todo{finding: f, reason: refused[i]}
		todos[i] = t
		if t.reason == "" {
			t.reason = t.prepare(snap)
		}
		if t.reason != "" {
			continue
		}
		switch o := t.object.Origin().(type) {
		case *chart.Origin:
			charts[o.Chart()] = append(charts[o.Chart()], t)
		case *overlay.Origin:
			overlays[o.Overlay()] = append(overlays[o.Overlay()], t)
		default:
			at := t.object.Locate("").File
			plainly[at] = append(plainly[at], t)
		}
	}
	for _, at := range sorted(plainly, func(at string) string { return at }) {
		w.plain(at, plainly[at], snap)
	}
	for _, c := range sorted(charts, (*chart.Chart).Path) {
		w.chart(c, charts[c], snap)
	}
	for _, o := range sorted(overlays, (*overlay.Overlay).Dir) {
		w.overlay(o, overlays[o], snap)
	}
	p := &Plan{named: w.named}
	for _, t := range todos {
		if t.reason == "" {
			p.Fixed = append(p.Fixed, t.finding)
		} else {
			p.Left = append(p.Left, Left{t.finding, t.reason})
		}
	}
	for _, at := range sorted(w.files, func(at string) string { return at }) {
		p.Files = append(p.Files, *w.files[at])
	}
	var objects []*inventory.Object
	for _, o := range snap.Objects() {
		if !w.gone[o] {
			objects = append(objects, o)
		}
	}
	return p, todos, inventory.NewSnapshot(append(objects, w.made...), snap.Facts, snap.Unreadable, snap.Problems)
}

// sorted gives the keys of a map in the order of what name says.
func sorted[K comparable, V any](m map[K]V, name func(K) string) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int { return strings.Compare(name(a), name(b)) })
	return keys
}

// prepare finds the object and reads the edits, or says why that is no use.
func (t *todo) prepare(snap *inventory.Snapshot) string {
	f := t.finding
	switch {
	case f.Verdict != bulwark.VerdictFail:
		return "it is " + f.Verdict.String() + ", not failed"
	case len(f.Fix) == 0:
		return "no change is known that is safe: " + cmp.Or(f.Remediation, f.Message)
	}
	if t.object = object(f, snap); t.object == nil {
		return "its object is not in the input"
	}
	if t.object.Locate("").File == "" {
		return "its object came from no file: change it where it is deployed from"
	}
	for _, e := range f.Fix {
		path, err := fieldpath.Parse(e.Field)
		if err != nil {
			return err.Error()
		}
		if len(path) == 0 {
			return "the fix names no field"
		}
		value, err := splice.Normal(e.Value)
		if err != nil {
			return err.Error()
		}
		t.edits = append(t.edits, splice.Edit{Path: path, Value: value, Remove: e.Remove})
	}
	return ""
}

// object gives the object of a finding. Configuration files of components have no
// name; of these it is the one that has the field at the finding's place.
func object(f bulwark.Finding, snap *inventory.Snapshot) *inventory.Object {
	if f.Object.Name != "" {
		return snap.Find(f.Object.Group(), f.Object.Kind, f.Object.Namespace, f.Object.Name)
	}
	var found *inventory.Object
	for _, o := range snap.Kind(f.Object.Group(), f.Object.Kind) {
		if o.ObjectRef == f.Object && o.Locate(f.Field) == f.Location {
			if found != nil {
				return nil
			}
			found = o
		}
	}
	return found
}

// judge compares what the controls say before and after. still are the findings
// that were to be fixed and are not.
func (p *Plan) judge(findings []bulwark.Finding, todos []*todo, was, now []bulwark.Finding) (still []int) {
	prints := func(list []bulwark.Finding) map[string]int {
		out := map[string]int{}
		for _, f := range list {
			if f.Verdict != bulwark.VerdictExcepted {
				out[f.Fingerprint]++
			}
		}
		return out
	}
	has, had, fewer := prints(now), prints(was), prints(p.Fixed)
	for i, t := range todos {
		id := findings[i].Fingerprint
		if t.reason == "" && has[id] > max(0, had[id]-fewer[id]) {
			still = append(still, i)
		}
	}
	p.Arisen = nil
	for _, f := range now {
		if had[f.Fingerprint] == 0 {
			p.Arisen = append(p.Arisen, f)
		}
	}
	return still
}

// world is what the changes have made of the files so far.
type world struct {
	files map[string]*File
	// gone are objects that the files no longer make, made those that they make
	// instead.
	gone map[*inventory.Object]bool
	made []*inventory.Object
	// named are values files that the user gave.
	named []string
}

// change notes a file's new text. A file that is noted already keeps its old one.
func (w *world) change(path string, old, text []byte) {
	if f := w.files[path]; f != nil {
		f.New = text
		return
	}
	w.files[path] = &File{Path: path, Old: old, New: text}
}

// text gives what a file would hold by now.
func (w *world) text(path string, read []byte) []byte {
	if f := w.files[path]; f != nil {
		return f.New
	}
	return read
}

// ordered brings the edits of one object into an order in which they do not
// disturb each other: outer fields before inner ones, what is removed last and
// the later elements of a list first. Edits that are the same count once.
func ordered(todos []*todo) []splice.Edit {
	var out []splice.Edit
	for _, t := range todos {
		for _, e := range t.edits {
			if !slices.ContainsFunc(out, func(o splice.Edit) bool { return reflect.DeepEqual(o, e) }) {
				out = append(out, e)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b splice.Edit) int {
		switch {
		case a.Remove != b.Remove:
			if a.Remove {
				return 1
			}
			return -1
		case a.Remove:
			return -compare(a.Path, b.Path)
		}
		return len(a.Path) - len(b.Path)
	})
	return out
}

func compare(a, b fieldpath.Path) int {
	return slices.CompareFunc(a, b, func(a, b fieldpath.Step) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.Key, b.Key))
	})
}

var errConflict = errors.New("another finding's fix wants something else in this field")

// conflict reports whether two findings want different values in one field.
func conflict(t *todo, others []*todo) error {
	for _, o := range others {
		for _, a := range t.edits {
			for _, b := range o.edits {
				if compare(a.Path, b.Path) == 0 && !reflect.DeepEqual(a, b) {
					return errConflict
				}
			}
		}
	}
	return nil
}

// agreed gives the findings of one object that do not want different values in one
// field; of those that do the first stays.
func agreed(todos []*todo) []*todo {
	var out []*todo
	for _, t := range todos {
		if err := conflict(t, out); err != nil {
			t.reason = err.Error()
			continue
		}
		out = append(out, t)
	}
	return out
}

// most tries all findings at once, and if that fails, one after the other, and
// gives those that try accepts together. The others get its error as reason.
func most(todos []*todo, try func([]*todo) error) []*todo {
	if len(todos) == 0 || try(todos) == nil {
		return todos
	}
	var kept []*todo
	for _, t := range todos {
		if err := try(append(slices.Clip(kept), t)); err != nil {
			t.reason = err.Error()
			continue
		}
		kept = append(kept, t)
	}
	return kept
}
