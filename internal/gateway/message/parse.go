package message

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
)

// ParseError is a request or response head that is refused. What is for
// operators: it names the rule broken, never the bytes.
type ParseError struct {
	// Status is the answer to a request: 400, 405, 414, 417, 431, 501 or 505.
	Status int
	What   string
}

// Error gives the reason for an operator.
func (e *ParseError) Error() string { return "http message: " + e.What }

func bad(what string) error { return &ParseError{http.StatusBadRequest, what} }

// MaxTarget is the longest request target in bytes.
const MaxTarget = 8 << 10

// MaxFields is the largest number of header fields of a request.
const MaxFields = 128

// HeadEnd looks for the end of a message head in buf, from byte from on, which
// must be the start of a line or an earlier result's next. It gives the length
// of the head with its empty line, or 0 and where to go on when more bytes have
// come. A line that ends without CR is an error at once, not a reason to wait.
func HeadEnd(buf []byte, from int) (end, next int, err error) {
	for {
		i := bytes.IndexByte(buf[from:], '\n')
		if i < 0 {
			return 0, from, nil
		}
		if i == 0 || buf[from+i-1] != '\r' {
			return 0, 0, bad("line ends without CR")
		}
		from += i + 1
		if i == 1 {
			return from, from, nil
		}
	}
}

// Parse fills r from a whole HTTP/1.1 request head, its empty line included, as
// HeadEnd found it. It lower-cases field names inside head. Scheme says whether
// the connection is under TLS. On error r is not usable and the connection must
// end: nobody knows where the next request would begin.
//
// Fields that belong to this hop are taken out and told by r's own fields;
// fields that claim what only the gateway may say (see Untrusted) are dropped.
func (r *Request) Parse(head []byte, scheme string) error {
	fields := r.Header[:0]
	*r = Request{Scheme: scheme, Header: fields}
	eol := bytes.IndexByte(head, '\n')
	if eol < 1 || head[eol-1] != '\r' {
		return bad("line ends without CR")
	}
	starts := eol + 1
	if err := lowerNames(head[starts:]); err != nil {
		return err
	}
	text := string(head) // the one allocation: every field is a part of it
	target, err := r.requestLine(text[:eol-1])
	if err != nil {
		return err
	}
	var h hop
	for rest := text[starts:]; len(rest) > 2; {
		i := strings.IndexByte(rest, '\n')
		line := rest[:i-1]
		rest = rest[i+1:]
		colon := strings.IndexByte(line, ':')
		if err := r.field(line[:colon], trimBlank(line[colon+1:]), &h); err != nil {
			return err
		}
	}
	return r.finish(target, &h)
}

// lowerNames checks the field lines of a head and lower-cases their names in
// place.
func lowerNames(b []byte) error {
	n := 0
	for i := 0; ; {
		if i+1 < len(b) && b[i] == '\r' && b[i+1] == '\n' {
			if i+2 != len(b) {
				return bad("bytes behind the head")
			}
			return nil
		}
		if n++; n > MaxFields {
			return &ParseError{http.StatusRequestHeaderFieldsTooLarge, "too many header fields"}
		}
		start := i
		for i < len(b) && lowerToken[b[i]] != 0 {
			b[i] = lowerToken[b[i]]
			i++
		}
		switch {
		case i >= len(b):
			return bad("header field without end")
		case i == start && isBlank(b[i]):
			return bad("folded header line")
		case b[i] != ':' || i == start:
			return bad("header name with a forbidden character")
		}
		eol := bytes.IndexByte(b[i:], '\n')
		if eol < 1 || b[i+eol-1] != '\r' {
			return bad("line ends without CR")
		}
		if !cleanValue(b[i : i+eol-1]) {
			return bad("control character in a header value")
		}
		i += eol + 1
	}
}

