package message

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"strings"
)

// MaxResponseFields is the largest number of header fields of a response.
const MaxResponseFields = 256

// ResponseHead is the head of one response, as a backend sent it over HTTP/1.
// Reuse one for many responses: it keeps its memory, but not its strings.
type ResponseHead struct {
	// Proto is 10 or 11.
	Proto int
	// Status is 100 to 599.
	Status int
	// Header holds the fields that go on to the client: no field of this hop
	// and no field that frames the body.
	Header Header
	// ContentLength is what Content-Length said, or -1.
	ContentLength int64
	// Chunked says that the body comes in the chunked coding.
	Chunked bool
	// Close says that the backend ends the connection after this response.
	Close bool
	// Upgrade is the protocol switched to, lower-case, where Connection and
	// Upgrade say so; else "".
	Upgrade string

	spans []span
}

// span is where one field stands in a head.
type span struct{ name, colon, value, end int }

func badResponse(what string) error { return &ParseError{http.StatusBadGateway, what} }

// Parse fills h from a whole response head, its empty line included, as HeadEnd
// found it. It lower-cases field names inside head and appends the fields to
// h.Header[:0]. What two readers could understand in two ways is an error
// (RFC 9112 6.3, 11.2): the connection must then end, and nothing of the
// response may reach the client.
func (h *ResponseHead) Parse(head []byte) error {
	*h = ResponseHead{Header: h.Header[:0], spans: h.spans[:0], ContentLength: -1}
	start, err := h.statusLine(head)
	if err != nil {
		return err
	}
	if err := h.scan(head, start); err != nil {
		return err
	}
	text := string(head) // the one allocation: every field is a part of it
	var hop responseHop
	for _, s := range h.spans {
		name, value := text[s.name:s.colon], text[s.value:s.end]
		if mine, err := hop.field(name, value); err != nil {
			return err
		} else if !mine {
			h.Header = append(h.Header, Field{name, value})
		}
	}
	return h.finish(&hop)
}

// statusLine reads "HTTP/1.x nnn reason" and gives the start of the next line.
// The reason is checked and dropped. The space before an absent reason may be
// missing: there is nothing to mistake.
func (h *ResponseHead) statusLine(b []byte) (int, error) {
	eol := bytes.IndexByte(b, '\n')
	if eol < 1 || b[eol-1] != '\r' {
		return 0, badResponse("line ends without CR")
	}
	line := b[:eol-1]
	if len(line) < len("HTTP/1.1 200") || string(line[:7]) != "HTTP/1." || line[8] != ' ' {
		return 0, badResponse("malformed status line")
	}
	switch line[7] {
	case '1':
		h.Proto = 11
	case '0':
		h.Proto = 10
	default:
		return 0, badResponse("protocol version")
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return 0, badResponse("malformed status")
		}
		h.Status = h.Status*10 + int(c-'0')
	}
	if h.Status < 100 || h.Status > 599 {
		return 0, badResponse("status out of range")
	}
	if len(line) > 12 && (line[12] != ' ' || !cleanValue(line[13:])) {
		return 0, badResponse("malformed status line")
	}
	return eol + 1, nil
}

// scan checks the field lines from start on, lower-cases their names in place
// and notes where they stand.
func (h *ResponseHead) scan(b []byte, start int) error {
	for i := start; ; {
		eol := bytes.IndexByte(b[i:], '\n')
		switch {
		case eol < 1 || b[i+eol-1] != '\r':
			return badResponse("line ends without CR")
		case eol == 1:
			if i+2 != len(b) {
				return badResponse("bytes behind the head")
			}
			return nil
		case len(h.spans) == MaxResponseFields:
			return badResponse("too many header fields")
		case isBlank(b[i]):
			return badResponse("folded header line")
		}
		s := span{name: i, end: i + eol - 1}
		for i < s.end && lowerToken[b[i]] != 0 {
			b[i] = lowerToken[b[i]]
			i++
		}
		if i == s.name || b[i] != ':' { // b[s.end] is the line's CR
			return badResponse("header name with a forbidden character")
		}
		s.colon, s.value = i, i+1
		i = s.end + 2
		for s.value < s.end && isBlank(b[s.value]) {
			s.value++
		}
		for s.end > s.value && isBlank(b[s.end-1]) {
			s.end--
		}
		if !cleanValue(b[s.value:s.end]) {
			return badResponse("control character in a header value")
		}
		h.spans = append(h.spans, s)
	}
}

