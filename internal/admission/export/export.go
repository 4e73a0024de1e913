// Package export writes controls as ValidatingAdmissionPolicies, which an API
// server enforces by itself. The text of a control is taken over as it is; around
// it stands CEL that gives it the same object, variables, container and item as a
// scan does.
//
// Three things differ from a scan. Custom resources with pod templates are not
// matched, for a policy must name its kinds; API defaults are those that the API
// server applies; and an expression that fails refuses the request (failurePolicy
// Fail), as far as the binding's actions do.
package export

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/posture/content"
)

// Options say what the policies do.
type Options struct {
	// Actions are what happens to a request that a policy finds wanting. At least
	// one; Deny and Warn exclude each other.
	Actions []admissionregistrationv1.ValidationAction
	// ExemptNamespaces are not looked at.
	ExemptNamespaces []string
}

// Policy is a control as the API server takes it.
type Policy struct {
	Control string
	Policy  *admissionregistrationv1.ValidatingAdmissionPolicy
	Binding *admissionregistrationv1.ValidatingAdmissionPolicyBinding
}

// LeftOut is a control that cannot be a policy, and why.
type LeftOut struct{ Control, Reason string }

// Policies writes controls as policies, in their order.
func Policies(controls []*content.Control, opt Options) ([]Policy, []LeftOut, error) {
	if err := opt.check(); err != nil {
		return nil, nil, err
	}
	var out []Policy
	var left []LeftOut
	for _, c := range controls {
		p, err := one(c, &opt)
		if cannot, ok := errors.AsType[*cannotError](err); ok {
			left = append(left, LeftOut{c.ID, cannot.reason})
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("export control %s: %w", c.ID, err)
		}
		out = append(out, p)
	}
	return out, left, nil
}

// cannotError says why a control cannot be a policy.
type cannotError struct{ reason string }

func (e *cannotError) Error() string { return e.reason }

func cannot(format string, args ...any) error { return &cannotError{fmt.Sprintf(format, args...)} }

func (o *Options) check() error {
	if len(o.Actions) == 0 {
		return errors.New("export: an action is required: Deny, Warn or Audit")
	}
	for i, a := range o.Actions {
		switch {
		case a != admissionregistrationv1.Deny && a != admissionregistrationv1.Warn && a != admissionregistrationv1.Audit:
			return fmt.Errorf("export: %q is no action: use Deny, Warn or Audit", a)
		case slices.Contains(o.Actions[:i], a):
			return fmt.Errorf("export: action %s is given twice", a)
		}
	}
	if slices.Contains(o.Actions, admissionregistrationv1.Deny) && slices.Contains(o.Actions, admissionregistrationv1.Warn) {
		return errors.New("export: the API server does not take Deny and Warn together")
	}
	for _, ns := range o.ExemptNamespaces {
		if len(validation.IsDNS1123Label(ns)) > 0 {
			return fmt.Errorf("export: %q is no name of a namespace", ns)
		}
	}
	return nil
}

func one(c *content.Control, opt *Options) (Policy, error) {
	rules, err := matches(c)
	if err != nil {
		return Policy{}, err
	}
	x, err := expressions(c)
	if err != nil {
		return Policy{}, err
	}
	meta := metav1.ObjectMeta{
		Name: "bulwark-" + c.ID,
		Labels: map[string]string{
			"app.kubernetes.io/managed-by": "bulwark",
			"bulwark.dev/severity":         c.Severity.String(),
		},
		Annotations: map[string]string{
			"bulwark.dev/control": c.ID, "bulwark.dev/title": line(c.Title),
			"bulwark.dev/why": line(c.Why), "bulwark.dev/remediation": line(c.Remediation),
		},
	}
	fail, equivalent, reason := admissionregistrationv1.Fail, admissionregistrationv1.Equivalent, metav1.StatusReasonForbidden
	p := &admissionregistrationv1.ValidatingAdmissionPolicy{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicy"},
		ObjectMeta: meta,
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			FailurePolicy:    &fail,
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: rules, MatchPolicy: &equivalent},
			MatchConditions:  x.conditions,
			Variables:        x.variables,
			Validations: []admissionregistrationv1.Validation{{
				Expression:        x.check,
				MessageExpression: x.message,
				Message:           line(fmt.Sprintf("%s: %s. %s", c.ID, c.Title, c.Remediation)),
				Reason:            &reason,
			}},
		},
	}
	b := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicyBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: meta.Name, Labels: meta.Labels},
		Spec:       admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: meta.Name, ValidationActions: opt.Actions},
	}
	if len(opt.ExemptNamespaces) > 0 {
		b.Spec.MatchResources = &admissionregistrationv1.MatchResources{
			MatchPolicy: &equivalent,
			NamespaceSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
				// The API server sets this label, and nobody can change it.
				Key: "kubernetes.io/metadata.name", Operator: metav1.LabelSelectorOpNotIn, Values: opt.ExemptNamespaces,
			}}},
		}
	}
	return Policy{Control: c.ID, Policy: p, Binding: b}, nil
}

// line makes a text one line, as messages must be.
func line(text string) string { return strings.Join(strings.Fields(text), " ") }

// YAML writes policies and their bindings as documents.
func YAML(policies []Policy) ([]byte, error) {
	var out []byte
	for _, p := range policies {
		for _, o := range []any{p.Policy, p.Binding} {
			text, err := yaml.Marshal(o)
			if err != nil {
				return nil, fmt.Errorf("write the policy of control %s: %w", p.Control, err)
			}
			// Status is the API server's.
			text = []byte(strings.TrimSuffix(string(text), "status: {}\n"))
			out = append(append(out, "---\n"...), text...)
		}
	}
	return out, nil
}
