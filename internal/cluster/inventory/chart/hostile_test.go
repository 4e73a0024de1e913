package chart_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/chart"
)

const meta = "apiVersion: v2\nname: c\nversion: 1.0.0\n"

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n"

type entry struct {
	name, text string
	link       string
}

func pack(t *testing.T, entries []entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	zip, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	out := tar.NewWriter(zip)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: 0o600, Size: int64(len(e.text)), Typeflag: tar.TypeReg}
		if e.link != "" {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, e.link, 0
		}
		if err := out.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(e.text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func problemsOf(problems []inventory.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%s:%d %s\n", filepath.Base(p.Location.File), p.Location.Line, p.What)
	}
	return b.String()
}

// TestPacked renders a packed chart with a packed subchart in it.
func TestPacked(t *testing.T) {
	t.Chdir(t.TempDir())
	sub := pack(t, []entry{{name: "db/Chart.yaml", text: strings.Replace(meta, "name: c", "name: db", 1)}, {name: "db/templates/x.yaml", text: strings.Replace(configMap, "good", "db", 1)}})
	write(t, "c-1.0.0.tgz", pack(t, []entry{{name: "c/Chart.yaml", text: meta}, {name: "c/templates/x.yaml", text: "\n" + configMap}, {name: "c/charts/db-1.0.0.tgz", text: string(sub)}}))
	write(t, "other.tgz", pack(t, []entry{{name: "c/readme", text: meta}}))
	write(t, "text.tgz", []byte(meta))
	if !chart.Is("c-1.0.0.tgz") || !chart.Packed("c-1.0.0.tgz") || chart.Packed("other.tgz") || chart.Packed("text.tgz") || chart.Packed("none.tgz") {
		t.Error("a packed chart is none, or another file is one")
	}
	objects, problems, err := chart.Render("c-1.0.0.tgz", chart.Options{})
	if err != nil || len(problems) > 0 || len(objects) != 2 {
		t.Fatalf("%d objects, %v, %v", len(objects), problems, err)
	}
	if at := objects[0].Locate(""); at.File != "c-1.0.0.tgz/charts/db-1.0.0.tgz/templates/x.yaml" || at.Line != 1 {
		t.Errorf("the subchart's object is at %v", at)
	}
	if at := objects[1].Locate("metadata.name"); at.File != "c-1.0.0.tgz/templates/x.yaml" || at.Line != 4 {
		t.Errorf("the object is at %v", at)
	}
}

// TestHostileArchives are packed charts that a scan must survive.
func TestHostileArchives(t *testing.T) {
	t.Chdir(t.TempDir())
	zeros := strings.Repeat("\x00", 5<<20-1)
	var large []entry
	for i := range 21 {
		large = append(large, entry{name: fmt.Sprintf("c/files/%d", i), text: zeros})
	}
	var many []entry
	for i := range 30_000 {
		many = append(many, entry{name: fmt.Sprintf("c/f/%d", i)})
	}
	nested := pack(t, []entry{{name: "c/Chart.yaml", text: meta}})
	for range 20 {
		nested = pack(t, []entry{{name: "c/Chart.yaml", text: meta}, {name: "c/charts/c.tgz", text: string(nested)}})
	}
	inner := pack(t, append([]entry{{name: "c/Chart.yaml", text: meta}}, large[:15]...))
	var spread []entry
	for i := range 10 {
		spread = append(spread, entry{name: fmt.Sprintf("c/charts/s%d.tgz", i), text: string(inner)})
	}
	tests := map[string]struct {
		text []byte
		want string
	}{
		"outside":      {pack(t, []entry{{name: "c/Chart.yaml", text: meta}, {name: "c/../../etc/x", text: "x"}}), "parent directory"},
		"absolute":     {pack(t, []entry{{name: "c//etc/x", text: "x"}}), "absolute"},
		"windows":      {pack(t, []entry{{name: `c\..\..\x`, text: "x"}}), "parent directory"},
		"no chart":     {pack(t, []entry{{name: "c/values.yaml", text: "a: 1"}}), "no Chart.yaml"},
		"large":        {pack(t, large), "larger"},
		"one large":    {pack(t, []entry{{name: "c/x", text: zeros + "xxx"}}), "larger"},
		"many":         {pack(t, many), "too large"},
		"nested":       {nested, "too deep"},
		"spread":       {pack(t, append(spread, entry{name: "c/Chart.yaml", text: meta})), "too large"},
		"not zipped":   {[]byte("\x1f\x8b\x08 but no more"), "not a packed chart"},
		"truncated":    {nested[:len(nested)-20], "not a packed chart"},
		"empty":        {pack(t, nil), "no files"},
		"link outside": {pack(t, []entry{{name: "c/Chart.yaml", text: meta}, {name: "c/templates/x.yaml", link: "/etc/passwd"}}), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			file := strings.ReplaceAll(name, " ", "-") + ".tgz"
			write(t, file, test.text)
			objects, problems, err := chart.Render(file, chart.Options{})
			if err != nil || len(objects) > 0 {
				t.Fatalf("%d objects, %v", len(objects), err)
			}
			if got := problemsOf(problems); !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
				t.Errorf("problems %q do not say %q", got, test.want)
			}
		})
	}
}

