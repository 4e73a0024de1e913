package fix_test

import (
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chartutil"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/fix"
)

// everything gives all controls of the catalog in one engine.
func everything(t *testing.T) func(*inventory.Snapshot) ([]bulwark.Finding, error) {
	t.Helper()
	controls, err := content.Load(catalog.Controls())
	if err != nil {
		t.Fatal(err)
	}
	var all []control.Single
	for _, c := range controls {
		all = append(all, c)
	}
	engine, err := posture.New(posture.Options{Single: all})
	if err != nil {
		t.Fatal(err)
	}
	return func(s *inventory.Snapshot) ([]bulwark.Finding, error) {
		report, err := engine.Judge(t.Context(), s)
		if err != nil {
			return nil, err
		}
		return report.Findings, nil
	}
}

// TestScaffold fixes the chart that `helm create` makes with all controls of the
// catalog, writes that, and judges what is then rendered from the disk.
func TestScaffold(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := chartutil.Create("shop", "."); err != nil {
		t.Fatal(err)
	}
	run := everything(t)
	objects := load(t, "chart shop")
	snap := inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil)
	before, err := run(snap)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := fix.New(before, snap, fix.Options{Judge: run, Roots: []string{"shop"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range plan.Fixed {
		t.Logf("fixed %s %s %s", f.Control, f.Object, f.Field)
	}
	for _, l := range plan.Left {
		if len(l.Finding.Fix) > 0 {
			t.Logf("left %s %s: %s", l.Finding.Control, l.Finding.Object, l.Reason)
		}
	}
	var patch strings.Builder
	if err := plan.Diff(&patch); err != nil {
		t.Fatal(err)
	}
	t.Log(patch.String())
	if err := plan.Write(); err != nil {
		t.Fatal(err)
	}
	after, err := run(inventory.NewSnapshot(load(t, "chart shop"), inventory.Facts{}, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Fixed) < 3 || len(after) > len(before)-len(plan.Fixed) {
		t.Errorf("%d findings, %d fixed, %d afterwards", len(before), len(plan.Fixed), len(after))
	}
	for _, f := range plan.Files {
		if strings.Contains(f.Path, "templates") {
			t.Errorf("%s is a template", f.Path)
		}
	}
}
