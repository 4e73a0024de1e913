package output

import (
	"encoding/xml"
	"io"

	"bulwark.dev/bulwark"
)

// The parts of JUnit's XML that CI servers read.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name      string      `xml:"name,attr"`
		Tests     int         `xml:"tests,attr"`
		Failures  int         `xml:"failures,attr"`
		Skipped   int         `xml:"skipped,attr"`
		Timestamp string      `xml:"timestamp,attr"`
		Cases     []junitCase `xml:"testcase"`
	}
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

// junit writes one suite for each control and one case for each finding; a control
// whose every object passes is one case that passes. What is unknown or excepted
// is skipped, which is not passing.
func junit(w io.Writer, d *Document, _ Options) error {
	byControl := map[string][]*Finding{}
	for i := range d.Findings {
		byControl[d.Findings[i].Control] = append(byControl[d.Findings[i].Control], &d.Findings[i])
	}
	out := junitSuites{Name: "bulwark scan"}
	stamp := d.Time.Format("2006-01-02T15:04:05")
	for i := range d.Controls {
		t := &d.Controls[i]
		s := junitSuite{Name: xmlText(t.ID), Timestamp: stamp}
		for _, f := range byControl[t.ID] {
			s.add(f)
		}
		if len(s.Cases) == 0 && t.Pass > 0 && t.Fail+t.Unknown+t.Excepted == 0 {
			s.Cases = []junitCase{{Name: xmlText(number(t.Pass, "object", "objects") + " pass"), Class: xmlText(t.ID)}}
			s.Tests = 1
		}
		delete(byControl, t.ID)
		out.add(s)
	}
	for _, g := range groups(d, bulwark.VerdictFail, bulwark.VerdictUnknown, bulwark.VerdictExcepted) {
		if byControl[g.control] == nil {
			continue
		}
		s := junitSuite{Name: xmlText(g.control), Timestamp: stamp}
		for _, f := range g.findings {
			s.add(f)
		}
		out.add(s)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (o *junitSuites) add(s junitSuite) {
	if s.Tests == 0 {
		return
	}
	o.Suites = append(o.Suites, s)
	o.Tests += s.Tests
	o.Failures += s.Failures
	o.Skipped += s.Skipped
}

func (s *junitSuite) add(f *Finding) {
	name := subject(f.Object)
	if f.Field != "" {
		name += " " + f.Field
	}
	c := junitCase{Name: xmlText(name), Class: xmlText(f.Control), File: xmlText(f.Location.File), Line: f.Location.Line}
	s.Tests++
	switch f.Verdict {
	case bulwark.VerdictFail:
		s.Failures++
		text := f.Message
		if at := place(f.Location.File, f.Location.Line); at != "" {
			text += "\nat " + at
		}
		if f.Remediation != "" {
			text += "\nto do: " + f.Remediation
		}
		c.Failure = &junitFailure{Message: xmlText(f.Message), Type: f.Severity.String(), Text: xmlLines(text)}
	case bulwark.VerdictExcepted:
		s.Skipped++
		c.Skipped = &junitSkipped{"excepted: " + xmlText(f.Reason)}
	case bulwark.VerdictUnknown, bulwark.VerdictPass, bulwark.VerdictNotApplicable:
		s.Skipped++
		c.Skipped = &junitSkipped{"unknown: " + xmlText(or(f.Reason, f.Message))}
	}
	s.Cases = append(s.Cases, c)
}

// xmlText is plain: the encoder escapes markup, and some servers show control
// characters as they are.
func xmlText(s string) string { return plain(s) }
