// Package exception reads exceptions (who accepts which finding, why and until
// when) and applies them to reports. Those that are expired, unused, too broad or
// not readable are findings themselves, which no exception can cover.
package exception

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
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

// How much one exception may hold, as the CRD has it: what it says is compared with
// every finding of its controls, and anybody who may write in a namespace writes
// exceptions there.
const (
	maxControls, maxObjects, maxFields, maxContainers, maxLabels = 256, 256, 64, 64, 32
	maxName, maxField, maxReason, maxExpires                     = 253, 1024, 4096, 64
)

// PostureException accepts the findings of some controls on some objects.
type PostureException struct {
	APIVersion string   `yaml:"apiVersion"`
	Kind       string   `yaml:"kind"`
	Metadata   Metadata `yaml:"metadata"`
	Spec       Spec     `yaml:"spec"`

	// at is where it is written.
	at      bulwark.Location
	expires time.Time
	// own says that it stands among what is judged, so that it covers objects of its
	// own namespace only; without a namespace those that have none.
	own bool
	// on is the object that it is an annotation of, copied says that a controller
	// took the annotation over from the object's owner.
	on     *inventory.Object
	copied bool
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

// Spec says what is excepted, by whom, why and until when. api/v1alpha1 has the same
// as the type of a CRD.
type Spec struct {
	// Controls are ids.
	Controls []string `yaml:"controls"`
	// Objects are those that it covers; any of them must match.
	Objects []Selector `yaml:"objects"`
	// Fields, where set, are the only ones that it covers; "*" stands for any text,
	// and "[*]" for one index or quoted key:
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
// any text, and upper and lower case differ.
type Selector struct {
	// Kind is one of any API group.
	Kind string `yaml:"kind"`
	// Namespace matches objects that have one, unless it is left out.
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
	var all struct {
		Spec yaml.Node `yaml:"spec"`
	}
	if err := yaml.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("not a PostureException: %w", err)
	}
	if err := onlyText(&all.Spec, "spec", map[*yaml.Node]bool{}); err != nil {
		return nil, err
	}
	return e, e.check()
}

// flag is what kubectl takes for true or false, besides what the decoder here does.
var flag = regexp.MustCompile(`^(?i:y|n|yes|no|on|off)$`)

// onlyText reports an error for a value that is no text. The decoder takes numbers
// as texts and nothing at all as an empty text, or as a Selector that matches
// everything; an API server refuses both.
func onlyText(n *yaml.Node, at string, seen map[*yaml.Node]bool) error {
	if seen[n] {
		return nil
	}
	seen[n] = true
	switch n.Kind {
	case yaml.AliasNode:
		return onlyText(n.Alias, at, seen)
	case yaml.ScalarNode:
		tag := n.ShortTag()
		if tag != "!!str" && tag != "!!timestamp" || n.Style == 0 && flag.MatchString(n.Value) {
			return fmt.Errorf("%s: expected a text; write it in quotes", at)
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			if err := onlyText(c, fmt.Sprintf("%s[%d]", at, i), seen); err != nil {
				return err
			}
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			value := n.Content[i+1]
			if value.Kind == yaml.ScalarNode && value.ShortTag() == "!!null" {
				continue // a field without value is one that is left out
			}
			if err := onlyText(value, at+"."+n.Content[i].Value, seen); err != nil {
				return err
			}
		}
	case yaml.DocumentNode: // never within one
	}
	return nil
}

func (e *PostureException) check() error {
	if e.APIVersion != APIVersion || e.Kind != Kind {
		return fmt.Errorf("is a %s of %s, not a %s of %s", e.Kind, e.APIVersion, Kind, APIVersion)
	}
	var err error
	if e.Metadata.Name == "" {
		err = errors.Join(err, errors.New("metadata.name is missing"))
	}
	if len(e.Spec.Controls) == 0 {
		err = errors.Join(err, errors.New("spec.controls: name the controls"))
	}
	if len(e.Spec.Objects) == 0 {
		err = errors.Join(err, errors.New("spec.objects: say which objects"))
	}
	return errors.Join(err, e.Spec.bounds(), e.answerable())
}

// bounds reports what is too much, and what is empty where a text must be.
func (s *Spec) bounds() error {
	var err error
	few := func(field string, n, most int) {
		if n > most {
			err = errors.Join(err, fmt.Errorf("%s: %d are more than %d", field, n, most))
		}
	}
	short := func(field, text string, most int) {
		if n := utf8.RuneCountInString(text); n > most {
			err = errors.Join(err, fmt.Errorf("%s: %d characters are more than %d", field, n, most))
		}
	}
	texts := func(field string, list []string, most, long int) {
		few(field, len(list), most)
		for i, t := range list {
			if short(fmt.Sprintf("%s[%d]", field, i), t, long); t == "" {
				err = errors.Join(err, fmt.Errorf("%s[%d] is empty", field, i))
			}
		}
	}
	texts("spec.controls", s.Controls, maxControls, maxName)
	texts("spec.fields", s.Fields, maxFields, maxField)
	texts("spec.containers", s.Containers, maxContainers, maxName)
	few("spec.objects", len(s.Objects), maxObjects)
	for i := range s.Objects {
		o, at := &s.Objects[i], fmt.Sprintf("spec.objects[%d]", i)
		short(at+".kind", o.Kind, maxName)
		short(at+".namespace", o.Namespace, maxName)
		short(at+".name", o.Name, maxName)
		few(at+".labels", len(o.Labels), maxLabels)
		for k, v := range o.Labels {
			short(fmt.Sprintf("%s.labels[%q]", at, k), v, maxName)
		}
	}
	return err
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
	for _, t := range []struct {
		name, text string
		most       int
	}{{"owner", e.Spec.Owner, maxName}, {"reason", e.Spec.Reason, maxReason}, {"expires", e.Spec.Expires, maxExpires}} {
		if n := utf8.RuneCountInString(t.text); n > t.most {
			err = errors.Join(err, fmt.Errorf("%s: %d characters are more than %d", t.name, n, t.most))
		}
	}
	until, ok := end(e.Spec.Expires)
	if !ok {
		err = errors.Join(err, fmt.Errorf("expires %.64q: write a day as 2027-01-31", e.Spec.Expires))
	}
	e.expires = until
	return err
}

// end gives the first moment at which an exception does not hold any more. Years
// before the first and after 9999 are none to CEL, with which the API server checks.
func end(text string) (time.Time, bool) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1), day.After(time.Time{})
	}
	moment, err := time.Parse(time.RFC3339, text)
	if err != nil || !moment.After(time.Time{}) || moment.UTC().Year() > 9999 {
		return time.Time{}, false
	}
	return moment, true
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
