package kubelet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// payload is the files of a volume that come from the API, by path.
type payload map[string]payloadFile

type payloadFile struct {
	data []byte
	mode fs.FileMode
}

func (p payload) equal(q payload) bool {
	if len(p) != len(q) {
		return false
	}
	for name, f := range p {
		g, ok := q[name]
		if !ok || f.mode != g.mode || !bytes.Equal(f.data, g.data) {
			return false
		}
	}
	return true
}

// write makes dir show exactly these files, all at once: they lie in a directory
// of their own, which dir/..data points to, and dir has links through it. gid -1
// leaves the group alone.
func (p payload) write(dir string, gid int) error {
	for name := range p {
		if !filepath.IsLocal(name) || strings.HasPrefix(name, "..") {
			return fmt.Errorf("volume file %q: path leads out of the volume", name)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	generation, err := os.MkdirTemp(dir, "..")
	if err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	if err := os.Chmod(generation, 0o755); err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	for name, f := range p {
		path := filepath.Join(generation, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("volume: %w", err)
		}
		if err := os.WriteFile(path, f.data, f.mode); err != nil {
			return fmt.Errorf("volume: %w", err)
		}
		if gid >= 0 {
			if err := os.Chown(path, -1, gid); err != nil {
				return fmt.Errorf("volume: %w", err)
			}
		}
		if err := os.Chmod(path, f.mode); err != nil { // whatever the umask
			return fmt.Errorf("volume: %w", err)
		}
	}
	return p.publish(dir, filepath.Base(generation))
}

// publish points dir at the new generation and removes the one before.
func (p payload) publish(dir, generation string) error {
	data, fresh := filepath.Join(dir, "..data"), filepath.Join(dir, "..data_new")
	before, err := os.Readlink(data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("volume: %w", err)
	}
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("volume: %w", err)
	}
	if err := os.Symlink(generation, fresh); err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	if err := os.Rename(fresh, data); err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	wanted := map[string]bool{}
	for name := range p {
		first, _, _ := strings.Cut(filepath.Clean(name), "/")
		wanted[first] = true
		link := filepath.Join(dir, first)
		if err := os.Symlink(filepath.Join("..data", first), link); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("volume: %w", err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "..") && !wanted[e.Name()] {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("volume: %w", err)
			}
		}
	}
	if before != "" && filepath.IsLocal(before) {
		if err := os.RemoveAll(filepath.Join(dir, before)); err != nil {
			return fmt.Errorf("volume: %w", err)
		}
	}
	return nil
}
