// Package control holds what all posture controls have in common, whether they
// are content (package content), Go (packages pss, leak and graph) or a user's
// ValidatingAdmissionPolicy (package vap).
package control

import (
	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// Meta describes a control. All but References must be there.
type Meta struct {
	// ID is kebab-case and never changes once it was released.
	ID       string           `json:"id"`
	Title    string           `json:"title"`
	Severity bulwark.Severity `json:"severity"`
	// Category is the folder of its kind: "pods", "images", "identity" …
	Category string `json:"category"`
	// Why says what an attacker gains, Remediation what to do, in plain sentences.
	Why         string `json:"why"`
	Remediation string `json:"remediation"`
	// References are addresses of public documentation.
	References []string `json:"references,omitempty"`
}

// Result is one verdict on an object, or on a part of it.
type Result struct {
	Verdict bulwark.Verdict
	// Field is the path of what failed within the object, like
	// bulwark.Finding.Field.
	Field string
	// Container names the container, where it is about one.
	Container string
	// Key tells the results of one control on one object apart by something that
	// stays when lists are reordered: a port's name, a volume's. Default:
	// Container, and else Field without its indexes.
	Key string
	// Severity, where set, replaces the control's.
	Severity bulwark.Severity
	// Message says what is there, Reason why the verdict is unknown or
	// not-applicable.
	Message, Reason string
	// Related are other objects that the verdict rests on.
	Related []bulwark.ObjectRef
	Fix     []bulwark.Edit
}

// Subject is an object made ready once for all controls. Controls change nothing
// in it.
type Subject struct {
	Object  *inventory.Object
	Content map[string]any
	Pods    []inventory.PodTemplate
}

// Single is a control that looks at one object at a time. It is safe for use by
// many goroutines.
type Single interface {
	Meta() Meta
	// Applies reports whether the control has anything to say of objects of this
	// kind; it looks at the kind and at whether there are pod templates only.
	Applies(s *Subject) bool
	// Judge gives at least one Result. A Subject that passes gives one with
	// VerdictPass; each part that fails gives its own.
	Judge(s *Subject) []Result
}
