package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Who signs the benchmark's token, and for whom.
const (
	tokenIssuer   = "https://idp.bench.example"
	tokenAudience = "items"
	tokenKeyID    = "bench-1"
	tokenLife     = time.Hour
)

// mint makes a fresh ES256 key and a token signed with it, and gives the key
// set that verifies it.
func mint(now time.Time) (jwks, token string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", fmt.Errorf("make a signing key: %w", err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{
		Key: key.Public(), KeyID: tokenKeyID, Algorithm: string(jose.ES256), Use: "sig",
	}}})
	if err != nil {
		return "", "", fmt.Errorf("encode the key set: %w", err)
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: tokenKeyID}},
		(&jose.SignerOptions{}).WithType("JWT"),
	)
	if err != nil {
		return "", "", fmt.Errorf("make a signer: %w", err)
	}
	token, err = jwt.Signed(signer).
		Claims(jwt.Claims{
			Issuer: tokenIssuer, Subject: "alice", Audience: jwt.Audience{tokenAudience},
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now),
			Expiry: jwt.NewNumericDate(now.Add(tokenLife)),
		}).
		Claims(map[string]any{"roles": []string{"reader"}, "groups": []string{"shop", "staff"}}).
		Serialize()
	if err != nil {
		return "", "", fmt.Errorf("sign the token: %w", err)
	}
	return string(set), token, nil
}
