package ir

import "time"

// BackendRef is one weighted choice of a rule.
type BackendRef struct {
	// Backend is the index in Table.Backends, or -1 where Refuse is set.
	Backend int `json:"backend"`
	// Weight is relative; 0 means never.
	Weight int32 `json:"weight"`
	// Refuse answers the requests that would have gone here (for example 500
	// for a Service that does not exist, as Gateway API demands).
	Refuse *Refusal `json:"refuse,omitempty"`
	// RequestHeaders and ResponseEdit are the reference's own filters.
	RequestHeaders *HeaderEdit `json:"requestHeaders,omitempty"`
	ResponseEdit   *HeaderEdit `json:"responseHeaders,omitempty"`
}

// Protocol is how a backend is spoken to.
type Protocol string

// The protocols of backends. The empty Protocol is HTTP/1.1.
const (
	ProtocolHTTP1 Protocol = "http/1.1"
	ProtocolHTTP2 Protocol = "h2" // prior knowledge without TLS, ALPN with
	// ProtocolTCP is bytes, of Streams; with TLS the gateway encrypts them.
	ProtocolTCP Protocol = "tcp"
)

// Backend is one port of one Service.
type Backend struct {
	// Name is "namespace/service:port".
	Name     string   `json:"name"`
	Protocol Protocol `json:"protocol,omitempty"`
	// Endpoints are the ready "ip:port", sorted. Empty means that every request
	// answers 503.
	Endpoints []string    `json:"endpoints,omitempty"`
	TLS       *BackendTLS `json:"tls,omitempty"`
	// ConnectTimeout is zero for the default.
	ConnectTimeout time.Duration `json:"connectTimeout,omitempty"`
	// Refuse answers every request, for example when the CA of a
	// BackendTLSPolicy cannot be read.
	Refuse *Refusal `json:"refuse,omitempty"`
}

// BackendTLS is how a backend's certificate is judged. The chain must verify
// against CA (or the system's roots) and a name must match.
type BackendTLS struct {
	// ServerName is sent as SNI and, without SubjectAltNames, verified.
	ServerName string `json:"serverName"`
	// CA is PEM; empty with System means the system's roots.
	CA     string `json:"ca,omitempty"`
	System bool   `json:"system,omitempty"`
	// SubjectAltNames, where set, replace ServerName in verification: one must
	// match.
	SubjectAltNames []SAN `json:"subjectAltNames,omitempty"`
	// Client is presented to the backend.
	Client *KeyPair `json:"client,omitempty"`
}

// SAN is one accepted subject alternative name.
type SAN struct {
	Type  string   `json:"type"` // DNS, URI, Email, IP
	Value string   `json:"value"`
	Roles []string `json:"roles,omitempty"`
}
