package posture_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/graph"
	"bulwark.dev/bulwark/internal/posture/posturetest"
)

// rule is a control in one line.
func rule(t *testing.T, id, severity, appliesTo, each, check, message string) control.Single {
	t.Helper()
	text, err := yaml.Marshal(map[string]any{
		"id": id, "title": "Title of " + id, "severity": severity, "category": "test", "why": "because", "remediation": "do",
		"appliesTo": json.RawMessage(appliesTo), "each": each, "check": check, "message": message, "parameters": map[string]any{"most": 3},
		"examples": map[string]any{"pass": []any{map[string]any{}}, "fail": []any{map[string]any{"object": map[string]any{}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := content.Parse(id+".yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func objects(t *testing.T, texts ...string) []*inventory.Object {
	t.Helper()
	var out []*inventory.Object
	for _, text := range texts {
		js, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		o, err := inventory.New(js, nil)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}

func judge(t *testing.T, opt posture.Options, snap *inventory.Snapshot) *posture.Report {
	t.Helper()
	e, err := posture.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	r, err := e.Judge(t.Context(), snap)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// lines gives findings and tallies in short.
func lines(r *posture.Report) (findings, tallies []string) {
	for _, f := range r.Findings {
		findings = append(findings, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s: %s", f.Severity, f.Verdict, f.Control, f.Object, f.Field, f.Message)))
	}
	for _, c := range r.Tallies {
		tallies = append(tallies, fmt.Sprintf("%s pass=%d fail=%d unknown=%d na=%d %s", c.ID, c.Pass, c.Fail, c.Unknown, c.NotApplicable, strings.Join(c.Reasons, "; ")))
	}
	return findings, tallies
}

const (
	deployment = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: a, uid: d}, spec: {template: {spec: {containers: [{name: app, image: bad}]}}}}`
	replicas   = `{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web-1, namespace: a, uid: r, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: d, controller: true}]}, spec: {replicas: 2, template: {spec: {containers: [{name: app, image: bad}]}}}}`
	before     = `{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: web-0, namespace: a, uid: o, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: d, controller: true}]}, spec: {replicas: 0, template: {spec: {containers: [{name: old, image: bad}]}}}}`
	podOne     = `{apiVersion: v1, kind: Pod, metadata: {name: web-1-x, namespace: a, uid: p, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-1, uid: r, controller: true}]}, spec: {containers: [{name: app, image: bad}, {name: side, image: bad}]}}`
	podTwo     = `{apiVersion: v1, kind: Pod, metadata: {name: web-1-y, namespace: a, uid: q, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-1, uid: r, controller: true}]}, spec: {containers: [{name: app, image: bad}, {name: side, image: bad}]}}`
	lone       = `{apiVersion: v1, kind: Pod, metadata: {name: lone, namespace: a, uid: l, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-0, uid: gone, controller: true}]}, spec: {containers: [{name: app, image: good}]}}`
	circle     = `{apiVersion: v1, kind: Pod, metadata: {name: self, namespace: a, uid: s, ownerReferences: [{apiVersion: v1, kind: Pod, name: self, uid: s, controller: true}]}, spec: {containers: [{name: app, image: bad}]}}`
)

func TestJudge(t *testing.T) {
	t.Parallel()
	image := rule(t, "image", "high", `{"pods": true}`, "container", `container.image != "bad"`, `"container " + container.name + " is bad"`)
	for _, tt := range []struct {
		name              string
		single            control.Single
		objects           []string
		unreadable        []inventory.Unreadable
		facts             inventory.Facts
		findings, tallies []string
		folded            int
	}{
		{
			"what an owner has is told once, what only its pods have is told once too", image,
			[]string{deployment, replicas, podOne, podTwo, lone},
			nil,
			inventory.Facts{},
			[]string{
				"high fail image Deployment a/web spec.template.spec.containers[0].image: container app is bad",
				"high fail image Pod a/web-1-x spec.containers[1].image: container side is bad (and 1 more of the same owner)",
			},
			[]string{"image pass=1 fail=2 unknown=0 na=0 "},
			4,
		},
		{"an old replica set is history", image, []string{deployment, before}, nil, inventory.Facts{}, []string{
			"high fail image Deployment a/web spec.template.spec.containers[0].image: container app is bad",
		}, []string{"image pass=0 fail=1 unknown=0 na=0 "}, 0},
		{"an old replica set of nobody is judged", image, []string{before}, nil, inventory.Facts{}, []string{
			"high fail image ReplicaSet a/web-0 spec.template.spec.containers[0].image: container old is bad",
		}, []string{"image pass=0 fail=1 unknown=0 na=0 "}, 0},
		{"what owns itself is judged", image, []string{circle}, nil, inventory.Facts{}, []string{
			"high fail image Pod a/self spec.containers[0].image: container app is bad",
		}, []string{"image pass=0 fail=1 unknown=0 na=0 "}, 0},
		{
			"a field that is not there is unknown, not pass", rule(t, "deep", "low", `{"kinds":[{"kind":"ConfigMap"}]}`, "", `object.metadata.labels.x == "x"`, `"level"`),
			[]string{`{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}`},
			nil,
			inventory.Facts{},
			[]string{`low unknown deep ConfigMap c : cannot be judged: field "labels" is not there`},
			[]string{`deep pass=0 fail=0 unknown=1 na=0 field "labels" is not there`},
			0,
		},
		{
			"a list that is none is unknown", rule(t, "ports", "low", `{"kinds":[{"kind":"Service"}]}`, "spec.ports", `item.port > 0`, `"port"`),
			[]string{`{apiVersion: v1, kind: Service, metadata: {name: c}, spec: {ports: {"0": 1}}}`},
			nil,
			inventory.Facts{},
			[]string{`low unknown ports Service c spec.ports: cannot be judged: a list is expected here`},
			[]string{`ports pass=0 fail=0 unknown=1 na=0 a list is expected here`},
			0,
		},
		{
			"a control that breaks down is unknown, and no more",
			breaking{image},
			[]string{lone},
			nil,
			inventory.Facts{},
			[]string{`high unknown image Pod a/lone : cannot be judged: the control broke down on this object`},
			[]string{`image pass=0 fail=0 unknown=1 na=0 the control broke down on this object`},
			0,
		},
		{
			"a kind that may not be read is unknown", image, nil,
			[]inventory.Unreadable{{Group: "apps", Kind: "Deployment", Reason: "no permission"}, {Kind: "Secret", Reason: "none"}},
			inventory.Facts{},
			nil,
			[]string{"image pass=0 fail=0 unknown=1 na=0 no permission"},
			0,
		},
		{
			"a control plane that others run is not applicable", rule(t, "flag", "high", `{"component":"kube-apiserver"}`, "", `"--a=b" in variables.args`, `"flag"`),
			[]string{lone},
			nil,
			inventory.Facts{Live: true, Managed: "eks"},
			nil,
			[]string{"flag pass=0 fail=0 unknown=0 na=1 the control plane is run by the provider (eks)"},
			0,
		},
		{
			"a control plane that is not seen is unknown", rule(t, "flag", "high", `{"component":"kube-apiserver"}`, "", `"--a=b" in variables.args`, `"flag"`),
			[]string{lone},
			nil,
			inventory.Facts{Live: true},
			nil,
			[]string{"flag pass=0 fail=0 unknown=1 na=0 no pod runs kube-apiserver: it may run as a service of the node"},
			0,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			snap := inventory.NewSnapshot(objects(t, tt.objects...), tt.facts, tt.unreadable, nil)
			r := judge(t, posture.Options{Single: []control.Single{fieldOf(tt.single)}}, snap)
			findings, tallies := lines(r)
			if diff := cmp.Diff(tt.findings, findings); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.tallies, tallies); diff != "" {
				t.Errorf("tallies (-want +got):\n%s", diff)
			}
			if r.Folded != tt.folded {
				t.Errorf("folded %d, want %d", r.Folded, tt.folded)
			}
		})
	}
}

// fieldOf lets the rule about images name its field.
func fieldOf(s control.Single) control.Single {
	if c, ok := s.(*content.Control); ok && c.ID == "image" {
		with := *c
		with.Field = "image"
		return &with
	}
	return s
}

// breaking is a control that panics.
type breaking struct{ control.Single }

func (breaking) Judge(*control.Subject) []control.Result { panic("a secret value") }

func TestJoint(t *testing.T) {
	t.Parallel()
	meta := control.Meta{ID: "joint", Title: "Joint", Severity: bulwark.SeverityLow}
	snap := inventory.NewSnapshot(objects(t, deployment, replicas, podOne, lone), inventory.Facts{}, nil, nil)
	r := judge(t, posture.Options{Joint: []graph.Check{{Meta: meta, Judge: func(ix *graph.Index, emit func(*inventory.Object, control.Result)) {
		for _, o := range ix.Objects() {
			if o.Name == "lone" {
				emit(o, control.Result{Verdict: bulwark.VerdictPass})
				continue
			}
			emit(o, control.Result{Verdict: bulwark.VerdictFail, Key: "k", Message: "it fails", Severity: bulwark.SeverityCritical})
		}
		emit(nil, control.Result{Verdict: bulwark.VerdictUnknown, Reason: "nobody knows"})
	}}}}, snap)
	findings, tallies := lines(r)
	want := []string{"critical fail joint Deployment a/web : it fails", "low unknown joint   : cannot be judged: nobody knows"}
	if diff := cmp.Diff(want, findings); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"joint pass=1 fail=1 unknown=1 na=0 nobody knows"}, tallies); diff != "" {
		t.Errorf("tallies (-want +got):\n%s", diff)
	}
	r = judge(t, posture.Options{Joint: []graph.Check{{Meta: meta, Judge: func(*graph.Index, func(*inventory.Object, control.Result)) { panic("a secret value") }}}}, snap)
	if len(r.Findings) != 1 || r.Findings[0].Verdict != bulwark.VerdictUnknown || strings.Contains(r.Findings[0].Message, "secret") {
		t.Errorf("a check that breaks down gives %v", r.Findings)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	a := rule(t, "a", "low", `{"pods": true}`, "", "variables.params.most > 1", `"m"`)
	for name, opt := range map[string]posture.Options{
		"two of one id":           {Single: []control.Single{a, a}},
		"parameters of nobody":    {Single: []control.Single{a}, Parameters: map[string]map[string]any{"b": {"most": 1}}},
		"parameter that is none":  {Single: []control.Single{a}, Parameters: map[string]map[string]any{"a": {"least": 1}}},
		"parameter of other type": {Single: []control.Single{a}, Parameters: map[string]map[string]any{"a": {"most": "x"}}},
		"parameters of Go":        {Single: []control.Single{breaking{a}}, Parameters: map[string]map[string]any{"a": {"most": 1}}},
		"no severity":             {Joint: []graph.Check{{Meta: control.Meta{ID: "x"}}}},
	} {
		if _, err := posture.New(opt); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	snap := inventory.NewSnapshot(objects(t, lone), inventory.Facts{}, nil, nil)
	for most, want := range map[int]int{2: 0, 0: 1} {
		r := judge(t, posture.Options{Single: []control.Single{a}, Parameters: map[string]map[string]any{"a": {"most": most}}}, snap)
		if len(r.Findings) != want {
			t.Errorf("most %d: %v", most, r.Findings)
		}
	}
	e, err := posture.New(posture.Options{Single: []control.Single{a}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Judge(ctx, snap); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// TestSame: the report does not depend on the order of the input or on how many
// goroutines judge.
func TestSame(t *testing.T) {
	t.Parallel()
	all := posturetest.Cluster(600, 3)
	var want string
	for round := range 4 {
		random := rand.New(rand.NewPCG(uint64(round), 1))
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		e := engine(t, true)
		r, err := e.Judge(t.Context(), inventory.NewSnapshot(all, inventory.Facts{}, nil, nil))
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.MarshalIndent(r, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if want == "" {
			want = string(text)
		}
		if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(string(text), "\n")); diff != "" {
			t.Fatalf("round %d (-first +now):\n%s", round, diff[:min(len(diff), 4000)])
		}
	}
}

// TestFingerprint: it stays when lists are reordered, the wording or the version
// changes, and no two findings share one.
func TestFingerprint(t *testing.T) {
	t.Parallel()
	prints := func(message string, texts ...string) []string {
		image := rule(t, "image", "high", `{"pods": true}`, "container", `container.image != "bad"`, message)
		rules := rule(t, "wild", "high", `{"kinds": [{"group": "rbac.authorization.k8s.io", "kind": "Role"}]}`, "rules", `!("*" in item.verbs)`, message)
		r := judge(t, posture.Options{Single: []control.Single{image, rules}}, inventory.NewSnapshot(objects(t, texts...), inventory.Facts{}, nil, nil))
		var out []string
		for _, f := range r.Findings {
			out = append(out, f.Fingerprint)
		}
		slices.Sort(out)
		return out
	}
	const head = `{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: {containers: [`
	one, two := `{name: a, image: bad}`, `{name: b, image: bad}`
	role := func(rules ...string) string {
		return `{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r}, rules: [` + strings.Join(rules, ", ") + `]}`
	}
	x, y := `{verbs: ["*"], resources: [x]}`, `{verbs: ["*"], resources: [y]}`
	want := prints(`"m"`, head+one+","+two+"]}}}}", role(x, y))
	if len(slices.Compact(slices.Clone(want))) != 4 {
		t.Fatalf("not four different: %v", want)
	}
	for name, got := range map[string][]string{
		"reordered":    prints(`"m"`, head+two+","+one+"]}}}}", role(y, x)),
		"reworded":     prints(`"another"`, head+one+","+two+"]}}}}", role(x, y)),
		"moved down":   prints(`"m"`, head+`{name: z, image: good},`+one+","+two+"]}}}}", role(`{verbs: [get]}`, x, y)),
		"of a version": prints(`"m"`, strings.Replace(head, "apps/v1", "apps/v1beta1", 1)+one+","+two+"]}}}}", role(x, y)),
	} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := prints(`"m"`, role(x, x)); len(slices.Compact(slices.Clone(got))) != 2 {
		t.Errorf("equal parts share a fingerprint: %v", got)
	}
}
