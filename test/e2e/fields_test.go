package e2e

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
)

// fieldsOf gives the path of every leaf field of a type, as YAML writes it:
// "cors.allowOrigins", "rateLimits[].name". Where v is valid, only those that
// it sets.
func fieldsOf(typ reflect.Type, v reflect.Value, at string, into map[string]bool) {
	whole := !v.IsValid()
	switch typ.Kind() { //nolint:exhaustive // the others are leaves
	case reflect.Pointer:
		switch {
		case whole:
			fieldsOf(typ.Elem(), v, at, into)
		case !v.IsNil():
			fieldsOf(typ.Elem(), v.Elem(), at, into)
		}
		return
	case reflect.Slice:
		if typ.Elem().Kind() != reflect.Struct {
			break
		}
		if whole {
			fieldsOf(typ.Elem(), v, at+"[]", into)
			return
		}
		for i := range v.Len() {
			fieldsOf(typ.Elem(), v.Index(i), at+"[]", into)
		}
		return
	case reflect.Struct:
		// Of another house: what is in it is not ours to show.
		if typ == reflect.TypeFor[metav1.LabelSelector]() || typ == reflect.TypeFor[metav1.Duration]() || typ.NumField() == 0 {
			into[at] = true
			return
		}
		for i := range typ.NumField() {
			f := typ.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			path := strings.TrimPrefix(at+"."+name, ".")
			if f.Anonymous {
				path = at
			}
			var inner reflect.Value
			if !whole {
				inner = v.Field(i)
			}
			fieldsOf(f.Type, inner, path, into)
		}
		return
	default:
	}
	if whole || !v.IsZero() {
		into[at] = true
	}
}

// undone are the fields that no test here can show, with the reason.
func undone() map[string]string {
	return map[string]string{
		"targetRefs[].group": "there is one group only, and the schema refuses others",
	}
}

// demanded fails unless the cases show every field of a SecurityPolicy, and only
// fields that the policies in the cluster really set.
func demanded(t *testing.T, shown map[string]bool) {
	t.Helper()
	all, set := map[string]bool{}, map[string]bool{}
	spec := reflect.TypeFor[v1alpha1.SecurityPolicySpec]()
	fieldsOf(spec, reflect.Value{}, "", all)
	for _, p := range get[v1alpha1.SecurityPolicyList](t, policies+"/securitypolicies").Items {
		fieldsOf(spec, reflect.ValueOf(p.Spec), "", set)
	}
	t.Logf("%d fields, %d set by the policies, %d shown", len(all), len(set), len(shown))
	if len(all) < 60 {
		t.Errorf("only %d fields found: the walk is broken", len(all))
	}
	for _, f := range slices.Sorted(maps.Keys(all)) {
		switch _, excused := undone()[f]; {
		case excused:
		case !shown[f]:
			t.Errorf("no case shows spec.%s", f)
		case !set[f]:
			t.Errorf("a case says that it shows spec.%s, but no policy sets it", f)
		}
	}
	for f := range shown {
		if !all[f] {
			t.Errorf("a case shows spec.%s, which does not exist", f)
		}
	}
	for f := range undone() {
		if !all[f] || shown[f] {
			t.Errorf("spec.%s is shown or gone: take it off the list of the undone", f)
		}
	}
}
