package cluster

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"bulwark.dev/bulwark/internal/cluster/nodes"
)

//go:embed zz_generated.schema.json
var schemaText []byte

// schema is what an OpenAPI schema of a CRD demands beyond the Go type. Only
// the keywords that Gateway API uses are here.
type schema struct {
	Default              json.RawMessage    `json:"default"`
	Enum                 []json.RawMessage  `json:"enum"`
	Pattern              string             `json:"pattern"`
	MinLength            *int               `json:"minLength"`
	MaxLength            *int               `json:"maxLength"`
	Minimum              *int64             `json:"minimum"`
	Maximum              *int64             `json:"maximum"`
	MinItems             *int               `json:"minItems"`
	MaxItems             *int               `json:"maxItems"`
	UniqueItems          bool               `json:"uniqueItems"`
	MinProperties        *int               `json:"minProperties"`
	MaxProperties        *int               `json:"maxProperties"`
	Required             []string           `json:"required"`
	MapKeys              []string           `json:"x-kubernetes-list-map-keys"`
	Properties           map[string]*schema `json:"properties"`
	Items                *schema            `json:"items"`
	AdditionalProperties *schema            `json:"additionalProperties"`

	pattern  *regexp.Regexp
	enum     []string
	value    *yaml.Node // Default, parsed
	defaults []string   // the properties with a default, sorted
}

// schemas gives the schema of each Gateway API kind. The text is part of the
// program, so that a failure is a broken build and panics.
var schemas = sync.OnceValue(func() map[string]*schema {
	var doc struct {
		Kinds map[string]*schema `json:"kinds"`
	}
	if err := json.Unmarshal(schemaText, &doc); err != nil {
		panic(fmt.Errorf("embedded schema: %w", err))
	}
	patterns := map[string]*regexp.Regexp{}
	for _, s := range doc.Kinds {
		s.prepare(patterns)
	}
	return doc.Kinds
})

func (s *schema) prepare(patterns map[string]*regexp.Regexp) {
	if s == nil {
		return
	}
	if s.Pattern != "" {
		if patterns[s.Pattern] == nil {
			patterns[s.Pattern] = regexp.MustCompile(s.Pattern)
		}
		s.pattern = patterns[s.Pattern]
	}
	for _, e := range s.Enum {
		s.enum = append(s.enum, strings.Trim(string(e), `"`))
	}
	if s.Default != nil {
		roots, err := nodes.ParseJSON(s.Default)
		if err != nil {
			panic(fmt.Errorf("embedded schema: default %s: %w", s.Default, err))
		}
		s.value = roots[0]
	}
	for name, p := range s.Properties {
		p.prepare(patterns)
		if p.value != nil {
			s.defaults = append(s.defaults, name)
		}
	}
	slices.Sort(s.defaults)
	s.Items.prepare(patterns)
	s.AdditionalProperties.prepare(patterns)
}

func (s *schema) property(name string) *schema {
	if s == nil {
		return nil
	}
	return s.Properties[name]
}

func (s *schema) items() *schema {
	if s == nil {
		return nil
	}
	return s.Items
}

func (s *schema) additional() *schema {
	if s == nil {
		return nil
	}
	return s.AdditionalProperties
}

// checkString gives what s refuses about a string, or "".
func (s *schema) checkString(v string) string {
	if s == nil {
		return ""
	}
	n := utf8.RuneCountInString(v)
	switch {
	case s.enum != nil && !slices.Contains(s.enum, v):
		return fmt.Sprintf("%q is not one of %s%s", v, strings.Join(s.enum, ", "), didYouMean(v, s.enum))
	case s.MinLength != nil && n < *s.MinLength:
		return fmt.Sprintf("is too short; expected at least %d %s", *s.MinLength, plural(*s.MinLength, "character"))
	case s.MaxLength != nil && n > *s.MaxLength:
		return fmt.Sprintf("is %d characters long; expected at most %d", n, *s.MaxLength)
	case s.pattern != nil && !s.pattern.MatchString(v):
		return fmt.Sprintf("%q is not of the expected form: %s", v, describePattern(s.Pattern))
	}
	return ""
}

// checkInt gives what s refuses about a number, or "".
func (s *schema) checkInt(v int64) string {
	if s == nil {
		return ""
	}
	switch text := fmt.Sprint(v); {
	case s.enum != nil && !slices.Contains(s.enum, text):
		return fmt.Sprintf("%d is not one of %s", v, strings.Join(s.enum, ", "))
	case s.Minimum != nil && v < *s.Minimum, s.Maximum != nil && v > *s.Maximum:
		return fmt.Sprintf("%d is out of range; expected %s", v, bounds(s.Minimum, s.Maximum))
	}
	return ""
}

// checkCount gives what s refuses about the size of a list or map, or "".
func (s *schema) checkCount(n int) string {
	if s == nil {
		return ""
	}
	low, high := s.MinItems, s.MaxItems
	if s.MinProperties != nil || s.MaxProperties != nil {
		low, high = s.MinProperties, s.MaxProperties
	}
	if low != nil && n < *low || high != nil && n > *high {
		return fmt.Sprintf("has %d entries; expected %s", n, bounds(low, high))
	}
	return ""
}

func bounds[T int | int64](low, high *T) string {
	switch {
	case low == nil:
		return fmt.Sprintf("at most %d", *high)
	case high == nil:
		return fmt.Sprintf("at least %d", *low)
	default:
		return fmt.Sprintf("%d to %d", *low, *high)
	}
}

// describePattern puts the patterns that Gateway API uses most into words.
func describePattern(p string) string {
	const label = `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
	switch p {
	case `^` + label + `(\.` + label + `)*$`:
		return "lower-case letters, digits, - and ., beginning and ending with a letter or digit"
	case `^$|^` + label + `(\.` + label + `)*$`:
		return `empty, or lower-case letters, digits, - and .`
	case `^(\*\.)?` + label + `(\.` + label + `)*$`:
		return `a lower-case DNS name without port, "*." possible as its first label`
	case `^` + label + `$`:
		return "lower-case letters, digits and -, beginning and ending with a letter or digit"
	case `^([0-9]{1,5}(h|m|s|ms)){1,4}$`:
		return "a duration of h, m, s and ms, for example 10s or 1m30s"
	case "^[A-Za-z0-9!#$%&'*+\\-.^_\\x60|~]+$":
		return "a header or method name: letters, digits and !#$%&'*+-.^_`|~"
	case `^[!-~]+([\t ]?[!-~]+)*$`:
		return "printable ASCII, with single spaces inside"
	case `^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$`:
		return "letters, digits and -, beginning with a letter"
	default:
		return p
	}
}
