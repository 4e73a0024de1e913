package adversarial

import (
	"strconv"
	"strings"
	"testing"
)

// smuggled is what a desynchronised server would take for a second request. It
// names no header field that the gateway would add, so that it is seen for what
// it is.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: internal.test\r\n\r\n"

// post is a POST to the open path with the given fields, then raw bytes.
func post(rest string, fields ...string) string {
	return request("POST /public HTTP/1.1", append([]string{"Host: shop.test"}, fields...)...) + rest
}

// chunked is a POST with Transfer-Encoding: chunked and a raw body.
func chunked(body string) string { return post(body, "Transfer-Encoding: chunked") }

func length(s string) string { return strconv.Itoa(len(s)) }

func runFraming(t *testing.T, g *guarded, n *counter) {
	t.Helper()
	open := []string{"POST /public HTTP/1.1"}
	unknown := []int{501, 400}
	const te = "Transfer-Encoding: chunked"
	// All of these are refused, and the connection with them: nobody knows where
	// the next request would begin.
	rows := []struct {
		id, from, tries, send string
		status                []int
	}{
		{"framing-cl-same", "RFC 9112 6.3", "two equal Content-Length", post("hello", "Content-Length: 5", "Content-Length: 5"), refused()},
		{"framing-cl-two", "RFC 9112 6.3", "two Content-Length", post("0\r\n\r\n"+smuggled, "Content-Length: 5", "Content-Length: 0"), refused()},
		{"framing-cl-list", "RFC 9112 6.3", "a list as Content-Length", post("hello", "Content-Length: 5,5"), refused()},
		{"framing-cl-te", "CVE-2019-18277 family", "CL.TE", post("0\r\n\r\n"+smuggled, "Content-Length: 52", te), refused()},
		{"framing-te-cl", "CVE-2019-18277 family", "TE.CL", post("2f\r\n"+smuggled+"\r\n0\r\n\r\n", te, "Content-Length: 4"), refused()},
		{"framing-te-cl-zero", "CVE-2019-18277 family", "TE beside Content-Length: 0", post("0\r\n\r\n", "Content-Length: 0", te), refused()},
		{"framing-te-twice", "valyala/fasthttp#1719", "chunked twice in a list", post("0\r\n\r\n", "Transfer-Encoding: chunked, chunked"), unknown},
		{"framing-te-fields", "RFC 9112 6.1", "two Transfer-Encoding", post("0\r\n\r\n", te, te), unknown},
		{"framing-te-identity", "RFC 9112 6.1", "identity", post("", "Transfer-Encoding: identity"), unknown},
		{"framing-te-identity-cl", "RFC 9112 6.1", "identity beside a length", post("hello", "Transfer-Encoding: identity", "Content-Length: 5"), unknown},
		{"framing-te-x", "RFC 9112 6.1", "xchunked", post("0\r\n\r\n", "Transfer-Encoding: xchunked"), unknown},
		{"framing-te-gzip", "RFC 9112 6.1", "gzip, chunked", post("0\r\n\r\n", "Transfer-Encoding: gzip, chunked"), unknown},
		{"framing-te-last", "RFC 9112 6.1", "chunked, identity", post("0\r\n\r\n", "Transfer-Encoding: chunked, identity"), unknown},
		{"framing-te-vt", "CVE-2019-18277", "a vertical tab before chunked", post("0\r\n\r\n", "Transfer-Encoding: \x0bchunked"), unknown},
		{"framing-te-nul", "CVE-2019-18277 family", "a NUL behind chunked", post("0\r\n\r\n", "Transfer-Encoding: chunked\x00"), unknown},
		{"framing-te-quoted", "RFC 9112 6.1", "chunked in quotes", post("0\r\n\r\n", `Transfer-Encoding: "chunked"`), unknown},
		{"framing-te-empty", "RFC 9112 6.1", "an empty Transfer-Encoding", post("hello", "Transfer-Encoding:", "Content-Length: 5"), unknown},
		{"framing-te-params", "RFC 9112 6.1", "chunked with a parameter", post("0\r\n\r\n", "Transfer-Encoding: chunked;q=1"), unknown},
		{"framing-te-space", "CVE-2019-16276", "a space before the colon of Transfer-Encoding", post("0\r\n\r\n"+smuggled, "Transfer-Encoding : chunked"), refused()},
		{"framing-te-10", "RFC 9112 6.1", "chunked in HTTP/1.0", request("POST /public HTTP/1.0", "Host: shop.test", te) + "0\r\n\r\n", refused()},
		{"framing-cl-space", "CVE-2019-16276", "a space before the colon of Content-Length", post("hello", "Content-Length : 5"), refused()},
		{"framing-cl-plus", "RFC 9110 8.6", "a plus sign", post("hello", "Content-Length: +5"), refused()},
		{"framing-cl-minus", "RFC 9110 8.6", "a negative length", post("", "Content-Length: -1"), refused()},
		{"framing-cl-hex", "RFC 9110 8.6", "a hexadecimal length", post("hello", "Content-Length: 0x5"), refused()},
		{"framing-cl-point", "RFC 9110 8.6", "a decimal point", post("hello", "Content-Length: 5.0"), refused()},
		{"framing-cl-words", "RFC 9110 8.6", "two numbers", post("hello", "Content-Length: 5 5"), refused()},
		{"framing-cl-empty", "RFC 9110 8.6", "no number", post("", "Content-Length:"), refused()},
		{"framing-cl-overflow", "RFC 9110 8.6", "a length over 64 bits", post("", "Content-Length: 18446744073709551621"), []int{400, 413}},
		{"framing-cl-signed", "RFC 9110 8.6", "a length over 63 bits", post("", "Content-Length: 9223372036854775808"), []int{400, 413}},
		{"framing-cl-arabic", "RFC 9110 8.6", "digits of another script", post("hello", "Content-Length: \u0665"), refused()},
		{"framing-chunk-minus", "RFC 9112 7.1", "a negative chunk size", chunked("-5\r\nhello\r\n0\r\n\r\n"), refused()},
		{"framing-chunk-plus", "RFC 9112 7.1", "a chunk size with a sign", chunked("+5\r\nhello\r\n0\r\n\r\n"), refused()},
		{"framing-chunk-0x", "RFC 9112 7.1", "a chunk size with 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n"), refused()},
		{"framing-chunk-space", "RFC 9112 7.1", "a space before the chunk size", chunked(" 5\r\nhello\r\n0\r\n\r\n"), refused()},
		{"framing-chunk-overflow", "RFC 9112 7.1", "a chunk size over 64 bits", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), []int{400, 413}},
		{"framing-chunk-huge", "RFC 9112 7.1", "a chunk size of 2^63", chunked("8000000000000000\r\nhello\r\n0\r\n\r\n"), []int{400, 413}},
		{"framing-chunk-zeros", "RFC 9112 7.1", "a chunk size of 100 digits", chunked(strings.Repeat("0", 100) + "5\r\nhello\r\n0\r\n\r\n"), refused()},
		{"framing-chunk-none", "RFC 9112 7.1", "no chunk size", chunked("\r\nhello\r\n0\r\n\r\n"), refused()},
		{"framing-chunk-lf", "CVE-2025-22871", "LF behind the chunk size", chunked("5\nhello\r\n0\r\n\r\n" + smuggled), refused()},
		{"framing-chunk-lf-data", "CVE-2025-22871", "LF behind the chunk's data", chunked("5\r\nhello\n0\r\n\r\n" + smuggled), refused()},
		{"framing-chunk-lf-ext", "CVE-2025-22871", "LF inside a chunk extension", chunked("5;a=b\nc\r\nhello\r\n0\r\n\r\n" + smuggled), refused()},
		{"framing-chunk-cr", "CVE-2025-22871", "CR alone behind the chunk size", chunked("5\rhello\r\n0\r\n\r\n"), refused()},
		{"framing-chunk-cr-ext", "CVE-2025-22871", "CR inside a chunk extension", chunked("5;a=b\rc\r\nhello\r\n0\r\n\r\n"), refused()},
		{"framing-chunk-long", "RFC 9112 7.1", "more data than the chunk size says", chunked("5\r\nhello world\r\n0\r\n\r\n"), refused()},
		{"framing-chunk-short", "RFC 9112 7.1", "less data than the chunk size says", chunked("8\r\nhello\r\n0\r\n\r\n"), refused()},
		{"framing-chunk-ext-flood", "CVE-2023-39326", "a chunk extension of 1 MiB", chunked("5;a=" + strings.Repeat("b", 1<<20) + "\r\nhello\r\n0\r\n\r\n"), []int{400, 413}},
		{"framing-chunk-last-lf", "CVE-2025-22871", "LF behind the last chunk", chunked("5\r\nhello\r\n0\n\r\n" + smuggled), refused()},
		{"framing-trailer-lf", "CVE-2025-22871", "LF in a trailer", chunked("5\r\nhello\r\n0\r\nX-A: b\n\r\n"), refused()},
		{"framing-trailer-space", "RFC 9112 5.1", "a space before the colon of a trailer", chunked("5\r\nhello\r\n0\r\nX-A : b\r\n\r\n"), refused()},
		{"framing-trailer-flood", "RFC 6585 5", "trailers of 1 MiB", chunked("5\r\nhello\r\n0\r\n" + strings.Repeat("X-A: "+strings.Repeat("b", 1000)+"\r\n", 1000) + "\r\n"), []int{400, 413, 431}},
		{"framing-large-chunked", "RFC 9110 15.5.14", "a body over the limit, in chunks", chunked("7d0\r\n" + strings.Repeat("a", 2000) + "\r\n0\r\n\r\n" + smuggled), []int{413}},
		{"framing-large-expect", "RFC 9110 10.1.1", "a body over the limit, after 100-continue", post("", "Content-Length: 2000", "Expect: 100-continue"), []int{413, 417}},
	}
	for _, r := range rows {
		g.run(t, n, &attack{id: r.id, from: r.from, tries: r.tries, send: r.send, status: r.status, closes: true})
	}
	body := strings.Repeat("a", 20) + smuggled
	for _, a := range []attack{
		{id: "framing-plain", from: "control", tries: "a body with its length", send: post("hello", "Content-Length: 5"), status: []int{200}, lines: open, body: new("hello")},
		{id: "framing-chunked", from: "control", tries: "a body in chunks", send: chunked("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"), status: []int{200}, lines: open, body: new("hello world")},
		{id: "framing-cl-zeros", from: "RFC 9110 8.6", tries: "leading zeros have one form", send: post("hello", "Content-Length: 0005"), status: []int{200, 400}, lines: open, body: new("hello"), fields: []string{"content-length: 5"}},
		{id: "framing-te-blank", from: "RFC 9112 5.1", tries: "blanks behind chunked belong to the line", send: post("5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked \t"), status: []int{200, 400, 501}, lines: open, body: new("hello")},
		{id: "framing-te-case", from: "RFC 9112 7", tries: "chunked in upper case", send: post("5\r\nhello\r\n0\r\n\r\n", "TRANSFER-ENCODING: CHUNKED"), status: []int{200, 400, 501}, lines: open, body: new("hello")},
		{id: "framing-te-alias", from: "CVE-2025-64484 family", tries: "transfer_encoding, which a CGI backend reads as the real one", send: post("hello", "Content-Length: 5", "Transfer_Encoding: chunked"), status: []int{200, 400}, lines: open, body: new("hello"), absent: []string{"transfer-encoding"}},
		{id: "framing-cl-alias", from: "CVE-2025-64484 family", tries: "content_length, which a CGI backend reads as the real one", send: get("/public", "Content_Length: 5"), status: []int{200, 400}, lines: []string{"GET /public HTTP/1.1"}, absent: []string{"content-length"}},
		{id: "framing-chunk-ext", from: "CVE-2025-22871", tries: "a chunk extension is not handed on", send: chunked("5;a=\"b\"\r\nhello\r\n0\r\n\r\n"), status: []int{200, 400}, lines: open, body: new("hello")},
		{id: "framing-chunk-space-end", from: "RFC 9112 7.1.1", tries: "a space behind the chunk size", send: chunked("5 \r\nhello\r\n0\r\n\r\n"), status: []int{200, 400}, lines: open, body: new("hello")},
		{id: "framing-trailer-forbidden", from: "RFC 9110 6.5.1", tries: "trailers that frame, route and identify", send: chunked("5\r\nhello\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: evil\r\nHost: evil\r\nAuthorization: evil\r\nX-User: evil\r\nX_Forwarded_For: evil\r\nCookie: evil\r\n\r\n"), status: []int{200, 400}, lines: open, body: new("hello")},
		{id: "framing-get-body", from: "RFC 9110 9.3.1", tries: "a GET with a body that looks like a request", send: request("GET /public HTTP/1.1", "Host: shop.test", "Content-Length: "+length(body)) + body, status: []int{200, 400}, lines: []string{"GET /public HTTP/1.1"}, body: &body},
		{id: "framing-head-body", from: "RFC 9110 9.3.2", tries: "a HEAD with a body that looks like a request", send: request("HEAD /public HTTP/1.1", "Host: shop.test", "Content-Length: "+length(body)) + body, status: []int{200, 400}, lines: []string{"HEAD /public HTTP/1.1"}, body: &body},
		{id: "framing-cl-0", from: "CL.0 desync", tries: "bytes behind Content-Length: 0 are the next request", send: post(get("/admin"), "Content-Length: 0"), status: []int{200}, lines: open, body: new(""), more: []int{401}},
		{id: "framing-unread", from: "CL.0 desync", tries: "the body of a refused request is no request", send: request("POST /admin HTTP/1.1", "Host: shop.test", "Content-Length: "+length(smuggled)) + smuggled, status: []int{401}},
		{id: "framing-unread-chunked", from: "CL.0 desync", tries: "the chunked body of a refused request is no request", send: request("POST /admin HTTP/1.1", "Host: shop.test", te) + "2f\r\n" + smuggled + "\r\n0\r\n\r\n", status: []int{401}},
		{id: "framing-large-cl", from: "RFC 9110 15.5.14", tries: "a body over the limit, told in advance, and a request behind it", send: post(strings.Repeat("a", 2000)+smuggled, "Content-Length: 2000"), status: []int{413}, more: []int{401}},
		{id: "framing-cut-cl", from: "RFC 9112 8", tries: "a body that ends too early is no request", send: post("hello", "Content-Length: 10"), status: []int{400, 408, 0}, finish: true},
		{id: "framing-cut-chunk", from: "RFC 9112 8", tries: "chunks without their end are no request", send: chunked("5\r\nhello\r\n"), status: []int{400, 408, 0}, finish: true},
		{id: "framing-cut-trailer", from: "RFC 9112 8", tries: "a last chunk without its empty line is no request", send: chunked("5\r\nhello\r\n0\r\n"), status: []int{400, 408, 0}, finish: true},
		{id: "framing-cut-head", from: "RFC 9112 8", tries: "a head without its end is no request", send: "GET /public HTTP/1.1\r\nHost: shop.test\r\n", status: []int{400, 408, 0}, finish: true},
	} {
		g.run(t, n, &a)
	}
}
