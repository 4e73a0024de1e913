package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/chart"
	"bulwark.dev/bulwark/internal/cluster/inventory/fetch"
	"bulwark.dev/bulwark/internal/cluster/inventory/overlay"
)

// scanSource is where the objects come from.
type scanSource struct {
	paths      []string
	live       bool
	kubeconfig string
	context    string
	values     []string
	set        []string
	kubernetes string
}

func (f *scanSource) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.kubeconfig, "kubeconfig", "", `judge this cluster in place of files; "" is the pod's own ServiceAccount`)
	fl.StringVar(&f.context, "context", "", "context of the kubeconfig; alone, of the one that kubectl would use")
	fl.StringArrayVarP(&f.values, "values", "f", nil, "values file for the Helm chart; may be repeated")
	fl.StringArrayVar(&f.set, "set", nil, "value for the Helm chart, as a.b=c; may be repeated")
	fl.StringVar(&f.kubernetes, "kubernetes-version", "", "the version that files are for, as 1.34; default: not known")
}

var versionForm = regexp.MustCompile(`^v?1\.\d{1,3}(\.\d{1,3})?$`)

func (f *scanSource) check() error {
	if f.live && len(f.paths) > 0 {
		return errors.New("PATH and --kubeconfig or --context: expected one of them, since the objects come from one place")
	}
	if f.live && f.kubernetes != "" {
		return errors.New("--kubernetes-version: a cluster says its version itself")
	}
	if f.kubernetes != "" && !versionForm.MatchString(f.kubernetes) {
		return fmt.Errorf("--kubernetes-version %q: write it as 1.34 or 1.34.2", f.kubernetes)
	}
	if len(f.paths) == 0 && !f.live {
		f.paths = []string{"."}
	}
	for _, path := range f.paths {
		if _, err := isFolder(path); err != nil {
			return err
		}
	}
	if f.live {
		if _, err := f.rest(); err != nil {
			return err
		}
	}
	if len(f.values)+len(f.set) > 0 && !slices.ContainsFunc(f.paths, chart.Is) {
		return errors.New("-f and --set are for a Helm chart, and no PATH is one")
	}
	return nil
}

// names tells what is judged.
func (f *scanSource) names() []string {
	if !f.live {
		return f.paths
	}
	if f.context != "" {
		return []string{"cluster " + f.context}
	}
	return []string{"cluster"}
}

// scanInputs is what was read.
type scanInputs struct {
	// snaps are judged one by one. There are several where charts or overlays make
	// objects of one name, as those for development and production do.
	snaps []*inventory.Snapshot
	// failed says which PATH could not be read as asked; the rest is judged first.
	failed error
}

func (f *scanSource) read(ctx context.Context, env *Env) (*scanInputs, error) {
	if f.live {
		return f.readCluster(ctx, env)
	}
	r := &fileReader{f: f, env: env}
	for _, path := range f.paths {
		if err := r.path(ctx, path); err != nil {
			return nil, err
		}
	}
	if r.saved != nil {
		return &scanInputs{snaps: []*inventory.Snapshot{r.saved}, failed: r.failed}, nil
	}
	facts := inventory.Facts{}
	if f.kubernetes != "" {
		facts.Version = "v" + strings.TrimPrefix(f.kubernetes, "v")
	}
	out := &scanInputs{failed: r.failed}
	for i, objects := range r.apart() {
		problems := r.problems
		if i > 0 {
			problems = nil
		}
		out.snaps = append(out.snaps, inventory.NewSnapshot(objects, facts, nil, problems))
	}
	return out, nil
}

// apart gives the objects of all units in as few parts as can be, so that no part
// has two units which make an object of one name.
func (r *fileReader) apart() [][]*inventory.Object {
	parts := [][]*inventory.Object{nil}
	taken := []map[bulwark.ObjectRef]bool{{}}
	for _, unit := range r.units {
		at := slices.IndexFunc(taken, func(t map[bulwark.ObjectRef]bool) bool {
			return !slices.ContainsFunc(unit, func(o *inventory.Object) bool { return o.Name != "" && t[unversioned(o)] })
		})
		if at < 0 {
			at = len(parts)
			parts, taken = append(parts, nil), append(taken, map[bulwark.ObjectRef]bool{})
		}
		parts[at] = append(parts[at], unit...)
		for _, o := range unit {
			taken[at][unversioned(o)] = true
		}
	}
	return parts
}

