package filters

import (
	"crypto/rand"
	"maps"
	"net/http"
	"sync"
	"weak"

	"bulwark.dev/bulwark/internal/auth"
	"bulwark.dev/bulwark/internal/auth/authn"
	"bulwark.dev/bulwark/internal/auth/lockout"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// AuthState is the part of State that authentication needs: key sets, verified
// credentials and lock-outs.
type AuthState struct {
	shared *authn.Shared
	locks  *lockout.Table

	mu sync.Mutex
	// chains are those in use, by the immutable part of ir that they were made
	// from: thousands of rules share the one of their Gateway's policy.
	chains map[weak.Pointer[ir.Authentication]]weak.Pointer[auth.Chain]
	prune  int // size of chains at which to look for dead entries
}

// NewAuthState makes an empty state. Close ends it.
func NewAuthState() *AuthState {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never gives an error: it ends the process instead
	return &AuthState{
		shared: authn.NewShared(secret), locks: lockout.New(),
		chains: make(map[weak.Pointer[ir.Authentication]]weak.Pointer[auth.Chain]),
	}
}

// chain makes the chain of a policy, or finds the one made before.
func (s *AuthState) chain(a *ir.Authentication, client *http.Client) (*auth.Chain, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := weak.Make(a)
	if c := s.chains[k].Value(); c != nil {
		return c, nil
	}
	anyOf := make([]auth.Alternative, len(a.AnyOf))
	for i := range a.AnyOf {
		anyOf[i] = alternative(&a.AnyOf[i])
	}
	c, err := auth.New(anyOf, auth.Deps{Shared: s.shared, HTTP: client})
	if err != nil {
		return nil, err
	}
	if len(s.chains) >= s.prune {
		maps.DeleteFunc(s.chains, func(_ weak.Pointer[ir.Authentication], w weak.Pointer[auth.Chain]) bool { return w.Value() == nil })
		s.prune = 2*len(s.chains) + 64
	}
	s.chains[k] = weak.Make(c)
	return c, nil
}

// Close stops fetching key sets and waits until nothing runs any more.
func (s *AuthState) Close() { s.shared.Close() }
