package bulwark

import "time"

// Event is one request that the gateway finished with, whatever the outcome.
// It never holds a token, key, password, cookie or query value.
type Event struct {
	Time      time.Time
	RequestID string
	// TraceID is the W3C trace id, where the request has one.
	TraceID string
	// AuditID is what the gateway stamped a request to an API server with, and
	// SentPath the path that it sent, where that is not Path.
	AuditID  string
	SentPath string

	// Identity is nil when no credential was accepted.
	Identity *Identity
	SourceIP string

	Method   string
	Scheme   string
	Host     string
	Path     string
	Protocol string // "HTTP/1.1", "HTTP/2.0"

	// Listener, Route and Backend name what served the request:
	// "namespace/name" with the listener's or rule's name appended.
	Listener string
	Route    string
	Backend  string

	Decision Decision
	// Status is what the caller got. 0 means the connection ended before any
	// status was sent.
	Status int

	BytesIn  int64
	BytesOut int64
	// Duration is from the first byte of the request to the end of the
	// response; Upstream is the part spent waiting for the backend's response
	// head; Queued the part spent in a rate-limit queue.
	Duration time.Duration
	Upstream time.Duration
	Queued   time.Duration
	// Error is the operator's cause where the exchange failed.
	Error string
}
