package e2e

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

const credentials = "authentication.anyOf[]."

// credentialFeatures are those of requests without TLS.
func credentialFeatures(t *testing.T, l *lab) []feature {
	t.Helper()
	key, other := newSigner(t, "a seed of the lab alone"), newSigner(t, "")
	good := claims{"iss": "lab", "aud": "lab", "sub": "rita"}
	bearer := func(s *signer, c claims) string { return "Authorization: Bearer " + s.token(t, "JWT", c) }
	simple := func(keys string) string {
		return fmt.Sprintf("authentication: {anyOf: [{jwt: {issuer: lab, audiences: [lab], jwks: %s}}]}\n", keys) + allowed
	}
	return []feature{
		{
			name: "jwt-inline",
			policy: fmt.Sprintf(`authentication:
  anyOf:
  - jwt:
      issuer: lab
      audiences: [other, lab]
      jwks: {inline: %q}
      algorithms: [EdDSA]
      type: at+jwt
      claims: {name: person.mail, groups: realm.teams, roles: realm.roles}
      header: X-Token
      clockSkew: 0s
      forward: true
authorization:
  rules:
  - {name: staff, allow: true, when: 'identity.name == "rita@lab.test" && "staff" in identity.groups && "reader" in identity.roles'}
`, keySet(t, key, other)),
			shows: under(credentials+"jwt.", "issuer", "audiences", "jwks.inline", "algorithms", "type", "claims.name", "claims.groups", "claims.roles", "header", "clockSkew", "forward"),
			try: func(t *testing.T, l *lab, path string) {
				c := l.plain()
				token := func(s *signer, typ string, edit claims) request {
					all := claims{
						"iss": "lab", "aud": []string{"lab"}, "person": claims{"mail": "rita@lab.test"},
						"realm": claims{"teams": []string{"staff"}, "roles": []string{"reader"}},
					}
					maps.Copy(all, edit)
					return request{path: path, fields: []string{"X-Token: " + s.token(t, typ, all)}}
				}
				a := c.want(200, "good token", token(key, "at+jwt", nil))
				if a.seen == nil || a.seen.Header.Get("X-Token") == "" {
					t.Error("the token is not forwarded")
				}
				c.want(401, "no token", request{path: path})
				c.want(401, "another type", token(key, "JWT", nil))
				c.want(401, "an algorithm that is not listed", token(other, "at+jwt", nil))
				c.want(401, "expired within the usual skew", token(key, "at+jwt", claims{"exp": time.Now().Add(-5 * time.Second).Unix()}))
				c.want(401, "wrong audience", token(key, "at+jwt", claims{"aud": "bank"}))
				c.want(401, "wrong issuer", token(key, "at+jwt", claims{"iss": "bank"}))
				c.want(403, "another name", token(key, "at+jwt", claims{"person": claims{"mail": "walt@lab.test"}, "sub": "rita@lab.test"}))
				c.want(403, "another group", token(key, "at+jwt", claims{"realm": claims{"teams": []string{"guests"}, "roles": []string{"reader"}}}))
				c.want(403, "groups and roles at the top", token(key, "at+jwt", claims{"realm": nil, "groups": []string{"staff"}, "roles": []string{"reader"}}))
				r := token(key, "at+jwt", nil)
				r.fields[0] = "Authorization: Bearer " + r.fields[0][len("X-Token: "):]
				c.want(401, "in another header", r)
			},
		},
		{
			name: "jwt-secret", policy: simple("{secretRef: {name: keys}}"),
			more:  object(t, "Secret", l.ns, "keys", nil, map[string]string{"jwks.json": keySet(t, key)}),
			shows: under(credentials+"jwt.", "jwks.secretRef.name"),
			try: func(t *testing.T, l *lab, path string) {
				a := l.plain().want(200, "key of the Secret", request{path: path, fields: []string{bearer(key, good)}})
				if a.seen == nil || a.seen.Header.Get("Authorization") != "" {
					t.Error("the token reached the backend, unasked")
				}
				l.plain().want(401, "another key", request{path: path, fields: []string{bearer(other, good)}})
			},
		},
		{
			name: "jwt-configmap", policy: simple("{configMapRef: {name: other-keys}}"),
			more:  object(t, "ConfigMap", l.ns, "other-keys", nil, map[string]string{"jwks.json": keySet(t, other)}),
			shows: under(credentials+"jwt.", "jwks.configMapRef.name"),
			try: func(t *testing.T, l *lab, path string) {
				l.plain().want(200, "key of the ConfigMap", request{path: path, fields: []string{bearer(other, good)}})
				l.plain().want(401, "another key", request{path: path, fields: []string{bearer(key, good)}})
			},
		},
		{
			// No certificate here is one that the gateways' image trusts: what is shown
			// is that keys which cannot be fetched open nothing.
			name: "jwt-uri", policy: simple("{uri: \"https://127.0.0.1:1/jwks\"}"),
			shows: under(credentials+"jwt.", "jwks.uri"),
			try: func(t *testing.T, l *lab, path string) {
				before := l.backend.hits.Load()
				for _, s := range []*signer{key, other} {
					if a := l.plain().want(503, "keys that cannot be fetched", request{path: path, fields: []string{bearer(s, good)}}); a.seen != nil {
						t.Error("the backend was reached")
					}
				}
				l.plain().want(401, "no token", request{path: path})
				if l.backend.hits.Load() != before {
					t.Error("the backend was reached")
				}
			},
		},
		{
			name: "key-header",
			policy: `authentication:
  anyOf:
  - apiKey: {header: X-API-Key, forward: true, secretSelector: {matchLabels: {keys: lab}, matchExpressions: [{key: revoked, operator: DoesNotExist}]}}
authorization:
  rules:
  - {name: partners, allow: true, when: 'identity.name == "partner" && "reader" in identity.roles && "eu" in identity.groups'}
`,
			more: object(t, "Secret", l.ns, "partner", map[string]string{"keys": "lab"}, map[string]string{"hash": hashKey("the partner's key"), "name": "partner", "roles": "reader,writer", "groups": "eu", "expires": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}) +
				object(t, "Secret", l.ns, "former", map[string]string{"keys": "lab"}, map[string]string{"hash": hashKey("the former partner's key"), "name": "partner", "roles": "reader", "groups": "eu", "expires": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)}) +
				object(t, "Secret", l.ns, "guest", map[string]string{"keys": "lab"}, map[string]string{"hash": hashKey("the guest's own key"), "name": "guest"}) +
				object(t, "Secret", l.ns, "revoked", map[string]string{"keys": "lab", "revoked": "yes"}, map[string]string{"hash": hashKey("the revoked partner's key"), "name": "partner", "roles": "reader", "groups": "eu"}),
			shows: under(credentials+"apiKey.", "header", "secretSelector", "forward"),
			try: func(t *testing.T, l *lab, path string) {
				with := func(key string) request { return request{path: path, fields: []string{"X-API-Key: " + key}} }
				a := l.plain().want(200, "good key", with("the partner's key"))
				if a.seen == nil || a.seen.Header.Get("X-Api-Key") == "" {
					t.Error("the key is not forwarded")
				}
				l.plain().want(401, "no key", request{path: path})
				l.plain().want(401, "unknown key", with("nobody's key"))
				l.plain().want(401, "expired key", with("the former partner's key"))
				l.plain().want(401, "key outside the selector", with("the revoked partner's key"))
				l.plain().want(403, "key without roles", with("the guest's own key"))
				l.plain().want(401, "key in the query", request{path: path + "?X-API-Key=the+partner's+key"})
			},
		},
		{
			name:   "key-query",
			policy: "authentication: {anyOf: [{apiKey: {query: key, secretSelector: {matchLabels: {keys: lab}}}}]}\n" + allowed,
			shows:  under(credentials+"apiKey.", "query"),
			try: func(t *testing.T, l *lab, path string) {
				a := l.plain().want(200, "good key", request{path: path + "?a=1&key=the+guest's+own+key&b=2"})
				if a.seen == nil || a.seen.Query != "a=1&b=2" {
					t.Errorf("the backend got the query %+v", a.seen)
				}
				l.plain().want(401, "unknown key", request{path: path + "?key=nobody's"})
				l.plain().want(401, "no key", request{path: path})
			},
		},
		{
			name:   "basic",
			policy: "authentication: {anyOf: [{basic: {secretRef: {name: passwords}, realm: the lab, forward: true}}]}\nauthorization: {rules: [{name: r, allow: true, when: '\"reader\" in identity.roles'}]}",
			more:   object(t, "Secret", l.ns, "passwords", nil, map[string]string{".htpasswd": passwordLine(t, "rita", "her password", "reader") + "\n" + passwordLine(t, "walt", "his password", "writer") + "\n"}),
			shows:  under(credentials+"basic.", "secretRef.name", "realm", "forward"),
			try: func(t *testing.T, l *lab, path string) {
				as := func(pair string) request {
					return request{path: path, fields: []string{"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(pair))}}
				}
				a := l.plain().want(200, "good password", as("rita:her password"))
				if a.seen == nil || a.seen.Header.Get("Authorization") == "" {
					t.Error("the credential is not forwarded")
				}
				l.plain().want(401, "wrong password", as("rita:his password"))
				l.plain().want(401, "no password", as("rita:"))
				l.plain().want(401, "unknown user", as("ada:her password"))
				l.plain().want(403, "role that is not allowed", as("walt:his password"))
				a = l.plain().want(401, "nothing", request{path: path})
				if got := a.header.Values("Www-Authenticate"); !slices.Contains(got, `Basic realm="the lab", charset="UTF-8"`) {
					t.Errorf("challenge %q", got)
				}
			},
		},
		{
			name:   "anonymous",
			policy: "authentication: {anyOf: [{anonymous: {roles: [visitor]}}]}\nauthorization: {rules: [{name: r, allow: true, when: '\"visitor\" in identity.roles && request.method == \"GET\"'}]}",
			shows:  under(credentials, "anonymous.roles"),
			try: func(t *testing.T, l *lab, path string) {
				l.plain().want(200, "nobody looks", request{path: path})
				l.plain().want(403, "nobody writes", request{method: "POST", path: path})
			},
		},
	}
}
