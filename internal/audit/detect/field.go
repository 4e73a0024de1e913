package detect

import (
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// field is a field of an event as rules name them: those of audit.ParseField, and the
// times of the event, which Sigma's time modifiers take apart.
type field struct {
	path           string
	body, response bool
	each           func(e *audit.Event, yield func(audit.Value) bool)
}

// timeFields are the fields that rules have besides those of audit.ParseField.
func timeFields() map[string]func(*audit.Event) time.Time {
	return map[string]func(*audit.Event) time.Time{
		"time":                     (*audit.Event).Time,
		"requestReceivedTimestamp": func(e *audit.Event) time.Time { return e.RequestReceived },
		"stageTimestamp":           func(e *audit.Event) time.Time { return e.StageAt },
	}
}

// parseField compiles a field's path. Marks of lists, as converters write them, say
// nothing: lists are always walked through.
func parseField(path string) (field, error) {
	if get, ok := timeFields()[path]; ok {
		return field{path: path, each: func(e *audit.Event, yield func(audit.Value) bool) {
			if t := get(e); !t.IsZero() {
				yield(audit.Value{Text: t.UTC().Format(time.RFC3339Nano)})
			}
		}}, nil
	}
	plain := strings.NewReplacer("[*]", "", "[]", "", "{}", "").Replace(path)
	f, err := audit.ParseField(plain)
	if err != nil {
		return field{path: path}, err
	}
	return field{path: plain, body: f.Body(), response: strings.HasPrefix(plain, "responseObject"), each: f.Each}, nil
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
	field  field
	turn   uint64
	values []value
}

// view is an event and those of its fields that rules have asked for so far.
type view struct {
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

func newView() *view {
	v := &view{names: map[string]int{}}
	v.collect = func(got audit.Value) bool {
		v.into.values = append(v.into.values, value{text: got.Text, null: got.Null})
		return len(v.into.values) < maxFieldValues
	}
	return v
}

// slot gives the number of a field. A field that no event has is one without values.
func (v *view) slot(path string) int {
	if n, ok := v.names[path]; ok {
		return n
	}
	var f field
	if path == "" {
		f.each = eachText
	} else {
		f, _ = parseField(path) // an unknown field has no values; Lint says so
	}
	v.slots = append(v.slots, slot{field: f})
	v.names[path] = len(v.slots) - 1
	return len(v.slots) - 1
}

func (v *view) reset(e *audit.Event) {
	v.event = e
	v.turn++
}

// succeeded is Event.Succeeded, worked out once.
func (v *view) succeeded() bool {
	if v.asked != v.turn {
		v.asked, v.ended = v.turn, v.event.Succeeded()
	}
	return v.ended
}

// values gives the values of a field. They hold until reset.
func (v *view) values(n int) []value {
	s := &v.slots[n]
	if s.turn != v.turn {
		s.turn = v.turn
		s.values = s.values[:0]
		if s.field.each != nil {
			v.into = s
			s.field.each(v.event, v.collect)
		}
	}
	return s.values
}

// joined gives all values of a field as one text.
func (v *view) joined(n int) string {
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
