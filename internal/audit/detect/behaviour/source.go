package behaviour

import (
	"net/netip"
	"slices"
	"strings"
)

// Source gives the address that a request came from, of those that an API server
// writes. The last one is the connection's own. All before it are what the client, or
// proxies, said in headers, so that one is believed only where the one after it is an
// address of a proxy of ours.
func (n *Network) Source(addresses []string) (netip.Addr, bool) {
	var source netip.Addr
	for _, text := range slices.Backward(addresses) {
		a, err := netip.ParseAddr(text)
		if err != nil {
			break // what stands before it was said by who wrote this
		}
		source = a.Unmap().WithZone("")
		if !within(n.Proxies, source) {
			break
		}
	}
	return source, source.IsValid()
}

func within(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Of gives the network of an address.
func (n *Network) Of(a netip.Addr) netip.Prefix {
	for _, p := range n.Together {
		if p.Contains(a) {
			return p
		}
	}
	size := n.IPv6
	if a.Is4() {
		size = n.IPv4
	}
	p, err := a.Prefix(size)
	if err != nil {
		return netip.PrefixFrom(a, a.BitLen()) // Parse has checked the sizes
	}
	return p
}

// appendNetwork appends a network in a short form.
func appendNetwork(dst []byte, p netip.Prefix) []byte {
	a := p.Addr()
	if a.Is4() {
		b := a.As4()
		return append(append(dst, 4, byte(p.Bits())), b[:]...) //nolint:gosec // at most 32
	}
	b := a.As16()
	return append(append(dst, 6, byte(p.Bits())), b[:]...) //nolint:gosec // at most 128
}

// maxClient is how many bytes of a client's name are remembered.
const maxClient = 96

// AppendClient appends what a user agent says of the program and of the system that it
// runs on, without versions and builds: of
// "kubectl/v1.33.2 (linux/amd64) kubernetes/7a2f4b1" it is "kubectl linux/amd64".
func AppendClient(dst []byte, agent string) []byte {
	from := len(dst)
	product, rest := agent, ""
	if i := strings.IndexAny(agent, " ("); i >= 0 {
		product, rest = agent[:i], agent[i:]
	}
	if i := strings.IndexByte(product, '/'); i > 0 {
		product = product[:i]
	}
	dst = appendName(dst, product)
	if _, note, ok := strings.Cut(rest, "("); ok && strings.TrimSpace(rest[:len(rest)-len(note)-1]) == "" {
		if i := strings.IndexAny(note, ";)"); i >= 0 {
			note = note[:i]
		}
		for word := range strings.FieldsSeq(note[:min(len(note), maxClient)]) {
			if !hasLetter(word) {
				continue
			}
			if len(dst) > from {
				dst = append(dst, ' ')
			}
			dst = appendLower(dst, word)
		}
	}
	if len(dst) > from+maxClient {
		dst = dst[:from+maxClient]
	}
	return dst
}

// appendName appends a word in small letters without the version at its end, and of
// what hyphens separate only what is no build: neither a version nor a hash.
func appendName(dst []byte, word string) []byte {
	word = word[:min(len(word), maxClient)]
	from := len(dst)
	for more := true; more; {
		var part string
		part, word, more = strings.Cut(word, "-")
		if part = unversioned(part); part == "" {
			continue
		}
		if len(dst) > from {
			dst = append(dst, '-')
		}
		dst = appendLower(dst, part)
	}
	return dst
}

func appendLower(dst []byte, text string) []byte {
	for _, c := range []byte(text) {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// minHash is from how many digits on a hexadecimal number is a build's.
const minHash = 6

// unversioned cuts a version off the end of a part, and gives nothing of a part that is
// a version or a hash.
func unversioned(part string) string {
	digits, others := 0, 0
	for _, c := range []byte(part) {
		switch {
		case '0' <= c && c <= '9':
			digits++
		case c < 'a' || c > 'f':
			others++
		}
	}
	if digits == 0 {
		return part
	}
	if others == 0 && len(part) >= minHash {
		return ""
	}
	rest := strings.TrimRight(part, "0123456789.")
	if len(rest) < len(part) {
		rest = strings.TrimRight(rest, "._")
		if rest == "v" || rest == "V" {
			return ""
		}
	}
	return rest
}

// hasLetter tells the words of a system's name from its versions.
func hasLetter(word string) bool {
	for _, c := range []byte(word) {
		if c|0x20 >= 'a' && c|0x20 <= 'z' {
			return true
		}
	}
	return false
}
