package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

const tokenLife = 4 * time.Hour

// signer mints tokens (RFC 7519, ES256) for one role each, and remembers them.
type signer struct {
	key    *ecdsa.PrivateKey
	mu     sync.Mutex
	tokens map[string]string
}

func newSigner() (*signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	return &signer{key: key, tokens: map[string]string{}}, nil
}

// jwks gives the key set that verifies its tokens (RFC 7517).
func (s *signer) jwks() (string, error) {
	point, err := s.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		return "", fmt.Errorf("encode the key set: %w", err)
	}
	b, err := json.Marshal(object{"keys": list{object{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "scale-1", "x": encode(point[1:33]), "y": encode(point[33:]),
	}}})
	if err != nil {
		return "", fmt.Errorf("encode the key set: %w", err)
	}
	return string(b), nil
}

// token gives a token of somebody who has the role.
func (s *signer) token(role string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t, ok := s.tokens[role]; ok {
		return t, nil
	}
	now := time.Now()
	claims, err := json.Marshal(object{
		"iss": issuer, "aud": audience, "sub": "user-" + role, "roles": list{role},
		"iat": now.Unix(), "exp": now.Add(tokenLife).Unix(),
	})
	if err != nil {
		return "", fmt.Errorf("encode a token: %w", err)
	}
	text := encode([]byte(`{"alg":"ES256","typ":"JWT","kid":"scale-1"}`)) + "." + encode(claims)
	sum := sha256.Sum256([]byte(text))
	r, v, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	var sig [64]byte
	r.FillBytes(sig[:32])
	v.FillBytes(sig[32:])
	t := text + "." + encode(sig[:])
	s.tokens[role] = t
	return t, nil
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
