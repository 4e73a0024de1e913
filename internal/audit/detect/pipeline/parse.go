package pipeline

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	yaml "go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark/internal/audit/detect/sigma"
)

// file is the form of a pipeline's file.
type file struct {
	Name            string               `yaml:"name"`
	Priority        int                  `yaml:"priority"`
	Vars            map[string]yaml.Node `yaml:"vars"`
	Transformations []transformation     `yaml:"transformations"`
	// Left to those who convert rules to queries.
	AllowedBackends yaml.Node `yaml:"allowed_backends"`
}

type transformation struct {
	ID      string    `yaml:"id"`
	Type    string    `yaml:"type"`
	Mapping yaml.Node `yaml:"mapping"`
	Prefix  string    `yaml:"prefix"`
	Message string    `yaml:"message"`

	Category string `yaml:"category"`
	Product  string `yaml:"product"`
	Service  string `yaml:"service"`

	RuleConditions  []condition `yaml:"rule_conditions"`
	RuleCondOp      string      `yaml:"rule_cond_op"`
	RuleCondNot     bool        `yaml:"rule_cond_not"`
	ItemConditions  []condition `yaml:"detection_item_conditions"`
	ItemCondOp      string      `yaml:"detection_item_cond_op"`
	ItemCondNot     bool        `yaml:"detection_item_cond_not"`
	FieldConditions []condition `yaml:"field_name_conditions"`
	FieldCondOp     string      `yaml:"field_name_cond_op"`
	FieldCondNot    bool        `yaml:"field_name_cond_not"`
}

type condition struct {
	Type     string   `yaml:"type"`
	Category string   `yaml:"category"`
	Product  string   `yaml:"product"`
	Service  string   `yaml:"service"`
	Cond     string   `yaml:"cond"`
	Pattern  string   `yaml:"pattern"`
	Fields   []string `yaml:"fields"`
	Mode     string   `yaml:"mode"`
}

// Parse reads a pipeline.
func Parse(name string, text []byte) (*Pipeline, error) {
	docs, err := sigma.Documents(name, text)
	if err != nil {
		return nil, err
	}
	if len(docs) != 1 {
		return nil, fmt.Errorf("%s: a pipeline is one document; there are %d", name, len(docs))
	}
	var f file
	if err := strict(docs[0], &f); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	out := &Pipeline{Name: f.Name, Priority: f.Priority, Vars: map[string][]string{}}
	if out.Name == "" {
		out.Name = name
	}
	var errs []error
	for key, n := range f.Vars {
		values, err := texts(&n)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: vars.%s: %w", name, n.Line, key, err))
		}
		out.Vars[key] = values
	}
	for i, t := range f.Transformations {
		s, err := t.step()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: transformation %s of type %q: %w", name, t.label(i), t.Type, err))
			continue
		}
		out.steps = append(out.steps, *s)
	}
	return out, errors.Join(errs...)
}

// strict decodes and refuses unknown keys. A Node's own Decode cannot.
func strict(n *yaml.Node, into any) error {
	text, err := yaml.Marshal(n)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	return dec.Decode(into)
}

func (t *transformation) label(i int) string {
	if t.ID != "" {
		return strconv.Quote(t.ID)
	}
	return strconv.Itoa(i + 1)
}

func (t *transformation) step() (*step, error) {
	s := &step{typ: t.Type, prefix: t.Prefix, message: t.Message, logSource: sigma.LogSource{Category: t.Category, Product: t.Product, Service: t.Service}}
	switch t.Type {
	case "field_name_mapping", "field_name_prefix_mapping", "map_string":
		var err error
		if s.mapping, err = mapping(&t.Mapping); err != nil {
			return nil, err
		}
	case "field_name_prefix":
		if t.Prefix == "" {
			return nil, errors.New("prefix is missing")
		}
	case "drop_detection_item":
		if len(t.ItemConditions)+len(t.FieldConditions) == 0 {
			return nil, errors.New("without a condition on items or fields it would drop everything")
		}
	case "change_logsource":
		if s.logSource == (sigma.LogSource{}) {
			return nil, errors.New("expected category, product or service")
		}
	case "rule_failure":
		if t.Message == "" {
			return nil, errors.New("message is missing")
		}
	default:
		return nil, errors.New("the type is unknown; there are field_name_mapping, field_name_prefix_mapping, field_name_prefix, map_string, drop_detection_item, change_logsource and rule_failure")
	}
	return s, errors.Join(
		gather(&s.rule, t.RuleConditions, t.RuleCondOp, t.RuleCondNot, ruleCondition),
		gather(&s.item, t.ItemConditions, t.ItemCondOp, t.ItemCondNot, itemCondition),
		gather(&s.field, t.FieldConditions, t.FieldCondOp, t.FieldCondNot, fieldCondition),
	)
}

