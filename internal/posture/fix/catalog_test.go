package fix_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/manifest"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/fix"
)

// TestCatalog writes every failing example of every control that has a fix to a
// file, with comments in it, fixes that, and runs the control again: it must pass,
// the comments must be there, and the object must be what the edits alone make it.
func TestCatalog(t *testing.T) {
	controls, err := content.Load(catalog.Controls())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	ran, findings := 0, 0
	for _, c := range controls {
		if len(c.Fix) == 0 {
			continue
		}
		ran++
		for i, e := range c.Examples.Fail {
			for _, form := range []string{"yaml", "json"} {
				findings += example(t, c, fmt.Sprintf("%s-%d.%s", c.ID, i, form), e.Object)
			}
		}
	}
	t.Logf("%d controls with a fix, %d findings fixed", ran, findings)
	if ran < 50 {
		t.Errorf("only %d controls have a fix", ran)
	}
}

func example(t *testing.T, c *content.Control, name string, object map[string]any) int {
	t.Helper()
	text, err := yaml.Marshal(object)
	if strings.HasSuffix(name, ".json") {
		text, err = yaml.YAMLToJSON(text)
	} else {
		text = append([]byte("# the first line\n"), strings.ReplaceAll(string(text), "\nmetadata:", "\n# about it\nmetadata: # here")...)
		text = append(text, "# the last line\n"...)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	snap := snapshot(t, name)
	run := judged(t, c)
	before, err := run(snap)
	if err != nil || len(before) == 0 {
		t.Errorf("%s: no finding: %v", name, err)
		return 0
	}
	plan, err := fix.New(before, snap, fix.Options{Judge: run})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range plan.Left {
		t.Errorf("%s: %s is left: %s", name, l.Finding.Field, l.Reason)
	}
	if len(plan.Arisen) > 0 {
		t.Errorf("%s: %v is new", name, plan.Arisen)
	}
	if err := plan.Write(); err != nil {
		t.Fatal(err)
	}
	after := snapshot(t, name)
	if now, _ := run(after); len(now) > 0 {
		t.Errorf("%s: still %v", name, now)
	}
	written, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(written), "#") < strings.Count(string(text), "#") {
		t.Errorf("%s: a comment is gone:\n%s", name, written)
	}
	var edits []bulwark.Edit
	for _, f := range plan.Fixed {
		edits = append(edits, f.Fix...)
	}
	want := decoded(t, snap.Objects()[0].Raw())
	if err := content.Apply(want, edits); err != nil {
		t.Fatal(err)
	}
	made, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decoded(t, made), decoded(t, after.Objects()[0].Raw())); diff != "" && len(plan.Left) == 0 {
		t.Errorf("%s: %s", name, diff)
	}
	return len(plan.Fixed)
}

func decoded(t *testing.T, text []byte) map[string]any {
	t.Helper()
	var out map[string]any
	if err := yaml.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func snapshot(t *testing.T, name string) *inventory.Snapshot {
	t.Helper()
	objects, problems, err := manifest.Read(t.Context(), []string{name}, manifest.Options{})
	if err != nil || len(problems) > 0 || len(objects) != 1 {
		t.Fatalf("%s: %d objects, %v, %v", name, len(objects), problems, err)
	}
	return inventory.NewSnapshot(objects, inventory.Facts{}, nil, nil)
}

func judged(t *testing.T, c control.Single) func(*inventory.Snapshot) ([]bulwark.Finding, error) {
	t.Helper()
	engine, err := posture.New(posture.Options{Single: []control.Single{c}, Workers: 1})
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
