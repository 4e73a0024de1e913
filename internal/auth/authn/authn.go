// Package authn proves who a request comes from: one file per kind of
// credential. Every kind is made once from its configuration, where anything
// missing is an error, and then judges credentials without decoding
// configuration again. What it cannot prove it refuses.
package authn

import (
	"context"
	"crypto/x509"
	"net/http"
	"time"

	"bulwark.dev/bulwark"
)

// The values of bulwark.Identity.Method.
const (
	MethodJWT               = "jwt"
	MethodAPIKey            = "apiKey"
	MethodBasic             = "basic"
	MethodClientCertificate = "clientCertificate"
	MethodAnonymous         = "anonymous"
)

// maxName bounds the name of an identity in bytes: names go into events,
// counters and headers.
const maxName = 1024

// Credential is what a request carries for one authenticator. The zero
// Credential proves nothing.
type Credential struct {
	// Value is the token, the key, or what follows the scheme "Basic".
	Value string
	// Certificates are what the peer of a finished TLS handshake presented, leaf
	// first. The handshake proved that the peer has the leaf's key; nothing else
	// about them is verified.
	Certificates []*x509.Certificate
}

// Authenticator judges one kind of credential. It may be used by any number of
// goroutines. Exactly one of the results is nil.
type Authenticator interface {
	Authenticate(ctx context.Context, c Credential, now time.Time) (*bulwark.Identity, *Failure)
}

// Failure is a credential that was not accepted. It is not an error value on
// purpose: a nil *Failure must stay nil.
type Failure struct {
	// Status and Code go to the caller: 401 for a credential that is wrong, 503
	// where the gateway cannot tell.
	Status int
	Code   bulwark.Code
	// Reason is for operators. It holds no secret; parts that the caller chose
	// are quoted and short.
	Reason string
	// Guess says that the failure counts towards a lock-out. A missing
	// credential, one that is only out of date, and anything that the gateway
	// could not judge do not count.
	Guess bool
	// Challenge is one challenge of WWW-Authenticate (RFC 9110 11.6.1), or "".
	Challenge string
	// RetryAfter, where positive, tells the caller when to try again.
	RetryAfter time.Duration
}

// Realm is named in the challenges of credentials that have no realm of their
// own.
const Realm = "api"

// wrong is a credential that does not prove what it claims.
func wrong(reason, challenge string) *Failure {
	return &Failure{
		Status: http.StatusUnauthorized, Code: bulwark.CodeUnauthenticated,
		Reason: reason, Guess: true, Challenge: challenge,
	}
}

// unavailable is a credential that cannot be judged now.
func unavailable(reason string, retryAfter time.Duration) *Failure {
	return &Failure{
		Status: http.StatusServiceUnavailable, Code: bulwark.CodeUnavailable,
		Reason: reason, RetryAfter: retryAfter,
	}
}

// printable reports whether s may be a name: not empty, no control characters,
// and no replacement characters, which stand for bytes that were lost on the
// way and would make two names one.
func printable(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for _, r := range s {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\uFFFD' {
			return false
		}
	}
	return true
}

// brief shortens what a caller chose, for a Reason. Print it with %q.
func brief(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
