// Package vap evaluates ValidatingAdmissionPolicies without an API server, by the
// API server's own code.
package vap

import (
	"context"
	"errors"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Policy is a policy that was compiled. It is safe for use by many goroutines.
type Policy struct {
	*admissionregistrationv1.ValidatingAdmissionPolicy
	validator validating.Validator
}

// Compile compiles all expressions of a policy. An error names those that are
// wrong.
func Compile(p *admissionregistrationv1.ValidatingAdmissionPolicy) (*Policy, error) {
	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, fmt.Errorf("make the CEL environment: %w", err)
	}
	hasParams := p.Spec.ParamKind != nil
	// No authorizer: nobody asks for anything here.
	decls := plugincel.OptionalVariableDeclarations{HasParams: hasParams}
	var wrong []error
	for i := range p.Spec.Variables {
		v := &validating.Variable{Name: p.Spec.Variables[i].Name, Expression: p.Spec.Variables[i].Expression}
		if r := compiler.CompileAndStoreVariable(v, decls, environment.StoredExpressions); r.Error != nil {
			wrong = append(wrong, fmt.Errorf("variable %s: %w", v.Name, r.Error))
		}
	}
	compile := func(what string, list []plugincel.ExpressionAccessor) plugincel.ConditionEvaluator {
		out := compiler.CompileCondition(list, decls, environment.StoredExpressions)
		for _, err := range out.CompilationErrors() {
			wrong = append(wrong, fmt.Errorf("%s: %w", what, err))
		}
		return out
	}
	var conditions, validations, messages, notes []plugincel.ExpressionAccessor
	for i := range p.Spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&p.Spec.MatchConditions[i]))
	}
	for _, a := range p.Spec.AuditAnnotations {
		notes = append(notes, &validating.AuditAnnotationCondition{Key: a.Key, ValueExpression: a.ValueExpression})
	}
	for _, v := range p.Spec.Validations {
		validations = append(validations, &validating.ValidationCondition{Expression: v.Expression, Message: v.Message, Reason: v.Reason})
		if v.MessageExpression == "" {
			messages = append(messages, nil)
			continue
		}
		messages = append(messages, &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression})
	}
	// With failurePolicy Ignore the API server goes on as if an expression that cannot
	// be run were not there. Here it must show, so that it is never taken for a pass.
	fail := admissionregistrationv1.Fail
	var matcher matchconditions.Matcher
	if len(conditions) > 0 {
		matcher = matchconditions.NewMatcher(compile("matchConditions", conditions), &fail, "policy", "validate", p.Name)
	}
	out := &Policy{ValidatingAdmissionPolicy: p, validator: validating.NewValidator(
		compile("validations", validations), matcher, compile("auditAnnotations", notes), compile("messageExpression", messages), &fail, nil,
	)}
	if err := errors.Join(wrong...); err != nil {
		return nil, fmt.Errorf("policy %s: %w", p.Name, err)
	}
	return out, nil
}

// Request is what a policy judges.
type Request struct {
	// Object is what is to be, Old what is there; nil without.
	Object, Old map[string]any
	// Resource is the object's resource, SubResource "" but for parts of it.
	Resource, SubResource string
	Params                runtime.Object
	// Namespace is that of the object, as an object; nil without one.
	Namespace *corev1.Namespace
}

// Decision is what a policy says of a request.
type Decision struct {
	// Applies says that the match conditions hold.
	Applies bool
	// Denied is by a validation, Failed by an expression that could not be run.
	Denied, Failed bool
	// Messages are those of the validations that deny or could not be run. The latter
	// may hold values of the object.
	Messages []string
	// Denials are those of the validations that deny.
	Denials []string
}

// Judge gives what the policy's expressions say. It looks neither at bindings nor
// at match constraints.
func (p *Policy) Judge(ctx context.Context, r Request) Decision {
	object, operation := &unstructured.Unstructured{Object: r.Object}, admission.Create
	var before runtime.Object
	if r.Old != nil {
		before, operation = &unstructured.Unstructured{Object: r.Old}, admission.Update
	}
	kind := object.GroupVersionKind()
	resource := schema.GroupVersionResource{Group: kind.Group, Version: kind.Version, Resource: r.Resource}
	var options runtime.Object = &metav1.CreateOptions{}
	if operation == admission.Update {
		options = &metav1.UpdateOptions{}
	}
	namespace := object.GetNamespace()
	if kind.Group == "" && kind.Kind == "Namespace" {
		namespace = object.GetName() // as the API server has it in the request for one
	}
	attributes := admission.NewAttributesRecord(object, before, kind, namespace, object.GetName(), resource, r.SubResource,
		operation, options, false, &user.DefaultInfo{Name: "bulwark"})
	versioned := &admission.VersionedAttributes{Attributes: attributes, VersionedKind: kind, VersionedObject: object, VersionedOldObject: before}
	result := p.validator.Validate(ctx, resource, versioned, r.Params, r.Namespace, celconfig.RuntimeCELCostBudget, nil)
	out := Decision{Applies: len(result.Decisions) > 0}
	for _, d := range result.Decisions {
		switch d.Evaluation {
		case validating.EvalDeny:
			out.Denied, out.Denials = true, append(out.Denials, d.Message)
		case validating.EvalError:
			out.Failed = true
		case validating.EvalAdmit:
			continue
		}
		out.Messages = append(out.Messages, d.Message)
	}
	for _, a := range result.AuditAnnotations {
		if a.Action == validating.AuditAnnotationActionError {
			out.Failed, out.Messages = true, append(out.Messages, a.Error)
		}
	}
	return out
}
