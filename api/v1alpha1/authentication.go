package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Authentication is a list of alternatives: the first credential that a request
// carries decides; a request that carries none of them is refused unless
// anonymous is listed.
type Authentication struct {
	// AnyOf are the accepted credentials.
	// +kubebuilder:validation:XValidation:rule="self.filter(a, has(a.anonymous)).size() <= 1 && self.filter(a, has(a.basic)).size() <= 1",message="a second anonymous or basic would never be asked"
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	AnyOf []Authenticator `json:"anyOf"`
}

// Authenticator is one kind of credential. Exactly one field is set.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:MaxProperties=1
type Authenticator struct {
	// JWT accepts signed JSON Web Tokens.
	// +optional
	JWT *JWT `json:"jwt,omitempty"`
	// APIKey accepts keys kept as salted hashes in Secrets.
	// +optional
	APIKey *APIKey `json:"apiKey,omitempty"`
	// Basic accepts user names and passwords kept as hashes in a Secret.
	// +optional
	Basic *Basic `json:"basic,omitempty"`
	// ClientCertificate accepts TLS client certificates.
	// +optional
	ClientCertificate *ClientCertificate `json:"clientCertificate,omitempty"`
	// Anonymous admits requests without any credential.
	// +optional
	Anonymous *Anonymous `json:"anonymous,omitempty"`
}

// JWT accepts tokens of one issuer (RFC 7519, checked by RFC 8725).
type JWT struct {
	// Issuer must equal the token's "iss".
	// +kubebuilder:validation:Pattern="^[^\\x00-\\x1f\\x7f]*[^\\s\\x00-\\x1f\\x7f][^\\x00-\\x1f\\x7f]*$"
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Issuer string `json:"issuer"`
	// Audiences: the token's "aud" must name one of them.
	// +kubebuilder:validation:items:Pattern="^[^\\x00-\\x1f\\x7f]*[^\\s\\x00-\\x1f\\x7f][^\\x00-\\x1f\\x7f]*$"
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	Audiences []string `json:"audiences"`
	// JWKS is where the issuer's public keys are.
	JWKS JWKS `json:"jwks"`
	// Algorithms narrows the accepted signature algorithms. Default: those that
	// fit the key's type, of RS256, RS384, RS512, PS256, PS384, PS512, ES256,
	// ES384, ES512 and EdDSA.
	// +optional
	// +kubebuilder:validation:items:Enum=RS256;RS384;RS512;PS256;PS384;PS512;ES256;ES384;ES512;EdDSA
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=10
	Algorithms []string `json:"algorithms,omitempty"`
	// Type, where set, must equal the token's "typ" header, for example
	// "at+jwt" (RFC 9068).
	// +optional
	// +kubebuilder:validation:Pattern="^([!#$%&'*+.^_\\x60|~0-9A-Za-z-]+(/[!#$%&'*+.^_\\x60|~0-9A-Za-z-]+)*)?$"
	// +kubebuilder:validation:MaxLength=127
	Type string `json:"type,omitempty"`
	// Claims says which claims give name, groups and roles. Default: "sub",
	// "groups", "roles". A dot steps into an object.
	// +optional
	Claims *ClaimNames `json:"claims,omitempty"`
	// Header is the request header that carries the token. Default:
	// "Authorization" with the scheme Bearer (RFC 6750).
	// +optional
	// +kubebuilder:validation:Pattern="^[!#$%&'*+.^_\\x60|~0-9A-Za-z-]*$"
	// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['connection', 'content-length', 'expect', 'host', 'http2-settings', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'])",message="the header belongs to the connection or the framing, which the gateway owns"
	// +kubebuilder:validation:MaxLength=256
	Header string `json:"header,omitempty"`
	// ClockSkew is allowed on "exp", "nbf" and "iat". Default 30s, at most 5m.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('0s') && duration(self) <= duration('5m')",message="clockSkew is from 0s to 5m"
	ClockSkew *metav1.Duration `json:"clockSkew,omitempty"`
	// Forward keeps the token on the request to the backend.
	// +optional
	Forward bool `json:"forward,omitempty"`
}

// ClaimNames says which claims of a token describe its bearer.
type ClaimNames struct {
	// Name is the claim that holds the bearer's stable name. Default "sub".
	// +optional
	// +kubebuilder:validation:Pattern="^([^.\\x00-\\x1f\\x7f]+([.][^.\\x00-\\x1f\\x7f]+)*)?$"
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name,omitempty"`
	// Groups is the claim that holds a list of groups. Default "groups".
	// +optional
	// +kubebuilder:validation:Pattern="^([^.\\x00-\\x1f\\x7f]+([.][^.\\x00-\\x1f\\x7f]+)*)?$"
	// +kubebuilder:validation:MaxLength=256
	Groups string `json:"groups,omitempty"`
	// Roles is the claim that holds a list of roles. Default "roles".
	// +optional
	// +kubebuilder:validation:Pattern="^([^.\\x00-\\x1f\\x7f]+([.][^.\\x00-\\x1f\\x7f]+)*)?$"
	// +kubebuilder:validation:MaxLength=256
	Roles string `json:"roles,omitempty"`
}

