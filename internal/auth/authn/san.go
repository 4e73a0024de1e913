package authn

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// The kinds of subject alternative names (RFC 5280 4.2.1.6) that rules know.
const (
	SANDNS   = "DNS"
	SANURI   = "URI"
	SANEmail = "Email"
	SANIP    = "IP"
)

// SAN is one accepted subject alternative name.
type SAN struct {
	// Type is one of SANDNS, SANURI, SANEmail and SANIP.
	Type string
	// Value is compared exactly. For DNS, a leading "*." stands for one label;
	// for URI, a trailing "/*" for at least one path segment.
	Value string
	// Roles are given to whom the rule matched.
	Roles []string
}

// altName is one name of a certificate, as its bytes say and not as a parser
// rewrote it.
type altName struct{ kind, value string }

func (r SAN) check() error {
	bad := r.Value == ""
	switch r.Type {
	case SANDNS:
		bad = bad || !dnsName(strings.TrimPrefix(r.Value, "*."))
	case SANURI:
		bad = bad || !strings.Contains(r.Value, ":") || strings.Contains(strings.TrimSuffix(r.Value, "/*"), "*")
	case SANEmail:
		bad = bad || strings.Count(r.Value, "@") != 1
	case SANIP:
		_, err := netip.ParseAddr(r.Value)
		bad = bad || err != nil
	default:
		return fmt.Errorf("unknown type %q of subject alternative name", r.Type)
	}
	if bad {
		return fmt.Errorf("%q is not a subject alternative name of type %s", r.Value, r.Type)
	}
	return nil
}

// match reports whether a name of a certificate satisfies the rule.
func (r SAN) match(n altName) bool {
	if n.kind != r.Type {
		return false
	}
	switch r.Type {
	case SANDNS:
		if rest, wild := strings.CutPrefix(r.Value, "*."); wild {
			label, domain, _ := strings.Cut(n.value, ".")
			return dnsName(label) && strings.EqualFold(domain, rest)
		}
		return strings.EqualFold(n.value, r.Value)
	case SANURI:
		if prefix, wild := strings.CutSuffix(r.Value, "*"); wild {
			rest, ok := strings.CutPrefix(n.value, prefix)
			return ok && plainPath(rest)
		}
	case SANIP:
		a, errA := netip.ParseAddr(n.value)
		b, errB := netip.ParseAddr(r.Value)
		return errA == nil && errB == nil && a.Unmap() == b.Unmap()
	}
	return n.value == r.Value
}

// dnsName reports whether s is labels of letters, digits, "-" and "_".
func dnsName(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for i := range len(label) {
			c := label[i] | 0x20
			if (c < 'a' || c > 'z') && (label[i] < '0' || label[i] > '9') && label[i] != '-' && label[i] != '_' {
				return false
			}
		}
	}
	return true
}

// plainPath reports whether s is path segments that nobody reads in two ways:
// none empty, "." or "..", nothing encoded, no query.
func plainPath(s string) bool {
	for seg := range strings.SplitSeq(s, "/") {
		if seg == "" || seg == "." || seg == ".." || strings.ContainsAny(seg, `%?#\;`) {
			return false
		}
	}
	return true
}

// altNames reads the subject alternative names from a certificate's bytes. Any
// byte that is not printable ASCII refuses the certificate: NUL has hidden the
// end of names from C programs (CVE-2026-47778).
func altNames(cert *x509.Certificate) ([]altName, error) {
	oid := asn1.ObjectIdentifier{2, 5, 29, 17}
	var out []altName
	for _, ext := range cert.Extensions {
		if !ext.Id.Equal(oid) {
			continue
		}
		der := cryptobyte.String(ext.Value)
		var seq cryptobyte.String
		if !der.ReadASN1(&seq, cryptobyteasn1.SEQUENCE) || !der.Empty() {
			return nil, errors.New("the subject alternative names cannot be read")
		}
		for !seq.Empty() {
			var v cryptobyte.String
			var tag cryptobyteasn1.Tag
			if !seq.ReadAnyASN1(&v, &tag) {
				return nil, errors.New("the subject alternative names cannot be read")
			}
			n, err := altNameOf(tag, v)
			if err != nil {
				return nil, err
			}
			if n.kind != "" {
				out = append(out, n)
			}
		}
	}
	return out, nil
}

func altNameOf(tag cryptobyteasn1.Tag, v []byte) (altName, error) {
	n := altName{value: string(v)}
	// GeneralName (RFC 5280 4.2.1.6): context-specific, primitive.
	const rfc822Name, dNSName, uniformResourceIdentifier, iPAddress = 0x81, 0x82, 0x86, 0x87
	switch uint8(tag) {
	case rfc822Name:
		n.kind = SANEmail
	case dNSName:
		n.kind, n.value = SANDNS, strings.ToLower(n.value)
	case uniformResourceIdentifier:
		n.kind = SANURI
	case iPAddress:
		a, ok := netip.AddrFromSlice(v)
		if !ok {
			return altName{}, errors.New("an IP address among the subject alternative names has a wrong length")
		}
		return altName{kind: SANIP, value: a.Unmap().String()}, nil
	default:
		return altName{}, nil // other names: no rule can ask for them
	}
	for i := range len(v) {
		if v[i] <= ' ' || v[i] >= 0x7f {
			return altName{}, fmt.Errorf("a subject alternative name holds the byte 0x%02x", v[i])
		}
	}
	return n, nil
}
