package chart

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	helmchart "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/releaseutil"
	"helm.sh/helm/v3/pkg/strvals"
)

// Options say what to render, as the flags of "helm template" do.
type Options struct {
	// Dir is the chart's folder.
	Dir string
	// Release is the name of the release, Namespace where it goes.
	Release, Namespace string
	// KubeVersion is the cluster's version, as v1.36.3.
	KubeVersion string
	// Values are files, the later ones over the earlier.
	Values []string
	// Set are lines "key.sub=value", over all files.
	Set []string
	// Cluster answers the templates' lookups. Nil: there is no cluster.
	Cluster engine.ClientProvider
}

// Manifest is one rendered object.
type Manifest struct {
	// Source is the template's path within the chart.
	Source string
	// Kind is the object's kind.
	Kind string
	// Text is the object as YAML, without a separator.
	Text string
}

// Release is a rendered chart.
type Release struct {
	// Objects are in the order in which Helm installs them.
	Objects []Manifest
	// Notes is what helm install prints.
	Notes string
}

// Find gives the chart's folder: deploy/helm/bulwark in dir or in a folder
// above it.
func Find(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find chart: %w", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		chart := filepath.Join(at, "deploy", "helm", "bulwark")
		_, err := os.Stat(filepath.Join(chart, "Chart.yaml"))
		switch {
		case err == nil:
			return chart, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("find chart: %w", err)
		case at == filepath.Dir(at):
			return "", fmt.Errorf("find chart: no deploy/helm/bulwark in %s or above", dir)
		}
	}
}

// Render renders the chart. Values that the chart's schema does not know, and a
// cluster older than the chart's kubeVersion, are errors.
func Render(o Options) (*Release, error) {
	if o.Release == "" || o.Namespace == "" || o.KubeVersion == "" {
		return nil, errors.New("render chart: release, namespace and the cluster's version are required")
	}
	c, err := loader.Load(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("load chart %s: %w", o.Dir, err)
	}
	values, err := o.values()
	if err != nil {
		return nil, err
	}
	kube, err := chartutil.ParseKubeVersion(o.KubeVersion)
	if err != nil {
		return nil, fmt.Errorf("cluster's version %q: %w", o.KubeVersion, err)
	}
	if c.Metadata.KubeVersion != "" && !chartutil.IsCompatibleRange(c.Metadata.KubeVersion, kube.Version) {
		return nil, fmt.Errorf("the chart needs Kubernetes %s; the cluster is %s", c.Metadata.KubeVersion, kube.Version)
	}
	caps := chartutil.DefaultCapabilities.Copy()
	caps.KubeVersion = *kube
	release := chartutil.ReleaseOptions{Name: o.Release, Namespace: o.Namespace, Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, values, release, caps)
	if err != nil {
		return nil, fmt.Errorf("values: %w", err)
	}
	// A nil provider is an engine without a cluster, where lookup finds nothing.
	run := engine.Render
	if o.Cluster != nil {
		run = func(c *helmchart.Chart, v chartutil.Values) (map[string]string, error) {
			return engine.RenderWithClientProvider(c, v, o.Cluster)
		}
	}
	files, err := run(c, all)
	if err != nil {
		return nil, fmt.Errorf("render chart: %w", err)
	}
	return sorted(files, caps.APIVersions)
}

func (o Options) values() (map[string]any, error) {
	values := map[string]any{}
	for _, file := range o.Values {
		v, err := chartutil.ReadValuesFile(file)
		if err != nil {
			return nil, fmt.Errorf("values %s: %w", file, err)
		}
		values = chartutil.MergeTables(v.AsMap(), values)
	}
	for _, line := range o.Set {
		if err := strvals.ParseInto(line, values); err != nil {
			return nil, fmt.Errorf("set %q: %w", line, err)
		}
	}
	return values, nil
}

// sorted takes the notes out of files and puts the objects of the rest into the
// order of installation.
func sorted(files map[string]string, versions chartutil.VersionSet) (*Release, error) {
	files = maps.Clone(files)
	out := &Release{}
	for _, name := range slices.Collect(maps.Keys(files)) {
		switch {
		case strings.HasSuffix(name, "/NOTES.txt"):
			out.Notes = files[name]
			delete(files, name)
		case strings.HasPrefix(filepath.Base(name), "_"):
			delete(files, name)
		}
	}
	hooks, objects, err := releaseutil.SortManifests(files, versions, releaseutil.InstallOrder)
	if err != nil {
		return nil, fmt.Errorf("sort objects: %w", err)
	}
	if len(hooks) > 0 {
		return nil, fmt.Errorf("the chart has hooks (%s), which kubectl apply would not run", hooks[0].Path)
	}
	for _, m := range objects {
		out.Objects = append(out.Objects, Manifest{Source: m.Name, Kind: m.Head.Kind, Text: strings.Trim(m.Content, "\n")})
	}
	return out, nil
}

// YAML gives all objects as one stream for kubectl apply.
func (r *Release) YAML() string {
	var b strings.Builder
	for _, m := range r.Objects {
		b.WriteString("---\n# Source: " + m.Source + "\n" + m.Text + "\n")
	}
	return b.String()
}
