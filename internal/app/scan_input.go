package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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
	"bulwark.dev/bulwark/internal/cluster/inventory/isolate"
	"bulwark.dev/bulwark/internal/cluster/inventory/overlay"
	"bulwark.dev/bulwark/internal/posture/leak"
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
	changed    bool
	// host renders charts and overlays; nil: this process does.
	host *isolate.Host
}

func (f *scanSource) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.kubeconfig, "kubeconfig", "", `judge this cluster in place of files; "" is the pod's own ServiceAccount`)
	fl.StringVar(&f.context, "context", "", "context of the kubeconfig; alone, of the one that kubectl would use")
	fl.StringArrayVarP(&f.values, "values", "f", nil, "values file for the Helm chart; may be repeated")
	fl.StringArrayVar(&f.set, "set", nil, "value for the Helm chart, as a.b=c; may be repeated")
	fl.BoolVar(&f.changed, "changed-files", false, "each PATH is a file that changed: one of a chart or overlay stands for all of it, and one without Kubernetes objects is passed over")
	fl.StringVar(&f.kubernetes, "kubernetes-version", "", "the version that files are for, as 1.34; default: not known")
}

var versionForm = regexp.MustCompile(`^v?1\.\d{1,3}(\.\d{1,3})?$`)

func (f *scanSource) check() error {
	if f.live && len(f.paths) > 0 {
		return errors.New("PATH and --kubeconfig or --context: expected one of them, since the objects come from one place")
	}
	if n := len(slices.DeleteFunc(slices.Clone(f.paths), func(p string) bool { return p != "-" })); n > 1 {
		return errors.New(`"-" was given twice, and standard input is read once`)
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
	if f.changed {
		f.paths = wholes(f.paths)
	}
	f.paths = once(f.paths)
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

// once takes out paths that were given before: nothing is judged twice.
func once(paths []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, path := range paths {
		if clean := filepath.Clean(path); !seen[clean] {
			seen[clean] = true
			out = append(out, path)
		}
	}
	return out
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
		return nil, fmt.Errorf("read the cluster: %w", leak.Error(err))
	}
	for i := range snap.Unreadable { // a server may repeat what it was sent
		snap.Unreadable[i].Reason = leak.Masked(snap.Unreadable[i].Reason)
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
		return nil, fmt.Errorf("find API server: %w", leak.Error(err))
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
	case chart.Is(path) || overlay.Is(path):
		err = r.rendered(ctx, path)
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
	case r.read == before && r.f.changed:
	case r.read == before:
		r.fail(path, errNothing)
	case partly && (!folder || chart.Is(path) || overlay.Is(path)):
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
	for i := range problems { // of libraries, some of which repeat values
		problems[i].What = leak.Masked(problems[i].What)
	}
	r.problems = append(r.problems, problems...)
}

// rendered reads a chart or an overlay that the user named; a folder can be both.
func (r *fileReader) rendered(ctx context.Context, path string) error {
	if chart.Is(path) {
		if err := r.chart(ctx, path, true); err != nil {
			return err
		}
	}
	if !overlay.Is(path) {
		return nil
	}
	b, err := r.build(ctx, path)
	if err != nil {
		return err
	}
	r.add(b.objects, b.problems)
	return nil
}

// chart renders a Helm chart; the flags are for those that the user named.
func (r *fileReader) chart(ctx context.Context, path string, named bool) error {
	opt := chart.Options{KubeVersion: strings.TrimPrefix(r.f.kubernetes, "v"), Apart: r.f.job(ctx, "chart")}
	if named {
		opt.ValuesFiles, opt.Set = r.f.values, r.f.set
	}
	objects, problems, err := chart.Render(path, opt)
	if err != nil {
		return err //nolint:wrapcheck // it names the chart
	}
	r.add(objects, problems)
	return nil
}

// build is what an overlay makes.
type build struct {
	overlay  *overlay.Overlay
	objects  []*inventory.Object
	problems []inventory.Problem
	// read are the files that it is made of, by their absolute paths, none if it
	// could not be built.
	read []string
}

func (r *fileReader) build(ctx context.Context, path string) (*build, error) {
	o, err := overlay.Open(path)
	if err != nil {
		return nil, fmt.Errorf("overlay %s: %w", path, err)
	}
	b := &build{overlay: o.Apart(r.f.job(ctx, "overlay"))}
	b.objects, b.problems, b.read = b.overlay.RenderRead()
	return b, nil
}
