package ir

import "time"

// Rule is one rule of one route, with everything that happens to a request it
// matched. The zero Rule has no authentication, no authorization and no
// backends: it refuses.
type Rule struct {
	// ID is "kind/namespace/route/index", for example "HTTPRoute/shop/orders/0".
	ID    string   `json:"id"`
	Route RouteRef `json:"route"`
	// Policy names the SecurityPolicies in force, Gateway's first. Empty means
	// that none covers the rule.
	Policy []string `json:"policy,omitempty"`
	// Refuse, where set, answers every request; no other field is looked at.
	Refuse *Refusal `json:"refuse,omitempty"`

	// The steps, in the order of filters/order.go. A nil step is not asked for,
	// except Authentication and Authorization: without Unprotected, nil there
	// refuses.
	Network        *Network        `json:"network,omitempty"`
	Form           *Form           `json:"form,omitempty"`
	CORS           *CORS           `json:"cors,omitempty"`
	LockOut        *LockOut        `json:"lockOut,omitempty"`
	Authentication *Authentication `json:"authentication,omitempty"`
	Authorization  *Authorization  `json:"authorization,omitempty"`
	RateLimits     []RateLimit     `json:"rateLimits,omitempty"`
	Concurrency    *Concurrency    `json:"concurrency,omitempty"`
	Transform      *Transform      `json:"transform,omitempty"`
	Redirect       *Redirect       `json:"redirect,omitempty"`
	Rewrite        *Rewrite        `json:"rewrite,omitempty"`
	RequestHeaders *HeaderEdit     `json:"requestHeaders,omitempty"`
	ResponseEdit   *HeaderEdit     `json:"responseHeaders,omitempty"`
	Mirrors        []Mirror        `json:"mirrors,omitempty"`

	// Unprotected says that the operator asked for routes without a
	// SecurityPolicy to be served (--unprotected=allow) and that this is one.
	Unprotected bool `json:"unprotected,omitempty"`

	Backends []BackendRef `json:"backends,omitempty"`
	// RequestTimeout bounds the whole exchange, BackendTimeout each try. Zero
	// means the gateway's default for RequestTimeout, and RequestTimeout for
	// BackendTimeout. Negative means none.
	RequestTimeout time.Duration `json:"requestTimeout,omitempty"`
	BackendTimeout time.Duration `json:"backendTimeout,omitempty"`
	Retry          *Retry        `json:"retry,omitempty"`
}

// RouteRef names the route behind a rule.
type RouteRef struct {
	Kind      string            `json:"kind"`
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	RuleName  string            `json:"ruleName,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// Retry is Gateway API's HTTPRouteRetry. Only requests that are safe to send
// twice are retried on anything but a failure to connect.
type Retry struct {
	Attempts int           `json:"attempts"`
	Codes    []int         `json:"codes,omitempty"`
	Backoff  time.Duration `json:"backoff,omitempty"`
}