func trimBlank(s string) string {
	for s != "" && isBlank(s[0]) {
		s = s[1:]
	}
	for s != "" && isBlank(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// requestLine reads "method target HTTP/1.x", one space between each.
func (r *Request) requestLine(line string) (target string, err error) {
	method, rest, ok := strings.Cut(line, " ")
	if !ok || !ValidToken(method) {
		return "", bad("malformed method")
	}
	target, version, ok := strings.Cut(rest, " ")
	if !ok || target == "" {
		return "", bad("malformed request line")
	}
	if len(target) > MaxTarget {
		return "", &ParseError{http.StatusRequestURITooLong, "request target too long"}
	}
	switch version {
	case "HTTP/1.1":
		r.Proto = 11
	case "HTTP/1.0":
		r.Proto, r.Close = 10, true
	default:
		if len(version) == 8 && strings.HasPrefix(version, "HTTP/") {
			return "", &ParseError{http.StatusHTTPVersionNotSupported, "protocol version"}
		}
		if target[0] != '/' && !strings.Contains(version, "HTTP/") {
			// Another protocol, or an HTTP/2 client with a broken preface: an
			// HTTP/1.1 answer would mean nothing to it (RFC 9113 3.4).
			return "", &ParseError{0, "not HTTP"}
		}
		return "", bad("malformed request line")
	}
	r.Method = method
	return target, nil
}

// hop collects what the fields of this hop say, until finish judges it.
type hop struct {
	host, length, coding, upgrade    string
	hosts, lengths, codings, expects int
	connection                       []string
	connUpgrade, connClose, hasK     bool
}

func (r *Request) field(name, value string, h *hop) error {
	switch name {
	case "host":
		h.host = value
		h.hosts++
	case "content-length":
		h.length = value
		h.lengths++
	case "transfer-encoding":
		h.coding = value
		h.codings++
	case "connection":
		return h.options(value)
	case "upgrade":
		if h.upgrade != "" {
			return bad("more than one Upgrade")
		}
		h.upgrade = value
	case "expect":
		h.expects++
		if !strings.EqualFold(value, "100-continue") || h.expects > 1 {
			return &ParseError{http.StatusExpectationFailed, "unknown expectation"}
		}
		r.Expect = true
	case "te":
		for t := range strings.SplitSeq(value, ",") {
			r.Trailers = r.Trailers || strings.EqualFold(trimBlank(t), "trailers")
		}
	case "trailer":
		r.announce(value)
	case "keep-alive", "proxy-connection", "http2-settings", "proxy-authorization", "proxy-authenticate":
	default:
		if !Untrusted(name) {
			r.Header = append(r.Header, Field{name, value})
		}
	}
	return nil
}

// options reads a Connection field. Naming a field there makes it one of this
// hop, so it is taken out before anything is judged; naming one that frames or
// routes the message is an attack.
func (h *hop) options(value string) error {
	switch value {
	case "keep-alive", "Keep-Alive":
		h.hasK = true
		return nil
	case "close":
		h.connClose = true
		return nil
	}
	for o := range strings.SplitSeq(value, ",") {
		o = strings.ToLower(trimBlank(o))
		switch o {
		case "":
		case "close":
			h.connClose = true
		case "keep-alive":
			h.hasK = true
		case "upgrade":
			h.connUpgrade = true
		case "te", "http2-settings", "proxy-connection", "trailer":
		case "host", "content-length", "transfer-encoding", "connection", "content-type", "content-encoding":
			return bad("Connection names a field that frames the message")
		default:
			if !ValidName(o) {
				return bad("malformed Connection")
			}
			if len(h.connection) == 16 {
				return bad("Connection names too many fields")
			}
			h.connection = append(h.connection, o)
		}
	}
	return nil
}

// finish judges what the fields said together: framing first, then host and
// target.
func (r *Request) finish(target string, h *hop) error {
	if err := r.framing(h); err != nil {
		return err
	}
	for _, name := range h.connection {
		r.Header.Del(name)
	}
	if h.connClose {
		r.Close = true
	} else if r.Proto == 10 && h.hasK {
		r.Close = false
	}
	if h.hosts != 1 {
		return bad("not exactly one Host")
	}
	host, port, ok := SplitHost(h.host)
	if !ok {
		return bad("malformed Host")
	}
	r.Host, r.Port, r.authority = host, port, h.host
	if err := r.SetTarget(target); err != nil {
		return err
	}
	return r.upgrade(h)
}

func (r *Request) framing(h *hop) error {
	switch {
	case h.codings > 0 && h.lengths > 0:
		return bad("both Content-Length and Transfer-Encoding")
	case h.codings > 1 || h.codings == 1 && !strings.EqualFold(h.coding, "chunked"):
		return &ParseError{http.StatusNotImplemented, "transfer coding other than chunked"}
	case h.codings == 1 && r.Proto != 11:
		return bad("Transfer-Encoding in HTTP/1.0")
	case h.codings == 1:
		r.ContentLength = -1
	case h.lengths > 1:
		return bad("more than one Content-Length")
	case h.lengths == 1:
		n, ok := ParseLength(h.length)
		if !ok {
			return bad("malformed Content-Length")
		}
		r.ContentLength = n
	}
	return nil
}

// ParseLength reads a Content-Length: digits only, at most 2^62.
func ParseLength(s string) (int64, bool) {
	if s == "" || len(s) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

// upgrade admits what may leave HTTP on this connection: WebSocket and such, by
// GET without a body. "h2c" is ignored, as RFC 9110 7.8 allows: HTTP/2 without
// TLS starts by prior knowledge only.
func (r *Request) upgrade(h *hop) error {
	if !h.connUpgrade || h.upgrade == "" || r.Proto != 11 {
		return nil
	}
	proto := strings.ToLower(h.upgrade)
	if proto == "h2c" {
		return nil
	}
	if !ValidToken(strings.Replace(proto, "/", "", 1)) {
		return bad("malformed Upgrade")
	}
	if r.Method != http.MethodGet || r.ContentLength != 0 {
		return bad("Upgrade with a method or body that has none")
	}
	r.Upgrade = proto
	return nil
}

// SetTarget reads a request target (RFC 9112 3.2) into Path and Query. The
// absolute form must name the scheme and host that the request came by; the
// authority form, that is CONNECT, is refused.
func (r *Request) SetTarget(target string) error {
	if r.Method == http.MethodConnect {
		return &ParseError{http.StatusMethodNotAllowed, "CONNECT"}
	}
	if target == "*" {
		if r.Method != http.MethodOptions {
			return bad("target * without OPTIONS")
		}
		r.Path = "*"
		return nil
	}
	if target == "" {
		return bad("empty target")
	}
	if target[0] != '/' {
		rest, ok := cutFold(target, r.Scheme+"://")
		if !ok {
			return bad("target is neither a path nor a URL of this scheme")
		}
		end := strings.IndexAny(rest, "/?")
		if end < 0 {
			end = len(rest)
		}
		host, port, ok := SplitHost(rest[:end])
		if !ok || host != r.Host || port != r.Port {
			return bad("target names another host than Host")
		}
		if target = rest[end:]; target == "" || target[0] == '?' {
			target = "/" + target
		}
	}
	path, query, has := strings.Cut(target, "?")
	p, odd, err := NormalizePath(path)
	if err != nil {
		return &ParseError{http.StatusBadRequest, err.Error()}
	}
	if err := ValidQuery(query); err != nil {
		return &ParseError{http.StatusBadRequest, err.Error()}
	}
	r.Path, r.Oddities, r.Query, r.HasQuery = p, odd, query, has
	return nil
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// String describes the request for an operator's log, without query and fields.
func (r *Request) String() string { return fmt.Sprintf("%s %s%s", r.Method, r.Host, r.Path) }
