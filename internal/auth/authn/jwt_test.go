package authn

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
)

func TestJWTAcceptsEveryAlgorithm(t *testing.T) {
	r := newRing(t)
	j := newTestJWT(t, testConfig(t, r))
	want := &bulwark.Identity{
		Name: "ann", Method: MethodJWT, Issuer: testIssuer, Groups: []string{"staff"}, Roles: []string{"reader"},
		Claims: map[string]any{
			"iss": testIssuer, "aud": "orders", "sub": "ann", "exp": testNow.Unix() + 60,
			"roles": []any{"reader"}, "groups": "staff",
		},
	}
	n := 0
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"} {
		key, kid := r.keyOf(alg)
		tok := sign(t, key, alg, fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, alg, kid), goodClaims())
		for _, what := range []string{"fresh", "remembered"} {
			id, f := j.Authenticate(t.Context(), Credential{Value: tok}, testNow)
			if f != nil {
				t.Errorf("%s %s: %s", alg, what, f.Reason)
				continue
			}
			if diff := cmp.Diff(want, id); diff != "" {
				t.Errorf("%s %s (-want +got)\n%s", alg, what, diff)
			}
			n++
		}
		// Any flipped bit of the signature refuses.
		sig, err := base64.RawURLEncoding.DecodeString(tok[strings.LastIndexByte(tok, '.')+1:])
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{0, len(sig) / 2, len(sig) - 1} {
			bad := append([]byte{}, sig...)
			bad[at] ^= 1
			forged := tok[:strings.LastIndexByte(tok, '.')+1] + base64.RawURLEncoding.EncodeToString(bad)
			if id, f := j.Authenticate(t.Context(), Credential{Value: forged}, testNow); f == nil {
				t.Errorf("%s: forged at %d, accepted as %v", alg, at, id)
			}
		}
	}
	if n != 20 {
		t.Errorf("%d tokens were accepted, want 20", n)
	}
}

