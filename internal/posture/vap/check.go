package vap

import (
	"context"
	"encoding/json"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
	"bulwark.dev/bulwark/internal/posture/leak"
)

const undecoded = "its content cannot be decoded"

// Checks gives each policy as a control over a whole snapshot, from which come the
// parameters and the labels of namespaces. An object is judged as if it were
// created now.
func (s *Set) Checks() []graph.Check {
	out := make([]graph.Check, 0, len(s.policies))
	for _, b := range s.policies {
		out = append(out, graph.Check{
			// Any: which kinds it matches is known only with the objects at hand.
			Meta: b.meta, Across: true, Any: true,
			Judge: func(ix *graph.Index, emit func(*inventory.Object, control.Result)) { b.judge(ix.Snapshot, emit) },
		})
	}
	return out
}

func (b *bound) judge(snap *inventory.Snapshot, emit func(*inventory.Object, control.Result)) {
	k := &kinds{snap: snap}
	for _, o := range snap.Objects() {
		if Unserved(o.Group(), o.Kind) != "" {
			continue
		}
		t := &target{Object: o, kinds: k}
		a := matches(b.spec.Spec.MatchConstraints, t)
		if a.no() {
			continue
		}
		if a.yes {
			a.why = b.unknowable(t)
		}
		if a.why != "" {
			emit(o, unknown(a.why))
			continue
		}
		for _, r := range b.object(t) {
			emit(o, r)
		}
	}
}

// unknowable says what the policy asks of an object that no scan knows, or "".
func (b *bound) unknowable(t *target) string {
	if b.reads.why != "" {
		return b.reads.why
	}
	if t.Namespace == "" && (b.reads.place || b.reads.namespace) {
		if namespaced, known := t.namespaced(); namespaced || !known {
			return "the object names no namespace, and the policy looks at it"
		}
	}
	return ""
}

func unknown(why string) control.Result {
	return control.Result{Verdict: bulwark.VerdictUnknown, Message: "cannot be judged: " + why, Reason: why}
}

// object judges one object by every binding. A policy without a binding is judged
// as one that is bound everywhere.
func (b *bound) object(t *target) []control.Result {
	bindings := b.bindings
	if len(bindings) == 0 {
		if b.spec.Spec.ParamKind != nil {
			return []control.Result{unknown("the policy has parameters, and no binding gives them")}
		}
		bindings = []*admissionregistrationv1.ValidatingAdmissionPolicyBinding{{}}
	}
	content, err := t.content()
	if err != nil {
		return []control.Result{unknown(undecoded)}
	}
	if content, err = Typed(content); err != nil {
		return []control.Result{unknown("a field is of a type that the API server does not take")}
	}
	request := Request{Object: content}
	request.Resource, _ = t.kinds.resource(t.Group(), t.Kind)
	if t.Namespace != "" {
		var known bool
		request.Namespace, known = namespaceOf(t.kinds.snap, t.Namespace)
		if !known && b.reads.namespace {
			return []control.Result{unknown("namespace " + t.Namespace + " is not known")}
		}
	}
	v := verdicts{}
	for _, binding := range bindings {
		if a := matches(binding.Spec.MatchResources, t); a.yes {
			b.bind(t, binding, request, &v)
		} else if a.why != "" {
			v.out = append(v.out, unknown(a.why))
		}
	}
	switch {
	case len(v.out) > 0:
		return v.out
	case v.passed:
		return []control.Result{{Verdict: bulwark.VerdictPass}}
	}
	return []control.Result{{Verdict: bulwark.VerdictNotApplicable, Reason: "no match condition or binding of the policy is for it"}}
}

// verdicts are those of all bindings on one object.
type verdicts struct {
	out    []control.Result
	passed bool
}

// bind judges an object by one binding, once for each of its parameters.
func (b *bound) bind(t *target, binding *admissionregistrationv1.ValidatingAdmissionPolicyBinding, request Request, v *verdicts) {
	ref := binding.Spec.ParamRef
	all, why := t.params(b.spec.Spec.ParamKind, ref)
	switch {
	case why != "":
		v.out = append(v.out, unknown(why))
	case len(all) > 0:
	case ref.ParameterNotFoundAction != nil && *ref.ParameterNotFoundAction == admissionregistrationv1.AllowAction:
	case b.spec.Spec.FailurePolicy != nil && *b.spec.Spec.FailurePolicy == admissionregistrationv1.Ignore:
		v.out = append(v.out, unknown("the parameters of binding "+binding.Name+" are not there, and the policy is ignored then"))
	default:
		v.out = append(v.out, control.Result{
			Verdict: bulwark.VerdictFail, Key: binding.Name, Message: "the parameters of binding " + binding.Name + " are not there, and it denies then",
		})
	}
	for _, p := range all {
		request.Params = p.object
		key := binding.Name
		if len(all) > 1 {
			key += " " + p.name
		}
		switch d := b.policy.Judge(context.Background(), request); {
		case d.Denied:
			v.out = append(v.out, control.Result{Verdict: bulwark.VerdictFail, Key: key, Message: leak.Masked(strings.Join(d.Denials, "; "))})
		case d.Failed:
			v.out = append(v.out, unknown("an expression of the policy cannot be run on it"))
		case d.Applies:
			v.passed = true
		}
	}
}

// namespaceOf gives a Namespace as the policy sees it, and whether it is known.
func namespaceOf(snap *inventory.Snapshot, name string) (*corev1.Namespace, bool) {
	out := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{nameLabel: name}}}
	o := snap.Find("", "Namespace", "", name)
	if o == nil || json.Unmarshal(o.Raw(), out) != nil {
		return out, false
	}
	out.Labels = withName(out.Labels, name)
	return out, true
}
