package message

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func parseResponse(in string) (ResponseHead, error) {
	b := []byte(in)
	end, _, err := HeadEnd(b, 0)
	if err != nil {
		return ResponseHead{}, fmt.Errorf("find the head: %w", err)
	}
	if end == 0 {
		return ResponseHead{}, errors.New("no whole head")
	}
	var h ResponseHead
	err = h.Parse(b[:end])
	return h, err
}

func TestResponseAccepts(t *testing.T) {
	tests := []struct {
		name, in string
		want     ResponseHead
	}{
		{
			"plain", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n",
			ResponseHead{Proto: 11, Status: 200, ContentLength: 5, Header: Header{{"content-type", "text/plain"}}},
		},
		{"no reason", "HTTP/1.1 404 \r\n\r\n", ResponseHead{Proto: 11, Status: 404, ContentLength: -1}},
		{"no reason, no space", "HTTP/1.1 404\r\n\r\n", ResponseHead{Proto: 11, Status: 404, ContentLength: -1}},
		{"reason in Latin-1", "HTTP/1.1 200 D\xe9j\xe0\r\n\r\n", ResponseHead{Proto: 11, Status: 200, ContentLength: -1}},
		{"chunked, any case", "HTTP/1.1 200 OK\r\ntransfer-ENCODING: Chunked\r\n\r\n", ResponseHead{Proto: 11, Status: 200, ContentLength: -1, Chunked: true}},
		{"HTTP/1.0 closes", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n", ResponseHead{Proto: 10, Status: 200, ContentLength: 1, Close: true}},
		{"close", "HTTP/1.1 200 OK\r\nConnection: Close\r\n\r\n", ResponseHead{Proto: 11, Status: 200, ContentLength: -1, Close: true}},
		{"same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", ResponseHead{Proto: 11, Status: 200, ContentLength: 5}},
		{
			"fields of the hop go", "HTTP/1.1 200 OK\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\nTrailer: a\r\nTE: b\r\nUpgrade: h2c\r\nX-Stays: 1\r\n\r\n",
			ResponseHead{Proto: 11, Status: 200, ContentLength: -1, Header: Header{{"x-stays", "1"}}},
		},
		{"switch", "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\n\r\n", ResponseHead{Proto: 11, Status: 101, ContentLength: -1, Upgrade: "websocket", Header: Header{{"sec-websocket-accept", "x"}}}},
		{"upgrade without connection", "HTTP/1.1 200 OK\r\nUpgrade: websocket\r\n\r\n", ResponseHead{Proto: 11, Status: 200, ContentLength: -1}},
		{"blanks around values", "HTTP/1.1 200 OK\r\na:b\r\nb: \t c d \t\r\nc:\r\nd: \t \r\n\r\n", ResponseHead{Proto: 11, Status: 200, ContentLength: -1, Header: Header{{"a", "b"}, {"b", "c d"}, {"c", ""}, {"d", ""}}}},
		{"tab inside a value", "HTTP/1.1 200 OK\r\na: 12345678\t87654321\r\n\r\n", ResponseHead{Proto: 11, Status: 200, ContentLength: -1, Header: Header{{"a", "12345678\t87654321"}}}},
		{"order and repeats stay", "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nX: y\r\nset-cookie: b=2\r\n\r\n", ResponseHead{Proto: 11, Status: 200, ContentLength: -1, Header: Header{{"set-cookie", "a=1"}, {"x", "y"}, {"set-cookie", "b=2"}}}},
		{"204 with length 0", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", ResponseHead{Proto: 11, Status: 204}},
		{"304 with length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", ResponseHead{Proto: 11, Status: 304, ContentLength: 99}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseResponse(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreUnexported(ResponseHead{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// badResponses break the rules of RFC 9112 in ways that make two readers see
// two different responses, or that have been used to smuggle.
var badResponses = map[string]string{
	"empty head":                      "\r\n",
	"no status":                       "HTTP/1.1\r\n\r\n",
	"two-digit status":                "HTTP/1.1 20 OK\r\n\r\n",
	"four-digit status":               "HTTP/1.1 2000 OK\r\n\r\n",
	"status with sign":                "HTTP/1.1 +20 OK\r\n\r\n",
	"status 099":                      "HTTP/1.1 099 Low\r\n\r\n",
	"status 600":                      "HTTP/1.1 600 High\r\n\r\n",
	"HTTP/2.0":                        "HTTP/2.0 200 OK\r\n\r\n",
	"HTTP/1.2":                        "HTTP/1.2 200 OK\r\n\r\n",
	"lower-case protocol":             "http/1.1 200 OK\r\n\r\n",
	"ICY":                             "ICY 200 OK\r\n\r\n",
	"blank before status line":        " HTTP/1.1 200 OK\r\n\r\n",
	"two blanks before status":        "HTTP/1.1  200 OK\r\n\r\n",
	"tab before reason":               "HTTP/1.1 200\tOK\r\n\r\n",
	"NUL in reason":                   "HTTP/1.1 200 O\x00K\r\n\r\n",
	"CR in reason":                    "HTTP/1.1 200 O\rK\r\n\r\n",
	"LF ends status line":             "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
	"LF ends field":                   "HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n",
	"LF ends head":                    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\n",
	"CR alone between fields":         "HTTP/1.1 200 OK\r\nA: b\rContent-Length: 0\r\n\r\n",
	"folded field":                    "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
	"folded with tab":                 "HTTP/1.1 200 OK\r\nA: b\r\n\tc\r\n\r\n",
	"first field folded":              "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
	"blank before colon":              "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n",
	"no colon":                        "HTTP/1.1 200 OK\r\nContent-Length 5\r\n\r\n",
	"empty name":                      "HTTP/1.1 200 OK\r\n: 5\r\n\r\n",
	"NUL in name":                     "HTTP/1.1 200 OK\r\nA\x00: 5\r\n\r\n",
	"name not ASCII":                  "HTTP/1.1 200 OK\r\nContent-L\xc3\xa9ngth: 5\r\n\r\n",
	"parenthesis in name":             "HTTP/1.1 200 OK\r\n(Content-Length): 5\r\n\r\n",
	"NUL in value":                    "HTTP/1.1 200 OK\r\nA: b\x00\r\n\r\n",
	"NUL in a long value":             "HTTP/1.1 200 OK\r\nA: 0123456789\x00bcdef0123456789\r\n\r\n",
	"DEL in a long value":             "HTTP/1.1 200 OK\r\nA: 0123456789\x7fbcdef0123456789\r\n\r\n",
	"escape in value":                 "HTTP/1.1 200 OK\r\nA: \x1b[31m\r\n\r\n",
	"lengths that differ":             "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
	"lengths in a list":               "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
	"negative length":                 "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
	"length with plus":                "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
	"hexadecimal length":              "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\n",
	"length with point":               "HTTP/1.1 200 OK\r\nContent-Length: 5.0\r\n\r\n",
	"length with blank inside":        "HTTP/1.1 200 OK\r\nContent-Length: 1 0\r\n\r\n",
	"empty length":                    "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
	"length that wraps":               "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\n",
	"length in other digits":          "HTTP/1.1 200 OK\r\nContent-Length: \xd9\xa5\r\n\r\n",
	"length and coding":               "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
	"coding and length":               "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
	"coding gzip, chunked":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
	"coding chunked, identity":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
	"coding identity":                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
	"coding twice":                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
	"coding with parameter":           "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n\r\n",
	"coding with vertical tab":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
	"coding xchunked":                 "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n",
	"empty coding":                    "HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n",
	"coding in HTTP/1.0":              "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
	"coding in 204":                   "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
	"length in 204":                   "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
	"length in 103":                   "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n",
	"coding in 100":                   "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n",
	"connection that names no name":   "HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n",
	"connection that names very many": "HTTP/1.1 200 OK\r\nConnection: " + strings.Repeat("a,", 17) + "\r\n\r\n",
	"too many fields":                 "HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", MaxResponseFields+1) + "\r\n",
}

func TestResponseRefuses(t *testing.T) {
	for name, in := range badResponses {
		t.Run(name, func(t *testing.T) {
			h, err := parseResponse(in)
			if _, ok := errors.AsType[*ParseError](err); !ok {
				t.Errorf("accepted as %+v (error %v)", h, err)
			}
		})
	}
	if len(badResponses) < 55 {
		t.Errorf("only %d cases", len(badResponses))
	}
}

func TestResponseParseNeedsTheWholeHead(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
	for n := range len(head) {
		var h ResponseHead
		if err := h.Parse([]byte(head[:n])); err == nil {
			t.Errorf("accepted %q", head[:n])
		}
	}
	var h ResponseHead
	if err := h.Parse([]byte(head + "x")); err == nil {
		t.Error("accepted a byte behind the head")
	}
}

// TestResponseStringsOutliveTheBuffer: the buffer is used again for the next
// response while the fields of this one are still being written.
func TestResponseStringsOutliveTheBuffer(t *testing.T) {
	b := []byte("HTTP/1.1 200 OK\r\nX-Name: value\r\n\r\n")
	var h ResponseHead
	if err := h.Parse(b); err != nil {
		t.Fatal(err)
	}
	clear(b)
	if diff := cmp.Diff(Header{{"x-name", "value"}}, h.Header); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestCleanValue(t *testing.T) {
	for c := range 256 {
		for at := range 19 {
			b := []byte("abcdefghijklmnopqrs")
			b[at] = byte(c)
			if got, want := cleanValue(b), valueByte(byte(c)); got != want {
				t.Errorf("byte %#x at %d: %v, want %v", c, at, got, want)
			}
		}
	}
}

// writeResponse writes what was accepted in the one way in which it can be
// meant.
func writeResponse(h *ResponseHead) string {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.%d %d x\r\n", h.Proto%10, h.Status)
	for _, f := range h.Header {
		b.WriteString(f.Name + ":" + f.Value + "\r\n")
	}
	switch {
	case h.Chunked:
		b.WriteString("transfer-encoding: chunked\r\n")
	case h.ContentLength >= 0:
		b.WriteString("content-length: " + strconv.FormatInt(h.ContentLength, 10) + "\r\n")
	}
	if h.Close && h.Proto == 11 {
		b.WriteString("connection: close\r\n")
	}
	if h.Upgrade != "" {
		b.WriteString("connection: upgrade\r\nupgrade: " + h.Upgrade + "\r\n")
	}
	return b.String() + "\r\n"
}

// FuzzResponse: the parser never panics, and what it accepts means the same
// when it is written and read again.
func FuzzResponse(f *testing.F) {
	for _, in := range badResponses {
		f.Add([]byte(in))
	}
	f.Add([]byte("HTTP/1.1 200 OK\r\nServer: a\r\nContent-Length: 5\r\nSet-Cookie: a=b; HttpOnly\r\n\r\nhello"))
	f.Add([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nConnection: close, x-a\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		h, err := parseResponse(string(in))
		if err != nil {
			return
		}
		for _, fld := range h.Header {
			if !ValidName(fld.Name) || !ValidValue(fld.Value) {
				t.Fatalf("field %q: %q", fld.Name, fld.Value)
			}
			switch fld.Name {
			case "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer", "proxy-connection":
				t.Fatalf("field %q goes on", fld.Name)
			}
		}
		again, err := parseResponse(writeResponse(&h))
		if err != nil {
			t.Fatalf("written as %q: %v", writeResponse(&h), err)
		}
		if diff := cmp.Diff(h, again, cmpopts.IgnoreUnexported(ResponseHead{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("read again (-first +second)\n%s", diff)
		}
	})
}

func BenchmarkResponseParse(b *testing.B) {
	const head = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: application/json; charset=utf-8\r\n" +
		"Content-Length: 1024\r\nConnection: keep-alive\r\nCache-Control: no-store\r\nX-Request-Id: 0123456789abcdef0123456789abcdef\r\n\r\n"
	buf := make([]byte, len(head))
	var h ResponseHead
	b.ReportAllocs()
	for b.Loop() {
		copy(buf, head)
		end, _, err := HeadEnd(buf, 0)
		if err != nil {
			b.Fatal(err)
		}
		if err := h.Parse(buf[:end]); err != nil {
			b.Fatal(err)
		}
	}
}
