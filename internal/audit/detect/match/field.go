package match

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// Field is a field of an event as rules name them: those of audit.ParseField, the
// times of the event, which Sigma's time modifiers take apart, and sourceIPs.last.
type Field struct {
	Path string
	// Body and Response say that it stands in a request's or a response's body, or in a
	// response's.
	Body, Response bool
	// Each calls yield with each value until it returns false; nil for the zero Field.
	Each func(e *audit.Event, yield func(audit.Value) bool)
}

// timeFields are the fields that rules have besides those of audit.ParseField.
func timeFields() map[string]func(*audit.Event) time.Time {
	return map[string]func(*audit.Event) time.Time{
		"time":                     (*audit.Event).Time,
		"requestReceivedTimestamp": func(e *audit.Event) time.Time { return e.RequestReceived },
		"stageTimestamp":           func(e *audit.Event) time.Time { return e.StageAt },
	}
}

// lastAddress is the address of the connection itself. Those before it in sourceIPs are
// what headers say, which whoever asks can write as they like.
const lastAddress = "sourceIPs.last"

// ParseField compiles a field's path. Marks of lists, as converters write them, say
// nothing: lists are always walked through.
func ParseField(path string) (Field, error) {
	if get, ok := timeFields()[path]; ok {
		return Field{Path: path, Each: func(e *audit.Event, yield func(audit.Value) bool) {
			if t := get(e); !t.IsZero() {
				yield(audit.Value{Text: t.UTC().Format(time.RFC3339Nano)})
			}
		}}, nil
	}
	if path == lastAddress {
		return Field{Path: path, Each: func(e *audit.Event, yield func(audit.Value) bool) {
			if n := len(e.SourceIPs); n > 0 {
				yield(audit.Value{Text: e.SourceIPs[n-1]})
			}
		}}, nil
	}
	plain := path
	if strings.ContainsAny(path, "[{") {
		plain = strings.NewReplacer("[*]", "", "[]", "", "{}", "").Replace(path)
	}
	f, err := audit.ParseField(plain)
	if err != nil {
		return Field{Path: path}, err
	}
	return Field{Path: plain, Body: f.Body(), Response: strings.HasPrefix(plain, "responseObject"), Each: f.Each}, nil
}

// value is one value of a field of the event at hand.
type value struct {
	text, lower          string
	addr                 netip.Addr
	null, folded, looked bool
}

// fold is the text in small letters, worked out once.
func (v *value) fold() string {
	if !v.folded {
		v.lower, v.folded = strings.ToLower(v.text), true
	}
	return v.lower
}

// address is the text as an address, if it is one, worked out once.
func (v *value) address() netip.Addr {
	if !v.looked {
		v.looked = true
		if a, err := netip.ParseAddr(v.text); err == nil {
			v.addr = a.Unmap().WithZone("")
		}
	}
	return v.addr
}

// maxFieldValues is how many values of one field are looked at. An object of the API
// server's 1.5 MB has fewer in any list that matters.
const maxFieldValues = 100_000

// slot holds the values of a field while one event is looked at.
type slot struct {
	field  Field
	turn   uint64
	values []value
}

// View is an event and those of its fields that rules have asked for so far.
type View struct {
	event *audit.Event
	turn  uint64
	slots []slot
	names map[string]int
	// ended is the event's Succeeded, worked out in the turn asked.
	ended bool
	asked uint64

	into    *slot
	collect func(audit.Value) bool
}

// NewView makes a view of no event.
func NewView() *View {
	v := &View{names: map[string]int{}}
	v.collect = func(got audit.Value) bool {
		v.into.values = append(v.into.values, value{text: got.Text, null: got.Null})
		return len(v.into.values) < maxFieldValues
	}
	return v
}

// Slot gives the number of a field. A field that no event has is one without values.
func (v *View) Slot(path string) int {
	if n, ok := v.names[path]; ok {
		return n
	}
	var f Field
	if path == "" {
		f.Each = eachText
	} else {
		f, _ = ParseField(path) // an unknown field has no values; Lint says so
	}
	v.slots = append(v.slots, slot{field: f})
	v.names[path] = len(v.slots) - 1
	return len(v.slots) - 1
}

// Event is the event at hand.
func (v *View) Event() *audit.Event { return v.event }

// Len is how many values the field of a slot has.
func (v *View) Len(slot int) int { return len(v.values(slot)) }

// Text is one of them.
func (v *View) Text(slot, i int) string { return v.values(slot)[i].text }

// Reset turns to the next event.
func (v *View) Reset(e *audit.Event) {
	v.event = e
	v.turn++
}

// Succeeded is Event.Succeeded, worked out once.
func (v *View) Succeeded() bool {
	if v.asked != v.turn {
		v.asked, v.ended = v.turn, v.event.Succeeded()
	}
	return v.ended
}

// values gives the values of a field. They hold until reset.
func (v *View) values(n int) []value {
	s := &v.slots[n]
	if s.turn != v.turn {
		s.turn = v.turn
		s.values = s.values[:0]
		if s.field.Each != nil {
			v.into = s
			s.field.Each(v.event, v.collect)
		}
	}
	return s.values
}

// Joined gives all values of a field as one text.
func (v *View) Joined(n int) string {
	values := v.values(n)
	switch len(values) {
	case 0:
		return ""
	case 1:
		return values[0].text
	}
	var out strings.Builder
	for i := range values {
		if i > 0 {
			out.WriteByte(',')
		}
		out.WriteString(values[i].text)
	}
	return out.String()
}

// eachText is the whole event as one text, which keywords are searched in: the values
// of its fields, and its bodies as they are.
func eachText(e *audit.Event, yield func(audit.Value) bool) {
	var out strings.Builder
	add := func(texts ...string) {
		for _, t := range texts {
			if t != "" {
				out.WriteString(t)
				out.WriteByte('\n')
			}
		}
	}
	user := func(u *audit.User) {
		add(u.Username, u.UID)
		add(u.Groups...)
		for _, key := range sortedKeys(u.Extra) {
			add(key)
			add(u.Extra[key]...)
		}
	}
	add(e.Cluster, e.AuditID, e.Level, e.Stage, e.RequestURI, e.Verb, e.SaidVerb)
	user(&e.User)
	if e.Impersonated != nil {
		user(e.Impersonated)
	}
	add(e.SourceIPs...)
	o := &e.Object
	add(e.UserAgent, o.APIGroup, o.APIVersion, o.Resource, o.Subresource, o.Namespace, o.Name, o.UID, o.ResourceVersion)
	add(e.Status.Status, e.Status.Reason, e.Status.Message)
	for _, key := range sortedKeys(e.Annotations) {
		add(key, e.Annotations[key])
	}
	for _, raw := range []json.RawMessage{e.RequestObject, e.ResponseObject, e.More} {
		add(string(raw))
	}
	yield(audit.Value{Text: out.String()})
}
