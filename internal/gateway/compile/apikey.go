package compile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
)

// MinSaltBytes is the shortest salt of an API key's hash that is accepted.
const MinSaltBytes = 8

const hashScheme = "sha256"

// HashKey gives the form in which a Secret holds an API key:
// "sha256:<hex salt>:<hex SHA-256 of salt then key>". The salt must be random
// and at least MinSaltBytes long; a key so hashed must itself be random (32
// bytes, say), since SHA-256 does not slow a guesser down.
func HashKey(key, salt []byte) string {
	sum := sha256.Sum256(append(append([]byte{}, salt...), key...))
	return hashScheme + ":" + hex.EncodeToString(salt) + ":" + hex.EncodeToString(sum[:])
}

// parseHash takes apart what HashKey made. The error never quotes it.
func parseHash(s string) (salt, hash []byte, err error) {
	scheme, rest, _ := strings.Cut(s, ":")
	saltHex, hashHex, _ := strings.Cut(rest, ":")
	salt, errSalt := hex.DecodeString(saltHex)
	hash, errHash := hex.DecodeString(hashHex)
	switch {
	case scheme != hashScheme || errSalt != nil || errHash != nil || len(hash) != sha256.Size:
		return nil, nil, errors.New(`hash is not of the form "sha256:<hex salt>:<hex hash>"`)
	case len(salt) < MinSaltBytes:
		return nil, nil, fmt.Errorf("hash has a salt of less than %d bytes", MinSaltBytes)
	}
	return salt, hash, nil
}

// parseKey reads an API key's Secret. The error names keys of the Secret, never
// their values.
func parseKey(s *corev1.Secret) (ir.Key, error) {
	get := func(name string) string {
		v, _ := value(s, name)
		return strings.TrimSpace(string(v))
	}
	salt, hash, err := parseHash(get("hash"))
	if err != nil {
		return ir.Key{}, err
	}
	k := ir.Key{
		Name: get("name"), Salt: bulwark.NewSecret(salt), Hash: bulwark.NewSecret(hash),
		Roles: commaList(get("roles")), Groups: commaList(get("groups")),
	}
	if k.Name == "" {
		k.Name = s.Name
	}
	if raw, ok := value(s, "expires"); ok {
		t, err := time.Parse(time.RFC3339, strings.TrimSpace(string(raw)))
		if err != nil || t.IsZero() {
			return ir.Key{}, errors.New("expires is no time of RFC 3339")
		}
		k.Expires = t.UTC()
	}
	return k, nil
}
