package fix

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ErrChanged says that a file is not any more what it was when the plan was made.
var ErrChanged = errors.New("the file changed since it was read")

// Write makes the changes. All files are looked at before the first is written;
// each is written beside its place and moved there, so that none is ever half
// written, and keeps its mode.
func (p *Plan) Write() error {
	ready := make([]*pending, 0, len(p.Files))
	defer func() {
		for _, r := range ready {
			_ = os.Remove(r.temp) // those that were moved are not there any more
		}
	}()
	for _, f := range p.Files {
		next, err := p.pending(f)
		if err != nil {
			return fmt.Errorf("write %s: %w", f.Path, err)
		}
		ready = append(ready, next)
	}
	for _, r := range ready {
		if err := os.Rename(r.temp, r.path); err != nil {
			return fmt.Errorf("write %s: %w", r.path, err)
		}
	}
	return nil
}

// pending is a new text that lies beside its place.
type pending struct{ path, temp string }

func (p *Plan) pending(f File) (*pending, error) {
	path, err := p.real(f)
	if err != nil {
		return nil, err
	}
	mode := fs.FileMode(0o644)
	if f.Old != nil {
		info, err := os.Lstat(path)
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, errors.New("it is no regular file")
		}
		mode = info.Mode().Perm()
		now, err := read(path)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(now, f.Old) {
			return nil, ErrChanged
		}
	} else if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: it was not there", ErrChanged)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".bulwark-*")
	if err != nil {
		return nil, err
	}
	out := &pending{path: path, temp: temp.Name()}
	_, err = temp.Write(f.New)
	if err == nil {
		err = temp.Chmod(mode)
	}
	if err == nil {
		err = temp.Sync()
	}
	if cerr := temp.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(out.temp)
		return nil, err
	}
	return out, nil
}

// real gives the place that a file's path leads to, if that is one that may be
// written.
func (p *Plan) real(f File) (string, error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(f.Path))
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, filepath.Base(f.Path))
	if f.Old != nil {
		if path, err = filepath.EvalSymlinks(f.Path); err != nil {
			return "", err
		}
	}
	roots := p.roots
	if len(roots) == 0 {
		roots = []string{filepath.Dir(f.Path)}
	}
	if slices.Contains(p.named, f.Path) {
		roots = append(slices.Clip(roots), f.Path)
	}
	for _, root := range roots {
		if within(root, path) {
			return path, nil
		}
	}
	return "", fmt.Errorf("it leads to %s, which is outside of what was given", path)
}

func within(root, path string) bool {
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return false
	}
	if root, err = filepath.Abs(root); err != nil {
		return false
	}
	if path, err = filepath.Abs(path); err != nil {
		return false
	}
	rel, err := filepath.Rel(root, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}
