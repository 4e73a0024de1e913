package detect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	yaml "go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark/internal/audit/detect/lint"
	"bulwark.dev/bulwark/internal/audit/detect/match"
	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

// own is Bulwark's own attribute of a rule.
type own struct {
	MinimumLevel string       `yaml:"minimumLevel"`
	Summary      string       `yaml:"summary"`
	Quiet        *bool        `yaml:"quiet"`
	Suppress     *ownSuppress `yaml:"suppress"`
	Tests        []ownTest    `yaml:"-"`
}

type ownSuppress struct {
	By  []string `yaml:"by"`
	For string   `yaml:"for"`
}

// ownTest is one of the tests of a rule; its events are JSON.
type ownTest struct {
	Name   string
	Alert  *bool
	events [][]byte
}

// readOwn reads the attribute bulwark, strictly: it is ours.
func (r *Rule) readOwn() error {
	n := r.source.Attributes["bulwark"]
	// The tests in it are most of a rule, and all of it is read here.
	delete(r.source.Attributes, "bulwark")
	if n == nil {
		var err error
		r.summary, err = parseSummary(defaultSummary)
		return err
	}
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%s:%d: rule %q: bulwark: %w", r.File, n.Line, r.Key, fmt.Errorf(format, args...))
	}
	rest, tests := split(n, "tests")
	text, err := yaml.Marshal(rest)
	if err != nil {
		return wrong("%w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&r.own); err != nil {
		return wrong("%w", err)
	}
	if r.own.MinimumLevel != "" && !slices.Contains(lint.Levels(), r.own.MinimumLevel) {
		return wrong("minimumLevel %q: expected one of %v", r.own.MinimumLevel, lint.Levels())
	}
	if r.own.Quiet != nil {
		r.Quiet = *r.own.Quiet
	}
	if r.own.Summary == "" {
		r.own.Summary = defaultSummary
	}
	if r.summary, err = parseSummary(r.own.Summary); err != nil {
		return wrong("summary: %w", err)
	}
	if s := r.own.Suppress; s != nil {
		span, err := sigma.ParseTimespan(s.For)
		if err != nil {
			return wrong("suppress.for: %w", err)
		}
		if len(s.By) == 0 {
			return wrong("suppress.by: it is empty; name the fields that make alerts alike")
		}
		r.Suppress = Suppress{By: s.By, For: span}
	}
	if tests == nil {
		return nil
	}
	if tests.Kind != yaml.SequenceNode {
		return wrong("tests: expected a list")
	}
	for i, t := range tests.Content {
		one, err := readTest(t)
		if err != nil {
			return fmt.Errorf("%s:%d: rule %q: bulwark.tests: %d, %q: %w", r.File, t.Line, r.Key, i+1, one.Name, err)
		}
		r.own.Tests = append(r.own.Tests, one)
	}
	return nil
}

// split takes a key out of a mapping. Tests are most of a file, and are read from
// their nodes; the rest is decoded strictly, for which it is written once more.
func split(n *yaml.Node, key string) (rest, value *yaml.Node) {
	out := *n
	out.Content = nil
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Kind == yaml.MappingNode && n.Content[i].Value == key {
			value = n.Content[i+1]
			continue
		}
		out.Content = append(out.Content, n.Content[i], n.Content[i+1])
	}
	if n.Kind != yaml.MappingNode {
		return n, nil
	}
	return &out, value
}

func readTest(n *yaml.Node) (ownTest, error) {
	var t ownTest
	var events []*yaml.Node
	if n.Kind != yaml.MappingNode {
		return t, errors.New("expected a mapping with name, alert and events")
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		switch key, v := n.Content[i].Value, n.Content[i+1]; key {
		case "name":
			t.Name = v.Value
		case "alert":
			if err := v.Decode(&t.Alert); err != nil {
				return t, fmt.Errorf("alert: %w", err)
			}
		case "events":
			events = v.Content
		default:
			return t, fmt.Errorf("%q is unknown; there are name, alert and events", key)
		}
	}
	switch {
	case t.Name == "":
		return t, errors.New("name is missing")
	case t.Alert == nil:
		return t, errors.New("alert is missing: true where the rule must alert, false where it must not")
	case len(events) == 0:
		return t, errors.New("events are missing")
	}
	for i, e := range events {
		v, err := jsonValue(e)
		if err != nil {
			return t, err
		}
		text, err := json.Marshal(v)
		if err != nil {
			return t, fmt.Errorf("event %d: %w", i+1, err)
		}
		t.events = append(t.events, text)
	}
	return t, nil
}

// jsonValue reads a node as JSON: dates are texts, and numbers stay as written.
func jsonValue(n *yaml.Node) (any, error) {
	if n.Kind == yaml.MappingNode {
		out := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			v, err := jsonValue(n.Content[i+1])
			if err != nil {
				return nil, err
			}
			out[n.Content[i].Value] = v
		}
		return out, nil
	}
	if n.Kind == yaml.SequenceNode {
		out := []any{}
		for _, c := range n.Content {
			v, err := jsonValue(c)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	}
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			return nil, fmt.Errorf("line %d: %w", n.Line, err)
		}
		return v, nil
	}
	return n.Value, nil
}

// named checks the fields that the attribute names.
func (l *loader) named(r *Rule) {
	for _, name := range r.Suppress.By {
		if _, err := match.ParseField(name); err != nil {
			l.fail(r.source, "bulwark.suppress.by: %w", err)
		}
	}
	var more []string
	if r.source.Correlation != nil {
		more = append(r.source.Correlation.GroupBy, "count", "first", "last")
	}
	for _, p := range r.summary {
		if p.field == "" || slices.Contains(more, p.field) {
			continue
		}
		if _, err := match.ParseField(p.field); err != nil {
			l.fail(r.source, "bulwark.summary: %w", err)
		}
	}
}
