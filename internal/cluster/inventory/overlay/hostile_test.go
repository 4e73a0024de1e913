package overlay_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"bulwark.dev/bulwark/internal/cluster/inventory/overlay"
)

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"

// TestNothingIsFetched builds kustomizations that name a server in every way that
// Kustomize would follow, and counts who asks; git leaves a mark if it is run.
func TestNothingIsFetched(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer server.Close()
	bin := t.TempDir()
	mark := filepath.Join(bin, "ran")
	for _, name := range []string{"git", "helm", "docker"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\necho \"$@\" >> "+mark+"\nexit 1\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	u := server.URL
	upper := strings.Replace(u, "http", "HTTP", 1)
	plugin := "apiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: p}\npath: " + u + "/p.yaml\ntarget: {kind: ConfigMap}\n"
	tests := map[string]map[string]string{
		"resource":       {"kustomization.yaml": "resources: [" + u + "/x.yaml]"},
		"upper":          {"kustomization.yaml": "resources: [" + upper + "/x.yaml]"},
		"git":            {"kustomization.yaml": "resources: ['git::" + u + "/org/repo//base?ref=v1']"},
		"git twice":      {"kustomization.yaml": "resources: ['GIT::git::" + u + "/org/repo']"},
		"github":         {"kustomization.yaml": "resources: [github.com/org/repo]"},
		"GitHub":         {"kustomization.yaml": "resources: [GitHub.com/org/repo//x?timeout=5]"},
		"scp":            {"kustomization.yaml": "resources: ['git@localhost:org/repo']"},
		"other user":     {"kustomization.yaml": "resources: ['me@localhost:org/repo.git']"},
		"ssh":            {"kustomization.yaml": "resources: ['ssh://localhost/org/repo']"},
		"file":           {"kustomization.yaml": "resources: ['file:///etc/repo.git']"},
		"bases":          {"kustomization.yaml": "bases: [" + u + "/org/repo]"},
		"component":      {"kustomization.yaml": "components: [" + u + "/org/repo]"},
		"crds":           {"kustomization.yaml": "resources: [x.yaml]\ncrds: [" + u + "/crd.json]", "x.yaml": configMap},
		"configurations": {"kustomization.yaml": "resources: [x.yaml]\nconfigurations: [" + u + "/c.yaml]", "x.yaml": configMap},
		"openapi":        {"kustomization.yaml": "resources: [x.yaml]\nopenapi: {path: " + u + "/o.json}", "x.yaml": configMap},
		"patch":          {"kustomization.yaml": "resources: [x.yaml]\npatches: [{path: " + u + "/p.yaml}]", "x.yaml": configMap},
		"merge":          {"kustomization.yaml": "resources: [x.yaml]\npatchesStrategicMerge: [" + u + "/p.yaml]", "x.yaml": configMap},
		"json patch":     {"kustomization.yaml": "resources: [x.yaml]\npatchesJson6902: [{path: " + u + "/p.yaml, target: {kind: ConfigMap, version: v1, name: x}}]", "x.yaml": configMap},
		"replacement":    {"kustomization.yaml": "resources: [x.yaml]\nreplacements: [{path: " + u + "/p.yaml}]", "x.yaml": configMap},
		"files":          {"kustomization.yaml": "configMapGenerator: [{name: a, files: [" + u + "/p.yaml]}]"},
		"named file":     {"kustomization.yaml": "configMapGenerator: [{name: a, files: [k=" + u + "/p.yaml]}]"},
		"envs":           {"kustomization.yaml": "secretGenerator: [{name: a, envs: [" + u + "/p.env]}]"},
		"generator":      {"kustomization.yaml": "generators: [" + u + "/p.yaml]"},
		"transformer":    {"kustomization.yaml": "resources: [x.yaml]\ntransformers: [" + u + "/p.yaml]", "x.yaml": configMap},
		"validator":      {"kustomization.yaml": "resources: [x.yaml]\nvalidators: [" + u + "/p.yaml]", "x.yaml": configMap},
		"inline plugin":  {"kustomization.yaml": "resources: [x.yaml]\ntransformers:\n- |-\n  " + strings.ReplaceAll(plugin, "\n", "\n  "), "x.yaml": configMap},
		"plugin file":    {"kustomization.yaml": "resources: [x.yaml]\ntransformers: [p.yaml]", "x.yaml": configMap, "p.yaml": plugin},
		"plugin folder":  {"kustomization.yaml": "resources: [x.yaml]\ntransformers: [p]", "x.yaml": configMap, "p/kustomization.yaml": "resources: [p.yaml]", "p/p.yaml": plugin},
		"alias":          {"kustomization.yaml": "metadata: {name: &u " + u + "/x.yaml}\nresources: [*u]"},
		"merge key":      {"kustomization.yaml": "metadata: &m {path: " + u + "/x.yaml}\nresources: [x.yaml]\npatches: [{<<: *m}]", "x.yaml": configMap},
		"alias as key":   {"kustomization.yaml": "metadata: {name: &patch resources}\n*patch : [" + u + "/x.yaml]"},
		"alias as field": {"kustomization.yaml": "resources: [x.yaml]\ntransformers: [p.yaml]", "x.yaml": configMap, "p.yaml": strings.Replace(plugin, "name: p}", "name: &options path}", 1) + "*options : " + u + "/q.yaml\n"},
		"alias in list":  {"kustomization.yaml": "resources: [x.yaml]\ntransformers: [p.yaml]", "x.yaml": configMap, "p.yaml": "apiVersion: v1\nkind: List\nmetadata:\n  annotations: &p {apiVersion: builtin, kind: PatchTransformer, metadata: {name: p}, path: " + u + "/p.yaml, target: {kind: ConfigMap}}\nitems: [*p]\n"},
		"merged plugin":  {"kustomization.yaml": "resources: [x.yaml]\ntransformers: [p.yaml]", "x.yaml": configMap, "p.yaml": strings.Replace(plugin, "apiVersion: builtin", "<<: {apiVersion: builtin}", 1)},
		"second inline":  {"kustomization.yaml": "resources: [x.yaml]\ntransformers:\n- |-\n  apiVersion: builtin\n  kind: LabelTransformer\n  metadata: {name: l}\n  labels: {a: b}\n  ---\n  " + strings.ReplaceAll(plugin, "\n", "\n  "), "x.yaml": configMap},
		"linked":         {"kustomization.yaml": "->k.yaml", "k.yaml": "resources: [" + u + "/x.yaml]"},
		"linked below":   {"kustomization.yaml": "resources: [b]", "b/Kustomization": "->k", "b/k": "resources: [" + u + "/x.yaml]"},
		"below":          {"kustomization.yaml": "resources: [b]", "b/kustomization.yml": "resources: [" + u + "/x.yaml]"},
		"helm":           {"kustomization.yaml": "helmCharts: [{name: x, repo: " + u + "}]"},
		"helm plugin":    {"kustomization.yaml": "generators: [h.yaml]", "h.yaml": "apiVersion: builtin\nkind: HelmChartInflationGenerator\nmetadata: {name: h}\nname: x\nversion: '1'\n"},
		"exec":           {"kustomization.yaml": "generators: [e.yaml]", "e.yaml": "apiVersion: v1\nkind: X\nmetadata:\n  name: e\n  annotations:\n    config.kubernetes.io/function: |\n      exec: {path: " + filepath.Join(bin, "git") + "}\n"},
		"container":      {"kustomization.yaml": "generators: [e.yaml]", "e.yaml": "apiVersion: v1\nkind: X\nmetadata:\n  name: e\n  annotations:\n    config.kubernetes.io/function: |\n      container: {image: x}\n"},
		"go plugin":      {"kustomization.yaml": "generators: [e.yaml]", "e.yaml": "apiVersion: example.com/v1\nkind: X\nmetadata: {name: e}\n"},
	}
	for name, files := range tests {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			for file, text := range files {
				if to, ok := strings.CutPrefix(text, "->"); ok {
					link(t, to, filepath.Join("k", file))
					continue
				}
				write(t, filepath.Join("k", file), text)
			}
			objects, problems, err := overlay.Render("k")
			if err != nil || len(objects) > 0 || len(problems) != 1 {
				t.Fatalf("%d objects, %v, %v", len(objects), problems, err)
			}
			t.Log(problems[0].Location, problems[0].What)
			if n := asked.Load(); n > 0 {
				t.Fatalf("the server was asked %d times", n)
			}
			if ran, err := os.ReadFile(mark); err == nil {
				t.Fatalf("ran %s", ran)
			}
		})
	}
}

