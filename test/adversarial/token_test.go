package adversarial

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"
)

// runTokens asks for the closed path with credentials that must not open it.
func runTokens(t *testing.T, g *guarded, n *counter) {
	t.Helper()
	k := g.keys
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own := (&keys{ec: stranger}).ecJWK(t)
	good := k.es256(t, nil, claims())
	bearer := func(token string) []string { return []string{"Authorization: Bearer " + token} }
	now := time.Now().Unix()
	parts := strings.Split(good, ".")
	es := func(header map[string]any) []string { return bearer(k.es256(t, header, claims())) }
	forged := func(header map[string]any) []string { return bearer(k.es256(t, header, claims(), stranger)) }
	claim := func(edit ...func(map[string]any)) []string { return bearer(k.es256(t, nil, claims(edit...))) }
	rsaJWK, err := json.Marshal(map[string]string{"n": b64(k.rsa.N.Bytes())})
	if err != nil {
		t.Fatal(err)
	}
	unauthenticated := []int{401}
	malformed := []int{401, 400}

	rows := []struct {
		id, from, tries string
		fields          []string
		status          []int
	}{
		{"token-none", "RFC 6750 3", "no token", nil, unauthenticated},
		{"token-empty", "RFC 6750 2.1", "an empty token", []string{"Authorization: Bearer"}, malformed},
		{"token-word", "RFC 6750 2.1", "a word for a token", bearer("admin"), malformed},
		{"token-basic", "RFC 7617", "a good token under another scheme", []string{"Authorization: Basic " + good}, malformed},
		{"token-no-scheme", "RFC 9110 11.4", "a good token without scheme", []string{"Authorization: " + good}, malformed},
		{"token-two-fields", "RFC 9110 5.3", "a bad and a good Authorization", []string{"Authorization: Bearer bad", "Authorization: Bearer " + good}, malformed},
		{"token-two-fields-swapped", "RFC 9110 5.3", "a good and a bad Authorization", []string{"Authorization: Bearer " + good, "Authorization: Bearer bad"}, malformed},
		{"token-two-in-one", "RFC 9110 5.3", "two tokens in one field", []string{"Authorization: Bearer " + good + ", Bearer " + good}, malformed},
		{"token-other-field", "RFC 6750 2", "a good token in another field", []string{"X-Authorization: Bearer " + good, "Proxy-Authorization: Bearer " + good}, unauthenticated},
		{"token-cookie", "RFC 6750 2", "a good token in a cookie", []string{"Cookie: access_token=" + good}, unauthenticated},
		{"token-alias", "CVE-2025-64484 family", "a good token in a field of another spelling", []string{"Authorization_: Bearer " + good}, unauthenticated},
		{"token-alg-none", "RFC 8725 2.1", "alg none without signature", bearer(signing(t, map[string]any{"alg": "none"}, claims()) + "."), unauthenticated},
		{"token-alg-none-case", "RFC 8725 2.1", "alg nOnE", bearer(signing(t, map[string]any{"alg": "nOnE", "kid": "ec-1"}, claims()) + "."), unauthenticated},
		{"token-alg-none-signed", "RFC 8725 2.1", "alg none with a signature", bearer(signing(t, map[string]any{"alg": "none"}, claims()) + "." + parts[2]), unauthenticated},
		{"token-alg-missing", "RFC 7515 4.1.1", "no alg", bearer(signing(t, map[string]any{"kid": "ec-1"}, claims()) + "." + parts[2]), unauthenticated},
		{"token-hs256-pem", "RFC 8725 2.1", "HS256 with the public key as PEM", bearer(hs256(t, "rsa-1", claims(), k.publicPEM(t))), unauthenticated},
		{"token-hs256-modulus", "RFC 8725 2.1", "HS256 with the modulus", bearer(hs256(t, "rsa-1", claims(), k.rsa.N.Bytes())), unauthenticated},
		{"token-hs256-jwk", "RFC 8725 2.1", "HS256 with the key's JSON", bearer(hs256(t, "rsa-1", claims(), rsaJWK)), unauthenticated},
		{"token-hs256-empty", "RFC 8725 3.5", "HS256 with an empty secret", bearer(hs256(t, "", claims(), nil)), unauthenticated},
		{"token-alg-swap", "RFC 8725 3.1", "ES256 signature, kid of the RSA key", es(map[string]any{"kid": "rsa-1"}), unauthenticated},
		{"token-alg-key", "RFC 8725 3.1", "alg RS256, key of ES256", es(map[string]any{"alg": "RS256"}), unauthenticated},
		{"token-stranger", "RFC 7515 5.2", "signed by a stranger under a known kid", forged(nil), unauthenticated},
		{"token-kid-unknown", "RFC 7515 4.1.4", "an unknown kid", forged(map[string]any{"kid": "other"}), unauthenticated},
		{"token-kid-path", "RFC 8725 3.10", "a kid that climbs to a file", forged(map[string]any{"kid": "../../../../dev/null"}), unauthenticated},
		{"token-kid-sql", "RFC 8725 3.10", "a kid that injects", forged(map[string]any{"kid": "x' UNION SELECT 'a"}), unauthenticated},
		{"token-kid-number", "RFC 7515 4.1.4", "a kid that is a number", es(map[string]any{"kid": 1}), unauthenticated},
		{"token-jwk", "CVE-2018-0114", "a key in the header", forged(map[string]any{"jwk": own}), unauthenticated},
		{"token-jku", "RFC 8725 3.10", "a URL of a key set in the header", forged(map[string]any{"jku": "http://" + loopback(g.backend.port()) + "/jwks"}), unauthenticated},
		{"token-x5u", "RFC 8725 3.10", "a URL of a certificate in the header", forged(map[string]any{"x5u": "http://" + loopback(g.backend.port()) + "/cert"}), unauthenticated},
		{"token-crit", "RFC 7515 4.1.11", "a critical extension that nobody knows", es(map[string]any{"crit": []string{"x-own"}, "x-own": true}), unauthenticated},
		{"token-b64", "RFC 7797", "b64 false", es(map[string]any{"crit": []string{"b64"}, "b64": false}), unauthenticated},
		{"token-zip", "RFC 7516 4.1.3", "a five-part token", bearer(good + ".a.b"), malformed},
		{"token-dots", "CVE-2025-27144", "a token of 4000 dots", bearer(strings.Repeat(".", 4000)), []int{401, 400, 431}},
		{"token-huge", "CVE-2024-28180", "a token of 20 KiB", claim(with("pad", strings.Repeat("a", 15_000))), []int{401, 400, 431}},
		{"token-signature-cut", "RFC 7515 5.2", "a signature without its last byte", bearer(good[:len(good)-2]), unauthenticated},
		{"token-signature-none", "CVE-2020-15957 family", "a token without signature", bearer(parts[0] + "." + parts[1] + "."), unauthenticated},
		{"token-signature-zero", "CVE-2022-21449", "an ECDSA signature of zeros", bearer(parts[0] + "." + parts[1] + "." + b64(make([]byte, 64))), unauthenticated},
		{"token-claims-other", "RFC 7515 5.2", "another token's claims", bearer(parts[0] + "." + strings.Split(k.es256(t, nil, claims(with("sub", "eve"))), ".")[1] + "." + parts[2]), unauthenticated},
		{"token-padding", "RFC 7515 2", "base64 with padding", bearer(parts[0] + "." + parts[1] + "=." + parts[2]), unauthenticated},
		{"token-claims-text", "RFC 7519 7.2", "claims that are no JSON", bearer(k.sign(t, parts[0]+"."+b64([]byte("admin")))), unauthenticated},
		{"token-claims-twice", "RFC 7519 4", "a claim twice", bearer(k.sign(t, parts[0]+"."+b64(twice(t)))), []int{401, 400, 403}},
		{"token-expired", "RFC 7519 4.1.4", "expired", claim(with("exp", now-3600)), unauthenticated},
		{"token-no-exp", "RFC 8725", "without expiry", claim(without("exp")), unauthenticated},
		{"token-exp-text", "RFC 7519 4.1.4", "expiry as text", claim(with("exp", "9999999999")), unauthenticated},
		{"token-exp-huge", "RFC 7519 4.1.4", "expiry beyond all numbers of seconds", claim(with("exp", 1e300)), unauthenticated},
		{"token-exp-null", "RFC 7519 4.1.4", "expiry null", claim(with("exp", nil)), unauthenticated},
		{"token-early", "RFC 7519 4.1.5", "not yet valid", claim(with("nbf", now+3600)), unauthenticated},
		{"token-future", "RFC 7519 4.1.6", "issued in the future", claim(with("iat", now+3600)), unauthenticated},
		{"token-aud", "RFC 8725 3.9", "for another audience", claim(with("aud", "other")), unauthenticated},
		{"token-aud-none", "RFC 8725 3.9", "without audience", claim(without("aud")), unauthenticated},
		{"token-aud-prefix", "RFC 8725 3.9", "for an audience that begins alike", claim(with("aud", "shop.other")), unauthenticated},
		{"token-aud-object", "RFC 7519 4.1.3", "an audience that is an object", claim(with("aud", map[string]string{"shop": "shop"})), unauthenticated},
		{"token-iss", "RFC 8725 3.8", "of another issuer", claim(with("iss", "https://other.test")), unauthenticated},
		{"token-iss-slash", "RFC 8725 3.8", "an issuer with one slash more", claim(with("iss", issuer+"/")), unauthenticated},
		{"token-iss-none", "RFC 8725 3.8", "without issuer", claim(without("iss")), unauthenticated},
		{"token-role", "OWASP API5", "a good token without the role", claim(with("roles", []string{"reader"})), []int{403}},
		{"token-role-text", "OWASP API5", "roles that only contain the word", claim(with("roles", "not-admin")), []int{403, 401}},
		{"token-role-none", "OWASP API5", "no roles", claim(without("roles")), []int{403}},
		{"token-role-object", "OWASP API5", "roles that are an object", claim(with("roles", map[string]bool{"admin": true})), []int{403, 401}},
	}
	for _, r := range rows {
		g.run(t, n, &attack{id: r.id, from: r.from, tries: r.tries, send: get("/admin", r.fields...), status: r.status})
	}
	admin := []string{"GET /admin HTTP/1.1"}
	split := k.es256(t, nil, claims(with("sub", "a\r\nX-Evil: evil")))
	for _, a := range []attack{
		{id: "token-good", from: "control", tries: "a good ES256 token opens", send: get("/admin", bearer(good)...), status: []int{200}, lines: admin, admin: true},
		{id: "token-good-rsa", from: "control", tries: "a good RS256 token opens", send: get("/admin", bearer(k.rs256(t, claims()))...), status: []int{200}, lines: admin, admin: true},
		{id: "token-good-host", from: "control", tries: "a good token opens the closed host", send: request("GET / HTTP/1.1", "Host: internal.test", bearer(good)[0]), status: []int{200}, lines: []string{"GET / HTTP/1.1"}},
		{id: "token-again", from: "verdict cache", tries: "a token that was good, with another signature", send: get("/admin", bearer(good)...) + get("/admin", bearer(good[:len(good)-3]+flip(good[len(good)-3:]))...), status: []int{200}, lines: admin, more: []int{401}, admin: true},
		{id: "token-query", from: "RFC 6750 2.3", tries: "a good token in the query", send: get("/admin?access_token=" + good), status: unauthenticated},
		{id: "token-form", from: "RFC 6750 2.2", tries: "a good token in a form", send: request("POST /admin HTTP/1.1", "Host: shop.test", "Content-Type: application/x-www-form-urlencoded", "Content-Length: "+length("access_token="+good)) + "access_token=" + good, status: unauthenticated},
		{id: "token-split", from: "CVE-2019-16276 family", tries: "a name that splits the field which it is written to", send: get("/who", "Authorization: Bearer "+split), status: []int{400, 401, 403, 500, 502, 503}},
		{id: "key-good", from: "control", tries: "a good key opens and is not handed on", send: get("/key", "X-API-Key: "+apiKey), status: []int{200}, lines: []string{"GET /key HTTP/1.1"}, absent: []string{"x-api-key"}},
		{id: "key-none", from: "OWASP API2", tries: "no key", send: get("/key"), status: unauthenticated},
		{id: "key-empty", from: "OWASP API2", tries: "an empty key", send: get("/key", "X-API-Key:"), status: malformed},
		{id: "key-prefix", from: "OWASP API2", tries: "the first bytes of a key", send: get("/key", "X-API-Key: "+apiKey[:10]), status: unauthenticated},
		{id: "key-longer", from: "OWASP API2", tries: "a key and more", send: get("/key", "X-API-Key: "+apiKey+"x"), status: unauthenticated},
		{id: "key-hash", from: "OWASP API2", tries: "the stored hash as key", send: get("/key", "X-API-Key: "+keyHash(apiKey)), status: unauthenticated},
		{id: "key-twice", from: "RFC 9110 5.3", tries: "a bad and a good key", send: get("/key", "X-API-Key: bad", "X-API-Key: "+apiKey), status: malformed},
		{id: "key-query", from: "OWASP API2", tries: "a good key in the query", send: get("/key?X-API-Key=" + apiKey), status: unauthenticated},
		{id: "key-alias", from: "CVE-2025-64484 family", tries: "a good key in a field of another spelling", send: get("/key", "X_API_Key: "+apiKey), status: unauthenticated},
		{id: "key-expired", from: "OWASP API2", tries: "a key that has expired", send: get("/key", "X-API-Key: expired-key"), status: unauthenticated},
	} {
		g.run(t, n, &a)
	}
}

// twice gives claims that name sub, aud and roles two times each.
func twice(t *testing.T) []byte {
	t.Helper()
	c := claims()
	first := maps.Clone(c)
	first["roles"] = []string{"reader"}
	a, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return append(append(a[:len(a)-1], ','), b[1:]...)
}

// flip changes the first character of s to another of the base64 alphabet.
func flip(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}