func gather[T any](into *conditions[T], from []condition, op string, not bool, compile func(condition) (func(T) bool, error)) error {
	switch op {
	case "", "and":
	case "or":
		into.any = true
	default:
		return fmt.Errorf("%q joins no conditions; expected and, or", op)
	}
	into.negate = not
	for _, c := range from {
		test, err := compile(c)
		if err != nil {
			return err
		}
		into.tests = append(into.tests, test)
	}
	return nil
}

func ruleCondition(c condition) (func(sigma.LogSource) bool, error) {
	if c.Type != "logsource" {
		return nil, fmt.Errorf("rule condition %q is unknown; there is logsource", c.Type)
	}
	if c.Category == "" && c.Product == "" && c.Service == "" {
		return nil, errors.New("rule condition logsource: expected category, product or service")
	}
	return func(l sigma.LogSource) bool {
		return (c.Category == "" || c.Category == l.Category) && (c.Product == "" || c.Product == l.Product) && (c.Service == "" || c.Service == l.Service)
	}, nil
}

func itemCondition(c condition) (func(*sigma.Item) bool, error) {
	switch c.Type {
	case "match_string":
		re, err := regexp.Compile(c.Pattern)
		if err != nil {
			return nil, fmt.Errorf("item condition match_string: %w", err)
		}
		if c.Cond != "all" && c.Cond != "any" {
			return nil, fmt.Errorf("item condition match_string: cond %q; expected any or all", c.Cond)
		}
		return matchString(re, c.Cond == "all"), nil
	case "is_null":
		return func(item *sigma.Item) bool {
			return !slices.ContainsFunc(item.Values, func(v sigma.Value) bool { return len(v.Tests) != 1 || v.Tests[0].Kind != sigma.KindNull })
		}, nil
	}
	return nil, fmt.Errorf("item condition %q is unknown; there are match_string and is_null", c.Type)
}

func fieldCondition(c condition) (func(string) bool, error) {
	if c.Type != "include_fields" && c.Type != "exclude_fields" {
		return nil, fmt.Errorf("field condition %q is unknown; there are include_fields and exclude_fields", c.Type)
	}
	include := c.Type == "include_fields"
	switch c.Mode {
	case "", "plain":
		return func(name string) bool { return slices.Contains(c.Fields, name) == include }, nil
	case "re":
		var all []*regexp.Regexp
		for _, text := range c.Fields {
			re, err := regexp.Compile("^(?:" + text + ")")
			if err != nil {
				return nil, fmt.Errorf("field condition %s: %w", c.Type, err)
			}
			all = append(all, re)
		}
		return func(name string) bool {
			return slices.ContainsFunc(all, func(re *regexp.Regexp) bool { return re.MatchString(name) }) == include
		}, nil
	}
	return nil, fmt.Errorf("field condition %s: mode %q; expected plain or re", c.Type, c.Mode)
}

// mapping reads a mapping of a text to one text or several.
func mapping(n *yaml.Node) (map[string][]string, error) {
	if n.Kind != yaml.MappingNode || len(n.Content) == 0 {
		return nil, errors.New("mapping: expected names and what they become")
	}
	out := map[string][]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		to, err := texts(n.Content[i+1])
		if err != nil {
			return nil, fmt.Errorf("mapping of %q: %w", n.Content[i].Value, err)
		}
		out[n.Content[i].Value] = to
	}
	return out, nil
}

func texts(n *yaml.Node) ([]string, error) {
	list := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		list = n.Content
	}
	var out []string
	for _, c := range list {
		if c.Kind != yaml.ScalarNode || c.ShortTag() == "!!null" {
			return nil, errors.New("expected a text or a list of texts")
		}
		out = append(out, c.Value)
	}
	if len(out) == 0 {
		return nil, errors.New("the list is empty")
	}
	return out, nil
}
