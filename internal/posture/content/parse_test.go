package content_test

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/posture/content"
)

const good = `id: some-control
title: A title
severity: high
category: pods
why: An attacker gains something.
remediation: Do this.
appliesTo: {pods: true}
each: container
parameters: {limit: 3}
when: has(container.name)
notApplicable: it has no name
check: container.name != "bad" && variables.params.limit > 0
message: '"container " + container.name'
field: name
fix:
- {field: name, value: good}
examples:
  pass:
  - {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: a}]}}
  fail:
  - want: ["spec.containers[0].name"]
    object: {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: bad}]}}
`

// TestParse: a mistake in a control is told with its file and line, and nothing is
// taken for something else.
func TestParse(t *testing.T) {
	t.Parallel()
	if _, err := content.Parse("pods/some-control.yaml", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, file, old, with, want string }{
		{"unknown field", "", "title: A title", "titel: A title", "some-control.yaml: yaml: unmarshal errors:\n  line 2: field titel not found"},
		{"unknown field within", "", "appliesTo: {pods: true}", "appliesTo: {pod: true}", "line 7: field pod not found"},
		{"field twice", "", "title: A title", "title: A title\ntitle: Another", "already defined"},
		{"missing field", "", "why: An attacker gains something.\n", "", "some-control.yaml:1: why: it is missing"},
		{"empty field", "", "remediation: Do this.", "remediation: ' '", "some-control.yaml:6: remediation: it is missing"},
		{"id of another file", "pods/other.yaml", "", "", "pods/other.yaml:1: id:"},
		{"id not in dashes", "pods/Some_Control.yaml", "id: some-control", "id: Some_Control", "small letters"},
		{"category of another folder", "rbac/some-control.yaml", "", "", "rbac/some-control.yaml:4: category:"},
		{"unknown severity", "", "severity: high", "severity: awful", "some-control.yaml:3: severity:"},
		{"two targets", "", "{pods: true}", "{pods: true, component: etcd}", ":7: appliesTo: give one"},
		{"no target", "", "{pods: true}", "{}", ":7: appliesTo: give one"},
		{"kind without a name", "", "{pods: true}", "{kinds: [{group: apps}]}", ":7: appliesTo: a kind has no name"},
		{"when without its reason", "", "notApplicable: it has no name\n", "", ":10: when:"},
		{"CEL that does not parse", "", `check: container.name != "bad"`, `check: container.name !! "bad"`, ":12: check:"},
		{"CEL of another type", "", `message: '"container " + container.name'`, "message: container.name", ":13: message: it gives dyn, not string"},
		{"name that is not given here", "", "each: container", "each: pod", ":10: when:"},
		{"unknown variable", "", "variables.params.limit", "variables.param.limit", ":12: check: there is no variables.param here"},
		{"args without a component", "", "variables.params.limit > 0", "variables.args.size() > 0", ":12: check: there is no variables.args here"},
		{"unknown parameter", "", "variables.params.limit", "variables.params.limits", `there is no parameter "limits"`},
		{"variables as a whole", "", "variables.params.limit > 0", "variables.size() > 0", "variables must be read as"},
		{"name of a macro", "", "variables.params.limit > 0", "variables.containers.all(item, item.name != '')", "item is given already"},
		{"path without an end", "", "field: name", "field: 'name['", ":14: field:"},
		{"path with all elements", "", "field: name", "field: 'name[]'", ":14: field:"},
		{"list with a number", "", "each: container", "each: spec.ports[0]", ":8: each: a number"},
		{"fix without a value", "", "{field: name, value: good}", "{field: name}", ":15: fix:"},
		{"fix that sets and removes", "", "{field: name, value: good}", "{field: name, value: x, remove: true}", ":15: fix:"},
		{"fix of the whole", "", "{field: name, value: good}", "{field: '', remove: true}", ":15: fix:"},
		{"no failing example", "", "  fail:", "  skip:", ":17: examples: there must be one that passes and one that fails"},
		{"example that is no object", "", "- {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: a}]}}", "- 3", ":17: examples: line 19: an example is no object"},
		{"second document", "", "id: some-control", "id: x\n---\nid: some-control", "a second document"},
		{"no document", "", good, "", "EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := tt.file
			if file == "" {
				file = "pods/some-control.yaml"
			}
			text := strings.Replace(good, tt.old, tt.with, 1)
			if tt.old != "" && text == good {
				t.Fatal("the test changes nothing")
			}
			_, err := content.Parse(file, []byte(text))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), file) && tt.name != "second document" {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// TestLoad: what is right is loaded whatever is wrong beside it.
func TestLoad(t *testing.T) {
	t.Parallel()
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	controls, err := content.Load(fstest.MapFS{
		"README.md": file("# no control"), "pods/some-control.yaml": file(good), "more/some-control.yml": file(strings.Replace(good, "category: pods", "category: more", 1)),
		"pods/broken.yaml": file("id: ["),
	})
	if len(controls) != 1 || err == nil {
		t.Fatalf("%d controls, error %v", len(controls), err)
	}
	for _, want := range []string{"pods/broken.yaml", `pods/some-control.yaml:1: the id "some-control" is that of more/some-control.yml too`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
}

// TestParameters: a user's value is taken if it is of the default's type.
func TestParameters(t *testing.T) {
	t.Parallel()
	c, err := content.Parse("some-control.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []map[string]any{{"limits": 1}, {"limit": "1"}, {"limit": nil}, {"limit": 1.5}} {
		if _, err := c.With(wrong); err == nil {
			t.Errorf("%v is taken", wrong)
		}
	}
	with, err := c.With(map[string]any{"limit": 0})
	if err != nil {
		t.Fatal(err)
	}
	pod := c.Examples.Pass[0]
	if got := judge(t, c, pod); got[0].Verdict.String() != "pass" {
		t.Errorf("with the default: %s", show(got))
	}
	if got := judge(t, with, pod); got[0].Verdict.String() != "fail" {
		t.Errorf("with limit 0: %s", show(got))
	}
}

func FuzzParse(f *testing.F) {
	err := fs.WalkDir(catalog.Controls(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(catalog.Controls(), name)
		f.Add(text)
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(good))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := content.Parse("some-control.yaml", text)
		if (c == nil) == (err == nil) {
			t.Fatalf("control %v with error %v", c, err)
		}
		if err == nil {
			for _, o := range c.Examples.Pass {
				if s := subjectOrNil(o); s != nil && c.Applies(s) && len(c.Judge(s)) == 0 {
					t.Error("a control said nothing")
				}
			}
		}
	})
}
