package sigma

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// PartKind is what a part of a pattern stands for. The zero PartKind is not valid.
type PartKind uint8

// The kinds of parts.
const (
	PartText        PartKind = iota + 1 // Text itself
	PartAny                             // any number of characters
	PartOne                             // one character
	PartDash                            // one of - / – — ―
	PartPlaceholder                     // what the placeholder called Text stands for
)

// Part is a part of a pattern.
type Part struct {
	Kind PartKind
	Text string
}

// Pattern is what a text is compared with, from its first character to its last.
type Pattern []Part

// Dashes are the characters that windash takes for one another.
const Dashes = "-/\u2013\u2014\u2015"

// ParsePattern reads a text with wildcards. A backslash before a wildcard or before
// another backslash takes its meaning away; any other backslash is one.
func ParsePattern(text string) Pattern {
	var out Pattern
	var plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			out = append(out, Part{Kind: PartText, Text: plain.String()})
			plain.Reset()
		}
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text) && strings.IndexByte(`*?\`, text[i+1]) >= 0:
			i++
			plain.WriteByte(text[i])
		case c == '*':
			flush()
			out = out.with(Part{Kind: PartAny})
		case c == '?':
			flush()
			out = append(out, Part{Kind: PartOne})
		default:
			plain.WriteByte(c)
		}
	}
	flush()
	return out
}

// with appends a part; two PartAny in a row are one.
func (p Pattern) with(part Part) Pattern {
	if part.Kind == PartAny && len(p) > 0 && p[len(p)-1].Kind == PartAny {
		return p
	}
	return append(p, part)
}

// Around is the pattern anywhere in a text.
func (p Pattern) Around() Pattern { return p.any(true, true) }

func (p Pattern) any(before, after bool) Pattern {
	out := slices.Clone(p)
	if before && (len(out) == 0 || out[0].Kind != PartAny) {
		out = slices.Insert(out, 0, Part{Kind: PartAny})
	}
	if after {
		out = out.with(Part{Kind: PartAny})
	}
	return out
}

// Literal gives the text of a pattern that is nothing else.
func (p Pattern) Literal() (string, bool) {
	switch len(p) {
	case 0:
		return "", true
	case 1:
		return p[0].Text, p[0].Kind == PartText
	}
	return "", false
}

// Placeholders lists the names of placeholders in it.
func (p Pattern) Placeholders() []string {
	var out []string
	for _, part := range p {
		if part.Kind == PartPlaceholder {
			out = append(out, part.Text)
		}
	}
	return out
}

// maxExpanded is how many patterns one value may become.
const maxExpanded = 10_000

// Expand puts values in the place of placeholders, each in the place of each. values
// gives those of a name, and whether there is such a name.
func (p Pattern) Expand(values func(name string) ([]string, bool)) ([]Pattern, error) {
	out := []Pattern{nil}
	for _, part := range p {
		choices := []Pattern{{part}}
		if part.Kind == PartPlaceholder {
			texts, ok := values(part.Text)
			if !ok || len(texts) == 0 {
				return nil, fmt.Errorf("no values are given for the placeholder %%%s%%", part.Text)
			}
			choices = nil
			for _, t := range texts {
				choices = append(choices, ParsePattern(t))
			}
		}
		if len(out)*len(choices) > maxExpanded {
			return nil, fmt.Errorf("placeholders: a value stands for more than %d", maxExpanded)
		}
		var next []Pattern
		for _, o := range out {
			for _, c := range choices {
				n := slices.Clone(o)
				for _, part := range c {
					n = n.join(part)
				}
				next = append(next, n)
			}
		}
		out = next
	}
	return out, nil
}

// join appends a part and makes texts that meet one text.
func (p Pattern) join(part Part) Pattern {
	if part.Kind == PartText && len(p) > 0 && p[len(p)-1].Kind == PartText {
		p[len(p)-1].Text += part.Text
		return p
	}
	return p.with(part)
}

// patterns applies the modifiers that change texts, in their order.
func (c *chain) patterns(text string) ([]Pattern, error) {
	out := []Pattern{ParsePattern(text)}
	for _, step := range c.steps {
		var next []Pattern
		for _, p := range out {
			made, err := applyStep(step, p)
			if err != nil {
				return nil, err
			}
			next = append(next, made...)
		}
		if len(next) > maxExpanded {
			return nil, fmt.Errorf("a value stands for more than %d", maxExpanded)
		}
		out = next
	}
	if c.item.Field == "" {
		for i, p := range out {
			out[i] = p.Around()
		}
	}
	return out, nil
}

func applyStep(step string, p Pattern) ([]Pattern, error) {
	switch step {
	case "contains":
		return []Pattern{p.any(true, true)}, nil
	case "startswith":
		return []Pattern{p.any(false, true)}, nil
	case "endswith":
		return []Pattern{p.any(true, false)}, nil
	case "expand":
		return []Pattern{placeholders(p)}, nil
	case "windash":
		return []Pattern{dashes(p)}, nil
	}
	texts, err := spelledOut(p, step)
	if err != nil {
		return nil, err
	}
	var out []Pattern
	for _, t := range texts {
		for _, encoded := range encode(step, t) {
			out = append(out, Pattern{{Kind: PartText, Text: encoded}})
		}
	}
	return out, nil
}

// encode gives a text in an encoding. base64offset gives three: what is the same in
// every text that has it at an offset of 0, 1 or 2 bytes in its groups of three.
func encode(step, text string) []string {
	switch step {
	case "base64":
		return []string{base64.StdEncoding.EncodeToString([]byte(text))}
	case "base64offset":
		var out []string
		for shift := range 3 {
			whole := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(" ", shift) + text))
			// Of the first group and of the last, the characters that hold bits of neighbours too
			// are not the same everywhere.
			start := []int{0, 2, 3}[shift]
			end := len(whole) - []int{0, 3, 2}[(shift+len(text))%3]
			if start < end {
				out = append(out, whole[start:end])
			}
		}
		return out
	}
	var out []byte
	if step == "utf16" {
		out = append(out, 0xff, 0xfe)
	}
	for _, u := range utf16.Encode([]rune(text)) {
		if step == "utf16be" {
			out = append(out, byte(u>>8), byte(u)) //nolint:gosec // the two halves
		} else {
			out = append(out, byte(u), byte(u>>8)) //nolint:gosec // the two halves
		}
	}
	return []string{string(out)}
}

// spelledOut gives the texts of a pattern without wildcards; a dash of windash
// becomes each of its five.
func spelledOut(p Pattern, step string) ([]string, error) {
	out := []string{""}
	for _, part := range p {
		switch part.Kind {
		case PartText:
			for i := range out {
				out[i] += part.Text
			}
		case PartDash:
			var next []string
			for _, o := range out {
				for _, d := range Dashes {
					next = append(next, o+string(d))
				}
			}
			if len(next) > maxExpanded {
				return nil, fmt.Errorf("modifiers windash and %s: too many dashes to spell out", step)
			}
			out = next
		case PartPlaceholder:
			return nil, fmt.Errorf("modifier %s encodes a text; it cannot stand after expand", step)
		case PartAny, PartOne:
			return nil, fmt.Errorf("modifier %s encodes a text, which cannot have wildcards: write \\* and \\? for the characters, and contains after it", step)
		}
	}
	return out, nil
}

// dashes makes every dash of the texts one that may be another.
func dashes(p Pattern) Pattern {
	var out Pattern
	for _, part := range p {
		if part.Kind != PartText {
			out = append(out, part)
			continue
		}
		rest := part.Text
		for {
			i := strings.IndexAny(rest, Dashes)
			if i < 0 {
				break
			}
			if i > 0 {
				out = append(out, Part{Kind: PartText, Text: rest[:i]})
			}
			out = append(out, Part{Kind: PartDash})
			_, size := utf8.DecodeRuneInString(rest[i:])
			rest = rest[i+size:]
		}
		if rest != "" {
			out = append(out, Part{Kind: PartText, Text: rest})
		}
	}
	return out
}

// placeholders finds %name% in the texts. A backslash before a percent sign makes it
// one.
func placeholders(p Pattern) Pattern {
	var out Pattern
	for _, part := range p {
		if part.Kind != PartText {
			out = append(out, part)
			continue
		}
		var plain strings.Builder
		for rest := part.Text; rest != ""; {
			if strings.HasPrefix(rest, `\%`) {
				plain.WriteByte('%')
				rest = rest[2:]
				continue
			}
			if name, after, ok := placeholder(rest); ok {
				if plain.Len() > 0 {
					out = append(out, Part{Kind: PartText, Text: plain.String()})
					plain.Reset()
				}
				out = append(out, Part{Kind: PartPlaceholder, Text: name})
				rest = after
				continue
			}
			plain.WriteByte(rest[0])
			rest = rest[1:]
		}
		if plain.Len() > 0 {
			out = append(out, Part{Kind: PartText, Text: plain.String()})
		}
	}
	return out
}

// placeholder cuts %name% from the start of a text.
func placeholder(text string) (name, rest string, ok bool) {
	if text[0] != '%' {
		return "", "", false
	}
	end := strings.IndexByte(text[1:], '%')
	if end <= 0 {
		return "", "", false
	}
	name = text[1 : 1+end]
	for _, c := range name {
		if !wordByte(byte(min(c, 0x80))) || c == '*' || c == '?' { //nolint:gosec // at most 0x80
			return "", "", false
		}
	}
	return name, text[end+2:], true
}
