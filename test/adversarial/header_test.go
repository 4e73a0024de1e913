package adversarial

import (
	"strings"
	"testing"
)

// spoofed are fields that claim what only the gateway may say. None may reach
// the backend, whatever its spelling.
func spoofed() []string {
	return []string{
		"X-Forwarded-For", "X_Forwarded_For", "X.Forwarded.For", "X-Forwarded_For", "x_forwarded-for",
		"X-Forwarded-User", "X_Forwarded_User", "X.Forwarded.User", "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Preferred-Username",
		"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Uri", "X-Forwarded-Method", "X-Forwarded-Server",
		"X-Forwarded-Client-Cert", "Forwarded", "X-Real-IP", "X_Real_IP", "X-Client-IP", "Client-IP", "True-Client-IP", "CF-Connecting-IP",
		"X-Original-URL", "X-Original-URI", "X-Original-Host", "X-Original-Method", "X-Rewrite-URL", "X-Rewrite_URL", "X-Host",
		"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override",
		"X-User", "X_User", "Remote-User", "REMOTE_USER", "Remote.User", "Remote-Groups", "X-Remote-User", "X-Remote-Group", "X-Remote-Extra-Scopes",
		"Impersonate-User", "Impersonate-Group", "Impersonate-Extra-Scopes", "X-Auth-Request-User", "X-Auth-Request-Email", "X-WebAuth-User",
		"X-Authenticated-User", "X-Consumer-Username", "SSL-Client-Cert", "SSL_CLIENT_CERT", "X-SSL-Client-Cert", "X-Client-Cert", "Client-Cert",
		"Proxy", "X-Request-Id", "X-Bulwark-Identity",
	}
}

