package output

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"bulwark.dev/bulwark"
)

// maxComment is what a comment on a pull request may hold; the longest line that
// is added after the last check fits into the difference to GitHub's 65536.
const maxComment = 64000

// markdown writes a comment for a pull request: the numbers first, the findings
// folded. What does not fit is counted.
func markdown(w io.Writer, d *Document, _ Options) error {
	var b bytes.Buffer
	b.WriteString(markdownHead(d))
	meta := d.meta()
	all := groups(d, bulwark.VerdictFail)
	for i, g := range all {
		text := markdownGroup(&g, meta[g.control].Title, meta[g.control].Remediation)
		if b.Len()+len(text) > maxComment {
			_, _ = fmt.Fprintf(&b, "\n… and %s more: the full list does not fit here.\n", number(len(all)-i, "control", "controls"))
			_, err := b.WriteTo(w)
			return err
		}
		b.WriteString(text)
	}
	if tail := markdownTail(d); b.Len()+len(tail) <= maxComment {
		b.WriteString(tail)
	}
	_, err := b.WriteTo(w)
	return err
}

func markdownHead(d *Document) string {
	var b strings.Builder
	s := &d.Summary
	b.WriteString("## Bulwark posture\n\n")
	fails := 0
	for _, n := range s.Fail {
		fails += n
	}
	switch {
	case fails == 0 && s.Unknown == 0:
		b.WriteString("**Nothing fails.**")
	default:
		_, _ = fmt.Fprintf(&b, "**%s**", number(fails, "finding", "findings"))
	}
	if s.Score != nil {
		_, _ = fmt.Fprintf(&b, " · score **%d** of 100", *s.Score)
	}
	_, _ = fmt.Fprintf(&b, " · %s, %s\n", number(s.Objects, "object", "objects"), number(s.Controls, "control", "controls"))
	if text := d.partial(); text != "" {
		b.WriteString("\n⚠️ " + text + ".\n")
	}
	if s.Hidden > 0 {
		_, _ = fmt.Fprintf(&b, "\nNot listed for their lesser severity: %s.\n", number(s.Hidden, "finding", "findings"))
	}
	if c := s.Baseline; c != nil {
		_, _ = fmt.Fprintf(&b, "\nSince the baseline: **%d new**, %d known, %d fixed.\n", c.New, c.Known, c.Fixed)
	}
	b.WriteString("\n| critical | high | medium | low | info | unknown | excepted |\n|--:|--:|--:|--:|--:|--:|--:|\n|")
	for _, v := range severitiesDown() {
		_, _ = fmt.Fprintf(&b, " %d |", s.Fail[v.String()])
	}
	_, _ = fmt.Fprintf(&b, " %d | %d |\n", s.Unknown, s.Excepted)
	if len(d.FixFirst) > 0 {
		b.WriteString("\n**Fix first**\n\n")
	}
	for _, r := range d.FixFirst[:min(len(d.FixFirst), tableRanks)] {
		_, _ = fmt.Fprintf(&b, "1. %s %s: %s", badge(r.Severity), code(r.Control), number(r.Objects, "object", "objects"))
		if r.Exposed > 0 {
			_, _ = fmt.Fprintf(&b, ", %d exposed", r.Exposed)
		}
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return b.String()
}

func badge(s bulwark.Severity) string {
	switch s {
	case bulwark.SeverityCritical:
		return "🟣 critical"
	case bulwark.SeverityHigh:
		return "🔴 high"
	case bulwark.SeverityMedium:
		return "🟠 medium"
	case bulwark.SeverityLow:
		return "🔵 low"
	case bulwark.SeverityInfo:
	}
	return "⚪ info"
}

// markdownRows is how many rows one control shows.
const markdownRows = 20

func markdownGroup(g *group, title, remediation string) string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "<details><summary>%s <b>%s</b> (%s)</summary>\n\n", badge(g.severity), markup(short(title, 200)), number(g.objects, "object", "objects"))
	if remediation != "" {
		_, _ = fmt.Fprintf(&b, "%s: %s\n\n", code(g.control), markup(short(remediation, 600)))
	}
	b.WriteString("| object | where | what |\n|---|---|---|\n")
	for i, f := range g.findings {
		if i == markdownRows {
			_, _ = fmt.Fprintf(&b, "| … and %d more | | |\n", len(g.findings)-i)
			break
		}
		_, _ = fmt.Fprintf(&b, "| %s | %s | %s |\n", code(short(subject(f.Object), 160)), code(short(place(f.Location.File, f.Location.Line), 200)), markup(short(f.Message, 300)))
	}
	b.WriteString("\n</details>\n")
	return b.String()
}

func markdownTail(d *Document) string {
	var b strings.Builder
	if len(d.Frameworks) > 0 {
		b.WriteString("\n<details><summary>Frameworks</summary>\n\n| framework | evidence | passing | fail |\n|---|--:|--:|--:|\n")
		for i := range d.Frameworks {
			c := &d.Frameworks[i]
			_, _ = fmt.Fprintf(&b, "| %s | %d%% | %d%% | %d |\n", markup(c.ID), c.Evidence, c.Passing, c.Counts["fail"])
		}
		b.WriteString("\n</details>\n")
	}
	if n := len(d.Problems); n > 0 {
		_, _ = fmt.Fprintf(&b, "\n⚠️ %s could not be read:\n\n", number(n, "part of the input", "parts of the input"))
		for i, p := range d.Problems {
			if i == markdownRows {
				_, _ = fmt.Fprintf(&b, "- … and %d more\n", n-i)
				break
			}
			_, _ = fmt.Fprintf(&b, "- %s %s\n", code(place(p.Location.File, p.Location.Line)), markup(short(p.What, 300)))
		}
	}
	return b.String()
}

// markup writes text so that neither Markdown nor HTML in it is obeyed, and nobody
// is mentioned.
func markup(s string) string {
	var b strings.Builder
	for _, r := range plain(s) {
		switch {
		case r == '&':
			b.WriteString("&amp;")
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '@' || r == '#' || r == ':':
			// As an entity it is no mention, no reference and no address.
			_, _ = fmt.Fprintf(&b, "&#%d;", r)
		case strings.ContainsRune("\\`*_{}[]()|!~$", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// code writes text as HTML code: backquotes can be closed by backquotes.
func code(s string) string {
	if s == "" {
		return ""
	}
	return "<code>" + markup(s) + "</code>"
}
