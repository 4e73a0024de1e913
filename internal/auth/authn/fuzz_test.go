package authn

import (
	"strings"
	"testing"
)

// FuzzJWT holds the parser to: no panic, and nothing accepted that the issuer
// did not sign. The seeds are tokens with their signatures; whatever else is
// accepted must be one of them.
func FuzzJWT(f *testing.F) {
	r := newRing(f)
	c := testConfig(f, r)
	good := map[string]bool{}
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		key, kid := r.keyOf(alg)
		tok := sign(f, key, alg, `{"alg":"`+alg+`","kid":"`+kid+`"}`, goodClaims())
		good[tok] = true
		f.Add(tok)
	}
	f.Add(b64(`{"alg":"none"}`) + "." + b64(goodClaims()) + ".")
	f.Add(b64(`{"alg":"HS256","kid":"rsa"}`) + "." + b64(goodClaims()) + ".AAAA")
	f.Add(b64(`{"alg":"RS256","alg":"none"}`) + "." + b64(`{"exp":1e9}`) + ".AA")
	f.Add("....")
	j, err := NewJWT(c, NewShared([32]byte{}), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		id, failure := j.Authenticate(t.Context(), Credential{Value: raw}, testNow)
		switch {
		case (id == nil) == (failure == nil):
			t.Fatalf("neither or both: %v, %v", id, failure)
		case failure == nil && !good[raw]:
			t.Fatalf("accepted what nobody signed: %q", raw)
		case failure != nil && good[raw]:
			t.Fatalf("refused what was signed: %s", failure.Reason)
		}
		tok, err := parseToken(raw)
		if err != nil {
			return
		}
		// What was parsed is written back in one way only.
		if strings.Count(raw, ".") != 2 || !strings.HasPrefix(raw, tok.signed+".") || len(tok.signature) == 0 {
			t.Fatalf("parsed a token that is none: %q", raw)
		}
		switch tok.alg.name {
		case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA":
		default:
			t.Fatalf("algorithm %q", tok.alg.name)
		}
	})
}

// FuzzBasic holds SplitBasic to: what it gives encodes to what it read.
func FuzzBasic(f *testing.F) {
	for _, s := range []string{"ann:secret", ":", "a:", "a:b:c", "zoë:ü", "a\x00:b"} {
		f.Add(encode(s))
	}
	f.Add("YTpi\n")
	f.Add("YTpi====")
	f.Fuzz(func(t *testing.T, raw string) {
		name, password, ok := SplitBasic(raw)
		if !ok {
			return
		}
		if name == "" || strings.Contains(name, ":") || encode(name+":"+password) != raw {
			t.Fatalf("%q gave %q and %q", raw, name, password)
		}
		if strings.ContainsFunc(name+password, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			t.Fatalf("control characters in %q", raw)
		}
	})
}

func FuzzKeySet(f *testing.F) {
	r := newRing(f)
	f.Add(r.jwks(f))
	f.Add(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`)
	f.Add(`{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""}]}`)
	f.Add(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`)
	f.Fuzz(func(t *testing.T, raw string) {
		for _, strict := range []bool{false, true} {
			keys, err := parseKeySet([]byte(raw), strict)
			if (err == nil) != (len(keys) > 0) {
				t.Fatalf("%d keys, %v", len(keys), err)
			}
			for _, k := range keys {
				if len(k.algs) == 0 || strong(k.public) != nil {
					t.Fatalf("a key that must not be used: %+v", k)
				}
			}
		}
	})
}
