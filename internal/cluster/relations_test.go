package cluster

import (
	"encoding/json"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/ext"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/cluster/nodes"
)

// upstream is an OpenAPI schema of a Gateway API CRD, as far as CEL rules hang
// on it.
type upstream struct {
	Properties map[string]*upstream `json:"properties"`
	Additional *upstream            `json:"additionalProperties"`
	Items      *upstream            `json:"items"`
	Rules      []struct {
		Rule    string `json:"rule"`
		Message string `json:"message"`
	} `json:"x-kubernetes-validations"`
}

// readUpstream gives the spec's schema of each kind, from the module's CRDs.
func readUpstream(t *testing.T) map[string]*upstream {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "config/crd/experimental/gateway.networking.k8s.io_*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*upstream{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct {
						OpenAPIV3Schema upstream `json:"openAPIV3Schema"`
					} `json:"schema"`
				} `json:"versions"`
			} `json:"spec"`
		}
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		for _, v := range crd.Spec.Versions {
			if v.Name == "v1" {
				out[crd.Spec.Names.Kind] = v.Schema.OpenAPIV3Schema.Properties["spec"]
			}
		}
	}
	return out
}

// judge runs CEL rules as an API server does.
type judge struct {
	t        *testing.T
	env      *cel.Env
	programs map[string]cel.Program
	// broken gives, for the message of each rule that did not hold, the fields.
	broken map[string][]string
}

func (j *judge) holds(rule string, self any) bool {
	j.t.Helper()
	p := j.programs[rule]
	if p == nil {
		ast, issues := j.env.Compile(rule)
		if issues.Err() != nil {
			j.t.Fatalf("rule %s: %v", rule, issues.Err())
		}
		var err error
		if p, err = j.env.Program(ast); err != nil {
			j.t.Fatalf("rule %s: %v", rule, err)
		}
		j.programs[rule] = p
	}
	out, _, err := p.Eval(map[string]any{"self": self})
	return err == nil && out == types.True
}

func (j *judge) walk(s *upstream, v any, path string) {
	if s == nil {
		return
	}
	for _, r := range s.Rules {
		if !strings.Contains(r.Rule, "oldSelf") && !j.holds(r.Rule, v) {
			j.broken[r.Message] = append(j.broken[r.Message], path)
		}
	}
	switch v := v.(type) {
	case map[string]any:
		for name, item := range v {
			real := strings.TrimSuffix(strings.TrimPrefix(name, "__"), "__") // see escape
			if s.Properties[real] != nil {
				j.walk(s.Properties[real], item, path+"."+real)
			} else {
				j.walk(s.Additional, item, path+"["+real+"]")
			}
		}
	case []any:
		for i, item := range v {
			j.walk(s.Items, item, path+"["+strconv.Itoa(i)+"]")
		}
	}
}

// escape renames the fields that are reserved words of CEL, as API servers do,
// and makes whole numbers integers.
func escape(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, item := range v {
			if name == "namespace" {
				name = "__namespace__"
			}
			out[name] = escape(item)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = escape(item)
		}
		return out
	case float64:
		return int64(v)
	default:
		return v
	}
}

// messages gives those of the rules below s that our checks must know.
func (s *upstream) messages(out map[string]bool) {
	if s == nil {
		return
	}
	for _, r := range s.Rules {
		if !strings.Contains(r.Rule, "oldSelf") {
			out[r.Message] = true
		}
	}
	s.Items.messages(out)
	s.Additional.messages(out)
	for _, p := range s.Properties {
		p.messages(out)
	}
}

// TestRelationsAgree reads the golden files with the CEL rules of Gateway API's
// own CRDs: where a rule does not hold we must report a problem at that field,
// good files must hold all, and each rule must be broken by some file, so that
// a rule which a new version of Gateway API adds cannot go unnoticed.
func TestRelationsAgree(t *testing.T) {
	env, err := cel.NewEnv(cel.Variable("self", cel.DynType), ext.Strings(), isIP())
	if err != nil {
		t.Fatal(err)
	}
	crds := readUpstream(t)
	j := &judge{t: t, env: env, programs: map[string]cel.Program{}}
	files, err := filepath.Glob(filepath.Join("testdata", "*.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	seen, good := map[string]bool{}, 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if !strings.HasSuffix(f.Name, ".yaml") {
				continue
			}
			for _, c := range nodes.Split([]byte(unescape(string(f.Data)))) {
				doc := decodeDocument(c.Text, false)
				for _, o := range doc.objects {
					if crds[o.kind.name] == nil {
						continue
					}
					j.broken = map[string][]string{}
					j.walk(crds[o.kind.name], specOf(t, o.obj), "spec")
					if len(doc.problems) == 0 {
						good++
					}
					for message, fields := range j.broken {
						seen[message] = true
						for _, field := range fields {
							if !slices.ContainsFunc(doc.problems, func(p Problem) bool { return within(p.Field, field) || within(field, p.Field) }) {
								t.Errorf("%s: %s: %s: %s: no problem there", file, refOf(o.obj), field, message)
							}
						}
					}
				}
			}
		}
	}
	all := map[string]bool{}
	for _, k := range kinds() {
		crds[k.name].messages(all)
	}
	for _, message := range slices.Sorted(maps.Keys(all)) {
		if !seen[message] {
			t.Errorf("no golden file breaks the rule %q", message)
		}
	}
	if len(all) < 70 || good < 5 {
		t.Errorf("%d rules and %d good objects are too few", len(all), good)
	}
}

// specOf gives an object's spec as CEL sees it.
func specOf(t *testing.T, obj Object) any {
	t.Helper()
	text, err := json.Marshal(obj)
	if err != nil {
		t.Fatal(err)
	}
	var o map[string]any
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	return escape(o["spec"])
}

// isIP is a function that API servers add to CEL.
func isIP() cel.EnvOption {
	return cel.Function("isIP", cel.Overload("is_ip_string", []*cel.Type{cel.StringType}, cel.BoolType,
		cel.UnaryBinding(func(v ref.Val) ref.Val {
			text, ok := v.Value().(string)
			_, err := netip.ParseAddr(text)
			return types.Bool(ok && err == nil)
		})))
}
