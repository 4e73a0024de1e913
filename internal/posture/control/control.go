// Package control holds what all posture controls have in common, whether they
// are content (package content), Go (packages pss, leak and graph) or a user's
// ValidatingAdmissionPolicy (package vap).
package control

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

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
	// Containers are those of each of Pods. Left out by who makes a Subject by hand:
	// ask ContainersOf.
	Containers [][]inventory.Container
	// Prepared is where package content keeps what its controls share.
	Prepared any

	typed []*Typed
}

// Typed is a pod specification in the API's own types, with the fields that the Pod
// Security Standards look at: the others cost more than all checks.
type Typed struct {
	Metadata metav1.ObjectMeta
	Spec     corev1.PodSpec
	// Err is set where a field is of a type that the API refuses.
	Err error
}

// NewSubject decodes an object and finds its pods and containers.
func NewSubject(o *inventory.Object) (*Subject, error) {
	content, err := o.Content()
	if err != nil {
		return nil, err
	}
	s := &Subject{Object: o, Content: content, Pods: inventory.PodTemplates(content)}
	s.Containers = make([][]inventory.Container, len(s.Pods))
	for i := range s.Pods {
		s.Containers[i] = s.Pods[i].Containers()
	}
	return s, nil
}

// SubjectOf is NewSubject for an object of JSON values, as examples are.
func SubjectOf(values map[string]any) (*Subject, error) {
	text, err := json.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("write an object: %w", err)
	}
	o, err := inventory.New(text, nil)
	if err != nil {
		return nil, err
	}
	return NewSubject(o)
}

// Typed gives Pods[i] in the API's own types, made when it is first asked for. A
// Subject is used by one goroutine at a time.
func (s *Subject) Typed(i int) *Typed {
	if s.typed == nil {
		s.typed = make([]*Typed, len(s.Pods))
	}
	if s.typed[i] == nil {
		t := &Typed{}
		s.typed[i] = t
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(reduced(s.Pods[i].Spec), &t.Spec); err != nil {
			t.Err = fmt.Errorf("read pod specification %s: %w", s.Pods[i].Path, err)
		} else if err := runtime.DefaultUnstructuredConverter.FromUnstructured(only(s.Pods[i].Metadata, "annotations"), &t.Metadata); err != nil {
			t.Err = fmt.Errorf("read pod metadata %s: %w", s.Pods[i].MetadataPath, err)
		}
	}
	return s.typed[i]
}

func reduced(spec map[string]any) map[string]any {
	out := only(spec, "securityContext", "hostNetwork", "hostPID", "hostIPC", "hostUsers", "os", "volumes")
	for _, kind := range []string{"initContainers", "containers", "ephemeralContainers"} {
		list, ok := spec[kind].([]any)
		if !ok {
			if spec[kind] != nil {
				out[kind] = spec[kind] // of a wrong type, which has to be said
			}
			continue
		}
		less := make([]any, len(list))
		for i, c := range list {
			less[i] = c
			if m, ok := c.(map[string]any); ok {
				less[i] = only(m, "name", "securityContext", "ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle")
			}
		}
		out[kind] = less
	}
	return out
}

func only(m map[string]any, fields ...string) map[string]any {
	out := make(map[string]any, len(fields))
	for _, f := range fields {
		if v, ok := m[f]; ok {
			out[f] = v
		}
	}
	return out
}

// ContainersOf gives the containers of Pods[i].
func (s *Subject) ContainersOf(i int) []inventory.Container {
	if i < len(s.Containers) {
		return s.Containers[i]
	}
	return s.Pods[i].Containers()
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
