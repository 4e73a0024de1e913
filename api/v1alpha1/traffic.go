package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RateLimit bounds how often (GCRA: a sustained rate with a burst).
type RateLimit struct {
	// Name is unique among the limits; events carry it.
	// +kubebuilder:validation:Pattern="^[^\\x00-\\x1f\\x7f]*[^\\s\\x00-\\x1f\\x7f][^\\x00-\\x1f\\x7f]*$"
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
	// +kubebuilder:validation:items:Pattern="^([0-9]{1,3}([.][0-9]{1,3}){3}/[0-9]{1,2}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*/[0-9]{1,3})$"
	Allow []string `json:"allow,omitempty"`
	// Deny are CIDR prefixes.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4096
	// +kubebuilder:validation:items:MaxLength=49
	// +kubebuilder:validation:items:Pattern="^([0-9]{1,3}([.][0-9]{1,3}){3}/[0-9]{1,2}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*/[0-9]{1,3})$"
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
	// +listType=set
	// +kubebuilder:validation:MaxItems=6
	AllowEncoded []string `json:"allowEncoded,omitempty"`
	// Methods, where set, are the only methods admitted; others get 405.
	// +optional
	// +listType=set
	// +kubebuilder:validation:items:Pattern="^[!#$%&'*+.^_\\x60|~0-9A-Z-]+$"
	// +kubebuilder:validation:XValidation:rule="!('CONNECT' in self)",message="the gateway is not a forward proxy: CONNECT is never admitted"
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=32
	Methods []string `json:"methods,omitempty"`
}
