package export_test

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	utiljson "k8s.io/apimachinery/pkg/util/json"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/vap"
)

// perControl bounds the odd objects of one control: all that can be made of the
// examples are some hundred thousand.
const perControl = 15

// TestOdd takes the examples of every control apart, a field at a time, and gives
// what is left to scan and policy: where the API server would take it, both say the
// same.
func TestOdd(t *testing.T) {
	t.Parallel()
	shipped, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	ran, refused := map[bulwark.Verdict]int{}, 0
	for _, c := range shipped.controls {
		p := shipped.policies[c.ID]
		if p == nil {
			continue
		}
		for _, o := range odd(t, c) {
			s := subjectOf(o)
			if s == nil {
				refused++
				continue
			}
			if (c.AppliesTo.Pods || c.AppliesTo.Component != "") && !slices.Contains(workloads, s.Object.Kind) || !c.Applies(s) {
				continue
			}
			served, err := vap.Typed(s.Content)
			if err != nil || invalid(served) {
				refused++
				continue
			}
			want := worst(c.Judge(s))
			got := p.Judge(t.Context(), vap.Request{Object: served, Resource: "any"})
			ran[want]++
			refuses := want == bulwark.VerdictFail || want == bulwark.VerdictUnknown
			if denied := got.Denied || got.Failed; denied != refuses && (refuses || stricter[c.ID] == "") {
				t.Errorf("%s: the scan says %s, the policy %+v\n%s", c.ID, want, got, show(o))
			}
		}
	}
	t.Logf("odd objects: %v; the API server would not take %d others", ran, refused)
	if ran[bulwark.VerdictPass] < 1000 || ran[bulwark.VerdictFail] < 1000 {
		t.Error("too few ran")
	}
}

// stricter are controls whose policy may refuse what a scan lets pass, and why.
var stricter = map[string]string{ //nolint:gochecknoglobals // constant
	"kube-proxy-configmap-metrics": "the type drops a data that is empty, and the control tells that from one that is not there",
	"node-name-set":                "the type drops conditions that are empty, and the control tells a pod that runs by them",
	"projected-token-long-lived":   "the type has sources: null where there are none",
	"projected-token-no-audience":  "the type has sources: null where there are none",
}

// subjectOf gives what a control judges, nil where the object cannot be read.
func subjectOf(object map[string]any) *control.Subject {
	s, err := control.SubjectOf(object)
	if err != nil {
		return nil
	}
	return s
}

// invalid reports what the API server's validation refuses before any policy is
// asked, of what the examples can become: pods without containers, and fields that
// their type always has and that must not be empty.
func invalid(o map[string]any) bool {
	invalid := false
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if all, ok := v["containers"]; ok {
				list, _ := all.([]any)
				invalid = invalid || len(list) == 0
			}
			for _, required := range []string{"name", "kind", "mountPath", "type", "key", "url", "path", "host", "operator", "port", "topologyKey", "provisioner", "driver", "apiGroup"} {
				invalid = invalid || v[required] == ""
			}
			for _, required := range []string{"port", "containerPort"} {
				invalid = invalid || v[required] == int64(0)
			}
			terms, ok := v["nodeSelectorTerms"]
			invalid = invalid || ok && terms == nil || v["operator"] == "NotIn" && v["values"] == nil
			for _, e := range v {
				walk(e)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(o)
	return invalid
}

// changes make a field odd: not there, null, empty, of another type.
var changes = []func(parent map[string]any, key string){ //nolint:gochecknoglobals // constant
	func(parent map[string]any, key string) { delete(parent, key) },
	func(parent map[string]any, key string) { parent[key] = nil },
	func(parent map[string]any, key string) {
		switch parent[key].(type) {
		case []any:
			parent[key] = []any{}
		case map[string]any:
			parent[key] = map[string]any{}
		default:
			parent[key] = "odd"
		}
	},
	func(parent map[string]any, key string) {
		if _, object := parent[key].(map[string]any); !object { // which every schema refuses
			parent[key] = int64(7)
		}
	},
	func(parent map[string]any, key string) { parent[key] = []any{map[string]any{}} },
}

// odd gives some of what becomes of the examples of a control when one field in them
// is changed, the same ones in every run.
func odd(t *testing.T, c *content.Control) []map[string]any {
	t.Helper()
	all := slices.Concat(c.Examples.Pass, c.Examples.Skip)
	for _, e := range c.Examples.Fail {
		all = append(all, e.Object)
	}
	type choice struct{ example, place, change int }
	var choices []choice
	for example, o := range all {
		for place := range places(o) {
			for change := range changes {
				choices = append(choices, choice{example, place, change})
			}
		}
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.ID))
	random := rand.New(rand.NewPCG(h.Sum64(), 1))
	random.Shuffle(len(choices), func(i, j int) { choices[i], choices[j] = choices[j], choices[i] })
	var out []map[string]any
	for _, c := range choices[:min(len(choices), perControl)] {
		text, err := json.Marshal(all[c.example])
		if err != nil {
			t.Fatal(err)
		}
		var again map[string]any
		if err := utiljson.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		at := places(again)[c.place]
		changes[c.change](at.parent, at.key)
		out = append(out, again)
	}
	return out
}

