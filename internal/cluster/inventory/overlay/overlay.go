// Package overlay builds a Kustomize folder in memory and reads the objects that
// it makes. Nothing is fetched and nothing is run: remote bases, plugins and
// Helm charts are Problems, and files are read from below their kustomization
// only, as Kustomize has it by default.
package overlay

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// Is reports whether path is a folder with a kustomization file.
func Is(path string) bool {
	_, ok := kustomization(path)
	return ok
}

// kustomization gives the path of a folder's kustomization file.
func kustomization(dir string) (string, bool) {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		at := filepath.Join(dir, name)
		if info, err := os.Stat(at); err == nil && info.Mode().IsRegular() {
			return at, true
		}
	}
	return "", false
}

// Render builds the folder. What cannot be built is a Problem; an error means that
// there is no such folder.
func Render(dir string) ([]*inventory.Object, []inventory.Problem, error) {
	o, err := Open(dir)
	if err != nil {
		return nil, nil, err
	}
	objects, problems := o.Render()
	return objects, problems, nil
}

// Overlay is a folder with a kustomization file. It is safe for use by many
// goroutines.
type Overlay struct {
	dir, abs string
	// over holds texts that stand for files, or are there without one, by
	// absolute path.
	over map[string][]byte
	// apart has a job done by Work in another process; nil: in this one.
	apart func(job []byte) ([]byte, error)
}

// Open finds the folder. It reads nothing yet.
func Open(dir string) (*Overlay, error) {
	if !Is(dir) {
		return nil, fmt.Errorf("build %s: no kustomization file in it", dir)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", dir, err)
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, fmt.Errorf("build %s: %w", dir, err)
	}
	return &Overlay{dir: filepath.Clean(dir), abs: abs}, nil
}

// Apart gives an overlay that is built by a job, which do has done by Work in a
// process that may come to harm: replacements can double a text over and over.
func (o *Overlay) Apart(do func(job []byte) ([]byte, error)) *Overlay {
	next := *o
	next.apart = do
	return &next
}

// Abs gives the absolute path of the folder, without links.
func (o *Overlay) Abs() string { return o.abs }

// Dir gives the folder as it was given.
func (o *Overlay) Dir() string { return o.dir }

// Kustomization gives the path of the folder's kustomization file.
func (o *Overlay) Kustomization() string {
	at, _ := kustomization(o.dir)
	return at
}

// With gives the overlay as it would be if files had other texts, or were there.
// The paths are as Locate gives them.
func (o *Overlay) With(texts map[string][]byte) *Overlay {
	next := &Overlay{dir: o.dir, abs: o.abs, over: maps.Clone(o.over), apart: o.apart}
	if next.over == nil {
		next.over = map[string][]byte{}
	}
	for at, text := range texts {
		if rel, err := filepath.Rel(o.dir, at); err == nil {
			next.over[filepath.Join(o.abs, rel)] = text
		}
	}
	return next
}

// Kustomize keeps the API's schema in a variable of its own that each build
// changes, so builds go one after the other.
var building sync.Mutex //nolint:gochecknoglobals // guards the library's own global

// Render builds the folder, see the function of that name.
func (o *Overlay) Render() ([]*inventory.Object, []inventory.Problem) {
	objects, problems, _ := o.RenderRead()
	return objects, problems
}

// RenderRead is Render that also gives the absolute paths of the files that the
// build read. It gives none where the build failed.
func (o *Overlay) RenderRead() ([]*inventory.Object, []inventory.Problem, []string) {
	b, err := o.made()
	if err != nil {
		return nil, []inventory.Problem{{Location: bulwark.Location{File: o.Kustomization()}, What: "it is not built: " + err.Error()}}, nil
	}
	if b.Failure != nil {
		return nil, []inventory.Problem{*b.Failure}, nil
	}
	tree := &tree{overlay: o, files: b.Read}
	var objects []*inventory.Object
	problems := b.Problems
	for _, r := range b.Objects {
		org := &Origin{tree: tree, raw: r.Text, source: o.within(r.From)}
		made, err := inventory.New(r.Text, org)
		if err != nil {
			problems = append(problems, inventory.Problem{Location: bulwark.Location{File: o.Kustomization()}, What: "an object cannot be read: " + err.Error()})
			continue
		}
		objects = append(objects, made)
	}
	return objects, problems, slices.Sorted(maps.Keys(b.Read))
}

// print builds the folder here.
func (o *Overlay) print() *made {
	disk := newDisk(o)
	m, err := o.build(disk)
	if disk.refused != nil {
		err = disk.refused
	}
	if err != nil {
		p := o.failure(disk, err)
		return &made{Failure: &p}
	}
	out := &made{Read: disk.read}
	for _, r := range m.Resources() {
		from, err := r.GetOrigin()
		if err == nil && disk.marked {
			err = r.SetOrigin(nil)
		}
		var next printed
		if err == nil {
			next.Text, err = r.MarshalJSON()
		}
		if err != nil {
			out.Problems = append(out.Problems, inventory.Problem{Location: bulwark.Location{File: o.Kustomization()}, What: "an object cannot be read: " + disk.hide(err.Error())})
			continue
		}
		if from != nil {
			if next.From = from.Path; next.From == "" {
				next.From = from.ConfiguredIn
			}
		}
		out.Objects = append(out.Objects, next)
	}
	return out
}

// within gives the absolute path of what a build names relative to the folder.
func (o *Overlay) within(path string) string {
	if path == "" {
		return ""
	}
	return filepath.Join(o.abs, filepath.FromSlash(path))
}

// shown gives the path of a file as the user would write it.
func (o *Overlay) shown(abs string) string {
	rel, err := filepath.Rel(o.abs, abs)
	if err != nil {
		return abs
	}
	return filepath.Join(o.dir, rel)
}

func (o *Overlay) build(disk *disk) (m resmap.ResMap, err error) {
	building.Lock()
	defer building.Unlock()
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("kustomize gave up: %v", r)
		}
	}()
	return krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, o.abs)
}

// failure tells why a build failed, and in which file where that is known. Paths
// are shown as the user gave them.
func (o *Overlay) failure(disk *disk, err error) inventory.Problem {
	p := inventory.Problem{Location: bulwark.Location{File: o.Kustomization()}}
	if r, ok := errors.AsType[*refusal](err); ok {
		p.Location = bulwark.Location{File: o.shown(r.file), Line: r.line}
		p.What = r.what
		return p
	}
	text := disk.hide(strings.Join(strings.Fields(err.Error()), " "))
	for at := range disk.read {
		if name := filepath.Base(at); strings.Contains(text, at) || (at != filepath.Join(o.abs, name) && strings.Contains(text, "'"+name+"'")) {
			p.Location.File = o.shown(at)
		}
	}
	text = strings.ReplaceAll(text, o.abs, o.dir)
	text = strings.ReplaceAll(text, filepath.Dir(o.abs), filepath.Dir(o.dir))
	if runes := []rune(text); len(runes) > 500 {
		text = string(runes[:500]) + "…"
	}
	p.What = "kustomize cannot build it: " + text
	return p
}
