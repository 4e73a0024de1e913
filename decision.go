package bulwark

import "time"

// Code is the machine-readable kind of a decision. It is the only part of a
// refusal, besides the status, that a caller sees.
type Code string

// The codes of refusals. A caller's problem document carries the code; the
// reason stays in the event.
const (
	CodeAllowed          Code = "allowed"
	CodeBadRequest       Code = "bad-request"
	CodeUnauthenticated  Code = "unauthenticated"
	CodeForbidden        Code = "forbidden"
	CodeNotFound         Code = "not-found"
	CodeTooLarge         Code = "too-large"
	CodeTimeout          Code = "timeout"
	CodeMisdirected      Code = "misdirected"
	CodeRateLimited      Code = "rate-limited"
	CodeLockedOut        Code = "locked-out"
	CodeOverloaded       Code = "overloaded"
	CodeUnavailable      Code = "unavailable"
	CodeBadGateway       Code = "bad-gateway"
	CodeGatewayTimeout   Code = "gateway-timeout"
	CodeClientGone       Code = "client-gone"
	CodeNotImplemented   Code = "not-implemented"
	CodeMethodNotAllowed Code = "method-not-allowed"
	CodeInternal         Code = "internal"
)

// Decision is the verdict of one step or of the whole chain. The zero Decision
// refuses.
type Decision struct {
	Allowed bool
	// Status is the HTTP status of a refusal. Zero means 403.
	Status int
	Code   Code
	// Rule names what decided, for example
	// "SecurityPolicy shop/orders authorization rule readers".
	Rule string
	// Reason is for operators only and never reaches a caller. It holds no
	// secret.
	Reason string
	// RetryAfter, where positive, tells the caller when to try again.
	RetryAfter time.Duration
}

// Allow is the decision that lets a request on, named after the rule that did.
func Allow(rule string) Decision { return Decision{Allowed: true, Code: CodeAllowed, Rule: rule} }

// Refuse is the decision that stops a request with an HTTP status.
func Refuse(status int, code Code, rule, reason string) Decision {
	return Decision{Status: status, Code: code, Rule: rule, Reason: reason}
}
