package app

import (
	"bytes"
	"path/filepath"

	"bulwark.dev/bulwark/internal/cluster/inventory/chart"
	"bulwark.dev/bulwark/internal/cluster/inventory/overlay"
)

// wholes gives for each file the chart or overlay that it is part of, or itself. Of
// charts in charts it is the outermost, which is what is installed.
func wholes(paths []string) []string {
	out := make([]string, 0, len(paths))
	for _, path := range paths {
		out = append(out, whole(path))
	}
	return out
}

func whole(path string) string {
	if folder, err := isFolder(path); err != nil || folder || path == "-" {
		return path
	}
	found := ""
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		switch {
		case chart.Is(dir):
			found = dir
		case found == "" && overlay.Is(dir) && !component(dir):
			return dir
		}
		if dir == filepath.Dir(dir) || dir == ".." || filepath.Base(dir) == ".." {
			break
		}
	}
	if found == "" {
		return path
	}
	return found
}

// component reports whether a folder is a part for overlays, which cannot be built
// alone.
func component(dir string) bool {
	o, err := overlay.Open(dir)
	if err != nil {
		return false
	}
	text, err := readBounded(o.Kustomization())
	return err == nil && bytes.Contains(text, []byte("kind: Component"))
}
