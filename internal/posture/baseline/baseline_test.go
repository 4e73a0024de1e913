package baseline

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/control"
)

func finding(fp, id string, s bulwark.Severity, v bulwark.Verdict) bulwark.Finding {
	return bulwark.Finding{Fingerprint: fp, Control: id, Severity: s, Verdict: v, Object: bulwark.ObjectRef{Kind: "Pod", Name: fp}}
}

func report(findings ...bulwark.Finding) *posture.Report {
	return &posture.Report{Findings: findings, Tallies: []posture.Tally{{Meta: control.Meta{ID: "a"}}, {Meta: control.Meta{ID: "b"}}}}
}

const (
	low  = bulwark.SeverityLow
	high = bulwark.SeverityHigh
	fail = bulwark.VerdictFail
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	b := Make(report(finding("2", "b", high, fail), finding("1", "a", low, fail), finding("1", "a", low, fail), finding("3", "a", low, bulwark.VerdictExcepted)))
	var out bytes.Buffer
	if err := b.Write(&out); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(out.String(), "\n"); lines != 4 {
		t.Errorf("%d lines, want one for each of two findings:\n%s", lines, &out)
	}
	back, err := Read(&out)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, back); diff != "" {
		t.Error(diff)
	}
	var none bytes.Buffer
	if err := Make(report()).Write(&none); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(&none); err != nil {
		t.Error(err)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "{", "[]", "null", `{"version":"other","findings":[]}`, `{"version":"bulwark.dev/baseline/v1","findings":[{}]}`,
		`{"version":"bulwark.dev/baseline/v1","findings":[]} more`, `{"version":"bulwark.dev/baseline/v1","findings":[],"x":1}`,
		`{"version":"bulwark.dev/baseline/v1","findings":[{"fingerprint":"1","severity":"awful","verdict":"fail"}]}`,
		`{"version":"bulwark.dev/baseline/v1","findings":[{"fingerprint":"1"}]}`,
		`{"version":"bulwark.dev/baseline/v2","findings":[]}`, `{"version":"bulwark.dev/baseline/v1","findings":[{"fingerprint":"1","seve`,
		`{"version":"bulwark.dev/baseline/v1","findings":[{"fingerprint":"1","severity":"low","verdict":"pass"}]}`,
		`{"version":"bulwark.dev/baseline/v1","findings":[{"fingerprint":"1","severity":"low","verdict":"excepted"}]}`,
	} {
		if b, err := Read(strings.NewReader(text)); err == nil {
			t.Errorf("%q reads as %+v", text, b)
		}
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	before := Make(report(
		finding("same", "a", low, fail), finding("worse", "a", low, fail), finding("better", "a", high, fail),
		finding("seen", "a", high, bulwark.VerdictUnknown), finding("gone", "b", low, fail), finding("elsewhere", "not-run", low, fail),
	))
	now := report(
		finding("better", "a", low, fail), finding("same", "a", low, fail), finding("worse", "a", high, fail),
		finding("seen", "a", low, fail), finding("new", "b", low, fail), finding("accepted", "b", low, bulwark.VerdictExcepted),
	)
	fresh, known, fixed := before.Split(now)
	names := func(all []bulwark.Finding) []string {
		var out []string
		for _, f := range all {
			out = append(out, f.Fingerprint)
		}
		slices.Sort(out)
		return out
	}
	if diff := cmp.Diff([]string{"accepted", "new", "seen", "worse"}, names(fresh)); diff != "" {
		t.Errorf("new: %s", diff)
	}
	if diff := cmp.Diff([]string{"better", "same"}, names(known)); diff != "" {
		t.Errorf("known: %s", diff)
	}
	if fixed != 1 {
		t.Errorf("%d fixed, want 1: what did not run is not fixed", fixed)
	}
}

// Two equal findings where one was: the second is new, by its number.
func TestSplitCounts(t *testing.T) {
	t.Parallel()
	before := Make(report(finding("x", "a", high, fail)))
	fresh, known, _ := before.Split(report(finding("x", "a", high, fail), finding("x-2", "a", high, fail)))
	if len(fresh) != 1 || fresh[0].Fingerprint != "x-2" || len(known) != 1 {
		t.Errorf("new %v, known %v", fresh, known)
	}
}

// A file that was merged by hand does not hide what it holds twice.
func TestSplitTwice(t *testing.T) {
	t.Parallel()
	for _, order := range [][]bulwark.Severity{{low, high}, {high, low}} {
		b := &Baseline{Version: Version}
		for _, s := range order {
			b.Findings = append(b.Findings, Entry{Fingerprint: "x", Severity: s, Verdict: fail, Control: "a"})
		}
		if fresh, _, _ := b.Split(report(finding("x", "a", high, fail))); len(fresh) != 1 {
			t.Errorf("%v: a finding that is worse than the milder is not new", order)
		}
		if fresh, _, _ := b.Split(report(finding("x", "a", low, fail))); len(fresh) != 0 {
			t.Errorf("%v: the milder is new", order)
		}
	}
}

// What may not be read any more is not fixed.
func TestSplitUnread(t *testing.T) {
	t.Parallel()
	before := Make(report(finding("x", "a", high, fail)))
	for _, tt := range []struct {
		unread inventory.Unreadable
		fixed  int
	}{
		{inventory.Unreadable{Kind: "Pod"}, 0},
		{inventory.Unreadable{}, 0},
		{inventory.Unreadable{Kind: "Secret"}, 1},
		{inventory.Unreadable{Kind: "Pod", Namespace: "other"}, 1},
		{inventory.Unreadable{Group: "apps", Kind: "Pod"}, 1},
	} {
		now := report()
		now.Unreadable = []inventory.Unreadable{tt.unread}
		if _, _, fixed := before.Split(now); fixed != tt.fixed {
			t.Errorf("%+v: %d fixed, want %d", tt.unread, fixed, tt.fixed)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"version":"bulwark.dev/baseline/v1","findings":[{"fingerprint":"1","severity":"low","verdict":"fail","control":"a","object":{"apiVersion":"v1","kind":"Pod","name":"x"}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := b.Write(&out); err != nil {
			t.Fatal(err)
		}
		back, err := Read(&out)
		if err != nil || len(back.Findings) != len(b.Findings) {
			t.Errorf("%q does not survive: %v", text, err)
		}
	})
}
