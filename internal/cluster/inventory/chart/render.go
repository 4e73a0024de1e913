package chart

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	helm "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/manifest"
)

// maxRendered is how much text one chart may make.
const maxRendered = 256 << 20

// Render renders the chart, see the function of that name.
func (c *Chart) Render() ([]*inventory.Object, []inventory.Problem) { return c.RenderWith(nil) }

// RenderWith renders the chart with over laid upon all values that were given.
func (c *Chart) RenderWith(over map[string]any) ([]*inventory.Object, []inventory.Problem) {
	problems := slices.Clone(c.problems)
	if c.broken != nil {
		return nil, append(problems, c.problem("", 0, "the chart cannot be read: "+c.broken.Error()))
	}
	m, err := c.made(over)
	if err != nil {
		return nil, append(problems, c.problem("", 0, "the chart is not rendered: "+err.Error()))
	}
	problems = append(problems, m.Problems...)
	var objects []*inventory.Object
	for _, f := range m.CRDs {
		found, bad := manifest.Decode(f.Path, f.Text)
		objects, problems = append(objects, found...), append(problems, bad...)
	}
	all := m.templates()
	named := defines(all)
	for i, tmpl := range all {
		text := m.Templates[i].Text
		if len(bytes.TrimSpace(text)) == 0 {
			continue
		}
		src := &source{path: tmpl.path, template: string(tmpl.file.Data), rendered: string(text), defines: named}
		found, bad := manifest.Decode(tmpl.path, text)
		for _, o := range found {
			raw := o.Raw()
			if space := c.opt.Namespace; space != "" && o.Namespace == "" && namespaced(o.Kind) {
				raw = into(raw, space)
			}
			made, err := inventory.New(raw, &Origin{chart: c, source: src, inner: o.Origin()})
			if err != nil {
				problems = append(problems, c.problem(tmpl.path, 1, err.Error()))
				continue
			}
			objects = append(objects, made)
		}
		for _, p := range bad {
			p.What = "what the template makes cannot be read: " + p.What
			p.Location = src.place(p.Location.Line)
			problems = append(problems, p)
		}
	}
	return objects, problems
}

// print runs the templates.
func (c *Chart) print(over map[string]any) *made {
	m := &made{}
	t, err := c.tree()
	if err != nil {
		m.Problems = append(m.Problems, c.problem("", 0, "the chart cannot be read: "+err.Error()))
		return m
	}
	values, more, err := c.prepare(t, over)
	m.Problems = append(m.Problems, more...)
	if err != nil {
		m.Problems = append(m.Problems, c.problem("", 0, "the chart does not render: "+err.Error()))
		return m
	}
	texts, more := c.execute(t, values)
	m.Problems = append(m.Problems, more...)
	for _, f := range t.crds() {
		m.CRDs = append(m.CRDs, printed{Path: t.places[f], Text: f.Data})
	}
	size := 0
	for _, tmpl := range t.templates() {
		next := printed{Key: tmpl.key, Path: tmpl.path, Template: tmpl.file.Data}
		if text := texts[tmpl.key]; !tmpl.partial() && !tmpl.notes() {
			size += len(text)
			if size > maxRendered {
				m.Problems = append(m.Problems, c.problem("", 0, fmt.Sprintf("the chart makes more than %d MiB; the rest is left out", maxRendered>>20)))
				return m
			}
			next.Text = []byte(text)
		}
		m.Templates = append(m.Templates, next)
	}
	return m
}

// All gives the values that the templates see: the chart's own and its subcharts',
// with those that the user gave.
func (c *Chart) All() (map[string]any, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	t, err := c.tree()
	if err != nil {
		return nil, err
	}
	values, _, err := c.prepare(t, nil)
	if err != nil {
		return nil, err
	}
	all, _ := values["Values"].(chartutil.Values)
	out, _ := plain(all.AsMap()).(map[string]any)
	return out, nil
}

func (c *Chart) problem(file string, line int, what string) inventory.Problem {
	if file == "" {
		file = c.path
	}
	return inventory.Problem{Location: bulwark.Location{File: file, Line: line}, What: what}
}

