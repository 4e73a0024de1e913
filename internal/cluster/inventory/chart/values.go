package chart

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	helm "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/strvals"
)

// newest is the Kubernetes version that charts are rendered for where nobody says
// another, and oldest the last one that is tried for a chart that refuses it.
const newest, oldest = 36, 16

var errSet = errors.New(`is not understood: write a.b=c, with "\," for a comma within a value`)

// given gives the values that the user gave, files first. over replaces single
// values after that.
func (c *Chart) given(over map[string]any) (map[string]any, error) {
	out := map[string]any{}
	for _, f := range c.values {
		if err := checkText(f.Text); err != nil {
			return nil, fmt.Errorf("read values of %s: %w", f.Path, err)
		}
		v, err := chartutil.ReadValues(f.Text)
		if err != nil {
			return nil, fmt.Errorf("read values of %s: %w", f.Path, err)
		}
		out = merge(out, v)
	}
	for _, s := range c.opt.Set {
		if strvals.ParseInto(s, out) != nil { // whose error may be a part of a password
			return nil, fmt.Errorf("values set by hand: %q: %w", key(s), errSet)
		}
	}
	for _, s := range c.opt.SetString {
		if strvals.ParseIntoString(s, out) != nil {
			return nil, fmt.Errorf("values set by hand as text: %q: %w", key(s), errSet)
		}
	}
	return merge(out, over), nil
}

// key gives what is before "=", since what comes after may be a password.
func key(s string) string {
	k, _, _ := strings.Cut(s, "=")
	return k
}

// merge lays over upon base, as Helm does with values files: tables are merged,
// everything else is replaced.
func merge(base, over map[string]any) map[string]any {
	out := make(map[string]any, len(base)+len(over))
	maps.Copy(out, base)
	for k, v := range over {
		if table, ok := v.(map[string]any); ok {
			if under, ok := out[k].(map[string]any); ok {
				out[k] = merge(under, table)
				continue
			}
		}
		out[k] = v
	}
	return out
}

// capabilities gives what templates are told of the cluster. constraint is the
// chart's kubeVersion.
func (c *Chart) capabilities(constraint string) (*chartutil.Capabilities, error) {
	caps := chartutil.DefaultCapabilities.Copy()
	caps.APIVersions = append(append(chartutil.VersionSet(nil), caps.APIVersions...), c.opt.APIVersions...)
	want := c.opt.KubeVersion
	if want == "" {
		want = fmt.Sprintf("v1.%d.0", newest)
		for minor := newest; constraint != "" && minor >= oldest; minor-- {
			if v := fmt.Sprintf("v1.%d.0", minor); chartutil.IsCompatibleRange(constraint, v) {
				want = v
				break
			}
		}
	}
	version, err := chartutil.ParseKubeVersion(want)
	if err != nil {
		return nil, fmt.Errorf("the Kubernetes version %q: %w", want, err)
	}
	caps.KubeVersion = *version
	return caps, nil
}

// release gives the release that the chart is rendered as.
func (c *Chart) release(root *helm.Chart) chartutil.ReleaseOptions {
	name := c.opt.ReleaseName
	if name == "" {
		name = root.Name()
	}
	if chartutil.ValidateReleaseName(name) != nil && c.opt.ReleaseName == "" {
		name = "release"
	}
	namespace := c.opt.Namespace
	if namespace == "" {
		namespace = "default"
	}
	return chartutil.ReleaseOptions{Name: name, Namespace: namespace, Revision: 1, IsInstall: true}
}
