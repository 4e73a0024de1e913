package message

import (
	"slices"
	"strings"
)

// maxTrailerNames is how many trailer fields a client may announce; further
// ones are not taken note of.
const maxTrailerNames = 16

// announce takes note of the names in a Trailer field.
func (r *Request) announce(list string) {
	for name := range strings.SplitSeq(list, ",") {
		name = strings.ToLower(trimBlank(name))
		if len(r.TrailerNames) < maxTrailerNames && ValidName(name) && TrailerAllowed(name) && !slices.Contains(r.TrailerNames, name) {
			r.TrailerNames = append(r.TrailerNames, name)
		}
	}
}

// TrailerAllowed reports whether a field of that name (lower-case) may come
// behind a body: not one that frames, routes, authenticates or describes the
// content (RFC 9110 6.5.1), nor one that is dropped from outside anyway.
func TrailerAllowed(name string) bool {
	switch name {
	case "transfer-encoding", "content-length", "host", "trailer", "te", "connection", "upgrade", "keep-alive",
		"content-encoding", "content-type", "content-range", "authorization", "cookie", "set-cookie", "expect",
		"max-forwards", "cache-control", "age", "expires", "date", "location", "retry-after", "vary", "warning",
		"www-authenticate", "proxy-authenticate", "proxy-authorization", "proxy-connection", "pragma", "range", "if-match":
		return false
	}
	return !Untrusted(name)
}
