package cluster

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// found is one file to read.
type found struct {
	path string
	// real is path without symbolic links.
	real string
	info fs.FileInfo
}

// finder collects the files below some paths.
type finder struct {
	files    []found
	dirs     []string // every folder that was looked into
	seen     map[string]bool
	problems []Problem
}

// find gives the files that paths stand for, in the order of paths and names,
// each once. A folder stands for its *.yaml, *.yml and *.json files and those of
// its subfolders; entries whose name begins with "." are passed over, which is
// how Kubernetes hides the versions of a mounted ConfigMap behind "..data".
func find(paths []string) *finder {
	f := &finder{seen: map[string]bool{}}
	if len(paths) == 0 {
		f.problem("", errors.New("no file or folder was given"))
	}
	for _, p := range paths {
		info, err := os.Stat(p)
		switch {
		case err != nil:
			f.problem(p, err)
		case info.IsDir():
			f.folder(p)
		default:
			f.file(p, info)
		}
	}
	return f
}

// problem records why a path cannot be read, without repeating the path.
func (f *finder) problem(path string, err error) {
	msg := err.Error()
	switch pe := (*fs.PathError)(nil); {
	case errors.Is(err, fs.ErrNotExist):
		msg = "does not exist"
	case errors.Is(err, fs.ErrPermission):
		msg = "cannot be read: permission denied"
	case errors.As(err, &pe):
		msg = "cannot be read: " + pe.Err.Error()
	}
	f.problems = append(f.problems, Problem{File: path, Message: msg})
}

func (f *finder) folder(dir string) {
	f.dirs = append(f.dirs, dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		f.problem(dir, err)
		return
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		if e.IsDir() {
			f.folder(path)
			continue
		}
		ext := filepath.Ext(e.Name())
		wanted := slices.Contains([]string{".yaml", ".yml", ".json"}, ext)
		if e.Type()&fs.ModeSymlink == 0 && !wanted {
			continue
		}
		info, err := os.Stat(path)
		switch {
		case err != nil && wanted:
			f.problem(path, err)
		case err != nil:
		case info.IsDir():
			// Passing it over quietly could leave out a policy.
			f.problem(path, errors.New("is a symbolic link to a folder, which is not followed; name that folder itself"))
		case wanted:
			f.file(path, info)
		}
	}
}

func (f *finder) file(path string, info fs.FileInfo) {
	if !info.Mode().IsRegular() {
		f.problem(path, errors.New("is not a regular file"))
		return
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		f.problem(path, err)
		return
	}
	if real, err = filepath.Abs(real); err != nil {
		f.problem(path, err)
		return
	}
	switch {
	case f.seen[real]:
	case len(f.files) == MaxFiles:
		f.problem(path, fmt.Errorf("is one file too many; the limit is %d", MaxFiles))
	case len(f.files) < MaxFiles:
		f.files = append(f.files, found{path: path, real: real, info: info})
	}
	f.seen[real] = true
}

// read gives the content of one file of at most limit bytes.
func read(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // reading the files that the operator names is the purpose
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	defer func() { _ = file.Close() }() // read only: nothing is lost
	text, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("is larger than %d bytes, the limit", limit)
	}
	return text, nil
}
