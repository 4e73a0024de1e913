package vap

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

const group = "admissionregistration.k8s.io"

// Set is policies with their bindings.
type Set struct {
	policies []*bound
}

// bound is a policy with what puts it to use.
type bound struct {
	meta     control.Meta
	spec     *admissionregistrationv1.ValidatingAdmissionPolicy
	reads    reads
	policy   *Policy // nil where reads.why says that it cannot be judged here
	bindings []*admissionregistrationv1.ValidatingAdmissionPolicyBinding
}

// Is reports whether an object is a policy or a binding.
func Is(o *inventory.Object) bool {
	return o.Group() == group && (o.Kind == "ValidatingAdmissionPolicy" || o.Kind == "ValidatingAdmissionPolicyBinding")
}

// NewSet makes a Set of the policies and bindings among objects. A policy that
// does not compile, or a binding of none of them, is an error, with its place.
func NewSet(objects []*inventory.Object) (*Set, error) {
	s := &Set{}
	for _, o := range objects {
		if !Is(o) || o.Kind != "ValidatingAdmissionPolicy" {
			continue
		}
		p := &admissionregistrationv1.ValidatingAdmissionPolicy{}
		if err := strictly(o, p); err != nil {
			return nil, fmt.Errorf("%s: read %s: %w", at(o), o, err)
		}
		b, err := newBound(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at(o), err)
		}
		s.policies = append(s.policies, b)
	}
	for _, o := range objects {
		if !Is(o) || o.Kind != "ValidatingAdmissionPolicyBinding" {
			continue
		}
		b := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
		if err := strictly(o, b); err != nil {
			return nil, fmt.Errorf("%s: read %s: %w", at(o), o, err)
		}
		i := slices.IndexFunc(s.policies, func(p *bound) bool { return p.spec.Name == b.Spec.PolicyName })
		if i < 0 {
			return nil, fmt.Errorf("%s: %s binds policy %q, which is not there", at(o), o, b.Spec.PolicyName)
		}
		s.policies[i].bindings = append(s.policies[i].bindings, b)
	}
	return s, nil
}

// strictly reads an object. A misspelt field is an error: without its rules a policy
// would be for everything, and without its validations for nothing.
func strictly(o *inventory.Object, into any) error {
	dec := json.NewDecoder(bytes.NewReader(o.Raw()))
	dec.DisallowUnknownFields()
	return dec.Decode(into) //nolint:wrapcheck // whoever asks says of what
}

func at(o *inventory.Object) string {
	l := o.Locate("")
	if l.File == "" {
		return "the cluster"
	}
	return fmt.Sprintf("%s:%d", l.File, l.Line)
}

// newBound compiles a policy. What depends on who asks is kept and says unknown;
// what users may do compiles for an API server only.
func newBound(p *admissionregistrationv1.ValidatingAdmissionPolicy) (*bound, error) {
	meta, err := metaOf(p)
	if err != nil {
		return nil, err
	}
	if p.Spec.MatchConstraints == nil || len(p.Spec.MatchConstraints.ResourceRules) == 0 {
		return nil, fmt.Errorf("policy %s: spec.matchConstraints.resourceRules is missing, and the API server takes no policy without", p.Name)
	}
	if len(p.Spec.Validations)+len(p.Spec.AuditAnnotations) == 0 {
		return nil, fmt.Errorf("policy %s: spec.validations is missing", p.Name)
	}
	b := &bound{meta: meta, spec: p, reads: readsOf(deciding(p)...)}
	if !b.reads.authorizer {
		b.policy, err = Compile(knowable(p))
	}
	return b, err
}

// metaOf describes a policy as a control, by the annotations that exported ones
// have; others are called by their name.
func metaOf(p *admissionregistrationv1.ValidatingAdmissionPolicy) (control.Meta, error) {
	text := func(name, fallback string) string {
		if v := strings.TrimSpace(p.Annotations["bulwark.dev/"+name]); v != "" {
			return v
		}
		return fallback
	}
	out := control.Meta{
		ID: "vap-" + p.Name, Title: text("title", "The policy "+p.Name+" is not met"), Severity: bulwark.SeverityMedium, Category: "policies",
		Why:         text("why", "A ValidatingAdmissionPolicy of yours says so; the API server would refuse, or warn of, the object."),
		Remediation: text("remediation", "Do what the policy asks for."),
	}
	severity := p.Annotations["bulwark.dev/severity"]
	if severity == "" {
		severity = p.Labels["bulwark.dev/severity"]
	}
	if severity != "" {
		s, err := bulwark.ParseSeverity(severity)
		if err != nil {
			return out, fmt.Errorf("policy %s: bulwark.dev/severity: %w", p.Name, err)
		}
		out.Severity = s
	}
	return out, nil
}
