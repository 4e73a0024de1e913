// Package command proves that the program understands what the chart and the
// example tell it. It is apart from the other tests since it links the program.
package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark/internal/app"
	"bulwark.dev/bulwark/test/chart"
)

// help runs the program with args and --help behind them: the flags are read,
// nothing is started.
func help(t *testing.T, args []string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	code = app.Main(append(append([]string{}, args...), "--help"), app.Env{
		Context: t.Context(), Stdin: strings.NewReader(""), Stdout: &b, Stderr: &b,
		Now: time.Now, Random: func() uint64 { return 4 },
	})
	return code, b.String()
}

// commands gives the arguments of every container of the Deployments and StatefulSets in texts.
func commands(t *testing.T, texts []string) [][]string {
	t.Helper()
	var out [][]string
	for _, text := range texts {
		var d appsv1.Deployment
		if err := yaml.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		if d.Kind != "Deployment" && d.Kind != "StatefulSet" { // what is looked at is the same
			continue
		}
		for _, c := range d.Spec.Template.Spec.Containers {
			if len(c.Command) > 0 {
				t.Errorf("%s replaces the image's command", d.Name)
			}
			out = append(out, c.Args)
		}
	}
	return out
}

// trailValues gives a file with the values that turn on all that a trail can do.
func trailValues(t *testing.T) string {
	t.Helper()
	a, err := txtar.ParseFile("../testdata/trail.txtar")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(file, a.Files[0].Data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestArguments(t *testing.T) {
	dir, err := chart.Find(".")
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, set := range [][]string{
		nil,
		{"controllerName=example.com/edge", "provision.enabled=false", "log.level=debug", "log.format=text", "unprotected=allow"},
		{
			"gateway.limits.maxConnections=9", "gateway.limits.headerTimeout=1s", "gateway.limits.idleTimeout=1m30s",
			"gateway.limits.bodyTimeout=500ms", "gateway.limits.requestTimeout=2h",
			"gateway.tracing.otlpEndpoint=http://collector:4318", "gateway.events.record=refused",
		},
		{
			"audit.enabled=true", "audit.certificateSecret=trail", "audit.tokenSecret=tokens", "audit.apiServers={apiserver}", "audit.required=false",
			"admission.enabled=true", "admission.certificateSecret=webhook",
		},
	} {
		r, err := chart.Render(chart.Options{Dir: dir, Release: "bulwark", Namespace: "n", KubeVersion: "v1.36.3", Set: set})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range r.Objects {
			texts = append(texts, m.Text)
		}
	}
	r, err := chart.Render(chart.Options{Dir: dir, Release: "bulwark", Namespace: "n", KubeVersion: "v1.36.3", Values: []string{trailValues(t)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range r.Objects {
		texts = append(texts, m.Text)
	}
	w, err := chart.Render(chart.Options{
		Dir: dir + "-witness", Release: "w", Namespace: "n", KubeVersion: "v1.36.3", Set: []string{"logs[0]=a+0123abcd+AbCd=", "keySecret=k", "certificateSecret=c"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range w.Objects {
		texts = append(texts, m.Text)
	}
	files, err := filepath.Glob(filepath.Join(dir, "..", "..", "..", "examples", "kubernetes", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, strings.Split("\n"+string(text), "\n---\n")...)
	}
	all := commands(t, texts)
	if len(all) != 16 {
		t.Fatalf("%d containers, want 14 of the charts and 2 of the example", len(all))
	}
	for _, args := range all {
		if code, out := help(t, args); code != 0 || !strings.Contains(out, "Usage:\n  bulwark "+args[0]+" "+args[1]) {
			t.Errorf("%v: exit code %d\n%s", args, code, out)
		}
		if code, _ := help(t, append(append([]string{}, args...), "--no-such-flag=1")); code != 2 {
			t.Errorf("%v with an unknown flag: exit code %d: this test cannot fail", args, code)
		}
	}
}
