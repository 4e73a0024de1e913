package authn

import (
	"context"
	"slices"
	"time"

	"bulwark.dev/bulwark"
)

// AnonymousName is the name of identities without a credential.
const AnonymousName = "anonymous"

// Anonymous admits requests that carry no credential.
type Anonymous struct{ identity *bulwark.Identity }

// NewAnonymous gives such requests these roles.
func NewAnonymous(roles []string) *Anonymous {
	return &Anonymous{&bulwark.Identity{Name: AnonymousName, Method: MethodAnonymous, Roles: slices.Clone(roles)}}
}

// Authenticate admits; it does not look at the credential.
func (a *Anonymous) Authenticate(context.Context, Credential, time.Time) (*bulwark.Identity, *Failure) {
	return a.identity, nil
}
