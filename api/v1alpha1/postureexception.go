package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PostureException accepts what `bulwark scan` finds, for a time: findings of some
// controls on some objects of its own namespace. Somebody answers for it and says
// why. It changes nothing in the cluster: a scan reads it, the controller does not.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=pexc,categories=bulwark
// +kubebuilder:printcolumn:name="Owner",type=string,JSONPath=`.spec.owner`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.spec.expires`
// +kubebuilder:printcolumn:name="Controls",type=string,JSONPath=`.spec.controls`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.spec.reason`,priority=1
type PostureException struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what is excepted, by whom, why and until when.
	// +required
	Spec PostureExceptionSpec `json:"spec"`
}

// PostureExceptionList is a list of PostureException.
//
// +kubebuilder:object:root=true
type PostureExceptionList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []PostureException `json:"items"`
}

// PostureExceptionSpec says what is excepted, by whom, why and until when. A scan
// reads the same form from files.
type PostureExceptionSpec struct {
	// Controls are the ids of controls, each in full.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.size() > 0",message="name the controls"
	Controls []string `json:"controls"`
	// Objects are those that it covers; any of them must match.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:XValidation:rule="self.size() > 0",message="say which objects"
	Objects []ExceptedObjects `json:"objects"`
	// Fields, where set, are the only ones that it covers. "*" stands for any text
	// and "[*]" for one index or quoted key, as in
	// "spec.template.spec.containers[*].image".
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	Fields []string `json:"fields,omitempty"`
	// Containers, where set, are the names of the only containers that it covers.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	Containers []string `json:"containers,omitempty"`
	// Owner is who answers for it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.trim() != ''",message="who answers for it?"
	Owner string `json:"owner"`
	// Reason is why it is so.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	// +kubebuilder:validation:XValidation:rule="self.trim() != ''",message="why is it so?"
	Reason string `json:"reason"`
	// Expires is the last day (UTC) that it holds, as 2027-01-31, or a moment as
	// RFC 3339 has it.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}(T.+)?$"
	// +kubebuilder:validation:XValidation:rule="timestamp(self.size() == 10 ? self + 'T00:00:00Z' : self) > timestamp('0001-01-01T00:00:00Z')",message="write a day that there is, as 2027-01-31"
	Expires string `json:"expires"`
}

// ExceptedObjects chooses objects. What is left out matches all; "*" in a text
// stands for any text, and upper and lower case differ.
type ExceptedObjects struct {
	// Kind is one of any API group.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Kind string `json:"kind,omitempty"`
	// Namespace matches objects that have one. An exception covers its own
	// namespace only, whatever stands here.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Namespace string `json:"namespace,omitempty"`
	// Name is the object's.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
	// Labels are labels that the object has, all of them.
	// +optional
	// +kubebuilder:validation:MaxProperties=32
	Labels map[string]LabelPattern `json:"labels,omitempty"`
}

// LabelPattern is the value of a label; "*" stands for any text.
//
// +kubebuilder:validation:MaxLength=253
type LabelPattern string
