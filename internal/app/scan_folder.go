package app

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/chart"
	"bulwark.dev/bulwark/internal/cluster/inventory/overlay"
)

// folder reads everything below a folder: charts and overlays as such, and all
// other manifests as files. What an overlay is made of is not read on its own.
func (r *fileReader) folder(ctx context.Context, root string) error {
	w := &walk{used: map[string]bool{}, below: map[string]bool{}, told: map[string]bool{}}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			r.problems = append(r.problems, inventory.Problem{What: err.Error()})
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return w.visit(path, d, path == root)
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", root, err)
	}
	for _, path := range w.packed {
		r.problems = append(r.problems, inventory.Problem{
			Location: bulwark.Location{File: path}, What: "is a packed chart, which is not opened in a folder; name it as PATH",
		})
	}
	for _, path := range w.charts {
		if err := r.chart(ctx, path, false); err != nil {
			return err
		}
	}
	if err := r.overlays(ctx, w); err != nil {
		return err
	}
	skip := w.skipped()
	r.problems = append(r.problems, w.strays(skip)...)
	return r.files(ctx, w.plain(root, skip), func(dir string) bool { return !skip[filepath.Clean(dir)] })
}

// overlays builds them all and leaves out those that others take in. One that cannot
// be built takes in nothing, so its bases are judged by themselves.
func (r *fileReader) overlays(ctx context.Context, w *walk) error {
	builds := make([]*build, 0, len(w.overlays))
	taken := map[string]bool{}
	for _, path := range w.overlays {
		b, err := r.build(ctx, path)
		if err != nil {
			return err
		}
		builds = append(builds, b)
		own, _ := resolved(b.overlay.Kustomization())
		for _, file := range b.read {
			w.used[file] = true
			taken[file] = taken[file] || file != own
		}
		if len(b.read) == 0 {
			w.names(b.overlay)
		} else {
			w.told[filepath.Clean(path)] = true
		}
	}
	for _, b := range builds {
		if own, _ := resolved(b.overlay.Kustomization()); !taken[own] {
			r.add(b.objects, b.problems)
		}
	}
	return nil
}

// walk is what is below a folder.
type walk struct {
	charts, packed, overlays, folders []string
	// used are the files that overlays read, by their absolute paths.
	used map[string]bool
	// below are the folders in overlays, at any depth.
	below map[string]bool
	// told are the overlays of which it is known what they read.
	told map[string]bool
}

func (w *walk) visit(path string, d fs.DirEntry, root bool) error {
	switch {
	case d.Type().IsRegular() && filepath.Ext(path) == ".tgz":
		if chart.Packed(path) {
			w.packed = append(w.packed, path)
		}
	case !d.IsDir():
	case !root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
		return fs.SkipDir
	case chart.Is(path):
		w.charts = append(w.charts, path)
		if overlay.Is(path) {
			w.overlays = append(w.overlays, path)
		}
		return fs.SkipDir
	default:
		parent := filepath.Dir(path)
		if w.below[parent] || slices.Contains(w.overlays, parent) {
			w.below[path] = true
		}
		if overlay.Is(path) {
			w.overlays = append(w.overlays, path)
		} else {
			w.folders = append(w.folders, path)
		}
	}
	return nil
}

// skipped are the folders whose files are not read by themselves: charts, overlays,
// and those in overlays of which an overlay reads something.
func (w *walk) skipped() map[string]bool {
	out := map[string]bool{}
	for _, dir := range slices.Concat(w.charts, w.overlays) {
		out[filepath.Clean(dir)] = true
	}
	for _, dir := range w.folders {
		if w.below[dir] && w.within(dir) {
			out[filepath.Clean(dir)] = true
		}
	}
	return out
}

// plain gives the folders to read as files: the root, and what lies in a folder that
// is skipped and is not skipped itself.
func (w *walk) plain(root string, skip map[string]bool) []string {
	out := []string{root}
	for _, dir := range w.folders {
		if dir != root && !skip[filepath.Clean(dir)] && skip[filepath.Dir(dir)] {
			out = append(out, dir)
		}
	}
	return out
}

// within reports whether an overlay reads something in a folder.
func (w *walk) within(dir string) bool {
	abs, ok := resolved(dir)
	for path := range w.used {
		if ok && (path == abs || strings.HasPrefix(path, abs+string(filepath.Separator))) {
			return true
		}
	}
	return false
}

// resolved gives the absolute path of what is there, without links.
func resolved(path string) (string, bool) {
	abs, err := filepath.Abs(path)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	return abs, err == nil
}

// strays tells of the objects beside an overlay's files that it does not take in:
// they may be meant for something, and nothing judges them.
func (w *walk) strays(skip map[string]bool) []inventory.Problem {
	const most = 20
	var out []inventory.Problem
	for _, dir := range slices.Concat(w.overlays, w.folders) {
		known := w.told[filepath.Clean(dir)] || !slices.Contains(w.overlays, dir)
		if !known || !skip[filepath.Clean(dir)] || slices.Contains(w.charts, dir) {
			continue
		}
		abs, ok := resolved(dir)
		entries, err := os.ReadDir(dir)
		if err != nil || !ok {
			continue // reading what is in it said so
		}
		for _, e := range entries {
			if !w.used[filepath.Join(abs, e.Name())] && len(out) < most && stray(filepath.Join(dir, e.Name()), e) {
				out = append(out, inventory.Problem{
					Location: bulwark.Location{File: filepath.Join(dir, e.Name())},
					What:     "is not judged: no overlay takes it in; name it as PATH if it is applied by itself",
				})
			}
		}
	}
	return out
}

// stray reports whether a file looks like an object.
func stray(path string, e fs.DirEntry) bool {
	switch filepath.Ext(path) {
	case ".yaml", ".yml", ".json":
	default:
		return false
	}
	if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") {
		return false
	}
	text, err := readBounded(path)
	return err == nil && bytes.Contains(text, []byte("apiVersion")) && bytes.Contains(text, []byte("kind")) &&
		!bytes.Contains(text, []byte("kustomize.config.k8s.io"))
}

// names marks what the kustomization file of an overlay that cannot be built names
// in any place.
func (w *walk) names(o *overlay.Overlay) {
	text, err := readBounded(o.Kustomization())
	var doc yaml.Node
	if err != nil || yaml.Unmarshal(text, &doc) != nil {
		return // building it said what is wrong
	}
	var texts func(n *yaml.Node)
	texts = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.Value != "" && len(n.Value) < 1024 {
			w.used[filepath.Join(o.Abs(), filepath.FromSlash(n.Value))] = true
		}
		for _, c := range n.Content { // an alias has none: what it names is there itself
			texts(c)
		}
	}
	texts(&doc)
	delete(w.used, o.Abs())
}