// responseHop collects what the fields of this hop say.
type responseHop struct {
	length, coding, upgrade    string
	lengths, codings, upgrades int
	close, connUpgrade         bool
	named                      []string
}

// field tells whether a field belongs to this hop or frames the body.
func (hop *responseHop) field(name, value string) (mine bool, err error) {
	switch name {
	case "content-length":
		if hop.lengths++; hop.lengths > 1 && value != hop.length {
			return true, badResponse("Content-Lengths that differ")
		}
		hop.length = value
	case "transfer-encoding":
		hop.coding = value
		hop.codings++
	case "upgrade":
		hop.upgrade = value
		hop.upgrades++
	case "connection":
		return true, hop.options(value)
	case "keep-alive", "proxy-connection", "te", "trailer", "proxy-authenticate", "proxy-authorization", "http2-settings":
	default:
		return false, nil
	}
	return true, nil
}

// options reads a Connection field: what it names goes no further.
func (hop *responseHop) options(value string) error {
	for o := range strings.SplitSeq(value, ",") {
		switch o = strings.ToLower(trimBlank(o)); o {
		case "", "keep-alive":
		case "close":
			hop.close = true
		case "upgrade":
			hop.connUpgrade = true
		default:
			if !ValidName(o) {
				return badResponse("malformed Connection")
			}
			if len(hop.named) == 16 {
				return badResponse("Connection names too many fields")
			}
			hop.named = append(hop.named, o)
		}
	}
	return nil
}

// finish judges what the fields said together.
func (h *ResponseHead) finish(hop *responseHop) error {
	switch {
	case hop.codings > 0 && hop.lengths > 0:
		return badResponse("both Content-Length and Transfer-Encoding")
	case hop.codings > 1 || hop.codings == 1 && !strings.EqualFold(hop.coding, "chunked"):
		return badResponse("transfer coding other than chunked")
	case hop.codings == 1 && h.Proto != 11:
		return badResponse("Transfer-Encoding in HTTP/1.0")
	case h.Status < 200 && hop.codings+hop.lengths > 0, h.Status == http.StatusNoContent && hop.codings > 0:
		return badResponse("framing in a response that has no body")
	case hop.lengths > 0:
		n, ok := ParseLength(hop.length)
		if !ok {
			return badResponse("malformed Content-Length")
		}
		if h.Status == http.StatusNoContent && n > 0 {
			return badResponse("framing in a response that has no body")
		}
		h.ContentLength = n
	}
	h.Chunked = hop.codings == 1
	h.Close = hop.close || h.Proto == 10
	if hop.connUpgrade && hop.upgrades == 1 {
		h.Upgrade = strings.ToLower(hop.upgrade)
	}
	for _, name := range hop.named {
		h.Header.Del(name)
	}
	return nil
}

// cleanValue reports whether b has nothing but bytes of a field value. It looks
// at eight at a time; where one of the eight is below a space it looks closer,
// for that may be a tab.
func cleanValue(b []byte) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		del := x ^ 0x7f*ones
		if ((x-0x20*ones)&^x|(del-ones)&^del)&highs != 0 {
			for _, c := range b[:8] {
				if !valueByte(c) {
					return false
				}
			}
		}
		b = b[8:]
	}
	for _, c := range b {
		if !valueByte(c) {
			return false
		}
	}
	return true
}
