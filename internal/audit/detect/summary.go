package detect

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// summary is a sentence with fields in it.
type summary []summaryPart

// summaryPart is a text, or the field that stands in its place.
type summaryPart struct{ text, field string }

const defaultSummary = "{title}: {actor.username}"

const (
	maxSummary  = 2000
	maxShown    = 160 // characters of one value
	shownValues = 3   // of a field with many
	absent      = "(none)"
)

// parseSummary reads a sentence with fields in braces. Two braces are one as a
// character.
func parseSummary(text string) (summary, error) {
	if len(text) > maxSummary {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", len(text), maxSummary)
	}
	var out summary
	var plain strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case (c == '{' || c == '}') && i+1 < len(text) && text[i+1] == c:
			plain.WriteByte(c)
			i++
		case c == '}':
			return nil, errors.New("} without {; write }} for the character")
		case c == '{':
			end := strings.IndexByte(text[i:], '}')
			if end < 0 {
				return nil, errors.New("{ without }; write {{ for the character")
			}
			field := strings.TrimSpace(text[i+1 : i+end])
			if field == "" {
				return nil, errors.New("{} names no field")
			}
			part := summaryPart{field: field}
			if field == "title" {
				part = summaryPart{text: titleMark}
			}
			out = append(out, summaryPart{text: plain.String()}, part)
			plain.Reset()
			i += end
		default:
			plain.WriteByte(c)
		}
	}
	return append(out, summaryPart{text: plain.String()}), nil
}

// titleMark is the part that stands for the rule's title.
const titleMark = "\x00title"

// write makes the sentence. get gives the values of a field.
func (s summary) write(title string, get func(field string) []string) string {
	var out strings.Builder
	for _, p := range s {
		switch {
		case p.field != "":
			out.WriteString(shown(get(p.field)))
		case p.text == titleMark:
			out.WriteString(safe(title, maxSummary))
		default:
			out.WriteString(safe(p.text, maxSummary))
		}
	}
	return out.String()
}

// shown is the values of a field for people.
func shown(values []string) string {
	var parts []string
	for _, v := range values {
		if v != "" {
			parts = append(parts, v)
		}
	}
	more := ""
	if n := len(parts) - shownValues; n > 0 {
		parts, more = parts[:shownValues], " and "+strconv.Itoa(n)+" more"
	}
	for i, p := range parts {
		parts[i] = safe(p, maxShown)
	}
	if len(parts) == 0 {
		return absent
	}
	return strings.Join(parts, ", ") + more
}

// safe is a text that comes from outside, for a terminal or a line of a log: what does
// not print, turns the direction of writing, or is no text is spelled out, and what is
// too long is cut.
func safe(text string, most int) string {
	var out strings.Builder
	n := 0
	for i := 0; i < len(text); n++ {
		r, size := utf8.DecodeRuneInString(text[i:])
		if n == most {
			out.WriteString("…")
			break
		}
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&out, `\x%02x`, text[i])
		case r == ' ' || unicode.IsGraphic(r) && !unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co) && !unicode.IsSpace(r):
			out.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			out.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
	}
	return out.String()
}
