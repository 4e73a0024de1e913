package v1alpha1

import (
	"os"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/ext"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// TestPostureExceptionCRD judges the cases by the CRD alone. A test of
// internal/posture/exception runs the same file, so that the two agree.
func TestPostureExceptionCRD(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/postureexceptions.txtar")
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../../examples/posture/exceptions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	archive.Files = append(archive.Files, txtar.File{Name: "accept/the example", Data: example})
	env, err := cel.NewEnv(cel.Variable("self", cel.DynType), ext.Strings())
	if err != nil {
		t.Fatal(err)
	}
	root := readCRD(t, "postureexceptions")
	rules, verdicts := 0, map[string]int{}
	for _, f := range archive.Files {
		want, name, _ := strings.Cut(f.Name, "/")
		verdicts[want]++
		t.Run(name, func(t *testing.T) {
			var doc map[string]any
			if err := yaml.Unmarshal(f.Data, &doc); err != nil {
				t.Fatal(err)
			}
			judge := &crd{t: t, env: env}
			errs := judge.check(root.Properties["spec"], doc["spec"], "spec")
			rules += judge.rules
			if (len(errs) == 0) != (want == "accept") {
				t.Errorf("the CRD says %v, want %s", errs, want)
			}
			// What is accepted keeps all its fields in the Go type.
			var typed PostureException
			if err := yaml.UnmarshalStrict(f.Data, &typed); err != nil && want == "accept" {
				t.Errorf("the Go type does not read it: %v", err)
			}
		})
	}
	if rules < 100 || verdicts["accept"] < 12 || verdicts["refuse"] < 40 || len(verdicts) != 2 {
		t.Errorf("%d rules ran over %v", rules, verdicts)
	}
}

// TestPostureExceptionRules names each demand that the CRD makes of all exceptions.
func TestPostureExceptionRules(t *testing.T) {
	spec := readCRD(t, "postureexceptions").Properties["spec"]
	want := map[string]string{
		"controls": "name the controls", "objects": "say which objects", "owner": "who answers for it?", "reason": "why is it so?",
		"expires": "write a day that there is, as 2027-01-31",
	}
	for field, message := range want {
		s := spec.Properties[field]
		if s == nil || len(s.Rules) != 1 || s.Rules[0].Message != message {
			t.Errorf("spec.%s is %+v, want a rule that says %q", field, s, message)
		}
	}
	if len(spec.Required) != len(want) {
		t.Errorf("%v are required, want those of %v", spec.Required, want)
	}
	for _, field := range spec.Required {
		if want[field] == "" {
			t.Errorf("%s is required", field)
		}
	}
}

func TestPostureExceptionScheme(t *testing.T) {
	s := runtime.NewScheme()
	if err := AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	obj, err := s.New(GroupVersion.WithKind(KindPostureException))
	if err != nil {
		t.Fatal(err)
	}
	e, ok := obj.(*PostureException)
	if !ok {
		t.Fatalf("the kind is %T", obj)
	}
	e.Spec.Objects = []ExceptedObjects{{Labels: map[string]LabelPattern{"a": "b"}}}
	deep := e.DeepCopy()
	deep.Spec.Objects[0].Labels["a"] = "c"
	if e.Spec.Objects[0].Labels["a"] != "b" {
		t.Error("a copy shares its labels")
	}
}
