package ir

import "time"

// Authentication lists the credentials that are accepted; the first that a
// request carries decides.
type Authentication struct {
	Rule  string          `json:"rule"`
	AnyOf []Authenticator `json:"anyOf"`
}

// Authenticator is one kind of credential. Exactly one field is set.
type Authenticator struct {
	JWT               *JWT               `json:"jwt,omitempty"`
	APIKey            *APIKey            `json:"apiKey,omitempty"`
	Basic             *Basic             `json:"basic,omitempty"`
	ClientCertificate *ClientCertificate `json:"clientCertificate,omitempty"`
	Anonymous         *Anonymous         `json:"anonymous,omitempty"`
}

// JWT is the check of one issuer's tokens. Issuer and Audiences are never
// empty; exactly one of JWKSURI and JWKS is set.
type JWT struct {
	Issuer      string        `json:"issuer"`
	Audiences   []string      `json:"audiences"`
	JWKSURI     string        `json:"jwksURI,omitempty"`
	JWKS        string        `json:"jwks,omitempty"`
	Algorithms  []string      `json:"algorithms,omitempty"`
	Type        string        `json:"type,omitempty"`
	NameClaim   string        `json:"nameClaim"`
	GroupsClaim string        `json:"groupsClaim"`
	RolesClaim  string        `json:"rolesClaim"`
	Header      string        `json:"header"` // "Authorization" means scheme Bearer
	ClockSkew   time.Duration `json:"clockSkew"`
	Forward     bool          `json:"forward,omitempty"`
}

// APIKey is the check of keys against salted hashes. Exactly one of Header and
// Query is set.
type APIKey struct {
	Issuer  string `json:"issuer"` // "SecurityPolicy ns/name"
	Header  string `json:"header,omitempty"`
	Query   string `json:"query,omitempty"`
	Keys    []Key  `json:"keys,omitempty"`
	Forward bool   `json:"forward,omitempty"`
}

// Key is one API key's salted hash: SHA-256 of Salt then the key.
type Key struct {
	Name    string    `json:"name"`
	Salt    Secret    `json:"salt"`
	Hash    Secret    `json:"hash"`
	Roles   []string  `json:"roles,omitempty"`
	Groups  []string  `json:"groups,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
}

// Basic is the check of user names and bcrypt hashes.
type Basic struct {
	Issuer  string `json:"issuer"`
	Realm   string `json:"realm"`
	Users   []User `json:"users,omitempty"`
	Forward bool   `json:"forward,omitempty"`
}

// User is one line of a password file.
type User struct {
	Name  string   `json:"name"`
	Hash  Secret   `json:"hash"`
	Roles []string `json:"roles,omitempty"`
}

// ClientCertificate is the check of a TLS client certificate.
type ClientCertificate struct {
	CA              string   `json:"ca"` // PEM
	SubjectAltNames []SAN    `json:"subjectAltNames"`
	Issuers         []string `json:"issuers,omitempty"`
}

// Anonymous admits requests that carry no credential.
type Anonymous struct {
	Roles []string `json:"roles,omitempty"`
}
