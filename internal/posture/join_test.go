package posture

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

func TestJoin(t *testing.T) {
	t.Parallel()
	f := func(fp string, s bulwark.Severity) bulwark.Finding {
		return bulwark.Finding{Control: "a", Fingerprint: fp, Severity: s, Verdict: bulwark.VerdictFail}
	}
	tally := func(id string, pass, fail int, why ...string) Tally {
		return Tally{Meta: control.Meta{ID: id}, Pass: pass, Fail: fail, Reasons: why}
	}
	one := &Report{Objects: 2, Findings: []bulwark.Finding{f("x", bulwark.SeverityLow)}, Tallies: []Tally{tally("a", 1, 1, "r"), tally("b", 2, 0)}}
	two := &Report{Objects: 3, Findings: []bulwark.Finding{f("y", bulwark.SeverityHigh), f("x", bulwark.SeverityLow)}, Tallies: []Tally{tally("a", 0, 2, "q", "r"), tally("b", 3, 0)}}
	if Join([]*Report{one}) != one {
		t.Error("one report is not itself")
	}
	out := Join([]*Report{one, two})
	if diff := cmp.Diff([]bulwark.Finding{f("y", bulwark.SeverityHigh), f("x", bulwark.SeverityLow)}, out.Findings); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Tally{tally("a", 1, 3, "q", "r"), tally("b", 5, 0)}, out.Tallies); diff != "" {
		t.Error(diff)
	}
	if out.Objects != 5 {
		t.Errorf("%d objects", out.Objects)
	}
}

// What fails in one overlay is not hidden by what another says of the same place.
func TestJoinWorst(t *testing.T) {
	t.Parallel()
	f := func(v bulwark.Verdict, s bulwark.Severity) *Report {
		return &Report{Findings: []bulwark.Finding{{Control: "a", Fingerprint: "x", Severity: s, Verdict: v}}}
	}
	low, high := bulwark.SeverityLow, bulwark.SeverityHigh
	for _, tt := range []struct{ worse, other *Report }{
		{f(bulwark.VerdictFail, low), f(bulwark.VerdictUnknown, low)},
		{f(bulwark.VerdictFail, low), f(bulwark.VerdictExcepted, high)},
		{f(bulwark.VerdictUnknown, low), f(bulwark.VerdictExcepted, low)},
		{f(bulwark.VerdictFail, high), f(bulwark.VerdictFail, low)},
	} {
		for _, parts := range [][]*Report{{tt.worse, tt.other}, {tt.other, tt.worse}} {
			if diff := cmp.Diff(tt.worse.Findings, Join(parts).Findings); diff != "" {
				t.Error(diff)
			}
		}
	}
}
