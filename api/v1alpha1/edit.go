package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CORS is the cross-origin policy (Fetch standard).
//
// +kubebuilder:validation:XValidation:rule="!(has(self.allowCredentials) && self.allowCredentials && '*' in self.allowOrigins)",message="allowCredentials with the origin * would hand every site the user's session"
// +kubebuilder:validation:XValidation:rule="!(has(self.allowCredentials) && self.allowCredentials) || (!(has(self.allowMethods) && '*' in self.allowMethods) && !(has(self.allowHeaders) && '*' in self.allowHeaders) && !(has(self.exposeHeaders) && '*' in self.exposeHeaders))",message="with allowCredentials browsers take * literally; list what is meant"
type CORS struct {
	// AllowOrigins are exact origins ("https://shop.example"), with "*." as the
	// first label standing for one or more labels, or "*" alone.
	// +listType=set
	// +kubebuilder:validation:items:Pattern="^([*]|[a-z][a-z0-9+.-]*://([*][.][a-z0-9-]+([.][a-z0-9-]+)+|[a-z0-9-]+([.][a-z0-9-]+)*|\\[[0-9a-f:.]+\\])(:[0-9]{1,5})?)$"
	// +kubebuilder:validation:XValidation:rule="!('*' in self) || self.size() == 1",message="the origin * stands for all and must be alone"
	// +kubebuilder:validation:XValidation:rule="self.all(o, !(o.startsWith('https://') && o.endsWith(':443')) && !(o.startsWith('http://') && o.endsWith(':80')))",message="browsers leave out the scheme's own port; leave it out here too"
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	AllowOrigins []string `json:"allowOrigins"`
	// AllowMethods are the methods that a preflight admits, or "*" alone (which
	// browsers take literally when credentials are allowed, so it is refused then).
	// +optional
	// +listType=set
	// +kubebuilder:validation:items:Pattern="^[!#$%&'*+.^_\\x60|~0-9A-Z-]+$"
	// +kubebuilder:validation:XValidation:rule="!('CONNECT' in self) && (!('*' in self) || self.size() == 1)",message="list methods, or * alone; CONNECT is never admitted"
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	AllowMethods []string `json:"allowMethods,omitempty"`
	// AllowHeaders are the request headers that a preflight admits, or "*" alone
	// without credentials.
	// +optional
	// +kubebuilder:validation:items:Pattern="^[!#$%&'*+.^_\\x60|~0-9A-Za-z-]+$"
	// +kubebuilder:validation:XValidation:rule="!('*' in self) || self.size() == 1",message="list headers, or * alone"
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	AllowHeaders []string `json:"allowHeaders,omitempty"`
	// ExposeHeaders are the response headers that scripts may read, or "*" alone
	// without credentials.
	// +optional
	// +kubebuilder:validation:items:Pattern="^[!#$%&'*+.^_\\x60|~0-9A-Za-z-]+$"
	// +kubebuilder:validation:XValidation:rule="!('*' in self) || self.size() == 1",message="list headers, or * alone"
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
	// +kubebuilder:validation:XValidation:rule="duration(self).getMilliseconds() % 1000 == 0",message="maxAge is in whole seconds"
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
//
// +kubebuilder:validation:XValidation:rule="!has(self.setHeaders) || !has(self.removeHeaders) || self.setHeaders.all(s, !self.removeHeaders.exists(r, r.lowerAscii() == s.name.lowerAscii()))",message="a header is both set and removed"
// +kubebuilder:validation:XValidation:rule="!has(self.setQuery) || !has(self.removeQuery) || self.setQuery.all(s, !(s.name in self.removeQuery))",message="a parameter is both set and removed"
type RequestTransform struct {
	// SetHeaders replaces headers, by value or CEL expression. Framing,
	// hop-by-hop and Host headers are not for policies.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:XValidation:rule="self.all(h, h.name.matches('^[!#$%&\\x27*+.^_\\x60|~0-9A-Za-z-]+$') && !(h.name.lowerAscii() in ['connection', 'content-length', 'expect', 'host', 'http2-settings', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade']))",message="a name is no header's, or that of a header that belongs to the connection or the framing"
	// +kubebuilder:validation:XValidation:rule="self.all(h, !has(h.value) || !h.value.matches('[\\x00-\\x08\\x0a-\\x1f\\x7f]'))",message="values hold no control characters: a line break would begin another header"
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.name.lowerAscii() == b.name.lowerAscii()))",message="a header is set twice"
	// +kubebuilder:validation:MaxItems=64
	SetHeaders []NameValue `json:"setHeaders,omitempty"`
	// RemoveHeaders drops headers.
	// +optional
	// +listType=set
	// +kubebuilder:validation:items:Pattern="^[!#$%&'*+.^_\\x60|~0-9A-Za-z-]+$"
	// +kubebuilder:validation:XValidation:rule="self.all(h, !(h.lowerAscii() in ['connection', 'content-length', 'expect', 'host', 'http2-settings', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade']))",message="a header belongs to the connection or the framing, which the gateway owns"
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	RemoveHeaders []string `json:"removeHeaders,omitempty"`
	// SetQuery replaces query parameters.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	SetQuery []NameValue `json:"setQuery,omitempty"`
	// RemoveQuery drops query parameters.
	// +optional
	// +listType=set
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
//
// +kubebuilder:validation:XValidation:rule="!has(self.setHeaders) || !has(self.removeHeaders) || self.setHeaders.all(s, !self.removeHeaders.exists(r, r.lowerAscii() == s.name.lowerAscii()))",message="a header is both set and removed"
type ResponseTransform struct {
	// SetHeaders replaces headers, by value or CEL expression.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:XValidation:rule="self.all(h, h.name.matches('^[!#$%&\\x27*+.^_\\x60|~0-9A-Za-z-]+$') && !(h.name.lowerAscii() in ['connection', 'content-length', 'expect', 'host', 'http2-settings', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade']))",message="a name is no header's, or that of a header that belongs to the connection or the framing"
	// +kubebuilder:validation:XValidation:rule="self.all(h, !has(h.value) || !h.value.matches('[\\x00-\\x08\\x0a-\\x1f\\x7f]'))",message="values hold no control characters: a line break would begin another header"
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.name.lowerAscii() == b.name.lowerAscii()))",message="a header is set twice"
	// +kubebuilder:validation:MaxItems=64
	SetHeaders []NameValue `json:"setHeaders,omitempty"`
	// RemoveHeaders drops headers.
	// +optional
	// +listType=set
	// +kubebuilder:validation:items:Pattern="^[!#$%&'*+.^_\\x60|~0-9A-Za-z-]+$"
	// +kubebuilder:validation:XValidation:rule="self.all(h, !(h.lowerAscii() in ['connection', 'content-length', 'expect', 'host', 'http2-settings', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade']))",message="a header belongs to the connection or the framing, which the gateway owns"
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
	// +kubebuilder:validation:XValidation:rule="''.matches(self) in [true, false]",message="is not an RE2 pattern"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	Pattern string `json:"pattern"`
	// Replacement may use $1 for groups; write ${1} where a letter, digit or
	// underscore follows.
	// +kubebuilder:validation:MaxLength=1024
	Replacement string `json:"replacement"`
}
