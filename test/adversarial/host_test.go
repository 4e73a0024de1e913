package adversarial

import (
	"strings"
	"testing"
)

// runHosts asks for the closed host internal.test under every name that some
// server takes for it; all other hosts are open.
func runHosts(t *testing.T, g *guarded, n *counter) {
	t.Helper()
	open := []string{"GET / HTTP/1.1"}
	rows := []struct {
		id, from, tries string
		head            []string
		status          []int
	}{
		{"host-closed", "control", "the closed host asks for a token", []string{"Host: internal.test"}, []int{401}},
		{"host-open", "control", "another host is served", []string{"Host: shop.test"}, []int{200}},
		{"host-none", "RFC 9112 3.2", "no Host", []string{"Accept: */*"}, refused()},
		{"host-twice", "RFC 9112 3.2", "two equal Host fields", []string{"Host: shop.test", "Host: shop.test"}, refused()},
		{"host-two", "RFC 9112 3.2", "an open and a closed Host", []string{"Host: shop.test", "Host: internal.test"}, refused()},
		{"host-two-reversed", "RFC 9112 3.2", "a closed and an open Host", []string{"Host: internal.test", "Host: shop.test"}, refused()},
		{"host-two-case", "RFC 9112 3.2", "a second Host in lower case", []string{"Host: shop.test", "host: internal.test"}, refused()},
		{"host-empty", "RFC 9112 3.2", "an empty Host", []string{"Host:"}, refused()},
		{"host-userinfo", "CVE-2026-40574", "user information before the host", []string{"Host: shop.test@internal.test"}, refused()},
		{"host-userinfo-two", "CVE-2026-40574", "two @", []string{"Host: a@shop.test@internal.test"}, refused()},
		{"host-upper", "CVE-2026-27588", "upper case past the matcher", []string{"Host: INTERNAL.TEST"}, []int{401}},
		{"host-mixed", "CVE-2026-27588", "mixed case past the matcher", []string{"Host: InTeRnAl.TeSt"}, []int{401}},
		{"host-dot", "RFC 1034 3.1", "a trailing dot", []string{"Host: internal.test."}, []int{401, 400}},
		{"host-two-dots", "RFC 1034 3.1", "two trailing dots", []string{"Host: internal.test.."}, refused()},
		{"host-inner-dots", "RFC 1034 3.1", "an empty label", []string{"Host: internal..test"}, refused()},
		{"host-leading-dot", "RFC 1034 3.1", "a leading dot", []string{"Host: .internal.test"}, refused()},
		{"host-port", "RFC 9110 7.2", "a port", []string{"Host: internal.test:8080"}, []int{401}},
		{"host-dot-port", "RFC 9110 7.2", "a trailing dot and a port", []string{"Host: internal.test.:80"}, []int{401, 400}},
		{"host-no-port", "RFC 9110 7.2", "a colon without a port", []string{"Host: internal.test:"}, []int{401, 400}},
		{"host-big-port", "RFC 9110 7.2", "a port that is none", []string{"Host: internal.test:99999"}, refused()},
		{"host-zero-port", "RFC 9110 7.2", "port 0", []string{"Host: internal.test:0"}, refused()},
		{"host-letter-port", "RFC 9110 7.2", "letters in the port", []string{"Host: internal.test:8o"}, refused()},
		{"host-two-ports", "RFC 9110 7.2", "two ports", []string{"Host: internal.test:80:80"}, refused()},
		{"host-path", "RFC 9110 7.2", "a path in the Host", []string{"Host: internal.test/x"}, refused()},
		{"host-query", "RFC 9110 7.2", "a query in the Host", []string{"Host: shop.test?.internal.test"}, refused()},
		{"host-hash", "RFC 9110 7.2", "a fragment in the Host", []string{"Host: shop.test#.internal.test"}, refused()},
		{"host-backslash", "RFC 9110 7.2", "a backslash in the Host", []string{`Host: shop.test\.internal.test`}, refused()},
		{"host-scheme", "RFC 9110 7.2", "a URL in the Host", []string{"Host: http://internal.test"}, refused()},
		{"host-unicode", "CVE-2026-27590", "a letter that lower-cases to another", []string{"Host: \u0130nternal.test"}, refused()},
		{"host-kelvin", "CVE-2026-27590", "the Kelvin sign, which lower-cases to k", []string{"Host: \u212aey.test"}, refused()},
		{"host-encoded", "RFC 3986 3.2.2", "an encoded letter", []string{"Host: %69nternal.test"}, refused()},
		{"host-nul", "CVE-2026-47778", "a NUL in the Host", []string{"Host: internal.test\x00.shop.test"}, refused()},
		{"host-space", "RFC 9110 7.2", "a space in the Host", []string{"Host: shop.test internal.test"}, refused()},
		{"host-blanks", "RFC 9112 5.1", "blanks around the value", []string{"Host: \t internal.test \t"}, []int{401, 400}},
		{"host-space-colon", "RFC 9112 5.1", "a space before the colon", []string{"Host : internal.test"}, refused()},
		{"host-comma", "RFC 9110 5.3", "a list of hosts", []string{"Host: shop.test, internal.test"}, refused()},
		{"host-star", "RFC 9110 7.2", "a wildcard", []string{"Host: *"}, refused()},
		{"host-ipv6", "RFC 3986 3.2.2", "an address in brackets", []string{"Host: [::1]:80"}, []int{200, 400}},
		{"host-ipv6-open", "RFC 3986 3.2.2", "brackets without their end", []string{"Host: [::1"}, refused()},
		{"host-ipv6-bare", "RFC 3986 3.2.2", "an address without brackets", []string{"Host: ::1"}, refused()},
		{"host-ipv6-zone", "RFC 6874", "a zone", []string{"Host: [fe80::1%25eth0]"}, refused()},
		{"host-ipv6-name", "RFC 3986 3.2.2", "a name in brackets", []string{"Host: [internal.test]"}, refused()},
		{"host-ipv6-tail", "RFC 3986 3.2.2", "a name behind brackets", []string{"Host: [::1]internal.test"}, refused()},
		{"host-underscore", "RFC 1035 2.3.1", "an underscore is another name", []string{"Host: internal_test"}, []int{200, 400}},
		{"host-long", "RFC 1035 2.3.4", "a name of 300 bytes", []string{"Host: " + strings.Repeat("a.", 150) + "test"}, refused()},
		{"host-folded", "RFC 9112 5.2", "a folded Host", []string{"Host: shop.test", " internal.test"}, refused()},
		{"host-hop", "RFC 9110 7.6.1", "Host named by Connection", []string{"Host: internal.test", "Connection: close, host"}, refused()},
	}
	for _, r := range rows {
		a := attack{id: r.id, from: r.from, tries: r.tries, send: request("GET / HTTP/1.1", r.head...), status: r.status, lines: open}
		g.run(t, n, &a)
	}
	misdirected := []int{421, 404, 400}
	for _, a := range []attack{
		{id: "host-http10-none", from: "RFC 9112 3.2", tries: "HTTP/1.0 without Host", send: request("GET / HTTP/1.0"), status: refused(), closes: true},
		{id: "host-absolute-conflict", from: "RFC 9112 3.2.2", tries: "a URL of the closed host, Host of the open one", send: get("http://internal.test/"), status: refused(), closes: true},
		{
			id: "host-absolute-hides", from: "RFC 9112 3.2.2", tries: "a URL of the open host, Host of the closed one",
			send: request("GET http://shop.test/ HTTP/1.1", "Host: internal.test"), status: refused(), closes: true,
		},
		{
			id: "host-absolute-port", from: "RFC 9112 3.2.2", tries: "a URL with another port than Host",
			send: request("GET http://shop.test:81/ HTTP/1.1", "Host: shop.test"), status: refused(), closes: true,
		},
		{id: "host-sni-good", from: "control", tries: "server name and Host agree", sni: "shop.test", send: get("/"), status: []int{200}, lines: open, fields: []string{"host: shop.test", "x-forwarded-proto: https"}},
		{id: "host-sni-other", from: "RFC 9110 15.5.20", tries: "Host of another listener than the server name", sni: "shop.test", send: request("GET / HTTP/1.1", "Host: other.test"), status: []int{421}},
		{id: "host-sni-internal", from: "RFC 9110 15.5.20", tries: "a closed host under an open server name", sni: "shop.test", send: request("GET / HTTP/1.1", "Host: internal.test"), status: misdirected},
		{id: "host-sni-none", from: "RFC 6066 3", tries: "no server name", sni: "-", send: get("/"), status: []int{421, 400, 404, 0}},
		{id: "host-sni-unknown", from: "RFC 6066 3", tries: "a server name that no listener has", sni: "unknown.test", send: get("/"), status: []int{421, 400, 404, 0}},
		{id: "host-sni-case", from: "CVE-2026-27588", tries: "a server name in upper case", sni: "SHOP.TEST", send: get("/"), status: []int{200}, lines: open},
		{id: "host-sni-path", from: "RFC 9110 15.5.20", tries: "the closed path under another listener's name", sni: "other.test", send: request("GET /admin HTTP/1.1", "Host: other.test"), status: []int{401}},
	} {
		g.run(t, n, &a)
	}
}