func runHeaders(t *testing.T, g *guarded, n *counter) {
	t.Helper()
	open := []string{"GET /public HTTP/1.1"}
	for _, name := range spoofed() {
		g.run(t, n, &attack{
			id: "header-spoof-" + name, from: "CVE-2025-64484, GHSA-x677-9fxg-v5c5, GHSA-7r4p-vjf4-gxv4, CVE-2026-35051, CVE-2026-40575",
			tries: "a field that only the gateway may set", send: get("/public", name+": evil"), status: []int{200, 400}, lines: open,
		})
	}
	rows := []struct {
		id, from, tries, send string
		status                []int
	}{
		{"header-bare-lf", "CVE-2019-16276, RFC 9112 2.2", "a line that ends with LF alone", "GET /public HTTP/1.1\r\nHost: shop.test\nX-A: b\r\n\r\n", refused()},
		{"header-bare-lf-end", "RFC 9112 2.2", "a head that ends with LF alone", "GET /public HTTP/1.1\r\nHost: shop.test\r\n\n", refused()},
		{"header-all-lf", "RFC 9112 2.2", "LF everywhere", "GET /public HTTP/1.1\nHost: shop.test\n\n", refused()},
		{"header-bare-cr", "RFC 9112 2.2", "a CR inside a value", get("/public", "X-A: b\rX-Evil: 1"), refused()},
		{"header-bare-cr-end", "RFC 9112 2.2", "a second CR before the LF", "GET /public HTTP/1.1\r\nHost: shop.test\r\r\n\r\n", refused()},
		{"header-fold", "RFC 9112 5.2", "a folded value", get("/public", "X-A: b", " X-Evil: 1"), refused()},
		{"header-fold-tab", "RFC 9112 5.2", "a value folded by tab", get("/public", "X-A: b", "\tc"), refused()},
		{"header-fold-first", "RFC 9112 2.2", "white space before the first field", "GET /public HTTP/1.1\r\n Host: shop.test\r\nHost: shop.test\r\n\r\n", refused()},
		{"header-nul", "CVE-2026-47778", "a NUL in a value", get("/public", "X-A: b\x00c"), refused()},
		{"header-control", "RFC 9110 5.5", "a control character in a value", get("/public", "X-A: b\x01c"), refused()},
		{"header-del", "RFC 9110 5.5", "DEL in a value", get("/public", "X-A: b\x7fc"), refused()},
		{"header-space-colon", "CVE-2019-16276", "a space before the colon", get("/public", "X-A : b"), refused()},
		{"header-tab-colon", "CVE-2019-16276", "a tab before the colon", get("/public", "X-A\t: b"), refused()},
		{"header-no-name", "RFC 9112 5", "a field without name", get("/public", ": b"), refused()},
		{"header-no-colon", "RFC 9112 5", "a line without colon", get("/public", "X-A"), refused()},
		{"header-8bit-name", "RFC 9110 5.1", "8-bit bytes in a name", get("/public", "X-\xc3\xa4: b"), refused()},
		{"header-bracket-name", "RFC 9110 5.1", "a separator in a name", get("/public", "X(A): b"), refused()},
		{"header-vt-name", "RFC 9110 5.1", "a vertical tab in a name", get("/public", "X\x0bA: b"), refused()},
		{"header-many", "RFC 6585 5", "500 fields", get("/public", strings.Split(strings.Repeat("X-A: b\n", 499)+"X-A: b", "\n")...), []int{431, 400}},
		{"header-large", "RFC 6585 5", "one field of 64 KiB", get("/public", "X-A: "+strings.Repeat("b", 64<<10)), []int{431, 400}},
		{"header-endless", "RFC 6585 5", "a name of 1 MiB without an end", "GET /public HTTP/1.1\r\nHost: shop.test\r\n" + strings.Repeat("a", 1<<20), []int{431, 400, 0}},
		{"header-expect", "RFC 9110 10.1.1", "an expectation that nobody knows", get("/public", "Expect: 200-ok"), []int{417, 400}},
		{"header-expect-twice", "RFC 9110 10.1.1", "two expectations", get("/public", "Expect: 100-continue", "Expect: 100-continue"), []int{417, 400}},
		{"header-version-09", "RFC 1945", "HTTP/0.9", "GET /public\r\n", []int{400, 505, 0}},
		{"header-version-09-named", "RFC 1945", "a version 0.9", request("GET /public HTTP/0.9", "Host: shop.test"), []int{400, 505}},
		{"header-version-12", "RFC 9112 2.3", "a version 1.2", request("GET /public HTTP/1.2", "Host: shop.test"), []int{505, 400}},
		{"header-version-20", "RFC 9112 2.3", "a version 2.0 in HTTP/1 form", request("GET /public HTTP/2.0", "Host: shop.test"), []int{505, 400}},
		{"header-version-zero", "RFC 9112 2.3", "a version with a leading zero", request("GET /public HTTP/01.1", "Host: shop.test"), []int{505, 400}},
		{"header-version-long", "RFC 9112 2.3", "a version 1.10", request("GET /public HTTP/1.10", "Host: shop.test"), []int{505, 400}},
		{"header-version-case", "RFC 9112 2.3", "a version in lower case", request("GET /public http/1.1", "Host: shop.test"), []int{505, 400}},
		{"header-version-space", "RFC 9112 3", "a space behind the version", request("GET /public HTTP/1.1 ", "Host: shop.test"), []int{505, 400}},
		{"header-version-junk", "RFC 9112 2.3", "words for a version", request("GET /public HTTP/1.1 HTTP/1.0", "Host: shop.test"), []int{505, 400}},
		{"header-connect", "GHSA-3ccp-42pg-hgv6", "CONNECT to this host", request("CONNECT shop.test:80 HTTP/1.1", "Host: shop.test:80"), []int{400, 405, 501}},
		{"header-connect-path", "GHSA-3ccp-42pg-hgv6", "CONNECT with a path", request("CONNECT /admin HTTP/1.1", "Host: shop.test"), []int{400, 405, 501}},
		{"header-method-bytes", "RFC 9110 9.1", "a separator in the method", request("G@T /public HTTP/1.1", "Host: shop.test"), refused()},
		{"header-method-nul", "RFC 9110 9.1", "a NUL in the method", request("GET\x00 /public HTTP/1.1", "Host: shop.test"), refused()},
		{"header-method-space", "RFC 9112 3", "a space before the method", request(" GET /public HTTP/1.1", "Host: shop.test"), refused()},
		{"header-two-spaces", "RFC 9112 3", "two spaces behind the method", request("GET  /public HTTP/1.1", "Host: shop.test"), refused()},
		{"header-hop-length", "RFC 9110 7.6.1", "Connection names Content-Length", request("POST /public HTTP/1.1", "Host: shop.test", "Connection: content-length", "Content-Length: 5") + "hello", refused()},
		{"header-hop-coding", "RFC 9110 7.6.1", "Connection names Transfer-Encoding", request("POST /public HTTP/1.1", "Host: shop.test", "Connection: transfer-encoding", "Transfer-Encoding: chunked") + "0\r\n\r\n", refused()},
		{"header-upgrade-two", "CVE-2026-2833", "two Upgrade fields", get("/public", "Connection: upgrade", "Upgrade: websocket", "Upgrade: h2c"), refused()},
		{"header-upgrade-post", "CVE-2026-2833", "an upgrade by POST with a body", request("POST /public HTTP/1.1", "Host: shop.test", "Connection: upgrade", "Upgrade: websocket", "Content-Length: 5") + "hello", refused()},
		{"header-upgrade-body", "CVE-2026-2833", "an upgrade with a chunked body", get("/public", "Connection: upgrade", "Upgrade: websocket", "Transfer-Encoding: chunked") + "0\r\n\r\n", refused()},
		{"header-tls-on-plain", "RFC 8446", "a TLS handshake on the plain port", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + strings.Repeat("\x00", 64) + "\r\n\r\n", []int{400, 0}},
	}
	for _, r := range rows {
		// A head that is never finished needs the end of the stream to be judged.
		finish := !strings.Contains(r.send, "\r\n\r\n")
		g.run(t, n, &attack{id: r.id, from: r.from, tries: r.tries, send: r.send, status: r.status, closes: true, finish: finish})
	}
	for _, a := range []attack{
		{id: "header-8bit-value", from: "RFC 9110 5.5", tries: "8-bit bytes in a value stay as they are", send: get("/public", "X-A: \xc3\xa4"), status: []int{200, 400}, lines: open, fields: []string{"x-a: \xc3\xa4"}},
		{id: "header-hop-forwarded", from: "RFC 9110 7.6.1", tries: "Connection names the gateway's own fields", send: get("/public", "Connection: close, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Request-Id"), status: []int{200, 400}, lines: open},
		{
			id: "header-hop-token", from: "RFC 9110 7.6.1", tries: "Connection names the credential: then there is none",
			send: get("/admin", "Connection: authorization", "Authorization: Bearer "+g.keys.es256(t, nil, claims())), status: []int{401, 400},
		},
		{id: "header-hop-user", from: "GHSA-7r4p-vjf4-gxv4", tries: "Connection names the field that carries the identity", send: get("/who", "Connection: x-user", "Authorization: Bearer "+g.keys.es256(t, nil, claims())), status: []int{200, 400}, lines: []string{"GET /who HTTP/1.1"}, fields: []string{"x-user: ada"}},
		{id: "header-identity", from: "GHSA-7r4p-vjf4-gxv4", tries: "a claimed identity beside the proved one", send: get("/who", "X-User: evil", "X_User: evil", "X.User: evil", "Authorization: Bearer "+g.keys.es256(t, nil, claims())), status: []int{200, 400}, lines: []string{"GET /who HTTP/1.1"}, fields: []string{"x-user: ada"}},
		{id: "header-token-kept", from: "RFC 6750 5.2", tries: "the token is not handed to the backend", send: get("/who", "Authorization: Bearer "+g.keys.es256(t, nil, claims())), status: []int{200}, lines: []string{"GET /who HTTP/1.1"}, absent: []string{"authorization"}},
		{id: "header-hop-many", from: "RFC 9110 7.6.1", tries: "Connection names 1000 fields", send: get("/public", "Connection: "+strings.Repeat("x, ", 1000)+"y"), status: []int{200, 400, 431}, lines: open},
		{id: "header-hop-fields", from: "RFC 9110 7.6.1", tries: "fields of this hop", send: get("/public", "Keep-Alive: timeout=evil", "Proxy-Connection: evil", "TE: evil", "Trailer: evil", "Proxy-Authorization: evil"), status: []int{200, 400}, lines: open},
		{id: "header-h2c", from: "GHSA-w4v4-9rw7-5326", tries: "a tunnel by Upgrade: h2c", send: get("/public", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"), status: []int{200, 400}, lines: open, absent: []string{"upgrade"}},
		{id: "header-h2c-list", from: "GHSA-w4v4-9rw7-5326", tries: "h2c in a list of protocols", send: get("/public", "Connection: Upgrade", "Upgrade: h2c, websocket"), status: []int{200, 400}, lines: open, absent: []string{"upgrade"}},
		{id: "header-upgrade-alone", from: "RFC 9110 7.8", tries: "Upgrade without Connection is no upgrade", send: get("/public", "Upgrade: websocket"), status: []int{200, 400}, lines: open, absent: []string{"upgrade"}},
		{
			id: "header-upgrade-early", from: "CVE-2026-2833", tries: "bytes behind an upgrade that the backend did not take",
			send: get("/public", "Connection: Upgrade", "Upgrade: websocket") + get("/admin"), status: []int{200, 400}, lines: open, more: []int{401},
		},
		{id: "header-expect-empty", from: "RFC 9110 10.1.1", tries: "100-continue without a body", send: get("/public", "Expect: 100-continue"), status: []int{200, 417}, lines: open, absent: []string{"expect"}},
		{id: "header-method-lower", from: "RFC 9110 9.1", tries: "a method in lower case is another method", send: request("get /admin HTTP/1.1", "Host: shop.test"), status: []int{401, 400, 405, 501}},
		{id: "header-method-own", from: "RFC 9110 9.1", tries: "a method of one's own on the closed path", send: request("JEFF /admin HTTP/1.1", "Host: shop.test"), status: []int{401, 400, 405, 501}},
		{id: "header-trace", from: "CVE-2004-2320", tries: "TRACE shows fields that a page must not read", send: request("TRACE /public HTTP/1.1", "Host: shop.test", "Cookie: evil=1"), status: []int{400, 403, 405, 501}},
		{id: "header-blank-first", from: "RFC 9112 2.2", tries: "an empty line before the request", send: "\r\n" + get("/public"), status: []int{200, 400}, lines: open},
		{id: "header-junk-first", from: "RFC 9112 2.2", tries: "an LF before the request", send: "\n" + get("/public"), status: []int{200, 400}, lines: open},
		{id: "header-pipeline", from: "control", tries: "two good requests at once are answered in order", send: get("/public") + get("/public/2"), status: []int{200}, lines: []string{"GET /public HTTP/1.1", "GET /public/2 HTTP/1.1"}, more: []int{200}},
		{id: "header-pipeline-error", from: "RFC 9112 9.3", tries: "a request behind one that is refused for its form", send: get("/public", "X-A : b") + get("/smuggled"), status: refused(), closes: true},
		{id: "header-pipeline-closed", from: "RFC 9112 9.3.2", tries: "a request behind one without credential is judged by itself", send: get("/admin") + get("/admin"), status: []int{401}, more: []int{401}},
		{id: "header-close-then", from: "RFC 9112 9.6", tries: "a request behind Connection: close is not served", send: get("/public", "Connection: close") + get("/smuggled"), status: []int{200}, lines: open},
	} {
		g.run(t, n, &a)
	}
}
