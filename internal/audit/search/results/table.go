package results

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search"
	"bulwark.dev/bulwark/internal/audit/search/plain"
	"bulwark.dev/bulwark/internal/audit/search/query"
)

// table is for people: one event a line, cut to the terminal. No text of an event
// reaches it but through plain.Text.
type table struct {
	style   Style
	columns []column
}

type column struct {
	title string
	width int // 0 is what is left
	text  func(t *table, e *audit.Event) string
	right bool
	color func(e *audit.Event) string
}

// The colours, as a terminal wants them.
const (
	red   = "31"
	amber = "33"
	faint = "2"
)

func newTable(style Style) *table {
	t := &table{style: style}
	seq := column{title: "SEQ", width: 10, right: true, text: func(_ *table, e *audit.Event) string { return strconv.FormatUint(e.Seq, 10) }}
	at := column{title: "TIME", width: 19, text: func(t *table, e *audit.Event) string { return t.time(e.Time()) }}
	who := column{title: "WHO", width: 26, text: func(_ *table, e *audit.Event) string { return who(e) }}
	verb := column{title: "VERB", width: 10, text: func(_ *table, e *audit.Event) string { return or(e.Verb, string(e.Kind)) }}
	code := column{title: "CODE", width: 4, right: true, text: func(_ *table, e *audit.Event) string { return code(e) }, color: tone}
	from := column{title: "FROM", width: 15, text: func(_ *table, e *audit.Event) string { return first(e.SourceIPs) }}
	what := column{title: "WHAT", text: func(_ *table, e *audit.Event) string { return what(e) }, color: tone}
	t.columns = []column{seq, at, who, verb, code, from, what}
	switch {
	case style.Width == 0 || style.Width >= 120:
	case style.Width >= 90:
		t.columns[2].width = 16
		t.columns = append(t.columns[:5:5], what)
	default:
		who.width, verb.width, at.width = 12, 7, 8
		at.text = func(t *table, e *audit.Event) string { return t.clock(e.Time()) }
		t.columns = []column{at, who, verb, code, what}
	}
	return t
}

func (t *table) in(at time.Time) time.Time {
	if t.style.Location == nil {
		return at.UTC()
	}
	return at.In(t.style.Location)
}

func (t *table) time(at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return t.in(at).Format(time.DateTime)
}

func (t *table) clock(at time.Time) string { return t.in(at).Format(time.TimeOnly) }

func (t *table) begin(w *bufio.Writer) error {
	return t.line(w, faint, func(c *column) string { return c.title }, nil)
}

func (t *table) event(w *bufio.Writer, e *audit.Event) error {
	return t.line(w, "", func(c *column) string { return or(plain.Text(c.text(t, e)), "-") }, e)
}

func (t *table) line(w *bufio.Writer, color string, text func(*column) string, e *audit.Event) error {
	var b strings.Builder
	left := t.style.Width
	for i := range t.columns {
		c := &t.columns[i]
		if i > 0 {
			b.WriteString("  ")
			left -= 2
		}
		cell := text(c)
		switch {
		case c.width == 0 && t.style.Width > 0:
			cell = strings.TrimRight(plain.Fit(cell, max(left, 8)), " ")
		case c.width == 0:
		case c.right:
			cell = strings.Repeat(" ", max(0, c.width-plain.Cells(cell))) + cell
		case t.style.Width > 0:
			cell = plain.Fit(cell, c.width)
		default:
			cell += strings.Repeat(" ", max(0, c.width-plain.Cells(cell)))
		}
		left -= c.width
		paint := color
		if e != nil && c.color != nil {
			paint = c.color(e)
		}
		b.WriteString(t.paint(paint, cell))
	}
	_, err := w.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	return err
}

