package exception

import (
	"testing"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/control"
)

// podsFail is a control that every pod fails and nothing else is judged by.
type podsFail struct{}

func (podsFail) Meta() control.Meta {
	return control.Meta{ID: "probe", Title: "t", Severity: bulwark.SeverityHigh}
}

func (podsFail) Applies(s *control.Subject) bool { return s.Object.Kind == "Pod" }

func (podsFail) Judge(*control.Subject) []control.Result {
	return []control.Result{{Verdict: bulwark.VerdictFail, Message: "it fails"}}
}

// TestSharedByEngine: the engine tells one finding for the pods of one owner, and an
// exception of one of them does not cover the others.
func TestSharedByEngine(t *testing.T) {
	t.Parallel()
	engine, err := posture.New(posture.Options{Single: []control.Single{podsFail{}}, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	pod := func(name, more string) *inventory.Object {
		return object(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"namespace":"shop","name":"`+name+`","uid":"`+name+`",
			"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web","uid":"set","controller":true}]`+more+`},"spec":{"containers":[]}}`)
	}
	set := object(t, `{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"namespace":"shop","name":"web","uid":"set"}}`)
	for _, tt := range []struct {
		name, first, second string
		want                bulwark.Verdict
	}{
		{"neither", "", "", bulwark.VerdictFail},
		{"the first", annotatedProbe, "", bulwark.VerdictFail},
		{"the second", "", annotatedProbe, bulwark.VerdictFail},
		{"both", annotatedProbe, annotatedProbe, bulwark.VerdictExcepted},
	} {
		snap := snapshot(set, pod("web-1", tt.first), pod("web-2", tt.second))
		rep, err := engine.Judge(t.Context(), snap)
		if err != nil {
			t.Fatal(err)
		}
		if len(rep.Findings) != 1 || len(rep.Shared[rep.Findings[0].Fingerprint]) != 1 {
			t.Fatalf("%s: %+v, shared %v", tt.name, rep.Findings, rep.Shared)
		}
		out := Join([]Part{Of(snap, rep)}, nil, Options{Now: today()})
		if len(out.Findings) != 1 || out.Findings[0].Verdict != tt.want {
			t.Errorf("%s: %v", tt.name, verdicts(out))
		}
	}
}
