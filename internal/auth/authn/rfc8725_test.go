package authn

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"bulwark.dev/bulwark"
)

// TestRFC8725 sends what the best current practices, and the CVEs behind them,
// warn of. Each case is one change to a token that is accepted.
func TestRFC8725(t *testing.T) {
	r := newRing(t)
	rsaHeader := `{"alg":"RS256","kid":"rsa"}`
	good := goodClaims()
	rs := func(header, claims string) string { return sign(t, r.rsa, "RS256", header, claims) }
	with := func(name, value string) string { // goodClaims with one member set, or removed by ""
		m := map[string]json.RawMessage{}
		if err := json.Unmarshal([]byte(good), &m); err != nil {
			t.Fatal(err)
		}
		delete(m, name)
		if value != "" {
			m[name] = json.RawMessage(value)
		}
		out, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	mac := func(secret []byte, header string) string {
		signed := b64(header) + "." + b64(good)
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
	}
	der, err := x509.MarshalPKIXPublicKey(r.rsa.Public())
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	otherJWK, err := json.Marshal(jwkJSON(t, r.other.Public(), "rsa", nil))
	if err != nil {
		t.Fatal(err)
	}
	valid := rs(rsaHeader, good)
	parts := strings.Split(valid, ".")
	now := testNow.Unix()
	es := func(sig []byte) string {
		return b64(`{"alg":"ES256","kid":"ES256"}`) + "." + b64(good) + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	pssSaltless := func() string {
		signed := b64(`{"alg":"PS256","kid":"rsa"}`) + "." + b64(good)
		sig, err := rsa.SignPSS(rand.Reader, r.rsa, crypto.SHA256, digest(crypto.SHA256, []byte(signed)), &rsa.PSSOptions{SaltLength: 0 + 8})
		if err != nil {
			t.Fatal(err)
		}
		return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
	}

	const accepted = ""
	tests := []struct{ name, token, want string }{
		{"control: the token that every case changes", valid, accepted},

		// 3.1, 3.2: algorithms
		{"alg none without signature", b64(`{"alg":"none"}`) + "." + b64(good) + ".", "no signature"},
		{"alg none with signature", rs(`{"alg":"none","kid":"rsa"}`, good), `"none" is not accepted`},
		{"alg None", rs(`{"alg":"None","kid":"rsa"}`, good), `"None" is not accepted`},
		{"alg nOnE", rs(`{"alg":"nOnE","kid":"rsa"}`, good), `"nOnE" is not accepted`},
		{"alg absent", rs(`{"kid":"rsa"}`, good), `"" is not accepted`},
		{"alg null", rs(`{"alg":null,"kid":"rsa"}`, good), "is not accepted"},
		{"alg list", rs(`{"alg":["RS256"],"kid":"rsa"}`, good), "is not accepted"},
		{"alg rs256", rs(`{"alg":"rs256","kid":"rsa"}`, good), "is not accepted"},
		{"alg RS256 with a space", rs(`{"alg":"RS256 ","kid":"rsa"}`, good), "is not accepted"},
		{"alg RS1", rs(`{"alg":"RS1","kid":"rsa"}`, good), "is not accepted"},
		{"alg ES256K", rs(`{"alg":"ES256K","kid":"rsa"}`, good), "is not accepted"},
		{"HS256 with the public key's PEM as secret", mac(publicPEM, `{"alg":"HS256","kid":"rsa"}`), `"HS256" is not accepted`},
		{"HS256 with the public key's DER as secret", mac(der, `{"alg":"HS256","kid":"rsa"}`), "is not accepted"},
		{"HS256 with an empty secret", mac(nil, `{"alg":"HS256"}`), "is not accepted"},
		{"RS256 over an EC key", sign(t, r.ec["ES256"], "ES256", `{"alg":"RS256","kid":"ES256"}`, good), "no key fits"},
		{"ES256 over the RSA key", sign(t, r.ec["ES256"], "ES256", `{"alg":"ES256","kid":"rsa"}`, good), "no key fits"},
		{"ES256 signature called ES384", sign(t, r.ec["ES256"], "ES256", `{"alg":"ES384","kid":"ES256"}`, good), "no key fits"},
		{"PS256 signature called RS256", sign(t, r.rsa, "PS256", rsaHeader, good), "does not verify"},
		{"RS256 signature called PS256", rs(`{"alg":"PS256","kid":"rsa"}`, good), "does not verify"},
		{"PS256 with a salt of another length", pssSaltless(), "does not verify"},
		{"EdDSA over the RSA key", sign(t, r.ed, "EdDSA", `{"alg":"EdDSA","kid":"rsa"}`, good), "no key fits"},
		{"signed by another key", sign(t, r.other, "RS256", rsaHeader, good), "does not verify"},
		{"ES256 of zeros (CVE-2022-21449)", es(make([]byte, 64)), "does not verify"},
		{"ES256 signature in DER", es(func() []byte {
			s, err := ecdsa.SignASN1(rand.Reader, r.ec["ES256"], digest(crypto.SHA256, []byte(b64(`{"alg":"ES256","kid":"ES256"}`)+"."+b64(good))))
			if err != nil {
				t.Fatal(err)
			}
			return s
		}()), "ES256 has 64"},
		{"ES256 signature too long", es(make([]byte, 65)), "ES256 has 64"},
		{"ES256 signature too short", es(make([]byte, 63)), "ES256 has 64"},

		// 3.5, 3.10: keys that a token names or brings
		{"kid climbs paths", rs(`{"alg":"RS256","kid":"../../../../dev/null"}`, good), "no key fits"},
		{"kid with SQL", rs(`{"alg":"RS256","kid":"x' UNION SELECT 'key';--"}`, good), "no key fits"},
		{"kid with NUL", rs(`{"alg":"RS256","kid":"rsa\u0000"}`, good), "no key fits"},
		{"kid in other case", rs(`{"alg":"RS256","kid":"RSA"}`, good), "no key fits"},
		{"kid empty", rs(`{"alg":"RS256","kid":""}`, good), "no key fits"},
		{"kid huge", rs(`{"alg":"RS256","kid":"`+strings.Repeat("k", 300)+`"}`, good), `"kid" must be`},
		{"kid a number", rs(`{"alg":"RS256","kid":1}`, good), `"kid" must be`},
		{"kid null", rs(`{"alg":"RS256","kid":null}`, good), `"kid" must be`},
		{"no kid, one key fits", rs(`{"alg":"RS256"}`, good), accepted},
		{"jku", rs(`{"alg":"RS256","kid":"rsa","jku":"https://evil.example/jwks"}`, good), `"jku" brings a key`},
		{"x5u", rs(`{"alg":"RS256","kid":"rsa","x5u":"https://evil.example/x"}`, good), `"x5u" brings a key`},
		{"jwk of the attacker", sign(t, r.other, "RS256", `{"alg":"RS256","kid":"rsa","jwk":`+string(otherJWK)+`}`, good), `"jwk" brings a key`},
		{"x5c is not looked at", rs(`{"alg":"RS256","kid":"rsa","x5c":["AAAA"],"x5t":"AAAA"}`, good), accepted},

		// 3.11, RFC 7515 4: parameters that change the reading
		{"crit", rs(`{"alg":"RS256","kid":"rsa","crit":["exp"],"exp":1}`, good), `"crit" changes`},
		{"crit empty", rs(`{"alg":"RS256","kid":"rsa","crit":[]}`, good), `"crit" changes`},
		{"b64 false, not critical", rs(`{"alg":"RS256","kid":"rsa","b64":false}`, good), `"b64" changes`},
		{"b64 true", rs(`{"alg":"RS256","kid":"rsa","b64":true}`, good), `"b64" changes`},
		{"zip", rs(`{"alg":"RS256","kid":"rsa","zip":"DEF"}`, good), `"zip" changes`},
		{"enc", rs(`{"alg":"RS256","kid":"rsa","enc":"A128GCM"}`, good), `"enc" changes`},
		{"PBES2 count", rs(`{"alg":"PBES2-HS256+A128KW","p2c":2000000000}`, good), "is not accepted"},
		{"p2c beside a good alg", rs(`{"alg":"RS256","kid":"rsa","p2c":2000000000}`, good), `"p2c" changes`},
		{"nested token", rs(`{"alg":"RS256","kid":"rsa","cty":"JWT"}`, good), "nested"},
		{"nested token, media type", rs(`{"alg":"RS256","kid":"rsa","cty":"application/jwt"}`, good), "nested"},
		{"typ of a logout token", rs(`{"alg":"RS256","kid":"rsa","typ":"logout+jwt"}`, good), `"typ" "logout+jwt"`},
		{"typ of a DPoP proof", rs(`{"alg":"RS256","kid":"rsa","typ":"dpop+jwt"}`, good), `"typ" "dpop+jwt"`},
		{"typ a number", rs(`{"alg":"RS256","kid":"rsa","typ":1}`, good), `"typ" must be`},
		{"typ at+jwt", rs(`{"alg":"RS256","kid":"rsa","typ":"application/at+JWT"}`, good), accepted},
		{"header with a member twice", rs(`{"alg":"none","alg":"RS256","kid":"rsa"}`, good), `"alg" occurs twice`},
		{"header with a member twice, escaped", rs(`{"alg":"RS256","\u0061lg":"none","kid":"rsa"}`, good), `"alg" occurs twice`},
		{"header a list", rs(`["RS256"]`, good), "not a JSON object"},
		{"header with data behind", rs(`{"alg":"RS256","kid":"rsa"}{}`, good), "data behind"},
		{"header not UTF-8", rs("{\"alg\":\"RS256\",\"kid\":\"rsa\xff\"}", good), "not UTF-8"},
		{"header empty", rs(``, good), "empty part"},
		{"header deep", rs(`{"alg":"RS256","kid":"rsa","x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`}`, good), "nested deeper"},

		// Form
		{"empty", "", "0 dots"},
		{"one dot", "a.b", "1 dots"},
		{"dots only", "..", "empty part"},
		{"JWE form", parts[0] + ".a.b.c.d", "encrypted"},
		{"100 000 dots", strings.Repeat(".", 100_000), "too long"},
		{"16 000 dots", strings.Repeat(".", 16_000), "16000 dots"},
		{"4 dots only", "....", "encrypted"},
		{"huge", valid + strings.Repeat("A", 1<<20), "too long"},
		{"header huge", rs(`{"alg":"RS256","kid":"rsa","x":"`+strings.Repeat("x", 4<<10)+`"}`, good), "the limit is 4096"},
		{"trailing dot", valid + ".", "3 dots"},
		{"leading space", " " + valid, "not canonical"},
		{"trailing space", valid + " ", "not canonical"},
		{"trailing line break", valid + "\n", "line break"},
		{"line break inside", parts[0] + "." + parts[1][:10] + "\r\n" + parts[1][10:] + "." + parts[2], "line break"},
		{"padding", parts[0] + "." + parts[1] + "." + parts[2] + "==", "not canonical"},
		{"padding signed", signEncoded(t, r.rsa, "RS256", base64.URLEncoding.EncodeToString([]byte(rsaHeader+" ")), b64(good)), "not canonical"},
		{"standard base64 alphabet", parts[0] + "." + parts[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(parts[2]) + "+", "not canonical"},
		{"trailing bits of the signature", parts[0] + "." + parts[1] + "." + nextChar(parts[2]), "not canonical"},
		{"NUL inside", parts[0] + "\x00." + parts[1] + "." + parts[2], "not canonical"},
		{"signature of another token", parts[0] + "." + b64(with("sub", `"root"`)) + "." + parts[2], "does not verify"},

		// 3.8, 3.9, 3.12: claims
		{"iss of another", rs(rsaHeader, with("iss", `"https://evil.example"`)), `"https://evil.example" is not accepted`},
		{"iss with a trailing slash", rs(rsaHeader, with("iss", `"https://idp.example/"`)), "is not accepted"},
		{"iss in other case", rs(rsaHeader, with("iss", `"https://IDP.example"`)), "is not accepted"},
		{"iss absent", rs(rsaHeader, with("iss", "")), `"" is not accepted`},
		{"iss a list", rs(rsaHeader, with("iss", `["https://idp.example"]`)), "is not accepted"},
		{"iss twice", rs(rsaHeader, strings.Replace(good, `{`, `{"iss":"https://evil.example",`, 1)), `"iss" occurs twice`},
		{"aud twice", rs(rsaHeader, strings.Replace(good, `{`, `{"aud":"orders",`, 1)), `"aud" occurs twice`},
		{"aud of another", rs(rsaHeader, with("aud", `"billing"`)), "none of the accepted audiences"},
		{"aud list with ours", rs(rsaHeader, with("aud", `["billing","api"]`)), accepted},
		{"aud list without ours", rs(rsaHeader, with("aud", `["billing"]`)), "none of the accepted audiences"},
		{"aud list empty", rs(rsaHeader, with("aud", `[]`)), "none of the accepted audiences"},
		{"aud absent", rs(rsaHeader, with("aud", "")), "none of the accepted audiences"},
		{"aud empty", rs(rsaHeader, with("aud", `""`)), "none of the accepted audiences"},
		{"aud of other kinds", rs(rsaHeader, with("aud", `["orders",1]`)), "strings only"},
		{"aud an object", rs(rsaHeader, with("aud", `{"orders":true}`)), "must be a string"},
		{"aud prefix", rs(rsaHeader, with("aud", `"orders "`)), "none of the accepted audiences"},
		{"exp absent", rs(rsaHeader, with("exp", "")), `"exp" is required`},
		{"exp null", rs(rsaHeader, with("exp", "null")), `"exp" must be a number`},
		{"exp a string", rs(rsaHeader, with("exp", fmt.Sprintf(`"%d"`, now+60))), `"exp" must be a number`},
		{"exp a fraction", rs(rsaHeader, with("exp", fmt.Sprintf("%d.5", now+60))), "whole seconds"},
		{"exp with exponent", rs(rsaHeader, with("exp", "9e9")), "whole seconds"},
		{"exp above int64", rs(rsaHeader, with("exp", "99999999999999999999")), "whole seconds"},
		{"exp at the end of int64", rs(rsaHeader, with("exp", "9223372036854775807")), "whole seconds"},
		{"exp in milliseconds", rs(rsaHeader, with("exp", fmt.Sprintf("%d", (now+60)*1000))), "whole seconds"},
		{"exp negative", rs(rsaHeader, with("exp", "-1")), "whole seconds"},
		{"exp passed", rs(rsaHeader, with("exp", fmt.Sprint(now-30))), "out of date"},
		{"exp passed, inside the skew", rs(rsaHeader, with("exp", fmt.Sprint(now-29))), accepted},
		{"nbf ahead", rs(rsaHeader, with("nbf", fmt.Sprint(now+31))), "out of date"},
		{"nbf ahead, inside the skew", rs(rsaHeader, with("nbf", fmt.Sprint(now+30))), accepted},
		{"nbf a string", rs(rsaHeader, with("nbf", `"0"`)), `"nbf" must be a number`},
		{"iat ahead", rs(rsaHeader, with("iat", fmt.Sprint(now+31))), "out of date"},
		{"iat a bool", rs(rsaHeader, with("iat", "true")), `"iat" must be a number`},
		{"sub absent", rs(rsaHeader, with("sub", "")), `"sub" must be`},
		{"sub empty", rs(rsaHeader, with("sub", `""`)), `"sub" must be`},
		{"sub a number", rs(rsaHeader, with("sub", "7")), `"sub" must be`},
		{"sub with a line break", rs(rsaHeader, with("sub", `"ann\nroot"`)), `"sub" must be`},
		{"sub with NUL", rs(rsaHeader, with("sub", `"ann\u0000"`)), `"sub" must be`},
		{"sub with half a surrogate", rs(rsaHeader, `{"iss":"https://idp.example","aud":"api","sub":"ann\ud800","exp":`+fmt.Sprint(now+60)+`}`), `"sub" must be`},
		{"sub huge", rs(rsaHeader, with("sub", `"`+strings.Repeat("a", 2000)+`"`)), `"sub" must be`},
		{"roles of other kinds", rs(rsaHeader, with("roles", `["reader",{"admin":true}]`)), "strings only"},
		{"roles an object", rs(rsaHeader, with("roles", `{"admin":true}`)), "must be a string"},
		{"claims a list", rs(rsaHeader, `[]`), "not a JSON object"},
		{"claims cut", rs(rsaHeader, good[:20]), "not JSON"},
		{"claims many", rs(rsaHeader, with("x", `[`+strings.Repeat("1,", 4200)+`1]`)), "more than 4096 values"},
		{"claims deep", rs(rsaHeader, with("x", strings.Repeat("[", 60)+strings.Repeat("]", 60))), "nested deeper"},
	}
	js := newTestJWT(t, testConfig(t, r))
	ran := map[bool]int{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			id, f := js.Authenticate(t.Context(), Credential{Value: tt.token}, testNow)
			ran[f == nil]++
			switch {
			case tt.want == accepted:
				if f != nil {
					t.Errorf("refused: %s", f.Reason)
				}
			case f == nil:
				t.Errorf("accepted as %+v", id)
			case id != nil:
				t.Error("an identity beside a failure")
			case !strings.Contains(f.Reason, tt.want):
				t.Errorf("reason %q, want %q in it", f.Reason, tt.want)
			case f.Status != 401 || f.Code != bulwark.CodeUnauthenticated || !strings.Contains(f.Challenge, "invalid_token"):
				t.Errorf("got %+v", f)
			case f.Guess == strings.Contains(f.Reason, "out of date"):
				t.Errorf("guess is %v for %q", f.Guess, f.Reason)
			case len(tt.token) > 100 && strings.Contains(f.Reason, tt.token[len(tt.token)-40:]):
				t.Errorf("the reason holds the token: %q", f.Reason)
			}
		})
	}
	if ran[true] < 7 || ran[false] < 95 {
		t.Errorf("accepted %d, refused %d", ran[true], ran[false])
	}
}

// nextChar changes bits of the last character that carry nothing.
func nextChar(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(alphabet, s[len(s)-1])
	return s[:len(s)-1] + alphabet[i^1:i^1+1]
}
