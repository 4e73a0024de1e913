package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of every policy object.
const GroupName = "bulwark.dev"

// KindSecurityPolicy is the kind of SecurityPolicy.
const KindSecurityPolicy = "SecurityPolicy"

// KindPostureException is the kind of PostureException.
const KindPostureException = "PostureException"

// AnnotationUnread marks a SecurityPolicy of which not everything could be
// read, as it comes from a server with a newer CRD, and says what. Such a policy
// is invalid: what it demands must not be lost.
const AnnotationUnread = "bulwark.dev/unread"

// GroupVersion is the group and version of this package. It is read-only.
var GroupVersion = schema.GroupVersion{Group: GroupName, Version: "v1alpha1"}

// AddToScheme makes s know this package's kinds. It returns no error today; the
// signature is the one that Kubernetes clients expect.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &SecurityPolicy{}, &SecurityPolicyList{}, &PostureException{}, &PostureExceptionList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}