// paint colours a text that is visible already.
func (t *table) paint(color, text string) string {
	if !t.style.Color || color == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// tone is red for what was refused or alarms, amber for what failed.
func tone(e *audit.Event) string {
	switch {
	case e.Kind == audit.KindAlert || e.Decision() == "forbid" || e.Status.Code == 401 || e.Status.Code == 403:
		return red
	case e.Status.Code >= 400:
		return amber
	}
	return ""
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func code(e *audit.Event) string {
	if e.Status.Code == 0 {
		return ""
	}
	return strconv.Itoa(int(e.Status.Code))
}

// who tells who did it, and as whom.
func who(e *audit.Event) string {
	if e.Impersonated == nil || e.Impersonated.Username == "" {
		return e.User.Username
	}
	return e.User.Username + " as " + e.Impersonated.Username
}

// what tells what it was done to, or what an event that is no request says.
func what(e *audit.Event) string {
	if e.Kind == audit.KindAlert {
		a := alertOf(e)
		return strings.TrimSpace(a.rule + ": " + or(a.summary, a.title))
	}
	s := query.ResourceOf(e)
	switch {
	case s == "":
		s = or(e.RequestURI, or(moreText(e, "summary"), e.Status.Message))
	case e.Object.Namespace != "" && e.Object.Name != "":
		s += " " + e.Object.Namespace + "/" + e.Object.Name
	case e.Object.Namespace != "":
		s += " in " + e.Object.Namespace
	case e.Object.Name != "":
		s += " " + e.Object.Name
	}
	if e.Object.Resource != "" && e.Status.Code >= 400 && e.Status.Reason != "" {
		s += " (" + e.Status.Reason + ")"
	}
	return s
}

// groups writes the counts below each other.
func (t *table) groups(w *bufio.Writer, g *search.Groups) error {
	if g.Timeline > 0 {
		return t.timeline(w, g)
	}
	withEvent := len(g.List) > 0 && g.List[0].Event != nil
	head := append([]string{"COUNT"}, upper(g.By)...)
	times := 0 // where the terminal has room for them
	switch {
	case withEvent:
		head = append(head, "SEQ", "TIME", "WHAT")
	case len(g.By) > 0:
		for times = 2; times > 0 && t.style.Width > 0 && 7+10*len(g.By)+21*times > t.style.Width; {
			times--
		}
		head = append(head, []string{"OLDEST", "NEWEST"}[2-times:]...)
	}
	rows := [][]string{head}
	for i := range g.List {
		group := &g.List[i]
		row := []string{strconv.FormatInt(group.Count, 10)}
		for _, value := range group.Values {
			row = append(row, or(plain.Text(value), "-"))
		}
		switch {
		case withEvent:
			row = append(row, strconv.FormatUint(group.Event.Seq, 10), t.time(group.Event.Time()), plain.Text(what(group.Event)))
		case len(g.By) > 0:
			row = append(row, []string{t.time(group.Since), t.time(group.Until)}[2-times:]...)
		}
		rows = append(rows, row)
	}
	widths := t.widths(rows, len(g.By), withEvent)
	for i, row := range rows {
		var b strings.Builder
		for c, cell := range row {
			if c == 0 {
				b.WriteString(strings.Repeat(" ", max(0, widths[0]-len(cell))) + cell)
				continue
			}
			b.WriteString("  " + plain.Fit(cell, widths[c]))
		}
		line := strings.TrimRight(b.String(), " ")
		if i == 0 {
			line = t.paint(faint, line)
		}
		if _, err := w.WriteString(line + "\n"); err != nil {
			return err
		}
	}
	if g.More > 0 {
		if _, err := fmt.Fprintf(w, "%d more groups are not shown\n", g.More); err != nil {
			return err
		}
	}
	if g.Cut > 0 {
		_, err := fmt.Fprintf(w, "%d events have more than %d values of a field, or are in more than %d groups: the rest of these is not counted\n", g.Cut, search.MaxValues, search.MaxCombinations)
		return err
	}
	return nil
}

// widths makes every column as wide as its widest cell, and the widest of those with
// texts of events narrower until all fit the terminal: the values, and what happened.
func (t *table) widths(rows [][]string, values int, withEvent bool) []int {
	widths := make([]int, len(rows[0]))
	sum := -2
	for c := range widths {
		for _, row := range rows {
			widths[c] = max(widths[c], plain.Cells(row[c]))
		}
		sum += widths[c] + 2
	}
	for ; t.style.Width > 0 && sum > t.style.Width; sum-- {
		widest, least := 0, 8 // a terminal narrower than that wraps the lines
		for c := range widths {
			text := c > 0 && c <= values || withEvent && c == len(widths)-1
			if text && widths[c] > least {
				widest, least = c, widths[c]
			}
		}
		if widest == 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

// timeline draws a bar for each step.
func (t *table) timeline(w *bufio.Writer, g *search.Groups) error {
	most, digits := int64(1), 5
	for i := range g.List {
		most = max(most, g.List[i].Count)
	}
	digits = max(digits, len(strconv.FormatInt(most, 10)))
	room := 60
	if t.style.Width > 0 {
		room = max(8, t.style.Width-19-digits-4)
	}
	if _, err := w.WriteString(t.paint(faint, "TIME                "+strings.Repeat(" ", digits-4)+"COUNT") + "\n"); err != nil {
		return err
	}
	for i := range g.List {
		group := &g.List[i]
		bar := int(int64(room) * group.Count / most)
		if bar == 0 && group.Count > 0 {
			bar = 1
		}
		line := fmt.Sprintf("%s  %*d  %s", t.time(group.Since), digits, group.Count, strings.Repeat("█", bar))
		if _, err := w.WriteString(strings.TrimRight(line, " ") + "\n"); err != nil {
			return err
		}
	}
	return nil
}

func upper(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = strings.ToUpper(plain.Text(name))
	}
	return out
}
