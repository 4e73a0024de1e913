package chart_test

import (
	"path/filepath"
	"strings"
	"testing"

	"bulwark.dev/bulwark/internal/cluster/inventory/chart"
)

// TestOwnChart renders Bulwark's own chart.
func TestOwnChart(t *testing.T) {
	at := filepath.Join("..", "..", "..", "..", "deploy", "helm", "bulwark")
	if !chart.Is(at) || chart.Is(filepath.Join(at, "templates")) || chart.Is(filepath.Join(at, "values.yaml")) {
		t.Fatal("the chart is not told from other folders")
	}
	objects, problems, err := chart.Render(at, chart.Options{Namespace: "bulwark-system"})
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v, %v", problems, err)
	}
	kinds, placed := map[string]int{}, 0
	for _, o := range objects {
		kinds[o.Kind]++
		if cluster := strings.HasPrefix(o.Kind, "Cluster") || o.Kind == "CustomResourceDefinition" || o.Kind == "GatewayClass"; (o.Namespace == "bulwark-system") == cluster {
			t.Errorf("%s is in the wrong namespace", o)
		}
		loc := o.Locate("metadata.name")
		if !strings.HasPrefix(loc.File, filepath.Join(at, "templates")) {
			t.Errorf("%s is at %v", o, loc)
		}
		if loc.Line > 1 {
			placed++
		}
	}
	t.Logf("%d objects: %v, %d with a line", len(objects), kinds, placed)
	if len(objects) < 10 || kinds["Deployment"] == 0 || placed < len(objects)*9/10 {
		t.Error("too little of the chart")
	}
}
