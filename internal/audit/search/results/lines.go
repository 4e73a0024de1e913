package results

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search"
	"bulwark.dev/bulwark/internal/audit/search/plain"
)

// stampForm is how times are written for programs: as in the canonical form.
const stampForm = "2006-01-02T15:04:05.000000Z07:00"

// lines is JSON, one object a line: the number and time of an event, and then the
// members of its canonical form, in its order. It is the canonical form's bytes but for
// characters that a terminal obeys or hides, which are escaped.
type lines struct{ buf []byte }

func (l *lines) begin(*bufio.Writer) error { return nil }

func (l *lines) event(w *bufio.Writer, e *audit.Event) error {
	l.buf = strconv.AppendUint(append(l.buf[:0], `{"seq":`...), e.Seq, 10)
	if at := e.Time(); !at.IsZero() {
		l.buf = at.UTC().AppendFormat(append(l.buf, `,"time":"`...), stampForm)
		l.buf = append(l.buf, '"')
	}
	at := len(l.buf)
	l.buf = audit.AppendCanonical(l.buf, e)
	l.buf[at] = ',' // in place of the opening brace
	if len(l.buf) == at+2 {
		l.buf = append(l.buf[:at], '}')
	}
	_, err := w.Write(append(escapeHidden(l.buf), '\n'))
	return err
}

// escapeHidden writes those characters of a line of JSON that a terminal obeys or hides
// as JSON escapes. They can only stand within texts, so the line means the same.
func escapeHidden(line []byte) []byte {
	if bytes.IndexFunc(line, plain.Hidden) < 0 {
		return line
	}
	const hex = "0123456789abcdef"
	out := make([]byte, 0, len(line)+64)
	unit := func(u rune) {
		out = append(out, '\\', 'u', hex[u>>12&15], hex[u>>8&15], hex[u>>4&15], hex[u&15])
	}
	for _, r := range string(line) {
		switch high, low := utf16.EncodeRune(r); {
		case !plain.Hidden(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			unit(high)
			unit(low)
		default:
			unit(r)
		}
	}
	return out
}

// writeJSON writes a value as a line.
func writeJSON(w *bufio.Writer, value any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return err
	}
	_, err := w.Write(append(escapeHidden(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), '\n'))
	return err
}

// groupLine is a group as a line of JSON.
type groupLine struct {
	By    map[string]string `json:"by,omitempty"`
	Count int64             `json:"count"`
	// Of a timeline, time is where the step begins.
	Time   string `json:"time,omitempty"`
	Oldest string `json:"oldest,omitempty"`
	Newest string `json:"newest,omitempty"`
	// Event is the first or last one, as in a search.
	Event json.RawMessage `json:"event,omitempty"`
}

func (l *lines) groups(w *bufio.Writer, g *search.Groups) error {
	for i := range g.List {
		group := &g.List[i]
		line := groupLine{Count: group.Count}
		switch {
		case g.Timeline > 0:
			line.Time = group.Since.UTC().Format(stampForm)
		case group.Count > 0:
			line.Oldest, line.Newest = group.Since.UTC().Format(stampForm), group.Until.UTC().Format(stampForm)
		}
		if len(g.By) > 0 {
			line.By = map[string]string{}
			for n, name := range g.By {
				line.By[name] = group.Values[n]
			}
		}
		if group.Event != nil {
			var b strings.Builder
			inner := bufio.NewWriter(&b)
			if err := l.event(inner, group.Event); err != nil {
				return err
			}
			if err := inner.Flush(); err != nil {
				return err
			}
			line.Event = json.RawMessage(strings.TrimSpace(b.String()))
		}
		if err := writeJSON(w, &line); err != nil {
			return err
		}
	}
	return nil
}

// sheets is CSV (RFC 4180) with a line of names first. Cells are safe to open in a
// sheet: see cell.
type sheets struct{}

// sheetColumns are the columns of an event.
func sheetColumns() []string {
	return []string{
		"seq", "time", "kind", "cluster", "user", "impersonatedUser", "groups", "verb", "apiGroup", "resource", "subresource",
		"namespace", "name", "code", "reason", "decision", "sourceIPs", "userAgent", "requestURI", "auditID", "source", "rule", "summary",
	}
}

func (s *sheets) begin(w *bufio.Writer) error { return s.row(w, sheetColumns()) }

func (s *sheets) event(w *bufio.Writer, e *audit.Event) error { return s.row(w, sheetRow(e)) }

func sheetRow(e *audit.Event) []string {
	as := ""
	if e.Impersonated != nil {
		as = e.Impersonated.Username
	}
	a := alertOf(e)
	return []string{
		strconv.FormatUint(e.Seq, 10), when(e.Time()), cell(string(e.Kind)), cell(e.Cluster), cell(e.User.Username), cell(as),
		cell(strings.Join(e.Actor().Groups, " ")), cell(e.Verb), cell(e.Object.APIGroup), cell(e.Object.Resource), cell(e.Object.Subresource),
		cell(e.Object.Namespace), cell(e.Object.Name), code(e), cell(e.Status.Reason), cell(e.Decision()),
		cell(strings.Join(e.SourceIPs, " ")), cell(e.UserAgent), cell(e.RequestURI), cell(e.AuditID), cell(e.Source), cell(a.rule), cell(a.summary),
	}
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(stampForm)
}

// cell makes a text safe in a sheet. What a sheet would take for a formula gets an
// apostrophe before it, which sheets show as text; what is invisible is written out.
func cell(s string) string {
	s = plain.Text(s)
	if strings.IndexFunc(s, func(r rune) bool { return strings.ContainsRune("=+-@＝＋－＠", r) }) == 0 {
		return "'" + s
	}
	return s
}

func (s *sheets) row(w *bufio.Writer, cells []string) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	if err := out.Write(cells); err != nil {
		return err
	}
	out.Flush()
	return out.Error()
}

func (s *sheets) groups(w *bufio.Writer, g *search.Groups) error {
	if g.Timeline > 0 {
		if err := s.row(w, []string{"time", "count"}); err != nil {
			return err
		}
		for i := range g.List {
			if err := s.row(w, []string{when(g.List[i].Since), strconv.FormatInt(g.List[i].Count, 10)}); err != nil {
				return err
			}
		}
		return nil
	}
	withEvent := slices.ContainsFunc(g.List, func(group search.Group) bool { return group.Event != nil })
	head := append(slices.Clone(g.By), "count", "oldest", "newest")
	if withEvent {
		for _, name := range sheetColumns() {
			head = append(head, "event."+name)
		}
	}
	if err := s.row(w, head); err != nil {
		return err
	}
	for i := range g.List {
		group := &g.List[i]
		var row []string
		for _, value := range group.Values {
			row = append(row, cell(value))
		}
		oldest, newest := "", ""
		if group.Count > 0 {
			oldest, newest = when(group.Since), when(group.Until)
		}
		row = append(row, strconv.FormatInt(group.Count, 10), oldest, newest)
		if withEvent {
			row = append(row, sheetRow(group.Event)...)
		}
		if err := s.row(w, row); err != nil {
			return err
		}
	}
	return nil
}
