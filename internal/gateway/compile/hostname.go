package compile

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// hostnames are RFC 1123 names, with "*" as an optional first label.
var hostnames = regexp.MustCompile(`^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// hostname checks and lower-cases a name of a listener or route.
func hostname(s string) (string, error) {
	s = strings.ToLower(s)
	if len(s) > 253 || !hostnames.MatchString(s) {
		return "", fmt.Errorf("%q is no hostname", s)
	}
	if _, err := netip.ParseAddr(s); err == nil {
		return "", fmt.Errorf("%q is an IP address, not a hostname", s)
	}
	return s, nil
}

// preciseHostname is hostname without a wildcard.
func preciseHostname(s string) (string, error) {
	s, err := hostname(s)
	if err == nil && strings.HasPrefix(s, "*.") {
		return "", fmt.Errorf("%q must not be a wildcard", s)
	}
	return s, err
}

// covers reports whether every host that narrow stands for is one of wide's. An
// empty pattern stands for all hosts, "*.b" for every name that ends in ".b".
func covers(wide, narrow string) bool {
	switch {
	case wide == "" || wide == narrow:
		return true
	case narrow == "" || !strings.HasPrefix(wide, "*."):
		return false
	}
	return strings.HasSuffix(strings.TrimPrefix(narrow, "*"), wide[1:]) && len(narrow) > len(wide)-1
}

// intersect gives the pattern of the hosts that both stand for, and whether
// there are any: two patterns that overlap are always one inside the other.
func intersect(a, b string) (string, bool) {
	switch {
	case covers(a, b):
		return b, true
	case covers(b, a):
		return a, true
	}
	return "", false
}

// moreSpecific orders patterns by Gateway API's precedence: the longer exact
// part first, then the longer pattern.
func moreSpecific(a, b string) int {
	return cmp.Or(
		cmp.Compare(exactLen(b), exactLen(a)),
		cmp.Compare(len(b), len(a)),
		cmp.Compare(a, b),
	)
}

// exactLen is the length of a name without wildcard, else 0.
func exactLen(s string) int {
	if strings.HasPrefix(s, "*.") {
		return 0
	}
	return len(s)
}
