package overlay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// What one build may read at most.
const (
	maxFile  = 10 << 20
	maxTotal = 200 << 20
	maxReads = 20_000
	maxKusts = 2_000 // kustomizations, each as often as it is named
)

var errReadOnly = errors.New("a build changes no files")

// disk is the file system that a build sees: the real one, read only, regular
// files only, bounded, with some texts replaced. Kustomize looks at addresses
// before it asks for files, so files that could name one are looked at here, when
// they are read.
type disk struct {
	filesys.FileSystem // on disk, for what only looks

	overlay *Overlay
	top     string // the folder that is built
	reads   int
	kusts   int
	bytes   int
	// read holds every file that was read, by absolute path.
	read map[string][]byte
	// linked are the files that a kustomization file leads to as a link.
	linked map[string]bool
	// marked says that the origins are our own wish, not the user's.
	marked bool
	// refused is the first thing that was not allowed.
	refused error
}

func newDisk(o *Overlay) *disk {
	return &disk{FileSystem: filesys.MakeFsOnDisk(), overlay: o, top: o.abs, read: map[string][]byte{}, linked: map[string]bool{}}
}

// Create, Mkdir, MkdirAll, RemoveAll and WriteFile refuse.
func (d *disk) Create(string) (filesys.File, error)  { return nil, errReadOnly }
func (d *disk) Mkdir(string) error                   { return errReadOnly }
func (d *disk) MkdirAll(string) error                { return errReadOnly }
func (d *disk) RemoveAll(string) error               { return errReadOnly }
func (d *disk) WriteFile(string, []byte) error       { return errReadOnly }
func (d *disk) Open(string) (filesys.File, error)    { return nil, errReadOnly }
func (d *disk) Walk(string, filepath.WalkFunc) error { return errReadOnly }

// Exists knows the replaced texts too.
func (d *disk) Exists(path string) bool {
	_, ok := d.overlay.over[path]
	return ok || d.FileSystem.Exists(path)
}

// CleanedAbs knows the replaced texts too. Kustomize asks it for each file that it
// is about to read, and then reads what a link leads to.
func (d *disk) CleanedAbs(path string) (filesys.ConfirmedDir, string, error) {
	if _, ok := d.overlay.over[path]; ok && !d.FileSystem.Exists(path) {
		return filesys.ConfirmedDir(filepath.Dir(path)), filepath.Base(path), nil
	}
	dir, name, err := d.FileSystem.CleanedAbs(path)
	if err == nil && name != "" && isKustomization(path) {
		d.linked[dir.Join(name)] = true
	}
	return dir, name, err
}

func isKustomization(path string) bool {
	return slices.Contains(konfig.RecognizedKustomizationFileNames(), filepath.Base(path))
}

// ReadFile reads a file and refuses the build if it names what may not be
// fetched or run.
func (d *disk) ReadFile(path string) ([]byte, error) {
	if d.refused != nil {
		return nil, d.refused
	}
	text, err := d.text(path)
	if err != nil {
		return nil, err
	}
	kust := isKustomization(path) || d.linked[path]
	d.reads++
	d.bytes += len(text)
	if kust {
		d.kusts++
	}
	if d.reads > maxReads || d.kusts > maxKusts || d.bytes > maxTotal {
		d.refused = &refusal{file: path, what: fmt.Sprintf("the build reads more than %d kustomizations, %d files or %d MiB: do they name each other over and over?", maxKusts, maxReads, maxTotal>>20)}
		return nil, d.refused
	}
	d.read[path] = text
	if err := guard(path, text, kust, d.IsDir); err != nil {
		d.refused = err
		return nil, err
	}
	if kust && filepath.Dir(path) == d.top {
		return d.mark(text), nil
	}
	return text, nil
}

func (d *disk) text(path string) ([]byte, error) {
	if text, ok := d.overlay.over[path]; ok {
		return text, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("no regular file")}
	}
	f, err := os.Open(path) //nolint:gosec // G304: the user's own folder, and Kustomize keeps files below it
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		d.refused = &refusal{file: path, what: fmt.Sprintf("is larger than %d MiB", maxFile>>20)}
		return nil, d.refused
	}
	return text, nil
}

// mark asks for the origin of each object, in memory only.
func (d *disk) mark(text []byte) []byte {
	const want = "originAnnotations"
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return text
	}
	root := doc.Content[0]
	var list *yaml.Node
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == "buildMetadata" {
			list = root.Content[i+1]
		}
	}
	if list == nil {
		list = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		root.Content = append(root.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: "buildMetadata"}, list)
	}
	if list.Kind != yaml.SequenceNode {
		return text
	}
	for _, e := range list.Content {
		if e.Value == want {
			return text
		}
	}
	list.Content = append(list.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: want})
	var out bytes.Buffer
	if err := yaml.NewEncoder(&out).Encode(&doc); err != nil {
		return text
	}
	d.marked = true
	return out.Bytes()
}