// TestLinks follows links within a chart, and none that lead out of it.
func TestLinks(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "c/Chart.yaml", []byte(meta))
	write(t, "c/real/good.yaml", []byte(configMap))
	write(t, "secret/x.yaml", []byte(strings.Replace(configMap, "good", "bad", 1)))
	for at, to := range map[string]string{
		"c/LICENSE": "../LICENSE", "c/README.md": "../../README.md", "c/templates": "real", "c/real/out.yaml": "../../secret/x.yaml", "c/abs": "/etc", "c/files": "../secret", "c/real/gone.yaml": "nowhere",
	} {
		if err := os.Symlink(to, at); err != nil {
			t.Fatal(err)
		}
	}
	objects, problems, err := chart.Render("c", chart.Options{})
	if err != nil || len(objects) != 1 || objects[0].Name != "good" {
		t.Fatalf("objects %v: %v", objects, err)
	}
	// real is read twice: by its own name and as templates.
	if got := problemsOf(problems); strings.Count(got, "not read") != 6 {
		t.Errorf("problems: %s", got)
	}
	if err := os.Symlink(".", "c/real/again"); err != nil {
		t.Fatal(err)
	}
	if _, problems, _ = chart.Render("c", chart.Options{}); !strings.Contains(problemsOf(problems), "too many levels") || len(problems) > 20 {
		t.Errorf("a circle: %s", problemsOf(problems))
	}
}

// TestNoNetwork renders a chart whose schema, dependency and values name a server
// that counts who asks.
func TestNoNetwork(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer server.Close()
	t.Chdir(t.TempDir())
	write(t, "c/Chart.yaml", []byte(meta+"dependencies: [{name: d, version: 1.0.0, repository: \""+server.URL+"\"}]\n"))
	write(t, "c/values.schema.json", []byte(`{"$schema": "`+server.URL+`/meta", "$ref": "`+server.URL+`/x"}`))
	write(t, "c/templates/x.yaml", []byte(configMap))
	objects, problems, err := chart.Render("c", chart.Options{})
	got := problemsOf(problems)
	if err != nil || len(objects) != 1 || !strings.Contains(got, "helm dependency build") || !strings.Contains(got, "nothing outside of it is read") {
		t.Errorf("%d objects, %s, %v", len(objects), got, err)
	}
	write(t, "c/values.schema.json", []byte(`{"$ref": "file:///etc/passwd"}`))
	if _, problems, _ = chart.Render("c", chart.Options{}); !strings.Contains(problemsOf(problems), "nothing outside of it is read") {
		t.Errorf("a local file: %s", problemsOf(problems))
	}
	if _, _, err := chart.Render("c", chart.Options{ValuesFiles: []string{server.URL + "/values.yaml"}}); err == nil {
		t.Error("values are fetched")
	}
	if asked.Load() > 0 {
		t.Errorf("the server was asked %d times", asked.Load())
	}
}