func link(t *testing.T, to, at string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(at), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, at); err != nil {
		t.Fatal(err)
	}
}

// TestHostile are folders that a scan must survive, each with a Problem that says
// why.
func TestHostile(t *testing.T) {
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 10 {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	double := map[string]string{"kustomization.yaml": "resources: [d1, e1]"}
	for i := 1; i < 20; i++ {
		for _, side := range []string{"d", "e"} {
			double[fmt.Sprintf("%s%d/kustomization.yaml", side, i)] = fmt.Sprintf("resources: [../d%d, ../e%d]\n", i+1, i+1)
		}
	}
	for _, side := range []string{"d", "e"} {
		double[side+"20/kustomization.yaml"] = "namePrefix: a\n"
	}
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"outside":   {map[string]string{"kustomization.yaml": "resources: [../secret.yaml]"}, "not in or below"},
		"generated": {map[string]string{"kustomization.yaml": "configMapGenerator: [{name: a, files: [../secret.yaml]}]"}, "not in or below"},
		"absolute":  {map[string]string{"kustomization.yaml": "resources: [/etc]"}, "cannot build"},
		"linked":    {map[string]string{"kustomization.yaml": "resources: [link.yaml]", "link.yaml": "->../secret.yaml"}, "not in or below"},
		"circle":    {map[string]string{"kustomization.yaml": "resources: [b]", "b/kustomization.yaml": "resources: [..]"}, "cycle"},
		"itself":    {map[string]string{"kustomization.yaml": "resources: [.]"}, "cycle"},
		"two":       {map[string]string{"kustomization.yaml": "resources: []", "kustomization.yml": "resources: []"}, "multiple"},
		"empty":     {map[string]string{"kustomization.yaml": ""}, "empty"},
		"no yaml":   {map[string]string{"kustomization.yaml": "resources: [a"}, "cannot build"},
		"unknown":   {map[string]string{"kustomization.yaml": "resource: [a]"}, "unknown field"},
		"missing":   {map[string]string{"kustomization.yaml": "resources: [gone.yaml]"}, "gone.yaml"},
		"bad yaml":  {map[string]string{"kustomization.yaml": "resources: [x.yaml]", "x.yaml": "a: [b\n"}, "x.yaml"},
		"bomb":      {map[string]string{"kustomization.yaml": "resources: [x.yaml]", "x.yaml": configMap + bomb}, "million"},
		"self":      {map[string]string{"kustomization.yaml": "resources: &r [*r]"}, "million"},
		"large":     {map[string]string{"kustomization.yaml": "resources: [x.yaml]", "x.yaml": configMap + "#" + strings.Repeat("x", 11<<20)}, "larger"},
		"double":    {double, "over and over"},
		"no target": {map[string]string{"kustomization.yaml": "resources: [x.yaml]\npatches: [{patch: 'kind: X', target: {kind: '('}}]", "x.yaml": configMap}, "cannot build"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Chdir(dir)
			write(t, "secret.yaml", configMap)
			if err := os.Mkdir("k", 0o750); err != nil {
				t.Fatal(err)
			}
			for file, text := range test.files {
				if to, ok := strings.CutPrefix(text, "->"); ok {
					if err := os.Symlink(to, filepath.Join("k", file)); err != nil {
						t.Fatal(err)
					}
					continue
				}
				write(t, filepath.Join("k", file), text)
			}
			objects, problems, err := overlay.Render("k")
			if err != nil || len(objects) > 0 || len(problems) != 1 {
				t.Fatalf("%d objects, %v, %v", len(objects), problems, err)
			}
			if !strings.Contains(problems[0].What, test.want) || strings.Contains(problems[0].What, dir) {
				t.Errorf("%s:%d %s", problems[0].Location.File, problems[0].Location.Line, problems[0].What)
			}
		})
	}
	if _, _, err := overlay.Render(t.TempDir()); err == nil {
		t.Error("a folder without kustomization is built")
	}
}

