// Package idp is a stand-in for an identity provider, for the example shop and
// for nothing else: it gives a token for any of its three users to whoever asks,
// without a password. One made by New therefore answers only requests that come
// from a loopback address and name one as Host; one made by NewDemo is for a
// cluster in which nothing is worth guarding.
package idp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// Audience is the "aud" of every token.
	Audience = "shop"
	// Lifetime is how long a token is good for.
	Lifetime = time.Hour

	maxForm = 4 << 10
)

// users maps each user to roles.
func users() map[string][]string {
	return map[string][]string{
		"rita": {"reader"},
		"walt": {"reader", "writer"},
		"ada":  {"admin"},
	}
}

type provider struct {
	issuer string
	random io.Reader
	now    func() time.Time
	users  map[string][]string
	signer jose.Signer
	keys   []byte // the public key set
	config []byte // the discovery document
}

// New makes a provider with a fresh ES256 key. issuer is the URL that it is
// reached by, without a trailing slash; random gives the key and the token ids.
// It serves:
//
//	/token?user=NAME                   a token as text; as JSON (RFC 6749 5.1)
//	                                   to a POST or to "Accept: application/json"
//	/jwks                              the public key (RFC 7517)
//	/.well-known/openid-configuration  where these are
func New(issuer string, random io.Reader, now func() time.Time) (http.Handler, error) {
	if random == nil {
		return nil, errNeeds
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return nil, fmt.Errorf("identity provider: make key: %w", err)
	}
	h, err := serve(issuer, key, &key.PublicKey, jose.ES256, random, now)
	if err != nil {
		return nil, err
	}
	return loopbackOnly(h), nil
}

// NewDemo is New for a demonstration cluster, where the gateway holds the public
// key in a ConfigMap: the Ed25519 key is made from seed, so that it is always the
// same, and whoever can reach the provider is answered. Whoever knows the seed
// can make tokens; nothing but an example may trust them.
func NewDemo(issuer, seed string, random io.Reader, now func() time.Time) (http.Handler, error) {
	if len(seed) < 16 {
		return nil, errors.New("identity provider: a seed of 16 characters or more is required")
	}
	sum := sha256.Sum256([]byte(seed))
	key := ed25519.NewKeyFromSeed(sum[:])
	return serve(issuer, key, key.Public(), jose.EdDSA, random, now)
}

var errNeeds = errors.New("identity provider: randomness and a clock are required")

// serve signs with one key and publishes its other half.
func serve(issuer string, key, public any, alg jose.SignatureAlgorithm, random io.Reader, now func() time.Time) (http.Handler, error) {
	if issuer == "" || strings.HasSuffix(issuer, "/") {
		return nil, fmt.Errorf("identity provider: issuer %q must be a URL without a trailing slash", issuer)
	}
	if random == nil || now == nil {
		return nil, errNeeds
	}
	thumb, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("identity provider: name key: %w", err)
	}
	kid := base64.RawURLEncoding.EncodeToString(thumb[:12])
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}},
		(&jose.SignerOptions{}).WithType("JWT"),
	)
	if err != nil {
		return nil, fmt.Errorf("identity provider: make signer: %w", err)
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: public, KeyID: kid, Algorithm: string(alg), Use: "sig"},
	}})
	if err != nil {
		return nil, fmt.Errorf("identity provider: encode key set: %w", err)
	}
	config, err := json.Marshal(map[string]any{
		"issuer":                                issuer,
		"jwks_uri":                              issuer + "/jwks",
		"token_endpoint":                        issuer + "/token",
		"grant_types_supported":                 []string{"client_credentials"},
		"response_types_supported":              []string{"token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{string(alg)},
	})
	if err != nil {
		return nil, fmt.Errorf("identity provider: encode configuration: %w", err)
	}
	p := &provider{issuer: issuer, random: random, now: now, users: users(), signer: signer, keys: keys, config: config}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, "application/json", p.keys) })
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, "application/json", p.config)
	})
	mux.HandleFunc("GET /token", p.token)
	mux.HandleFunc("POST /token", p.token)
	return mux, nil
}

// loopbackOnly refuses who is not on this machine, and browsers that were sent
// here under another name (DNS rebinding).
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() || !loopbackHost(r.Host) {
			reply(w, http.StatusForbidden, "text/plain; charset=utf-8", []byte("this identity provider is an example for loopback addresses only\n"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.Unmap().IsLoopback()
}

// token signs a token for the user named in the query or the form.
func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	asJSON := r.Method == http.MethodPost || strings.Contains(r.Header.Get("Accept"), "application/json")
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		p.fail(w, asJSON, "invalid_request", "the form cannot be read")
		return
	}
	user := r.Form.Get("user")
	if user == "" {
		user = r.Form.Get("client_id")
	}
	roles, ok := p.users[user]
	if !ok {
		p.fail(w, asJSON, "invalid_client", "user must be one of rita, walt and ada")
		return
	}
	token, err := p.sign(user, roles)
	if err != nil {
		reply(w, http.StatusInternalServerError, "text/plain; charset=utf-8", []byte("the token could not be signed\n"))
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if !asJSON {
		reply(w, http.StatusOK, "text/plain; charset=utf-8", []byte(token+"\n"))
		return
	}
	p.json(w, http.StatusOK, map[string]any{
		"access_token": token, "token_type": "Bearer", "expires_in": int(Lifetime / time.Second),
	})
}

func (p *provider) sign(user string, roles []string) (string, error) {
	id := make([]byte, 16)
	if _, err := io.ReadFull(p.random, id); err != nil {
		return "", fmt.Errorf("make token id: %w", err)
	}
	now := p.now()
	claims := jwt.Claims{
		Issuer: p.issuer, Subject: user, Audience: jwt.Audience{Audience}, ID: hex.EncodeToString(id),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(Lifetime)),
	}
	own := struct {
		Roles []string `json:"roles"`
	}{roles}
	token, err := jwt.Signed(p.signer).Claims(claims).Claims(own).Serialize()
	if err != nil {
		return "", fmt.Errorf("sign token of %q: %w", user, err)
	}
	return token, nil
}

// fail answers as RFC 6749 5.2 has it, or in a sentence.
func (p *provider) fail(w http.ResponseWriter, asJSON bool, code, detail string) {
	if asJSON {
		p.json(w, http.StatusBadRequest, map[string]any{"error": code, "error_description": detail})
		return
	}
	reply(w, http.StatusBadRequest, "text/plain; charset=utf-8", []byte(detail+"\n"))
}

func (*provider) json(w http.ResponseWriter, status int, v map[string]any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "the answer could not be encoded", http.StatusInternalServerError)
		return
	}
	reply(w, status, "application/json", append(body, '\n'))
}

// reply sends a whole body. A client that has gone is nobody's error.
func reply(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // G705: only tokens, JSON and our own sentences, none of them sniffed as HTML
}
