package manifest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/manifest"
)

const pod = `apiVersion: v1
kind: Pod
metadata:
  name: web
spec:
  hostNetwork: yes
  containers:
  - name: app
    image: shop.example/web
`

// names gives what was read, and what could not be, one line each.
func names(objects []*inventory.Object, problems []inventory.Problem) []string {
	var out []string
	for _, o := range objects {
		at := o.Locate("")
		out = append(out, fmt.Sprintf("%s:%d:%d %s", filepath.Base(at.File), at.Line, at.Column, o))
	}
	for _, p := range problems {
		out = append(out, fmt.Sprintf("%s:%d: %s", filepath.Base(p.Location.File), p.Location.Line, p.What))
	}
	return out
}

func TestDecode(t *testing.T) {
	t.Parallel()
	utf16Text := func(order string) string {
		out := order
		for _, u := range utf16.Encode([]rune(pod)) {
			if order == "\xff\xfe" {
				out += string([]byte{byte(u), byte(u >> 8)})
			} else {
				out += string([]byte{byte(u >> 8), byte(u)})
			}
		}
		return out
	}
	tests := map[string]struct {
		file, text string
		want       []string
	}{
		"one":               {"a.yaml", pod, []string{"a.yaml:1:1 Pod web"}},
		"none":              {"a.yaml", "", nil},
		"comments":          {"a.yaml", "# only\n---\n# comments\n", nil},
		"two and a comment": {"a.yaml", "# first\n---\n" + pod + "---\n\n# second\n" + pod, []string{"a.yaml:3:1 Pod web", "a.yaml:15:1 Pod web"}},
		"windows":           {"a.yaml", strings.ReplaceAll("---\n"+pod+"---\n"+pod, "\n", "\r\n"), []string{"a.yaml:2:1 Pod web", "a.yaml:12:1 Pod web"}},
		"utf-8 mark":        {"a.yaml", "\xef\xbb\xbf" + pod, []string{"a.yaml:1:1 Pod web"}},
		"utf-16 little":     {"a.yaml", utf16Text("\xff\xfe"), []string{"a.yaml:1:1 Pod web"}},
		"utf-16 big":        {"a.yaml", utf16Text("\xfe\xff"), []string{"a.yaml:1:1 Pod web"}},
		"utf-16 cut":        {"a.yaml", utf16Text("\xff\xfe") + "x", []string{"a.yaml:0: is UTF-16 with half a character at its end; save it as UTF-8"}},
		"NUL":               {"a.yaml", pod + "x: \x00", []string{"a.yaml:10: holds a NUL byte; is it a text file, and UTF-8?"}},
		"latin 1":           {"a.yaml", pod + "x: \xe4", []string{"a.yaml:10: is not UTF-8; save the file as UTF-8"}},
		"json":              {"a.json", "\n\n  {\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"web\"}}", []string{"a.json:3:3 Pod web"}},
		"json stream": {
			"a.json", "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}}\n{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"b\"}}",
			[]string{"a.json:1:1 Pod a", "a.json:2:1 Pod b"},
		},
		"json cut": {
			"a.json", "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}}\n{\"apiVersion\": \"v1\",\n\"kind\": ",
			[]string{"a.json:1:1 Pod a", "a.json:3: is not JSON: unexpected end at byte 30"},
		},
		"json in yaml":      {"a.yaml", "{apiVersion: v1, kind: Pod, metadata: {name: web}}", []string{"a.yaml:1:1 Pod web"}},
		"json then yaml":    {"a.yaml", "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}}\n---\n" + pod, []string{"a.yaml:1:1 Pod a", "a.yaml:3:1 Pod web"}},
		"on the mark":       {"a.yaml", "--- {apiVersion: v1, kind: Pod, metadata: {name: web}}", []string{"a.yaml:1:5 Pod web"}},
		"empty object":      {"a.yaml", "{}", []string{"a.yaml:1: has no apiVersion or no kind, so it is no Kubernetes object"}},
		"text":              {"a.yaml", "hello", []string{"a.yaml:1: is no object with apiVersion, kind and metadata"}},
		"kind is a number":  {"a.yaml", "apiVersion: v1\nkind: 7\n", []string{"a.yaml:1: kind is not text"}},
		"name is a boolean": {"a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: on}\n", []string{"a.yaml:1: read an object: metadata: name is not text"}},
		"no name":           {"a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {generateName: web-}\n", []string{"a.yaml:1:1 Pod web-*"}},
		"metadata is a list": {
			"a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: [a]\n---\n" + pod,
			[]string{"a.yaml:5:1 Pod web", "a.yaml:1: read an object: metadata: expected an object at byte 0"},
		},
		"cut": {
			"a.yaml", pod + "---\n" + pod + "    env: [{name: \"a\n---\n" + pod,
			[]string{"a.yaml:1:1 Pod web", "a.yaml:22:1 Pod web", "a.yaml:20: is not YAML: found unexpected end of stream"},
		},
		"tab":            {"a.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n\tname: web\n", []string{"a.yaml:4: is indented with a tab; YAML wants spaces"}},
		"template":       {"a.yaml", "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ .Values.name }}\n", []string{"a.yaml:4: is a template, with {{ in it, and no YAML yet; give what it renders to, or the folder of its chart"}},
		"unknown alias":  {"a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: *m\n", []string{"a.yaml:1: is not YAML: unknown anchor 'm' referenced"}},
		"not a number":   {"a.yaml", "apiVersion: v1\nkind: Pod\nx: .nan\n", []string{"a.yaml:1: has a key or a value that JSON, and so the API, does not have"}},
		"explicit tag":   {"a.yaml", "apiVersion: v1\nkind: Pod\nx: !!int hunter2\n", []string{"a.yaml:1: is not YAML: cannot decode !!str a value as a !!int"}},
		"repeated key":   {"a.yaml", pod + "  hostNetwork: false\n", []string{"a.yaml:1:1 Pod web", `a.yaml:10: repeats the key "hostNetwork" of line 6; the last one counts`}},
		"hidden marker":  {"a.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\r---\rapiVersion: v1\rkind: Pod\n", []string{`a.yaml:3: hides a second document; write "---" on a line of its own, with plain line feeds`}},
		"kustomization":  {"kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n", nil},
		"list of a kind": {"a.yaml", "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n- {}\n", []string{"a.yaml:4:3 Pod a", "a.yaml:5:3 Pod "}},
		"list": {
			"a.yaml", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n- apiVersion: v1\n  kind: List\n  items:\n  - {apiVersion: v1, kind: Pod, metadata: {name: b}}\n- 7\n- metadata: {name: c}\n",
			[]string{"a.yaml:4:3 Pod a", "a.yaml:8:5 Pod b", "a.yaml:1: is no object with apiVersion, kind and metadata", "a.yaml:1: has no apiVersion or no kind, so it is no Kubernetes object"},
		},
		"json list": {
			"a.json", "{\"apiVersion\":\"v1\",\"items\":[\n {\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"a\"}},\n {\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"b\"}}],\n\"kind\":\"List\"}",
			[]string{"a.json:2:2 Pod a", "a.json:3:2 Pod b"},
		},
		"items of no list": {
			"a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n- {key: a}\n- b\n",
			[]string{"a.yaml:5:3 Pod a", "a.yaml:1:1 ConfigMap c"},
		},
		"items of a list of its own": {
			"a.json", `{"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"a"},"items":[{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"}}]}]}`,
			[]string{"a.json:1:80 Secret s", "a.json:1:46 Pod a"},
		},
		"yaml called json":  {"a.json", "# a comment\n{kind: Pod, apiVersion: v1, metadata: {name: web}}", []string{"a.json:2:1 Pod web"}},
		"flow called json":  {"a.json", "{kind: Pod, apiVersion: v1, metadata: {name: web}}", []string{"a.json:1:1 Pod web"}},
		"json, not UTF-8":   {"a.json", "{\"kind\": \"Pod\", \"apiVersion\": \"v1\", \"metadata\": {\"name\": \"web\", \"annotations\": {\"a\": \"\xe4\"}}}", []string{"a.json:1:1 Pod web"}},
		"bare list":         {"a.yaml", "- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n", []string{"a.yaml:1:3 Pod a"}},
		"no list, but name": {"a.yaml", "apiVersion: x.example/v1\nkind: AllowList\nmetadata: {name: a}\nspec: {items: []}\n", []string{"a.yaml:1:1 AllowList a"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := names(manifest.Decode(tt.file, []byte(tt.text)))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestAsKubectl: what YAML 1.1 makes of scalars.
func TestAsKubectl(t *testing.T) {
	t.Parallel()
	objects, problems := manifest.Decode("a.yaml", []byte(`apiVersion: v1
kind: ConfigMap
metadata: {name: a}
x: [yes, no, on, off, y, "yes", 0o17, 017, 0x1F, 1_000, 1e3, 12:30:45, 2026-01-02, ~, null, .inf2, 9223372036854775807, 18446744073709551615]
base: &base {a: 1, b: 2}
own: {<<: *base, b: 3}
1: one
true: two
text: |
  a
  b
`))
	if len(objects) != 1 || len(problems) != 0 {
		t.Fatal(names(objects, problems))
	}
	got, err := objects[0].Content()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "a"},
		"x": []any{
			true, false, true, false, true, "yes", int64(15), int64(15), int64(31), int64(1000), int64(1000), "12:30:45", "2026-01-02", nil, nil, ".inf2",
			int64(9223372036854775807), 18446744073709551615.0,
		},
		"base": map[string]any{"a": int64(1), "b": int64(2)}, "own": map[string]any{"a": int64(1), "b": int64(3)},
		"1": "one", "true": "two", "text": "a\nb\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLocate(t *testing.T) {
	t.Parallel()
	const text = `# a comment
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app.kubernetes.io/name: "web", tier: front}
spec:
  template: &t
    spec:
      containers:
      - name: app
        image: "shop.example/web"
        "securityContext": {privileged: true}
      - *other
other: &x {a: 1}
merged:
  <<: *x
  b: 2
`
	yaml := "kind: Nothing\napiVersion: v1\n---\n" + strings.Replace(text, "      - *other\n", "", 1)
	json := `{"apiVersion": "apps/v1", "kind": "Deployment",
  "metadata": {"name": "web", "labels": {"app.kubernetes.io/name": "web", "tier": "front"}},
  "spec": {"template": {"spec": {"containers": [
    {"name": "app", "image": "shop.example/web",
     "securityContext": {"privileged": true}}]}}}}`
	list := `{"items": [{}, ` + json + `], "kind": "List", "apiVersion": "v1"}`
	tests := []struct {
		path             string
		yaml, json, list string
	}{
		{"", "5:1", "1:1", "1:16"},
		{"kind", "6:1", "1:27", "1:42"},
		{"metadata.name", "8:3", "2:16", "2:16"},
		{`metadata.labels["app.kubernetes.io/name"]`, "9:12", "2:42", "2:42"},
		{"metadata.labels.tier", "9:43", "2:75", "2:75"},
		{"metadata.annotations", "7:1", "2:3", "2:3"},
		{"spec.template.spec.containers[0]", "14:9", "4:5", "4:5"},
		{"spec.template.spec.containers[0].image", "15:9", "4:21", "4:21"},
		{"spec.template.spec.containers[0].securityContext.privileged", "16:29", "5:26", "5:26"},
		{"spec.template.spec.containers[0].securityContext.runAsUser", "16:9", "5:6", "5:6"},
		{"spec.template.spec.containers[1].image", "13:7", "3:34", "3:34"},
		{"spec.template.spec.containers[x].image", "13:7", "3:34", "3:34"},
		{"status", "5:1", "1:1", "1:16"},
		{"merged.a", "17:12", "1:1", "1:16"},
		{"]]][[[", "5:1", "1:1", "1:16"},
	}
	find := func(file, text string) *inventory.Object {
		objects, _ := manifest.Decode(file, []byte(text))
		for _, o := range objects {
			if o.Kind == "Deployment" {
				return o
			}
		}
		t.Fatalf("no Deployment in %s", file)
		return nil
	}
	inYAML, inJSON, inList := find("a.yaml", yaml), find("a.json", json), find("l.json", list)
	for _, tt := range tests {
		for _, c := range []struct {
			o    *inventory.Object
			want string
		}{{inYAML, "a.yaml:" + tt.yaml}, {inJSON, "a.json:" + tt.json}, {inList, "l.json:" + tt.list}} {
			at := c.o.Locate(tt.path)
			if got := fmt.Sprintf("%s:%d:%d", at.File, at.Line, at.Column); got != c.want {
				t.Errorf("%q is at %s, want %s", tt.path, got, c.want)
			}
		}
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("b/pod.yml", pod)
	write("a.json", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}`)
	write("values.yaml", "replicas: 2\nimage: {tag: x}\n")
	write("docker-compose.yaml", "services: {web: {image: x}}\n")
	write("binary.yaml", "\x00\x01\x02")
	write("template.yaml", "{{ if .Values.x }}\na: b\n{{ end }}\n")
	write("broken.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: \"x\n")
	write("half.yaml", "apiVersion: v1\nname: x\n")
	write("empty.yaml", "")
	write("readme.md", pod)
	write(".hidden/pod.yaml", pod)
	write(".hidden.yaml", pod)
	write("chart/Chart.yaml", "apiVersion: v2\nname: x\n")
	write("chart/templates/pod.yaml", pod)
	if err := errors.Join(
		os.Symlink(filepath.Join(dir, "b/pod.yml"), filepath.Join(dir, "same.yaml")),
		os.Symlink("nowhere", filepath.Join(dir, "dangling.yaml")),
		os.Symlink("nowhere", filepath.Join(dir, "dangling")),
		os.Symlink(dir, filepath.Join(dir, "b/loop")),
		os.Symlink("self.yaml", filepath.Join(dir, "self.yaml")),
		syscall.Mkfifo(filepath.Join(dir, "fifo.yaml"), 0o644),
	); err != nil {
		t.Fatal(err)
	}
	var passed []string
	opt := manifest.Options{Passed: func(at bulwark.Location) {
		passed = append(passed, fmt.Sprintf("%s:%d", filepath.Base(at.File), at.Line))
	}}
	objects, problems, err := manifest.Read(t.Context(), []string{dir, filepath.Join(dir, "a.json")}, opt)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		".hidden.yaml:1:1 Pod web", "a.json:1:1 Pod a", "pod.yml:1:1 Pod web",
		"loop:0: is a symbolic link to a folder, which is not followed; name that folder itself",
		"broken.yaml:3: is not YAML: found unexpected end of stream",
		"chart:0: is a Helm chart, whose templates are not read as manifests; scan this folder by itself",
		"dangling.yaml:0: does not exist",
		"fifo.yaml:0: is not a regular file",
		"self.yaml:0: cannot be read: too many levels of symbolic links",
	}
	if diff := cmp.Diff(want, names(objects, problems)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"binary.yaml:0", "docker-compose.yaml:1", "half.yaml:1", "template.yaml:1", "values.yaml:1"}, passed); diff != "" {
		t.Errorf("passed over (-want +got):\n%s", diff)
	}

	// Of a file that was named everything must be an object.
	_, problems, err = manifest.Read(t.Context(), []string{filepath.Join(dir, "values.yaml")}, manifest.Options{})
	if err != nil || len(problems) != 1 {
		t.Errorf("values.yaml: %v, %v", problems, err)
	}
	var entered []string
	_, problems, err = manifest.Read(t.Context(), []string{filepath.Join(dir, "chart"), filepath.Join(dir, "b")}, manifest.Options{Enter: func(dir string) bool {
		entered = append(entered, filepath.Base(dir))
		return false
	}})
	if err != nil || len(problems) != 0 || !cmp.Equal(entered, []string{"chart", "b"}) {
		t.Errorf("folders: asked for %v, %v, %v", entered, problems, err)
	}
}

// TestMeantToBeObjects: what cannot be read in a folder is told if it was meant to be an
// object, whatever stands around that.
func TestMeantToBeObjects(t *testing.T) {
	t.Parallel()
	filler := strings.Repeat("# filler\n", 1<<17)
	for name, text := range map[string]string{
		"flow.yaml":       "{kind: Pod, apiVersion: v1, metadata: {name: [}}",
		"quoted.yaml":     "\"kind\": Pod\n'apiVersion' : v1\nmetadata: [\n",
		"cut.json":        `{"kind":"Pod","apiVersion":"v1",`,
		"latin.yaml":      "metadata: {name: \xe4}\nkind: Pod\napiVersion: v1\n",
		"far.yaml":        filler + pod + "x: [\n",
		"values.yaml":     strings.Repeat("# ,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,\n", 1<<16) + pod,
		"large.yaml":      strings.Repeat("# "+strings.Repeat("filler ", 600)+"\n", 1<<12) + pod,
		"recursive.yaml":  "kind: Pod\napiVersion: v1\nmetadata: &a {b: *a}\n",
		"other.yaml":      "kindness: x\nmyapiVersion: v1\napiVersionOf: y\na: [\n",
		"values only.yml": "apiVersion: v1\na: [\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			objects, problems, err := manifest.Read(t.Context(), []string{dir}, manifest.Options{})
			want := 1
			if strings.HasPrefix(name, "other") || strings.HasPrefix(name, "values only") {
				want = 0
			}
			if err != nil || len(objects) != 0 || len(problems) != want {
				t.Errorf("%v, %v", names(objects, problems), err)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	tests := map[string]struct {
		ctx   context.Context
		paths []string
		opt   manifest.Options
		want  string
	}{
		"nothing":  {t.Context(), nil, manifest.Options{}, "no file or folder was given"},
		"missing":  {t.Context(), []string{"testdata/none"}, manifest.Options{}, "no such file"},
		"no stdin": {t.Context(), []string{"-"}, manifest.Options{}, "there is no standard input to read"},
		"device":   {t.Context(), []string{"/proc/self/cwd/../manifest/none"}, manifest.Options{}, "no such file"},
		"ended":    {ended, []string{"."}, manifest.Options{}, "canceled"},
	}
	for name, tt := range tests {
		if _, _, err := manifest.Read(tt.ctx, tt.paths, tt.opt); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	objects, problems, err := manifest.Read(t.Context(), []string{"-"}, manifest.Options{Stdin: strings.NewReader(pod)})
	if got := names(objects, problems); err != nil || !cmp.Equal(got, []string{"stdin:1:1 Pod web"}) {
		t.Errorf("stdin: %v, %v", got, err)
	}
}

// TestHostile: what is made to exhaust a reader ends soon and says why.
func TestHostile(t *testing.T) {
	t.Parallel()
	bomb := "apiVersion: v1\nkind: Bomb\na: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'm'; c++ {
		p := string(c - 1)
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat("*"+p+",", 9), ","))
	}
	// Aliases that are few enough for the library, of a text that is long.
	long := "apiVersion: v1\nkind: Long\na: &a " + strings.Repeat("x", 1<<20) + "\nb: [" + strings.Repeat("y,", 2000) + strings.Repeat("*a,", 1000) + "z]\n"
	tests := map[string]struct{ text, want string }{
		"bomb":        {bomb, "with its aliases written out"},
		"long alias":  {long, "with its aliases written out"},
		"circle":      {"apiVersion: v1\nkind: Circle\na: &a [*a]\n", "with its aliases written out"},
		"merge self":  {"apiVersion: v1\nkind: Circle\na: &a\n  <<: *a\n", "with its aliases written out"},
		"deep":        {"apiVersion: v1\nkind: Deep\na: " + strings.Repeat("[", 100_000), "exceeded max depth"},
		"large":       {"apiVersion: v1\nkind: Large\na: " + strings.Repeat("x", 50<<20) + "\n", "the limit; split it"},
		"many values": {"apiVersion: v1\nkind: Many\na: [" + strings.Repeat("x,", 7<<20) + "]", "values, the limit"},
		"many lines":  {"apiVersion: v1\nkind: Many\na:\n" + strings.Repeat("- x\n", 3<<20), "values, the limit"},
		"deep json":   {`{"apiVersion":"v1","kind":"Deep","a":` + strings.Repeat("[", 100_000), "exceeded max depth"},
		"large json":  {`{"apiVersion":"v1","kind":"Large","a":"` + strings.Repeat("x", 50<<20) + `"}`, "the limit"},
		"lists":       {strings.Repeat(`{"kind":"List","apiVersion":"v1","items":[`, 30) + strings.Repeat("]}", 30), "lists in lists"},
		"deep lists":  {strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "lists in lists"},
		"many quotes": {"apiVersion: v1\nkind: Pod\na: \"" + strings.Repeat(`\`, 1001), "is not YAML"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := tt.text
			yaml := !strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "[")
			if yaml {
				text = pod + "---\n" + text + "\n---\n" + pod
			}
			objects, problems := manifest.Decode("a.yaml", []byte(text))
			if len(problems) == 0 || !strings.Contains(problems[0].What, tt.want) || len(problems[0].What) > 600 {
				t.Errorf("%.300v, want %q", problems, tt.want)
			}
			if yaml && len(objects) != 2 {
				t.Errorf("read %d objects beside it, want 2", len(objects))
			}
		})
	}
}

// TestNoValues: no problem shows a value.
func TestNoValues(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"apiVersion: v1\nkind: Secret\nstringData: {a: !!int hunter2}\n",
		"apiVersion: v1\nkind: Secret\nstringData: {a: !!float hunter2}\n",
		"apiVersion: v1\nkind: Secret\nstringData: {{a: hunter2}: hunter2}\n",
		"apiVersion: v1\nkind: Secret\nstringData: {[hunter2]: hunter2}\n",
		"apiVersion: v1\nkind: Secret\nstringData: {a: \"hunter2\n",
		"apiVersion: v1\nkind: Secret\nstringData: {a: hunter2]\n",
		"apiVersion: v1\nkind: Secret\nstringData: {a: !!binary hunter2}\n",
		"apiVersion: v1\nkind: Secret\nstringData: {a: \"\\xhunter2\"}\n",
		"apiVersion: v1\nkind: Secret\nstringData: {<<: hunter2}\n",
		"apiVersion: v1\nkind: Secret\nstringData: {~: hunter2}\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {labels: {a: [hunter2]}}\n",
		`{"apiVersion":"v1","kind":"Secret","stringData":{"a":"hunter2" "b"}}`,
	} {
		_, problems := manifest.Decode("a.yaml", []byte(text))
		if len(problems) == 0 {
			t.Errorf("%q: no problem", text)
		}
		for _, p := range problems {
			if strings.Contains(p.What, "hunter2") {
				t.Errorf("%q: %s", text, p.What)
			}
		}
	}
}

// TestOrder: documents that are read at the same time come in their order.
func TestOrder(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	const n = 500
	for i := range n {
		fmt.Fprintf(&text, "apiVersion: v1\nkind: Pod\nmetadata: {name: p%d}\n---\nbroken%d: [\n---\n", i, i)
	}
	objects, problems := manifest.Decode("a.yaml", []byte(text.String()))
	if len(objects) != n || len(problems) != n {
		t.Fatalf("%d objects, %d problems", len(objects), len(problems))
	}
	for i := range n {
		if objects[i].Name != fmt.Sprintf("p%d", i) || i > 0 && problems[i].Location.Line <= problems[i-1].Location.Line {
			t.Fatalf("%d: %s, %v", i, objects[i], problems[i])
		}
		if at := objects[i].Locate("metadata.name"); at.Line != 6*i+3 {
			t.Fatalf("%s is at line %d", objects[i], at.Line)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	in := readerFunc(func(p []byte) (int, error) {
		cancel()
		return copy(p, text.String()[:1000]), io.EOF
	})
	if _, _, err := manifest.Read(ended, []string{"-"}, manifest.Options{Stdin: in}); !errors.Is(err, context.Canceled) {
		t.Errorf("ended while reading: %v", err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// TestLocateAtOnce: places are asked for by many, of more documents than are kept.
func TestLocateAtOnce(t *testing.T) {
	t.Parallel()
	const n = 200
	objects, _ := manifest.Decode("a.yaml", []byte(strings.Repeat(pod+"---\n", n)))
	if len(objects) != n {
		t.Fatalf("%d objects", len(objects))
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for i, o := range objects {
				if at := o.Locate("spec.containers[0].image"); at.Line != 10*i+9 || at.Column != 5 {
					t.Errorf("%d is at %v", i, at)
					return
				}
			}
		})
	}
	group.Wait()
}

func BenchmarkDecode(b *testing.B) {
	text := []byte(strings.Repeat(pod+"---\n", 1000))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if objects, _ := manifest.Decode("a.yaml", text); len(objects) != 1000 {
			b.Fatal(len(objects))
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("a.yaml", []byte(pod))
	f.Add("a.json", []byte(`{"apiVersion":"v1","kind":"PodList","items":[{"metadata":{"name":"a"}},{}]}`))
	f.Add("a.yaml", []byte("apiVersion: v1\nkind: List\nitems: [&a {kind: Pod, apiVersion: v1, x: {<<: *a}}, *a]\n---\n- a: b\n"))
	f.Add("a.yaml", []byte("\xff\xfea\x00:\x00"))
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		objects, problems := manifest.Decode(name, text)
		for _, o := range objects {
			content, err := o.Content()
			if err != nil {
				t.Fatalf("%q: Content: %v", text, err)
			}
			for _, tmpl := range inventory.PodTemplates(content) {
				for _, c := range tmpl.Containers() {
					o.Locate(c.Path)
				}
			}
			if at := o.Locate(""); at.File != name || at.Line < 1 {
				t.Fatalf("%q: %s is at %v", text, o, at)
			}
		}
		for _, p := range problems {
			if p.What == "" || p.Location.File != name {
				t.Fatalf("%q: problem %v", text, p)
			}
		}
	})
}
