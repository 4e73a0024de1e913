package sigma

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// Item is one field, or the whole event where Field is "", and what its values are
// compared with.
type Item struct {
	Field     string
	Modifiers []string
	Line      int
	// All asks that every one of Values is met, by whichever value of the field; else
	// one of them is enough.
	All bool
	// Not turns the result around: no value of the field may meet one of Values.
	Not bool
	// Cased compares letters as they are. Else big and small are the same.
	Cased bool
	// Unit takes a part of a date before it is compared.
	Unit Unit

	Values []Value
}

// Value is one value as written, and the tests that it became: one must hold.
type Value struct {
	Written string
	Line    int
	Tests   []Test
}

// Kind is what a Test compares. The zero Kind is not valid.
type Kind uint8

// The kinds of tests.
const (
	KindPattern  Kind = iota + 1 // the text meets Pattern
	KindNumber                   // the text is the number Number
	KindCompare                  // the number stands in relation Op to Number
	KindNull                     // the field is absent or empty
	KindExists                   // the field is there, or not, as Bool says
	KindRegexp                   // Regexp matches somewhere in the text
	KindCIDR                     // the text is an address in Prefix
	KindFieldRef                 // the text stands to a value of the field Ref as Place says
)

// Test is one comparison.
type Test struct {
	Kind    Kind
	Pattern Pattern
	Number  Number
	Op      Relation
	Bool    bool
	Regexp  *regexp.Regexp
	Prefix  netip.Prefix
	Ref     string
	Place   Place
}

// Relation is how two numbers stand to each other.
type Relation string

// The relations.
const (
	Less           Relation = "lt"
	LessOrEqual    Relation = "lte"
	Greater        Relation = "gt"
	GreaterOrEqual Relation = "gte"
	Equal          Relation = "eq"
	NotEqual       Relation = "neq"
)

// Unit is a part of a date. The zero Unit is the value as it is.
type Unit string

// The units.
const (
	Minute Unit = "minute"
	Hour   Unit = "hour"
	Day    Unit = "day"
	Week   Unit = "week"
	Month  Unit = "month"
	Year   Unit = "year"
)

// Place is where in a text another must stand. The zero Place is all of it.
type Place string

// The places.
const (
	Start  Place = "startswith"
	End    Place = "endswith"
	Within Place = "contains"
)

// modifiers are the modifiers of the specification, as an error lists them.
func modifiers() []string {
	return []string{
		"all", "startswith", "endswith", "contains", "exists", "cased", "neq", "windash", "re", "i", "m", "s",
		"base64", "base64offset", "utf16le", "utf16be", "utf16", "wide", "lt", "lte", "gt", "gte",
		"minute", "hour", "day", "week", "month", "year", "cidr", "expand", "fieldref",
	}
}

// The bounds of an item.
const (
	maxModifiers = 10
	maxValues    = 10_000
	maxValue     = 16 << 10
	maxRegexp    = 4 << 10
)

// chain is the modifiers of an item, sorted by what they do.
type chain struct {
	item  *Item
	typ   string   // "", re, cidr, exists, fieldref or a relation
	steps []string // what changes a text, in its order
	flags string   // of re
	place Place    // of fieldref
}

// chainOf reads modifiers. Which come after which matters only for those that change
// texts, and for the flags of re and the places of fieldref.
func chainOf(item *Item) (*chain, error) {
	c := &chain{item: item}
	if len(item.Modifiers) > maxModifiers {
		return nil, fmt.Errorf("more than %d modifiers", maxModifiers)
	}
	for _, m := range item.Modifiers {
		switch m {
		case "all":
			item.All = true
		case "cased":
			item.Cased = true
		case "neq":
			item.Not = true
		case "i", "m", "s":
			if c.typ != "re" {
				return nil, fmt.Errorf("modifier %q is a flag of re and stands after it", m)
			}
			if !strings.Contains(c.flags, m) {
				c.flags += m
			}
		case "startswith", "endswith", "contains":
			if c.typ == "fieldref" {
				c.place = Place(m)
				continue
			}
			c.steps = append(c.steps, m)
		case "windash", "base64", "base64offset", "utf16le", "utf16be", "utf16", "wide", "expand":
			c.steps = append(c.steps, m)
		case "minute", "hour", "day", "week", "month", "year":
			if item.Unit != "" {
				return nil, fmt.Errorf("modifiers %q and %q: a date gives one part", item.Unit, m)
			}
			item.Unit = Unit(m)
		case "re", "cidr", "exists", "fieldref", "lt", "lte", "gt", "gte":
			if c.typ != "" {
				return nil, fmt.Errorf("modifiers %q and %q contradict each other", c.typ, m)
			}
			c.typ = m
		default:
			return nil, fmt.Errorf("modifier %q is unknown; there are %s", m, strings.Join(modifiers(), ", "))
		}
	}
	return c, c.agree()
}

