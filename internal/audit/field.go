package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Field is a compiled path to values of an event, such as "user.username",
// "objectRef.resource" or "requestObject.spec.containers.image". Lists are walked
// through: the last one gives the image of each container. The zero Field has no
// values.
type Field struct {
	path string
	read func(e *Event, yield func(Value) bool)
	body bool
}

// Value is one value of a field. Objects and lists are given as their JSON text.
type Value struct {
	Text string
	// Number says that Text is a JSON number, or a field that is a number.
	Number bool
	// Null says that the value is JSON's null; Text is then "".
	Null bool
}

// Path is the path that the field was made of.
func (f Field) Path() string { return f.path }

// Body reports whether the field stands in a request's or a response's body, so that
// it needs level Request or RequestResponse.
func (f Field) Body() bool { return f.body }

// Each calls yield with each value until it returns false. A path that leads nowhere
// has no values.
func (f Field) Each(e *Event, yield func(Value) bool) {
	if f.read != nil {
		f.read(e, yield)
	}
}

// First gives the first value's text, or "".
func (f Field) First(e *Event) string {
	var text string
	f.Each(e, func(v Value) bool { text = v.Text; return false })
	return text
}

func text(get func(*Event) string) func(*Event, func(Value) bool) {
	return func(e *Event, yield func(Value) bool) {
		if s := get(e); s != "" {
			yield(Value{Text: s})
		}
	}
}

func texts(get func(*Event) []string) func(*Event, func(Value) bool) {
	return func(e *Event, yield func(Value) bool) {
		for _, s := range get(e) {
			if !yield(Value{Text: s}) {
				return
			}
		}
	}
}

// fixed are the fields that are no path into a map or a body, by their name in
// audit.k8s.io/v1; the names that it does not have are Bulwark's own.
func fixed() map[string]func(*Event, func(Value) bool) {
	as := func(get func(*User) string) func(*Event) string {
		return func(e *Event) string {
			if e.Impersonated == nil {
				return ""
			}
			return get(e.Impersonated)
		}
	}
	return map[string]func(*Event, func(Value) bool){
		"kind":       text(func(e *Event) string { return string(e.Kind) }),
		"source":     text(func(e *Event) string { return e.Source }),
		"cluster":    text(func(e *Event) string { return e.Cluster }),
		"auditID":    text(func(e *Event) string { return e.AuditID }),
		"level":      text(func(e *Event) string { return e.Level }),
		"stage":      text(func(e *Event) string { return e.Stage }),
		"requestURI": text(func(e *Event) string { return e.RequestURI }),
		"verb":       text(func(e *Event) string { return e.Verb }),
		"saidVerb":   text(func(e *Event) string { return e.SaidVerb }),

		"user.username":             text(func(e *Event) string { return e.User.Username }),
		"user.uid":                  text(func(e *Event) string { return e.User.UID }),
		"user.groups":               texts(func(e *Event) []string { return e.User.Groups }),
		"impersonatedUser.username": text(as(func(u *User) string { return u.Username })),
		"impersonatedUser.uid":      text(as(func(u *User) string { return u.UID })),
		"impersonatedUser.groups": texts(func(e *Event) []string {
			if e.Impersonated == nil {
				return nil
			}
			return e.Impersonated.Groups
		}),
		// actor is whose rights were used: impersonatedUser, else user.
		"actor.username": text(func(e *Event) string { return e.Actor().Username }),
		"actor.groups":   texts(func(e *Event) []string { return e.Actor().Groups }),

		"sourceIPs": texts(func(e *Event) []string { return e.SourceIPs }),
		"userAgent": text(func(e *Event) string { return e.UserAgent }),

		"objectRef.apiGroup":        text(func(e *Event) string { return e.Object.APIGroup }),
		"objectRef.apiVersion":      text(func(e *Event) string { return e.Object.APIVersion }),
		"objectRef.resource":        text(func(e *Event) string { return e.Object.Resource }),
		"objectRef.subresource":     text(func(e *Event) string { return e.Object.Subresource }),
		"objectRef.namespace":       text(func(e *Event) string { return e.Object.Namespace }),
		"objectRef.name":            text(func(e *Event) string { return e.Object.Name }),
		"objectRef.uid":             text(func(e *Event) string { return e.Object.UID }),
		"objectRef.resourceVersion": text(func(e *Event) string { return e.Object.ResourceVersion }),

		"responseStatus.code": func(e *Event, yield func(Value) bool) {
			if e.Status.Code != 0 {
				yield(Value{Text: strconv.Itoa(int(e.Status.Code)), Number: true})
			}
		},
		"responseStatus.status":  text(func(e *Event) string { return e.Status.Status }),
		"responseStatus.reason":  text(func(e *Event) string { return e.Status.Reason }),
		"responseStatus.message": text(func(e *Event) string { return e.Status.Message }),

		// succeeded is "true" or "false": see Event.Succeeded.
		"succeeded": text(func(e *Event) string { return strconv.FormatBool(e.Succeeded()) }),
	}
}

// fixedFields is fixed, made once: rules ask for some thousand fields when they are
// loaded.
var fixedFields = sync.OnceValue(fixed) //nolint:gochecknoglobals // never changed

