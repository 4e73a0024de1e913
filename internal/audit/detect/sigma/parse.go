package sigma

import (
	"errors"
	"slices"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v3"
)

// Parse reads all rules of a file. A document with "action: global" gives what it
// has to those after it, until "action: reset"; "action: repeat" gives that of the
// document before. The rules that could be read are given beside the errors of the
// others.
func Parse(file string, text []byte) ([]*Rule, error) {
	docs, err := Documents(file, text)
	if err != nil {
		return nil, err
	}
	var out []*Rule
	var errs []error
	var global, before *yaml.Node
	for _, doc := range docs {
		if doc.Kind != yaml.MappingNode {
			errs = append(errs, at(file, doc.Line, "a rule is a mapping with title, logsource and detection"))
			continue
		}
		action := ""
		if a := get(doc, "action"); a != nil {
			action = a.Value
			doc = without(doc, "action")
		}
		switch action {
		case "global":
			global = merged(global, doc)
			continue
		case "reset":
			global = nil
			continue
		case "repeat":
			doc = merged(before, doc)
		case "":
			doc = merged(global, doc)
		default:
			errs = append(errs, at(file, doc.Line, "action %q: expected global, reset or repeat", action))
			continue
		}
		before = doc
		r := reader{file: file}
		rule := r.rule(doc)
		if err := errors.Join(r.errs...); err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, rule)
	}
	return out, errors.Join(errs...)
}

// Levels lists the levels, from the least to the worst.
func Levels() []string { return []string{"informational", "low", "medium", "high", "critical"} }

func statuses() []string {
	return []string{"stable", "test", "experimental", "deprecated", "unsupported"}
}

const (
	maxTitle       = 256
	maxDescription = 65535
	maxName        = 200
)

func (r *reader) rule(doc *yaml.Node) *Rule {
	out := &Rule{File: r.file, Line: doc.Line, Attributes: map[string]*yaml.Node{}}
	var detection, correlation, behaviour, generate *yaml.Node
	each(doc, func(k, v *yaml.Node) {
		switch k.Value {
		case "title":
			out.Title = r.text(v, "title")
		case "id":
			out.ID = r.text(v, "id")
		case "name":
			out.Name = r.text(v, "name")
		case "taxonomy":
			out.Taxonomy = r.text(v, "taxonomy")
		case "status":
			out.Status = r.text(v, "status")
			if !slices.Contains(statuses(), out.Status) {
				r.fail(v, "status %q: expected one of %v", out.Status, statuses())
			}
		case "description":
			out.Description = r.text(v, "description")
		case "license":
			out.License = r.text(v, "license")
		case "author":
			out.Author = r.text(v, "author")
		case "date":
			out.Date = r.text(v, "date")
		case "modified":
			out.Modified = r.text(v, "modified")
		case "references", "reference":
			out.References = r.texts(v, k.Value)
		case "tags":
			out.Tags = r.texts(v, "tags")
		case "falsepositives":
			out.FalsePositives = r.texts(v, "falsepositives")
		case "fields":
			out.Fields = r.texts(v, "fields")
		case "scope":
			out.Scope = r.texts(v, "scope")
		case "level":
			out.Level = r.text(v, "level")
			if !slices.Contains(Levels(), out.Level) {
				r.fail(v, "level %q: expected one of %v", out.Level, Levels())
			}
		case "logsource":
			out.LogSource = r.logSource(v)
		case "detection":
			detection = v
		case "correlation":
			correlation = v
		case "behaviour":
			behaviour = v
		case "filter":
			out.Filter = true
		case "generate":
			generate = v
		case "related":
			if v.Kind != yaml.SequenceNode {
				r.fail(v, "related: expected a list of id and type")
			}
		default:
			out.Attributes[k.Value] = v
		}
	})
	r.shape(doc, out, detection, correlation, behaviour)
	switch {
	case out.Filter:
	case correlation != nil:
		out.Correlation = r.correlation(correlation)
		if generate != nil && out.Correlation != nil {
			out.Correlation.Generate = r.bool(generate, "generate")
		}
	case detection != nil:
		out.Detection = r.detection(detection)
	case behaviour != nil && behaviour.Kind == yaml.MappingNode && get(behaviour, "selection") != nil:
		out.Behaviour = behaviour
		out.Detection = r.detection(get(behaviour, "selection"))
	case behaviour != nil:
		r.fail(behaviour, "behaviour: selection is missing: searches and a condition, as a detection has them")
	}
	return out
}

