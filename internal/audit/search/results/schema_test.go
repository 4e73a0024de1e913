package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// schema is the extract of OCSF in testdata/ocsf, whose README says what it has.
type schema struct {
	Version    string
	Categories map[string]struct {
		Caption string
		UID     int
	}
	Events, Objects, Includes map[string]entry
	Dictionary                map[string]attribute
	Types                     map[string]struct {
		Type   string
		MaxLen int `json:"max_len"`
	}

	classes map[string]*shape // by class_uid
	objects map[string]*shape
}

// entry is an event, an object or a file that they include.
type entry struct {
	UID                        int
	Caption, Category, Extends string
	Attributes                 map[string]json.RawMessage
	Constraints                map[string][]string
}

type attribute struct {
	Requirement, Type, Profile, Sibling string
	IsArray                             bool `json:"is_array"`
	Enum                                map[string]struct{ Caption string }
}

// shape is an event or object with all that it extends and includes.
type shape struct {
	entry
	attributes map[string]attribute
}

func loadSchema() (*schema, error) {
	text, err := os.ReadFile("testdata/ocsf/schema.json")
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	s := schema{classes: map[string]*shape{}, objects: map[string]*shape{}}
	if err := dec.Decode(&s); err != nil {
		return nil, err
	}
	for name := range s.Objects {
		object, err := s.resolve(s.Objects, name)
		if err != nil {
			return nil, err
		}
		s.objects[name] = &object
	}
	for name := range s.Events {
		event, err := s.resolve(s.Events, name)
		if err != nil {
			return nil, err
		}
		if event.UID == 0 && name != "base_event" {
			continue // only there to be extended
		}
		category := s.Categories[event.Category]
		s.classify(&event, category.UID, or(category.Caption, "Uncategorized"))
		s.classes[strconv.Itoa(category.UID*1000+event.UID)] = &event
	}
	return &s, nil
}

// over is the attribute as it is said again, further from the dictionary.
func (a attribute) over(said attribute) attribute {
	a.Requirement, a.Type = or(said.Requirement, a.Requirement), or(said.Type, a.Type)
	a.Profile, a.Sibling = or(said.Profile, a.Profile), or(said.Sibling, a.Sibling)
	a.IsArray = a.IsArray || said.IsArray
	if len(said.Enum) > 0 {
		enum := maps.Clone(a.Enum)
		if enum == nil {
			enum = map[string]struct{ Caption string }{}
		}
		maps.Copy(enum, said.Enum)
		a.Enum = enum
	}
	return a
}

// resolve finds an event or object, and puts what it extends and includes into it.
func (s *schema) resolve(of map[string]entry, name string) (shape, error) {
	e, ok := of[name]
	if !ok {
		return shape{}, fmt.Errorf("the extract has no %s", name)
	}
	out := shape{entry: e, attributes: map[string]attribute{}}
	if e.Extends != "" {
		parent, err := s.resolve(of, e.Extends)
		if err != nil {
			return out, fmt.Errorf("%s: %w", name, err)
		}
		out.attributes = parent.attributes
		out.Category = or(e.Category, parent.Category)
		if e.Constraints == nil {
			out.Constraints = parent.Constraints
		}
	}
	return out, s.add(&out, e.Attributes)
}

func (s *schema) add(to *shape, attributes map[string]json.RawMessage) error {
	var files []string
	if list, ok := attributes["$include"]; ok {
		if err := json.Unmarshal(list, &files); err != nil {
			return err
		}
	}
	for _, file := range files {
		included, ok := s.Includes[file]
		switch {
		case strings.HasPrefix(file, "profiles/"): // the export uses none
		case !ok:
			return fmt.Errorf("the extract has no %s", file)
		default:
			if err := s.add(to, included.Attributes); err != nil {
				return err
			}
		}
	}
	for name, raw := range attributes {
		if name == "$include" {
			continue
		}
		var said attribute
		if err := json.Unmarshal(raw, &said); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		before, ok := to.attributes[name]
		if !ok {
			before = s.Dictionary[name]
		}
		to.attributes[name] = before.over(said)
	}
	return nil
}

// check holds a line to the schema, and counts the attributes that it looked at.
func (s *schema) check(line []byte) (looked int, err error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var record map[string]any
	if err := dec.Decode(&record); err != nil {
		return 0, err
	}
	event, ok := s.classes[fmt.Sprint(record["class_uid"])]
	if !ok {
		return 0, fmt.Errorf("OCSF has no class %v", record["class_uid"])
	}
	c := checker{schema: s}
	c.object("", event, record)
	return c.looked, errors.Join(c.problems...)
}

// classify gives the numbers of a class their values: each event has those of its own.
func (s *schema) classify(event *shape, category int, categoryCaption string) {
	one := func(name string, id int, caption string) {
		a := event.attributes[name]
		a.Enum = map[string]struct{ Caption string }{strconv.Itoa(id): {caption}}
		event.attributes[name] = a
	}
	class := category*1000 + event.UID
	one("category_uid", category, categoryCaption)
	one("class_uid", class, event.Caption)
	types := event.attributes["type_uid"]
	types.Enum = map[string]struct{ Caption string }{}
	for id, activity := range event.attributes["activity_id"].Enum {
		n, _ := strconv.Atoi(id)
		types.Enum[strconv.Itoa(class*100+n)] = struct{ Caption string }{event.Caption + ": " + activity.Caption}
	}
	event.attributes["type_uid"] = types
}