// JWKS is the source of a key set (RFC 7517). Exactly one field is set.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:MaxProperties=1
type JWKS struct {
	// URI is fetched over https (plain http only from localhost or a
	// loopback address).
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	// +kubebuilder:validation:Pattern=`^(https://[^/?#@\s\x00-\x1f\x7f]+|http://(localhost|127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|\[::1\])(:[0-9]+)?)([/?][^#\x00-\x1f\x7f]*)?$`
	// +kubebuilder:validation:MinLength=1
	URI string `json:"uri,omitempty"`
	// Inline is the key set itself, as JSON.
	// +optional
	// +kubebuilder:validation:MaxLength=262144
	// +kubebuilder:validation:MinLength=1
	Inline string `json:"inline,omitempty"`
	// SecretRef names a Secret of the policy's namespace, key "jwks.json".
	// +optional
	SecretRef *LocalObjectReference `json:"secretRef,omitempty"`
	// ConfigMapRef names a ConfigMap of the policy's namespace, key "jwks.json".
	// +optional
	ConfigMapRef *LocalObjectReference `json:"configMapRef,omitempty"`
}

// LocalObjectReference names an object of the policy's own namespace.
type LocalObjectReference struct {
	// Name is the object's metadata.name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// APIKey accepts keys whose salted hashes are in Secrets. Each Secret holds
// "hash" (form "sha256:<hex salt>:<hex SHA-256 of salt then key>", printed by
// "bulwark policy hash-key"), and optionally "name", "roles" and "groups"
// (comma-separated) and "expires" (RFC 3339).
//
// +kubebuilder:validation:XValidation:rule="has(self.header) != has(self.query)",message="exactly one of header and query says where the key is"
// +kubebuilder:validation:XValidation:rule="(has(self.secretSelector.matchLabels) && self.secretSelector.matchLabels.size() > 0) || (has(self.secretSelector.matchExpressions) && self.secretSelector.matchExpressions.size() > 0)",message="secretSelector names at least one label that a Secret must have; without one every Secret would count as a key"
type APIKey struct {
	// Header carries the key.
	// +optional
	// +kubebuilder:validation:Pattern="^[!#$%&'*+.^_\\x60|~0-9A-Za-z-]*$"
	// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['connection', 'content-length', 'expect', 'host', 'http2-settings', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'])",message="the header belongs to the connection or the framing, which the gateway owns"
	// +kubebuilder:validation:MaxLength=256
	Header string `json:"header,omitempty"`
	// Query is the query parameter that carries the key. Prefer a header: URLs
	// are logged in many places.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Query string `json:"query,omitempty"`
	// SecretSelector picks the Secrets of the policy's namespace. It names at
	// least one label that a Secret must have: an empty selector would take
	// every Secret for a key.
	SecretSelector metav1.LabelSelector `json:"secretSelector"`
	// Forward keeps the key on the request to the backend.
	// +optional
	Forward bool `json:"forward,omitempty"`
}

// Basic accepts user names and passwords (RFC 7617).
type Basic struct {
	// SecretRef names a Secret whose key ".htpasswd" or "auth" holds lines
	// "user:bcrypt-hash" with an optional ":role1,role2" behind.
	SecretRef LocalObjectReference `json:"secretRef"`
	// Realm is named in the challenge. Default: the policy's name.
	// +optional
	// +kubebuilder:validation:Pattern=`^[ !#-\[\]-~]*$`
	// +kubebuilder:validation:MaxLength=128
	Realm string `json:"realm,omitempty"`
	// Forward keeps the Authorization header on the request to the backend.
	// +optional
	Forward bool `json:"forward,omitempty"`
}

// ClientCertificate accepts certificates presented in the TLS handshake.
//
// +kubebuilder:validation:XValidation:rule="has(self.caSecretRef) != has(self.caConfigMapRef)",message="exactly one of caSecretRef and caConfigMapRef holds the certificate authorities"
type ClientCertificate struct {
	// CASecretRef names a Secret of the policy's namespace whose key "ca.crt"
	// holds the certificate authorities, as PEM.
	// +optional
	CASecretRef *LocalObjectReference `json:"caSecretRef,omitempty"`
	// CAConfigMapRef is the same in a ConfigMap.
	// +optional
	CAConfigMapRef *LocalObjectReference `json:"caConfigMapRef,omitempty"`
	// SubjectAltNames: a name of the certificate must match one rule. At least
	// one rule is required: a CA alone does not say who.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	SubjectAltNames []SubjectAltName `json:"subjectAltNames"`
	// Issuers, where set, are the accepted issuer distinguished names
	// (RFC 4514 form).
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=1024
	Issuers []string `json:"issuers,omitempty"`
}

// SubjectAltName matches one subject alternative name (RFC 5280 4.2.1.6).
//
// +kubebuilder:validation:XValidation:rule="self.type != 'DNS' || self.value.matches('^([*][.])?[a-z0-9.-]+$')",message="value is a lower-case DNS name, *. as its first label standing for one label"
// +kubebuilder:validation:XValidation:rule="self.type != 'URI' || (!self.value.contains('*') && self.value.contains(':')) || self.value.matches('^[^*/]+://[^*/][^*]*/[*]$')",message="value is an absolute URI; * may stand only as a trailing /* behind a host"
// +kubebuilder:validation:XValidation:rule="self.type != 'Email' || self.value.matches('^[^ <>@]+@[^ <>@]+$')",message="value is an e-mail address"
// +kubebuilder:validation:XValidation:rule="self.type != 'IP' || self.value.matches('^[0-9a-f:.]+$')",message="value is an IP address in its shortest form"
type SubjectAltName struct {
	// Type is the kind of name: "DNS", "URI", "Email" or "IP".
	// +kubebuilder:validation:Enum=DNS;URI;Email;IP
	Type string `json:"type"`
	// Value is compared exactly; for DNS a leading "*." stands for one label;
	// for URI a trailing "/*" stands for any rest.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=2048
	Value string `json:"value"`
	// Roles are given to identities that this rule matched.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	Roles []string `json:"roles,omitempty"`
}

// Anonymous admits requests without a credential.
type Anonymous struct {
	// Roles are given to such requests.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	Roles []string `json:"roles,omitempty"`
}
