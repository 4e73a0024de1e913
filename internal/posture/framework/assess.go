package framework

import (
	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture"
)

// Status is what is known of a requirement. The zero Status is not valid.
type Status string

// The statuses, from the one that asks for work most.
const (
	// StatusFail: a control that detects or enforces fails somewhere.
	StatusFail Status = "fail"
	// StatusUnknown: nothing fails, and something could not be judged, or a
	// control did not run.
	StatusUnknown Status = "unknown"
	// StatusExcepted: nothing fails but what exceptions cover.
	StatusExcepted Status = "excepted"
	// StatusPartial: what was judged passes, and the controls speak of a part of the
	// requirement only.
	StatusPartial Status = "partial"
	// StatusPass: what was judged passes, and a control speaks of all of it.
	StatusPass Status = "pass"
	// StatusInformed: there is evidence for a person, which decides nothing.
	StatusInformed Status = "informed"
	// StatusUnseen: its controls ran, and the input held nothing that they judge.
	StatusUnseen Status = "unseen"
	// StatusNotApplicable: its controls say that it does not apply.
	StatusNotApplicable Status = "not-applicable"
	// StatusManual: only a person, or a node's files, can tell.
	StatusManual Status = "manual"
	// StatusGap: it could be told, and no control does yet.
	StatusGap Status = "gap"
)

// Statuses lists all of them in that order.
func Statuses() []Status {
	return []Status{
		StatusFail, StatusUnknown, StatusExcepted, StatusPartial, StatusPass,
		StatusInformed, StatusUnseen, StatusNotApplicable, StatusManual, StatusGap,
	}
}

// Coverage is what a scan tells about a framework.
type Coverage struct {
	ID      string `json:"id"`
	Title   string `json:"title"`
	Version string `json:"version"`
	// Total is how many requirements there are, Applicable those of them that are
	// not not-applicable.
	Total      int `json:"total"`
	Applicable int `json:"applicable"`
	// Counts are the requirements by status; those that are nowhere are left out.
	Counts map[Status]int `json:"counts"`
	// Evidence is the share, in percent of the applicable, for which a control gave
	// a verdict on something: fail, excepted, partial, pass or informed.
	Evidence int `json:"evidencePercent"`
	// Passing is the share, in percent of the applicable, that is pass or partial.
	Passing int      `json:"passingPercent"`
	Results []Result `json:"requirements"`
}

// Result is what a scan tells about one requirement.
type Result struct {
	ID       string   `json:"id"`
	Title    string   `json:"title"`
	Level    int      `json:"level,omitempty"`
	Status   Status   `json:"status"`
	Controls []Proof  `json:"controls,omitempty"`
	Reasons  []string `json:"reasons,omitempty"`
}

// Proof is what one control says of a requirement.
type Proof struct {
	ID       string   `json:"id"`
	Evidence Evidence `json:"evidence"`
	Scope    Scope    `json:"scope"`
	Status   Status   `json:"status"`
	Fail     int      `json:"fail"`
	Pass     int      `json:"pass"`
}

// Assess says what tallies tell about a framework. A control without a tally did
// not run, and is unknown.
func Assess(f *Framework, tallies []posture.Tally) Coverage {
	byID := make(map[string]*posture.Tally, len(tallies))
	for i := range tallies {
		byID[tallies[i].ID] = &tallies[i]
	}
	c := Coverage{ID: f.ID, Title: f.Title, Version: f.Version, Total: len(f.Requirements), Counts: map[Status]int{}}
	for i := range f.Requirements {
		r := assess(&f.Requirements[i], byID)
		c.Counts[r.Status]++
		c.Results = append(c.Results, r)
	}
	c.Applicable = c.Total - c.Counts[StatusNotApplicable]
	passing := c.Counts[StatusPass] + c.Counts[StatusPartial]
	c.Evidence = percent(passing+c.Counts[StatusFail]+c.Counts[StatusExcepted]+c.Counts[StatusInformed], c.Applicable)
	c.Passing = percent(passing, c.Applicable)
	return c
}

// percent rounds down: 100 means all.
func percent(part, whole int) int {
	if whole == 0 {
		return 0
	}
	return part * 100 / whole
}

func assess(r *Requirement, byID map[string]*posture.Tally) Result {
	out := Result{ID: r.ID, Title: r.Title, Level: r.Level}
	if len(r.Controls) == 0 {
		out.Status = StatusManual
		if r.Automatable {
			out.Status = StatusGap
		}
		return out
	}
	n, full, informed := map[Status]int{}, 0, false
	for _, m := range r.Controls {
		p := Proof{ID: m.ID, Evidence: m.Evidence, Scope: m.Scope, Status: StatusUnknown}
		if t := byID[m.ID]; t == nil {
			out.Reasons = append(out.Reasons, m.ID+" did not run")
		} else {
			p.Status, p.Fail, p.Pass = judge(t), t.Fail, t.Pass
			if p.Status == StatusUnknown || p.Status == StatusNotApplicable {
				for _, why := range t.Reasons {
					out.Reasons = append(out.Reasons, m.ID+": "+why)
				}
			}
		}
		out.Controls = append(out.Controls, p)
		if m.Evidence == Informs {
			informed = informed || p.Status != StatusUnseen && p.Status != StatusNotApplicable && p.Status != StatusUnknown
			continue
		}
		n[p.Status]++
		if p.Status == StatusPass && m.Scope == Full {
			full++
		}
	}
	out.Status = sum(n, full > 0, informed)
	return out
}

// judge gives the status of one control.
func judge(t *posture.Tally) Status {
	switch {
	case t.Fail > 0:
		return StatusFail
	case t.Unknown > 0:
		return StatusUnknown
	case t.Excepted > 0:
		return StatusExcepted
	case t.Pass > 0:
		return StatusPass
	case t.NotApplicable > 0:
		return StatusNotApplicable
	}
	return StatusUnseen
}

// sum joins the statuses of the controls that decide.
func sum(n map[Status]int, full, informed bool) Status {
	for _, s := range []Status{StatusFail, StatusUnknown, StatusExcepted} {
		if n[s] > 0 {
			return s
		}
	}
	switch {
	case n[StatusPass] > 0 && full:
		return StatusPass
	case n[StatusPass] > 0:
		return StatusPartial
	case informed:
		return StatusInformed
	case n[StatusUnseen] > 0:
		return StatusUnseen
	case n[StatusNotApplicable] > 0:
		return StatusNotApplicable
	}
	return StatusUnseen
}

// Weight gives how much one finding of a severity counts; info counts nothing.
func Weight(s bulwark.Severity) int {
	switch s {
	case bulwark.SeverityLow:
		return 1
	case bulwark.SeverityMedium:
		return 3
	case bulwark.SeverityHigh:
		return 6
	case bulwark.SeverityCritical:
		return 10
	case bulwark.SeverityInfo:
	}
	return 0
}

// Score is from 0 to 100: the share of objects that pass each control, weighted by
// the controls' severities. What is unknown or excepted does not pass. It rounds
// down, so 100 means that everything passes. ok is false where nothing was judged.
func Score(tallies []posture.Tally) (score int, ok bool) {
	var got, all float64
	for i := range tallies {
		t := &tallies[i]
		w := float64(Weight(t.Severity))
		judged := t.Pass + t.Fail + t.Unknown + t.Excepted
		if w == 0 || judged == 0 {
			continue
		}
		got += w * float64(t.Pass) / float64(judged)
		all += w
	}
	if all == 0 {
		return 0, false
	}
	if got == all {
		return 100, true
	}
	return min(99, int(100*got/all)), true
}
