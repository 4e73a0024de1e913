package authn

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"bulwark.dev/bulwark"
)

// The limits of API keys.
const (
	maxAPIKey  = 1 << 10 // bytes of one key
	maxAPIKeys = 10_000  // a wrong key costs one hash for each
	minSalt    = 8       // bytes
)

// APIKeyConfig says which keys are accepted.
type APIKeyConfig struct {
	// Issuer names the policy that holds the keys.
	Issuer string
	// Keys may be empty: then every key is refused.
	Keys []Key
}

// Key is one API key at rest.
type Key struct {
	Name string
	// Hash is SHA-256 of Salt, at least 8 bytes, then the key.
	Salt, Hash    bulwark.Secret
	Roles, Groups []string
	// Expires is when the key ends; the zero time is never.
	Expires time.Time
}

// APIKey accepts keys that are kept as salted hashes.
type APIKey struct {
	keys   []storedKey
	shared *Shared
	proofs proofs
}

type storedKey struct {
	salt, hash []byte
	proof      proof
}

// APIKeyChallenge asks for a key. The scheme is not a registered one; RFC 9110
// 15.5.2 wants some challenge with every 401.
const APIKeyChallenge = `ApiKey realm="` + Realm + `"`

// id tells configurations apart, by their secrets too.
func (c APIKeyConfig) id() digestOf {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%q\n", c.Issuer) // hash.Hash never gives an error
	for _, k := range c.Keys {
		_, _ = fmt.Fprintf(h, "%q %x %x %q %q %d\n", k.Name, k.Salt.Reveal(), k.Hash.Reveal(), k.Roles, k.Groups, k.until())
	}
	return digestOf(h.Sum(nil))
}

// until is the Unix time at which the key ends.
func (k Key) until() int64 {
	if k.Expires.IsZero() {
		return math.MaxInt64
	}
	return k.Expires.Unix()
}

// NewAPIKey checks a configuration. The same configuration gives the same
// APIKey, with the keys that it has verified, for as long as anyone uses it.
func NewAPIKey(c APIKeyConfig, shared *Shared) (*APIKey, error) {
	if shared == nil {
		return nil, errors.New("api key: no shared state")
	}
	if len(c.Keys) > maxAPIKeys {
		return nil, fmt.Errorf("api key: %d keys, the limit is %d", len(c.Keys), maxAPIKeys)
	}
	return shared.keys.get(c.id(), func() (*APIKey, error) {
		a := &APIKey{shared: shared}
		for _, k := range c.Keys {
			salt, hash := k.Salt.Reveal(), k.Hash.Reveal()
			switch {
			case !printable(k.Name):
				return nil, fmt.Errorf("api key %q: the name must be printable and not empty", brief(k.Name))
			case len(salt) < minSalt:
				return nil, fmt.Errorf("api key %q: the salt has %d bytes, the least is %d", k.Name, len(salt), minSalt)
			case len(hash) != sha256.Size:
				return nil, fmt.Errorf("api key %q: the hash has %d bytes, SHA-256 has %d", k.Name, len(hash), sha256.Size)
			}
			a.keys = append(a.keys, storedKey{salt: salt, hash: hash, proof: proof{until: k.until(), identity: &bulwark.Identity{
				Name: k.Name, Method: MethodAPIKey, Issuer: c.Issuer,
				Roles: slices.Clone(k.Roles), Groups: slices.Clone(k.Groups),
			}}})
		}
		return a, nil
	})
}

// Authenticate judges one key.
func (a *APIKey) Authenticate(_ context.Context, c Credential, now time.Time) (*bulwark.Identity, *Failure) {
	if c.Value == "" || len(c.Value) > maxAPIKey {
		return nil, wrong("the API key is empty or too long", APIKeyChallenge)
	}
	at := now.Unix()
	cacheKey := a.shared.proofKey(c.Value)
	if id := a.proofs.get(cacheKey, at); id != nil {
		return id, nil
	}
	found := a.find(c.Value)
	if found < 0 {
		return nil, wrong("the API key is unknown", APIKeyChallenge)
	}
	k := &a.keys[found]
	if at >= k.proof.until {
		f := wrong(fmt.Sprintf("the API key %q has expired", k.proof.identity.Name), APIKeyChallenge)
		f.Guess = false
		return nil, f
	}
	a.proofs.put(cacheKey, k.proof)
	return k.proof.identity, nil
}

// find compares with every stored key, whatever it finds on the way: the time
// says nothing about which key was near.
func (a *APIKey) find(presented string) int {
	found := -1
	buf := make([]byte, 0, 128+len(presented))
	for i := range a.keys {
		k := &a.keys[i]
		buf = append(append(buf[:0], k.salt...), presented...)
		sum := sha256.Sum256(buf)
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], k.hash), i, found)
	}
	clear(buf)
	return found
}
