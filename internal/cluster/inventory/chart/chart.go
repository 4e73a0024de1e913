// Package chart renders a Helm chart, a folder or a packed one, in memory and
// reads the objects that it makes. Nothing is fetched: a dependency must lie in
// the chart's charts folder, a schema may not refer to another address, lookup
// finds nothing and names are not resolved.
//
// A template is a program. Loops and texts of a size that stands in the template
// are refused, but one that reckons a huge size, or a value that holds itself, can
// still use up memory, time and the stack: charts of strangers are rendered in
// another process, see Options.Apart.
package chart

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// Options are what a user says beside the chart.
type Options struct {
	// ValuesFiles are read in order, a later one wins; Set, as "a.b=c", wins over
	// all of them. SetString is like Set and takes every value as text.
	ValuesFiles    []string
	Set, SetString []string
	// ReleaseName defaults to the chart's name, Namespace to "default". Where it is
	// given, objects that name no namespace are in it.
	ReleaseName, Namespace string
	// KubeVersion is what .Capabilities.KubeVersion says, as "1.34". Default: the
	// newest that the chart allows.
	KubeVersion string
	// APIVersions are added to those of Kubernetes itself in
	// .Capabilities.APIVersions.
	APIVersions []string
	// Apart has a job done by Work in a process that may come to harm. nil: it is
	// done in this one, for charts that are trusted.
	Apart func(job []byte) ([]byte, error)
}

// Is reports whether path is a chart: a folder with a Chart.yaml, or a gzipped
// file whose name ends as a packed chart's.
func Is(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return false
	}
	if info.IsDir() {
		file, err := os.Stat(filepath.Join(path, "Chart.yaml"))
		return err == nil && file.Mode().IsRegular()
	}
	if !info.Mode().IsRegular() || (!strings.HasSuffix(path, ".tgz") && !strings.HasSuffix(path, ".tar.gz")) {
		return false
	}
	f, err := os.Open(path) //nolint:gosec // G304: the user names the file
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 3)
	_, err = f.Read(head)
	return err == nil && string(head) == "\x1f\x8b\x08"
}

// Packed reports whether a file is a packed chart by what is in it.
func Packed(file string) bool {
	f, err := os.Open(file) //nolint:gosec // G304: the user names the file, or its folder
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // read only
	zip, err := gzip.NewReader(f)
	if err != nil {
		return false
	}
	const most, files = 8 << 20, 200 // a chart's own files come first
	in := tar.NewReader(io.LimitReader(zip, most))
	for range files {
		head, err := in.Next()
		if err != nil {
			return false
		}
		if _, name, ok := strings.Cut(head.Name, "/"); ok && name == "Chart.yaml" {
			return true
		}
	}
	return false
}

// Render renders the chart at path. Hooks and tests are objects like others, and
// keep their annotation; those of the crds folders are too. What cannot be
// rendered is a Problem, and the chart's other templates still count. An error
// means that the request cannot be met: no such chart or values file, or options
// that make no sense.
func Render(path string, opt Options) ([]*inventory.Object, []inventory.Problem, error) {
	c, err := Open(path, opt)
	if err != nil {
		return nil, nil, err
	}
	objects, problems := c.Render()
	return objects, problems, nil
}

// Chart is a chart with all its files and the options to render it with. It is
// safe for use by many goroutines.
type Chart struct {
	path     string
	opt      Options
	files    []file
	values   []ValuesFile
	problems []inventory.Problem
	broken   error
}

// ValuesFile is one that the user gave, or the chart's own, as it was read.
type ValuesFile struct {
	Path string
	Text []byte
}

// Open reads a chart and the values files. A chart that cannot be read is no
// error, but a Problem of Render.
func Open(path string, opt Options) (*Chart, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open a chart: %w", err)
	}
	c := &Chart{path: filepath.Clean(path), opt: opt}
	for _, name := range opt.ValuesFiles {
		text, err := readValues(name)
		if err != nil {
			return nil, fmt.Errorf("chart %s: read values: %w", path, err)
		}
		c.values = append(c.values, ValuesFile{Path: name, Text: text})
	}
	if _, err := c.given(nil); err != nil {
		return nil, fmt.Errorf("chart %s: %w", path, err)
	}
	if _, err := c.capabilities(""); err != nil {
		return nil, fmt.Errorf("chart %s: %w", path, err)
	}
	c.files, c.problems, c.broken = read(c.path)
	return c, nil
}

// Path gives the path of the chart as it was given.
func (c *Chart) Path() string { return c.path }

// Values gives the chart's own values.yaml, if it is a file that can be edited,
// and the files that the user gave, the weakest first.
func (c *Chart) Values() []ValuesFile {
	var out []ValuesFile
	for _, f := range c.files {
		if f.name == "values.yaml" && f.plain {
			out = append(out, ValuesFile{Path: f.path, Text: f.text})
		}
	}
	return append(out, c.values...)
}

// With gives the chart as it would be with another text in one values file, which
// is named by the path that Values gives.
func (c *Chart) With(path string, text []byte) (*Chart, error) {
	next := *c
	found := false
	next.files = append([]file(nil), c.files...)
	for i, f := range next.files {
		if f.path == path && f.name == "values.yaml" {
			next.files[i].text, found = text, true
		}
	}
	next.values = append([]ValuesFile(nil), c.values...)
	for i, f := range next.values {
		if f.Path == path {
			next.values[i].Text, found = text, true
		}
	}
	if !found {
		return nil, fmt.Errorf("chart %s: %s is no values file of it", c.path, path)
	}
	if _, err := next.given(nil); err != nil {
		return nil, fmt.Errorf("chart %s: %w", c.path, err)
	}
	return &next, nil
}

var errNotChart = errors.New("not a chart")
