package app

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/posture"
	"bulwark.dev/bulwark/internal/posture/content"
	"bulwark.dev/bulwark/internal/posture/control"
	"bulwark.dev/bulwark/internal/posture/exception"
	"bulwark.dev/bulwark/internal/posture/framework"
	"bulwark.dev/bulwark/internal/posture/graph"
	"bulwark.dev/bulwark/internal/posture/leak"
	"bulwark.dev/bulwark/internal/posture/pss"
	"bulwark.dev/bulwark/internal/posture/vap"
)

// scanControls are the flags that choose what is judged.
type scanControls struct {
	frameworks []string
	only       []string
	dirs       []string
	parameters string
}

func (f *scanControls) add(fl *pflag.FlagSet) {
	fl.StringArrayVar(&f.frameworks, "framework", nil, "judge only by the controls of this framework, and say what it asks for; may be repeated")
	fl.StringArrayVar(&f.only, "control", nil, "judge only by this control; may be repeated")
	fl.StringArrayVar(&f.dirs, "controls", nil, "folder with controls of your own; may be repeated")
	fl.StringVar(&f.parameters, "parameters", "", "file with values for the parameters of controls")
}

// settings is the file of --parameters.
type settings struct {
	// Parameters are by control and name.
	Parameters map[string]map[string]any `yaml:"parameters"`
	// NotExceptable are controls whose findings no exception may cover.
	NotExceptable []string `yaml:"notExceptable"`
}

// controlSet is what a scan judges by.
type controlSet struct {
	single []control.Single
	joint  []graph.Check
	// onDemand are controls that run only where they are asked for: the Pod Security
	// Standards say again, in their authors' grouping, what controls of ours say.
	onDemand map[string]bool
	// all are the ids of every control that exists, whether it runs or not.
	all        map[string]bool
	never      []string
	frameworks []*framework.Framework
	// chosen says that the frameworks were asked for.
	chosen, partly bool
}

// builtin gives what Bulwark ships but for the files of the catalog, of which often
// one is wanted: those come by their paths.
func builtin() (*controlSet, map[string]string, error) {
	set := &controlSet{joint: graph.Checks(), onDemand: map[string]bool{}, all: map[string]bool{}}
	set.single = append(set.single, leak.Controls()...)
	standards, err := pss.Controls(pss.Options{})
	if err != nil {
		return nil, nil, fmt.Errorf("read the Pod Security Standards: %w", err)
	}
	for _, c := range standards {
		set.single = append(set.single, c)
		set.onDemand[c.Meta().ID] = true
	}
	if set.frameworks, err = framework.Load(catalog.Frameworks()); err != nil {
		return nil, nil, fmt.Errorf("read the catalog: %w", err)
	}
	files := map[string]string{}
	err = fs.WalkDir(catalog.Controls(), ".", func(name string, d fs.DirEntry, err error) error {
		if id, ok := strings.CutSuffix(path.Base(name), ".yaml"); ok && err == nil && !d.IsDir() {
			files[id] = name // the file of a control has its name
		}
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read the catalog: %w", err)
	}
	return set, files, nil
}

// load gives the controls that the flags ask for.
func (f *scanControls) load() (*controlSet, error) {
	set, files, err := builtin()
	if err != nil {
		return nil, err
	}
	for _, dir := range f.dirs {
		if err := set.addDir(dir); err != nil {
			return nil, fmt.Errorf("--controls %s: %w", dir, err)
		}
	}
	ids := append(set.ids(), slices.Collect(maps.Keys(files))...)
	for _, m := range exception.Controls() {
		ids = append(ids, m.ID)
	}
	for _, id := range ids {
		if set.all[id] {
			return nil, fmt.Errorf("there are two controls named %q", id)
		}
		set.all[id] = true
	}
	keep, err := set.choose(f)
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(files)) {
		if !keep(id) {
			continue
		}
		c, err := shipped(files[id])
		if err != nil {
			return nil, fmt.Errorf("read the catalog: %w", err)
		}
		set.single = append(set.single, c)
	}
	set.single = slices.DeleteFunc(set.single, func(c control.Single) bool { return !keep(c.Meta().ID) })
	set.joint = slices.DeleteFunc(set.joint, func(c graph.Check) bool { return !keep(c.ID) })
	if f.parameters != "" {
		if err := set.configure(f.parameters); err != nil {
			return nil, fmt.Errorf("--parameters %w", err)
		}
	}
	return set, nil
}

// compile compiles every control now: what runs for long must not find out later.
func (s *controlSet) compile() error {
	for _, c := range s.single {
		if c, ok := c.(*content.Control); ok {
			if err := c.Compile(); err != nil {
				return fmt.Errorf("read the catalog: %w", err)
			}
		}
	}
	return nil
}

// known are the controls of the catalog that were read, by file. They never change,
// and what they compiled is worth keeping where one process scans often.
var known sync.Map //nolint:gochecknoglobals // a cache of constants

