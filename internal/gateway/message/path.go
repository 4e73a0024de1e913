package message

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// PathError says why a path or query is refused. It names the position, never
// the text: paths may hold what must not be logged.
type PathError struct {
	What string
	At   int
}

// Error gives the reason for an operator.
func (e *PathError) Error() string { return fmt.Sprintf("path: %s at byte %d", e.What, e.At) }

// pathClass tells what a byte may do in a path (RFC 3986 3.3).
type pathClass uint8

const (
	forbidden  pathClass = iota
	plain                // unreserved, or a sub-delimiter that all backends read alike
	slash                // ends a segment
	percent              // starts an encoded byte
	dot                  // plain, but a segment of dots is not
	semicolon            // plain for some, a parameter's start for others
	needEncode           // only as %XX
)

var pathClasses = func() (t [256]pathClass) {
	for c := range 256 {
		b := byte(c)
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9',
			strings.IndexByte("-_~!$&'()*+,=:@", b) >= 0:
			t[c] = plain
		case b == '.':
			t[c] = dot
		case b == '/':
			t[c] = slash
		case b == '%':
			t[c] = percent
		case b == ';':
			t[c] = semicolon
		case b == '"' || b == '<' || b == '>' || b == '^' || b == '`' || b == '{' || b == '|' || b == '}' || b == '[' || b == ']' || b == ' ':
			t[c] = needEncode
		}
	}
	return t
}()

// NormalizePath gives the one form of a path that is matched, judged and
// forwarded: percent-encodings of unreserved characters decoded, the hex digits
// of all others in upper case, runs of slashes merged. It refuses what backends
// are known to read in different ways: dot segments however written, encoded
// or bare control characters, backslashes, NUL, bytes that are no UTF-8,
// encodings of encodings, and characters that RFC 3986 does not allow bare.
// What a rule may ask for all the same comes back as oddities. raw must start
// with "/".
func NormalizePath(raw string) (string, Oddity, error) {
	if raw == "" || raw[0] != '/' {
		return "", 0, &PathError{"must start with /", 0}
	}
	seg := 0 // start of the current segment
	for i := range len(raw) {
		switch pathClasses[raw[i]] {
		case plain:
		case slash:
			if i > 0 && raw[i-1] == '/' {
				return normalizeSlow(raw)
			}
			if dotSegment(raw[seg:i]) {
				return "", 0, &PathError{"dot segment", seg}
			}
			seg = i + 1
		case dot:
		case percent, semicolon:
			return normalizeSlow(raw)
		case forbidden, needEncode:
			return "", 0, &PathError{"character that must be encoded or is forbidden", i}
		}
	}
	if dotSegment(raw[seg:]) {
		return "", 0, &PathError{"dot segment", seg}
	}
	return raw, 0, nil
}

// dotSegment reports whether s is "." or "..", or is so once a parameter is cut
// off ("..;x"): some servers cut it.
func dotSegment(s string) bool {
	if s == "" || s[0] != '.' {
		return false
	}
	if i := strings.IndexByte(s, ';'); i >= 0 {
		s = s[:i]
	}
	return s == "." || s == ".."
}

func normalizeSlow(raw string) (string, Oddity, error) {
	out := make([]byte, 0, len(raw))
	decoded := make([]byte, 0, len(raw)) // what a decoding backend sees
	var odd Oddity
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch pathClasses[c] {
		case plain, dot:
			out = append(out, c)
			decoded = append(decoded, c)
		case semicolon:
			odd |= PathParameter
			out = append(out, c)
			decoded = append(decoded, c)
		case slash:
			if len(out) > 0 && out[len(out)-1] == '/' {
				continue
			}
			out = append(out, c)
			decoded = append(decoded, c)
		case percent:
			b, ok := unhex(raw, i)
			if !ok {
				return "", 0, &PathError{"broken percent-encoding", i}
			}
			o, err := oddityOfByte(b, raw[i+3:], i)
			if err != nil {
				return "", 0, err
			}
			odd |= o
			switch cl := pathClasses[b]; {
			case o == 0 && (cl == plain && !reserved(b)):
				out = append(out, b)
			default:
				const hex = "0123456789ABCDEF"
				out = append(out, '%', hex[b>>4], hex[b&15])
			}
			decoded = append(decoded, b)
			i += 2
		case forbidden, needEncode:
			return "", 0, &PathError{"character that must be encoded or is forbidden", i}
		}
	}
	// Judged as a decoding backend would: "a%2F..%2Fb" climbs there.
	for segment := range strings.SplitSeq(string(decoded), "/") {
		if dotSegment(segment) {
			return "", 0, &PathError{"dot segment", 0}
		}
	}
	if !utf8.Valid(decoded) {
		return "", 0, &PathError{"bytes that are no UTF-8", 0}
	}
	return string(out), odd, nil
}