// TestRefused are requests that cannot be met.
func TestRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "c/Chart.yaml", []byte(meta))
	write(t, "bad.yaml", []byte("a: [1"))
	write(t, "list.yaml", []byte("[1]"))
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
	for i := range 10 {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 10), ","))
	}
	write(t, "bomb.yaml", []byte(bomb))
	write(t, "circle.yaml", []byte("a: &a [*a]\n"))
	tests := map[string]struct {
		path string
		opt  chart.Options
	}{
		"no chart":      {"none", chart.Options{}},
		"no values":     {"c", chart.Options{ValuesFiles: []string{"none.yaml"}}},
		"folder values": {"c", chart.Options{ValuesFiles: []string{"c"}}},
		"bad values":    {"c", chart.Options{ValuesFiles: []string{"bad.yaml"}}},
		"list values":   {"c", chart.Options{ValuesFiles: []string{"list.yaml"}}},
		"bomb":          {"c", chart.Options{ValuesFiles: []string{"bomb.yaml"}}},
		"circle":        {"c", chart.Options{ValuesFiles: []string{"circle.yaml"}}},
		"bad set":       {"c", chart.Options{Set: []string{"password"}}},
		"huge index":    {"c", chart.Options{Set: []string{"a[999999999]=1"}}},
		"bad version":   {"c", chart.Options{KubeVersion: "new"}},
	}
	for name, test := range tests {
		if _, _, err := chart.Render(test.path, test.opt); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, _, err := chart.Render("c", chart.Options{Set: []string{"a.b.c[hunter2"}}); err != nil && strings.Contains(err.Error(), "=hunter2") {
		t.Errorf("the value is shown: %v", err)
	}
}

// TestSecretsOfErrors renders charts whose errors quote values.
func TestSecretsOfErrors(t *testing.T) {
	t.Chdir(t.TempDir())
	templates := map[string]string{
		"fail":  `{{ fail (printf "the password %s is too short" .Values.db.password) }}`,
		"tpl":   `{{ tpl .Values.db.password . }}`,
		"date":  `{{ mustToDate "2006-01-02" .Values.db.password }}`,
		"split": `{{ regexFind .Values.db.password "x" | mustRegexFind .Values.db.password }}`,
		"deep":  `{{ .Values.db.password.of.nobody }}`,
		"atoi":  `{{ mustFromJson .Values.db.password }}`,
		"list":  `{{ index .Values.tokens 0 | fail }}`,
	}
	for name, text := range templates {
		dir := filepath.Join(name, "c")
		write(t, filepath.Join(dir, "Chart.yaml"), []byte(meta))
		write(t, filepath.Join(dir, "values.yaml"), []byte("db: {password: 'hunter2 ({{ if'}\ntokens: [hunter2-token]\n"))
		write(t, filepath.Join(dir, "templates", "x.yaml"), []byte(text))
		_, problems, err := chart.Render(dir, chart.Options{})
		got := problemsOf(problems)
		if err != nil || len(problems) != 1 || strings.Contains(got, "hunter2") {
			t.Errorf("%s: %v, %s", name, err, got)
		}
		t.Log(got)
	}
}

// TestManyIgnored is a chart whose ignored files would be looked for without end.
func TestManyIgnored(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "c/Chart.yaml", []byte(meta))
	write(t, "c/.helmignore", []byte(strings.Repeat("*a*b*c*\n", 2000)))
	if _, problems, err := chart.Render("c", chart.Options{}); err != nil || !strings.Contains(problemsOf(problems), ".helmignore") {
		t.Errorf("%v, %v", problems, err)
	}
}

