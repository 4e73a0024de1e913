// Package plain makes text of events safe and fitting for a line of a terminal.
package plain

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text makes a text safe for one line of a terminal or a sheet: what would move
// the cursor, change a colour, turn the direction of reading or hide itself is
// written out, and so are bytes that are no character.
func Text(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, Hidden) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteString(`\x` + strconv.FormatUint(uint64(s[i])|0x100, 16)[1:])
		case !Hidden(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += n
	}
	return b.String()
}

// Hidden reports whether a rune is obeyed by a terminal, or not seen in it.
func Hidden(r rune) bool {
	if r < utf8.RuneSelf {
		return r < ' ' || r == 0x7f
	}
	// The soft hyphen, joiners, byte order marks, tags and directions are all in Cf;
	// variation selectors and the Hangul fillers are not, and are as invisible.
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs) ||
		unicode.Is(unicode.Variation_Selector, r) || r == 0x115f || r == 0x1160 || r == 0x3164 || r == 0xffa0 ||
		unicode.IsSpace(r)
}

// Cells is how many columns of a terminal a text that was made safe takes.
func Cells(s string) int {
	n := 0
	for _, r := range s {
		n += width(r)
	}
	return n
}

func width(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && r <= 0x115f, unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana),
		r >= 0x3000 && r <= 0x303e, r >= 0xff01 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1faff:
		return 2
	}
	return 1
}

// Fit cuts a text that was made safe to a number of columns, or fills it up with spaces.
func Fit(s string, columns int) string {
	n := Cells(s)
	if n <= columns {
		return s + strings.Repeat(" ", columns-n)
	}
	var b strings.Builder
	used := 0
	for _, r := range s {
		w := width(r)
		if used+w > columns-1 {
			break
		}
		used += w
		b.WriteRune(r)
	}
	return b.String() + "…" + strings.Repeat(" ", columns-1-used)
}
