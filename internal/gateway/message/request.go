package message

import (
	"io"
	"net/http"
	"time"
)

// Request is one request after the strict parse and the one normalisation. Its
// strings are valid for as long as anyone holds them; the struct itself is
// reused by the connection once the exchange is over.
type Request struct {
	// Method is a token, in the case it came in (methods are case-sensitive).
	Method string
	// Scheme is "http" or "https": whether this hop came over TLS.
	Scheme string
	// Host is the authority without port: lower-case, without a trailing dot;
	// IPv6 addresses in brackets.
	Host string
	// Port is what stood behind the host, or "".
	Port string
	// Path is absolute and normalised (NormalizePath), still percent-encoded.
	// "*" only for OPTIONS.
	Path string
	// Query is what followed "?", as it came; HasQuery tells "" from absent.
	Query    string
	HasQuery bool
	// Oddities are the ambiguous things the path holds, which a rule must have
	// asked for (ir.Form.AllowEncoded).
	Oddities Oddity

	// Proto is 10, 11 or 20.
	Proto  int
	Header Header
	// ContentLength is the number of body bytes, or -1 where only the end of
	// the body tells.
	ContentLength int64
	// Body is nil where there is none. Reading past the limit set by LimitBody
	// gives ErrBodyTooLarge.
	Body io.Reader
	// Trailer is filled at the end of Body. Only names that may be trailers
	// are in it.
	Trailer Header
	// TrailerNames are the fields that the client announced for Trailer
	// (RFC 9110 6.6.2), of those that may be there. HTTP/2 backends get no other.
	TrailerNames []string
	// Close says that the connection ends after this exchange.
	Close bool
	// Upgrade is the protocol asked for with "Connection: upgrade",
	// lower-case, or "".
	Upgrade string
	// Expect says that the client waits for 100 (Continue) before its body.
	Expect bool
	// Trailers says that the client accepts trailers ("TE: trailers").
	Trailers bool

	authority string // as it came, for Authority to give back without a copy
}

// Authority is Host with Port, as forwarded.
func (r *Request) Authority() string {
	if r.Port == "" {
		return r.Host
	}
	if n := len(r.Host); len(r.authority) == n+1+len(r.Port) && r.authority[:n] == r.Host && r.authority[n+1:] == r.Port {
		return r.authority
	}
	return r.Host + ":" + r.Port
}

// Target is Path with the query: what stands in the request line.
func (r *Request) Target() string {
	if !r.HasQuery {
		return r.Path
	}
	return r.Path + "?" + r.Query
}

// Safe reports whether the method only reads (RFC 9110 9.2.1).
func (r *Request) Safe() bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

// Idempotent reports whether the request may be sent twice (RFC 9110 9.2.2).
func (r *Request) Idempotent() bool {
	return r.Safe() || r.Method == http.MethodPut || r.Method == http.MethodDelete
}

// Response is one response on its way to the client. Header holds no
// hop-by-hop field: framing is told by ContentLength alone.
type Response struct {
	Status int
	Header Header
	// ContentLength is the number of body bytes, or -1 where it is not known in
	// advance. With a HEAD request or status 304 it is what the header said,
	// with no Body.
	ContentLength int64
	// Body is nil where there is none. It must be read to its end or closed.
	Body Body
	// Upgraded is the backend's connection after 101 (Switching Protocols).
	Upgraded Duplex
}

// Duplex is a connection that carries bytes both ways, whose directions end one
// by one. It must remain usable when its read deadline fires.
type Duplex interface {
	io.ReadWriteCloser
	// CloseWrite tells the peer that nothing more will come.
	CloseWrite() error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// Body is the body of a response.
type Body interface {
	io.Reader
	// Buffered gives the bytes that are already there, without reading from the
	// network, and counts them as read. It may give nil.
	Buffered() []byte
	// Trailer gives the trailer fields after Read gave io.EOF.
	Trailer() Header
	// Close gives the connection back, or closes it when unread bytes remain.
	Close() error
}

// Oddity is a set of things that may stand in a path but that backends read in
// different ways.
type Oddity uint8

// The oddities.
const (
	EncodedSlash     Oddity = 1 << iota // %2F
	EncodedSemicolon                    // %3B
	EncodedQuestion                     // %3F
	EncodedHash                         // %23
	EncodedPercent                      // %25
	PathParameter                       // ;
)

// OddityOf maps the notation of SecurityPolicy's request.allowEncoded to its
// oddity, and anything else to 0.
func OddityOf(s string) Oddity {
	switch s {
	case "%2F":
		return EncodedSlash
	case "%3B":
		return EncodedSemicolon
	case "%3F":
		return EncodedQuestion
	case "%23":
		return EncodedHash
	case "%25":
		return EncodedPercent
	case ";":
		return PathParameter
	}
	return 0
}