// TestApart renders a chart by a job: what comes back is what is made here.
func TestApart(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "c/Chart.yaml", []byte(meta))
	write(t, "c/values.yaml", []byte("size: 1\n"))
	write(t, "c/crds/x.yaml", []byte(strings.Replace(configMap, "good", "crd", 1)))
	write(t, "c/templates/_h.tpl", []byte("{{ define \"h\" }}data:\n  size: {{ .Values.size | quote }}\n{{ end }}"))
	write(t, "c/templates/x.yaml", []byte(configMap+"{{ include \"h\" . }}\n---\n"+strings.Replace(configMap, "good", "second", 1)))
	write(t, "c/templates/bad.yaml", []byte("{{ fail \"no\" }}"))
	write(t, "c/templates/NOTES.txt", []byte("Thank you"))
	jobs := 0
	show := func(apart func([]byte) ([]byte, error)) string {
		c, err := chart.Open("c", chart.Options{Set: []string{"a=1"}, Apart: apart})
		if err != nil {
			t.Fatal(err)
		}
		objects, problems := c.RenderWith(map[string]any{"size": 3000000})
		return shown(objects, problems, []string{"ConfigMap good data.size", "ConfigMap second metadata.name"}, nil)
	}
	here := show(nil)
	there := show(func(job []byte) ([]byte, error) {
		jobs++
		return chart.Work(job)
	})
	if here != there || jobs != 1 {
		t.Errorf("%d jobs: %s\nand here: %s", jobs, there, here)
	}
	for _, want := range []string{`"size":"3e+06"`, "ConfigMap crd", "_h.tpl:2", "templates/x.yaml:8", "bad.yaml:1: the template does not render: no"} {
		if !strings.Contains(here, want) {
			t.Errorf("no %s in %s", want, here)
		}
	}
	lost := show(func([]byte) ([]byte, error) { return nil, errors.New("ended") })
	if !strings.Contains(lost, "the chart is not rendered: ended") || strings.Contains(lost, "ConfigMap") {
		t.Errorf("a job that is lost: %s", lost)
	}
	if _, err := chart.Work([]byte("no job")); err == nil {
		t.Error("anything is a job")
	}
}

// TestBrokenCharts are folders whose chart cannot be read at all.
func TestBrokenCharts(t *testing.T) {
	t.Chdir(t.TempDir())
	tests := map[string]map[string]string{
		"no meta":       {"values.yaml": "a: 1"},
		"bad meta":      {"Chart.yaml": "a: [1"},
		"no name":       {"Chart.yaml": "apiVersion: v2\nversion: 1.0.0\n"},
		"bad values":    {"Chart.yaml": meta, "values.yaml": "a: [1"},
		"bad subchart":  {"Chart.yaml": meta, "charts/x/Chart.yaml": "a: [1"},
		"not subchart":  {"Chart.yaml": meta, "charts/x/values.yaml": "a: 1"},
		"name outside":  {"Chart.yaml": strings.Replace(meta, "name: c", "name: ../../x", 1)},
		"null in list":  {"Chart.yaml": meta + "dependencies: [null]\n"},
		"subchart text": {"Chart.yaml": meta + "dependencies: [{name: x, version: 1.0.0}]\n", "values.yaml": "x: text", "charts/x/Chart.yaml": strings.Replace(meta, "name: c", "name: x", 1), "templates/x.yaml": "{{ .Values.x.y }}"},
		"recursion":     {"Chart.yaml": meta, "templates/_a.tpl": `{{ define "a" }}{{ include "a" . }}{{ end }}`, "templates/x.yaml": `{{ include "a" . }}`},
	}
	for name, files := range tests {
		t.Run(name, func(t *testing.T) {
			dir := strings.ReplaceAll(name, " ", "-")
			for file, text := range files {
				write(t, filepath.Join(dir, file), []byte(text))
			}
			objects, problems, err := chart.Render(dir, chart.Options{})
			if err != nil || len(objects) > 0 || len(problems) == 0 {
				t.Errorf("%d objects, %v, %v", len(objects), problems, err)
			}
		})
	}
}
