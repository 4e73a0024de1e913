package chart

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/ignore"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// What a chart may hold at most, packed charts within it included. One of these
// sizes is far above any real chart and well below what hurts.
const (
	maxChart = 100 << 20
	maxFile  = 5 << 20
	maxFiles = 20_000
	maxDepth = 10
	// Each line of .helmignore is held against each file.
	maxIgnore  = 64 << 10
	maxIgnored = 1000
)

// file is one file of a chart, subcharts' files included.
type file struct {
	// name is the path within the chart, with "charts/x.tgz" as if it were a
	// folder of that name.
	name string
	// path is where it lies, to be shown.
	path string
	text []byte
	// plain says that it lies on disk as it is, not packed.
	plain bool
}

var utf8bom = []byte("\xef\xbb\xbf")

// read reads all files of a chart. Problems are of parts that were left out.
func read(at string) ([]file, []inventory.Problem, error) {
	info, err := os.Stat(at)
	if err != nil {
		return nil, nil, err
	}
	b := &bounds{bytes: maxChart, files: maxFiles}
	if !info.IsDir() {
		text, err := readBounded(at, maxChart)
		if err != nil {
			return nil, nil, err
		}
		files, err := unpack(text, "", at, b, 0)
		return files, nil, err
	}
	files, problems, err := readFolder(at, b)
	if err != nil {
		return nil, problems, err
	}
	files, err = unpackAll(files, b, 0)
	return files, problems, err
}

// bounds are what may still be read.
type bounds struct{ bytes, files int }

func (b *bounds) take(size int) error {
	b.bytes -= size
	b.files--
	if b.bytes < 0 || b.files < 0 {
		return fmt.Errorf("the chart is too large: more than %d MiB or %d files", maxChart>>20, maxFiles)
	}
	return nil
}

// readFolder reads a folder as Helm does, but follows no symbolic link that leads
// out of the chart: what it names could end up in a report.
func readFolder(dir string, b *bounds) ([]file, []inventory.Problem, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = root.Close() }()
	rules := ignore.Empty()
	if f, err := root.Open(ignore.HelmIgnore); err == nil {
		text, err := io.ReadAll(io.LimitReader(f, maxIgnore+1))
		_ = f.Close()
		if err == nil && (len(text) > maxIgnore || bytes.Count(text, []byte("\n")) > maxIgnored) {
			err = fmt.Errorf("it has more than %d bytes or %d lines", maxIgnore, maxIgnored)
		}
		if err == nil {
			rules, err = ignore.Parse(bytes.NewReader(text))
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", ignore.HelmIgnore, err)
		}
	}
	rules.AddDefaults()
	w := walk{dir: dir, root: root, rules: rules, bounds: b}
	if err := w.folder(".", 0); err != nil {
		return nil, w.problems, err
	}
	return w.files, w.problems, nil
}

type walk struct {
	dir      string
	root     *os.Root
	rules    *ignore.Rules
	bounds   *bounds
	files    []file
	problems []inventory.Problem
}

func (w *walk) folder(at string, depth int) error {
	if depth > 2*maxDepth {
		return fmt.Errorf("%s: folders are nested too deep, or linked in a circle", at)
	}
	if err := w.bounds.take(0); err != nil { // folders linked to each other have no end
		return err
	}
	entries, err := fs.ReadDir(w.root.FS(), at)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(at, e.Name())
		shown := filepath.Join(w.dir, filepath.FromSlash(name))
		info, err := w.root.Stat(name)
		if err != nil {
			if ignored, lerr := w.root.Lstat(name); lerr == nil && (w.rules.Ignore(name, ignored) || prose(name)) {
				continue
			}
			w.skip(shown, "is not read: "+reason(err)+"; links out of the chart are not followed, copy the file into the chart")
			continue
		}
		if w.rules.Ignore(name, info) {
			continue
		}
		switch {
		case info.IsDir():
			if err := w.folder(name, depth+1); err != nil {
				return err
			}
		case !info.Mode().IsRegular():
			w.skip(shown, "is no regular file and not read")
		case info.Size() > maxFile:
			w.skip(shown, fmt.Sprintf("is larger than %d MiB and not read", maxFile>>20))
		default:
			f, err := w.root.Open(name)
			if err != nil {
				w.skip(shown, "is not read: "+reason(err))
				continue
			}
			text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
			_ = f.Close()
			if err != nil || len(text) > maxFile {
				w.skip(shown, "cannot be read, or grew while it was")
				continue
			}
			if err := w.bounds.take(len(text)); err != nil {
				return err
			}
			w.files = append(w.files, file{name: name, path: shown, text: bytes.TrimPrefix(text, utf8bom), plain: true})
		}
	}
	return nil
}

