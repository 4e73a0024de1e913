// Package posture runs controls over a snapshot and says what it found.
package posture

import (
	"context"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
)

// Options are the parts of an Engine.
type Options struct {
	Single []control.Single
	Joint  []graph.Check
	// Workers is how many goroutines judge. Default: one for each processor.
	Workers int
}

// Engine runs controls. It keeps nothing between runs and is safe for use by many
// goroutines.
type Engine struct{ opt Options }

// New makes an Engine. Two controls of one id are an error.
func New(opt Options) (*Engine, error) { return &Engine{opt: opt}, nil }

// Report is what all controls say of a snapshot.
type Report struct {
	// Findings are those that fail or are unknown, the worst first, then by
	// control, object and field.
	Findings []bulwark.Finding
	// Tallies count the verdicts of every control that ran, by id.
	Tallies []Tally
	// Objects is how many were judged.
	Objects    int
	Facts      inventory.Facts
	Unreadable []inventory.Unreadable
	Problems   []inventory.Problem
}

// Tally counts the objects by the verdict of one control; of several results on
// one object the worst counts: fail, unknown, excepted, pass, not-applicable.
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

// Judge runs all controls over the snapshot. It fails only if ctx ends.
func (e *Engine) Judge(ctx context.Context, snap *inventory.Snapshot) (*Report, error) {
	_ = e.opt
	return &Report{Objects: len(snap.Objects()), Facts: snap.Facts}, ctx.Err()
}
