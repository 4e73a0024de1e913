package redact

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"strings"
	"unicode/utf8"
)

// mostUnpacked is how many encodings are taken off a text to look below them.
const mostUnpacked = 2

// leastPacked is the least bytes of base64 that are looked into: what is shorter are
// mostly words.
const leastPacked = 24

// leastZipped is the least bytes of base64 that are looked into as gzip: to begin takes
// long.
const leastZipped = 88

// unpacker looks into the parts of one text.
type unpacker struct {
	how looking
	zip *gzip.Reader // nil until there is something to unpack
}

// unpack finds the secrets in parts of a text that are percent-encoded, in base64 or
// compressed.
func unpack(s string, how looking) []span {
	how.unpacked++
	u := unpacker{how: how}
	var found []span
	if strings.IndexByte(s, '%') >= 0 {
		found = unescaped(s, how)
	}
	for i := 0; i < len(s); {
		if !packs(s[i]) {
			i++
			continue
		}
		n := run(s[i:], packs)
		end := i + n + min(run(s[i+n:], func(c byte) bool { return c == '=' }), 2)
		if n >= leastPacked && u.packed(s[i:i+n]) {
			found = merge(found, []span{{i, end}})
		}
		i = end
	}
	return found
}

func packs(c byte) bool { return word(c) || c == '+' || c == '/' }

// unescaped looks at a text without its percent-encoding.
func unescaped(s string, how looking) []span {
	out := make([]byte, 0, len(s))
	offsets := make([]int, 0, len(s)+1)
	for i := 0; i < len(s); i++ {
		offsets = append(offsets, i)
		if s[i] == '%' && i+2 < len(s) && hexDigit(s[i+1]) >= 0 && hexDigit(s[i+2]) >= 0 {
			out = append(out, byte(hexDigit(s[i+1])<<4|hexDigit(s[i+2]))) //nolint:gosec // two hex digits are a byte
			i += 2
		} else {
			out = append(out, s[i])
		}
	}
	if len(out) == len(s) {
		return nil
	}
	offsets = append(offsets, len(s))
	found := scan(string(out), how)
	for i, f := range found {
		found[i] = span{offsets[f.from], offsets[f.to]}
	}
	return found
}

// packed reports whether a text in base64 has a secret in it. Where its beginning is no
// text it is not looked into: keys and images are not to be told from each other.
func (u *unpacker) packed(s string) bool {
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		encoding = base64.RawURLEncoding
	}
	head, err := encoding.DecodeString(s[:leastPacked])
	zipped := bytes.HasPrefix(head, []byte{0x1f, 0x8b})
	if err != nil || zipped && len(s) < leastZipped || !zipped && !printable(head) {
		return false
	}
	text, err := encoding.DecodeString(s)
	if err != nil {
		text, _ = encoding.DecodeString(s[:len(s)/4*4]) // a wrong end hides nothing
	}
	if zipped {
		return u.compressed(text)
	}
	return u.holds(string(text))
}

// holds reports whether there is a secret in a text, of whatever form.
func (u *unpacker) holds(text string) bool {
	if inspect(text, plain, broad, mostUnpacked-1) == secretJSON || manifest(text) {
		return true
	}
	return len(scan(text, looking{assigned: true, names: broad, commands: true, unpacked: u.how.unpacked})) > 0
}

// compressed reports whether there may be a secret in data of gzip. What grows more than
// manifests do is not unpacked to its end, and may have one.
func (u *unpacker) compressed(data []byte) bool {
	most := 8 * int64(len(data))
	if u.zip == nil {
		u.zip = new(gzip.Reader)
	}
	if err := u.zip.Reset(bytes.NewReader(data)); err != nil {
		return false
	}
	text, err := io.ReadAll(io.LimitReader(u.zip, most+1))
	if int64(len(text)) > most {
		return true
	}
	if err != nil && len(text) == 0 || !printable(text[:min(len(text), leastPacked)]) {
		return false
	}
	return u.holds(string(text))
}

// printable reports whether the beginning of a text is one. A character may be cut.
func printable(head []byte) bool {
	for len(head) > 0 {
		r, n := utf8.DecodeRune(head)
		if r == utf8.RuneError && n == 1 && (len(head) >= utf8.UTFMax || utf8.FullRune(head)) {
			return false
		}
		if r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0x7f {
			return false
		}
		head = head[n:]
	}
	return true
}
