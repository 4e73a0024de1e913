package idp_test

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/examples/shop/idp"
)

const issuer = "http://127.0.0.1:9091"

func clock() time.Time { return time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC) }

func provider(t *testing.T) http.Handler {
	t.Helper()
	h, err := idp.New(issuer, rand.Reader, clock)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// ask calls h as a client on this machine does, unless edit says otherwise.
func ask(t *testing.T, h http.Handler, method, target, body string, edit func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	req.RemoteAddr, req.Host = "127.0.0.1:40000", "127.0.0.1:9091"
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if edit != nil {
		edit(req)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

// verify checks a token against the provider's published keys and gives its
// claims.
func verify(t *testing.T, h http.Handler, token string) map[string]any {
	t.Helper()
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(ask(t, h, http.MethodGet, "/jwks", "", nil).Body.Bytes(), &keys); err != nil {
		t.Fatal(err)
	}
	if len(keys.Keys) != 1 || !keys.Keys[0].IsPublic() {
		t.Fatalf("key set holds %d keys, or a private one", len(keys.Keys))
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	if got := parsed.Headers[0].KeyID; len(keys.Key(got)) != 1 {
		t.Errorf("kid %q is not in the key set", got)
	}
	claims := map[string]any{}
	if err := parsed.Claims(keys.Keys[0].Key, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

func TestTokens(t *testing.T) {
	t.Parallel()
	h := provider(t)
	for user, roles := range map[string][]any{"rita": {"reader"}, "walt": {"reader", "writer"}, "ada": {"admin"}} {
		w := ask(t, h, http.MethodGet, "/token?user="+user, "", nil)
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("token may be cached: %q", got)
		}
		if got := w.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/plain") {
			t.Errorf("token comes as %q", got)
		}
		claims := verify(t, h, strings.TrimSpace(w.Body.String()))
		if id, ok := claims["jti"].(string); !ok || len(id) != 32 {
			t.Errorf("token id %v", claims["jti"])
		}
		delete(claims, "jti")
		now := float64(clock().Unix())
		want := map[string]any{"iss": issuer, "sub": user, "aud": []any{"shop"}, "iat": now, "nbf": now, "exp": now + 3600, "roles": roles}
		if got, ok := claims["aud"].(string); ok {
			claims["aud"] = []any{got} // one audience may be a string (RFC 7519 4.1.3)
		}
		if diff := cmp.Diff(want, claims); diff != "" {
			t.Errorf("claims of %s (-want +got):\n%s", user, diff)
		}
	}
}

func TestTokenAsJSON(t *testing.T) {
	t.Parallel()
	h := provider(t)
	answers := map[string]*httptest.ResponseRecorder{
		"form":   ask(t, h, http.MethodPost, "/token", "grant_type=client_credentials&client_id=walt&client_secret=x", nil),
		"user":   ask(t, h, http.MethodPost, "/token", "user=walt", nil),
		"query":  ask(t, h, http.MethodPost, "/token?user=walt", "", nil),
		"accept": ask(t, h, http.MethodGet, "/token?user=walt", "", func(r *http.Request) { r.Header.Set("Accept", "application/json") }),
	}
	for name, w := range answers {
		var got struct {
			AccessToken string `json:"access_token"`
			TokenType   string `json:"token_type"`
			ExpiresIn   int    `json:"expires_in"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%s: %v in %s", name, err, w.Body)
		}
		if got.TokenType != "Bearer" || got.ExpiresIn != 3600 {
			t.Errorf("%s: %+v", name, got)
		}
		if sub := verify(t, h, got.AccessToken)["sub"]; sub != "walt" {
			t.Errorf("%s: token of %v", name, sub)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	h := provider(t)
	tests := []struct {
		name, method, target, body string
		edit                       func(*http.Request)
		status                     int
		want                       string
	}{
		{"no user", "GET", "/token", "", nil, 400, "must be one of"},
		{"unknown user", "GET", "/token?user=eve", "", nil, 400, "must be one of"},
		{"unknown client", "POST", "/token", "client_id=eve", nil, 400, `"error":"invalid_client"`},
		{"broken form", "POST", "/token", "user=%zz", nil, 400, `"error":"invalid_request"`},
		{"huge form", "POST", "/token", "user=" + strings.Repeat("x", 8<<10), nil, 400, `"error":"invalid_request"`},
		{"other method", "DELETE", "/token?user=ada", "", nil, 405, ""},
		{"another machine", "GET", "/token?user=ada", "", func(r *http.Request) { r.RemoteAddr = "192.0.2.1:999" }, 403, "loopback"},
		{"no source", "GET", "/token?user=ada", "", func(r *http.Request) { r.RemoteAddr = "" }, 403, "loopback"},
		{"rebound name", "GET", "/token?user=ada", "", func(r *http.Request) { r.Host = "evil.example:9091" }, 403, "loopback"},
		{"no host", "GET", "/jwks", "", func(r *http.Request) { r.Host = "" }, 403, "loopback"},
		{"localhost", "GET", "/jwks", "", func(r *http.Request) { r.Host = "localhost:9091" }, 200, `"kty":"EC"`},
		{"IPv6", "GET", "/jwks", "", func(r *http.Request) { r.Host, r.RemoteAddr = "[::1]:9091", "[::1]:999" }, 200, `"kty":"EC"`},
	}
	for _, tt := range tests {
		w := ask(t, h, tt.method, tt.target, tt.body, tt.edit)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s: got %d %s, want %d with %s", tt.name, w.Code, w.Body, tt.status, tt.want)
		}
	}
}

func TestDiscovery(t *testing.T) {
	t.Parallel()
	var got map[string]any
	if err := json.Unmarshal(ask(t, provider(t), http.MethodGet, "/.well-known/openid-configuration", "", nil).Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"issuer": issuer, "jwks_uri": issuer + "/jwks", "token_endpoint": issuer + "/token"} {
		if got[key] != want {
			t.Errorf("%s is %v, want %s", key, got[key], want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		issuer string
		random io.Reader
		now    func() time.Time
	}{
		"no issuer":      {"", rand.Reader, clock},
		"trailing slash": {issuer + "/", rand.Reader, clock},
		"no randomness":  {issuer, nil, clock},
		"no clock":       {issuer, rand.Reader, nil},
	}
	for name, tt := range tests {
		if h, err := idp.New(tt.issuer, tt.random, tt.now); err == nil || h != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// The demonstration's key never changes, and it answers from anywhere.
func TestDemo(t *testing.T) {
	t.Parallel()
	const seed = "shop-demo-seed-please-change"
	from := func(r *http.Request) { r.RemoteAddr, r.Host = "10.244.0.7:40000", "idp.shop.svc" }
	var sets []string
	for range 2 {
		h, err := idp.NewDemo("http://idp.shop.svc", seed, rand.Reader, clock)
		if err != nil {
			t.Fatal(err)
		}
		sets = append(sets, ask(t, h, http.MethodGet, "/jwks", "", from).Body.String())
		var keys jose.JSONWebKeySet
		if err := json.Unmarshal([]byte(sets[0]), &keys); err != nil {
			t.Fatal(err)
		}
		if len(keys.Keys) != 1 || !keys.Keys[0].IsPublic() || strings.Contains(sets[0], `"d"`) {
			t.Fatalf("key set %s", sets[0])
		}
		token, err := jwt.ParseSigned(strings.TrimSpace(ask(t, h, http.MethodGet, "/token?user=ada", "", from).Body.String()), []jose.SignatureAlgorithm{jose.EdDSA})
		if err != nil {
			t.Fatal(err)
		}
		var claims jwt.Claims
		if err := token.Claims(keys.Keys[0].Key, &claims); err != nil || claims.Subject != "ada" || claims.Issuer != "http://idp.shop.svc" {
			t.Errorf("claims %+v, error %v", claims, err)
		}
	}
	if sets[0] != sets[1] {
		t.Errorf("the key changed from %s to %s", sets[0], sets[1])
	}
	for _, bad := range []string{"", "short"} {
		if _, err := idp.NewDemo("http://idp.shop.svc", bad, rand.Reader, clock); err == nil {
			t.Errorf("seed %q was accepted", bad)
		}
	}
	if _, err := idp.NewDemo("", seed, rand.Reader, clock); err == nil {
		t.Error("no issuer was accepted")
	}
}
