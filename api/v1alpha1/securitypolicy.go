package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// SecurityPolicy says who may use an API, how, how often and from where. It
// attaches to a Gateway, as the default of all its routes, or to a route, where
// each field that it sets replaces the Gateway's field of the same name.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=secpol,categories={bulwark,gateway-api}
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.spec.targetRefs[0].kind`
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.targetRefs[0].name`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.ancestors[*].conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.ancestors[*].conditions[?(@.type=="Programmed")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.ancestors[*].conditions[?(@.type=="Accepted")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.ancestors[*].conditions[?(@.type=="Accepted")].message`,priority=1
type SecurityPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the protection asked for.
	// +required
	Spec SecurityPolicySpec `json:"spec"`
	// Status is what is in force, per Gateway. Bulwark writes it.
	// +optional
	Status gwv1.PolicyStatus `json:"status,omitempty"`
}

// SecurityPolicyList is a list of SecurityPolicy.
//
// +kubebuilder:object:root=true
type SecurityPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []SecurityPolicy `json:"items"`
}

// SecurityPolicySpec is the protection of one API. Of two policies that reach a
// route, one on its Gateway and one on itself, each top-level field comes from
// the route's policy if set there, and else from the Gateway's.
type SecurityPolicySpec struct {
	// TargetRefs names what is protected: Gateways, ListenerSets or routes of
	// this namespace. A TLSRoute carries bytes that nobody here can read: of the
	// policies that reach it only network, concurrency and anonymous
	// authentication can be kept, and one that asks for more refuses it.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(r, r.group == 'gateway.networking.k8s.io' && r.kind in ['Gateway', 'ListenerSet', 'HTTPRoute', 'GRPCRoute', 'TLSRoute'])",message="targetRefs may name a Gateway, ListenerSet, HTTPRoute, GRPCRoute or TLSRoute of group gateway.networking.k8s.io"
	// +kubebuilder:validation:XValidation:rule="self.all(r, r.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'))",message="names are lower-case DNS names"
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.kind == b.kind && a.name == b.name && (has(a.sectionName) ? a.sectionName : '') == (has(b.sectionName) ? b.sectionName : '')))",message="a target is named twice"
	TargetRefs []gwv1.LocalPolicyTargetReferenceWithSectionName `json:"targetRefs"`

	// Authentication lists the credentials that are accepted. A policy in force
	// without it admits nobody.
	// +optional
	Authentication *Authentication `json:"authentication,omitempty"`
	// Authorization decides what an identity may do. Without it everything is
	// refused.
	// +optional
	Authorization *Authorization `json:"authorization,omitempty"`
	// RateLimits are all applied; each must have room for a request.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=32
	RateLimits []RateLimit `json:"rateLimits,omitempty"`
	// Concurrency bounds the requests in flight.
	// +optional
	Concurrency *Concurrency `json:"concurrency,omitempty"`
	// LockOut stops guessing of credentials.
	// +optional
	LockOut *LockOut `json:"lockOut,omitempty"`
	// Network admits or refuses source addresses, before anything else.
	// +optional
	Network *Network `json:"network,omitempty"`
	// Request bounds and relaxes the form of requests.
	// +optional
	Request *RequestForm `json:"request,omitempty"`
	// CORS answers browsers' cross-origin questions.
	// +optional
	CORS *CORS `json:"cors,omitempty"`
	// Transform edits requests on their way to the backend and responses on
	// their way back, after every decision.
	// +optional
	Transform *Transform `json:"transform,omitempty"`
}

// Authorization is a list of rules: the first whose condition holds decides,
// and if none does the request is refused. A rule whose evaluation fails
// refuses too.
type Authorization struct {
	// Rules are tried in order.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=128
	// +listType=map
	// +listMapKey=name
	Rules []AuthorizationRule `json:"rules"`
}

// AuthorizationRule allows or refuses what its condition matches.
type AuthorizationRule struct {
	// Name is unique among the rules; events carry it.
	// +kubebuilder:validation:Pattern="^[^\\x00-\\x1f\\x7f]*[^\\s\\x00-\\x1f\\x7f][^\\x00-\\x1f\\x7f]*$"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// Allow is what the rule decides. Absent means refuse.
	// +optional
	Allow bool `json:"allow,omitempty"`
	// When is a CEL expression that gives a bool.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:Pattern="[^\\s]"
	// +kubebuilder:validation:MaxLength=4096
	When string `json:"when"`
}
