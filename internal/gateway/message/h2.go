package message

import (
	"net/http"
	"slices"
	"strings"
)

// FromHTTP2 fills r from a stream that net/http's HTTP/2 server read, with the
// same judgement and the same dropping of fields as Parse. The scheme is that
// of the connection, whatever ":scheme" says.
func (r *Request) FromHTTP2(in *http.Request, scheme string) error {
	fields := r.Header[:0]
	*r = Request{Method: in.Method, Scheme: scheme, Proto: 20, Header: fields, ContentLength: in.ContentLength}
	if !ValidToken(in.Method) {
		return bad("malformed method")
	}
	if in.Method == http.MethodConnect {
		return &ParseError{http.StatusMethodNotAllowed, "CONNECT"}
	}
	if len(in.RequestURI) > MaxTarget {
		return &ParseError{http.StatusRequestURITooLong, "request target too long"}
	}
	if v := in.Header["Host"]; len(v) > 1 || len(v) == 1 && v[0] != in.Host {
		return bad("Host differs from :authority")
	}
	if v := in.Header["Content-Length"]; len(v) > 1 {
		return bad("more than one Content-Length")
	} else if len(v) == 1 {
		if n, ok := ParseLength(v[0]); !ok || n != in.ContentLength {
			return bad("malformed Content-Length")
		}
	}
	var ok bool
	if r.Host, r.Port, ok = SplitHost(in.Host); !ok {
		return bad("malformed :authority")
	}
	if in.RequestURI != "*" && !strings.HasPrefix(in.RequestURI, "/") {
		return bad(":path is not a path")
	}
	if err := r.SetTarget(in.RequestURI); err != nil {
		return err
	}
	names := make([]string, 0, len(in.Header))
	for name := range in.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := r.addHTTP2(strings.ToLower(name), in.Header[name]); err != nil {
			return err
		}
	}
	// net/http has taken the names out of the fields and refused forbidden ones.
	for name := range in.Trailer {
		r.announce(name)
	}
	slices.Sort(r.TrailerNames)
	if in.ContentLength != 0 && in.Body != nil && in.Body != http.NoBody {
		r.Body = &http2Body{r: r, in: in}
	} else {
		r.ContentLength = 0
	}
	return nil
}

func (r *Request) addHTTP2(name string, values []string) error {
	if name == "cookie" && len(values) > 1 {
		values = []string{strings.Join(values, "; ")} // RFC 9113 8.2.3
	}
	for _, v := range values {
		if !ValidName(name) || !ValidValue(v) {
			return bad("header field with a forbidden character")
		}
		switch name {
		case "host", "content-length", "expect", "keep-alive", "trailer", "http2-settings", "proxy-authorization", "proxy-authenticate":
		case "connection", "transfer-encoding", "upgrade", "proxy-connection":
			return bad("connection-specific field in HTTP/2")
		case "te":
			r.Trailers = r.Trailers || v == "trailers"
		default:
			if len(r.Header) == MaxFields {
				return &ParseError{http.StatusRequestHeaderFieldsTooLarge, "too many header fields"}
			}
			if !Untrusted(name) {
				r.Header = append(r.Header, Field{name, v})
			}
		}
	}
	return nil
}

// http2Body reads a stream's body and, at its end, takes over the trailers.
type http2Body struct {
	r  *Request
	in *http.Request
}

// Close ends the reading: a Read that waits gives up.
func (b *http2Body) Close() error { return b.in.Body.Close() }

func (b *http2Body) Read(p []byte) (int, error) {
	n, err := b.in.Body.Read(p)
	if err != nil && b.r.Trailer == nil {
		for name, values := range b.in.Trailer {
			lower := strings.ToLower(name)
			if !TrailerAllowed(lower) {
				continue
			}
			for _, v := range values {
				if ValidName(lower) && ValidValue(v) {
					b.r.Trailer.Add(lower, v)
				}
			}
		}
		slices.SortStableFunc(b.r.Trailer, func(a, c Field) int { return strings.Compare(a.Name, c.Name) })
	}
	return n, err
}
