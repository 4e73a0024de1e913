package filters

import (
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// order is the one list of steps, first to last, with the reason for each
// place. A step's make gives nil where the rule does not ask for it; a rule
// cannot leave out authenticate and authorize.
var order = []struct {
	name string
	make func(*ir.Rule, Deps) (step, error)
}{
	// The cheapest question first, on nothing but the address.
	{"network", newNetwork},
	// Preflights carry no credentials by design, so they are answered before
	// authentication.
	{"cors", newCORS},
	// Method, body size and what may stand in a path, before anything reads them.
	{"form", newForm},
	// A locked identity or source may not try another credential.
	{"lockout", newLockOut},
	{"authenticate", newAuthenticate},
	{"authorize", newAuthorize},
	// Limits count only what would be served, by whom it was proved to be.
	{"ratelimit", newRateLimits},
	{"concurrency", newConcurrency},
	// A redirect answers here; what follows edits what the backend gets.
	{"redirect", newRedirect},
	{"transform", newTransform},
	{"headers", newHeaders},
	{"rewrite", newRewrite},
}
