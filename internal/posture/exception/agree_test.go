package exception

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// TestCRDExamples reads what the test of the CRD judges: what the API server takes
// is read from a file and from a cluster, and what it refuses is from neither.
func TestCRDExamples(t *testing.T) {
	t.Parallel()
	archive, err := txtar.ParseFile("../../../api/v1alpha1/testdata/postureexceptions.txtar")
	if err != nil {
		t.Fatal(err)
	}
	ran := map[string]int{}
	for _, f := range archive.Files {
		want, name, _ := strings.Cut(f.Name, "/")
		ran[want]++
		given, err := Parse("f.yaml", f.Data)
		if (err == nil) != (want == "accept") {
			t.Errorf("%s: as a file: %v, want %s", name, err, want)
		}
		raw, err := yaml.YAMLToJSON(f.Data)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		o := object(t, string(raw))
		found, invalid := Find(inventory.NewSnapshot([]*inventory.Object{o}, inventory.Facts{}, nil, nil))
		if (len(found) == 1) != (want == "accept") || len(found)+len(invalid) != 1 {
			t.Errorf("%s: as an object: %v, want %s", name, invalid, want)
		}
		if len(found) == 1 && len(given) == 1 {
			if diff := cmp.Diff(given[0].Spec, found[0].Spec); diff != "" || !given[0].expires.Equal(found[0].expires) {
				t.Errorf("%s: the file and the object differ: %s", name, diff)
			}
		}
	}
	if ran["accept"] < 12 || ran["refuse"] < 40 || len(ran) != 2 {
		t.Errorf("ran %v", ran)
	}
}

// crdSchema is what is compared of the CRD.
type crdSchema struct {
	Properties map[string]*crdSchema `json:"properties"`
	Items      *crdSchema            `json:"items"`
}

// TestCRDFields compares the fields of Spec with those of the CRD, both ways.
func TestCRDFields(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../deploy/crds/bulwark.dev_postureexceptions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Spec struct {
			Group string
			Scope string
			Names struct{ Kind string }
			// Versions has one.
			Versions []struct {
				Name   string
				Schema struct {
					OpenAPIV3Schema *crdSchema `json:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Spec.Versions) != 1 || doc.Spec.Group+"/"+doc.Spec.Versions[0].Name != APIVersion || doc.Spec.Names.Kind != Kind || doc.Spec.Scope != "Namespaced" {
		t.Fatalf("the CRD is of %+v", doc.Spec)
	}
	var ours, theirs []string
	ours = goFields(reflect.TypeFor[Spec](), "spec", ours)
	theirs = doc.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].fields("spec", theirs)
	slices.Sort(ours)
	slices.Sort(theirs)
	if diff := cmp.Diff(ours, theirs); diff != "" || len(ours) < 11 {
		t.Errorf("%d fields (-exception +CRD): %s", len(ours), diff)
	}
}

func goFields(of reflect.Type, at string, out []string) []string {
	if of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return out
	}
	for f := range of.Fields() {
		name := at + "." + f.Tag.Get("yaml")
		out = goFields(f.Type, name, append(out, name))
	}
	return out
}

func (s *crdSchema) fields(at string, out []string) []string {
	for s.Items != nil {
		s = s.Items
	}
	for name, inner := range s.Properties {
		out = inner.fields(at+"."+name, append(out, at+"."+name))
	}
	return out
}
