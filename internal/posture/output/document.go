// Package output writes what a scan found: for people (table, HTML, Markdown) and
// for programs (JSON, SARIF, JUnit, OCSF, OpenMetrics, PolicyReport). Names come
// from whoever wrote the objects, so every writer treats them as hostile.
package output

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/framework"
)

// Version is the form of the JSON document.
const Version = "bulwark.dev/scan/v1"

// Document is everything that a scan says.
type Document struct {
	Version string `json:"version"`
	Tool    Tool   `json:"tool"`
	// Time is when it was judged.
	Time time.Time `json:"time"`
	// Inputs are what was asked for: paths, or "cluster" and the context.
	Inputs  []string        `json:"inputs"`
	Cluster inventory.Facts `json:"cluster"`
	Summary Summary         `json:"summary"`
	// FixFirst are the controls whose repair helps most, the best first.
	FixFirst []Rank `json:"fixFirst"`
	// Findings fail, are unknown or are excepted; the worst first. With a baseline
	// they are only those that are new.
	Findings   []Finding              `json:"findings"`
	Controls   []posture.Tally        `json:"controls"`
	Frameworks []framework.Coverage   `json:"frameworks"`
	Unreadable []inventory.Unreadable `json:"unreadable"`
	Problems   []inventory.Problem    `json:"problems"`
}

// Tool is the program that made the document.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Finding is a finding and what the scan knows beside it.
type Finding struct {
	*bulwark.Finding
	// Exposed says how the object is reached from outside, "" where nothing shows
	// that it is.
	Exposed string `json:"exposed,omitempty"`
}

// Summary is the scan in numbers.
type Summary struct {
	Objects  int `json:"objects"`
	Controls int `json:"controls"`
	// Score is from 0 to 100, see framework.Score; absent where nothing was judged.
	Score *int `json:"score,omitempty"`
	// Fail are the failing findings by severity. These and the two below count those
	// too that are not shown.
	Fail     map[string]int `json:"fail"`
	Unknown  int            `json:"unknown"`
	Excepted int            `json:"excepted"`
	// Hidden are the findings of a lesser severity than is shown.
	Hidden int `json:"hidden,omitempty"`
	// Baseline is there if findings were compared with one.
	Baseline *Baseline `json:"baseline,omitempty"`
}

// Baseline says how the findings compare with those of an earlier scan.
type Baseline struct {
	New   int `json:"new"`
	Known int `json:"known"`
	Fixed int `json:"fixed"`
}

// Input is what a Document is made of.
type Input struct {
	Tool   Tool
	Time   time.Time
	Inputs []string
	Report *posture.Report
	// Findings are those of the report that are shown.
	Findings   []bulwark.Finding
	Frameworks []framework.Coverage
	// Exposed says how an object is reached from outside; nil knows of nothing.
	Exposed func(bulwark.ObjectRef) string
	// Known and Fixed compare with a baseline; Compared says that there was one.
	Compared     bool
	Known, Fixed int
	// Least leaves out findings of a lesser severity.
	Least bulwark.Severity
}

// New makes a Document.
func New(in Input) *Document {
	rep := in.Report
	d := &Document{
		Version: Version, Tool: in.Tool, Time: in.Time.UTC().Truncate(time.Second), Inputs: in.Inputs, Cluster: rep.Facts,
		Findings: []Finding{}, Controls: rep.Tallies, Frameworks: in.Frameworks, Unreadable: rep.Unreadable, Problems: rep.Problems,
		Summary: Summary{Objects: rep.Objects, Controls: len(rep.Tallies), Fail: map[string]int{}},
	}
	for _, s := range bulwark.Severities() {
		d.Summary.Fail[s] = 0
	}
	if score, ok := framework.Score(rep.Tallies); ok {
		d.Summary.Score = &score
	}
	for i := range in.Findings {
		f := &in.Findings[i]
		d.Summary.count(f)
		if f.Severity < in.Least {
			d.Summary.Hidden++
			continue
		}
		out := Finding{Finding: f}
		if in.Exposed != nil {
			out.Exposed = in.Exposed(f.Object)
		}
		d.Findings = append(d.Findings, out)
	}
	if in.Compared {
		d.Summary.Baseline = &Baseline{Known: in.Known, Fixed: in.Fixed}
		for i := range in.Findings {
			if in.Findings[i].Verdict != bulwark.VerdictExcepted {
				d.Summary.Baseline.New++
			}
		}
	}
	d.FixFirst = fixFirst(d)
	return d
}

