package v1alpha1

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// crd judges documents by the generated CRD, as far as it uses OpenAPI and CEL.
type crd struct {
	t     *testing.T
	env   *cel.Env
	rules int
}

// openAPI is the part of an OpenAPI schema that the CRD uses.
type openAPI struct {
	Type          string              `json:"type"`
	Properties    map[string]*openAPI `json:"properties"`
	Additional    *openAPI            `json:"additionalProperties"`
	Items         *openAPI            `json:"items"`
	Required      []string            `json:"required"`
	Enum          []any               `json:"enum"`
	Pattern       string              `json:"pattern"`
	MinLength     *int                `json:"minLength"`
	MaxLength     *int                `json:"maxLength"`
	MinItems      *int                `json:"minItems"`
	MaxItems      *int                `json:"maxItems"`
	MinProperties *int                `json:"minProperties"`
	MaxProperties *int                `json:"maxProperties"`
	Minimum       *float64            `json:"minimum"`
	Maximum       *float64            `json:"maximum"`
	MapKeys       []string            `json:"x-kubernetes-list-map-keys"`
	ListType      string              `json:"x-kubernetes-list-type"`
	Rules         []struct {
		Rule    string `json:"rule"`
		Message string `json:"message"`
	} `json:"x-kubernetes-validations"`
}

