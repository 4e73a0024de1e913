package vap

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/cluster/inventory/manifest"
)

// maxFile bounds one file: people write them.
const maxFile = 4 << 20

// Load reads the policies and bindings in the YAML files of a folder. rest is the
// folder without the files that they are in, for whoever reads controls of another
// form.
func Load(fsys fs.FS) (set *Set, rest fs.FS, err error) {
	hidden := map[string]bool{}
	var objects []*inventory.Object
	var errs []error
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if ext := path.Ext(name); err != nil || d.IsDir() || ext != ".yaml" && ext != ".yml" {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Size() > maxFile {
			return err // whoever reads the rest says what is wrong with it
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if !bytes.Contains(text, []byte("ValidatingAdmissionPolicy")) {
			return nil
		}
		found, problems := manifest.Decode(name, text)
		if !slices.ContainsFunc(found, Is) {
			return nil // a control whose examples are policies
		}
		hidden[name] = true
		for _, p := range problems {
			errs = append(errs, fmt.Errorf("%s:%d: %s", name, p.Location.Line, p.What))
		}
		objects = append(objects, found...)
		return nil
	})
	if err = errors.Join(append(errs, err)...); err != nil {
		return nil, nil, err
	}
	set, err = NewSet(objects)
	return set, without{fsys, hidden}, err
}

// without is a folder of which some files are not shown.
type without struct {
	fs.FS
	hidden map[string]bool
}

// ReadDir is for fs.ReadDirFS.
func (w without) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := fs.ReadDir(w.FS, name)
	return slices.DeleteFunc(all, func(d fs.DirEntry) bool { return w.hidden[path.Join(name, d.Name())] }), err
}
