package adversarial

import (
	"strings"
	"testing"
)

func runH2(t *testing.T, g *guarded, n *counter) {
	t.Helper()
	open, posted := []string{"GET /public HTTP/1.1"}, []string{"POST /public HTTP/1.1"}
	none := []int{400, 0}
	some := []int{200, 400, 0}
	replaced := func(name, value string) []pair {
		fields := h2get("/public")
		for i := range fields {
			if fields[i].name == name {
				fields[i].value = value
			}
		}
		return fields
	}
	dropped := func(name string) []pair {
		var out []pair
		for _, f := range h2get("/public") {
			if f.name != name {
				out = append(out, f)
			}
		}
		return out
	}
	token := g.keys.es256(t, nil, claims())
	// What must be refused: by an answer of 400 or by an error of the stream or
	// the connection.
	for _, a := range []attack2{
		{id: "h2-dotdot", from: "CVE-2025-32431", tries: "dot segments", fields: h2get("/public/../admin")},
		{id: "h2-enc-dotdot", from: "traefik/traefik#11746", tries: "encoded dot segments", fields: h2get("/public/%2e%2e/admin")},
		{id: "h2-enc-slash", from: "CVE-2021-29492", tries: "an encoded slash", fields: h2get("/public/..%2fadmin")},
		{id: "h2-backslash", from: "Caddy backslash", tries: "a backslash", fields: h2get(`/public\..\admin`)},
		{id: "h2-fragment", from: "CVE-2021-32779", tries: "a fragment", fields: h2get("/public#/../admin")},
		{id: "h2-absolute", from: "RFC 9113 8.3.1", tries: "a URL as path", fields: h2get("http://internal.test/")},
		{id: "h2-path-empty", from: "RFC 9113 8.3.1", tries: "an empty path", fields: h2get("")},
		{id: "h2-path-star", from: "RFC 9113 8.3.1", tries: "* with GET", fields: h2get("*")},
		{id: "h2-path-word", from: "RFC 9113 8.3.1", tries: "a path without its slash", fields: h2get("admin")},
		{id: "h2-path-split", from: "CVE-2019-16276 family", tries: "a path that splits the request line", fields: h2get("/public HTTP/1.1\r\nX-Evil: evil\r\n\r\nGET /smuggled")},
		{id: "h2-path-space", from: "RFC 9113 8.2.1", tries: "a space in the path", fields: h2get("/public /admin")},
		{id: "h2-path-nul", from: "RFC 9113 8.2.1", tries: "a NUL in the path", fields: h2get("/public\x00")},
		{id: "h2-path-8bit", from: "RFC 3986 2", tries: "bytes over 7f in the path", fields: h2get("/\xff")},
		{id: "h2-path-twice", from: "RFC 9113 8.3", tries: "two paths", fields: h2get("/public", pair{":path", "/admin"})},
		{id: "h2-path-none", from: "RFC 9113 8.3.1", tries: "no path", fields: dropped(":path")},
		{id: "h2-method-none", from: "RFC 9113 8.3.1", tries: "no method", fields: dropped(":method")},
		{id: "h2-method-empty", from: "RFC 9113 8.3.1", tries: "an empty method", fields: replaced(":method", "")},
		{id: "h2-method-twice", from: "RFC 9113 8.3", tries: "two methods", fields: h2get("/public", pair{":method", "POST"})},
		{id: "h2-method-split", from: "CVE-2021-33193", tries: "a method that splits the request line", fields: replaced(":method", "GET /admin HTTP/1.1\r\nHost: internal.test\r\n\r\nGET")},
		{id: "h2-method-space", from: "CVE-2021-33193", tries: "a method with a space", fields: replaced(":method", "GET /admin")},
		{id: "h2-scheme-none", from: "RFC 9113 8.3.1", tries: "no scheme", fields: dropped(":scheme")},
		{id: "h2-scheme-split", from: "RFC 9113 8.3.1", tries: "a scheme that holds a URL", fields: replaced(":scheme", "https://internal.test/admin?")},
		{id: "h2-scheme-twice", from: "RFC 9113 8.3", tries: "two schemes", fields: h2get("/public", pair{":scheme", "http"})},
		{id: "h2-authority-twice", from: "RFC 9113 8.3", tries: "two authorities", fields: h2get("/public", pair{":authority", "internal.test"})},
		{id: "h2-authority-none", from: "RFC 9113 8.3.1", tries: "neither authority nor Host", fields: dropped(":authority")},
		{id: "h2-authority-userinfo", from: "RFC 9113 8.3.1", tries: "user information", fields: replaced(":authority", "a@shop.test")},
		{id: "h2-authority-split", from: "CVE-2019-16276 family", tries: "an authority that splits Host", fields: replaced(":authority", "shop.test\r\nX-Evil: evil")},
		{id: "h2-authority-path", from: "RFC 9113 8.3.1", tries: "a path in the authority", fields: replaced(":authority", "shop.test/admin")},
		{id: "h2-status", from: "RFC 9113 8.3", tries: ":status in a request", fields: h2get("/public", pair{":status", "200"})},
		{id: "h2-pseudo-unknown", from: "RFC 9113 8.3", tries: "an unknown pseudo-header field", fields: append([]pair{{":evil", "evil"}}, h2get("/public")...)},
		{id: "h2-pseudo-late", from: "RFC 9113 8.3", tries: "a pseudo-header field behind a field", fields: append([]pair{{"x-a", "b"}}, h2get("/public")...)},
		{id: "h2-name-upper", from: "RFC 9113 8.2.1", tries: "a name in upper case", fields: h2get("/public", pair{"X-Evil", "evil"})},
		{id: "h2-name-empty", from: "RFC 9113 8.2.1", tries: "an empty name", fields: h2get("/public", pair{"", "evil"})},
		{id: "h2-name-colon", from: "RFC 9113 8.2.1", tries: "a colon in a name", fields: h2get("/public", pair{"x:evil", "evil"})},
		{id: "h2-name-space", from: "RFC 9113 8.2.1", tries: "a space in a name", fields: h2get("/public", pair{"x evil", "evil"})},
		{id: "h2-name-split", from: "CVE-2019-16276 family", tries: "a name that splits the field", fields: h2get("/public", pair{"x-a: b\r\nx-evil", "evil"})},
		{id: "h2-value-crlf", from: "RFC 9113 8.2.1", tries: "CRLF in a value", fields: h2get("/public", pair{"x-a", "b\r\nx-evil: evil"})},
		{id: "h2-value-lf", from: "RFC 9113 8.2.1", tries: "LF in a value", fields: h2get("/public", pair{"x-a", "b\nx-evil: evil"})},
		{id: "h2-value-cr", from: "RFC 9113 8.2.1", tries: "CR in a value", fields: h2get("/public", pair{"x-a", "b\rx-evil: evil"})},
		{id: "h2-value-nul", from: "RFC 9113 8.2.1", tries: "a NUL in a value", fields: h2get("/public", pair{"x-a", "b\x00evil"})},
		{id: "h2-te-chunked", from: "H2.TE desync, RFC 9113 8.2.2", tries: "Transfer-Encoding", fields: h2post(pair{"transfer-encoding", "chunked"}), data: "0\r\n\r\n" + smuggled},
		{id: "h2-te-split", from: "H2.TE desync", tries: "Transfer-Encoding inside another value", fields: h2post(pair{"x-a", "b\r\ntransfer-encoding: chunked"}), data: "0\r\n\r\n" + smuggled},
		{id: "h2-connection", from: "RFC 9113 8.2.2", tries: "Connection", fields: h2get("/public", pair{"connection", "x-forwarded-for"})},
		{id: "h2-upgrade", from: "RFC 9113 8.2.2", tries: "Upgrade", fields: h2get("/public", pair{"upgrade", "websocket"})},
		{id: "h2-cl-zero", from: "H2.CL desync, RFC 9113 8.1.1", tries: "Content-Length 0 and a body", fields: h2post(pair{"content-length", "0"}), data: smuggled, maybe: posted, body: new("")},
		{id: "h2-cl-long", from: "H2.CL desync", tries: "Content-Length over the body", fields: h2post(pair{"content-length", "100"}), data: "hello"},
		{id: "h2-cl-short", from: "H2.CL desync", tries: "Content-Length under the body", fields: h2post(pair{"content-length", "2"}), data: "hello"},
		{id: "h2-cl-twice", from: "H2.CL desync", tries: "two Content-Length", fields: h2post(pair{"content-length", "5"}, pair{"content-length", "0"}), data: "hello"},
		{id: "h2-cl-plus", from: "RFC 9110 8.6", tries: "a length with a sign", fields: h2post(pair{"content-length", "+5"}), data: "hello"},
	} {
		a.status = none
		g.run2(t, n, &a)
	}
	// What has one form only, and must arrive in it if at all.
	for _, a := range []attack2{
		{id: "h2-plain", from: "control", tries: "a plain request", fields: h2get("/public"), status: []int{200}, lines: open, has: []string{"host: shop.test", "x-forwarded-proto: https"}},
		{id: "h2-body", from: "control", tries: "a body", fields: h2post(), data: "hello", status: []int{200}, lines: posted, body: new("hello")},
		{id: "h2-closed", from: "control", tries: "the closed path", fields: h2get("/admin"), status: []int{401}},
		{id: "h2-slashes", from: "GHSA-gx7w-56w6-g48x", tries: "two slashes", fields: h2get("//admin"), status: []int{401, 400, 0}},
		{id: "h2-enc-letter", from: "CVE-2026-27587", tries: "an encoded letter", fields: h2get("/%61dmin"), status: []int{401, 400, 0}},
		{id: "h2-scheme-http", from: "RFC 9113 8.3.1", tries: "scheme http under TLS", fields: replaced(":scheme", "http"), status: []int{200, 400, 421, 0}, lines: open, has: []string{"x-forwarded-proto: https"}},
		{id: "h2-authority-other", from: "RFC 9113 9.1.2", tries: "the authority of another listener", fields: replaced(":authority", "other.test"), status: []int{421}},
		{id: "h2-authority-internal", from: "RFC 9113 9.1.2", tries: "a closed authority under an open server name", fields: replaced(":authority", "internal.test"), status: []int{421, 404, 400}},
		{id: "h2-authority-case", from: "CVE-2026-27588", tries: "an authority in upper case", fields: replaced(":authority", "SHOP.TEST"), status: some, lines: open},
		{id: "h2-host-other", from: "RFC 9113 8.3.1", tries: "Host differs from the authority", fields: h2get("/public", pair{"host", "internal.test"}), status: some, lines: open, has: []string{"host: shop.test"}},
		{id: "h2-host-evil", from: "RFC 9113 8.3.1", tries: "Host of nobody beside the authority", fields: h2get("/public", pair{"host", "evil.test"}), status: some, lines: open},
		{id: "h2-host-alone", from: "RFC 9113 8.3.1", tries: "Host in place of the authority", fields: append(dropped(":authority"), pair{"host", "shop.test"}), status: some, lines: open, has: []string{"host: shop.test"}},
		{id: "h2-keep-alive", from: "RFC 9113 8.2.2", tries: "Keep-Alive", fields: h2get("/public", pair{"keep-alive", "evil"}), status: some, lines: open},
		{id: "h2-proxy-connection", from: "RFC 9113 8.2.2", tries: "Proxy-Connection", fields: h2get("/public", pair{"proxy-connection", "evil"}), status: some, lines: open},
		{id: "h2-te-other", from: "RFC 9113 8.2.2", tries: "TE other than trailers", fields: h2get("/public", pair{"te", "evil"}), status: some, lines: open},
		{id: "h2-spoof", from: "CVE-2025-64484", tries: "fields that only the gateway may set", fields: h2get("/public", pair{"x-forwarded-for", "evil"}, pair{"x_forwarded_for", "evil"}, pair{"x.forwarded.for", "evil"}, pair{"forwarded", "evil"}, pair{"x-user", "evil"}, pair{"x-original-url", "evil"}), status: some, lines: open},
		{id: "h2-cl-alias", from: "CVE-2025-64484 family", tries: "content_length and transfer_encoding", fields: h2get("/public", pair{"content_length", "5"}, pair{"transfer_encoding", "chunked"}), status: some, lines: open, absent: []string{"content-length", "transfer-encoding"}},
		{id: "h2-value-blanks", from: "RFC 9113 8.2.1", tries: "blanks around a value", fields: h2get("/public", pair{"x-a", " b "}), status: some, lines: open},
		{id: "h2-method-lower", from: "RFC 9110 9.1", tries: "a method in lower case on the closed path", fields: []pair{{":method", "get"}, {":scheme", "https"}, {":authority", "shop.test"}, {":path", "/admin"}}, status: []int{401, 400, 405, 501, 0}},
		{id: "h2-connect", from: "GHSA-3ccp-42pg-hgv6", tries: "CONNECT with a body that holds a request", fields: []pair{{":method", "CONNECT"}, {":authority", "shop.test:80"}}, data: smuggled, status: []int{400, 405, 501, 0}},
		{id: "h2-connect-path", from: "GHSA-3ccp-42pg-hgv6", tries: "CONNECT with a path and a body that holds a request", fields: replaced(":method", "CONNECT"), data: smuggled, status: []int{400, 405, 501, 0}},
		{id: "h2-connect-extended", from: "RFC 8441", tries: "CONNECT with :protocol", fields: append([]pair{{":protocol", "websocket"}}, replaced(":method", "CONNECT")...), data: smuggled, status: []int{400, 405, 501, 0}},
		{id: "h2-large", from: "RFC 9110 15.5.14", tries: "a body over the limit", fields: h2post(), data: strings.Repeat("a", 2000), status: []int{413, 0}},
		{id: "h2-large-told", from: "RFC 9110 15.5.14", tries: "a body over the limit, told in advance", fields: h2post(pair{"content-length", "2000"}), data: strings.Repeat("a", 2000), status: []int{413, 0}},
		{id: "h2-trailers", from: "RFC 9110 6.5.1", tries: "trailers that frame, route and identify", fields: h2post(), data: "hello", trailers: []pair{{"content-length", "99"}, {"host", "evil"}, {"authorization", "evil"}, {"x-user", "evil"}, {"x_forwarded_for", "evil"}}, status: some, lines: posted, body: new("hello")},
		{id: "h2-trailers-pseudo", from: "RFC 9113 8.1", tries: "a pseudo-header field in trailers", fields: h2post(), data: "hello", trailers: []pair{{":path", "/admin"}}, status: none},
		{id: "h2-fields-many", from: "RFC 6585 5", tries: "500 fields", fields: h2get("/public", many(500)...), status: []int{431, 400, 0}},
		{id: "h2-fields-large", from: "RFC 6585 5", tries: "a field of 256 KiB", fields: h2get("/public", pair{"x-a", strings.Repeat("~", 256<<10)}), status: []int{431, 400, 0}},
		{id: "h2-token-two", from: "RFC 9110 5.3", tries: "a bad and a good token", fields: h2get("/admin", pair{"authorization", "Bearer bad"}, pair{"authorization", "Bearer " + token}), status: []int{401, 400, 0}},
		{id: "h2-cut", from: "RFC 9113 8.1", tries: "a body that never ends, until the time is up", fields: h2post(), data: "hello", noEnd: true, status: []int{408, 400, 0}},
		{id: "h2c-plain", from: "control", tries: "prior knowledge without TLS", plain: true, fields: scheme("http", h2get("/public")), status: []int{200}, lines: open, has: []string{"x-forwarded-proto: http"}},
		{id: "h2c-closed", from: "GHSA-w4v4-9rw7-5326", tries: "the closed path by prior knowledge", plain: true, fields: scheme("http", h2get("/admin")), status: []int{401}},
		{id: "h2c-internal", from: "GHSA-w4v4-9rw7-5326", tries: "the closed host by prior knowledge", plain: true, fields: []pair{{":method", "GET"}, {":scheme", "http"}, {":authority", "INTERNAL.test."}, {":path", "/"}}, status: []int{401, 400, 0}},
	} {
		g.run2(t, n, &a)
	}
}

func many(n int) []pair {
	out := make([]pair, n)
	for i := range out {
		out[i] = pair{"x-a", "b"}
	}
	return out
}

func scheme(s string, fields []pair) []pair {
	for i := range fields {
		if fields[i].name == ":scheme" {
			fields[i].value = s
		}
	}
	return fields
}