// TestWith builds with a text that is not on disk, at the same time as others.
func TestWith(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "k/kustomization.yaml", "resources: [x.yaml]\n")
	write(t, "k/x.yaml", configMap)
	o, err := overlay.Open("k")
	if err != nil {
		t.Fatal(err)
	}
	changed := o.With(map[string][]byte{
		"k/kustomization.yaml": []byte("resources: [x.yaml]\npatches: [{path: p.yaml}]\n"),
		"k/p.yaml":             []byte(configMap + "data: {a: b}\n"),
	})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			objects, problems := changed.Render()
			if len(problems) > 0 || len(objects) != 1 || !strings.Contains(string(objects[0].Raw()), `"a":"b"`) {
				t.Errorf("%v, %v", objects, problems)
				return
			}
			if at := objects[0].Locate("data.a"); at.File != "k/p.yaml" || at.Line != 4 {
				t.Errorf("the patch's field is at %v", at)
			}
		})
	}
	wg.Wait()
	if objects, _ := o.Render(); strings.Contains(string(objects[0].Raw()), `"a"`) {
		t.Error("the overlay itself changed")
	}
}

// TestSecretsOfErrors builds folders whose mistakes Kustomize tells with what stands
// around them.
func TestSecretsOfErrors(t *testing.T) {
	tests := map[string]map[string]string{
		"literal":       {"kustomization.yaml": "secretGenerator: [{name: a, literals: [hunter2-alone]}]"},
		"patch":         {"kustomization.yaml": "resources: [x.yaml]\npatches:\n- patch: |-\n    stringData: {password: hunter2-alone}\n    [\n", "x.yaml": configMap},
		"patch file":    {"kustomization.yaml": "resources: [x.yaml]\npatches: [{path: p.yaml}]", "x.yaml": configMap, "p.yaml": "stringData:\n  password: hunter2-alone\n"},
		"two patches":   {"kustomization.yaml": "resources: [x.yaml]\npatches: [{path: p.yaml, target: {kind: Secret}}]", "x.yaml": configMap, "p.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2-alone}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: t}\n"},
		"operations":    {"kustomization.yaml": "resources: [x.yaml]\npatches: [{path: p.json}]", "x.yaml": configMap, "p.json": `[{"op": "add", "path": "/data/password", "value": "hunter2-alone"}]`},
		"variables":     {"kustomization.yaml": "secretGenerator: [{name: a, envs: [p.env]}]", "p.env": "A=b\nPASSWORD=hunter2-alone\xff\n"},
		"both":          {"kustomization.yaml": "resources: [x.yaml]\npatches: [{path: x.yaml, patch: 'stringData: {password: hunter2-alone}'}]", "x.yaml": configMap},
		"merge":         {"kustomization.yaml": "resources: [x.yaml]\npatchesStrategicMerge:\n- |-\n  apiVersion: v1\n  kind: Secret\n  metadata: {name: no}\n  stringData: {password: hunter2-alone}\n", "x.yaml": configMap},
		"json patch":    {"kustomization.yaml": "resources: [x.yaml]\npatchesJson6902: [{patch: 'hunter2-alone', target: {kind: ConfigMap, version: v1, name: x}}]", "x.yaml": configMap},
		"no name":       {"kustomization.yaml": "resources: [x.yaml]", "x.yaml": "apiVersion: v1\nkind: Secret\nstringData: {password: hunter2-alone}\n"},
		"no kind":       {"kustomization.yaml": "resources: [x.yaml]", "x.yaml": "apiVersion: v1\nmetadata: {name: x}\nstringData: {password: hunter2-alone}\n"},
		"no mapping":    {"kustomization.yaml": "resources: [x.yaml]", "x.yaml": "- hunter2-alone\n"},
		"inline plugin": {"kustomization.yaml": "resources: [x.yaml]\ntransformers:\n- |-\n  apiVersion: builtin\n  kind: PatchTransformer\n  metadata: {name: p}\n  patch: 'stringData: {password: hunter2-alone}'\n  path: y\n", "x.yaml": configMap},
	}
	for name, files := range tests {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			for file, text := range files {
				write(t, filepath.Join("k", file), text)
			}
			objects, problems, err := overlay.Render("k")
			if err != nil || len(objects) > 0 || len(problems) != 1 {
				t.Fatalf("%d objects, %v, %v", len(objects), problems, err)
			}
			t.Log(problems[0].What)
			if strings.Contains(problems[0].What, "hunter2") || strings.Contains(problems[0].What, "104 117 110") {
				t.Errorf("told: %s", problems[0].What)
			}
		})
	}
}