// prepare works out the values and which subcharts take part.
func (c *Chart) prepare(t *tree, over map[string]any) (chartutil.Values, []inventory.Problem, error) {
	var problems []inventory.Problem
	given, err := c.given(over)
	if err != nil {
		return nil, nil, err
	}
	if err := chartutil.ProcessDependenciesWithMerge(t.root, given); err != nil {
		return nil, nil, err
	}
	for _, name := range missing(t.root) {
		problems = append(problems, c.problem(filepath.Join(c.path, "Chart.yaml"), 0,
			fmt.Sprintf("the dependency %q is not in the charts folder, so nothing of it is judged: run `helm dependency build`", name)))
	}
	caps, err := c.capabilities(t.root.Metadata.KubeVersion)
	if err != nil {
		return nil, problems, err
	}
	if want := t.root.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, caps.KubeVersion.Version) {
		problems = append(problems, c.problem(filepath.Join(c.path, "Chart.yaml"), 0,
			fmt.Sprintf("the chart is for Kubernetes %q and refuses %s; it is judged all the same", want, caps.KubeVersion.Version)))
	}
	values, err := chartutil.ToRenderValuesWithSchemaValidation(t.root, given, c.release(t.root), caps, true)
	if err != nil {
		return nil, problems, err
	}
	if all, ok := values["Values"].(chartutil.Values); ok {
		for _, v := range violations(t.root, all) {
			problems = append(problems, c.problem(filepath.Join(c.path, "values.schema.json"), 0,
				fmt.Sprintf("Helm will not install %s with these values: %s; it is judged all the same", v.chart, v.what)))
		}
	}
	return values, problems, nil
}

// execute gives what each template makes. If one fails, the others are rendered
// one by one, so that one mistake does not hide a whole chart.
func (c *Chart) execute(t *tree, values chartutil.Values) (map[string]string, []inventory.Problem) {
	all := t.templates()
	var problems []inventory.Problem
	for _, tmpl := range all {
		if what := huge(string(tmpl.file.Data)); what != "" {
			problems = append(problems, c.problem(tmpl.path, 0, "the template is left out: "+what))
			tmpl.file.Data = nil
		}
	}
	hidden := secrets(values["Values"]) // now, since templates can change them
	texts, err := run(t.root, values)
	if err == nil {
		return texts, problems
	}
	texts = map[string]string{}
	failed := map[inventory.Problem]int{}
	for _, tmpl := range all {
		if tmpl.partial() {
			continue
		}
		out, err := c.alone(t, all, tmpl, values)
		if err != nil {
			failed[c.failure(all, tmpl, hide(err.Error(), hidden))]++
			continue
		}
		texts[tmpl.key] = out
	}
	for _, p := range slices.SortedFunc(maps.Keys(failed), func(a, b inventory.Problem) int {
		return strings.Compare(a.Location.File+a.What, b.Location.File+b.What)
	}) {
		if n := failed[p]; n > 1 {
			p.What += fmt.Sprintf(" (%d templates fail for this)", n)
		}
		problems = append(problems, p)
	}
	if len(failed) == 0 { // each renders by itself, yet not all together
		problems = append(problems, c.problem("", 0, "the chart does not render: "+clean(hide(err.Error(), hidden))))
	}
	return texts, problems
}

// alone renders one template while the others make nothing.
func (c *Chart) alone(t *tree, all []template, only template, values chartutil.Values) (string, error) {
	kept := make([][]byte, len(all))
	for i, tmpl := range all {
		kept[i] = tmpl.file.Data
	}
	for _, tmpl := range all {
		if !tmpl.partial() && tmpl.file != only.file {
			tmpl.file.Data = nil
		}
	}
	texts, err := run(t.root, values)
	for i, tmpl := range all {
		tmpl.file.Data = kept[i]
	}
	return texts[only.key], err
}

// run is Helm's engine, without a cluster and without the network.
func run(root *helm.Chart, values chartutil.Values) (map[string]string, error) {
	var e engine.Engine
	return e.Render(root, values)
}

// failure says where and why a template fails. The place is that of the innermost
// template, where the mistake is.
func (c *Chart) failure(all []template, at template, text string) inventory.Problem {
	p := inventory.Problem{Location: bulwark.Location{File: at.path}}
	for _, m := range placeInText.FindAllStringSubmatch(text, -1) {
		for _, tmpl := range all {
			if tmpl.key == m[1] {
				p.Location = bulwark.Location{File: tmpl.path, Line: number(m[2])}
			}
		}
	}
	p.What = "the template does not render: " + clean(text)
	if name, ok := strings.CutPrefix(at.key, path.Dir(at.key)+"/"); ok && at.notes() {
		p.What = name + ": " + p.What
	}
	return p
}