type checker struct {
	schema   *schema
	problems []error
	looked   int
}

func (c *checker) fail(path, format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
}

func (c *checker) object(path string, of *shape, members map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(members)) {
		a, known := of.attributes[name]
		at := path + "/" + name
		switch {
		case !known:
			c.fail(at, "no attribute of %s", or(of.Caption, path))
		case a.Profile != "":
			c.fail(at, "is of the profile %s, which the record does not name", a.Profile)
		case name == "profiles":
			c.fail(at, "the extract has no profiles")
		case a.IsArray:
			c.array(at, a, members[name])
		default:
			c.value(at, a, members[name])
		}
		c.enum(at, a, members[name], members[a.Sibling], name == "type_uid" && fmt.Sprint(members["activity_id"]) == "99")
	}
	for name, a := range of.attributes {
		if _, ok := members[name]; !ok && a.Requirement == "required" {
			c.fail(path, "needs %s", name)
		}
	}
	c.constraints(path, of.Constraints, members)
	if path == "" {
		class, _ := strconv.Atoi(fmt.Sprint(members["class_uid"]))
		activity, _ := strconv.Atoi(fmt.Sprint(members["activity_id"]))
		if id := fmt.Sprint(members["type_uid"]); id != strconv.Itoa(class*100+activity) {
			c.fail(path, "type_uid %s is not made of class and activity, which give %d", id, class*100+activity)
		}
	}
}

func (c *checker) constraints(path string, constraints map[string][]string, members map[string]any) {
	for rule, names := range constraints {
		n := 0
		for _, name := range names {
			if _, ok := members[name]; ok {
				n++
			}
		}
		switch {
		case rule == "at_least_one" && n > 0, rule == "just_one" && n == 1:
		default:
			c.fail(path, "%s of %v, and %d are there", rule, names, n)
		}
	}
}

func (c *checker) array(path string, a attribute, value any) {
	list, ok := value.([]any)
	if !ok || len(list) == 0 {
		c.fail(path, "%v is no list with something in it", value)
	}
	for i, item := range list {
		c.value(fmt.Sprintf("%s[%d]", path, i), a, item)
	}
}

// enum checks that a number is one of those there are, and that it is called what it is.
func (c *checker) enum(path string, a attribute, value, sibling any, other bool) {
	if a.Enum == nil {
		return
	}
	entry, ok := a.Enum[fmt.Sprint(value)]
	switch {
	case !ok:
		c.fail(path, "may not be %v", value)
	case a.Sibling == "" || sibling == nil:
	case fmt.Sprint(value) == "99" && !other:
		// The source's own word.
	case fmt.Sprint(sibling) != entry.Caption:
		c.fail(path, "%v is called %q, not %q", value, entry.Caption, sibling)
	}
}

func (c *checker) value(path string, a attribute, value any) {
	c.looked++
	kind := a.Type
	t, primitive := c.schema.Types[kind]
	longest := t.MaxLen
	for base := t.Type; base != ""; base = c.schema.Types[base].Type {
		if longest == 0 {
			longest = c.schema.Types[base].MaxLen
		}
		if kind == a.Type && base != "long_t" {
			kind = base
		}
	}
	switch {
	case a.Type == "":
		c.fail(path, "the extract does not say its type")
	case a.Type == "object", !primitive:
		members, ok := value.(map[string]any)
		if !ok {
			c.fail(path, "%v is no object", value)
			return
		}
		if a.Type == "object" {
			return
		}
		if of := c.schema.objects[a.Type]; of != nil {
			c.object(path, of, members)
			return
		}
		c.fail(path, "the extract has no %s", a.Type)
	case kind == "string_t":
		c.text(path, a.Type, value, longest)
	case kind == "integer_t", kind == "long_t", kind == "timestamp_t":
		c.number(path, kind, value)
	case kind == "boolean_t":
		if _, ok := value.(bool); !ok {
			c.fail(path, "%v is no boolean", value)
		}
	case kind == "json_t":
	default:
		c.fail(path, "the test knows no %s", kind)
	}
}

func (c *checker) text(path, kind string, value any, longest int) {
	s, ok := value.(string)
	switch {
	case !ok || s == "":
		c.fail(path, "%v is no text", value)
	case len(s) > longest || !utf8.ValidString(s):
		c.fail(path, "%d bytes of text, and %d are the most", len(s), longest)
	case kind == "ip_t":
		if _, err := netip.ParseAddr(s); err != nil {
			c.fail(path, "%v", err)
		}
	}
}

func (c *checker) number(path, kind string, value any) {
	number, ok := value.(json.Number)
	n, err := number.Int64()
	if !ok || err != nil {
		c.fail(path, "%v is no whole number", value)
		return
	}
	// Seconds and microseconds of these years are far outside of it.
	if at := time.UnixMilli(n).UTC(); kind == "timestamp_t" && (at.Year() < 2000 || at.Year() > 2100) {
		c.fail(path, "%d is no time in milliseconds", n)
	}
}
