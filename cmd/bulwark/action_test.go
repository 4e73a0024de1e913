package main

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	privileged = "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME, namespace: shop}\nspec: {containers: [{name: c, securityContext: {privileged: true}}]}\n"
	harmless   = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: shop}\n"
)

// run runs a command in a folder with these variables, and gives its exit code.
func run(t *testing.T, dir string, env map[string]string, name string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var out, bad strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &bad
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), bad.String()
}

// folder makes the files in a new folder.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// action is what is looked at of action.yml.
type action struct {
	Inputs map[string]struct {
		Default string `json:"default"`
	} `json:"inputs"`
	Runs struct {
		Steps []struct {
			Name  string            `json:"name"`
			Shell string            `json:"shell"`
			Env   map[string]string `json:"env"`
			Run   string            `json:"run"`
		} `json:"steps"`
	} `json:"runs"`
}

// TestAction runs the action's script as its step does, with inputs that mean well
// and inputs that do not. Whoever wrote them, they stay data.
func TestAction(t *testing.T) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "action.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var a action
	if err := yaml.Unmarshal(text, &a); err != nil || len(a.Runs.Steps) != 2 {
		t.Fatalf("%d steps, %v", len(a.Runs.Steps), err)
	}
	for _, step := range a.Runs.Steps {
		if step.Shell != "bash" || strings.Contains(step.Run, "${{") {
			t.Errorf("the step %q puts text of others into a script, or names no shell: %s", step.Name, step.Run)
		}
	}
	scan := a.Runs.Steps[1]
	program, err := exec.LookPath("bulwark")
	if err != nil {
		t.Fatal(err)
	}
	// step runs it with the inputs that are given, and the defaults of the others.
	step := func(t *testing.T, inputs, more map[string]string) (dir string, code int, stdout, stderr string) {
		t.Helper()
		dir = folder(t, map[string]string{
			"a.yaml": strings.Replace(privileged, "NAME", "a", 1), "b.yaml": strings.Replace(privileged, "NAME", "b", 1),
			"good.yaml": harmless, "bulwark.sarif": "not ours", "evil.yaml": strings.Replace(strings.Replace(privileged, "NAME", "e", 1), "kind: Pod", "kind: \"::warning::Pod\"", 1),
		})
		temp := t.TempDir()
		if err := os.Symlink(program, filepath.Join(temp, "bulwark")); err != nil {
			t.Fatal(err)
		}
		env := map[string]string{"RUNNER_TEMP": temp, "GITHUB_ACTION_PATH": root, "GITHUB_WORKSPACE": dir, "GITHUB_STEP_SUMMARY": filepath.Join(temp, "summary.md")}
		for name, value := range scan.Env {
			input, ok := strings.CutPrefix(value, "${{ inputs.")
			input, closed := strings.CutSuffix(input, " }}")
			declared, known := a.Inputs[input]
			if !ok || !closed || !known {
				t.Fatalf("%s: %q is no input", name, value)
			}
			env[name] = declared.Default
			if given, ok := inputs[input]; ok {
				env[name] = given
			}
		}
		for name := range inputs {
			if _, ok := a.Inputs[name]; !ok {
				t.Fatalf("there is no input %q", name)
			}
		}
		maps.Copy(env, more)
		code, stdout, stderr = run(t, dir, env, "bash", "-e", "-o", "pipefail", "-c", scan.Run)
		summary, err := os.ReadFile(filepath.Join(temp, "summary.md"))
		if err == nil {
			if err := os.WriteFile(filepath.Join(dir, "summary.md"), summary, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir, code, stdout, stderr
	}
	const only = "--control container-privileged"
	tests := map[string]struct {
		inputs map[string]string
		more   bool // with the SARIF file and the summary
		code   int
		stdout []string // "!x": not x
	}{
		"good":       {map[string]string{"paths": "good.yaml", "args": only}, true, 0, []string{"nothing fails"}},
		"lines":      {map[string]string{"paths": "a.yaml\nb.yaml\n", "args": "--severity high\n" + only, "framework": "owasp-api-2023\npss-baseline"}, true, 1, []string{"Pod shop/a", "Pod shop/b"}},
		"own file":   {map[string]string{"paths": "a.yaml b.yaml", "args": only + " --output-file mine -o json"}, true, 1, []string{"!Pod shop/a"}},
		"no input":   {map[string]string{"paths": "gone.yaml"}, true, 2, nil},
		"never":      {map[string]string{"paths": "a.yaml", "fail-on": "never", "args": only}, false, 0, []string{"Pod shop/a"}},
		"everything": {map[string]string{"args": only}, false, 1, []string{"Pod shop/a", "Pod shop/b"}},
		"script":     {map[string]string{"paths": "good.yaml $(touch ran) `touch ran` ;touch ran"}, false, 2, nil},
		"quotes":     {map[string]string{"baseline": "'; touch ran; '", "exceptions": "\"; touch ran; \""}, false, 2, nil},
		"newline":    {map[string]string{"fail-on": "never\ntouch ran"}, false, 2, nil},
		"pattern":    {map[string]string{"paths": "*.yaml"}, false, 2, nil},
		"flag path":  {map[string]string{"paths": "--fix"}, false, 2, nil},
		"flag":       {map[string]string{"paths": "a.yaml", "fail-on": "--fix"}, false, 2, nil},
		"framework":  {map[string]string{"paths": "a.yaml", "framework": "--fix"}, false, 2, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !test.more {
				test.inputs["sarif"], test.inputs["summary"] = "", "false"
			}
			dir, code, stdout, stderr := step(t, test.inputs, nil)
			if code != test.code {
				t.Errorf("code %d: %s%s", code, stdout, stderr)
			}
			for _, want := range test.stdout {
				want, absent := strings.CutPrefix(want, "!")
				if strings.Contains(stdout, want) == absent {
					t.Errorf("%q: %s", want, stdout)
				}
			}
			sarif, err := os.ReadFile(filepath.Join(dir, "bulwark.sarif"))
			switch {
			case !test.more && string(sarif) != "not ours":
				t.Errorf("a SARIF file that nobody asked for: %v, %.500s", err, sarif)
			case test.more && test.code == 2 && !errors.Is(err, os.ErrNotExist):
				t.Errorf("a SARIF file of another run is left: %v, %.500s", err, sarif)
			case test.more && test.code != 2 && (!strings.Contains(string(sarif), `"version": "2.1.0"`) || strings.Contains(string(sarif), `"b.yaml"`) != (test.code == 1)):
				t.Errorf("the SARIF file: %v, %.500s", err, sarif)
			}
			if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
				t.Error("an input was run")
			}
			if a, err := os.ReadFile(filepath.Join(dir, "a.yaml")); err != nil || !strings.Contains(string(a), "privileged: true") {
				t.Errorf("a file was changed: %s, %v", a, err)
			}
			summary, _ := os.ReadFile(filepath.Join(dir, "summary.md"))
			if strings.Contains(string(summary), "## Bulwark posture") != (test.more && test.code != 2) {
				t.Errorf("the summary: %s", summary)
			}
			if mine, err := os.ReadFile(filepath.Join(dir, "mine")); err == nil && !strings.Contains(string(mine), "bulwark.dev/scan/v1") {
				t.Errorf("the user's own file: %s", mine)
			}
		})
	}
	// What is scanned gives no orders to the runner.
	_, _, stdout, _ := step(t, map[string]string{"paths": "evil.yaml", "fail-on": "never", "sarif": "", "summary": "false"}, map[string]string{"GITHUB_ACTIONS": "true"})
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	token, ok := strings.CutPrefix(lines[0], "::stop-commands::")
	if !ok || len(token) != 32 || lines[len(lines)-1] != "::"+token+"::" || strings.Count(stdout, token) != 2 {
		t.Errorf("orders to the runner are not stopped: %s", stdout)
	}
}