// shipped gives a control of the catalog.
func shipped(file string) (*content.Control, error) {
	c, ok := known.Load(file)
	if !ok {
		text, err := fs.ReadFile(catalog.Controls(), file)
		if err != nil {
			return nil, err //nolint:wrapcheck // it names the file
		}
		read, err := content.Shipped(file, text)
		if err != nil {
			return nil, err //nolint:wrapcheck // it names the file
		}
		c, _ = known.LoadOrStore(file, read) // of two that were read at once one stays
	}
	return c.(*content.Control), nil //nolint:forcetypeassert // nothing else is put in
}

func (s *controlSet) ids() []string {
	var out []string
	for _, c := range s.single {
		out = append(out, c.Meta().ID)
	}
	for _, c := range s.joint {
		out = append(out, c.ID)
	}
	return out
}

func (s *controlSet) known(id string) bool { return s.all[id] }

func (s *controlSet) options() posture.Options {
	return posture.Options{Single: s.single, Joint: s.joint}
}

// addDir reads a user's controls.
func (s *controlSet) addDir(dir string) error {
	if info, err := os.Stat(dir); err != nil {
		return err //nolint:wrapcheck // it names the folder
	} else if !info.IsDir() {
		return errors.New("expected a folder")
	}
	policies, rest, err := vap.Load(os.DirFS(dir))
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	more, err := userControls(rest)
	if err != nil {
		return err
	}
	checks := policies.Checks()
	if len(more)+len(checks) == 0 {
		return errors.New("there is no control in it")
	}
	s.single, s.joint = append(s.single, more...), append(s.joint, checks...)
	return nil
}

func userControls(dir fs.FS) ([]control.Single, error) {
	own, err := content.Load(dir)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	out := make([]control.Single, 0, len(own))
	for _, c := range own {
		out = append(out, c)
	}
	return out, nil
}

// configure sets parameters and what may not be excepted.
func (s *controlSet) configure(file string) error {
	text, err := readBounded(file)
	if err != nil {
		return err
	}
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	dec.KnownFields(true)
	var set settings
	if err := dec.Decode(&set); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, id := range append(slices.Sorted(maps.Keys(set.Parameters)), set.NotExceptable...) {
		if !s.all[id] {
			return fmt.Errorf("%s: there is no control %q", file, id)
		}
	}
	s.never = set.NotExceptable
	for i, c := range s.single {
		id := c.Meta().ID
		values, ok := set.Parameters[id]
		if !ok {
			continue
		}
		with, ok := c.(*content.Control)
		if !ok {
			return fmt.Errorf("%s: control %s has no parameters", file, id)
		}
		if s.single[i], err = with.With(values); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	for _, c := range s.joint {
		if set.Parameters[c.ID] != nil {
			return fmt.Errorf("%s: control %s has no parameters", file, c.ID)
		}
	}
	return nil
}

// choose gives which controls and keeps the frameworks that were asked for.
func (s *controlSet) choose(f *scanControls) (keep func(id string) bool, err error) {
	wanted := map[string]bool{}
	if len(f.frameworks) > 0 {
		var chosen []*framework.Framework
		for _, id := range f.frameworks {
			i := slices.IndexFunc(s.frameworks, func(x *framework.Framework) bool { return x.ID == id })
			if i < 0 {
				return nil, fmt.Errorf("--framework %q: expected one of %s", id, strings.Join(s.frameworkIDs(), ", "))
			}
			chosen = append(chosen, s.frameworks[i])
			for _, c := range s.frameworks[i].Controls() {
				wanted[c] = true
			}
		}
		s.frameworks, s.chosen = chosen, true
	}
	for _, id := range f.only {
		if !s.all[id] {
			return nil, fmt.Errorf("--control %q: there is no such control%s", id, s.like(id))
		}
		wanted[id], s.partly = true, true
	}
	if len(wanted) == 0 {
		return func(id string) bool { return !s.onDemand[id] }, nil
	}
	return func(id string) bool { return wanted[id] }, nil
}

func (s *controlSet) frameworkIDs() []string {
	var out []string
	for _, f := range s.frameworks {
		out = append(out, f.ID)
	}
	return out
}

// like names controls whose ids hold what was typed.
func (s *controlSet) like(id string) string {
	var near []string
	for k := range s.all {
		if id != "" && strings.Contains(k, id) {
			near = append(near, k)
		}
	}
	slices.Sort(near)
	if len(near) == 0 {
		return "; docs/reference/controls.md lists them"
	}
	return "; do you mean " + strings.Join(near[:min(len(near), 5)], ", ") + "?"
}

// coverage says what the frameworks ask for. Of a framework with an edition for
// each few releases of Kubernetes, only the one for this cluster is shown unless
// they were asked for, else the newest.
func (s *controlSet) coverage(rep *posture.Report) []framework.Coverage {
	if s.partly && !s.chosen {
		return nil
	}
	newest := map[string]*framework.Framework{}
	for _, f := range s.frameworks {
		if have := newest[f.Title]; have == nil || f.Suits(rep.Facts.Version) && (!have.Suits(rep.Facts.Version) || framework.Newer(f.Version, have.Version)) {
			newest[f.Title] = f
		}
	}
	var out []framework.Coverage
	for _, f := range s.frameworks {
		if s.chosen || newest[f.Title] == f && !slices.ContainsFunc(f.Controls(), func(id string) bool { return s.onDemand[id] }) {
			out = append(out, framework.Assess(f, rep.Tallies))
		}
	}
	return out
}
