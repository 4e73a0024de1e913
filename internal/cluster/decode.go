package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apischema "k8s.io/apimachinery/pkg/runtime/schema"
	apijson "k8s.io/apimachinery/pkg/util/json"

	"bulwark.dev/bulwark/api/v1alpha1"
)

// Undecoded stands for an object of a server that could not be decoded. A Store
// that holds one gives out its whole kind as unreadable: without the object,
// what the others mean is not known.
type Undecoded struct {
	metav1.PartialObjectMetadata

	// Err says why.
	Err error
}

// Decode reads the JSON of one object as an API server gives it: without the
// checks that files get, since the server made them, and without regard to
// fields that only a newer server knows. A SecurityPolicy is the exception: what
// it demands must not be lost, so one with such a field, or with a value that
// cannot be read, carries v1alpha1.AnnotationUnread and is invalid by that. With
// an error comes an *Undecoded, unless the JSON has no readable metadata; nil
// then.
func Decode(apiVersion, kindName string, text []byte) (Object, error) {
	gv, err := apischema.ParseGroupVersion(apiVersion)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", kindName, err)
	}
	k := kindNamed(kindName)
	if k == nil || k.group != gv.Group || !slices.Contains(k.versions, gv.Version) && !slices.Contains(k.older, gv.Version) {
		return nil, fmt.Errorf("decode: kind %s of %s is none that Bulwark reads", kindName, apiVersion)
	}
	obj, err := k.decode(text)
	if err != nil {
		broken := &Undecoded{}
		if apijson.Unmarshal(text, &broken.PartialObjectMetadata) != nil {
			return nil, fmt.Errorf("decode %s: %w", kindName, err)
		}
		broken.Err = fmt.Errorf("decode %s %s: %w", kindName, nameOf(broken), err)
		broken.SetGroupVersionKind(k.gvk())
		return broken, broken.Err
	}
	k.admit(obj)
	return obj, nil
}

func (k *kind) gvk() apischema.GroupVersionKind {
	return apischema.GroupVersionKind{Group: k.group, Version: k.versions[0], Kind: k.name}
}

func (k *kind) decode(text []byte) (Object, error) {
	obj, err := k.unmarshal(text)
	if err != nil {
		// Status is what controllers wrote, and nothing depends on it.
		if bare, bareErr := without(text, "status"); bareErr == nil {
			if again, againErr := k.unmarshal(bare); againErr == nil {
				obj, err = again, nil
			}
		}
	}
	if k.name != v1alpha1.KindSecurityPolicy {
		return obj, err
	}
	if err != nil {
		return bareSecurityPolicy(text, err)
	}
	if fields := unreadFields(text); len(fields) > 0 {
		markUnread(obj, strings.Join(fields, ", "))
	}
	return obj, nil
}

func (k *kind) unmarshal(text []byte) (Object, error) {
	v := reflect.New(k.typ)
	if err := apijson.Unmarshal(text, v.Interface()); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	obj, ok := reflect.TypeAssert[Object](v)
	if !ok {
		return nil, errors.New("is no object")
	}
	return obj, nil
}

// without gives a JSON object without one of its fields.
func without(text []byte, name string) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return nil, fmt.Errorf("read JSON: %w", err)
	}
	delete(fields, name)
	out, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("write JSON: %w", err)
	}
	return out, nil
}

// bareSecurityPolicy keeps of a policy that cannot be decoded what it is
// attached to, so that it is known where to refuse. One policy must not make all
// others unreadable: its author could be any tenant.
func bareSecurityPolicy(text []byte, cause error) (Object, error) {
	var bare struct {
		metav1.PartialObjectMetadata

		Spec struct {
			TargetRefs json.RawMessage `json:"targetRefs"`
		} `json:"spec"`
	}
	p := &v1alpha1.SecurityPolicy{}
	if err := apijson.Unmarshal(text, &bare); err != nil {
		return nil, cause
	}
	if err := apijson.Unmarshal(bare.Spec.TargetRefs, &p.Spec.TargetRefs); err != nil {
		return nil, cause
	}
	p.ObjectMeta = bare.ObjectMeta
	markUnread(p, cause.Error())
	return p, nil
}

func markUnread(o metav1.Object, what string) {
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationUnread] = what
	o.SetAnnotations(annotations)
}

// unreadFields gives the paths of the fields of a SecurityPolicy's spec that its
// Go type does not have.
func unreadFields(text []byte) []string {
	var p struct {
		Spec any `json:"spec"`
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return []string{"spec"}
	}
	var out []string
	unknown(reflect.TypeFor[v1alpha1.SecurityPolicySpec](), p.Spec, "spec", &out)
	slices.Sort(out)
	return out
}

func unknown(t reflect.Type, v any, path string, out *[]string) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if opaque(t) {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		if t.Kind() == reflect.Map {
			for name, item := range v {
				unknown(t.Elem(), item, path+"."+name, out)
			}
			return
		}
		info := structs()[t]
		if info == nil {
			return
		}
		for name, item := range v {
			f, ok := info.fields[name]
			if !ok {
				*out = append(*out, path+"."+name)
				continue
			}
			unknown(t.FieldByIndex(f.index).Type, item, path+"."+name, out)
		}
	case []any:
		if t.Kind() != reflect.Slice {
			return
		}
		for i, item := range v {
			unknown(t.Elem(), item, fmt.Sprintf("%s[%d]", path, i), out)
		}
	}
}

// Admit makes an object that a typed client decoded one of a Snapshot: it says
// its type, what the API leaves open is filled in, and what nobody reads is
// dropped. It changes obj. Objects of other kinds stay as they are.
func Admit(obj Object) {
	if k := kindOf(obj); k != nil {
		k.admit(obj)
	}
}

// noise are annotations that are large or change all the time, and that mean
// nothing to a gateway.
var noise = [...]string{
	corev1.LastAppliedConfigAnnotation,
	corev1.EndpointsLastChangeTriggerTime,
	"control-plane.alpha.kubernetes.io/leader",
}

func (k *kind) admit(obj Object) {
	obj.GetObjectKind().SetGroupVersionKind(k.gvk())
	obj.SetManagedFields(nil)
	for _, n := range noise {
		delete(obj.GetAnnotations(), n)
	}
	if s, ok := obj.(*discoveryv1.EndpointSlice); ok {
		for i := range s.Endpoints {
			s.Endpoints[i].TargetRef, s.Endpoints[i].DeprecatedTopology = nil, nil
		}
	}
	if k.complete != nil {
		k.complete(obj)
	}
}
