package app

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/vap"
)

// The API server is told to ask about all that a control looks at: what it does not
// ask about is let in unseen.
func TestJudgedGroups(t *testing.T) {
	t.Parallel()
	asked := map[string][]string{}
	for _, g := range judgedGroups() {
		asked[g.name] = g.resources
	}
	set, err := new(scanControls).load()
	if err != nil {
		t.Fatal(err)
	}
	looked := map[content.Kind]bool{}
	for _, c := range set.single {
		if c, ok := c.(*content.Control); ok {
			for _, k := range c.AppliesTo.Kinds {
				looked[k] = true
			}
		}
	}
	n := 0
	for k := range looked {
		switch {
		// No webhook is asked about these, and nobody about what is no longer served.
		case vap.Unserved(k.Group, k.Kind) != "", k.Group == "admissionregistration.k8s.io", k.Group == "extensions":
		// A cluster needs them while the webhook is away.
		case slices.Contains([]string{"Node", "Endpoints", "EndpointSlice", "CSIStorageCapacity"}, k.Kind):
		case !slices.Contains(asked[k.Group], "*") && !slices.Contains(asked[k.Group], vap.Resource(k.Kind)):
			t.Errorf("controls look at %s of group %q, and the API server does not ask about it", k.Kind, k.Group)
		default:
			n++
		}
	}
	if n < 40 {
		t.Errorf("controls look at %d kinds", n)
	}
}

// The chart asks for what --print-configuration asks for.
func TestChartRules(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../deploy/helm/bulwark/templates/admission.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[string][]string{}, map[string][]string{}
	list := func(text string) []string {
		return strings.Split(strings.NewReplacer(`"`, "", " ", "").Replace(text), ",")
	}
	for _, rule := range regexp.MustCompile(`operations: \[CREATE, UPDATE\], apiGroups: \[(.*?)\], apiVersions: \["\*"\], resources: \[(.*?)\], scope: "\*"`).FindAllStringSubmatch(string(text), -1) {
		for _, group := range list(rule[1]) {
			got[group] = list(rule[2])
		}
	}
	for _, g := range judgedGroups() {
		want[g.name] = g.resources
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the chart's rules (-flags +chart):\n%s", diff)
	}
}
