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
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.ancestors[*].conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.ancestors[*].conditions[?(@.type=="Accepted")].reason`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
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
	// TargetRefs names what is protected: Gateways or routes of this namespace.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:XValidation:rule="self.all(r, r.group == 'gateway.networking.k8s.io' && r.kind in ['Gateway', 'HTTPRoute', 'GRPCRoute'])",message="targetRefs may name a Gateway, HTTPRoute or GRPCRoute of group gateway.networking.k8s.io"
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
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// Allow is what the rule decides. Absent means refuse.
	// +optional
	Allow bool `json:"allow,omitempty"`
	// When is a CEL expression that gives a bool.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	When string `json:"when"`
}

// RateLimit bounds how often (GCRA: a sustained rate with a burst).
type RateLimit struct {
	// Name is unique among the limits; events carry it.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// When is a CEL condition; the limit counts only requests that match.
	// Default: all.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	When string `json:"when,omitempty"`
	// Key is a CEL expression that gives the string to count by, for example
	// "identity.name". Default: one count for all.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Key string `json:"key,omitempty"`
	// Rate is "<count>/<unit>", the unit one of s, m, h, d.
	// +kubebuilder:validation:Pattern=`^[1-9][0-9]{0,8}/(s|m|h|d)$`
	Rate string `json:"rate"`
	// Burst is how many may come at once. Default 1.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Burst int32 `json:"burst,omitempty"`
	// Scope is "local" (this replica) or "cluster" (all replicas together).
	// Default local. In this release "cluster" is refused: no shared store yet.
	// +optional
	// +kubebuilder:validation:Enum=local;cluster
	// +kubebuilder:validation:XValidation:rule="self != 'cluster'",message="scope cluster needs a shared store, which this release does not have; use local"
	Scope string `json:"scope,omitempty"`
	// Overflow says what happens to requests over the limit. Default: refused
	// with 429.
	// +optional
	Overflow *Overflow `json:"overflow,omitempty"`
}

// Overflow says what happens over a limit. Exactly one field is set.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:MaxProperties=1
type Overflow struct {
	// Reject answers 429 with Retry-After and RateLimit headers.
	// +optional
	Reject *Reject `json:"reject,omitempty"`
	// Queue lets requests wait, fairly between keys.
	// +optional
	Queue *Queue `json:"queue,omitempty"`
}

// Reject answers 429.
type Reject struct{}

// Queue is a bounded waiting room, served round-robin between keys.
type Queue struct {
	// Depth is how many may wait in all. One more is refused with 429.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100000
	Depth int32 `json:"depth"`
	// Timeout is the longest wait, at most 1m; then the request is refused with
	// 429.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s') && duration(self) <= duration('1m')",message="timeout is more than 0s and at most 1m"
	Timeout metav1.Duration `json:"timeout"`
}

// Concurrency bounds requests in flight.
type Concurrency struct {
	// Key is a CEL expression that gives the string to count by. Default: one
	// count for all.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Key string `json:"key,omitempty"`
	// Max is how many may be in flight per key; one more is refused with 503.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Max int32 `json:"max"`
}

// LockOut refuses an identity or a source after too many failed credentials.
type LockOut struct {
	// Attempts is how many failures within Window lock.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10000
	Attempts int32 `json:"attempts"`
	// Window is the time in which the failures count. Default 5m, at most
	// 24h.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s') && duration(self) <= duration('24h')",message="window is more than 0s and at most 24h"
	Window *metav1.Duration `json:"window,omitempty"`
	// Duration is how long the lock holds. Default 15m, at most 720h.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) > duration('0s') && duration(self) <= duration('720h')",message="duration is more than 0s and at most 720h"
	Duration *metav1.Duration `json:"duration,omitempty"`
	// By says what is locked: "identity" (the name that a credential claims),
	// "source" (the address), or "both" (either one). Default both.
	// +optional
	// +kubebuilder:validation:Enum=identity;source;both
	By string `json:"by,omitempty"`
}

// Network admits source addresses. Deny wins over Allow; if Allow is not empty,
// an address outside it is refused. At least one of the two is set: a route
// that lifts its Gateway's list says so with 0.0.0.0/0 and ::/0.
//
// +kubebuilder:validation:MinProperties=1
type Network struct {
	// Allow are CIDR prefixes.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4096
	// +kubebuilder:validation:items:MaxLength=49
	Allow []string `json:"allow,omitempty"`
	// Deny are CIDR prefixes.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4096
	// +kubebuilder:validation:items:MaxLength=49
	Deny []string `json:"deny,omitempty"`
}

// RequestForm bounds and relaxes the form of requests.
type RequestForm struct {
	// MaxBodyBytes refuses larger bodies with 413. Default 10485760; 0 admits
	// no body.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MaxBodyBytes *int64 `json:"maxBodyBytes,omitempty"`
	// AllowEncoded lists what may stand in a path although backends read it in
	// different ways: "%2F", "%3B", "%3F", "%23", "%25" or a bare ";". Default:
	// none, refused with 400.
	// +optional
	// +kubebuilder:validation:items:Enum="%2F";"%3B";"%3F";"%23";"%25";";"
	// +kubebuilder:validation:MaxItems=6
	AllowEncoded []string `json:"allowEncoded,omitempty"`
	// Methods, where set, are the only methods admitted; others get 405.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=32
	Methods []string `json:"methods,omitempty"`
}

// CORS is the cross-origin policy (Fetch standard).
//
// +kubebuilder:validation:XValidation:rule="!(has(self.allowCredentials) && self.allowCredentials && '*' in self.allowOrigins)",message="allowCredentials with the origin * would hand every site the user's session"
type CORS struct {
	// AllowOrigins are exact origins ("https://shop.example"), with "*." as the
	// first label standing for one or more labels, or "*" alone.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	AllowOrigins []string `json:"allowOrigins"`
	// AllowMethods are the methods that a preflight admits, or "*" alone (which
	// browsers take literally when credentials are allowed, so it is refused then).
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	AllowMethods []string `json:"allowMethods,omitempty"`
	// AllowHeaders are the request headers that a preflight admits, or "*" alone
	// without credentials.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	AllowHeaders []string `json:"allowHeaders,omitempty"`
	// ExposeHeaders are the response headers that scripts may read, or "*" alone
	// without credentials.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	ExposeHeaders []string `json:"exposeHeaders,omitempty"`
	// AllowCredentials with the origin "*" is refused as invalid.
	// +optional
	AllowCredentials bool `json:"allowCredentials,omitempty"`
	// MaxAge of a preflight's answer, in whole seconds. Default 5s, at most 24h.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('24h')",message="maxAge is from 0s to 24h"
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
}

// Transform edits what is forwarded.
type Transform struct {
	// Request edits what the backend gets.
	// +optional
	Request *RequestTransform `json:"request,omitempty"`
	// Response edits what the caller gets.
	// +optional
	Response *ResponseTransform `json:"response,omitempty"`
}

// RequestTransform edits the request to the backend.
type RequestTransform struct {
	// SetHeaders replaces headers, by value or CEL expression. Framing,
	// hop-by-hop and Host headers are not for policies.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	SetHeaders []NameValue `json:"setHeaders,omitempty"`
	// RemoveHeaders drops headers.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	RemoveHeaders []string `json:"removeHeaders,omitempty"`
	// SetQuery replaces query parameters.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	SetQuery []NameValue `json:"setQuery,omitempty"`
	// RemoveQuery drops query parameters.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	RemoveQuery []string `json:"removeQuery,omitempty"`
	// Path rewrites the path by regular expression (RE2). The result is
	// normalised and checked again.
	// +optional
	Path *PathTransform `json:"path,omitempty"`
}

// ResponseTransform edits the response to the caller.
type ResponseTransform struct {
	// SetHeaders replaces headers, by value or CEL expression.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	SetHeaders []NameValue `json:"setHeaders,omitempty"`
	// RemoveHeaders drops headers.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	RemoveHeaders []string `json:"removeHeaders,omitempty"`
}

// NameValue sets a header or parameter. Exactly one of Value and Expression is
// set.
//
// +kubebuilder:validation:XValidation:rule="has(self.value) != has(self.expression)",message="exactly one of value and expression is set"
type NameValue struct {
	// Name of the header or parameter.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`
	// Value is set as it is. Empty is a value too.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Value *string `json:"value,omitempty"`
	// Expression is CEL that gives a string. If it fails, the request is
	// refused.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Expression string `json:"expression,omitempty"`
}

// PathTransform replaces every match of a pattern in the path.
type PathTransform struct {
	// Pattern is an RE2 regular expression over the normalised path.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Pattern string `json:"pattern"`
	// Replacement may use $1 for groups; write ${1} where a letter, digit or
	// underscore follows.
	// +kubebuilder:validation:MaxLength=1024
	Replacement string `json:"replacement"`
}