func readCRD(t *testing.T, plural string) *openAPI {
	t.Helper()
	text, err := os.ReadFile("../../deploy/crds/" + GroupName + "_" + plural + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Spec struct {
			Group    string
			Versions []struct {
				Name   string
				Schema struct {
					OpenAPIV3Schema *openAPI `json:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Spec.Group != GroupName || len(doc.Spec.Versions) != 1 || doc.Spec.Versions[0].Name != GroupVersion.Version {
		t.Fatalf("the CRD is of %s %v, want %v", doc.Spec.Group, doc.Spec.Versions, GroupVersion)
	}
	return doc.Spec.Versions[0].Schema.OpenAPIV3Schema
}

// check gives what the schema refuses about v.
func (c *crd) check(s *openAPI, v any, path string) (errs []string) {
	bad := func(format string, args ...any) { errs = append(errs, path+": "+fmt.Sprintf(format, args...)) }
	tooFew := func(n int, low, high *int) bool { return low != nil && n < *low || high != nil && n > *high }
	switch v := v.(type) {
	case nil:
		bad("is null")
	case bool:
		if s.Type == "string" || s.Type == "array" || s.Type == "object" {
			bad("is a bool, not %s", s.Type)
		}
	case map[string]any:
		if s.Type == "string" || s.Type == "array" {
			bad("is an object, not %s", s.Type)
			return errs
		}
		if tooFew(len(v), s.MinProperties, s.MaxProperties) {
			bad("%d properties", len(v))
		}
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				bad("%s is missing", name)
			}
		}
		for name, item := range v {
			switch {
			case s.Properties[name] != nil:
				errs = append(errs, c.check(s.Properties[name], item, path+"."+name)...)
			case s.Additional != nil:
				errs = append(errs, c.check(s.Additional, item, path+"."+name)...)
			case s.Properties != nil:
				bad("unknown field %s", name)
			}
		}
	case []any:
		if s.Type != "array" {
			bad("is a list, not %s", s.Type)
			return errs
		}
		if tooFew(len(v), s.MinItems, s.MaxItems) {
			bad("%d items", len(v))
		}
		seen := map[string]bool{}
		for i, item := range v {
			errs = append(errs, c.check(s.Items, item, fmt.Sprintf("%s[%d]", path, i))...)
			if s.ListType == "set" {
				if seen[fmt.Sprint(item)] {
					bad("item %d repeats another", i)
				}
				seen[fmt.Sprint(item)] = true
			}
			if o, ok := item.(map[string]any); ok && s.MapKeys != nil {
				key := ""
				for _, k := range s.MapKeys {
					key += fmt.Sprint(o[k], "\x00")
				}
				if seen[key] {
					bad("item %d repeats a key", i)
				}
				seen[key] = true
			}
		}
	case string:
		if s.Type != "string" {
			bad("is a string, not %s", s.Type)
		}
		if tooFew(utf8.RuneCountInString(v), s.MinLength, s.MaxLength) {
			bad("%d characters", len(v))
		}
		if s.Pattern != "" && !regexp.MustCompile(s.Pattern).MatchString(v) {
			bad("%q does not match %s", v, s.Pattern)
		}
		if s.Enum != nil && !slices.Contains(s.Enum, any(v)) {
			bad("%q is none of %v", v, s.Enum)
		}
	case float64:
		if s.Type == "string" || s.Type == "array" || s.Type == "object" {
			bad("is a number, not %s", s.Type)
		}
		if s.Minimum != nil && v < *s.Minimum || s.Maximum != nil && v > *s.Maximum {
			bad("%v is out of range", v)
		}
	}
	if v == nil || len(errs) > 0 && s.Type == "string" {
		return errs // an API server asks no rules about what has another form
	}
	for _, r := range s.Rules {
		c.rules++
		if !c.holds(r.Rule, v) {
			bad("%s", r.Message)
		}
	}
	return errs
}

func (c *crd) holds(rule string, self any) bool {
	c.t.Helper()
	ast, issues := c.env.Compile(rule)
	if issues.Err() != nil {
		c.t.Fatalf("rule %s: %v", rule, issues.Err())
	}
	program, err := c.env.Program(ast)
	if err != nil {
		c.t.Fatalf("rule %s: %v", rule, err)
	}
	out, _, err := program.Eval(map[string]any{"self": self})
	return err == nil && out == types.True
}

// TestCRDAgrees runs each case of TestValidate through the CRD: what it refuses
// Validate refuses too, and what Validate accepts it accepts.
func TestCRDAgrees(t *testing.T) {
	env, err := cel.NewEnv(cel.Variable("self", cel.DynType), ext.Strings())
	if err != nil {
		t.Fatal(err)
	}
	root := readCRD(t, "securitypolicies")
	rules, verdicts := 0, map[bool]int{}
	for _, c := range validateCases() {
		t.Run(c.name, func(t *testing.T) {
			text, _ := c.document(t)
			var doc map[string]any
			if err := yaml.Unmarshal(text, &doc); err != nil {
				t.Fatal(err)
			}
			judge := &crd{t: t, env: env}
			errs := judge.check(root.Properties["spec"], doc["spec"], "spec")
			rules += judge.rules
			if want := c.refused == both; (len(errs) > 0) != want {
				t.Errorf("the CRD says %v; refused should be %v", errs, want)
			}
			verdicts[len(errs) > 0]++
		})
	}
	if rules < 100 || verdicts[true] < 40 || verdicts[false] < 15 {
		t.Errorf("only %d rules ran, %d cases were refused and %d accepted", rules, verdicts[true], verdicts[false])
	}
}

// TestCRDBounds proves that lists and texts under CEL rules are bounded, since
// an API server refuses a CRD whose rules could cost too much.
func TestCRDBounds(t *testing.T) {
	var walk func(s *openAPI, path string)
	seen := 0
	walk = func(s *openAPI, path string) {
		if s == nil {
			return
		}
		if s.Type == "array" {
			seen++
			if s.MaxItems == nil && path != "spec.authentication.anyOf[].apiKey.secretSelector.matchExpressions" &&
				path != "spec.authentication.anyOf[].apiKey.secretSelector.matchExpressions[].values" {
				t.Errorf("%s has no bound", path)
			}
		}
		if s.Type == "string" && len(s.Rules) > 0 && s.MaxLength == nil && s.Enum == nil {
			t.Errorf("%s has rules and no bound", path)
		}
		walk(s.Items, path+"[]")
		for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
			walk(s.Properties[name], path+"."+name)
		}
	}
	for _, plural := range []string{"securitypolicies", "postureexceptions"} {
		walk(readCRD(t, plural).Properties["spec"], "spec")
	}
	if seen < 20 {
		t.Errorf("%d lists seen; the walk is broken", seen)
	}
}

func TestAddToScheme(t *testing.T) {
	s := runtime.NewScheme()
	if err := AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	obj, err := s.New(GroupVersion.WithKind(KindSecurityPolicy))
	if err != nil {
		t.Fatal(err)
	}
	p, ok := obj.(*SecurityPolicy)
	if !ok {
		t.Fatalf("the kind is %T", obj)
	}
	p.Spec.CORS = &CORS{MaxAge: &metav1.Duration{Duration: DefaultCORSMaxAge}}
	text, err := json.Marshal(p.DeepCopyObject())
	if err != nil {
		t.Fatal(err)
	}
	if want := `"maxAge":"5s"`; !regexp.MustCompile(want).Match(text) {
		t.Errorf("%s lacks %s", text, want)
	}
}