// agree refuses modifiers that have no meaning together.
func (c *chain) agree() error {
	item := c.item
	switch {
	case c.typ != "" && len(c.steps) > 0 && c.typ == "fieldref":
		return fmt.Errorf("modifier %q changes texts and fieldref names a field; write fieldref|%s to compare parts of fields", c.steps[0], c.steps[0])
	case c.typ != "" && len(c.steps) > 0:
		return fmt.Errorf("modifiers %q and %q have no meaning together", c.steps[0], c.typ)
	case item.Unit != "" && (len(c.steps) > 0 || c.typ != "" && !slices.Contains([]string{"lt", "lte", "gt", "gte"}, c.typ)):
		return fmt.Errorf("modifier %q gives a number, which only lt, lte, gt, gte and neq compare", item.Unit)
	case item.All && item.Not:
		return fmt.Errorf("modifiers all and neq have no meaning together: neq is met when no value is equal")
	case c.typ == "exists" && (item.All || item.Not || item.Cased):
		return fmt.Errorf("modifier exists stands alone")
	case item.Field == "" && (c.typ != "" && c.typ != "re" || item.Not || item.Unit != ""):
		return fmt.Errorf("keywords are searched in the whole event: only all, re, cased and what changes texts apply")
	}
	return nil
}

// item reads a key of a search with its values.
func (r *reader) item(search string, key, value *yaml.Node) *Item {
	parts := strings.Split(key.Value, "|")
	item := &Item{Field: strings.TrimSpace(parts[0]), Modifiers: parts[1:], Line: key.Line}
	fail := func(n *yaml.Node, err error) *Item {
		r.fail(n, "search %q, %q: %w", search, key.Value, err)
		return nil
	}
	c, err := chainOf(item)
	if err != nil {
		return fail(key, err)
	}
	values := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode {
		values = value.Content
		if c.typ == "exists" {
			return fail(value, fmt.Errorf("exists takes true or false, no list"))
		}
	}
	switch {
	case len(values) == 0:
		return fail(value, fmt.Errorf("the list is empty; expected a value"))
	case len(values) > maxValues:
		return fail(value, fmt.Errorf("%d values; at most %d are read", len(values), maxValues))
	}
	for _, v := range values {
		if v.Kind != yaml.ScalarNode {
			return fail(v, fmt.Errorf("expected a value or a list of values"))
		}
		if len(v.Value) > maxValue {
			return fail(v, fmt.Errorf("a value of %d bytes; at most %d are read", len(v.Value), maxValue))
		}
		tests, err := c.tests(v)
		if err != nil {
			return fail(v, err)
		}
		item.Values = append(item.Values, Value{Written: v.Value, Line: v.Line, Tests: tests})
	}
	return item
}

// tests makes the tests of one value.
func (c *chain) tests(v *yaml.Node) ([]Test, error) {
	one := func(t Test) []Test { return []Test{t} }
	tag := v.ShortTag()
	switch c.typ {
	case "exists":
		var want bool
		if tag != "!!bool" || v.Decode(&want) != nil {
			return nil, fmt.Errorf("exists takes true or false, not %q", v.Value)
		}
		return one(Test{Kind: KindExists, Bool: want}), nil
	case "re":
		re, err := compileRegexp(v.Value, c.flags)
		return one(Test{Kind: KindRegexp, Regexp: re}), err
	case "cidr":
		prefix, err := parseCIDR(v.Value)
		return one(Test{Kind: KindCIDR, Prefix: prefix}), err
	case "fieldref":
		if tag != "!!str" || strings.TrimSpace(v.Value) == "" {
			return nil, fmt.Errorf("fieldref takes the name of a field, not %q", v.Value)
		}
		return one(Test{Kind: KindFieldRef, Ref: strings.TrimSpace(v.Value), Place: c.place}), nil
	case "lt", "lte", "gt", "gte":
		n, err := numberOf(v)
		return one(Test{Kind: KindCompare, Op: Relation(c.typ), Number: n}), err
	}
	if c.item.Unit != "" {
		n, err := numberOf(v)
		return one(Test{Kind: KindCompare, Op: Equal, Number: n}), err
	}
	if tag == "!!null" {
		if len(c.steps) > 0 || c.item.Field == "" {
			return nil, fmt.Errorf("null is no text: it stands for a field that is absent or empty, without modifiers")
		}
		return one(Test{Kind: KindNull}), nil
	}
	if (tag == "!!int" || tag == "!!float") && len(c.steps) == 0 && c.item.Field != "" {
		n, err := numberOf(v)
		return one(Test{Kind: KindNumber, Number: n}), err
	}
	if v.Value == "" && len(c.steps) == 0 && c.item.Field != "" {
		return one(Test{Kind: KindNull}), nil // an event has no empty values: they are absent ones
	}
	patterns, err := c.patterns(v.Value)
	if err != nil {
		return nil, err
	}
	var out []Test
	for _, p := range patterns {
		out = append(out, Test{Kind: KindPattern, Pattern: p})
	}
	return out, nil
}

func compileRegexp(text, flags string) (*regexp.Regexp, error) {
	if len(text) > maxRegexp {
		return nil, fmt.Errorf("a regular expression of %d bytes; at most %d are read", len(text), maxRegexp)
	}
	if flags != "" {
		text = "(?" + flags + ")" + text
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("the regular expression does not compile, look-around, back-references and possessive repeats do not exist here (RE2): %w", err)
	}
	return re, nil
}

func parseCIDR(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("%q is no network; expected one such as 10.0.0.0/8 or fd00::/8", text)
	}
	return netip.PrefixFrom(a, a.BitLen()), nil
}
