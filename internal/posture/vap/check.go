package vap

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
)

// Checks gives each policy as a control over a whole snapshot, from which come the
// parameters and the labels of namespaces. An object is judged as if it were
// created now.
func (s *Set) Checks() []graph.Check {
	out := make([]graph.Check, 0, len(s.policies))
	for _, b := range s.policies {
		out = append(out, graph.Check{
			Meta: b.meta, Across: true,
			// Which kinds it matches is known only with the objects at hand.
			Reads: []graph.Kind{{Group: "", Kind: "Namespace"}},
			Judge: func(ix *graph.Index, emit func(*inventory.Object, control.Result)) { b.judge(ix.Snapshot, emit) },
		})
	}
	return out
}

func (b *bound) judge(snap *inventory.Snapshot, emit func(*inventory.Object, control.Result)) {
	for _, o := range snap.Objects() {
		a := matches(b.spec.Spec.MatchConstraints, snap, o)
		if !a.yes && a.why == "" {
			continue
		}
		if a.why == "" {
			a.why = b.why
		}
		if a.why != "" {
			emit(o, unknown(a.why))
			continue
		}
		content, err := o.Content()
		if err != nil {
			emit(o, unknown("its content cannot be decoded"))
			continue
		}
		for _, r := range b.object(snap, o, content) {
			emit(o, r)
		}
	}
}

func unknown(why string) control.Result {
	return control.Result{Verdict: bulwark.VerdictUnknown, Message: "cannot be judged: " + why, Reason: why}
}

// object judges one object by every binding. A policy without a binding is judged
// as one that is bound everywhere.
func (b *bound) object(snap *inventory.Snapshot, o *inventory.Object, content map[string]any) []control.Result {
	bindings := b.bindings
	if len(bindings) == 0 {
		if b.spec.Spec.ParamKind != nil {
			return []control.Result{unknown("the policy has parameters, and no binding gives them")}
		}
		bindings = []*admissionregistrationv1.ValidatingAdmissionPolicyBinding{{}}
	}
	request := Request{Object: content, Resource: Resource(o.Kind)}
	if o.Namespace != "" {
		var known bool
		request.Namespace, known = namespaceOf(snap, o.Namespace)
		if !known && strings.Contains(expressions(b.spec), "namespaceObject") {
			return []control.Result{unknown("namespace " + o.Namespace + " is not known")}
		}
	}
	var out []control.Result
	passed, applied := false, false
	for _, binding := range bindings {
		a := matches(binding.Spec.MatchResources, snap, o)
		if a.why != "" {
			out = append(out, unknown(a.why))
		}
		if !a.yes {
			continue
		}
		all, why, none := params(snap, b.spec.Spec.ParamKind, binding.Spec.ParamRef, o.Namespace)
		if why != "" {
			out = append(out, unknown(why))
			continue
		}
		if none {
			r := control.Result{Verdict: bulwark.VerdictFail, Key: binding.Name, Message: "the parameters of binding " + binding.Name + " are not there, and it denies then"}
			if action := binding.Spec.ParamRef.ParameterNotFoundAction; action != nil && *action == admissionregistrationv1.AllowAction {
				continue
			}
			out, applied = append(out, r), true
			continue
		}
		for _, p := range all {
			request.Params = p
			d := b.policy.Judge(context.Background(), request)
			applied = applied || d.Applies
			switch {
			case d.Failed:
				out = append(out, unknown("an expression of the policy cannot be run on it"))
			case d.Denied:
				out = append(out, control.Result{Verdict: bulwark.VerdictFail, Key: binding.Name, Message: strings.Join(d.Messages, "; ")})
			case d.Applies:
				passed = true
			}
		}
	}
	switch {
	case len(out) > 0:
		return out
	case passed:
		return []control.Result{{Verdict: bulwark.VerdictPass}}
	case !applied:
		return []control.Result{{Verdict: bulwark.VerdictNotApplicable, Reason: "no match condition or binding of the policy is for it"}}
	}
	return []control.Result{{Verdict: bulwark.VerdictNotApplicable, Reason: "the policy says nothing of it"}}
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

// params gives the parameters that a binding names, one nil where it has none; or
// why they are not known; or that none are there.
func params(snap *inventory.Snapshot, kind *admissionregistrationv1.ParamKind, ref *admissionregistrationv1.ParamRef, namespace string) (all []runtime.Object, why string, none bool) {
	if kind == nil || ref == nil {
		return []runtime.Object{nil}, "", false
	}
	of := (bulwark.ObjectRef{APIVersion: kind.APIVersion}).Group()
	if why := snap.Unread(of, kind.Kind, ""); why != "" {
		return nil, "parameters of kind " + kind.Kind + " could not be read: " + why, false
	}
	if ref.Namespace != "" {
		namespace = ref.Namespace
	}
	for _, o := range snap.Kind(of, kind.Kind) {
		if o.Namespace != "" && o.Namespace != namespace || ref.Name != "" && o.Name != ref.Name {
			continue
		}
		if a := selects(ref.Selector, o.Labels, ""); !a.yes {
			continue
		}
		content, err := o.Content()
		if err != nil {
			return nil, fmt.Sprintf("parameters %s cannot be decoded", o), false
		}
		all = append(all, &unstructured.Unstructured{Object: content})
	}
	if len(all) == 0 && !snap.Facts.Live {
		return nil, "the parameters of kind " + kind.Kind + " are not among what is scanned", false
	}
	return all, "", len(all) == 0
}