type spot struct {
	parent map[string]any
	key    string
}

// places gives all fields of an object but those that say what it is.
func places(o map[string]any) []spot {
	var out []spot
	var walk func(v any, path string)
	walk = func(v any, path string) {
		switch v := v.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				at := path + "." + key
				if !slices.Contains([]string{".apiVersion", ".kind", ".metadata", ".metadata.name", ".metadata.namespace", ".spec"}, at) {
					out = append(out, spot{v, key})
				}
				walk(v[key], at)
			}
		case []any:
			for i, e := range v {
				walk(e, fmt.Sprintf("%s[%d]", path, i))
			}
		}
	}
	walk(o, "")
	return out
}

// Odd objects that were once judged otherwise than by a scan.
func TestOddKnown(t *testing.T) {
	t.Parallel()
	c := parse(t, "appliesTo: {kinds: [{group: rbac.authorization.k8s.io, kind: ClusterRole}]}\neach: rules\ncheck: '!(\"*\" in item.verbs)'\n"+podExamples)
	_, p := one(t, c)
	// An aggregated role has no rules of its own: its type says "rules: null".
	role := map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": map[string]any{"name": "a"}, "aggregationRule": map[string]any{}}
	served, err := vap.Typed(role)
	if err != nil {
		t.Fatal(err)
	}
	if rules, ok := served["rules"]; !ok || rules != nil {
		t.Fatalf("rules are %v, want null", rules)
	}
	if got := p.Judge(t.Context(), vap.Request{Object: served, Resource: "clusterroles"}); got.Denied || got.Failed {
		t.Errorf("a role without rules: %+v", got)
	}
}

// By status and finalize the labels of a Namespace can be written; what writes
// nothing of that passes, or no namespace that fails could ever be deleted.
func TestNamespaceSubresources(t *testing.T) {
	t.Parallel()
	exported, p := one(t, parse(t, "appliesTo: {kinds: [{kind: Namespace}]}\ncheck: has(object.metadata.labels) && object.metadata.labels.level == 'high'\n"+podExamples))
	if got := exported.Policy.Spec.MatchConstraints.ResourceRules[0].Resources; !slices.Equal(got, []string{"namespaces", "namespaces/status", "namespaces/finalize"}) {
		t.Errorf("it matches %q", got)
	}
	space := func(level, finalizer string) map[string]any {
		return map[string]any{
			"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "shop", "labels": map[string]any{"level": level}},
			"spec": map[string]any{"finalizers": []any{finalizer}},
		}
	}
	for _, c := range []struct {
		subresource string
		before, now map[string]any
		denied      bool
	}{
		{"", nil, space("low", "a"), true},
		{"", space("high", "a"), space("low", "a"), true},
		{"status", space("high", "a"), space("low", "a"), true},
		{"finalize", space("high", "a"), space("low", "a"), true},
		{"finalize", space("low", "a"), space("low", "b"), false},
		{"status", space("low", "a"), space("low", "a"), false},
		{"status", space("low", "a"), space("high", "a"), false},
	} {
		got := p.Judge(t.Context(), vap.Request{Object: c.now, Old: c.before, Resource: "namespaces", SubResource: c.subresource})
		if got.Denied != c.denied || got.Failed {
			t.Errorf("%q from %v to %v: %+v", c.subresource, c.before, c.now, got)
		}
	}
}

// Texts and comments of an expression are left alone, whatever stands in them.
func TestTexts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"// it isn't object.x\nobject.kind != 'a'":          "// it isn't object.x\ndyn(object).kind != 'a'",
		`object.kind != r'\' && object.kind != "object.x"`:  `dyn(object).kind != r'\' && dyn(object).kind != "object.x"`,
		`object.kind != '''it's''' && object.kind != "b"`:   `dyn(object).kind != '''it's''' && dyn(object).kind != "b"`,
		`object.kind != "a\"object" && object.kind != "b"`:  `dyn(object).kind != "a\"object" && dyn(object).kind != "b"`,
		`object.kind != "" && object.kind != "b" // object`: `dyn(object).kind != "" && dyn(object).kind != "b" // object`,
	} {
		quoted, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		exported, _ := one(t, parse(t, "appliesTo: {kinds: [{kind: ConfigMap}]}\ncheck: "+string(quoted)+"\n"+podExamples))
		if got := exported.Policy.Spec.Validations[0].Expression; !strings.Contains(got, want) {
			t.Errorf("%s\nbecomes %s", text, got)
		}
	}
	// A condition that names the container only after a comment.
	exported, _ := one(t, parse(t, "appliesTo: {pods: true}\neach: container\nwhen: \"// it isn't said\\ncontainer.name != 'a'\"\nnotApplicable: no\ncheck: 'false'\n"+podExamples))
	if n := len(exported.Policy.Spec.MatchConditions); n != 1 {
		t.Errorf("%d match conditions, and what is about a container is none", n)
	}
}
