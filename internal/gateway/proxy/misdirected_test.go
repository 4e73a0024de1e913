package proxy

import (
	"crypto/tls"
	"io"
	"net/http"
	"testing"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// HTTP/2 clients send requests for other hosts over a connection whose
// certificate covers them (RFC 9113 9.1.1). Those of another listener get 421,
// as Gateway API's HTTPS listeners demand: the table is the conformance suite's.
func TestMisdirectedRequests(t *testing.T) {
	ca := newAuthority(t)
	table := oneBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	listener := func(name, hostname, route string) ir.Listener {
		l := ca.listener(t, name, hostname, "/")
		l.Hosts[0].Pattern = route
		return l
	}
	table.Listeners = []ir.Listener{
		listener("ns/gw/any", "", "example.org"),
		listener("ns/gw/host", "second-example.org", "second-example.org"),
		listener("ns/gw/wild", "*.wildcard.org", "*.wildcard.org"),
		listener("ns/gw/within", "fourth-example.wildcard.org", "fourth-example.wildcard.org"),
	}
	f := start(t, table, Limits{})
	for _, tc := range []struct {
		sni, host string
		status    int
	}{
		{"example.org", "example.org", 200},
		{"example.org", "second-example.org", 421},
		{"example.org", "unknown-example.org", 404},
		{"second-example.org", "second-example.org", 200},
		{"second-example.org", "second-example.org:8443", 200},
		{"second-example.org", "example.org", 421},
		{"second-example.org", "unknown-example.org", 421},
		{"third-example.wildcard.org", "third-example.wildcard.org", 200},
		{"third-example.wildcard.org", "fith-example.wildcard.org", 200},
		{"third-example.wildcard.org", "fourth-example.wildcard.org", 421},
		{"third-example.wildcard.org", "second-example.org", 421},
		{"third-example.wildcard.org", "unknown-example.org", 421},
		{"fourth-example.wildcard.org", "fourth-example.wildcard.org", 200},
		{"fourth-example.wildcard.org", "fith-example.wildcard.org", 421},
		{"unknown-example.org", "example.org", 200},
		{"unknown-example.org", "unknown-example.org", 404},
	} {
		tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{ServerName: tc.sni, InsecureSkipVerify: true}}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+f.addr+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tc.host
		resp, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s with %s: %v", tc.sni, tc.host, err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != tc.status || resp.ProtoMajor != 2 {
			t.Errorf("%s with %s: %s %d, want %d", tc.sni, tc.host, resp.Proto, resp.StatusCode, tc.status)
		}
		tr.CloseIdleConnections()
	}
}
