package status

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// evenness is what an object and the wish for it were when they agreed. While
// both stay there is nothing to work out, which matters with thousands of them:
// every change of one, and every status that comes back, makes a plan.
type evenness struct {
	object metav1.Object // objects of Snapshots never change
	want   *Target       // nil for an object that is no concern of ours
}

// holds reports whether nothing changed.
func (e evenness) holds(object metav1.Object, want *Target) bool {
	return e.object == object && e.want.equal(want)
}

// equal reports whether two wishes for one object are the same. It may say no
// where they are.
func (t *Target) equal(o *Target) bool {
	if t == nil || o == nil {
		return t == o
	}
	return t.Generation == o.Generation && slices.Equal(t.Conditions, o.Conditions) &&
		(t.Gateway == o.Gateway || equality.Semantic.DeepEqual(t.Gateway, o.Gateway)) &&
		(t.ListenerSet == o.ListenerSet || equality.Semantic.DeepEqual(t.ListenerSet, o.ListenerSet)) &&
		(same(t.Parents, o.Parents) || slices.EqualFunc(t.Parents, o.Parents, func(a, b gwv1.RouteParentStatus) bool {
			return a.ControllerName == b.ControllerName && sameParent(&a.ParentRef, &b.ParentRef) && slices.Equal(a.Conditions, b.Conditions)
		})) &&
		(same(t.Ancestors, o.Ancestors) || slices.EqualFunc(t.Ancestors, o.Ancestors, func(a, b gwv1.PolicyAncestorStatus) bool {
			return a.ControllerName == b.ControllerName && sameParent(&a.AncestorRef, &b.AncestorRef) && slices.Equal(a.Conditions, b.Conditions)
		}))
}

// same reports whether two slices are the very same.
func same[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func sameParent(a, b *gwv1.ParentReference) bool {
	return a.Name == b.Name && samePart(a.Group, b.Group) && samePart(a.Kind, b.Kind) && samePart(a.Namespace, b.Namespace) &&
		samePart(a.SectionName, b.SectionName) && samePart(a.Port, b.Port)
}

func samePart[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}
