package content

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	yamlv3 "go.yaml.in/yaml/v3"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/posture/control"
)

// file is the form of a control's file.
type file struct {
	ID            string                 `yaml:"id"`
	Title         string                 `yaml:"title"`
	Severity      string                 `yaml:"severity"`
	Category      string                 `yaml:"category"`
	Why           string                 `yaml:"why"`
	Remediation   string                 `yaml:"remediation"`
	References    []string               `yaml:"references"`
	AppliesTo     AppliesTo              `yaml:"appliesTo"`
	Each          string                 `yaml:"each"`
	When          string                 `yaml:"when"`
	NotApplicable string                 `yaml:"notApplicable"`
	Check         string                 `yaml:"check"`
	Message       string                 `yaml:"message"`
	Field         string                 `yaml:"field"`
	Flag          string                 `yaml:"flag"`
	Parameters    map[string]yamlv3.Node `yaml:"parameters"`
	Fix           []struct {
		Field  string      `yaml:"field"`
		Value  yamlv3.Node `yaml:"value"`
		Remove bool        `yaml:"remove"`
	} `yaml:"fix"`
	Examples struct {
		Pass []yamlv3.Node `yaml:"pass"`
		Fail []struct {
			Want   []string    `yaml:"want"`
			Object yamlv3.Node `yaml:"object"`
		} `yaml:"fail"`
		Skip []yamlv3.Node `yaml:"skip"`
	} `yaml:"examples"`
}

// Load reads and compiles all controls below a folder: every file that ends in
// .yaml or .yml. It gives those that are right, by id, and all errors of the others.
func Load(fsys fs.FS) ([]*Control, error) {
	var out []*Control
	var errs []error
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if ext := path.Ext(name); ext != ".yaml" && ext != ".yml" {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return fmt.Errorf("read control %s: %w", name, err)
		}
		c, err := Parse(name, text)
		if err != nil {
			errs = append(errs, err)
			return nil
		}
		if i := slices.IndexFunc(out, func(o *Control) bool { return o.ID == c.ID }); i >= 0 {
			errs = append(errs, fmt.Errorf("%s:%d: the id %q is that of %s too", name, c.line("id"), c.ID, out[i].File))
			return nil
		}
		out = append(out, c)
		return nil
	})
	slices.SortFunc(out, func(a, b *Control) int { return strings.Compare(a.ID, b.ID) })
	return out, errors.Join(append(errs, err)...)
}

// Parse reads and compiles one control. name is its file: the base must be its id,
// and the folder, if there is one, its category.
func Parse(name string, text []byte) (*Control, error) {
	var f file
	c, err := read(name, text, &f)
	if err != nil {
		return nil, err
	}
	if err := c.examples(&f); err != nil {
		return nil, err
	}
	if _, err := c.code(); err != nil {
		return nil, err
	}
	return c, nil
}

// Shipped is Parse for the catalog's own controls, which the tests have parsed:
// expressions are compiled when an object first needs them, which takes the most
// time of a small scan, and there are no examples. One that does not compile after
// all gives unknown.
func Shipped(name string, text []byte) (*Control, error) { return read(name, text, &file{}) }

