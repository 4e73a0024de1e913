package adversarial

import (
	"strings"
	"testing"
)

// get is a request for target with further field lines.
func get(target string, fields ...string) string {
	return request("GET "+target+" HTTP/1.1", append([]string{"Host: shop.test"}, fields...)...)
}

// request is a head: the request line and field lines.
func request(line string, fields ...string) string {
	return strings.Join(append([]string{line}, fields...), "\r\n") + "\r\n\r\n"
}

// refused are the answers to what nobody may read in two ways.
func refused() []int { return []int{400} }

// paths are targets, the accepted answers, and the target that the backend may
// get.
func paths() []struct {
	id, from, tries, target string
	status                  []int
	forwards                string
} {
	type row = struct {
		id, from, tries, target string
		status                  []int
		forwards                string
	}
	long := "/" + strings.Repeat("a", 9000)
	return []row{
		{"path-plain", "control", "a plain path is served as it is", "/public/a", []int{200}, "/public/a"},
		{"path-closed", "control", "the closed path asks for a token", "/admin", []int{401}, ""},
		{"path-dotdot", "CVE-2025-32431", "/../ past the matcher", "/public/../admin", refused(), ""},
		{"path-dot", "CVE-2019-9901", "/./ past the matcher", "/./admin", refused(), ""},
		{"path-dot-end", "CVE-2019-9901", "a trailing dot segment", "/admin/.", refused(), ""},
		{"path-dotdot-end", "CVE-2019-9901", "a trailing dot-dot segment", "/admin/..", refused(), ""},
		{"path-enc-dotdot", "traefik/traefik#11746", "%2e%2e resolved behind the gateway", "/public/%2e%2e/admin", refused(), ""},
		{"path-half-enc-dotdot", "traefik/traefik#11746", ".%2e", "/public/.%2e/admin", refused(), ""},
		{"path-enc-dot-end", "traefik 3.6.17 /api%2e", "an encoded dot behind the name", "/admin%2e", refused(), ""},
		{"path-enc-dot-segment", "traefik 3.6.17 /api%2e", "an encoded dot segment", "/admin/%2e", refused(), ""},
		{"path-semicolon-dotdot", "CVE-2020-5902 family", "..; that servlet containers read as ..", "/public/..;/admin", refused(), ""},
		{"path-enc-semicolon-dotdot", "CVE-2020-5902 family", "..%3b", "/public/..%3b/admin", refused(), ""},
		{"path-parameter", "GHSA-gm3x-23wp-hc2c", "a path parameter hides the segment", "/admin;x=1", refused(), ""},
		{"path-parameter-inside", "GHSA-gm3x-23wp-hc2c", "a parameter on the segment before", "/;x/admin", refused(), ""},
		{"path-enc-slash", "CVE-2021-29492", "%2F as separator", "/public%2f..%2fadmin", refused(), ""},
		{"path-enc-slash-admin", "CVE-2021-29492", "%2F behind the closed prefix", "/admin%2fstats", refused(), ""},
		{"path-leading-enc-slash", "CVE-2021-29492", "%2F as a second leading slash", "/%2fadmin", refused(), ""},
		{"path-enc-slash-upper", "CVE-2025-66490", "%2F in upper case", "/public/..%2Fadmin", refused(), ""},
		{"path-backslash", "Caddy backslash", "a bare backslash as separator", `/public\..\admin`, refused(), ""},
		{"path-leading-backslash", "Caddy backslash", "a backslash as leading slash", `/\admin`, refused(), ""},
		{"path-enc-backslash", "CVE-2025-66490", "%5C as separator", "/public/..%5cadmin", refused(), ""},
		{"path-enc-nul", "CVE-2025-66490", "%00 cuts the path", "/admin%00", refused(), ""},
		{"path-enc-nul-inside", "CVE-2025-66490", "%00 inside a segment", "/ad%00min", refused(), ""},
		{"path-enc-semicolon", "CVE-2025-66490", "%3B", "/admin%3bx", refused(), ""},
		{"path-enc-question", "CVE-2025-66490", "%3F", "/admin%3fx", refused(), ""},
		{"path-enc-hash", "CVE-2025-66490", "%23", "/admin%23x", refused(), ""},
		{"path-double-enc", "CWE-174", "%252e%252e for two decoders", "/public/%252e%252e/admin", refused(), ""},
		{"path-double-enc-letter", "CWE-174", "%2561dmin for two decoders", "/%2561dmin", refused(), ""},
		{"path-enc-percent", "GHSA-gm3x-23wp-hc2c", "a bare %25", "/admin%25", refused(), ""},
		{"path-two-slashes", "GHSA-gx7w-56w6-g48x", "//admin past a prefix check", "//admin", []int{401, 400}, ""},
		{"path-many-slashes", "GHSA-gx7w-56w6-g48x", "slashes everywhere", "///admin///stats", []int{401, 400}, ""},
		{"path-authority-like", "RFC 3986 4.2", "//host/path as target", "//other.test/admin", []int{200, 400, 404}, "/other.test/admin"},
		{"path-slash-end", "GHSA-gx7w-56w6-g48x", "a trailing slash", "/admin/", []int{401}, ""},
		{"path-enc-letter", "CVE-2026-27587", "an encoded letter past the matcher", "/%61dmin", []int{401, 400}, ""},
		{"path-enc-all", "CVE-2026-27587", "every letter encoded, hex digits in both cases", "/%61%64%6D%69%6e", []int{401, 400}, ""},
		{"path-hex-case", "CVE-2026-27587", "hex digits in lower case have one form", "/caf%c3%a9", []int{200}, "/caf%C3%A9"},
		{"path-enc-unreserved", "RFC 3986 6.2.2.2", "encoded unreserved characters have one form", "/%7euser%2dx", []int{200}, "/~user-x"},
		{"path-upper", "CVE-2026-27588 family", "upper case is another path", "/ADMIN", []int{200}, "/ADMIN"},
		{"path-space", "CVE-2022-0391 family", "an encoded space behind the name", "/admin%20", []int{200, 400}, "/admin%20"},
		{"path-enc-tab", "CVE-2025-66490", "%09", "/admin%09", refused(), ""},
		{"path-enc-crlf", "CVE-2019-16276 family", "%0d%0a splits the request behind", "/public%0d%0aX-Evil:%201", refused(), ""},
		{"path-enc-del", "RFC 3986 2.2", "%7f", "/admin%7f", refused(), ""},
		{"path-overlong-dot", "CVE-2000-0884", "overlong UTF-8 dots", "/public/%c0%ae%c0%ae/admin", refused(), ""},
		{"path-overlong-slash", "CVE-2000-0884", "an overlong UTF-8 slash", "/public%c0%afadmin", refused(), ""},
		{"path-overlong-three", "CVE-2000-0884", "a three-byte overlong slash", "/public/..%e0%80%afadmin", refused(), ""},
		{"path-not-utf8", "RFC 3629", "bytes that are no UTF-8", "/%ff%fe", refused(), ""},
		{"path-raw-8bit", "RFC 3986 2", "bytes over 7f without encoding", "/\xc3\xa4dmin", refused(), ""},
		{"path-iis-unicode", "CVE-2001-0333 family", "%u0061", "/%u0061dmin", refused(), ""},
		{"path-fullwidth-dots", "CVE-2026-27590 family", "full-width dots are no dots", "/%EF%BC%8E%EF%BC%8E/x", []int{200, 400}, "/%EF%BC%8E%EF%BC%8E/x"},
		{"path-broken-percent", "RFC 3986 2.1", "% without digits", "/admin%", refused(), ""},
		{"path-short-percent", "RFC 3986 2.1", "% with one digit", "/admin%2", refused(), ""},
		{"path-bad-percent", "RFC 3986 2.1", "% with letters that are no digits", "/%zzadmin", refused(), ""},
		{"path-fragment", "CVE-2026-41059", "a fragment behind an open path", "/public#/../admin", refused(), ""},
		{"path-fragment-admin", "CVE-2021-32779", "a fragment behind the closed path", "/admin#x", refused(), ""},
		{"path-fragment-query", "CVE-2021-32779", "a fragment in the query", "/public?x#/admin", refused(), ""},
		{"path-in-query", "GHSA-7rh7-c77v-6434", "an open path in the query of a closed one", "/admin?x=/public", []int{401}, ""},
		{"path-query-dots", "GHSA-7rh7-c77v-6434", "dot segments in a query are data", "/public?x=/../admin", []int{200}, "/public?x=/../admin"},
		{"path-query-nul", "CVE-2025-66490", "%00 in the query", "/public?x=%00", refused(), ""},
		{"path-query-broken", "RFC 3986 2.1", "a broken encoding in the query", "/public?x=%z", refused(), ""},
		{"path-query-quote", "CVE-2019-16276 family", "encoded CRLF in a query stays encoded", "/public?x=%0d%0aX-Evil:1", []int{200, 400}, "/public?x=%0d%0aX-Evil:1"},
		{"path-absolute-other", "RFC 9112 3.2.2", "a URL of another host", "http://other.test/admin", refused(), ""},
		{"path-absolute-same", "RFC 9112 3.2.2", "a URL of this host is judged by its path", "http://shop.test/admin", []int{401}, ""},
		{"path-absolute-open", "RFC 9112 3.2.2", "a URL is forwarded as a path", "http://shop.test/public", []int{200}, "/public"},
		{"path-absolute-case", "RFC 9112 3.2.2", "a URL with scheme and host in upper case", "HTTP://SHOP.TEST/admin", []int{401, 400}, ""},
		{"path-absolute-https", "RFC 9112 3.2.2", "a URL of another scheme", "https://shop.test/public", refused(), ""},
		{"path-absolute-file", "RFC 9112 3.2.2", "a URL of a foreign scheme", "file:///etc/passwd", refused(), ""},
		{"path-absolute-userinfo", "RFC 9110 4.2.4", "user information in a URL", "http://shop.test@other.test/", refused(), ""},
		{"path-absolute-dots", "CVE-2025-32431", "dot segments in a URL", "http://shop.test/public/../admin", refused(), ""},
		{"path-star", "RFC 9112 3.2.4", "* with GET", "*", refused(), ""},
		{"path-no-slash", "RFC 9112 3.2.1", "a path without its slash", "admin", refused(), ""},
		{"path-query-only", "RFC 9112 3.2.1", "a query alone", "?x=/admin", refused(), ""},
		{"path-authority", "RFC 9112 3.2.3", "an authority with GET", "shop.test:80", refused(), ""},
		{"path-tab", "RFC 9112 3", "a tab in the request line", "/public\t/admin", refused(), ""},
		{"path-two-words", "RFC 9112 3", "a space in the target", "/public /admin", refused(), ""},
		{"path-raw-nul", "RFC 9112 3", "a NUL in the target", "/public\x00/../admin", refused(), ""},
		{"path-raw-vt", "RFC 9112 3", "a vertical tab in the target", "/public\x0b", refused(), ""},
		{"path-bare-cr", "RFC 9112 2.2", "a bare CR in the target", "/public\rX", refused(), ""},
		{"path-brackets", "RFC 3986 3.3", "characters that URLs do not have", "/public/{a}|<b>", refused(), ""},
		{"path-dot-name", "traefik 3.6.17 /api%2e", "a dot behind the name is another path", "/admin.", []int{200, 400}, "/admin."},
		{"path-three-dots", "CVE-2021-41773 family", "three dots are a name", "/public/.../a", []int{200, 400}, "/public/.../a"},
		{"path-long", "RFC 9110 15.5.15", "a target of 9000 bytes", long, []int{414, 431, 400}, ""},
		{"path-loose-slash", "GHSA-gm3x-23wp-hc2c", "%2F where it was asked for arrives as %2F", "/loose/a%2fb", []int{200}, "/loose/a%2Fb"},
		{"path-loose-climb", "CVE-2021-29492", "..%2F where %2F was asked for", "/loose/..%2fadmin", refused(), ""},
		{"path-loose-enc-climb", "CVE-2021-29492", "%2e%2e%2F where %2F was asked for", "/loose/%2e%2e%2fadmin", refused(), ""},
		{"path-loose-outside", "CVE-2021-29492", "%2F as the end of the loose prefix", "/loose%2f..%2fadmin", refused(), ""},
		{"path-loose-double", "CWE-174", "%25 where it was asked for, as a second encoding", "/loose/%252e%252e/admin", refused(), ""},
		{"path-strip", "GHSA-xf64-8mw2-4gr2", "a rewritten prefix", "/strip/a", []int{200}, "/files/a"},
		{"path-strip-climb", "GHSA-xf64-8mw2-4gr2", "dots glued to a stripped prefix", "/strip../admin", []int{200, 400, 404}, "/strip../admin"},
		{"path-strip-slashes", "GHSA-xf64-8mw2-4gr2", "slashes behind a stripped prefix", "/strip//admin", []int{200, 400}, "/files/admin"},
		{"path-rewrite", "CVE-2026-65600", "a pattern's replacement", "/rewrite/xa", []int{200}, "/files/.a"},
		{"path-rewrite-climb", "CVE-2026-65600", "a replacement that makes a dot segment", "/rewrite/x./admin", []int{400, 403, 500, 502, 503}, ""},
		{"path-rewrite-made-dots", "CVE-2026-65600", "a replacement that completes a dot segment", "/rewrite/x.", []int{400, 403, 500, 502, 503}, ""},
	}
}

