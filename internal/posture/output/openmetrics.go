package output

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/framework"
)

// openMetrics writes numbers, not findings: one series for each control and
// namespace that has some, so that the number of series stays small.
func openMetrics(w io.Writer, d *Document, _ Options) error {
	var b bytes.Buffer
	family := func(name, help string) {
		_, _ = fmt.Fprintf(&b, "# TYPE %s gauge\n# HELP %s %s\n", name, name, help)
	}
	family("bulwark_posture_scan_timestamp_seconds", "When the objects were judged.")
	_, _ = fmt.Fprintf(&b, "bulwark_posture_scan_timestamp_seconds %d\n", d.Time.Unix())
	family("bulwark_posture_objects", "Objects that were judged.")
	_, _ = fmt.Fprintf(&b, "bulwark_posture_objects %d\n", d.Summary.Objects)
	if d.Summary.Score != nil {
		family("bulwark_posture_score", "Weighted share of objects that pass, 0 to 100.")
		_, _ = fmt.Fprintf(&b, "bulwark_posture_score %d\n", *d.Summary.Score)
	}
	family("bulwark_posture_unread", "Parts of the input that could not be read.")
	_, _ = fmt.Fprintf(&b, "bulwark_posture_unread{what=\"problem\"} %d\nbulwark_posture_unread{what=\"kind\"} %d\n", len(d.Problems), len(d.Unreadable))
	family("bulwark_posture_findings", "Findings by control, namespace and verdict.")
	for _, s := range series(d) {
		_, _ = fmt.Fprintf(&b, "bulwark_posture_findings{control=%s,severity=%s,namespace=%s,verdict=%s} %d\n",
			label(s.control), label(s.severity.String()), label(s.namespace), label(s.verdict.String()), s.n)
	}
	family("bulwark_posture_control_objects", "Objects by control and verdict.")
	for i := range d.Controls {
		t := &d.Controls[i]
		for _, v := range []struct {
			verdict bulwark.Verdict
			n       int
		}{
			{bulwark.VerdictPass, t.Pass},
			{bulwark.VerdictFail, t.Fail},
			{bulwark.VerdictUnknown, t.Unknown},
			{bulwark.VerdictExcepted, t.Excepted},
			{bulwark.VerdictNotApplicable, t.NotApplicable},
		} {
			if v.n > 0 {
				_, _ = fmt.Fprintf(&b, "bulwark_posture_control_objects{control=%s,severity=%s,verdict=%s} %d\n", label(t.ID), label(t.Severity.String()), label(v.verdict.String()), v.n)
			}
		}
	}
	family("bulwark_posture_requirements", "Requirements of a framework by status.")
	for i := range d.Frameworks {
		for _, s := range framework.Statuses() {
			if n := d.Frameworks[i].Counts[s]; n > 0 {
				_, _ = fmt.Fprintf(&b, "bulwark_posture_requirements{framework=%s,status=%s} %d\n", label(d.Frameworks[i].ID), label(string(s)), n)
			}
		}
	}
	b.WriteString("# EOF\n")
	_, err := b.WriteTo(w)
	return err
}

type point struct {
	control, namespace string
	severity           bulwark.Severity
	verdict            bulwark.Verdict
	n                  int
}

func series(d *Document) []point {
	by := map[point]int{}
	for i := range d.Findings {
		f := &d.Findings[i]
		by[point{f.Control, f.Object.Namespace, f.Severity, f.Verdict, 0}]++
	}
	out := make([]point, 0, len(by))
	for p, n := range by {
		p.n = n
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.control, b.control), cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.severity, b.severity), cmp.Compare(a.verdict, b.verdict))
	})
	return out
}

// label quotes a value as the format wants it.
func label(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", ``).Replace(s) + `"`
}
