package action

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/audit"
)

const automatic = `
limits: {perHour: 2, standing: 5, perActor: 2}
protected: {identities: [root@example.com]}
responses:
- {detection: shell, severity: high, action: quarantine-pod, mode: enforce, expiry: 10m}
- {detection: look, severity: high, action: quarantine-pod}
`

// TestRespond: the policy decides; forged floods end at the limit.
func TestRespond(t *testing.T) {
	t.Parallel()
	var pods []string
	for i := range 6 {
		pods = append(pods, strings.Replace(podWeb, "name: web,", fmt.Sprintf("name: web-%d,", i), 1))
	}
	l := newLab(t, automatic, append(pods, nsShop, svcWeb)...)
	alert := func(i int, rule string) Alert {
		return Alert{Seq: uint64(1000 + i), ID: fmt.Sprint("alert-", i), Rule: rule, Time: l.clock, Evidence: []uint64{l.event(exec("eve", "shop", fmt.Sprintf("web-%d", i), 101))}}
	}
	quarantined := func() (n int) {
		for _, o := range l.cluster.objects {
			if o.GetKind() == "Pod" && o.GetLabels()["bulwark.dev/quarantine"] != "" {
				n++
			}
		}
		return n
	}
	respond := func(a Alert, severity bulwark.Severity, want int) {
		t.Helper()
		if err := l.engine.Respond(t.Context(), a, severity); err != nil {
			t.Error(err)
		}
		if got := quarantined(); got != want {
			t.Errorf("%s %s: %d pods in quarantine, want %d; told %s", a.ID, a.Rule, got, want, l.trail.told())
		}
	}
	respond(alert(0, "look"), bulwark.SeverityCritical, 0) // a dry run
	respond(alert(0, "shell"), bulwark.SeverityMedium, 0)
	respond(alert(0, "other"), bulwark.SeverityCritical, 0)
	old := alert(0, "shell")
	old.Time = l.clock.Add(-time.Hour)
	respond(old, bulwark.SeverityHigh, 0)
	first := alert(1, "shell")
	respond(first, bulwark.SeverityHigh, 1)
	l.start()
	respond(first, bulwark.SeverityHigh, 1) // looked at again after a restart
	own := alert(5, "shell")
	own.Evidence = []uint64{l.event(exec("system:serviceaccount:bulwark-system:bulwark-audit", "shop", "web-5", 101))}
	respond(own, bulwark.SeverityHigh, 1)
	respond(alert(2, "shell"), bulwark.SeverityCritical, 2)
	for i := 3; i < 6; i++ {
		respond(alert(i, "shell"), bulwark.SeverityHigh, 2)
	}
	if told, want := l.trail.told(), "plan>plan:Held>plan>apply>stand>plan:Refused>plan>apply>stand>plan:Held"; told != want {
		t.Errorf("told %q, want %q", told, want)
	}
	l.clock = l.clock.Add(time.Hour)
	l.engine.Sweep(t.Context())
	respond(alert(3, "shell"), bulwark.SeverityHigh, 1)
	var e *audit.Event
	for _, e = range l.trail.events {
		if e.Verb == VerbApply {
			break
		}
	}
	for _, want := range []string{`"alert":"alert-1"`, `"automatic":true`, `"evidence":[`, `"rule":"shell"`, `"before":"web"`} {
		if !strings.Contains(string(e.More), want) {
			t.Errorf("no %s in %s", want, e.More)
		}
	}
}

// TestExtend: a refusal that stands reaches policies that come later.
func TestExtend(t *testing.T) {
	t.Parallel()
	l := world(t)
	r, err := l.engine.Apply(t.Context(), Request{Action: "deny-identity", Set: map[string]string{"identity": "eve"}, By: "ann", Reason: "x", Expiry: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	later := newCluster(t, strings.Replace(policy, "name: api", "name: later", 1)).objects["securitypolicies shop/later"]
	later.SetUID("later")
	l.cluster.put("securitypolicies", later)
	api := l.cluster.objects["securitypolicies shop/api"].DeepCopy()
	if err := unstructured.SetNestedSlice(api.Object, []any{map[string]any{"name": "all", "allow": true, "when": "true"}}, "spec", "authorization", "rules"); err != nil {
		t.Fatal(err)
	}
	l.cluster.put("securitypolicies", api) // as a tool would that puts files into the cluster
	l.start()
	l.engine.Sweep(t.Context())
	for _, name := range []string{"later", "api"} {
		if rules, _ := rulesOf(l.cluster.objects["securitypolicies shop/"+name]); len(rules) != 2 || ruleAt(rules, "bulwark-"+r.ID) != 0 {
			t.Errorf("%s: got %v", name, rules)
		}
	}
	l.clock = l.clock.Add(time.Minute)
	l.engine.Sweep(t.Context())
	for _, name := range []string{"later", "api"} {
		if rules, _ := rulesOf(l.cluster.objects["securitypolicies shop/"+name]); len(rules) != 1 {
			t.Errorf("%s: got %v", name, rules)
		}
	}
	if told := l.trail.told(); told != "plan>apply>stand>extend>extend>expire" {
		t.Errorf("told %q", told)
	}
}

// TestGuide: the policy of the guide is one, and names detections that there are.
func TestGuide(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../../docs/guide/audit-response.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "```yml\n")
	block, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("the guide has no policy")
	}
	p, err := ParsePolicy([]byte(block), actions(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range p.Responses {
		if found, err := fs.Glob(catalog.Detections(), "*/"+b.Detection+".yaml"); err != nil || len(found) != 1 {
			t.Errorf("detection %q: %v, %v", b.Detection, found, err)
		}
	}
	if len(p.Responses) != 2 {
		t.Errorf("%d responses", len(p.Responses))
	}
}
