package detect

import (
	"fmt"
	"slices"
	"testing"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
)

// TestPublishedShapes has rules in the shapes of those that SigmaHQ publishes for
// Kubernetes, with the fields that those use, also the ones that no event has. Each
// must load without a change, be able to fire, and fire.
func TestPublishedShapes(t *testing.T) {
	t.Parallel()
	object := func(verb, group, resource string) func(*audit.Event) {
		return func(e *audit.Event) {
			e.Verb, e.Object = verb, audit.ObjectRef{APIGroup: group, Resource: resource, Namespace: "shop", Name: "x"}
		}
	}
	selection := func(search string) string { return "  selection: " + search + "\n  condition: selection" }
	tests := []struct {
		name, detection string
		fires, silent   func(*audit.Event)
	}{
		{
			"admission controllers", selection("{objectRef.apiGroup: admissionregistration.k8s.io, objectRef.resource: [mutatingwebhookconfigurations, validatingwebhookconfigurations], verb: [create, delete, patch, update]}"),
			object("patch", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"), object("list", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
		},
		{
			"cron jobs", selection("{objectRef.apiGroup: batch, objectRef.resource: [cronjobs, jobs], verb: [create, delete, patch, update]}"),
			object("create", "batch", "cronjobs"), object("create", "apps", "cronjobs"),
		},
		{"deployment deleted", selection("{verb: delete, objectRef.resource: deployments}"), object("delete", "apps", "deployments"), object("delete", "apps", "daemonsets")},
		{"events deleted", selection("{verb: delete, objectRef.resource: events}"), object("delete", "", "events"), object("create", "", "events")},
		{
			"exec", selection("{verb: create, objectRef.resource: pods, objectRef.subresource: exec}"),
			func(e *audit.Event) { e.Object.Subresource = "exec" }, func(e *audit.Event) { e.Object.Subresource = "log" },
		},
		{"host path", selection("{verb: create, objectRef.resource: pods, hostPath: '*'}"), nil, func(e *audit.Event) { e.RequestObject = []byte(`{"spec":{"volumes":[{"emptyDir":{}}]}}`) }},
		{
			"system namespace", selection("{verb: create, objectRef.resource: pods, objectRef.namespace: kube-system}"),
			func(e *audit.Event) { e.Object.Namespace = "kube-system" }, nil,
		},
		{
			"tools", "  shells_encoded: {requestURI|contains: ['%2fbin%2fsh', '%2fbin%2fbash']}\n  shells: {requestURI|contains: ['/bin/sh', '/bin/bash']}\n  agents: {userAgent|contains: [access_matrix, trufflehog]}\n" +
				"  status: {responseStatus.code: ALLOW}\n  condition: (shells_encoded or shells or agents) and status",
			func(e *audit.Event) { e.RequestURI = "/api/v1/namespaces/a/pods/b/exec?command=%2Fbin%2Fsh" }, nil,
		},
		{
			"capabilities", selection("{verb: create, objectRef.resource: pods, capabilities: '*'}"),
			func(e *audit.Event) {
				e.RequestObject = []byte(`{"spec":{"containers":[{"securityContext":{"capabilities":{"add":["SYS_ADMIN"]}}}]}}`)
			}, nil,
		},
		{
			"own rights", selection("{verb: create, apiGroup: authorization.k8s.io, objectRef.resource: selfsubjectrulesreviews}"),
			object("create", "authorization.k8s.io", "selfsubjectrulesreviews"), object("create", "authorization.k8s.io", "subjectaccessreviews"),
		},
		{
			"bindings", selection("{objectRef.apiGroup: rbac.authorization.k8s.io, objectRef.resource: [clusterrolebindings, rolebindings], verb: [create, delete, patch, update]}"),
			object("create", "rbac.authorization.k8s.io", "rolebindings"), object("create", "rbac.authorization.k8s.io", "roles"),
		},
		{"secrets listed", selection("{verb: list, objectRef.resource: secrets}"), object("list", "", "secrets"), object("get", "", "secrets")},
		{"secrets written", selection("{objectRef.resource: secrets, verb: [create, delete, patch, update]}"), object("delete", "", "secrets"), object("get", "", "secrets")},
		{"service accounts", selection("{verb: create, objectRef.resource: serviceaccounts}"), object("create", "", "serviceaccounts"), object("get", "", "serviceaccounts")},
		{"sidecars", selection("{verb: patch, apiGroup: apps, objectRef.resource: deployments}"), object("patch", "apps", "deployments"), object("update", "apps", "deployments")},
		{"refused", selection("{responseStatus.code: [401, 403]}"), func(e *audit.Event) { e.Status.Code = 403 }, nil},
	}
	for _, tt := range tests {
		text := fmt.Sprintf("title: %s\nstatus: test\ndate: 2024/03/26\nlogsource: {category: application, product: kubernetes, service: audit}\ndetection:\n%s\nfalsepositives: [Unknown]\nlevel: low\n", tt.name, tt.detection)
		set := mustLoad(t, text)
		for _, f := range set.Lint() {
			if f.Severity >= bulwark.SeverityMedium {
				t.Errorf("%s: %+v", tt.name, f)
			}
		}
		engine, err := NewEngine(set, Config{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			change func(*audit.Event)
			want   int
		}{{tt.fires, 1}, {tt.silent, 0}} {
			e := sample(1)
			if c.change != nil {
				c.change(e)
			}
			if got := len(engine.Observe(e)); got != c.want {
				t.Errorf("%s: got %d alerts, want %d", tt.name, got, c.want)
			}
		}
	}
	if len(tests) != 16 {
		t.Errorf("%d shapes", len(tests))
	}
}

// TestIndexAgrees: the index only leaves out rules that would not be met.
func TestIndexAgrees(t *testing.T) {
	t.Parallel()
	searches := []string{
		"{verb: [get, LIST], objectRef.resource: secrets}", "{objectRef.resource: null}", "{objectRef.resource: [pods, null]}", "{objectRef.resource|neq: pods}",
		"{objectRef.resource|contains: od}", "{verb|cased: GET}", "[{verb: get}, {objectRef.resource: pods}]", "{objectRef.subresource: ''}", "{objectRef.subresource: [exec, attach]}",
		"{objectRef.subresource|exists: false, verb|neq: create}", "{verb|all: [get, g*]}", "{kind: api}", "{verb|re: g}", "['secrets']", "{stage: [RequestReceived, Panic]}",
	}
	for i := range 70 { // more verbs than there are bits
		searches = append(searches, fmt.Sprintf("{verb: verb%d}", i))
	}
	var texts []string
	for i, s := range searches {
		texts = append(texts, one(fmt.Sprint("r", i), s), rule(fmt.Sprint("n", i), "  s: "+s+"\n  condition: not s"))
	}
	set := mustLoad(t, texts...)
	engine, err := NewEngine(set, Config{})
	if err != nil {
		t.Fatal(err)
	}
	met, events := 0, 0
	for _, verb := range []string{"", "get", "GET", "list", "create", "verb3", "verb68", "other"} {
		for _, resource := range []string{"", "pods", "secrets", "Secrets", "other"} {
			for _, sub := range []string{"", "exec", "other"} {
				for _, stage := range []string{"ResponseComplete", "RequestReceived"} {
					e := sample(1)
					e.Verb, e.Object.Resource, e.Object.Subresource, e.Stage = verb, resource, sub, stage
					events++
					got := map[int]bool{}
					engine.index.Each(e, func(n int) { got[n] = true })
					engine.view.Reset(e)
					for n, r := range engine.rules {
						if !r.program.Eval(engine.view) || stage == "RequestReceived" && !slices.Contains(r.Fields(), "stage") {
							continue
						}
						met++
						if !got[n] {
							t.Errorf("%s: left out for %q %q %q", r.Key, verb, resource, sub)
						}
					}
				}
			}
		}
	}
	if met < 1000 || events != 240 {
		t.Errorf("%d of %d", met, events)
	}
}
