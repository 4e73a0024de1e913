package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// The limits of a key set.
const (
	maxKeys    = 128
	minRSABits = 2048 // RFC 7518 3.3
	maxRSABits = 8192 // larger keys make each check slow
	// maxSameKid bounds how many keys of one name are tried for one token.
	maxSameKid = 4
)

// key is one public key of an issuer, parsed and judged.
type key struct {
	kid    string
	public crypto.PublicKey
	algs   []string // what it may check: by its type, and its "alg" where it has one
}

// keySet is the keys of an issuer at one time. It is immutable.
type keySet struct {
	keys []key
	// version tells key sets of one issuer apart: verdicts hold for one version.
	version uint64
}

// candidates are the keys that may have signed a token with this header: those
// of its kid, or without one the only key that fits the algorithm. The kid
// reports whether the set has a key of that name at all.
func (s *keySet) candidates(t *token) (keys []key, kid bool) {
	for i := range s.keys {
		k := s.keys[i]
		if t.hasKid && k.kid != t.kid {
			continue
		}
		kid = kid || t.hasKid
		if slices.Contains(k.algs, t.alg.name) {
			keys = append(keys, k)
		}
	}
	switch {
	case !t.hasKid && len(keys) != 1:
		return nil, false
	case len(keys) > maxSameKid:
		return keys[:maxSameKid], kid
	}
	return keys, kid
}

// errPrivate is a key set that holds what only an issuer may have.
var errPrivate = errors.New("a private or symmetric key does not belong into a key set")

// parseKeySet reads a JWK Set (RFC 7517 5). Keys of unknown type, too weak, or
// meant for something else than signatures are left out. With strict set (an
// operator wrote the set) a private or symmetric key is an error, from an
// issuer it is left out like any other. No usable key left is an error.
func parseKeySet(data []byte, strict bool) ([]key, error) {
	m, err := decodeObject(data)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	list, ok := m["keys"].([]any)
	if !ok {
		return nil, errors.New("key set: no list \"keys\"")
	}
	if len(list) > maxKeys {
		return nil, fmt.Errorf("key set: %d keys, the limit is %d", len(list), maxKeys)
	}
	var keys []key
	var problems []error
	for i, e := range list {
		k, err := parseKey(e)
		switch {
		case err == nil:
			keys = append(keys, k)
		case strict && errors.Is(err, errPrivate):
			return nil, fmt.Errorf("key set: key %d: %w", i, err)
		default:
			problems = append(problems, fmt.Errorf("key %d: %w", i, err))
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("key set: no usable key: %w", errors.Join(problems...))
	}
	return keys, nil
}

func parseKey(e any) (key, error) {
	m, ok := e.(map[string]any)
	if !ok {
		return key{}, errors.New("not an object")
	}
	for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		if _, has := m[private]; has {
			return key{}, errPrivate
		}
	}
	if use, has := m["use"]; has && use != "sig" {
		return key{}, errors.New("\"use\" is not \"sig\"")
	}
	if ops, has := m["key_ops"]; has {
		list, err := stringsOf(ops)
		if err != nil || !slices.Contains(list, "verify") {
			return key{}, errors.New("\"key_ops\" does not hold \"verify\"")
		}
	}
	// The certificates are not ours to judge: the key is trusted for where the
	// set came from.
	for _, name := range []string{"x5c", "x5t", "x5t#S256", "x5u"} {
		delete(m, name)
	}
	data, err := json.Marshal(m)
	if err != nil {
		return key{}, fmt.Errorf("encode: %w", err)
	}
	var jwk jose.JSONWebKey
	if err := jwk.UnmarshalJSON(data); err != nil {
		return key{}, fmt.Errorf("parse: %w", err)
	}
	if err := strong(jwk.Key); err != nil {
		return key{}, err
	}
	k := key{kid: jwk.KeyID, public: jwk.Key, algs: fits(jwk.Key)}
	if jwk.Algorithm != "" {
		if !slices.Contains(k.algs, jwk.Algorithm) {
			return key{}, fmt.Errorf("\"alg\" %q is not accepted for the key's type", brief(jwk.Algorithm))
		}
		k.algs = []string{jwk.Algorithm}
	}
	if len(k.algs) == 0 {
		return key{}, errors.New("no accepted algorithm fits the key")
	}
	return k, nil
}

// strong refuses public keys that a signature cannot be trusted with.
func strong(k crypto.PublicKey) error {
	switch k := k.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return fmt.Errorf("an RSA key of %d bits, accepted are %d to %d", n, minRSABits, maxRSABits)
		}
		if k.E < 3 || k.E%2 == 0 {
			return errors.New("an RSA key with a bad exponent")
		}
	case *ecdsa.PublicKey:
		// ECDH checks that the point is on the curve and not at infinity.
		if _, err := k.ECDH(); err != nil {
			return fmt.Errorf("an EC key: %w", err)
		}
	case ed25519.PublicKey:
		if len(k) != ed25519.PublicKeySize {
			return errors.New("an Ed25519 key of the wrong length")
		}
	default:
		return errors.New("a key of unknown type")
	}
	return nil
}

// keySource gives the keys of an issuer. Times are Unix seconds.
type keySource interface {
	// peek gives the keys in force without ever waiting, and nil where that
	// cannot be told at once.
	peek(now int64) *keySet
	// wait gives the keys in force, waiting a bounded time where they must be
	// fetched. Nil means that there are none that may be believed; the text says
	// why.
	wait(ctx context.Context, now int64) (*keySet, string)
	// refetch gives the keys after a token named one that set does not have. It
	// gives set itself where asking the issuer again is not worth it.
	refetch(ctx context.Context, set *keySet, kid string, now int64) *keySet
}

// fixedKeys are keys from configuration.
type fixedKeys struct{ set *keySet }

func (f fixedKeys) peek(int64) *keySet                            { return f.set }
func (f fixedKeys) wait(context.Context, int64) (*keySet, string) { return f.set, "" }

func (f fixedKeys) refetch(_ context.Context, set *keySet, _ string, _ int64) *keySet { return set }
