package output

import (
	"encoding/xml"
	"io"
	"strconv"

	"bulwark.dev/bulwark"
)

// The parts of JUnit's XML that CI servers read.
type (
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr,omitempty"`
		Line    int           `xml:"line,attr,omitempty"`
		Failure *junitFailure `xml:"failure"`
		Skipped *junitSkipped `xml:"skipped"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
)

// junitCount is what a suite, or all of them, says of its cases.
type junitCount struct{ tests, failures, skipped int }

func (n *junitCount) add(v bulwark.Verdict) {
	n.tests++
	switch v {
	case bulwark.VerdictFail:
		n.failures++
	case bulwark.VerdictUnknown, bulwark.VerdictExcepted, bulwark.VerdictPass, bulwark.VerdictNotApplicable:
		n.skipped++
	}
}

func (n *junitCount) attrs(name string, more ...xml.Attr) []xml.Attr {
	attr := func(name string, n int) xml.Attr {
		return xml.Attr{Name: xml.Name{Local: name}, Value: strconv.Itoa(n)}
	}
	return append([]xml.Attr{
		{Name: xml.Name{Local: "name"}, Value: name}, attr("tests", n.tests), attr("failures", n.failures), attr("skipped", n.skipped),
	}, more...)
}

// junitSuite is the cases of one control.
type junitSuite struct {
	control  string
	findings []*Finding
	passes   int // objects, where all of them pass
	count    junitCount
}

// junit writes one suite for each control and one case for each finding; a control
// whose every object passes is one case that passes. What is unknown or excepted
// is skipped, which is not passing.
func junit(w io.Writer, d *Document, _ Options) error {
	suites := junitSuites(d)
	var all junitCount
	for i := range suites {
		n := &suites[i].count
		all = junitCount{all.tests + n.tests, all.failures + n.failures, all.skipped + n.skipped}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	root := xml.StartElement{Name: xml.Name{Local: "testsuites"}, Attr: all.attrs("bulwark scan")}
	if err := enc.EncodeToken(root); err != nil {
		return err
	}
	stamp := xml.Attr{Name: xml.Name{Local: "timestamp"}, Value: d.Time.Format("2006-01-02T15:04:05")}
	for i := range suites {
		if err := suites[i].write(enc, stamp); err != nil {
			return err
		}
	}
	if err := enc.EncodeToken(root.End()); err != nil {
		return err
	}
	if err := enc.Close(); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// junitSuites gives the controls that have cases: in their order, then those that
// only findings name.
func junitSuites(d *Document) []junitSuite {
	byControl := map[string][]*Finding{}
	for i := range d.Findings {
		byControl[d.Findings[i].Control] = append(byControl[d.Findings[i].Control], &d.Findings[i])
	}
	var out []junitSuite
	add := func(s junitSuite) {
		for _, f := range s.findings {
			s.count.add(f.Verdict)
		}
		if s.count.tests > 0 {
			out = append(out, s)
		}
	}
	for i := range d.Controls {
		t := &d.Controls[i]
		s := junitSuite{control: t.ID, findings: byControl[t.ID]}
		if len(s.findings) == 0 && t.Pass > 0 && t.Fail+t.Unknown+t.Excepted == 0 {
			s.passes, s.count.tests = t.Pass, 1
		}
		delete(byControl, t.ID)
		add(s)
	}
	for _, g := range groups(d, bulwark.VerdictFail, bulwark.VerdictUnknown, bulwark.VerdictExcepted) {
		if byControl[g.control] != nil {
			add(junitSuite{control: g.control, findings: g.findings})
		}
	}
	return out
}

func (s *junitSuite) write(enc *xml.Encoder, stamp xml.Attr) error {
	start := xml.StartElement{Name: xml.Name{Local: "testsuite"}, Attr: s.count.attrs(xmlText(s.control), stamp)}
	if err := enc.EncodeToken(start); err != nil {
		return err
	}
	at := xml.StartElement{Name: xml.Name{Local: "testcase"}}
	if s.passes > 0 {
		if err := enc.EncodeElement(junitCase{Name: xmlText(number(s.passes, "object", "objects") + " pass"), Class: xmlText(s.control)}, at); err != nil {
			return err
		}
	}
	for _, f := range s.findings {
		if err := enc.EncodeElement(junitOf(f), at); err != nil {
			return err
		}
	}
	return enc.EncodeToken(start.End())
}

func junitOf(f *Finding) junitCase {
	name := subject(f.Object)
	if f.Field != "" {
		name += " " + f.Field
	}
	c := junitCase{Name: xmlText(name), Class: xmlText(f.Control), File: xmlText(f.Location.File), Line: f.Location.Line}
	switch f.Verdict {
	case bulwark.VerdictFail:
		text := f.Message
		if at := place(f.Location.File, f.Location.Line); at != "" {
			text += "\nat " + at
		}
		if f.Remediation != "" {
			text += "\nto do: " + f.Remediation
		}
		c.Failure = &junitFailure{Message: xmlText(f.Message), Type: f.Severity.String(), Text: xmlLines(text)}
	case bulwark.VerdictExcepted:
		c.Skipped = &junitSkipped{"excepted: " + xmlText(f.Reason)}
	case bulwark.VerdictUnknown, bulwark.VerdictPass, bulwark.VerdictNotApplicable:
		c.Skipped = &junitSkipped{"unknown: " + xmlText(or(f.Reason, f.Message))}
	}
	return c
}

// xmlText is plain: the encoder escapes markup, and some servers show control
// characters as they are.
func xmlText(s string) string { return plain(s) }
