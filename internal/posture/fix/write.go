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
// written, and keeps its mode and owner. New files come first: a patch is there
// before the kustomization names it. A file that is marked read-only is not
// changed.
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
	for _, r := range ready { // writing takes its time
		if _, err := r.current(); err != nil {
			return fmt.Errorf("write %s: %w", r.Path, err)
		}
	}
	slices.SortStableFunc(ready, func(a, b *pending) int {
		switch {
		case (a.Old == nil) == (b.Old == nil):
			return 0
		case a.Old == nil:
			return -1
		}
		return 1
	})
	for _, r := range ready {
		if err := os.Rename(r.temp, r.path); err != nil {
			return fmt.Errorf("write %s: %w", r.path, err)
		}
	}
	return nil
}

// pending is a new text that lies beside its place.
type pending struct {
	File
	path, temp string
}

func (p *Plan) pending(f File) (*pending, error) {
	path, err := p.real(f)
	if err != nil {
		return nil, err
	}
	out := &pending{File: f, path: path}
	was, err := out.current()
	if err != nil {
		return nil, err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".bulwark-*")
	if err != nil {
		return nil, err
	}
	out.temp = temp.Name()
	mode := fs.FileMode(0o644)
	if was != nil {
		mode = was.Mode().Perm()
		err = keepOwner(temp, was)
	}
	if err == nil {
		_, err = temp.Write(f.New)
	}
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

// current reports an error unless the file is what the plan knows of it. For one
// that is new it gives nil.
func (r *pending) current() (fs.FileInfo, error) {
	info, err := os.Lstat(r.path)
	if r.Old == nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: it was not there", ErrChanged)
		}
		return nil, nil //nolint:nilnil // nothing is there, as it should be
	}
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("it is no regular file")
	case info.Mode().Perm()&0o222 == 0:
		return nil, errors.New("it is read-only")
	}
	now, err := read(r.path)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(now, r.Old) {
		return nil, ErrChanged
	}
	return info, nil
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
