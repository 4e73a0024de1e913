package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/test/controltest"
)

// shopSeed is in examples/kubernetes/21-idp.yaml, for everybody to know.
const (
	shopSeed   = "shop-demo-seed-please-change"
	shopIssuer = "http://idp.shop.svc:9091"
	shopKey    = "shop-demo-key-please-change"
)

// shopToken asks the shop's identity provider for a user's token.
func shopToken(t *testing.T, user string) string {
	t.Helper()
	var token string
	controltest.Until(t, "token of "+user, func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, shopIssuer+"/token?user="+user, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d", resp.StatusCode)
		}
		token = strings.TrimSpace(string(b))
		return err
	})
	return token
}

// shop gives a client of the example's Gateway, through its load balancer, once
// all of its policies are in force.
func shop(t *testing.T) *client {
	t.Helper()
	accepted(t, "shop", "edge", "orders", "reports", "products", "whoami", "admin")
	c := dial(t, net.JoinHostPort(address(t, "shop", "edge"), "8080"), "shop.test", nil)
	bearer := "Authorization: Bearer " + shopToken(t, "rita")
	for _, path := range []string{"/orders", "/products", "/users", "/reports", "/whoami"} {
		everywhere(t, doors(t, "shop", "edge", 8080), "shop.test", 200, request{path: path, fields: []string{bearer}})
	}
	return c
}

// TestShop walks through examples/kubernetes as its comments promise.
func TestShop(t *testing.T) {
	quiet(t)
	c := shop(t)
	rita, walt, ada := "Authorization: Bearer "+shopToken(t, "rita"), "Authorization: Bearer "+shopToken(t, "walt"), "Authorization: Bearer "+shopToken(t, "ada")
	own := newSigner(t, shopSeed)
	own.kid = "Ehp1srk204kDPxOL"
	sign := func(edit claims) string {
		all := claims{"iss": shopIssuer, "aud": "shop", "sub": "mallory", "roles": []string{"admin", "reader", "writer"}}
		maps.Copy(all, edit)
		return "Authorization: Bearer " + own.token(t, "JWT", all)
	}
	stranger := newSigner(t, "")
	order := `{"productId":"p1","quantity":2}`
	asked := 0
	for _, tt := range []struct {
		name   string
		status int
		request
	}{
		{"reader reads", 200, request{path: "/orders", fields: []string{rita}}},
		{"no token", 401, request{path: "/orders"}},
		{"token that the seed signs", 200, request{path: "/orders", fields: []string{sign(nil)}}},
		{"expired token", 401, request{path: "/orders", fields: []string{sign(claims{"exp": time.Now().Add(-time.Minute).Unix()})}}},
		{"token of the future", 401, request{path: "/orders", fields: []string{sign(claims{"nbf": time.Now().Add(time.Hour).Unix()})}}},
		{"wrong audience", 401, request{path: "/orders", fields: []string{sign(claims{"aud": "bank"})}}},
		{"wrong issuer", 401, request{path: "/orders", fields: []string{sign(claims{"iss": "http://idp.evil"})}}},
		{"key of a stranger", 401, request{path: "/orders", fields: []string{"Authorization: Bearer " + stranger.token(t, "JWT", claims{"iss": shopIssuer, "aud": "shop", "sub": "x", "roles": "reader"})}}},
		{"API key", 200, request{path: "/orders", fields: []string{"X-API-Key: " + shopKey}}},
		{"unknown API key", 401, request{path: "/orders", fields: []string{"X-API-Key: not-" + shopKey}}},
		{"API key where none is accepted", 401, request{path: "/users", fields: []string{"X-API-Key: " + shopKey}}},
		{"reader writes", 403, request{method: "POST", path: "/orders", body: order, fields: []string{rita}}},
		{"writer writes", 201, request{method: "POST", path: "/orders", body: order, fields: []string{walt}}},
		{"partner writes", 403, request{method: "POST", path: "/orders", body: order, fields: []string{"X-API-Key: " + shopKey}}},
		{"anonymous looks", 200, request{path: "/products"}},
		{"anonymous writes", 403, request{method: "POST", path: "/products", body: `{"name":"x","priceCents":1}`}},
		{"bad token where anonymous is admitted", 401, request{path: "/products", fields: []string{sign(claims{"aud": "bank"})}}},
		{"Gateway's default, reader", 200, request{path: "/users", fields: []string{rita}}},
		{"Gateway's default, admin", 200, request{path: "/users", fields: []string{ada}}},
		{"Gateway's default, nobody", 401, request{path: "/users"}},
		{"writer administers", 403, request{path: "/admin/stats", fields: []string{walt}}},
		{"admin administers", 200, request{path: "/admin/stats", fields: []string{ada}}},
		{"admin with a method that is not listed", 405, request{method: "DELETE", path: "/admin/stats", fields: []string{ada}}},
		{"admin with a large body", 413, request{method: "POST", path: "/admin/reindex", body: strings.Repeat("x", 4097), fields: []string{ada}}},
		{"path without a route", 404, request{path: "/healthz", fields: []string{ada}}},
	} {
		c.want(tt.status, tt.name, tt.request)
		asked++
	}
	if asked < 25 {
		t.Errorf("%d cases ran", asked)
	}

	// Who asks is told to the backend by the gateway, and by nobody else.
	var who struct{ User string }
	a := c.want(200, "whoami", request{path: "/whoami", fields: []string{rita, "X-User: ada", "X-Forwarded-User: ada"}})
	if err := json.Unmarshal([]byte(a.body), &who); err != nil || who.User != "rita" {
		t.Errorf("the backend takes rita for %q (%v): %s", who.User, err, a.body)
	}
	if strings.Contains(a.body, `"authorization"`) {
		t.Errorf("the backend got the token: %s", a.body)
	}

	// One connection stays with one pod, where 20 may come at once.
	greedy, limited := sign(claims{"sub": "greedy"}), false
	for range 400 {
		a := c.do(request{path: "/orders", fields: []string{greedy}})
		if a.status == 200 {
			continue
		}
		limited = true
		if a.status != 429 || a.header.Get("Retry-After") == "" || a.code() != "rate-limited" {
			t.Errorf("too often is answered %d with %v\n%s", a.status, a.header, a.body)
		}
		break
	}
	if !limited {
		t.Error("400 quick calls were never too many")
	}
	c.want(200, "the limit of one caller is not that of another", request{path: "/orders", fields: []string{walt}})
	delayed(t, c, request{path: "/reports", fields: []string{rita}})
}

// delayed sends 20 requests at once where 5 may pass and 10 a second follow: all
// are answered 200, most of them after a wait.
func delayed(t *testing.T, c *client, r request) {
	t.Helper()
	const calls = 20
	type result struct {
		status int
		took   time.Duration
		err    error
	}
	results := make(chan result, calls)
	for range calls {
		go func() {
			begun := time.Now()
			a, err := c.try(r)
			if err != nil {
				results <- result{err: err}
				return
			}
			results <- result{a.status, time.Since(begun), nil}
		}()
	}
	waited := 0
	for range calls {
		r := <-results
		if r.err != nil || r.status != 200 {
			t.Errorf("a queued request is answered %d, %v", r.status, r.err)
		}
		if r.took > 50*time.Millisecond {
			waited++
		}
	}
	// At most 5 pass at once in each of two pods.
	if waited < calls-10 {
		t.Errorf("%d of %d requests waited", waited, calls)
	}
}
