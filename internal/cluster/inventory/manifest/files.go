package manifest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"bulwark.dev/bulwark"
)

// named reads a file that the user named, which must be one that can be read.
func (r *reader) named(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() && info.Mode()&(fs.ModeNamedPipe|fs.ModeCharDevice) == 0 {
		return fmt.Errorf("%s is no file and no folder", path)
	}
	text, err := readFile(path)
	if err != nil {
		return err
	}
	if r.first(path) {
		r.text(path, text, !r.opt.Loose)
	}
	return nil
}

// first reports whether a file was not read yet by any of its names.
func (r *reader) first(path string) bool {
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return true
	}
	if r.seen[real] {
		return false
	}
	r.seen[real] = true
	return true
}

// folder reads what is in a folder. Only the end of ctx makes it fail.
func (r *reader) folder(ctx context.Context, dir string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if r.opt.Enter != nil && !r.opt.Enter(dir) {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		r.problem(bulwark.Location{File: dir}, unreadable(err))
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, "Chart.yaml")); err == nil && r.opt.Enter == nil {
		r.problem(bulwark.Location{File: dir}, "is a Helm chart, whose templates are not read as manifests; scan this folder by itself")
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && (e.IsDir() || !wanted(e.Name())) {
			continue
		}
		if err := r.entry(ctx, filepath.Join(dir, e.Name()), e); err != nil {
			return err
		}
	}
	return nil
}

// wanted reports whether a file is read that nobody named: those that kubectl reads.
func wanted(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

func (r *reader) entry(ctx context.Context, path string, e fs.DirEntry) error {
	if e.IsDir() {
		return r.folder(ctx, path)
	}
	counts := wanted(path)
	at := bulwark.Location{File: path}
	link := e.Type()&fs.ModeSymlink != 0
	if !counts && !link {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case err != nil && !counts: // a link to nowhere, of no name that counts
	case err != nil:
		r.problem(at, unreadable(err))
	case info.IsDir():
		// Following it could go in circles; saying nothing could leave out a lot.
		r.problem(at, "is a symbolic link to a folder, which is not followed; name that folder itself")
	case !counts:
	case !info.Mode().IsRegular():
		r.problem(at, "is not a regular file")
	case r.first(path):
		text, err := readFile(path)
		if err != nil {
			r.problem(at, unreadable(err))
			return nil
		}
		r.text(path, text, false)
	}
	return nil
}

// readFile gives the content of a file.
func readFile(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // reading the files that the user names is the purpose
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer func() { _ = file.Close() }() // read only: nothing is lost
	text, err := io.ReadAll(io.LimitReader(file, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if len(text) > MaxFile {
		return nil, fmt.Errorf("%s has more than %d bytes, the limit", path, MaxFile)
	}
	return text, nil
}

// unreadable says why, without the path, which is beside it.
func unreadable(err error) string {
	var pe *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist"
	case errors.Is(err, fs.ErrPermission):
		return "cannot be read: permission denied"
	case errors.As(err, &pe):
		return "cannot be read: " + pe.Err.Error()
	}
	return "cannot be read: " + err.Error()
}
