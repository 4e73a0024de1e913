package ir

import (
	"net/netip"
	"time"
)

// Network admits source addresses; Deny wins, and a non-empty Allow refuses
// what is outside it.
type Network struct {
	Rule  string         `json:"rule"`
	Allow []netip.Prefix `json:"allow,omitempty"`
	Deny  []netip.Prefix `json:"deny,omitempty"`
}

// DefaultMaxBody is the body limit, in bytes, of rules without a Form.
const DefaultMaxBody = 10 << 20

// Form bounds and relaxes the form of requests. A nil Form is DefaultMaxBody
// and nothing relaxed.
type Form struct {
	Rule         string `json:"rule"`
	MaxBodyBytes int64  `json:"maxBodyBytes"`
	// AllowEncoded holds any of "%2F", "%3B", "%3F", "%23", "%25", ";".
	AllowEncoded []string `json:"allowEncoded,omitempty"`
	Methods      []string `json:"methods,omitempty"`
}

// CORS is the cross-origin policy.
type CORS struct {
	Rule             string        `json:"rule"`
	AllowOrigins     []string      `json:"allowOrigins"`
	AllowMethods     []string      `json:"allowMethods,omitempty"`
	AllowHeaders     []string      `json:"allowHeaders,omitempty"`
	ExposeHeaders    []string      `json:"exposeHeaders,omitempty"`
	AllowCredentials bool          `json:"allowCredentials,omitempty"`
	MaxAge           time.Duration `json:"maxAge,omitempty"`
}

// LockOut locks an identity or a source after Attempts failures in Window.
type LockOut struct {
	Rule       string        `json:"rule"`
	Attempts   int           `json:"attempts"`
	Window     time.Duration `json:"window"`
	Duration   time.Duration `json:"duration"`
	ByIdentity bool          `json:"byIdentity,omitempty"`
	BySource   bool          `json:"bySource,omitempty"`
}

// Authorization is the ordered rules; nothing matched refuses.
type Authorization struct {
	Rule  string     `json:"rule"`
	Rules []AuthRule `json:"rules"`
}

// AuthRule is one CEL condition and its verdict.
type AuthRule struct {
	Name  string `json:"name"`
	Allow bool   `json:"allow"`
	When  string `json:"when"`
}

// RateLimit is one GCRA limit.
type RateLimit struct {
	// Rule names the limit; requests of all rules with the same Rule string
	// share the same counters.
	Rule string `json:"rule"`
	When string `json:"when,omitempty"`
	Key  string `json:"key,omitempty"`
	// Count per Period is the sustained rate.
	Count  int           `json:"count"`
	Period time.Duration `json:"period"`
	Burst  int           `json:"burst"`
	// Queue is nil for refusal with 429.
	Queue *Queue `json:"queue,omitempty"`
}

// Queue is a bounded fair waiting room.
type Queue struct {
	Depth   int           `json:"depth"`
	Timeout time.Duration `json:"timeout"`
}

// Concurrency bounds requests in flight per key.
type Concurrency struct {
	Rule string `json:"rule"`
	Key  string `json:"key,omitempty"`
	Max  int    `json:"max"`
}

// Transform is the SecurityPolicy's edits.
type Transform struct {
	Rule           string      `json:"rule"`
	SetHeaders     []NameValue `json:"setHeaders,omitempty"`
	RemoveHeaders  []string    `json:"removeHeaders,omitempty"`
	SetQuery       []NameValue `json:"setQuery,omitempty"`
	RemoveQuery    []string    `json:"removeQuery,omitempty"`
	PathPattern    string      `json:"pathPattern,omitempty"`
	PathReplace    string      `json:"pathReplace,omitempty"`
	ResponseSet    []NameValue `json:"responseSet,omitempty"`
	ResponseRemove []string    `json:"responseRemove,omitempty"`
}

// NameValue is a literal, or a CEL expression where Expression is not empty.
type NameValue struct {
	Name       string `json:"name"`
	Value      string `json:"value,omitempty"`
	Expression string `json:"expression,omitempty"`
}

// Redirect is Gateway API's RequestRedirect. Empty parts keep the request's.
type Redirect struct {
	Scheme   string `json:"scheme,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	Port     uint16 `json:"port,omitempty"`
	// DropPort leaves the port out of Location (the listener's is the scheme's
	// well-known one).
	DropPort bool         `json:"dropPort,omitempty"`
	Path     *PathRewrite `json:"path,omitempty"`
	Status   int          `json:"status"`
}

// Rewrite is Gateway API's URLRewrite.
type Rewrite struct {
	Hostname string       `json:"hostname,omitempty"`
	Path     *PathRewrite `json:"path,omitempty"`
}

// PathRewrite replaces the whole path, or the prefix that the match had.
type PathRewrite struct {
	// Full is used where Prefix is nil.
	Full string `json:"full,omitempty"`
	// Prefix replaces the matched prefix.
	Prefix *string `json:"prefix,omitempty"`
}

// HeaderEdit is Gateway API's HTTPHeaderFilter: set, add, remove, in this order.
type HeaderEdit struct {
	Set    []NameValue `json:"set,omitempty"`
	Add    []NameValue `json:"add,omitempty"`
	Remove []string    `json:"remove,omitempty"`
}

// Mirror sends a copy of a share of requests and ignores the answer.
type Mirror struct {
	Backend int `json:"backend"`
	// Numerator of Denominator requests are mirrored.
	Numerator   int32 `json:"numerator"`
	Denominator int32 `json:"denominator"`
}
