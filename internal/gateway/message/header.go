// Package message is the one view of an HTTP message that the whole gateway
// shares: parsed strictly once, normalised once, judged in this form and
// forwarded in exactly this form. What is ambiguous is an error here and never
// reaches a rule or a backend.
package message

import "strings"

// Field is one header field. Name is lower-case; Value has no leading or
// trailing white space and no control characters.
type Field struct{ Name, Value string }

// Header is the fields of a message in the order they came. Methods take names
// in lower case.
type Header []Field

// Get gives the first value of name, or "".
func (h Header) Get(name string) string {
	for i := range h {
		if h[i].Name == name {
			return h[i].Value
		}
	}
	return ""
}

// Lookup gives the first value of name and how often the field occurs.
func (h Header) Lookup(name string) (value string, count int) {
	for i := range h {
		if h[i].Name == name {
			if count == 0 {
				value = h[i].Value
			}
			count++
		}
	}
	return value, count
}

// Has reports whether the field occurs.
func (h Header) Has(name string) bool {
	for i := range h {
		if h[i].Name == name {
			return true
		}
	}
	return false
}

// Joined gives all values of name joined with ", " (RFC 9110 5.3) and whether
// there was one.
func (h Header) Joined(name string) (string, bool) {
	v, n := h.Lookup(name)
	if n <= 1 {
		return v, n == 1
	}
	var b strings.Builder
	for i := range h {
		if h[i].Name != name {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(h[i].Value)
	}
	return b.String(), true
}

// Add appends a field. The caller vouches for name and value: see ValidName
// and ValidValue.
func (h *Header) Add(name, value string) { *h = append(*h, Field{name, value}) }

// Set replaces every field of that name by one.
func (h *Header) Set(name, value string) {
	for i := range *h {
		if (*h)[i].Name == name {
			(*h)[i].Value = value
			rest := (*h)[i+1:]
			rest.Del(name)
			*h = (*h)[:i+1+len(rest)]
			return
		}
	}
	h.Add(name, value)
}

// Del removes every field of that name, keeping the order of the others.
func (h *Header) Del(name string) {
	if !h.Has(name) {
		return
	}
	out := (*h)[:0]
	for _, f := range *h {
		if f.Name != name {
			out = append(out, f)
		}
	}
	clear((*h)[len(out):])
	*h = out
}

// HasToken reports whether the comma-separated list in the fields of that name
// holds token (lower-case), compared without regard to case.
func (h Header) HasToken(name, token string) bool {
	for i := range h {
		if h[i].Name != name {
			continue
		}
		for part := range strings.SplitSeq(h[i].Value, ",") {
			if strings.EqualFold(strings.Trim(part, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// lowerToken maps a byte of a field name to its lower-case form, and to 0 where
// it may not stand there (RFC 9110 5.6.2).
var lowerToken = func() (t [256]byte) {
	for c := range 256 {
		b := byte(c)
		switch {
		case b >= 'a' && b <= 'z', b >= '0' && b <= '9', strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0:
			t[c] = b
		case b >= 'A' && b <= 'Z':
			t[c] = b + 'a' - 'A'
		}
	}
	return t
}()

// ValidName reports whether s is a field name in lower case.
func ValidName(s string) bool {
	for i := range len(s) {
		if lowerToken[s[i]] != s[i] {
			return false
		}
	}
	return s != ""
}

// ValidToken reports whether s is a token (RFC 9110 5.6.2), for example a
// method.
func ValidToken(s string) bool {
	for i := range len(s) {
		if lowerToken[s[i]] == 0 {
			return false
		}
	}
	return s != ""
}

// ValidValue reports whether s may stand as a field value: visible bytes,
// spaces, tabs and obs-text, with neither end blank (RFC 9110 5.5).
func ValidValue(s string) bool {
	if s == "" {
		return true
	}
	if isBlank(s[0]) || isBlank(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if !valueByte(s[i]) {
			return false
		}
	}
	return true
}

func isBlank(c byte) bool   { return c == ' ' || c == '\t' }
func valueByte(c byte) bool { return c == '\t' || c >= ' ' && c != 0x7f }
