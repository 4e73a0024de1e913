package query

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search/searchtest"
)

// Every name of a member in the canonical form of an event that has everything is
// known, so that no text in one of them is taken for a value's.
func TestMemberNames(t *testing.T) {
	user := audit.User{Username: "1", UID: "1", Groups: []string{"1"}, Extra: map[string][]string{"2": {"1"}}}
	e := &audit.Event{
		Kind: audit.KindAPI, Source: "1", Cluster: "1", Received: searchtest.Noon(), AuditID: "1", Level: "1", Stage: "1", RequestURI: "1", Verb: "1", SaidVerb: "1",
		User: user, Impersonated: &user, SourceIPs: []string{"1"}, UserAgent: "1",
		Object:        audit.ObjectRef{APIGroup: "1", APIVersion: "1", Resource: "1", Subresource: "1", Namespace: "1", Name: "1", UID: "1", ResourceVersion: "1"},
		Status:        audit.Status{Code: 1, Status: "1", Reason: "1", Message: "1"},
		RequestObject: json.RawMessage(`1`), ResponseObject: json.RawMessage(`1`), More: json.RawMessage(`{"2":1}`), RequestReceived: searchtest.Noon(), StageAt: searchtest.Noon(),
		Annotations: map[string]string{"authorization.k8s.io/decision": "1", "authorization.k8s.io/reason": "1"}, Redactions: []audit.Redaction{{Path: "1", Commitment: "1"}},
	}
	dec, names := json.NewDecoder(bytes.NewReader(audit.AppendCanonical(nil, e))), 0
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, inner := range v {
				if name != "2" && !slices.Contains(memberNames(), strings.ToLower(name)) {
					t.Errorf("%s is not known", name)
				}
				names++
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	var all any
	if err := dec.Decode(&all); err != nil {
		t.Fatal(err)
	}
	if walk(all); names < 40 {
		t.Errorf("walked %d names", names)
	}
}
