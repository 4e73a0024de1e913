// Package exception reads exceptions (who accepts which finding, why and until
// when) and applies them to a report. Those that are expired, unused, too broad or
// not readable are findings themselves, which no exception can cover.
package exception

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark"
)

// The names of the object.
const (
	APIVersion = "bulwark.dev/v1alpha1"
	Kind       = "PostureException"
	// Prefix begins the annotations that are exceptions; the id of a control
	// follows.
	Prefix = "bulwark.dev/except."
)

// maxText bounds a file of exceptions: people write them.
const maxText = 4 << 20

// PostureException accepts the findings of some controls on some objects.
type PostureException struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   Metadata `yaml:"metadata"`
	Spec       Spec     `yaml:"spec"`

	// at is where it is written, on is the object that it is an annotation of.
	at      bulwark.Location
	on      *bulwark.ObjectRef
	expires time.Time
}

// Metadata names an exception.
type Metadata struct {
	Name string `yaml:"name"`
	// Namespace, where set, is the only one whose objects it may cover.
	Namespace   string            `yaml:"namespace"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
	// Rest is what an API server adds.
	Rest map[string]any `yaml:",inline"`
}

// Spec says what is excepted, by whom, why and until when.
type Spec struct {
	// Controls are ids.
	Controls []string `yaml:"controls"`
	// Objects are those that it covers; any of them must match.
	Objects []Selector `yaml:"objects"`
	// Fields, where set, are the only ones that it covers; "*" stands for any text:
	// "spec.template.spec.containers[*].image".
	Fields []string `yaml:"fields"`
	// Containers, where set, are the names of the only containers that it covers.
	Containers []string `yaml:"containers"`
	// Owner is who answers for it, Reason why it is so.
	Owner  string `yaml:"owner"`
	Reason string `yaml:"reason"`
	// Expires is the last day (UTC) that it holds, "2027-01-31", or a moment as RFC
	// 3339 has it.
	Expires string `yaml:"expires"`
}

// Selector chooses objects. What is left out matches all; "*" in a text stands for
// any text.
type Selector struct {
	Kind      string            `yaml:"kind"`
	Namespace string            `yaml:"namespace"`
	Name      string            `yaml:"name"`
	Labels    map[string]string `yaml:"labels"`
}

// Parse reads a file of exceptions: YAML documents, each a PostureException. A
// mistake anywhere is an error, as an exception that is not understood must not
// cover anything.
func Parse(file string, text []byte) ([]*PostureException, error) {
	if len(text) > maxText {
		return nil, fmt.Errorf("%s: %d bytes are too many for a file of exceptions", file, len(text))
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var out []*PostureException
	for n := 1; ; n++ {
		var node yaml.Node
		if err := dec.Decode(&node); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s: document %d: %w", file, n, err)
		}
		if empty(&node) {
			continue
		}
		e, err := decode(&node)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, node.Line, err)
		}
		e.at = bulwark.Location{File: file, Line: node.Content[0].Line, Column: node.Content[0].Column}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no PostureException", file)
	}
	return out, nil
}

func empty(n *yaml.Node) bool {
	return len(n.Content) == 0 || n.Content[0].Kind == yaml.ScalarNode && n.Content[0].Tag == "!!null"
}

// decode is strict. A node is written out and read again because only a decoder
// of text knows which fields are unknown.
func decode(n *yaml.Node) (*PostureException, error) {
	text, err := yaml.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return read(text)
}

func read(text []byte) (*PostureException, error) {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	e := &PostureException{}
	if err := dec.Decode(e); err != nil {
		return nil, fmt.Errorf("not a PostureException: %w", err)
	}
	return e, e.check()
}

func (e *PostureException) check() error {
	if e.APIVersion != APIVersion || e.Kind != Kind {
		return fmt.Errorf("is a %s of %s, not a %s of %s", e.Kind, e.APIVersion, Kind, APIVersion)
	}
	var err error
	if e.Metadata.Name == "" {
		err = errors.Join(err, errors.New("metadata.name is missing"))
	}
	if len(e.Spec.Controls) == 0 || slices.Contains(e.Spec.Controls, "") {
		err = errors.Join(err, errors.New("spec.controls: name the controls"))
	}
	if len(e.Spec.Objects) == 0 {
		err = errors.Join(err, errors.New("spec.objects: say which objects"))
	}
	return errors.Join(err, e.answerable())
}

// answerable asks for owner, reason and expiry.
func (e *PostureException) answerable() error {
	var err error
	if strings.TrimSpace(e.Spec.Owner) == "" {
		err = errors.Join(err, errors.New("owner: who answers for it?"))
	}
	if strings.TrimSpace(e.Spec.Reason) == "" {
		err = errors.Join(err, errors.New("reason: why is it so?"))
	}
	day, dayErr := time.Parse(time.DateOnly, e.Spec.Expires)
	moment, momentErr := time.Parse(time.RFC3339, e.Spec.Expires)
	switch {
	case dayErr == nil:
		e.expires = day.AddDate(0, 0, 1)
	case momentErr == nil:
		e.expires = moment
	default:
		err = errors.Join(err, fmt.Errorf("expires %q: write a day as 2027-01-31", e.Spec.Expires))
	}
	return err
}

// Name gives what findings call it.
func (e *PostureException) Name() string {
	if e.on != nil {
		return "annotation of " + e.on.String()
	}
	if e.Metadata.Namespace != "" {
		return e.Metadata.Namespace + "/" + e.Metadata.Name
	}
	return e.Metadata.Name
}

// broad says why it covers too much, or "".
func (e *PostureException) broad() string {
	for _, c := range e.Spec.Controls {
		if strings.Contains(c, "*") {
			return fmt.Sprintf("it names the controls %q, so it would cover those that do not exist yet", c)
		}
	}
	if e.on != nil {
		return ""
	}
	for i := range e.Spec.Objects {
		o := &e.Spec.Objects[i]
		if all(o.Name) && all(o.Namespace) && len(o.Labels) == 0 && e.Metadata.Namespace == "" {
			if all(o.Kind) {
				return "it covers every object of the cluster"
			}
			return "it covers every " + o.Kind + " of the cluster"
		}
	}
	return ""
}

// all reports whether a pattern matches every text.
func all(pattern string) bool { return strings.Trim(pattern, "*") == "" }

// covers reports whether it is about a finding, its expiry aside. labels are those
// of the finding's object.
func (e *PostureException) covers(f *bulwark.Finding, labels map[string]string) bool {
	if !slices.Contains(e.Spec.Controls, f.Control) {
		return false
	}
	if e.on != nil {
		return *e.on == f.Object
	}
	if e.Metadata.Namespace != "" && e.Metadata.Namespace != f.Object.Namespace {
		return false
	}
	if len(e.Spec.Containers) > 0 && !slices.Contains(e.Spec.Containers, f.Container) {
		return false
	}
	field := func(p string) bool { return match(p, f.Field) }
	if len(e.Spec.Fields) > 0 && !slices.ContainsFunc(e.Spec.Fields, field) {
		return false
	}
	return slices.ContainsFunc(e.Spec.Objects, func(s Selector) bool { return s.matches(f.Object, labels) })
}

func (s *Selector) matches(o bulwark.ObjectRef, labels map[string]string) bool {
	for k, v := range s.Labels {
		if have, ok := labels[k]; !ok || !match(v, have) {
			return false
		}
	}
	return (s.Kind == "" || match(s.Kind, o.Kind)) && (s.Namespace == "" || match(s.Namespace, o.Namespace)) && (s.Name == "" || match(s.Name, o.Name))
}

// match compares a text with a pattern in which "*" stands for any text. It takes
// time in proportion to the product of both lengths at worst.
func match(pattern, text string) bool {
	star, mark, p := -1, 0, 0
	for t := 0; t < len(text); {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && pattern[p] == text[t]:
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
