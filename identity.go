package bulwark

import "slices"

// Identity is who a request comes from, as far as a credential proved it. The
// zero Identity is nobody: it has no method and passes no rule that names a
// role.
type Identity struct {
	// Name is the stable name of the caller, for example the "sub" of a JWT.
	Name string
	// Method is the credential kind that proved it: "jwt", "apiKey", "basic",
	// "clientCertificate" or "anonymous".
	Method string
	// Issuer is who vouches for it: a token issuer, a certificate issuer, or
	// the policy that holds the key.
	Issuer string
	// Groups and Roles come from the credential and are never nil-sensitive.
	Groups []string
	Roles  []string
	// Claims are all claims of a token, or the attributes of another
	// credential. They are read-only: verdict caches share them.
	Claims map[string]any
	// Assurance is how sure the authentication is, for example a token's
	// "acr". Empty means unknown.
	Assurance string
}

// Known reports whether a credential (or an explicit anonymous policy) stands
// behind the identity.
func (i *Identity) Known() bool { return i != nil && i.Method != "" }

// HasRole reports whether the identity holds role.
func (i *Identity) HasRole(role string) bool { return i != nil && slices.Contains(i.Roles, role) }
