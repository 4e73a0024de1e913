// Package posture runs controls over a snapshot and says what it found.
//
// What a controller made (the pods of a replica set, the replica set of a
// deployment) is judged like everything else, since admission may have changed it.
// A finding that its owner has too, of the same image, is not told twice, and of
// several pods of one owner that share a finding the first is named. A replica set of
// a deployment that is scaled to zero is history and is not judged.
package posture

import (
	"cmp"
	"context"
	"fmt"
	"hash/maphash"
	"runtime"
	"slices"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
)

// Options are the parts of an Engine.
type Options struct {
	Single []control.Single
	Joint  []graph.Check
	// Parameters are the values that replace defaults, by the id of a control of
	// content and the name.
	Parameters map[string]map[string]any
	// Now is when certificates and releases are judged to have ended. At the zero
	// time what depends on it is unknown.
	Now time.Time
	// Workers is how many goroutines judge. Default: one for each processor.
	Workers int
}

// Engine runs controls. It keeps nothing between runs and is safe for use by many
// goroutines.
type Engine struct {
	opt   Options
	metas []control.Meta // of Single, then of Joint
	seed  maphash.Seed
	byID  map[string]int // index in metas
}

// New makes an Engine. Two controls of one id are an error, and so is a parameter
// that no control has.
func New(opt Options) (*Engine, error) {
	e := &Engine{opt: opt, seed: maphash.MakeSeed(), byID: map[string]int{}}
	if e.opt.Workers <= 0 {
		e.opt.Workers = runtime.GOMAXPROCS(0)
	}
	e.opt.Single = slices.Clone(opt.Single)
	for _, s := range e.opt.Single {
		e.metas = append(e.metas, s.Meta())
	}
	for _, j := range opt.Joint {
		e.metas = append(e.metas, j.Meta)
	}
	for i, m := range e.metas {
		if _, ok := e.byID[m.ID]; ok {
			return nil, fmt.Errorf("two controls have the id %q", m.ID)
		}
		if m.ID == "" || m.Severity == 0 {
			return nil, fmt.Errorf("control %q (%s) has no id or no severity", m.ID, m.Title)
		}
		e.byID[m.ID] = i
	}
	for id, values := range opt.Parameters {
		i, ok := e.byID[id]
		if !ok {
			return nil, fmt.Errorf("parameters: there is no control %q", id)
		}
		if i >= len(e.opt.Single) {
			return nil, fmt.Errorf("parameters: control %q has none", id)
		}
		c, ok := e.opt.Single[i].(*content.Control)
		if !ok {
			return nil, fmt.Errorf("parameters: control %q has none", id)
		}
		with, err := c.With(values)
		if err != nil {
			return nil, err
		}
		e.opt.Single[i] = with
	}
	return e, nil
}

// Report is what all controls say of a snapshot.
type Report struct {
	// Findings are those that fail or are unknown, the worst first, then by
	// control, object and field.
	Findings []bulwark.Finding
	// Tallies count the verdicts of every control that ran, by id.
	Tallies []Tally
	// Objects is how many were judged.
	Objects int
	// Folded is how many findings are not told because the object's owner, or
	// another object of that owner, has them too.
	Folded int
	// Shared are, by fingerprint, the other objects of the same owner that have a
	// finding too: what is said of it is said of them.
	Shared     map[string][]bulwark.ObjectRef
	Facts      inventory.Facts
	Unreadable []inventory.Unreadable
	Problems   []inventory.Problem
}

// Tally counts the objects by the verdict of one control; of several results on
// one object the worst counts: fail, unknown, excepted, pass, not-applicable. What
// an owner made counts only where it is told of, or where the control is not for
// the owner.
type Tally struct {
	control.Meta
	Pass          int `json:"pass"`
	Fail          int `json:"fail"`
	Unknown       int `json:"unknown"`
	Excepted      int `json:"excepted"`
	NotApplicable int `json:"notApplicable"`
	// Reasons are why it does not apply or is unknown, each once, at most ten.
	Reasons []string `json:"reasons,omitempty"`
}

func (t *Tally) count(v bulwark.Verdict) {
	switch v {
	case bulwark.VerdictPass:
		t.Pass++
	case bulwark.VerdictFail:
		t.Fail++
	case bulwark.VerdictUnknown:
		t.Unknown++
	case bulwark.VerdictExcepted:
		t.Excepted++
	case bulwark.VerdictNotApplicable:
		t.NotApplicable++
	}
}

// reason keeps the first ten of all reasons in the order of their letters, so that
// it does not matter in which order they come.
func (t *Tally) reason(why string) {
	i, ok := slices.BinarySearch(t.Reasons, why)
	if ok || why == "" || i == 10 {
		return
	}
	t.Reasons = slices.Insert(t.Reasons, i, why)
	t.Reasons = t.Reasons[:min(len(t.Reasons), 10)]
}

// Judge runs all controls over the snapshot. It fails only if ctx ends.
func (e *Engine) Judge(ctx context.Context, snap *inventory.Snapshot) (*Report, error) {
	run, err := e.start(ctx, snap, false)
	if err != nil {
		return nil, err
	}
	return run.report(ctx)
}

// worst orders verdicts of one control on one object.
func worst(v bulwark.Verdict) int {
	return [...]int{bulwark.VerdictNotApplicable: 0, bulwark.VerdictPass: 1, bulwark.VerdictExcepted: 2, bulwark.VerdictUnknown: 3, bulwark.VerdictFail: 4}[v]
}

// order is that of the findings of a Report.
func order(a, b *bulwark.Finding) int {
	return cmp.Or(
		-cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Control, b.Control),
		cmp.Compare(a.Object.Kind, b.Object.Kind), cmp.Compare(a.Object.APIVersion, b.Object.APIVersion),
		cmp.Compare(a.Object.Namespace, b.Object.Namespace), cmp.Compare(a.Object.Name, b.Object.Name),
		cmp.Compare(a.Field, b.Field), cmp.Compare(a.Fingerprint, b.Fingerprint), cmp.Compare(a.Message, b.Message),
		cmp.Compare(a.Location.File, b.Location.File), cmp.Compare(a.Location.Line, b.Location.Line), cmp.Compare(a.Location.Column, b.Location.Column),
	)
}
