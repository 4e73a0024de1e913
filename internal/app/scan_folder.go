package app

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/chart"
	"bulwark.dev/bulwark/internal/cluster/inventory/overlay"
)

// folder reads everything below a folder: charts and overlays as such, and all
// other manifests as files. What an overlay is made of is not read on its own.
func (r *fileReader) folder(ctx context.Context, root string) error {
	w := &walk{used: map[string]bool{}}
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
	for _, path := range w.charts {
		if w.used[path] {
			continue
		}
		if err := r.chart(path, false); err != nil {
			return err
		}
	}
	for _, path := range w.overlays {
		if w.used[path] {
			continue
		}
		if err := r.overlay(path); err != nil {
			return err
		}
	}
	return r.files(ctx, w.plain(root), func(dir string) bool {
		dir = filepath.Clean(dir)
		return !slices.Contains(w.charts, dir) && !slices.Contains(w.overlays, dir)
	})
}

// walk is what is below a folder.
type walk struct {
	charts, overlays, folders []string
	// used are the files and folders that overlays name.
	used map[string]bool
}

func (w *walk) visit(path string, d fs.DirEntry, root bool) error {
	switch {
	case !d.IsDir():
	case !root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules"):
		return fs.SkipDir
	case chart.Is(path):
		w.charts = append(w.charts, path)
		return fs.SkipDir
	case overlay.Is(path):
		o, err := overlay.Open(path)
		if err != nil {
			return fmt.Errorf("overlay: %w", err)
		}
		w.overlays = append(w.overlays, path)
		w.uses(path, o.Kustomization())
	default:
		w.folders = append(w.folders, path)
	}
	return nil
}

// plain gives the folders to read as files: the root, and what lies within an
// overlay's folder and is no part of any overlay.
func (w *walk) plain(root string) []string {
	out := []string{root}
	for _, dir := range w.folders {
		if slices.Contains(w.overlays, filepath.Dir(dir)) && !w.within(dir) {
			out = append(out, dir)
		}
	}
	return out
}

// within reports whether an overlay names a folder or something in it.
func (w *walk) within(dir string) bool {
	for path := range w.used {
		if path == dir || strings.HasPrefix(path, dir+string(filepath.Separator)) {
			return true
		}
	}
	return false
}

// uses marks the files and folders that a kustomization file names in any place: a
// name too many is harmless, since what an overlay takes in is judged there.
func (w *walk) uses(dir, file string) {
	text, err := readBounded(file)
	var doc yaml.Node
	if err != nil || yaml.Unmarshal(text, &doc) != nil {
		return // building it says what is wrong
	}
	var texts func(n *yaml.Node)
	texts = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.Value != "" && len(n.Value) < 1024 {
			w.used[filepath.Join(dir, filepath.FromSlash(n.Value))] = true
		}
		for _, c := range n.Content { // an alias has none: what it names is there itself
			texts(c)
		}
	}
	texts(&doc)
	delete(w.used, dir)
}