// TestApart builds a folder by a job: what comes back is what is made here.
func TestApart(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "base/kustomization.yaml", "resources: [x.yaml]\n")
	write(t, "base/x.yaml", configMap)
	write(t, "k/kustomization.yaml", "resources: [../base]\nnamePrefix: a-\npatches: [{path: p.yaml}]\n")
	write(t, "k/p.yaml", configMap+"data: {a: b}\n")
	write(t, "bad/kustomization.yaml", "resources: [gone.yaml]\n")
	jobs := 0
	for dir, want := range map[string]string{"k": "k/p.yaml:4", "bad": "gone.yaml"} {
		show := func(change func(*overlay.Overlay) *overlay.Overlay) string {
			o, err := overlay.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			objects, problems, read := change(o).RenderRead()
			out := fmt.Sprint(problems, len(read))
			for _, o := range objects {
				at := o.Locate("data.a")
				out += fmt.Sprintf(" %s %s:%d", o, at.File, at.Line)
			}
			return out
		}
		here := show(func(o *overlay.Overlay) *overlay.Overlay { return o })
		there := show(func(o *overlay.Overlay) *overlay.Overlay {
			return o.Apart(func(job []byte) ([]byte, error) {
				jobs++
				return overlay.Work(job)
			})
		})
		if here != there || !strings.Contains(here, want) {
			t.Errorf("%s\nand here: %s", there, here)
		}
		lost := show(func(o *overlay.Overlay) *overlay.Overlay {
			return o.Apart(func([]byte) ([]byte, error) { return nil, fmt.Errorf("ended") }).With(nil)
		})
		if !strings.Contains(lost, "it is not built: ended") {
			t.Errorf("a job that is lost: %s", lost)
		}
	}
	if jobs != 2 {
		t.Errorf("%d jobs", jobs)
	}
	if _, err := overlay.Work([]byte("no job")); err == nil {
		t.Error("anything is a job")
	}
}