// TestHooks runs the hooks over the files of a repository as pre-commit would.
func TestHooks(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", ".pre-commit-hooks.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var hooks []struct {
		ID        string   `json:"id"`
		Entry     string   `json:"entry"`
		Language  string   `json:"language"`
		TypesOr   []string `json:"types_or"`
		Args      []string `json:"args"`
		Filenames *bool    `json:"pass_filenames"`
	}
	if err := yaml.Unmarshal(text, &hooks); err != nil || len(hooks) != 2 {
		t.Fatalf("%d hooks, %v", len(hooks), err)
	}
	others := map[string]string{
		"package.json": `{"name": "x"}`, ".github/workflows/ci.yml": "on: push\njobs: {}\n", "list.json": "[1, 2]", "values.yaml": "a: {{ b }}\n",
		"chart/Chart.yaml": "apiVersion: v2\nname: c\nversion: 0.1.0\n", "chart/values.yaml": "size: 1\n", "chart/values.schema.json": "{}",
		"chart/templates/a.yaml": harmless + "data: {size: {{ .Values.size | quote }}}\n",
		"k/kustomization.yaml":   "resources: [a.yaml]\npatches: [{path: p.yaml}]\n", "k/a.yaml": harmless, "k/p.yaml": harmless + "data: {a: b}\n",
		"part/kustomization.yaml": "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches: [{path: p.yaml}]\n", "part/p.yaml": harmless + "data: {a: b}\n",
		"good.yaml": harmless, "empty.yaml": "", "notes.txt": "a: b",
	}
	yes := map[string]bool{".yaml": true, ".yml": true, ".json": true}
	runHook := func(t *testing.T, id string, files map[string]string) (code int, out string) {
		t.Helper()
		dir := folder(t, files)
		for _, h := range hooks {
			if h.ID != id {
				continue
			}
			if h.Language != "golang" || !slices.Equal(h.TypesOr, []string{"yaml", "json"}) {
				t.Fatalf("%+v", h)
			}
			args := slices.Concat(strings.Fields(h.Entry), []string{"--control", "container-privileged"}, h.Args)
			if h.Filenames == nil || *h.Filenames {
				for _, name := range slices.Sorted(maps.Keys(files)) {
					if yes[filepath.Ext(name)] {
						args = append(args, name)
					}
				}
			}
			code, stdout, stderr := run(t, dir, nil, args[0], args[1:]...)
			if a, err := os.ReadFile(filepath.Join(dir, "app.yaml")); err == nil && !strings.Contains(string(a), "privileged: true") {
				t.Error("a file was changed")
			}
			return code, stdout + stderr
		}
		t.Fatalf("no hook %q", id)
		return 0, ""
	}
	if code, out := runHook(t, "bulwark-scan", others); code != 0 {
		t.Errorf("nothing is wrong, but code %d: %s", code, out)
	}
	if code, out := runHook(t, "bulwark-scan", map[string]string{"package.json": "{}"}); code != 0 {
		t.Errorf("there is no object, but code %d: %s", code, out)
	}
	files := maps.Clone(others)
	files["k/kustomization.yaml"] = "resources: [a.yaml, b.yaml]\n"
	bad := map[string]string{"plain": "app.yaml", "rendered": "chart/templates/b.yaml", "built": "k/b.yaml", "dash": "--fix.yaml", "flag": "--output-file=x.yaml"}
	for name, file := range bad {
		files[file] = strings.Replace(privileged, "NAME", name, 1)
	}
	for _, h := range hooks {
		code, out := runHook(t, h.ID, files)
		if code != 1 {
			t.Errorf("%s: code %d: %s", h.ID, code, out)
		}
		for name := range bad {
			if !strings.Contains(out, "Pod shop/"+name) {
				t.Errorf("%s: nothing of %s: %s", h.ID, name, out)
			}
		}
	}
	files["broken.yaml"] = "apiVersion: v1\nkind: Pod\nmetadata: {name: a\n"
	if code, out := runHook(t, "bulwark-scan", files); code != 2 || !strings.Contains(out, "broken.yaml") {
		t.Errorf("a broken manifest: code %d: %s", code, out)
	}
}
