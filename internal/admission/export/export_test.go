package export_test

import (
	"maps"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/admission/export"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/vap"
)

const head = `
title: A title
severity: high
category: test
why: Because.
remediation: Do it.
message: '"found it"'
`

const podExamples = `
examples:
  pass: [{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: []}}]
  fail: [{want: [""], object: {apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: []}}}]
`

func parse(t *testing.T, text string) *content.Control {
	t.Helper()
	c, err := content.Parse("mine.yaml", []byte("id: mine\n"+head+text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func deny(namespaces ...string) export.Options {
	return export.Options{Actions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny}, ExemptNamespaces: namespaces}
}

func one(t *testing.T, c *content.Control) (*export.Policy, *vap.Policy) {
	t.Helper()
	policies, left, err := export.Policies([]*content.Control{c}, deny("kube-system"))
	if err != nil || len(policies) != 1 {
		t.Fatalf("%v %v", err, left)
	}
	p, err := vap.Compile(policies[0].Policy)
	if err != nil {
		t.Fatal(err)
	}
	return &policies[0], p
}

// An object that is being deleted may lose its finalizers, and nothing else of it
// may change: else deleting would be a way in.
func TestDeleting(t *testing.T) {
	t.Parallel()
	_, p := one(t, parse(t, "appliesTo: {kinds: [{group: rbac.authorization.k8s.io, kind: ClusterRole}]}\ncheck: 'false'\n"+podExamples))
	role := func(edit func(role, meta map[string]any)) map[string]any {
		meta := map[string]any{"name": "a", "finalizers": []any{"x/y"}, "labels": map[string]any{"a": "b"}, "deletionTimestamp": "2026-01-01T00:00:00Z", "resourceVersion": "1"}
		out := map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": meta, "rules": []any{map[string]any{"verbs": []any{"get"}}}}
		edit(out, meta)
		return out
	}
	old := role(func(_, _ map[string]any) {})
	for name, c := range map[string]struct {
		object map[string]any
		old    map[string]any
		denied bool
	}{
		"finalizers":         {role(func(_, m map[string]any) { delete(m, "finalizers"); m["resourceVersion"] = "2" }), old, false},
		"status":             {role(func(o, _ map[string]any) { o["status"] = map[string]any{"phase": "x"} }), old, false},
		"rules":              {role(func(o, _ map[string]any) { o["rules"] = []any{map[string]any{"verbs": []any{"*"}}} }), old, true},
		"no rules":           {role(func(o, _ map[string]any) { delete(o, "rules") }), old, true},
		"one field more":     {role(func(o, _ map[string]any) { o["aggregationRule"] = map[string]any{} }), old, true},
		"labels":             {role(func(_, m map[string]any) { m["labels"] = map[string]any{"a": "c"} }), old, true},
		"annotations":        {role(func(_, m map[string]any) { m["annotations"] = map[string]any{"a": "c"} }), old, true},
		"not being deleted":  {role(func(_, m map[string]any) { delete(m, "deletionTimestamp") }), old, true},
		"a new one that is":  {role(func(_, _ map[string]any) {}), nil, true},
		"nothing is changed": {maps.Clone(old), old, false},
	} {
		if got := p.Judge(t.Context(), vap.Request{Object: c.object, Old: c.old, Resource: "clusterroles"}); got.Denied != c.denied || got.Failed {
			t.Errorf("%s: %+v, want denied=%v", name, got, c.denied)
		}
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	p, _ := one(t, parse(t, "appliesTo: {pods: true}\neach: container\nparameters: {words: [a, 'quo\"te'], n: 3, half: 0.5, on: true, map: {k: [1, b]}}\n"+
		`check: 'variables.params.n == 3 && variables.params.half < 1.0 && variables.params.on && variables.params.map.k[1] == "b" && "quo\"te" in variables.params.words && container.name != "object.x"'`+"\n"+podExamples))
	if p.Binding.Spec.MatchResources.NamespaceSelector.MatchExpressions[0].Values[0] != "kube-system" || *p.Policy.Spec.FailurePolicy != admissionregistrationv1.Fail {
		t.Errorf("binding %+v", p.Binding)
	}
	if e := p.Policy.Spec.Validations[0].Expression; !strings.Contains(e, `"object.x"`) {
		t.Errorf("a text was changed: %s", e)
	}
	text, err := export.YAML([]export.Policy{*p})
	if err != nil || strings.Contains(string(text), "status:") || strings.Contains(string(text), "creationTimestamp") {
		t.Errorf("%v\n%s", err, text)
	}
	for i, doc := range strings.Split(strings.TrimPrefix(string(text), "---\n"), "---\n") {
		into := any(&admissionregistrationv1.ValidatingAdmissionPolicy{})
		if i == 1 {
			into = &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
		}
		if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
			t.Error(err)
		}
	}
	for name, opt := range map[string]export.Options{
		"none": {}, "twice": {Actions: []admissionregistrationv1.ValidationAction{"Audit", "Audit"}},
		"both": {Actions: []admissionregistrationv1.ValidationAction{"Deny", "Warn"}}, "odd": {Actions: []admissionregistrationv1.ValidationAction{"deny"}},
		"namespace": {Actions: []admissionregistrationv1.ValidationAction{"Deny"}, ExemptNamespaces: []string{"*"}},
	} {
		if _, _, err := export.Policies(nil, opt); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestLeftOut(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		"is a file of a component":          "appliesTo: {kinds: [{group: kubelet.config.k8s.io, kind: KubeletConfiguration}]}\ncheck: 'true'\n",
		"is exempt from admission policies": "appliesTo: {kinds: [{group: admissionregistration.k8s.io, kind: ValidatingAdmissionPolicy}]}\ncheck: 'true'\n",
		"is no built-in workload":           "appliesTo: {kinds: [{group: argoproj.io, kind: Rollout}]}\neach: container\ncheck: 'true'\n",
		"it is about files":                 "appliesTo: {pods: true}\nwhen: '!has(object.metadata.uid)'\nnotApplicable: no\ncheck: 'true'\n",
		`has quoted names`:                  "appliesTo: {pods: true}\neach: 'metadata[\"a.b\"]'\ncheck: 'true'\n",
	} {
		_, left, err := export.Policies([]*content.Control{parse(t, text+podExamples)}, deny())
		if err != nil || len(left) != 1 || !strings.Contains(left[0].Reason, want) {
			t.Errorf("%s: %v %v", want, left, err)
		}
	}
}
