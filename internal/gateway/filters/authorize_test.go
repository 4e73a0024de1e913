package filters

import (
	"fmt"
	"net/netip"
	"testing"
	_ "time/tzdata" // the golden files name time zones; the machine may have none

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

func BenchmarkAuthorize(b *testing.B) {
	s, err := newAuthorize(&ir.Rule{Authorization: &ir.Authorization{Rule: "P", Rules: []ir.AuthRule{
		{Name: "readers", Allow: true, When: `"reader" in identity.roles && request.method == "GET"`},
	}}}, Deps{})
	if err != nil {
		b.Fatal(err)
	}
	x := &Exchange{
		Req: &message.Request{Method: "GET", Scheme: "http", Host: "shop.example", Path: "/orders"}, Now: epoch,
		Rule: &ir.Rule{}, Source: netip.MustParseAddr("192.0.2.1"),
		Identity: &bulwark.Identity{Name: "ann", Method: "jwt", Roles: []string{"reader"}},
	}
	b.ReportAllocs()
	for b.Loop() {
		if d := s.request(b.Context(), x); !d.Allowed {
			b.Fatal(d.Reason)
		}
	}
}

// BenchmarkBuild is what a reload costs per rule once the policy is known.
func BenchmarkBuild(b *testing.B) {
	state := NewState()
	defer state.Close()
	keys := make([]ir.Key, 10)
	for i := range keys {
		keys[i] = testKey(fmt.Sprint("key", i), "secret")
	}
	rule := &ir.Rule{
		Authentication: &ir.Authentication{Rule: "P", AnyOf: []ir.Authenticator{
			{JWT: &ir.JWT{Issuer: "https://idp.example", Audiences: []string{"a"}, JWKS: testKeySet}},
			{APIKey: &ir.APIKey{Issuer: "P", Header: "x-api-key", Keys: keys}},
		}},
		Authorization: &ir.Authorization{Rule: "P", Rules: []ir.AuthRule{
			{Name: "readers", Allow: true, When: `"reader" in identity.roles && request.method == "GET"`},
			{Name: "writers", Allow: true, When: `"writer" in identity.roles && now.getHours("Europe/Berlin") < 18`},
		}},
	}
	deps := Deps{State: state}
	var keep []step
	b.ReportAllocs()
	for b.Loop() {
		for _, build := range []func(*ir.Rule, Deps) (step, error){newAuthenticate, newAuthorize} {
			s, err := build(rule, deps)
			if err != nil {
				b.Fatal(err)
			}
			keep = append(keep[:len(keep)%64], s)
		}
	}
}