func TestJWTConfiguration(t *testing.T) {
	r := newRing(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	oct := map[string]any{"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "rsa"}
	tests := []struct {
		name, want string
		edit       func(*JWTConfig)
	}{
		{"control", "", func(*JWTConfig) {}},
		{"no issuer", "issuer is required", func(c *JWTConfig) { c.Issuer = "" }},
		{"no audience", "audiences are required", func(c *JWTConfig) { c.Audiences = nil }},
		{"empty audience", "audiences are required", func(c *JWTConfig) { c.Audiences = []string{""} }},
		{"skew", "clock skew", func(c *JWTConfig) { c.ClockSkew = time.Hour }},
		{"negative skew", "clock skew", func(c *JWTConfig) { c.ClockSkew = -1 }},
		{"no keys", "exactly one", func(c *JWTConfig) { c.JWKS = "" }},
		{"both", "exactly one", func(c *JWTConfig) { c.JWKSURI = "https://idp.example/jwks" }},
		{"algorithm none", `"none" is not accepted`, func(c *JWTConfig) { c.Algorithms = []string{"none"} }},
		{"algorithm HS256", `"HS256" is not accepted`, func(c *JWTConfig) { c.Algorithms = []string{"HS256"} }},
		{"not JSON", "key set", func(c *JWTConfig) { c.JWKS = "x" }},
		{"no list", "no list", func(c *JWTConfig) { c.JWKS = "{}" }},
		{"empty set", "no usable key", func(c *JWTConfig) { c.JWKS = `{"keys":[]}` }},
		{"symmetric", "private or symmetric", func(c *JWTConfig) { c.JWKS = setJSON(t, oct) }},
		{"symmetric beside a good one", "private or symmetric", func(c *JWTConfig) {
			c.JWKS = setJSON(t, jwkJSON(t, r.rsa.Public(), "a", nil), oct)
		}},
		{"private", "private or symmetric", func(c *JWTConfig) { c.JWKS = setJSON(t, jwkJSON(t, r.rsa, "a", nil)) }},
		{"short RSA", "1024 bits", func(c *JWTConfig) { c.JWKS = setJSON(t, jwkJSON(t, small.Public(), "a", nil)) }},
		{"use enc", `"use"`, func(c *JWTConfig) {
			c.JWKS = setJSON(t, jwkJSON(t, r.rsa.Public(), "a", map[string]any{"use": "enc"}))
		}},
		{"key_ops sign", `"key_ops"`, func(c *JWTConfig) {
			c.JWKS = setJSON(t, jwkJSON(t, r.rsa.Public(), "a", map[string]any{"key_ops": []string{"encrypt"}}))
		}},
		{"alg of another type", `"alg" "ES256"`, func(c *JWTConfig) {
			c.JWKS = setJSON(t, jwkJSON(t, r.rsa.Public(), "a", map[string]any{"alg": "ES256"}))
		}},
		{"alg HS256 on an RSA key", `"alg" "HS256"`, func(c *JWTConfig) {
			c.JWKS = setJSON(t, jwkJSON(t, r.rsa.Public(), "a", map[string]any{"alg": "HS256"}))
		}},
		{"point off the curve", "no usable key", func(c *JWTConfig) {
			m := jwkJSON(t, r.ec["ES256"].Public(), "a", nil)
			m["x"] = m["y"]
			c.JWKS = setJSON(t, m)
		}},
		{"curve named wrongly", "no usable key", func(c *JWTConfig) {
			c.JWKS = setJSON(t, jwkJSON(t, r.ec["ES256"].Public(), "a", map[string]any{"crv": "P-384"}))
		}},
		{"exponent 1", "no usable key", func(c *JWTConfig) {
			c.JWKS = setJSON(t, jwkJSON(t, r.rsa.Public(), "a", map[string]any{"e": "AQ"}))
		}},
		{"member twice", "occurs twice", func(c *JWTConfig) { c.JWKS = `{"keys":[],` + c.JWKS[1:] }},
		{"http", "must be https", func(c *JWTConfig) { c.JWKS, c.JWKSURI = "", "http://idp.example/jwks" }},
		{"file", "key set URI", func(c *JWTConfig) { c.JWKS, c.JWKSURI = "", "file:///etc/passwd" }},
		{"user in URI", "no user", func(c *JWTConfig) { c.JWKS, c.JWKSURI = "", "https://a:b@idp.example/jwks" }},
		{"https without a client", "no HTTP client", func(c *JWTConfig) { c.JWKS, c.JWKSURI = "", "https://idp.example/jwks" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := testConfig(t, r)
			tt.edit(&c)
			client := testClient()
			if tt.name == "https without a client" {
				client = nil
			}
			_, err := NewJWT(c, newShared(t), client)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestJWTPolicyNarrows(t *testing.T) {
	r := newRing(t)
	c := testConfig(t, r)
	c.Algorithms, c.Type = []string{"ES256"}, "at+jwt"
	c.NameClaim, c.RolesClaim, c.GroupsClaim = "user.name", "https://example.com/roles", "scope"
	j := newTestJWT(t, c)
	claims := fmt.Sprintf(`{"iss":%q,"aud":["api"],"exp":%d,"user":{"name":"ann"},"https://example.com/roles":["a","b"],"scope":"read write","acr":"aal2","level":3,"big":1e400}`,
		testIssuer, testNow.Unix()+60)
	id, f := j.Authenticate(t.Context(), Credential{Value: sign(t, r.ec["ES256"], "ES256", `{"alg":"ES256","kid":"ES256","typ":"at+jwt"}`, claims)}, testNow)
	if f != nil {
		t.Fatal(f.Reason)
	}
	if diff := cmp.Diff([]any{"ann", []string{"a", "b"}, []string{"read", "write"}, "aal2", int64(3)},
		[]any{id.Name, id.Roles, id.Groups, id.Assurance, id.Claims["level"]}); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for name, tok := range map[string]string{
		"another algorithm": sign(t, r.rsa, "RS256", `{"alg":"RS256","kid":"rsa","typ":"at+jwt"}`, claims),
		"no type":           sign(t, r.ec["ES256"], "ES256", `{"alg":"ES256","kid":"ES256"}`, claims),
		"type JWT":          sign(t, r.ec["ES256"], "ES256", `{"alg":"ES256","kid":"ES256","typ":"JWT"}`, claims),
	} {
		if id, f := j.Authenticate(t.Context(), Credential{Value: tok}, testNow); f == nil {
			t.Errorf("%s: accepted as %+v", name, id)
		}
	}
}

func TestKeysWithoutOrWithTheSameName(t *testing.T) {
	r := newRing(t)
	c := testConfig(t, r)
	tok := sign(t, r.other, "RS256", `{"alg":"RS256"}`, goodClaims())
	named := sign(t, r.other, "RS256", `{"alg":"RS256","kid":"k"}`, goodClaims())
	two := []map[string]any{jwkJSON(t, r.rsa.Public(), "k", nil), jwkJSON(t, r.other.Public(), "k", nil)}
	tests := []struct {
		name, token string
		keys        []map[string]any
		ok          bool
	}{
		{"no kid, two keys fit", tok, two, false},
		{"no kid, one key fits", tok, []map[string]any{two[1], jwkJSON(t, r.ed.Public(), "e", nil)}, true},
		{"one name, two keys", named, two, true},
		{"key bound to PS256", named, []map[string]any{jwkJSON(t, r.other.Public(), "k", map[string]any{"alg": "PS256"})}, false},
	}
	for _, tt := range tests {
		c.JWKS = setJSON(t, tt.keys...)
		_, f := newTestJWT(t, c).Authenticate(t.Context(), Credential{Value: tt.token}, testNow)
		if (f == nil) != tt.ok {
			t.Errorf("%s: got %+v", tt.name, f)
		}
	}
}

func TestIssuerChoosesAmongSeveral(t *testing.T) {
	r := newRing(t)
	a := testConfig(t, r)
	b := testConfig(t, r)
	b.Issuer, b.JWKS = "https://other.example", setJSON(t, jwkJSON(t, r.other.Public(), "rsa", nil))
	b2 := b
	b2.Audiences = []string{"second"}
	js := JWTs{newTestJWT(t, a), newTestJWT(t, b), newTestJWT(t, b2)}
	claims := func(iss, aud string) string {
		return fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":"ann","exp":%d}`, iss, aud, testNow.Unix()+60)
	}
	header := `{"alg":"RS256","kid":"rsa"}`
	tests := []struct {
		name, token, issuer string
	}{
		{"first", sign(t, r.rsa, "RS256", header, claims(a.Issuer, "orders")), a.Issuer},
		{"second", sign(t, r.other, "RS256", header, claims(b.Issuer, "orders")), b.Issuer},
		{"second issuer, third policy", sign(t, r.other, "RS256", header, claims(b.Issuer, "second")), b.Issuer},
		{"the first's key for the second's issuer", sign(t, r.rsa, "RS256", header, claims(b.Issuer, "orders")), ""},
		{"the second's key for the first's issuer", sign(t, r.other, "RS256", header, claims(a.Issuer, "orders")), ""},
		{"the third's audience for the first's issuer", sign(t, r.rsa, "RS256", header, claims(a.Issuer, "second")), ""},
	}
	for _, tt := range tests {
		for range 2 {
			id, f := js.Authenticate(t.Context(), Credential{Value: tt.token}, testNow)
			if tt.issuer == "" {
				if f == nil {
					t.Errorf("%s: accepted as %+v", tt.name, id)
				}
				continue
			}
			if f != nil || id.Issuer != tt.issuer {
				t.Errorf("%s: got %+v, %+v", tt.name, id, f)
			}
		}
	}
}
