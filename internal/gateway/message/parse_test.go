package message

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func parseAll(t *testing.T, raw string) (*Request, error) {
	t.Helper()
	buf := []byte(raw)
	end, _, err := HeadEnd(buf, 0)
	if err != nil {
		return nil, err
	}
	if end == 0 {
		return nil, errors.New("incomplete")
	}
	r := new(Request)
	return r, r.Parse(buf[:end], "http")
}

func TestParseAccepts(t *testing.T) {
	for _, tc := range []struct {
		name, raw string
		want      Request
	}{
		{"get", "GET /a%2Db?x=1 HTTP/1.1\r\nHost: Shop.Example:8080\r\nAccept:  a  \r\n\r\n", Request{
			Method: "GET", Scheme: "http", Host: "shop.example", Port: "8080", Path: "/a-b", Query: "x=1", HasQuery: true, Proto: 11,
			Header: Header{{"accept", "a"}},
		}},
		{"absolute form", "GET http://shop.example/x HTTP/1.1\r\nhost: shop.example\r\n\r\n", Request{
			Method: "GET", Scheme: "http", Host: "shop.example", Path: "/x", Proto: 11,
		}},
		{"length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n", Request{
			Method: "POST", Scheme: "http", Host: "a", Path: "/", Proto: 11, ContentLength: 12,
		}},
		{"chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\nExpect: 100-Continue\r\nTE: gzip, trailers\r\n\r\n", Request{
			Method: "POST", Scheme: "http", Host: "a", Path: "/", Proto: 11, ContentLength: -1, Expect: true, Trailers: true,
		}},
		{"hop-by-hop and what it names", "GET / HTTP/1.1\r\nHost: a\r\nX-Api-Key: k\r\nConnection: close, X-Api-Key\r\nKeep-Alive: 3\r\n\r\n", Request{
			Method: "GET", Scheme: "http", Host: "a", Path: "/", Proto: 11, Close: true,
		}},
		{"upgrade", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n", Request{
			Method: "GET", Scheme: "http", Host: "a", Path: "/", Proto: 11, Upgrade: "websocket",
		}},
		{"h2c upgrade is ignored", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n", Request{
			Method: "GET", Scheme: "http", Host: "a", Path: "/", Proto: 11,
		}},
		{"claims from outside", "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1\r\nX_Forwarded.User: root\r\nForwarded: for=1\r\nX-HTTP-Method-Override: PUT\r\nX-Custom_ok: 1\r\n\r\n", Request{
			Method: "GET", Scheme: "http", Host: "a", Path: "/", Proto: 11, Header: Header{{"x-custom_ok", "1"}},
		}},
		{"http/1.0", "GET / HTTP/1.0\r\nHost: a\r\n\r\n", Request{Method: "GET", Scheme: "http", Host: "a", Path: "/", Proto: 10, Close: true}},
		{"http/1.0 keep-alive", "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", Request{Method: "GET", Scheme: "http", Host: "a", Path: "/", Proto: 10}},
		{"options *", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Request{Method: "OPTIONS", Scheme: "http", Host: "a", Path: "*", Proto: 11}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseAll(t, tc.raw)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Header) == 0 {
				got.Header = nil
			}
			if d := cmp.Diff(tc.want, *got, cmpopts.IgnoreUnexported(Request{})); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	host := "Host: a\r\n"
	for name, tc := range map[string]struct {
		raw    string
		status int
	}{
		"bare LF after request line":  {"GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
		"bare LF at the end":          {"GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
		"bare CR in value":            {"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n", 400},
		"NUL in value":                {"GET / HTTP/1.1\r\nHost: a\r\nA: b\x00c\r\n\r\n", 400},
		"DEL in value":                {"GET / HTTP/1.1\r\nHost: a\r\nA: b\x7fc\r\n\r\n", 400},
		"obs-fold":                    {"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", 400},
		"first line folded":           {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
		"space before colon":          {"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
		"empty name":                  {"GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400},
		"no colon":                    {"GET / HTTP/1.1\r\nHost: a\r\nabc\r\n\r\n", 400},
		"8-bit name":                  {"GET / HTTP/1.1\r\nHost: a\r\n\xe9: x\r\n\r\n", 400},
		"no host":                     {"GET / HTTP/1.1\r\n\r\n", 400},
		"two hosts":                   {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
		"two lengths":                 {"POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
		"length list":                 {"POST / HTTP/1.1\r\n" + host + "Content-Length: 1, 1\r\n\r\n", 400},
		"length with sign":            {"POST / HTTP/1.1\r\n" + host + "Content-Length: +1\r\n\r\n", 400},
		"length in hex":               {"POST / HTTP/1.1\r\n" + host + "Content-Length: 0x1\r\n\r\n", 400},
		"length too long":             {"POST / HTTP/1.1\r\n" + host + "Content-Length: 9999999999999999999\r\n\r\n", 400},
		"length and chunked":          {"POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		"two codings":                 {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 501},
		"other coding":                {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
		"coding with vertical tab":    {"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: \x0bchunked\r\n\r\n", 400},
		"coding in 1.0":               {"POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n", 400},
		"connection names length":     {"POST / HTTP/1.1\r\n" + host + "Connection: content-length\r\nContent-Length: 1\r\n\r\n", 400},
		"connection names host":       {"GET / HTTP/1.1\r\n" + host + "Connection: Host\r\n\r\n", 400},
		"CONNECT":                     {"CONNECT a:443 HTTP/1.1\r\n" + host + "\r\n", 405},
		"absolute form of other host": {"GET http://b/ HTTP/1.1\r\n" + host + "\r\n", 400},
		"absolute form, other scheme": {"GET https://a/ HTTP/1.1\r\n" + host + "\r\n", 400},
		"absolute form with user":     {"GET http://u@a/ HTTP/1.1\r\n" + host + "\r\n", 400},
		"authority form":              {"GET a:80 HTTP/1.1\r\n" + host + "\r\n", 400},
		"star":                        {"GET * HTTP/1.1\r\n" + host + "\r\n", 400},
		"two spaces":                  {"GET  / HTTP/1.1\r\n" + host + "\r\n", 400},
		"tab":                         {"GET\t/ HTTP/1.1\r\n" + host + "\r\n", 400},
		"trailing space":              {"GET / HTTP/1.1 \r\n" + host + "\r\n", 400},
		"http/0.9":                    {"GET /\r\n\r\n", 400},
		"http/1.2":                    {"GET / HTTP/1.2\r\n" + host + "\r\n", 505},
		"http/2.0":                    {"GET / HTTP/2.0\r\n" + host + "\r\n", 505},
		"lower-case version":          {"GET / http/1.1\r\n" + host + "\r\n", 400},
		"empty line first":            {"\r\nGET / HTTP/1.1\r\n" + host + "\r\n", 400},
		"method with control":         {"G\x01T / HTTP/1.1\r\n" + host + "\r\n", 400},
		"unknown expectation":         {"POST / HTTP/1.1\r\n" + host + "Expect: tea\r\n\r\n", 417},
		"upgrade with body":           {"GET / HTTP/1.1\r\n" + host + "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\n", 400},
		"upgrade by POST":             {"POST / HTTP/1.1\r\n" + host + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n", 400},
		"fragment":                    {"GET /a#b HTTP/1.1\r\n" + host + "\r\n", 400},
		"query with control encoding": {"GET /a?b=%00 HTTP/1.1\r\n" + host + "\r\n", 400},
		"target too long":             {"GET /" + strings.Repeat("a", MaxTarget) + " HTTP/1.1\r\n" + host + "\r\n", 414},
		"too many fields":             {"GET / HTTP/1.1\r\n" + host + strings.Repeat("a: b\r\n", MaxFields) + "\r\n", 431},
		"raw UTF-8 in path":           {"GET /é HTTP/1.1\r\n" + host + "\r\n", 400},
		"host with a path":            {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
		"empty host":                  {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
		"two upgrades":                {"GET / HTTP/1.1\r\n" + host + "Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n", 400},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parseAll(t, tc.raw)
			var pe *ParseError
			if !errors.As(err, &pe) || pe.Status != tc.status {
				t.Errorf("got %v, error %v; want status %d", r, err, tc.status)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("GET /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n")
	f.Add("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: x\r\n\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		buf := []byte(raw)
		end, next, err := HeadEnd(buf, 0)
		if err != nil || end == 0 {
			if next > len(buf) {
				t.Fatalf("next %d past %d bytes", next, len(buf))
			}
			return
		}
		var r Request
		if r.Parse(buf[:end], "http") != nil {
			return
		}
		// What was accepted reads the same when it is written out again.
		var b strings.Builder
		b.WriteString(r.Method + " " + r.Target() + " HTTP/1.1\r\nhost: " + r.Authority() + "\r\n")
		for _, f := range r.Header {
			if !ValidName(f.Name) || !ValidValue(f.Value) {
				t.Fatalf("invalid field %q: %q", f.Name, f.Value)
			}
			b.WriteString(f.Name + ": " + f.Value + "\r\n")
		}
		b.WriteString("\r\n")
		again, err := parseAll(t, b.String())
		if err != nil {
			t.Fatalf("%q was accepted, its own form %q is not: %v", raw, b.String(), err)
		}
		if again.Path != r.Path || again.Host != r.Host || again.Query != r.Query || len(again.Header) != len(r.Header) {
			t.Fatalf("%q reads as %v, then as %v", raw, &r, again)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	raw := "GET /orders/42?expand=items HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: curl/8.5.0\r\nAccept: application/json\r\nAccept-Encoding: gzip, br\r\nAuthorization: Bearer " + strings.Repeat("x", 400) + "\r\n\r\n"
	var r Request
	buf := make([]byte, len(raw))
	b.ReportAllocs()
	for b.Loop() {
		copy(buf, raw)
		end, _, _ := HeadEnd(buf, 0)
		if err := r.Parse(buf[:end], "http"); err != nil {
			b.Fatal(err)
		}
	}
}
