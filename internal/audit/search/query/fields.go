package query

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// kind says what the values of a field are, and so how they compare.
type kind uint8

const (
	kindText kind = iota + 1
	kindNumber
	kindTime
	kindAddress
	kindSeverity
	kindAny // in a body or map: numbers compare as numbers
)

// Field is something of an event that a query names.
type Field struct {
	name string
	kind kind
	// each gives the values. What is empty is absent, and not given.
	each func(e *audit.Event, yield func(string) bool)
	when func(e *audit.Event) time.Time // of kindTime, in place of each
	// columns are the paths whose values together are those of the field; none where
	// no column can have them.
	columns []string
	// show is the one name that groups have of it, where that is not each of its values.
	show func(e *audit.Event) string
}

// short is a short name of the language and what it stands for.
type short struct {
	name    string
	path    string // the path or paths that it reads
	meaning string
}

// Name is how the field was named.
func (f *Field) Name() string { return f.name }

// Shown gives what groups count an event under: the values, or the one name that is shown
// of them. It may be empty.
func (f *Field) Shown(e *audit.Event, yield func(string) bool) {
	if f.show != nil {
		yield(f.show(e))
		return
	}
	f.each(e, yield)
}

// Columns are the paths whose values say together what Shown gives, none where columns
// cannot. Of a resource they are its group, name and subresource, as [ResourceOf] takes them.
func (f *Field) Columns() []string {
	switch f.name {
	case "user":
		return f.columns[:1]
	case "resource":
		return []string{"objectRef.apiGroup", "objectRef.resource", "objectRef.subresource"}
	}
	return f.columns
}

// Several reports whether one event may have several of what Shown gives.
func (f *Field) Several() bool {
	return f.show == nil && (len(f.columns) > 1 || len(f.columns) == 1 && SeveralValues(f.columns[0]))
}

// ruleField is where the event of an alert names its rule, and so on.
const (
	ruleField     = "more.rule"
	severityField = "more.severity"
	decisionField = "annotations.authorization.k8s.io/decision"
)

// shorts lists the short names, in the order to read them in.
func shorts() []short {
	return []short{
		{"user", "user.username, impersonatedUser.username", "who signed in, or who they acted as"},
		{"actor", "actor.username", "whose rights were used: whom they acted as, else who signed in"},
		{"group", "user.groups, impersonatedUser.groups", "a group of either"},
		{"verb", "verb", "what was done: get, list, create, …; exec, attach and port-forward are create"},
		{"resource", "objectRef.resource", "to what: pods, pods/exec, deployments.apps, pods also with its subresources"},
		{"subresource", "objectRef.subresource", "exec, log, status, …"},
		{"namespace", "objectRef.namespace", "where"},
		{"ns", "objectRef.namespace", "where"},
		{"name", "objectRef.name", "the object's name"},
		{"code", "responseStatus.code", "how it was answered, a number"},
		{"reason", "responseStatus.reason", "how it was answered, a word"},
		{"message", "responseStatus.message", "how it was answered, in words"},
		{"decision", decisionField, "allow or forbid"},
		{"ip", "sourceIPs", "from which address; takes networks such as 10.0.0.0/8"},
		{"agent", "userAgent", "with which program"},
		{"uri", "requestURI", "the request's path and query"},
		{"id", "auditID", "the API server's id of the request"},
		{"seq", "seq", "the event's number in the trail"},
		{"rule", ruleField, "of alerts: which detection"},
		{"severity", severityField, "of alerts: info, low, medium, high or critical, in this order"},
		{"time", "stageTimestamp, requestReceivedTimestamp, received", "when it happened: the first of these that is there"},
	}
}

// times are the fields that are times.
func times() map[string]func(*audit.Event) time.Time {
	return map[string]func(*audit.Event) time.Time{
		"time":                     (*audit.Event).Time,
		"received":                 func(e *audit.Event) time.Time { return e.Received },
		"requestReceivedTimestamp": func(e *audit.Event) time.Time { return e.RequestReceived },
		"stageTimestamp":           func(e *audit.Event) time.Time { return e.StageAt },
	}
}

