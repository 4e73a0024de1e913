package cluster

import (
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// completeMeta puts objects without a namespace into "default", as kubectl
// does.
func completeMeta(k *kind, o metav1.Object) {
	if !k.wide && o.GetNamespace() == "" {
		o.SetNamespace(metav1.NamespaceDefault)
	}
}

// checkMeta checks what an API server checks about the metadata of any object.
func checkMeta(k *kind, o metav1.Object) field.ErrorList {
	at := field.NewPath("metadata")
	var errs field.ErrorList
	switch {
	case o.GetName() != "":
		for _, msg := range nameRule(k)(o.GetName()) {
			errs = append(errs, field.Invalid(at.Child("name"), o.GetName(), msg))
		}
	case o.GetGenerateName() != "":
		errs = append(errs, field.Forbidden(at.Child("generateName"), "nothing generates names in files; set name"))
	default:
		errs = append(errs, field.Required(at.Child("name"), ""))
	}
	if k.wide && o.GetNamespace() != "" {
		errs = append(errs, field.Forbidden(at.Child("namespace"), "a "+k.name+" has no namespace"))
	}
	if !k.wide {
		for _, msg := range validation.IsDNS1123Label(o.GetNamespace()) {
			errs = append(errs, field.Invalid(at.Child("namespace"), o.GetNamespace(), msg))
		}
	}
	errs = append(errs, metav1validation.ValidateLabels(o.GetLabels(), at.Child("labels"))...)
	return append(errs, apivalidation.ValidateAnnotations(o.GetAnnotations(), at.Child("annotations"))...)
}

func nameRule(k *kind) func(string) []string {
	switch k.name {
	case "Service":
		return validation.IsDNS1035Label
	case "Namespace":
		return validation.IsDNS1123Label
	default:
		return validation.IsDNS1123Subdomain
	}
}