// unversioned names an object whatever version it is written in.
func unversioned(o *inventory.Object) bulwark.ObjectRef {
	return bulwark.ObjectRef{APIVersion: o.Group(), Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}
}

func (f *scanSource) readCluster(ctx context.Context, env *Env) (*scanInputs, error) {
	cfg, err := f.rest()
	if err != nil {
		return nil, err
	}
	show := newProgress(env)
	snap, err := fetch.Snapshot(ctx, cfg, fetch.Options{Progress: func(p fetch.Progress) {
		show.say("reading the cluster: %d of %d kinds, %d %s", p.Done, p.Total, p.Objects, p.Kind)
	}})
	show.done()
	if err != nil {
		return nil, fmt.Errorf("read the cluster: %w", err)
	}
	return &scanInputs{snaps: []*inventory.Snapshot{snap}}, nil
}

func (f *scanSource) rest() (*rest.Config, error) {
	if f.context == "" {
		return restConfig(f.kubeconfig)
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: f.context}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find API server: %w", err)
	}
	cfg.UserAgent = "bulwark/" + version()
	return cfg, nil
}

// fileReader gathers what the paths hold.
type fileReader struct {
	f   *scanSource
	env *Env
	// units are the objects of each chart and overlay, and of all files of a PATH.
	units    [][]*inventory.Object
	read     int
	problems []inventory.Problem
	saved    *inventory.Snapshot
	failed   error
}

// path reads one PATH as what it is.
func (r *fileReader) path(ctx context.Context, path string) error {
	before, problems := r.read, len(r.problems)
	folder, err := isFolder(path)
	switch {
	case err != nil:
	case path == "-":
		err = r.files(ctx, []string{path}, nil)
	case chart.Is(path):
		err = r.chart(path, true)
	case overlay.Is(path):
		err = r.overlay(path)
	case folder:
		err = r.folder(ctx, path)
	default:
		err = r.file(ctx, path)
	}
	if err != nil || r.saved != nil {
		return err
	}
	switch partly := len(r.problems) > problems; {
	case r.read == before && partly:
		r.fail(path, errors.New("nothing could be read, see above"))
	case r.read == before:
		r.fail(path, errNothing)
	case partly && !folder:
		r.fail(path, errors.New("a part could not be read, see above"))
	}
	return nil
}

func isFolder(path string) (bool, error) {
	if path == "-" {
		return false, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return false, err //nolint:wrapcheck // it names the path
	}
	return info.IsDir(), nil
}

func (r *fileReader) fail(path string, err error) {
	r.failed = errors.Join(r.failed, fmt.Errorf("%s: %w", path, err))
}

func (r *fileReader) add(objects []*inventory.Object, problems []inventory.Problem) {
	r.units = append(r.units, objects)
	r.read += len(objects)
	r.problems = append(r.problems, problems...)
}

// chart renders a Helm chart; the flags are for those that the user named.
func (r *fileReader) chart(path string, named bool) error {
	opt := chart.Options{KubeVersion: strings.TrimPrefix(r.f.kubernetes, "v")}
	if named {
		opt.ValuesFiles, opt.Set = r.f.values, r.f.set
	}
	objects, problems, err := chart.Render(path, opt)
	if err != nil {
		return fmt.Errorf("chart %s: %w", path, err)
	}
	r.add(objects, problems)
	return nil
}

func (r *fileReader) overlay(path string) error {
	objects, problems, err := overlay.Render(path)
	if err != nil {
		return fmt.Errorf("overlay %s: %w", path, err)
	}
	r.add(objects, problems)
	return nil
}

// labels gives those of an object.
func (in *scanInputs) labels(ref bulwark.ObjectRef) map[string]string {
	for _, snap := range in.snaps {
		if o := snap.Find(ref.Group(), ref.Kind, ref.Namespace, ref.Name); o != nil {
			return o.Labels
		}
	}
	return nil
}
