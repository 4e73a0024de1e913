package vap

import (
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"bulwark.dev/bulwark"
)

// parameter is an object that a policy judges by; object is nil where it has none.
type parameter struct {
	name   string
	object runtime.Object
}

// params gives the parameters that a binding names, one without an object where it
// names none; or why they are not known. Both are empty where none are there.
func (t *target) params(kind *admissionregistrationv1.ParamKind, ref *admissionregistrationv1.ParamRef) (all []parameter, why string) {
	if kind == nil || ref == nil {
		return []parameter{{}}, ""
	}
	if (ref.Name == "") == (ref.Selector == nil) {
		return nil, "the binding must name its parameters by either name or selector"
	}
	group := (bulwark.ObjectRef{APIVersion: kind.APIVersion}).Group()
	within, why := t.paramSpace(group, kind.Kind, ref)
	if why != "" {
		return nil, why
	}
	snap := t.kinds.snap
	if why := snap.Unread(group, kind.Kind, within); why != "" {
		return nil, "parameters of kind " + kind.Kind + " could not be read: " + why
	}
	for _, o := range snap.Kind(group, kind.Kind) {
		if o.Namespace != "" && o.Namespace != within || ref.Name != "" && o.Name != ref.Name {
			continue
		}
		a := answer{yes: true}
		if ref.Name == "" {
			a = selects(ref.Selector, o.Labels, "")
		}
		switch {
		case a.why != "":
			return nil, a.why
		case !a.yes:
			continue
		case o.Namespace != within:
			return nil, fmt.Sprintf("parameters %s name no namespace", o)
		case o.APIVersion != kind.APIVersion:
			return nil, fmt.Sprintf("parameters %s are written as %s, and the policy reads %s", o, o.APIVersion, kind.APIVersion)
		}
		content, err := o.Content()
		if err == nil {
			content, err = Typed(content)
		}
		if err != nil {
			return nil, fmt.Sprintf("parameters %s cannot be decoded", o)
		}
		all = append(all, parameter{strings.TrimPrefix(o.Namespace+"/"+o.Name, "/"), &unstructured.Unstructured{Object: content}})
	}
	if len(all) == 0 && !snap.Facts.Live {
		return nil, "the parameters of kind " + kind.Kind + " are not among what is scanned"
	}
	return all, ""
}

// paramSpace gives the namespace of parameters: that of the binding, and else that
// of the object. It is "" where the kind lives in none.
func (t *target) paramSpace(group, kind string, ref *admissionregistrationv1.ParamRef) (within, why string) {
	namespaced, known := t.kinds.namespaced(group, kind)
	switch {
	case !known && ref.Namespace == "":
		return "", "whether parameters of kind " + kind + " live in a namespace is not known"
	case known && !namespaced && ref.Namespace != "":
		return "", "the binding names a namespace, and parameters of kind " + kind + " live in none"
	case known && !namespaced:
		return "", ""
	case ref.Namespace != "":
		return ref.Namespace, ""
	case t.Namespace == "":
		return "", "the parameters are those of the object's namespace, and it names none"
	}
	return t.Namespace, ""
}
