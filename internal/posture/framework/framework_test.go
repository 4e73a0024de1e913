package framework

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/control"
)

// The editions that are asked for are there, with as many requirements as their
// authors have.
func TestCatalog(t *testing.T) {
	t.Parallel()
	all, err := Load(catalog.Frameworks())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, f := range all {
		got[f.ID] = len(f.Requirements)
	}
	for id, n := range map[string]int{"cis-1.10": 130, "cis-1.11": 133, "cis-1.12": 131, "cis-2.0.1": 131} {
		if got[id] != n {
			t.Errorf("%s has %d requirements, want %d", id, got[id], n)
		}
	}
	for _, id := range []string{"nsa-cisa", "pss-baseline", "pss-restricted", "pci-dss-4.0.1", "hipaa", "gdpr", "soc2", "owasp-api-2023"} {
		if got[id] == 0 {
			t.Errorf("there is no framework %s", id)
		}
	}
	// 1.12 and 2.0.1 have the same ids.
	ids := map[string][]string{}
	for _, f := range all {
		for _, r := range f.Requirements {
			ids[f.ID] = append(ids[f.ID], r.ID)
		}
	}
	if diff := cmp.Diff(ids["cis-1.12"], ids["cis-2.0.1"]); diff != "" {
		t.Error(diff)
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	const start = "id: x\ntitle: X\nversion: \"1\"\nrequirements:\n"
	tests := []struct{ text, want string }{
		{start + "- {id: a, title: A}\n", ""},
		{start + "- {id: a, title: A, automatable: true, controls: [{id: c, evidence: detects, scope: full, why: w}]}\n", ""},
		{start + "- {id: a, title: A}\n- {id: a, title: B}\n", "twice"},
		{start + "- {id: a}\n", "no title"},
		{start + "- {id: a, title: A, controls: [{id: c, evidence: detects, scope: full, why: w}]}\n", "not automatable"},
		{start + "- {id: a, title: A, automatable: true, controls: [{id: c, evidence: proves, scope: full, why: w}]}\n", "evidence"},
		{start + "- {id: a, title: A, automatable: true, controls: [{id: c, evidence: detects, scope: some, why: w}]}\n", "scope"},
		{start + "- {id: a, title: A, automatable: true, controls: [{id: c, evidence: detects, scope: full}]}\n", "why"},
		{start + "- {id: a, title: A, automatable: true, controls: [{id: c, evidence: detects, scope: full, why: w}, {id: c, evidence: informs, scope: full, why: w}]}\n", "twice"},
		{start + "- {id: a, title: A, manual: true}\n", "manual"},
		{"id: x\n", "must be there"},
		{start + "- {id: a, title: A}\n---\nid: y\n", "more than one"},
		{"", "decode"},
	}
	for _, tt := range tests {
		_, err := Parse([]byte(tt.text))
		if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want %q", tt.text, err, tt.want)
		}
	}
}

