package coverage_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/coverage"
)

func event(verb, said, group, resource, sub, body string) *audit.Event {
	e := &audit.Event{
		Kind: audit.KindAPI, Verb: verb, SaidVerb: said, Level: "RequestResponse", Stage: "ResponseComplete", RequestURI: "/apis/x",
		Object: audit.ObjectRef{APIGroup: group, Resource: resource, Subresource: sub},
		User:   audit.User{Username: "alice", Groups: []string{"system:authenticated"}},
	}
	if body != "" {
		e.RequestObject = json.RawMessage(body)
	}
	return e
}

func has(f func(e *audit.Event) bool) func([]*audit.Event) bool {
	return func(events []*audit.Event) bool { return slices.ContainsFunc(events, f) }
}

func cases() []coverage.Case {
	exec := event("create", "get", "", "pods", "exec", "")
	exec.Stage = "ResponseStarted"
	version := event("get", "", "", "", "", "")
	version.RequestURI = "/debug/pprof?seconds=3"
	return []coverage.Case{
		{Rule: "secrets", Name: "list", Events: []*audit.Event{event("list", "", "", "secrets", "", "")}, Fires: has(func(e *audit.Event) bool {
			return e.Object.Resource == "secrets" && (e.Verb == "list" || e.Verb == "watch")
		})},
		{Rule: "privileged", Name: "pod", Events: []*audit.Event{event("create", "", "", "pods", "", `{"privileged":true}`)}, Fires: has(func(e *audit.Event) bool {
			return e.Object.Resource == "pods" && e.Object.Subresource == "" && strings.Contains(string(e.RequestObject), "privileged")
		})},
		{Rule: "privileged", Name: "deployment", Events: []*audit.Event{event("create", "", "apps", "deployments", "", `{"privileged":true}`)}, Fires: has(func(e *audit.Event) bool {
			return e.Object.Resource == "deployments" && e.Verb == "create" && strings.Contains(string(e.RequestObject), "privileged")
		})},
		{Rule: "exec", Name: "websocket", Events: []*audit.Event{exec}, Fires: has(func(e *audit.Event) bool { return e.Object.Subresource == "exec" && e.Verb == "create" })},
		{Rule: "profile", Name: "pprof", Events: []*audit.Event{version}, Fires: has(func(e *audit.Event) bool { return strings.HasPrefix(e.RequestURI, "/debug/") })},
		{Rule: "broken", Name: "never", Events: []*audit.Event{exec}, Fires: func([]*audit.Event) bool { return false }},
	}
}

var rules = []string{"secrets", "privileged", "exec", "profile", "broken", "untold"}

func parse(t *testing.T, text string) *coverage.Policy {
	t.Helper()
	p, err := coverage.ParsePolicy([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

const head = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"

func TestJudge(t *testing.T) {
	t.Parallel()
	unknown := []coverage.Verdict{
		{Rule: "broken", State: coverage.Unknown, Missing: []string{`sample "never" does not fire the rule even when whole`}},
		{Rule: "untold", State: coverage.Unknown},
	}
	sees := func(names ...string) (out []coverage.Verdict) {
		for _, n := range names {
			out = append(out, coverage.Verdict{Rule: n, State: coverage.Sees})
		}
		return out
	}
	tests := []struct {
		name, policy string
		want         []coverage.Verdict
	}{
		{"everything", head + "rules: [{level: RequestResponse}]", sees("secrets", "privileged", "exec", "profile")},
		{"metadata", head + "rules: [{level: Metadata}]", append(sees("secrets"),
			coverage.Verdict{Rule: "privileged", State: coverage.Blind, Missing: []string{
				`sample "pod": create pods is recorded at level Metadata only`,
				`sample "deployment": create deployments of apps is recorded at level Metadata only`,
			}},
			sees("exec", "profile")[0], sees("profile")[0])},
		{"pods in full, exec's GET left out", head + `
omitStages: [RequestReceived]
rules:
- {level: None, verbs: [get, list, watch], resources: [{group: "", resources: ["pods", "pods/exec"]}]}
- {level: Request, resources: [{group: "", resources: [pods]}]}
- {level: None, nonResourceURLs: ["/debug*"]}
- {level: Metadata}`, []coverage.Verdict{
			{Rule: "secrets", State: coverage.Sees},
			{Rule: "privileged", State: coverage.Partly, Missing: []string{`sample "deployment": create deployments of apps is recorded at level Metadata only`}},
			{Rule: "exec", State: coverage.Blind, Missing: []string{`sample "websocket": get pods/exec is not recorded`}},
			{Rule: "profile", State: coverage.Blind, Missing: []string{`sample "pprof": get /debug/pprof?seconds=3 is not recorded`}},
		}},
		{"stage", head + "omitStages: [ResponseStarted]\nrules: [{level: RequestResponse}]", []coverage.Verdict{
			{Rule: "secrets", State: coverage.Sees},
			{Rule: "privileged", State: coverage.Sees},
			{Rule: "exec", State: coverage.Blind, Missing: []string{`sample "websocket": get pods/exec is not recorded at stage ResponseStarted`}},
			{Rule: "profile", State: coverage.Sees},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := coverage.Judge(parse(t, tt.policy), rules, cases())
			if diff := cmp.Diff(append(tt.want, unknown...), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "rules: []", head + "rules: [{level: All}]", head + "rulez: [{level: None}]", "kind: Pod\napiVersion: v1", "{"} {
		if _, err := coverage.ParsePolicy([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// TestSmallest: every rule sees under it, and no line of it can go.
func TestSmallest(t *testing.T) {
	t.Parallel()
	text, err := coverage.Smallest(cases())
	if err != nil {
		t.Fatal(err)
	}
	const want = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages:
- RequestReceived
rules:
- level: Request
  resources:
  - resources:
    - pods
  verbs:
  - create
  - delete
  - deletecollection
  - get
  - list
  - patch
  - update
  - watch
- level: Request
  resources:
  - group: apps
    resources:
    - deployments
  verbs:
  - create
- level: Metadata
  resources:
  - resources:
    - pods/exec
  verbs:
  - get
- level: Metadata
  resources:
  - resources:
    - secrets
  verbs:
  - list
  - watch
- level: Metadata
  nonResourceURLs:
  - /debug/pprof
  verbs:
  - get
- level: None
`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("%s\n%s", diff, text)
	}
	for _, v := range coverage.Judge(parse(t, string(text)), rules[:4], cases()) {
		if v.State != coverage.Sees {
			t.Errorf("%+v", v)
		}
	}
	if _, err := coverage.Smallest(nil); err == nil {
		t.Error("a policy for nothing")
	}
}
