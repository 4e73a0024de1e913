// Package framework holds what the frameworks of package catalog ask for, and
// says of each requirement what the verdicts of a scan tell about it. A
// requirement is supported by evidence, never "complied with": that is for people.
package framework

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Evidence says what a control does for a requirement. The zero Evidence is not
// valid.
type Evidence string

// The kinds of evidence.
const (
	Enforces Evidence = "enforces" // Bulwark makes it so
	Detects  Evidence = "detects"  // a finding says where it is not so
	Informs  Evidence = "informs"  // it helps a person judge, and decides nothing
)

// Scope says how much of a requirement a control speaks of. The zero Scope is not
// valid.
type Scope string

// The scopes.
const (
	Full    Scope = "full"
	Partial Scope = "partial"
)

// Framework is one version of one framework.
type Framework struct {
	ID      string `yaml:"id"`
	Title   string `yaml:"title"`
	Version string `yaml:"version"`
	// Source is the address of the text, which belongs to its authors.
	Source string `yaml:"source"`
	// Kubernetes are the minors that it is for, as "1.33"; none: all.
	Kubernetes   []string      `yaml:"kubernetes"`
	Requirements []Requirement `yaml:"requirements"`
}

// Requirement is one thing that a framework asks for.
type Requirement struct {
	ID    string `yaml:"id"`
	Title string `yaml:"title"` // our own words
	Level int    `yaml:"level"` // 0 where the framework has no levels
	// Automatable says that something other than a person or a node's files can
	// tell.
	Automatable bool      `yaml:"automatable"`
	Controls    []Mapping `yaml:"controls"`
}

// Mapping is what one control says of a requirement.
type Mapping struct {
	ID       string   `yaml:"id"`
	Evidence Evidence `yaml:"evidence"`
	Scope    Scope    `yaml:"scope"`
	Why      string   `yaml:"why"`
}

// Load reads all frameworks of a folder, by id. Any mistake is an error: they are
// content of ours.
func Load(fsys fs.FS) ([]*Framework, error) {
	names, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list the frameworks: %w", err)
	}
	out := make([]*Framework, 0, len(names))
	for _, name := range names {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read framework: %w", err)
		}
		f, err := Parse(text)
		if err != nil {
			return nil, fmt.Errorf("framework %s: %w", name, err)
		}
		if f.ID != strings.TrimSuffix(path.Base(name), ".yaml") {
			return nil, fmt.Errorf("framework %s: its id is %q, not the file's name", name, f.ID)
		}
		out = append(out, f)
	}
	return out, nil
}

// Parse reads one framework.
func Parse(text []byte) (*Framework, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	f := &Framework{}
	if err := dec.Decode(f); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Framework) check() error {
	if f.ID == "" || f.Title == "" || f.Version == "" || len(f.Requirements) == 0 {
		return errors.New("id, title, version and requirements must be there")
	}
	seen := map[string]bool{}
	for i := range f.Requirements {
		r := &f.Requirements[i]
		if r.ID == "" || r.Title == "" {
			return fmt.Errorf("requirement %d has no id or no title", i+1)
		}
		if seen[r.ID] {
			return fmt.Errorf("requirement %s is there twice", r.ID)
		}
		seen[r.ID] = true
		if err := r.check(); err != nil {
			return fmt.Errorf("requirement %s: %w", r.ID, err)
		}
	}
	return nil
}

func (r *Requirement) check() error {
	if len(r.Controls) > 0 && !r.Automatable {
		return errors.New("has controls, and says that it is not automatable")
	}
	seen := map[string]bool{}
	for _, m := range r.Controls {
		switch {
		case m.ID == "" || m.Why == "":
			return errors.New("a control without id or why")
		case seen[m.ID]:
			return fmt.Errorf("control %s is there twice", m.ID)
		case !slices.Contains([]Evidence{Enforces, Detects, Informs}, m.Evidence):
			return fmt.Errorf("control %s: evidence %q is not enforces, detects or informs", m.ID, m.Evidence)
		case m.Scope != Full && m.Scope != Partial:
			return fmt.Errorf("control %s: scope %q is not full or partial", m.ID, m.Scope)
		}
		seen[m.ID] = true
	}
	return nil
}

// Controls gives the ids of all controls that the framework names, each once.
func (f *Framework) Controls() []string {
	var out []string
	for _, r := range f.Requirements {
		for _, m := range r.Controls {
			out = append(out, m.ID)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Suits reports whether the framework is for a version of Kubernetes, as
// "v1.33.2". One that names no minors suits all, and so does no version.
func (f *Framework) Suits(version string) bool {
	if version == "" || len(f.Kubernetes) == 0 {
		return true
	}
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return true
	}
	return slices.Contains(f.Kubernetes, parts[0]+"."+strings.TrimRight(parts[1], "+"))
}

// Newer reports whether version a comes after b, number by number.
func Newer(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		var m, n int
		if i < len(x) {
			m, _ = strconv.Atoi(x[i])
		}
		if i < len(y) {
			n, _ = strconv.Atoi(y[i])
		}
		if m != n {
			return m > n
		}
	}
	return false
}