// reserved reports whether the encoded and the bare form of b differ in meaning
// (RFC 3986 2.2), so that an encoded one stays encoded.
func reserved(b byte) bool { return strings.IndexByte("!$&'()*+,=:@", b) >= 0 }

// oddityOfByte judges an encoded byte b; rest is what follows its encoding.
func oddityOfByte(b byte, rest string, at int) (Oddity, error) {
	switch {
	case b == 0:
		return 0, &PathError{"encoded NUL", at}
	case b < 0x20 || b == 0x7f:
		return 0, &PathError{"encoded control character", at}
	case b == '\\':
		return 0, &PathError{"encoded backslash", at}
	case b == '.':
		return 0, &PathError{"encoded dot", at}
	case b == '/':
		return EncodedSlash, nil
	case b == ';':
		return EncodedSemicolon, nil
	case b == '?':
		return EncodedQuestion, nil
	case b == '#':
		return EncodedHash, nil
	case b == '%':
		if len(rest) >= 2 && isHex(rest[0]) && isHex(rest[1]) {
			return 0, &PathError{"encoding of an encoding", at}
		}
		return EncodedPercent, nil
	}
	return 0, nil
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// unhex decodes the "%XX" at s[i].
func unhex(s string, i int) (byte, bool) {
	if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
		return 0, false
	}
	return nibble(s[i+1])<<4 | nibble(s[i+2]), true
}

func nibble(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

// ValidQuery reports whether s may stand behind "?": visible ASCII without "#"
// (browsers leave some characters bare there that RFC 3986 wants encoded), and
// no broken or control-character encodings.
func ValidQuery(s string) error {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || c == '#' {
			return &PathError{"query holds a forbidden character", i}
		}
		if c == '%' {
			b, ok := unhex(s, i)
			if !ok {
				return &PathError{"query holds a broken percent-encoding", i}
			}
			if b == 0 {
				return &PathError{"query holds an encoded NUL", i}
			}
		}
	}
	return nil
}

// SplitHost takes an authority apart into its normalised host and port. It
// refuses user information, blanks, more than one host, and whatever is neither
// a registered name, an IPv4 nor a bracketed IPv6 address.
func SplitHost(authority string) (host, port string, ok bool) {
	host = authority
	if strings.HasPrefix(authority, "[") {
		end := strings.IndexByte(authority, ']')
		if end < 0 {
			return "", "", false
		}
		host, port = authority[:end+1], authority[end+1:]
		if port != "" && port[0] != ':' {
			return "", "", false
		}
		if !validIPv6(host[1:end]) {
			return "", "", false
		}
	} else if i := strings.IndexByte(authority, ':'); i >= 0 {
		host, port = authority[:i], authority[i:]
	}
	if port != "" {
		port = port[1:]
		if !validPort(port) {
			return "", "", false
		}
	}
	lower := false
	if host == "" || len(host) > 255 {
		return "", "", false
	}
	if host[0] != '[' {
		for i := range len(host) {
			c := host[i]
			switch {
			case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			case c == '.':
				if i == 0 || host[i-1] == '.' {
					return "", "", false
				}
			case c >= 'A' && c <= 'Z':
				lower = true
			default:
				return "", "", false
			}
		}
		if host = strings.TrimSuffix(host, "."); host == "" {
			return "", "", false
		}
	} else {
		lower = true
	}
	if lower {
		host = strings.ToLower(host)
	}
	return host, port, true
}

func validPort(s string) bool {
	if s == "" || len(s) > 5 {
		return false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n > 0 && n < 1<<16 && s[0] != '0'
}

func validIPv6(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6() && a.Zone() == ""
}