func TestAssess(t *testing.T) {
	t.Parallel()
	tally := func(id string, s bulwark.Severity, t posture.Tally) posture.Tally {
		t.Meta = control.Meta{ID: id, Severity: s}
		return t
	}
	tallies := []posture.Tally{
		tally("pass", bulwark.SeverityHigh, posture.Tally{Pass: 3}),
		tally("pass2", bulwark.SeverityLow, posture.Tally{Pass: 1, NotApplicable: 5}),
		tally("fail", bulwark.SeverityCritical, posture.Tally{Pass: 3, Fail: 1, Unknown: 1, Excepted: 1}),
		tally("unknown", bulwark.SeverityMedium, posture.Tally{Pass: 9, Unknown: 1, Reasons: []string{"no permission"}}),
		tally("excepted", bulwark.SeverityMedium, posture.Tally{Pass: 9, Excepted: 1}),
		tally("na", bulwark.SeverityMedium, posture.Tally{NotApplicable: 2, Reasons: []string{"managed"}}),
		tally("unseen", bulwark.SeverityMedium, posture.Tally{}),
	}
	d := func(id string, s Scope) Mapping { return Mapping{id, Detects, s, "w"} }
	tests := []struct {
		want     Status
		controls []Mapping
	}{
		{StatusPass, []Mapping{d("pass", Full)}},
		{StatusPass, []Mapping{d("pass", Full), d("pass2", Partial), d("unseen", Full), d("na", Full)}},
		{StatusPartial, []Mapping{d("pass", Partial), d("pass2", Partial)}},
		{StatusPartial, []Mapping{d("pass", Partial), d("unseen", Full)}},
		{StatusFail, []Mapping{d("pass", Full), d("fail", Partial)}},
		{StatusFail, []Mapping{d("unknown", Full), d("fail", Partial)}},
		{StatusUnknown, []Mapping{d("pass", Full), d("unknown", Partial)}},
		{StatusUnknown, []Mapping{d("excepted", Full), d("unknown", Partial)}},
		{StatusUnknown, []Mapping{d("pass", Full), d("did-not-run", Partial)}},
		{StatusExcepted, []Mapping{d("pass", Full), d("excepted", Full)}},
		{StatusNotApplicable, []Mapping{d("na", Full)}},
		{StatusUnseen, []Mapping{d("na", Full), d("unseen", Full)}},
		{StatusInformed, []Mapping{{"pass", Informs, Full, "w"}}},
		{StatusInformed, []Mapping{{"fail", Informs, Full, "w"}}},
		{StatusPass, []Mapping{d("pass", Full), {"fail", Informs, Full, "w"}}},
		{StatusUnseen, []Mapping{{"did-not-run", Informs, Full, "w"}}},
	}
	for i, tt := range tests {
		c := Assess(&Framework{Requirements: []Requirement{{ID: "r", Title: "R", Automatable: true, Controls: tt.controls}}}, tallies)
		if got := c.Results[0].Status; got != tt.want {
			t.Errorf("case %d: %s, want %s", i, got, tt.want)
		}
	}
	f := &Framework{Requirements: []Requirement{
		{ID: "1", Title: "manual"},
		{ID: "2", Title: "gap", Automatable: true},
		{ID: "3", Title: "passes", Automatable: true, Controls: []Mapping{d("pass", Full)}},
		{ID: "4", Title: "fails", Automatable: true, Controls: []Mapping{d("fail", Full)}},
		{ID: "5", Title: "unknown", Automatable: true, Controls: []Mapping{d("unknown", Full)}},
		{ID: "6", Title: "na", Automatable: true, Controls: []Mapping{d("na", Full)}},
		{ID: "7", Title: "partly", Automatable: true, Controls: []Mapping{d("pass2", Partial)}},
	}}
	c := Assess(f, tallies)
	if c.Total != 7 || c.Applicable != 6 || c.Evidence != 50 || c.Passing != 33 {
		t.Errorf("total %d, applicable %d, evidence %d%%, passing %d%%", c.Total, c.Applicable, c.Evidence, c.Passing)
	}
	for _, s := range []Status{StatusManual, StatusGap, StatusPass, StatusFail, StatusUnknown, StatusNotApplicable, StatusPartial} {
		if c.Counts[s] != 1 {
			t.Errorf("%d are %s", c.Counts[s], s)
		}
	}
	if score, ok := Score(tallies); !ok || score != 75 {
		t.Errorf("score %d, %t", score, ok)
	}
	if _, ok := Score(tallies[5:]); ok {
		t.Error("nothing was judged, and there is a score")
	}
	if score, _ := Score(tallies[:2]); score != 100 {
		t.Errorf("all pass, score %d", score)
	}
	almost := []posture.Tally{tally("x", bulwark.SeverityLow, posture.Tally{Pass: 99999, Fail: 1})}
	if score, _ := Score(almost); score != 99 {
		t.Errorf("one of many fails, score %d", score)
	}
}

func TestSuits(t *testing.T) {
	t.Parallel()
	f := &Framework{Kubernetes: []string{"1.32", "1.33"}}
	for version, want := range map[string]bool{"": true, "v1.33.2": true, "1.32": true, "v1.31.9": false, "v1.33+": true, "v1.3.2": false, "odd": true} {
		if f.Suits(version) != want {
			t.Errorf("%q suits: %t", version, !want)
		}
	}
	if !Newer("2.0.1", "1.12") || !Newer("1.12", "1.9") || Newer("1.12", "1.12") || Newer("1.9", "1.10") {
		t.Error("versions are not compared by number")
	}
}