// prose reports whether a file is for people alone, as the license that the charts
// of a repository often share by links.
func prose(name string) bool {
	word, _, _ := strings.Cut(strings.ToUpper(name), ".")
	switch word {
	case "CHANGELOG", "CODE_OF_CONDUCT", "CONTRIBUTING", "LICENSE", "NOTICE", "OWNERS", "README", "SECURITY":
		return true
	}
	return false
}

// skip notes a file that is left out. Twenty are enough to see what is wrong.
func (w *walk) skip(shown, why string) {
	if len(w.problems) < 20 {
		w.problems = append(w.problems, inventory.Problem{Location: bulwark.Location{File: shown}, What: why})
	}
}

// reason gives what is wrong without the path, which the Problem names already.
func reason(err error) string {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err.Error()
	}
	return err.Error()
}

// unpackAll replaces the packed subcharts by their files.
func unpackAll(files []file, b *bounds, depth int) ([]file, error) {
	var out []file
	for _, f := range files {
		dir, base := path.Split(f.name)
		if path.Base(dir) != "charts" || path.Ext(base) != ".tgz" || strings.IndexAny(base, "_.") == 0 {
			out = append(out, f)
			continue
		}
		inner, err := unpack(f.text, f.name+"/", f.path, b, depth+1)
		if err != nil {
			return nil, fmt.Errorf("unpack %s: %w", f.name, err)
		}
		out = append(out, inner...)
	}
	return out, nil
}

// unpack reads a packed chart. Helm's loader checks the names and the sizes of
// the files; that the archive as a whole is not a bomb of headers, or a chart
// that holds itself, is checked here.
func unpack(text []byte, prefix, shown string, b *bounds, depth int) ([]file, error) {
	if depth > maxDepth {
		return nil, errors.New("charts are packed into charts too deep")
	}
	zip, err := gzip.NewReader(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("not a packed chart: %w", err)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(zip, maxChart+1))
	if err != nil {
		return nil, fmt.Errorf("not a packed chart: %w", err)
	}
	if n > maxChart {
		return nil, fmt.Errorf("the chart is larger than %d MiB when unpacked", maxChart>>20)
	}
	loaded, err := loader.LoadArchiveFiles(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var out []file
	for _, f := range loaded {
		if err := b.take(len(f.Data)); err != nil {
			return nil, err
		}
		out = append(out, file{name: prefix + f.Name, path: filepath.Join(shown, filepath.FromSlash(f.Name)), text: f.Data})
	}
	return unpackAll(out, b, depth)
}

// readValues reads a values file.
func readValues(name string) ([]byte, error) {
	if strings.Contains(name, "://") {
		return nil, fmt.Errorf("%s: values are read from files only, nothing is fetched", name)
	}
	return readBounded(name, maxFile)
}

func readBounded(name string, limit int) ([]byte, error) {
	f, err := os.Open(name) //nolint:gosec // G304: the user names the file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	text, err := io.ReadAll(io.LimitReader(f, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if len(text) > limit {
		return nil, fmt.Errorf("%s is larger than %d MiB", name, limit>>20)
	}
	return text, nil
}
