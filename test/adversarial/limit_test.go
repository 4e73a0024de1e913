package adversarial

import "testing"

// runLimits spends what a limit gives, then tries to get more in another dress.
// Its cases build on each other: the limits are long enough not to fill up.
func runLimits(t *testing.T, g *guarded, n *counter) {
	t.Helper()
	over, locked := []int{429}, []int{429, 403, 401}
	wrong := func(field ...string) string { return get("/guessed", append(field, "X-API-Key: guess")...) }
	for _, a := range []attack{
		{
			id: "limit-spent", from: "OWASP API4", tries: "the third request of two",
			send: get("/limited") + get("/limited") + get("/limited"), status: []int{200}, more: []int{200, 429},
			lines: []string{"GET /limited HTTP/1.1", "GET /limited HTTP/1.1"},
		},
		{id: "limit-forwarded", from: "OWASP API4", tries: "another source claimed by fields", send: get("/limited", "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1", "Forwarded: for=192.0.2.1", "True-Client-IP: 192.0.2.1"), status: over},
		{id: "limit-path", from: "CVE-2026-27587 family", tries: "another spelling of the path", send: get("/%6cimited"), status: []int{429, 400}},
		{id: "limit-slashes", from: "GHSA-gx7w-56w6-g48x", tries: "another number of slashes", send: get("//limited//"), status: []int{429, 400}},
		{id: "limit-query", from: "OWASP API4", tries: "another query", send: get("/limited?x=1"), status: over},
		{id: "limit-host", from: "OWASP API4", tries: "another host", send: request("GET /limited HTTP/1.1", "Host: elsewhere.test"), status: over},
		{id: "limit-method", from: "OWASP API4", tries: "another method", send: request("HEAD /limited HTTP/1.1", "Host: shop.test"), status: over},
		{id: "limit-tls", from: "traefik/traefik#13706", tries: "another listener", sni: "shop.test", send: get("/limited"), status: over},
		{id: "lock-guess", from: "traefik/traefik#9072", tries: "three wrong keys", send: wrong() + wrong() + wrong(), status: []int{401}, more: []int{401, 401}},
		{id: "lock-right", from: "traefik/traefik#9072", tries: "the right key after too many wrong ones", send: get("/guessed", "X-API-Key: "+apiKey), status: locked},
		{id: "lock-forwarded", from: "traefik/traefik#9072", tries: "the right key from a source claimed by fields", send: get("/guessed", "X-Forwarded-For: 192.0.2.1", "X-Real-IP: 192.0.2.1", "X-API-Key: "+apiKey), status: locked},
		{id: "lock-tls", from: "traefik/traefik#13706", tries: "the right key by another listener", sni: "shop.test", send: get("/guessed", "X-API-Key: "+apiKey), status: locked},
	} {
		g.run(t, n, &a)
	}
}