// FixedFields lists the names of fields that are no path into a map or a body,
// sorted.
func FixedFields() []string { return slices.Sorted(maps.Keys(fixedFields())) }

// prefixes are the beginnings of paths into maps and bodies.
const (
	inAnnotations = "annotations."
	inUserExtra   = "user.extra."
	inAsExtra     = "impersonatedUser.extra."
	inRequest     = "requestObject."
	inResponse    = "responseObject."
	inMore        = "more."
	inQuery       = "query."
)

// ParseField compiles a path: one of FixedFields; or annotations., user.extra. or
// impersonatedUser.extra. and a key, which may have dots in it; or requestObject.,
// responseObject. or more. and names with dots between them (a backslash before a dot
// makes it part of a name); or query. and the name of a parameter in the query of
// requestURI, decoded as the API server does: query.command, query.dryRun. Any other
// path is an error that names it.
func ParseField(path string) (Field, error) {
	if read, ok := fixedFields()[path]; ok {
		return Field{path: path, read: read}, nil
	}
	within := func(prefix string) (string, bool) {
		rest, ok := strings.CutPrefix(path, prefix)
		return rest, ok && rest != ""
	}
	if key, ok := within(inAnnotations); ok {
		return Field{path: path, read: text(func(e *Event) string { return e.Annotations[key] })}, nil
	}
	if key, ok := within(inUserExtra); ok {
		return Field{path: path, read: texts(func(e *Event) []string { return e.User.Extra[key] })}, nil
	}
	if key, ok := within(inAsExtra); ok {
		return Field{path: path, read: texts(func(e *Event) []string {
			if e.Impersonated == nil {
				return nil
			}
			return e.Impersonated.Extra[key]
		})}, nil
	}
	if key, ok := within(inQuery); ok {
		return Field{path: path, read: texts(func(e *Event) []string { return queryValues(e.RequestURI, key) })}, nil
	}
	for prefix, tree := range map[string]func(*Event) any{
		inRequest: (*Event).request, inResponse: (*Event).response, inMore: (*Event).more,
	} {
		if rest, ok := within(prefix); ok {
			names := splitPath(rest)
			return Field{path: path, body: prefix != inMore, read: func(e *Event, yield func(Value) bool) {
				walk(tree(e), names, yield)
			}}, nil
		}
	}
	switch path + "." { // the whole of a map or body: whether it is there
	case inRequest:
		return Field{path: path, body: true, read: text(func(e *Event) string { return string(e.RequestObject) })}, nil
	case inResponse:
		return Field{path: path, body: true, read: text(func(e *Event) string { return string(e.ResponseObject) })}, nil
	}
	return Field{}, fmt.Errorf("%q is no field of an event", path)
}

// queryValues are the values of a parameter in the query of a request's URI. Pairs
// that cannot be decoded are left out, as net/http's servers do.
func queryValues(uri, name string) []string {
	_, query, _ := strings.Cut(uri, "?")
	var values []string
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		key, value, _ := strings.Cut(pair, "=")
		if key, err := url.QueryUnescape(key); err != nil || key != name || strings.Contains(pair, ";") {
			continue
		}
		if value, err := url.QueryUnescape(value); err == nil {
			values = append(values, value)
		}
	}
	return values
}

// splitPath cuts at dots, but not at one after a backslash.
func splitPath(path string) []string {
	var names []string
	var name strings.Builder
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '\\' && i+1 < len(path) && path[i+1] == '.':
			name.WriteByte('.')
			i++
		case path[i] == '.':
			names = append(names, name.String())
			name.Reset()
		default:
			name.WriteByte(path[i])
		}
	}
	return append(names, name.String())
}

// walk goes down names through objects, and through every element of lists. It
// reports whether to go on.
func walk(at any, names []string, yield func(Value) bool) bool {
	if list, ok := at.([]any); ok {
		for _, item := range list {
			if !walk(item, names, yield) {
				return false
			}
		}
		return true
	}
	if len(names) > 0 {
		object, ok := at.(map[string]any)
		if !ok {
			return true
		}
		next, ok := object[names[0]]
		return !ok || walk(next, names[1:], yield)
	}
	switch v := at.(type) {
	case nil:
		return yield(Value{Null: true})
	case string:
		return yield(Value{Text: v})
	case bool:
		return yield(Value{Text: strconv.FormatBool(v)})
	case json.Number:
		return yield(Value{Text: v.String(), Number: true})
	}
	raw, err := json.Marshal(at)
	if err == nil {
		raw, err = CanonicalJSON(raw) // without the escapes that are meant for HTML
	}
	return err != nil || yield(Value{Text: string(raw)})
}

// parsed are the bodies after the first look at a field in them.
type parsed struct {
	request, response, more any
	done                    [3]bool
}

func (e *Event) request() any  { return e.parse(0, e.RequestObject, &e.parsed.request) }
func (e *Event) response() any { return e.parse(1, e.ResponseObject, &e.parsed.response) }
func (e *Event) more() any     { return e.parse(2, e.More, &e.parsed.more) }

func (e *Event) parse(i int, raw json.RawMessage, into *any) any {
	if !e.parsed.done[i] {
		e.parsed.done[i] = true
		if len(raw) > 0 {
			*into = tree(raw) // it was canonical when the event was made; a body that is not has no fields
		}
	}
	return *into
}
