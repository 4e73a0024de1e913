package chart

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	helm "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
)

// tree is a chart with its subcharts as Helm's engine wants them. Rendering
// changes it, so each rendering builds its own.
type tree struct {
	root *helm.Chart
	// places says where each file of any chart lies.
	places map[*helm.File]string
}

func (c *Chart) tree() (*tree, error) {
	t := &tree{places: map[*helm.File]string{}}
	files := make([]*file, len(c.files))
	for i := range c.files {
		files[i] = &c.files[i]
	}
	var err error
	t.root, err = t.load(files, "", 0)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// load makes one chart of the files whose names begin with prefix. Helm's loader
// could read the subcharts too, but then nothing says which folder was which.
func (t *tree) load(files []*file, prefix string, depth int) (*helm.Chart, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: charts are nested too deep", prefix)
	}
	var own []*loader.BufferedFile
	at := map[string]string{}
	subs := map[string][]*file{}
	found := false
	for _, f := range files {
		name := strings.TrimPrefix(f.name, prefix)
		rest, ok := strings.CutPrefix(name, "charts/")
		if ok && path.Ext(name) != ".prov" {
			sub, _, nested := strings.Cut(rest, "/")
			if nested && strings.IndexAny(sub, "_.") != 0 {
				subs[sub] = append(subs[sub], f)
			}
			continue
		}
		found = found || name == "Chart.yaml"
		at[name] = f.path
		own = append(own, &loader.BufferedFile{Name: name, Data: f.text})
	}
	if !found {
		return nil, fmt.Errorf("%w: no Chart.yaml in %s", errNotChart, path.Join(".", prefix))
	}
	c, err := loader.LoadFiles(own)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path.Join(prefix, "Chart.yaml"), err)
	}
	for _, f := range slices.Concat(c.Templates, c.Files) {
		t.places[f] = at[f.Name]
	}
	for _, name := range slices.Sorted(maps.Keys(subs)) {
		sub, err := t.load(subs[name], prefix+"charts/"+name+"/", depth+1)
		if err != nil {
			return nil, err
		}
		c.AddDependency(sub)
	}
	return c, nil
}

// template is one file of a templates folder, by the name that the engine gives
// it.
type template struct {
	key  string
	file *helm.File
	// path is where it lies.
	path string
}

// partial reports whether a template is there for others only.
func (t template) partial() bool { return strings.HasPrefix(path.Base(t.key), "_") }

// notes reports whether it is what Helm prints after an installation.
func (t template) notes() bool { return path.Base(t.key) == "NOTES.txt" }

// templates lists the templates of a chart and its subcharts, sorted by key.
func (t *tree) templates() []template {
	var out []template
	var add func(c *helm.Chart)
	add = func(c *helm.Chart) {
		library := strings.EqualFold(c.Metadata.Type, "library")
		for _, f := range c.Templates {
			next := template{key: path.Join(c.ChartFullPath(), f.Name), file: f, path: t.places[f]}
			if !library || next.partial() {
				out = append(out, next)
			}
		}
		for _, d := range c.Dependencies() {
			add(d)
		}
	}
	add(t.root)
	slices.SortFunc(out, func(a, b template) int { return strings.Compare(a.key, b.key) })
	return out
}

// crds lists the files of the crds folders.
func (t *tree) crds() []*helm.File {
	var out []*helm.File
	for _, c := range t.root.CRDObjects() {
		out = append(out, c.File)
	}
	return out
}

// missing gives the dependencies that are wanted but not there. It is asked after
// the conditions and tags have been looked at.
func missing(c *helm.Chart) []string {
	var out []string
	for _, want := range c.Metadata.Dependencies {
		if want == nil {
			continue
		}
		there := slices.ContainsFunc(c.Dependencies(), func(d *helm.Chart) bool { return d.Name() == want.Name })
		if !there {
			out = append(out, want.Name)
		}
	}
	for _, d := range c.Dependencies() {
		for _, name := range missing(d) {
			out = append(out, filepath.ToSlash(filepath.Join(d.Name(), name)))
		}
	}
	return out
}
