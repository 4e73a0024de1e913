package output

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/framework"
)

// The table shows this many at most: who wants all of them asks for another
// format.
const (
	tableRanks   = 5
	tableRows    = 5
	tableUnknown = 5
	plainWidth   = 100 // where there is no terminal
)

// pen writes lines of at most so many columns.
type pen struct {
	bytes.Buffer
	width int
	color bool
}

// The colours, as a terminal wants them.
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	cyan  = "36"
	amber = "33"
	green = "32"
)

// paint colours text that is safe already.
func (p *pen) paint(code, text string) string {
	if !p.color || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (p *pen) line(format string, args ...any) { _, _ = fmt.Fprintf(p, format+"\n", args...) }

// wrap writes text in lines that begin with an indent.
func (p *pen) wrap(indent, first, text string) {
	room := max(20, p.width-len(indent))
	out, used := first, 0
	for word := range strings.FieldsSeq(plain(text)) {
		n := len([]rune(word))
		if used > 0 && used+1+n > room {
			p.line("%s", out)
			out, used = indent, 0
		}
		if used > 0 {
			out += " "
			used++
		}
		out += word
		used += n
	}
	p.line("%s", out)
}

func tone(s bulwark.Severity) string {
	switch s {
	case bulwark.SeverityCritical:
		return bold + ";" + red
	case bulwark.SeverityHigh:
		return red
	case bulwark.SeverityMedium:
		return amber
	case bulwark.SeverityLow:
		return cyan
	case bulwark.SeverityInfo:
	}
	return dim
}

// table writes what a person reads first: the findings by control and object, what
// to repair first, and the numbers.
func table(w io.Writer, d *Document, opt Options) error {
	p := &pen{width: opt.Width, color: opt.Color}
	if p.width == 0 {
		p.width = plainWidth
	}
	p.width = max(40, p.width)
	meta := d.meta()
	var small []group
	for _, g := range groups(d, bulwark.VerdictFail) {
		if g.severity < bulwark.SeverityMedium {
			small = append(small, g)
			continue
		}
		p.group(g, meta[g.control].Title, meta[g.control].Remediation)
	}
	p.small(small, meta)
	p.unknown(d)
	p.fixFirst(d)
	p.frameworks(d.Frameworks)
	p.summary(d)
	_, err := p.WriteTo(w)
	return err
}

func (p *pen) group(g group, title, remediation string) {
	p.line("%s  %s  %s", p.paint(tone(g.severity), strings.ToUpper(g.severity.String())), p.paint(bold, plain(title)),
		p.paint(dim, plain(g.control)+", "+number(g.objects, "object", "objects")))
	rows := g.rows()
	for i, r := range rows {
		if i == tableRows {
			p.line("  %s", p.paint(dim, fmt.Sprintf("… and %s more", number(len(rows)-i, "object", "objects"))))
			break
		}
		p.row(r)
	}
	if remediation != "" {
		p.wrap("     ", "  → ", remediation)
	}
	p.line("")
}

// small writes what is low or info: a line each.
func (p *pen) small(all []group, meta map[string]control.Meta) {
	for _, g := range all {
		first := g.findings[0]
		where := subject(first.Object)
		if at := place(first.Location.File, first.Location.Line); at != "" {
			where += " " + plain(at)
		}
		if g.objects > 1 {
			where += fmt.Sprintf(", and %d more", g.objects-1)
		}
		name := fmt.Sprintf("%-4s", strings.ToUpper(g.severity.String()))
		p.line("%s  %s  %s", p.paint(tone(g.severity), name), plain(meta[g.control].Title), p.paint(dim, plain(g.control)+", "+where))
	}
	if len(all) > 0 {
		p.line("%s", p.paint(dim, "      (-o json or html says more of these)"))
		p.line("")
	}
}

// row is the findings of one control on one object.
type row struct {
	first *Finding
	more  int
}

func (g *group) rows() []row {
	var out []row
	at := map[bulwark.ObjectRef]int{}
	for _, f := range g.findings {
		if i, ok := at[f.Object]; ok {
			out[i].more++
			continue
		}
		at[f.Object] = len(out)
		out = append(out, row{first: f})
	}
	return out
}

func (p *pen) row(r row) {
	f := r.first
	head := subject(f.Object)
	if f.Exposed != "" {
		head += "  " + p.paint(red, "exposed: "+plain(f.Exposed))
	}
	if at := place(f.Location.File, f.Location.Line); at != "" {
		head += "  " + p.paint(dim, plain(at))
	}
	p.line("  %s", head)
	text := f.Message
	if f.Field != "" && !strings.Contains(text, f.Field) {
		text += " (" + f.Field + ")"
	}
	if r.more > 0 {
		text += fmt.Sprintf("; %d more here", r.more)
	}
	p.wrap("    ", "    ", short(text, 400))
}

// subject names an object for people.
func subject(o bulwark.ObjectRef) string {
	if o == (bulwark.ObjectRef{}) {
		return "the whole cluster"
	}
	return plain(o.String())
}

func (p *pen) unknown(d *Document) {
	all := groups(d, bulwark.VerdictUnknown)
	if len(all) == 0 {
		return
	}
	p.line("%s", p.paint(bold, "Could not be judged")+p.paint(dim, " (counts as not passing)"))
	for i, g := range all {
		if i == tableUnknown {
			p.line("  %s", p.paint(dim, fmt.Sprintf("… and %s more", number(len(all)-i, "control", "controls"))))
			break
		}
		f := g.findings[0]
		p.wrap("    ", "  ", fmt.Sprintf("%s, %s: %s", g.control, number(g.objects, "object", "objects"), short(or(f.Reason, f.Message), 200)))
	}
	p.line("")
}

func (p *pen) fixFirst(d *Document) {
	if len(d.FixFirst) == 0 {
		return
	}
	p.line("%s%s", p.paint(bold, "Fix first"), p.paint(dim, " (severity × exposure × spread)"))
	for i, r := range d.FixFirst[:min(tableRanks, len(d.FixFirst))] {
		what := number(r.Objects, "object", "objects")
		if r.Exposed > 0 {
			what += fmt.Sprintf(", %d exposed", r.Exposed)
		}
		if r.Fixable > 0 {
			what += ", --fix can"
		}
		p.line("  %d. %s  %s  %s", i+1, p.paint(tone(r.Severity), r.Severity.String()), plain(r.Control), p.paint(dim, what))
	}
	p.line("")
}

func (p *pen) frameworks(all []framework.Coverage) {
	if len(all) == 0 {
		return
	}
	name := 0
	for i := range all {
		name = max(name, len([]rune(plain(all[i].ID))))
	}
	p.line("%s%s", p.paint(bold, "Frameworks"), p.paint(dim, " (share of requirements: with evidence, passing; evidence is not compliance)"))
	for i := range all {
		c := &all[i]
		tone := green
		if c.Counts[framework.StatusFail] > 0 {
			tone = red
		}
		p.line("  %-*s  evidence %3d%%  passing %s  %s", name, plain(c.ID), c.Evidence, p.paint(tone, fmt.Sprintf("%3d%%", c.Passing)),
			p.paint(dim, fmt.Sprintf("%d requirements, %d fail, %d manual", c.Total, c.Counts[framework.StatusFail], c.Counts[framework.StatusManual])))
	}
	p.line("")
}

func (p *pen) summary(d *Document) {
	s := &d.Summary
	var fails []string
	for _, v := range severitiesDown() {
		if n := s.Fail[v.String()]; n > 0 {
			fails = append(fails, p.paint(tone(v), fmt.Sprintf("%d %s", n, v)))
		}
	}
	if len(fails) == 0 {
		fails = []string{p.paint(green, "nothing fails")}
	}
	if s.Unknown > 0 {
		fails = append(fails, fmt.Sprintf("%d unknown", s.Unknown))
	}
	if s.Excepted > 0 {
		fails = append(fails, fmt.Sprintf("%d excepted", s.Excepted))
	}
	score := "no score: nothing was judged"
	if s.Score != nil {
		score = fmt.Sprintf("score %d of 100", *s.Score)
	}
	p.line("%s, %s judged: %s; %s", number(s.Objects, "object", "objects"), number(s.Controls, "control", "controls"), strings.Join(fails, ", "), p.paint(bold, score))
	if b := s.Baseline; b != nil {
		p.line("Since the baseline: %d new, %d known, %d fixed", b.New, b.Known, b.Fixed)
	}
	if s.Hidden > 0 {
		p.line("Not listed for their lesser severity: %s", number(s.Hidden, "finding", "findings"))
	}
	if text := d.partial(); text != "" {
		p.line("%s", text)
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