func read(name string, text []byte, f *file) (*Control, error) {
	dec := yamlv3.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(f); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := dec.Decode(new(yamlv3.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: one file is one control: a second document follows", name)
	}
	c := &Control{
		meta: control.Meta{ID: f.ID, Title: f.Title, Category: f.Category, Why: f.Why, Remediation: f.Remediation, References: f.References},
		File: name, AppliesTo: f.AppliesTo, Each: f.Each, When: f.When, NotApplicable: f.NotApplicable,
		Check: f.Check, Message: f.Message, Field: f.Field, Flag: f.Flag, text: text,
	}
	if err := c.describe(f); err != nil {
		return nil, err
	}
	if err := c.values(f); err != nil {
		return nil, err
	}
	c.memo, c.code = newMemo(), sync.OnceValues(c.compileAll)
	c.passes = []control.Result{{Verdict: bulwark.VerdictPass}}
	c.skips = []control.Result{{Verdict: bulwark.VerdictNotApplicable, Reason: c.NotApplicable}}
	return c, nil
}

// lines gives the line of each field of the file's mapping.
func lines(text []byte) map[string]int {
	out := map[string]int{}
	var doc yamlv3.Node
	if yamlv3.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 {
		return out
	}
	for i := 0; i+1 < len(doc.Content[0].Content); i += 2 {
		out[doc.Content[0].Content[i].Value] = doc.Content[0].Content[i].Line
	}
	return out
}

// line gives where a field stands, or 1.
func (c *Control) line(field string) int { return max(1, lines(c.text)[field]) }

func (c *Control) errorf(field, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %s: %w", c.File, c.line(field), field, fmt.Errorf(format, args...))
}

var idForm = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`) //nolint:gochecknoglobals // constant

// describe checks what says who the control is and what it is for.
func (c *Control) describe(f *file) error {
	for _, m := range []struct{ field, value string }{
		{"id", f.ID},
		{"title", f.Title},
		{"severity", f.Severity},
		{"category", f.Category},
		{"why", f.Why},
		{"remediation", f.Remediation},
		{"check", f.Check},
		{"message", f.Message},
	} {
		if strings.TrimSpace(m.value) == "" {
			return c.errorf(m.field, "it is missing")
		}
	}
	base := path.Base(c.File)
	if want := strings.TrimSuffix(base, path.Ext(base)); c.ID != want {
		return c.errorf("id", "%q stands in a file of another name, %s", c.ID, base)
	}
	if !idForm.MatchString(c.ID) {
		return c.errorf("id", "%q must be words of small letters and digits with dashes between", c.ID)
	}
	if dir := path.Base(path.Dir(c.File)); dir != "." && dir != "/" && dir != c.Category {
		return c.errorf("category", "%q stands in the folder of another, %s", c.Category, dir)
	}
	var err error
	if c.Severity, err = bulwark.ParseSeverity(f.Severity); err != nil {
		return c.errorf("severity", "%w", err)
	}
	if (c.When == "") != (c.NotApplicable == "") {
		return c.errorf("when", "when and notApplicable come together")
	}
	a, n := c.AppliesTo, 0
	for _, is := range []bool{a.Pods, len(a.Kinds) > 0, a.Component != ""} {
		if is {
			n++
		}
	}
	if n != 1 {
		return c.errorf("appliesTo", "give one of pods, kinds and component")
	}
	for _, k := range a.Kinds {
		if k.Kind == "" {
			return c.errorf("appliesTo", "a kind has no name")
		}
	}
	return c.scopes()
}

// scopes reads each and the paths.
func (c *Control) scopes() error {
	each, err := parsePath(c.Each)
	if err != nil {
		return c.errorf("each", "%w", err)
	}
	c.scope = ScopeObject
	if len(each) > 0 {
		c.scope, c.list = ScopeObjectList, each
		switch of := each[0].field; {
		case of == "pod" && len(each) == 1:
			c.scope = ScopePod
		case of == "container" && len(each) == 1:
			c.scope = ScopeContainer
		case of == "pod":
			c.scope, c.list = ScopePodList, each[1:]
		case of == "container":
			c.scope, c.list = ScopeContainerList, each[1:]
		}
		for _, s := range each {
			if s.index >= 0 {
				return c.errorf("each", "a number in the path of a list: use [] for all of its elements")
			}
		}
		if each[0].all || c.scope >= ScopeObjectList && c.list[0].all {
			return c.errorf("each", "the path begins with []")
		}
		if last := each[len(each)-1]; c.scope >= ScopeObjectList && !last.all {
			c.list = append(slices.Clip(c.list), step{index: -1, all: true})
		}
	}
	if err := relative(c.Field); err != nil {
		return c.errorf("field", "%w", err)
	}
	if c.Flag != "" && (c.AppliesTo.Component == "" || c.scope != ScopeContainer || c.Field != "") {
		return c.errorf("flag", "only a control for a component, each container, without a field, can name one")
	}
	return nil
}

// relative checks a path below a part, which has no [].
func relative(text string) error {
	steps, err := parsePath(text)
	if err != nil {
		return err
	}
	for _, s := range steps {
		if s.all {
			return fmt.Errorf("path %q: [] names no element", text)
		}
	}
	return nil
}

// values reads what are JSON values: parameters and fixes.
func (c *Control) values(f *file) error {
	c.Parameters = map[string]any{}
	for name, n := range f.Parameters {
		v, err := value(&n)
		if err != nil || v == nil {
			return c.errorf("parameters", "%s has no default that can be read", name)
		}
		c.Parameters[name] = v
	}
	c.params = c.Parameters
	for _, e := range f.Fix {
		fix := Fix{Field: e.Field, Remove: e.Remove}
		if err := relative(e.Field); err != nil {
			return c.errorf("fix", "%w", err)
		}
		if e.Remove == (e.Value.Kind != 0) {
			return c.errorf("fix", "%q needs value or remove: true", e.Field)
		}
		if !e.Remove {
			v, err := value(&e.Value)
			if err != nil {
				return c.errorf("fix", "%q: %w", e.Field, err)
			}
			fix.Value = v
		}
		if e.Field == "" && (c.scope < ScopeObjectList || !e.Remove) {
			return c.errorf("fix", "a field is missing: only an element of a list can be removed as a whole")
		}
		c.Fix = append(c.Fix, fix)
	}
	return nil
}

func (c *Control) examples(f *file) error {
	var err error
	if c.Examples.Pass, err = objects(f.Examples.Pass); err != nil {
		return c.errorf("examples", "%w", err)
	}
	if c.Examples.Skip, err = objects(f.Examples.Skip); err != nil {
		return c.errorf("examples", "%w", err)
	}
	for _, e := range f.Examples.Fail {
		o, err := objects([]yamlv3.Node{e.Object})
		if err != nil {
			return c.errorf("examples", "%w", err)
		}
		c.Examples.Fail = append(c.Examples.Fail, FailExample{Want: e.Want, Object: o[0]})
	}
	if len(c.Examples.Pass) == 0 || len(c.Examples.Fail) == 0 {
		return c.errorf("examples", "there must be one that passes and one that fails")
	}
	return nil
}

// value reads a node as the API server reads YAML: through JSON.
func value(n *yamlv3.Node) (any, error) {
	text, err := yamlv3.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", n.Line, err)
	}
	if text, err = yaml.YAMLToJSON(text); err != nil {
		return nil, fmt.Errorf("line %d: %w", n.Line, err)
	}
	var out any
	if err := utiljson.Unmarshal(text, &out); err != nil {
		return nil, fmt.Errorf("line %d: %w", n.Line, err)
	}
	return out, nil
}

func objects(nodes []yamlv3.Node) ([]map[string]any, error) {
	var out []map[string]any
	for i := range nodes {
		v, err := value(&nodes[i])
		if err != nil {
			return nil, err
		}
		o, ok := v.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("line %d: an example is no object", nodes[i].Line)
		}
		out = append(out, o)
	}
	return out, nil
}

// compileAll compiles the expressions.
func (c *Control) compileAll() (*code, error) {
	out := &code{}
	for _, p := range []struct {
		field, text string
		result      *cel.Type
		into        **program
	}{{"when", c.When, cel.BoolType, &out.when}, {"check", c.Check, cel.BoolType, &out.check}, {"message", c.Message, cel.StringType, &out.msg}} {
		if p.text == "" {
			continue
		}
		compiled, err := c.compile(p.text, p.result, out)
		if err != nil {
			return nil, c.errorf(p.field, "%w", err)
		}
		*p.into = compiled
	}
	switch c.scope { // the lists are read too, and the names of what is in them
	case ScopePodList:
		out.reads.pod |= bit(podFields, c.list[0].field)
	case ScopeContainerList:
		out.reads.container |= bit(containerFields, c.list[0].field)
	case ScopeObjectList:
		out.reads.unknown = true
	case ScopeObject, ScopePod, ScopeContainer:
	}
	return out, nil
}

// like gives v as a value of the type of was, and whether it is one. Whole numbers
// from a flag or a file are int64, as in CEL.
func like(was, v any) (any, bool) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, false
	}
	var out any
	if err := utiljson.Unmarshal(text, &out); err != nil {
		return nil, false
	}
	if n, ok := out.(int64); ok {
		if _, float := was.(float64); float {
			return float64(n), true
		}
	}
	return out, typeName(was) == typeName(out)
}

func typeName(v any) string {
	switch v.(type) {
	case string:
		return "string"
	case bool:
		return "bool"
	case int64:
		return "whole number"
	case float64:
		return "number"
	case []any:
		return "list"
	case map[string]any:
		return "object"
	}
	return "null"
}