// shape checks what a document as a whole must have.
func (r *reader) shape(doc *yaml.Node, out *Rule, detection, correlation, behaviour *yaml.Node) {
	if out.Title == "" {
		r.fail(doc, "title: it is missing")
	}
	for _, t := range []struct {
		name, text string
		most       int
	}{{"title", out.Title, maxTitle}, {"description", out.Description, maxDescription}, {"id", out.ID, maxName}, {"name", out.Name, maxName}} {
		if n := utf8.RuneCountInString(t.text); n > t.most {
			r.fail(doc, "%s: it has %d characters; at most %d are read", t.name, n, t.most)
		}
	}
	switch {
	case out.Filter:
	case behaviour != nil && (detection != nil || correlation != nil):
		r.fail(behaviour, "rule %q has behaviour and something else: which events it looks at stands in behaviour.selection", out.Title)
	case detection == nil && correlation == nil && behaviour == nil:
		r.fail(doc, "rule %q has neither detection nor correlation", out.Title)
	case detection != nil && correlation != nil:
		r.fail(doc, "rule %q has both detection and correlation: write two documents", out.Title)
	case (detection != nil || behaviour != nil) && get(doc, "logsource") == nil:
		r.fail(doc, "rule %q has no logsource", out.Title)
	}
}

func (r *reader) logSource(n *yaml.Node) LogSource {
	var out LogSource
	if n.Kind != yaml.MappingNode {
		r.fail(n, "logsource: expected a mapping with category, product and service")
		return out
	}
	each(n, func(k, v *yaml.Node) {
		if isNull(v) {
			return
		}
		switch k.Value {
		case "category":
			out.Category = r.text(v, "logsource.category")
		case "product":
			out.Product = r.text(v, "logsource.product")
		case "service":
			out.Service = r.text(v, "logsource.service")
		}
	})
	return out
}

const maxSearches = 1000

func (r *reader) detection(n *yaml.Node) *Detection {
	out := &Detection{}
	if n.Kind != yaml.MappingNode {
		r.fail(n, "detection: expected a mapping of searches and a condition")
		return out
	}
	var conditions *yaml.Node
	each(n, func(k, v *yaml.Node) {
		switch k.Value {
		case "condition":
			conditions = v
		case "timeframe":
			r.fail(k, "timeframe belongs to aggregations in the condition, which Sigma no longer has: write a correlation")
		default:
			if len(out.Searches) == maxSearches {
				r.fail(k, "detection: more than %d searches", maxSearches)
				return
			}
			out.Searches = append(out.Searches, Search{Name: k.Value, Line: k.Line, Expr: r.search(k.Value, v)})
		}
	})
	if conditions == nil {
		r.fail(n, "detection: the condition is missing")
		return out
	}
	list := []*yaml.Node{conditions}
	if conditions.Kind == yaml.SequenceNode {
		list = conditions.Content
	}
	var names []string
	for _, s := range out.Searches {
		names = append(names, s.Name)
	}
	out.Condition = &Expr{Op: OpOr}
	for _, c := range list {
		if c.Kind != yaml.ScalarNode {
			r.fail(c, "condition: expected a text such as \"selection and not filter\"")
			continue
		}
		e, err := ParseCondition(c.Value, names)
		if err != nil {
			r.fail(c, "condition: %w", err)
			continue
		}
		out.Condition.Args = append(out.Condition.Args, e)
	}
	switch len(out.Condition.Args) {
	case 0:
		if len(r.errs) == 0 {
			r.fail(conditions, "condition: it is empty")
		}
	case 1:
		out.Condition = out.Condition.Args[0]
	}
	return out
}

// search reads a search: a mapping, a list of mappings and keywords, or one keyword.
func (r *reader) search(name string, n *yaml.Node) *Expr {
	if n.Kind == yaml.MappingNode {
		if len(n.Content) == 0 {
			r.fail(n, "search %q is empty", name)
			return nil
		}
		and := &Expr{Op: OpAnd}
		each(n, func(k, v *yaml.Node) {
			if item := r.item(name, k, v); item != nil {
				and.Args = append(and.Args, &Expr{Op: OpItem, Item: item})
			}
		})
		return and
	}
	if n.Kind == yaml.SequenceNode {
		if len(n.Content) == 0 {
			r.fail(n, "search %q is an empty list", name)
			return nil
		}
		or := &Expr{Op: OpOr}
		for _, c := range n.Content {
			if c.Kind == yaml.SequenceNode {
				r.fail(c, "search %q: a list in a list; expected mappings or keywords", name)
				continue
			}
			if e := r.search(name, c); e != nil {
				or.Args = append(or.Args, e)
			}
		}
		return or
	}
	if item := r.item(name, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Line: n.Line}, n); item != nil {
		return &Expr{Op: OpItem, Item: item}
	}
	return nil
}