func (s *Summary) count(f *bulwark.Finding) {
	switch f.Verdict {
	case bulwark.VerdictFail:
		s.Fail[f.Severity.String()]++
	case bulwark.VerdictExcepted:
		s.Excepted++
	case bulwark.VerdictUnknown:
		s.Unknown++
	case bulwark.VerdictPass, bulwark.VerdictNotApplicable: // make no findings
	}
}

// partial says that not everything could be read, "" where it could.
func (d *Document) partial() string {
	if len(d.Unreadable)+len(d.Problems) == 0 {
		return ""
	}
	return fmt.Sprintf("Not everything could be read: %s, %s", number(len(d.Problems), "problem", "problems"), number(len(d.Unreadable), "kind", "kinds"))
}

// Worst gives the severity of the worst finding that fails, zero if none does.
func (d *Document) Worst() bulwark.Severity {
	var worst bulwark.Severity
	for i := range d.Findings {
		if f := &d.Findings[i]; f.Verdict == bulwark.VerdictFail {
			worst = max(worst, f.Severity)
		}
	}
	return worst
}

// meta gives what is known of each control by id, of those too that only a finding
// names.
func (d *Document) meta() map[string]control.Meta {
	out := make(map[string]control.Meta, len(d.Controls))
	for i := range d.Controls {
		out[d.Controls[i].ID] = d.Controls[i].Meta
	}
	for i := range d.Findings {
		f := &d.Findings[i]
		if _, ok := out[f.Control]; !ok {
			out[f.Control] = control.Meta{ID: f.Control, Title: f.Title, Severity: f.Severity, Remediation: f.Remediation}
		}
	}
	return out
}

// Options are how to write a Document.
type Options struct {
	// Width is that of the terminal in columns; 0: not a terminal.
	Width int
	Color bool
}

// writers are the formats by name.
func writers() map[string]func(io.Writer, *Document, Options) error {
	return map[string]func(io.Writer, *Document, Options) error{
		"table":        table,
		"json":         asJSON,
		"sarif":        sarif,
		"junit":        junit,
		"html":         html,
		"markdown":     markdown,
		"ocsf":         ocsf,
		"openmetrics":  openMetrics,
		"policyreport": policyReport,
	}
}

// Formats lists the names of all formats, table first.
func Formats() []string {
	return []string{"table", "json", "sarif", "junit", "html", "markdown", "ocsf", "openmetrics", "policyreport"}
}

// Write writes a Document in a format of Formats.
func Write(w io.Writer, format string, d *Document, opt Options) error {
	write := writers()[format]
	if write == nil {
		return fmt.Errorf("%q is no format: use %s", format, strings.Join(Formats(), ", "))
	}
	out := bufio.NewWriterSize(w, 1<<16)
	err := write(out, d, opt)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write the findings as %s: %w", format, err)
	}
	return nil
}

// severitiesDown lists the severities, the worst first.
func severitiesDown() []bulwark.Severity {
	return []bulwark.Severity{
		bulwark.SeverityCritical, bulwark.SeverityHigh, bulwark.SeverityMedium, bulwark.SeverityLow, bulwark.SeverityInfo,
	}
}

// namespaces lists those of the findings, sorted.
func namespaces(d *Document) []string {
	var out []string
	for i := range d.Findings {
		out = append(out, d.Findings[i].Object.Namespace)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
