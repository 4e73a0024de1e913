// Package sigma reads detection rules in the form of the Sigma specification 2.1.0:
// what a rule asks of an event, as plain data, with the line that each part stands
// in. It knows nothing of the events themselves.
//
// A file is hostile: its size, its depth, its aliases and what its values expand to
// are bounded, and a regular expression is one that Go compiles, which takes time in
// proportion to the text it reads. Nothing that a rule says is passed over: an unknown
// modifier, a name that nobody defined and a condition that cannot be read are errors
// that name file and line.
package sigma

import (
	"fmt"
	"slices"

	yaml "go.yaml.in/yaml/v3"
)

// Rule is one document: a rule with a Detection, a Correlation of rules, a Behaviour, or a
// filter.
type Rule struct {
	File string
	Line int

	Title, ID, Name, Status, Description string
	License, Author, Date, Modified      string
	Taxonomy                             string
	// Level is informational, low, medium, high, critical, or "" where the rule has none.
	Level string

	References, Tags, FalsePositives, Fields, Scope []string

	LogSource   LogSource
	Detection   *Detection
	Correlation *Correlation
	// Behaviour is what our own rules have instead of a detection; its key selection was
	// read as Detection, in the same form.
	Behaviour *yaml.Node
	// Filter says that the document is a Sigma filter; its parts are not read.
	Filter bool

	// Attributes are the attributes that the specification does not have.
	Attributes map[string]*yaml.Node
}

// LogSource says which log a rule is for. A part that is "" is open.
type LogSource struct{ Category, Product, Service string }

// String names the parts that are there.
func (l LogSource) String() string {
	text := ""
	for _, p := range []struct{ name, value string }{{"category", l.Category}, {"product", l.Product}, {"service", l.Service}} {
		if p.value == "" {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += p.name + " " + p.value
	}
	if text == "" {
		return "none"
	}
	return text
}

// Key is what the rule is called by: its name, else its id, else its title.
func (r *Rule) Key() string {
	switch {
	case r.Name != "":
		return r.Name
	case r.ID != "":
		return r.ID
	}
	return r.Title
}

// Detection is what a rule looks for.
type Detection struct {
	// Searches are the named searches, in the order of the file.
	Searches []Search
	// Condition joins searches by name. Several conditions of a list are one Or.
	Condition *Expr
}

// Search is one named search.
type Search struct {
	Name string
	Line int
	Expr *Expr
}

// Find gives the search of that name, or nil.
func (d *Detection) Find(name string) *Search {
	if i := slices.IndexFunc(d.Searches, func(s Search) bool { return s.Name == name }); i >= 0 {
		return &d.Searches[i]
	}
	return nil
}

// Op is what an Expr does. The zero Op is not valid.
type Op uint8

// The operations.
const (
	OpItem   Op = iota + 1 // Item holds
	OpSearch               // the search called Name holds
	OpAnd                  // all of Args hold
	OpOr                   // one of Args holds
	OpNot                  // the one of Args does not hold
)

// Expr is a logical expression.
type Expr struct {
	Op   Op
	Args []*Expr
	Item *Item
	Name string
}

// at makes an error that names the place.
func at(file string, line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", file, max(line, 1), fmt.Errorf(format, args...))
}