// fieldNames lists every name that needs nothing after it, sorted: the short names and
// the paths.
func fieldNames() []string {
	names := audit.FixedFields()
	for _, s := range shorts() {
		names = append(names, s.name)
	}
	for name := range times() {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// lookup finds a field by a short name or a path.
func lookup(name string) (*Field, bool) {
	if when, ok := times()[name]; ok {
		return &Field{name: name, kind: kindTime, when: when}, true
	}
	switch name {
	case "user":
		f := joined(name, "user.username", "impersonatedUser.username")
		f.show = func(e *audit.Event) string { return e.User.Username }
		return f, true
	case "group":
		return joined(name, "user.groups", "impersonatedUser.groups"), true
	case "resource":
		return &Field{name: name, kind: kindText, each: resources, show: ResourceOf}, true
	case "seq":
		return &Field{name: name, kind: kindNumber, each: func(e *audit.Event, yield func(string) bool) {
			yield(strconv.FormatUint(e.Seq, 10))
		}}, true
	}
	path := name
	for _, s := range shorts() {
		if s.name == name {
			path = s.path
		}
	}
	parsed, err := audit.ParseField(path)
	if err != nil {
		return nil, false
	}
	f := &Field{name: name, kind: kindText, columns: []string{path}, each: values(parsed)}
	switch {
	case path == "responseStatus.code":
		f.kind = kindNumber
	case path == "sourceIPs":
		f.kind = kindAddress
	case path == severityField:
		f.kind = kindSeverity
	case parsed.Body() || strings.HasPrefix(path, "more."):
		f.kind = kindAny
	}
	return f, true
}

// values gives the texts of a path that are not empty.
func values(f audit.Field) func(*audit.Event, func(string) bool) {
	return func(e *audit.Event, yield func(string) bool) {
		f.Each(e, func(v audit.Value) bool { return v.Text == "" || yield(v.Text) })
	}
}

// joined is a field with the values of several paths.
func joined(name string, paths ...string) *Field {
	var all []func(*audit.Event, func(string) bool)
	for _, path := range paths {
		if f, err := audit.ParseField(path); err == nil {
			all = append(all, values(f))
		}
	}
	return &Field{name: name, kind: kindText, columns: paths, each: func(e *audit.Event, yield func(string) bool) {
		more := true
		for _, each := range all {
			each(e, func(s string) bool { more = yield(s); return more })
			if !more {
				return
			}
		}
	}}
}

// resources gives the ways to name what a request was about: "pods", "pods/exec",
// and with its group "deployments.apps" and "deployments.apps/scale".
func resources(e *audit.Event, yield func(string) bool) {
	o := &e.Object
	if o.Resource == "" || !yield(o.Resource) {
		return
	}
	if o.Subresource != "" && !yield(o.Resource+"/"+o.Subresource) {
		return
	}
	if o.APIGroup == "" || !yield(o.Resource+"."+o.APIGroup) {
		return
	}
	if o.Subresource != "" {
		yield(o.Resource + "." + o.APIGroup + "/" + o.Subresource)
	}
}

// ResourceOf is the one name of what a request was about that groups and tables show.
func ResourceOf(e *audit.Event) string {
	s := e.Object.Resource
	if s != "" && e.Object.APIGroup != "" {
		s += "." + e.Object.APIGroup
	}
	if s != "" && e.Object.Subresource != "" {
		s += "/" + e.Object.Subresource
	}
	return s
}

// SeveralValues reports whether one event may have several values of a path.
func SeveralValues(path string) bool {
	switch path {
	case "user.groups", "impersonatedUser.groups", "actor.groups", "sourceIPs":
		return true
	}
	return strings.HasPrefix(path, "user.extra.") || strings.HasPrefix(path, "impersonatedUser.extra.")
}