func runPaths(t *testing.T, g *guarded, n *counter) {
	t.Helper()
	for _, p := range paths() {
		a := attack{id: p.id, from: p.from, tries: p.tries, send: get(p.target), status: p.status}
		if p.forwards != "" {
			a.lines = []string{"GET " + p.forwards + " HTTP/1.1"}
		}
		g.run(t, n, &a)
	}
	for _, a := range []attack{
		{id: "path-empty", from: "RFC 9112 3.2", tries: "an empty target", send: request("GET  HTTP/1.1", "Host: shop.test"), status: refused(), closes: true},
		{id: "path-options-star", from: "RFC 9110 9.3.7", tries: "OPTIONS * is for the gateway alone", send: request("OPTIONS * HTTP/1.1", "Host: shop.test"), status: []int{204, 400, 404, 405}},
		{id: "path-head-closed", from: "CVE-2021-21295 family", tries: "HEAD in place of GET", send: request("HEAD /admin HTTP/1.1", "Host: shop.test"), status: []int{401}},
		{id: "path-https-dotdot", from: "CVE-2025-32431", tries: "dot segments under TLS", sni: "shop.test", send: get("/public/../admin"), status: refused(), closes: true},
		{id: "path-redirect-split", from: "CVE-2019-16276 family", tries: "a path that splits the Location of a redirect", send: get("/redirect/%0d%0aSet-Cookie:%20a=b"), status: refused()},
		{id: "path-redirect-slashes", from: "CVE-2019-14540 family", tries: "an open redirect by two slashes", send: get("/redirect//other.test/"), status: []int{302, 400}},
	} {
		g.run(t, n, &a)
	}
}
