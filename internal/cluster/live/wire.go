package live

import (
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"bulwark.dev/bulwark/internal/cluster"
)

// wire is an object of a custom resource on its way from the server: it lets
// cluster.Decode read the JSON, so that one object that does not fit costs
// itself and not the whole list.
type wire struct{ cluster.Object }

// GetObjectKind hides the type of the object, which the client would clear, and
// also works before anything was decoded.
func (w *wire) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject copies the object inside.
func (w *wire) DeepCopyObject() runtime.Object {
	if w.Object == nil {
		return &wire{}
	}
	obj, ok := w.Object.DeepCopyObject().(cluster.Object)
	if !ok {
		return &wire{}
	}
	return &wire{obj}
}

// UnmarshalJSON reads any version of any kind that cluster knows.
func (w *wire) UnmarshalJSON(text []byte) error {
	var t metav1.TypeMeta
	if err := json.Unmarshal(text, &t); err != nil {
		return fmt.Errorf("read type: %w", err)
	}
	return w.decode(t, text)
}

func (w *wire) decode(t metav1.TypeMeta, text []byte) error {
	obj, err := cluster.Decode(t.APIVersion, t.Kind, text)
	if obj == nil {
		return fmt.Errorf("no object: %w", err)
	}
	// An *Undecoded carries its error with it.
	w.Object = obj
	return nil
}

// wireList is a list of custom resources.
type wireList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`

	Items []wire `json:"items"`
}

// UnmarshalJSON gives items that do not say their type that of the list.
func (l *wireList) UnmarshalJSON(text []byte) error {
	var raw struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata"`

		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(text, &raw); err != nil {
		return fmt.Errorf("read list: %w", err)
	}
	l.TypeMeta, l.ListMeta, l.Items = raw.TypeMeta, raw.ListMeta, make([]wire, len(raw.Items))
	for i, item := range raw.Items {
		t := metav1.TypeMeta{APIVersion: raw.APIVersion, Kind: raw.Kind[:max(0, len(raw.Kind)-len("List"))]}
		if err := json.Unmarshal(item, &t); err != nil {
			return fmt.Errorf("read type of item %d: %w", i, err)
		}
		if err := l.Items[i].decode(t, item); err != nil {
			return fmt.Errorf("read item %d: %w", i, err)
		}
	}
	return nil
}

// DeepCopyObject copies the list and its objects.
func (l *wireList) DeepCopyObject() runtime.Object {
	out := &wireList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy(), Items: make([]wire, len(l.Items))} //nolint:staticcheck // TypeMeta could be copied by that name, too
	for i := range l.Items {
		if w, ok := l.Items[i].DeepCopyObject().(*wire); ok {
			out.Items[i] = *w
		}
	}
	return out
}

// newScheme knows every kind: core ones by their own types, which protobuf
// needs, the others in every version as wire.
func newScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(s), discoveryv1.AddToScheme(s)); err != nil {
		return nil, fmt.Errorf("register core kinds: %w", err)
	}
	groups := map[schema.GroupVersion]bool{}
	for _, k := range cluster.Kinds() {
		for _, v := range k.Versions {
			gv := schema.GroupVersion{Group: k.Group, Version: v}
			if binary(k) {
				continue
			}
			s.AddKnownTypeWithName(gv.WithKind(k.Name), &wire{})
			s.AddKnownTypeWithName(gv.WithKind(k.Name+"List"), &wireList{})
			if !groups[gv] {
				groups[gv] = true
				metav1.AddToGroupVersion(s, gv)
			}
		}
	}
	return s, nil
}

// binary reports whether a kind is built into the server, which then speaks
// protobuf for it.
func binary(k cluster.Kind) bool {
	return k.Group == corev1.GroupName || k.Group == discoveryv1.GroupName
}
