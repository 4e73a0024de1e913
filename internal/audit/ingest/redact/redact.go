// Package redact takes secrets out of events, and commits to each so that it can be
// proved later what stood there.
//
// It knows them by where they stand, by the name beside them and by their shape. What it
// reads is hostile: it bounds what a text may cost, and takes out whole what it cannot
// read.
package redact

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
)

// maxRedactions bounds what one body may cost: one with more secrets than this is
// taken out whole. A list of thousands of tiny values would grow many times over.
const maxRedactions = 2048

// maxAgent is how long a user agent may be that is remembered.
const maxAgent = 512

// Redactor takes secrets out of events before anybody else sees them. What it takes
// out is replaced by bulwark.Redacted; a Redaction commits to it.
//
// It knows secrets by where they stand (Secrets, tokens, what was applied last), by
// the name beside them (environment, ConfigMaps, headers, flags of commands, queries
// of URIs) and by their shape (tokens of well-known makers, private keys, URLs with a
// password). It cannot know a secret that has neither place, name nor shape, such as
// a bare password as the argument of a program that it does not know.
//
// The zero Redactor redacts, and commits to nothing.
type Redactor struct {
	random io.Reader
	keep   bool
	// agents are user agents without a secret: nearly all events have one of a few. They
	// are filled once, so that nobody can make them grow or change for ever.
	agents [64]atomic.Pointer[string]
}

// New makes a Redactor. Salts are read from random, by as many goroutines as
// use the Redactor: crypto/rand.Reader. If keepValues is set the openings hold what
// was taken out, else only the salts.
func New(random io.Reader, keepValues bool) (*Redactor, error) {
	if random == nil {
		return nil, errors.New("make redactor: a source of randomness is required")
	}
	return &Redactor{random: random, keep: keepValues}, nil
}

// lastApplied is where kubectl keeps a copy of the whole object.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

// marker is what stands for a value of any type in a body.
const marker = `"` + bulwark.Redacted + `"`

// Redact takes the secrets out of an event that nobody else has yet, and gives what
// opens the commitments. Bodies that were canonical stay so. A Redaction's path names
// the field whose value stood there before, in whole, also where only a part was
// replaced: putting the opening's value back there gives the event as it was.
// Elements of lists are counted from 0 in brackets.
func (r *Redactor) Redact(e *audit.Event) []audit.Opening {
	t := taken{r: r}
	if uri, changed := redactURI(e.RequestURI); changed {
		t.text("requestURI", e.RequestURI)
		e.RequestURI = uri
	}
	if n := len(e.UserAgent); n > 0 {
		slot := &r.agents[(n+int(e.UserAgent[n/2])*7+int(e.UserAgent[n-1])*31)%len(r.agents)]
		if clean := slot.Load(); clean == nil || *clean != e.UserAgent {
			t.field("userAgent", &e.UserAgent, looking{assigned: true})
			if clean == nil && len(t.redactions) == 0 && n <= maxAgent {
				agent := strings.Clone(e.UserAgent)
				slot.CompareAndSwap(nil, &agent)
			}
		}
	}
	t.field("responseStatus.message", &e.Status.Message, looking{assigned: true, prose: true})
	t.user("user", &e.User)
	if e.Impersonated != nil {
		t.user("impersonatedUser", e.Impersonated)
	}
	about := topicOf(e)
	if len(e.Annotations) > 0 {
		t.annotations(e, about)
	}
	e.RequestObject = t.body("requestObject", e.RequestObject, about)
	e.ResponseObject = t.body("responseObject", e.ResponseObject, about)
	e.More = t.body("more", e.More, topic{})
	if len(t.redactions) > 0 {
		e.Redactions = append(slices.Clip(e.Redactions), t.redactions...)
	}
	return t.openings
}

// topic is what an event is about, as far as that says where secrets stand.
type topic struct {
	secrets, config bool
	deletes         bool // its body without a kind is DeleteOptions
}

func topicOf(e *audit.Event) topic {
	o := &e.Object
	return topic{
		// Where the source gave no objectRef the address says it.
		secrets: o.APIGroup == "" && o.Resource == "secrets" || o.Resource == "" && strings.Contains(e.RequestURI, "/secrets"),
		config:  o.APIGroup == "" && o.Resource == "configmaps",
		deletes: e.Verb == "delete" || e.Verb == "deletecollection",
	}
}

// taken gathers what was taken out of one event.
type taken struct {
	r          *Redactor
	redactions []audit.Redaction
	openings   []audit.Opening
}

// value notes that a value, in canonical JSON, was taken out. Without randomness the
// commitment is empty: one without a salt could be guessed.
func (t *taken) value(path string, value []byte) {
	var o audit.Opening
	if t.r.random == nil {
		t.redactions = append(t.redactions, audit.Redaction{Path: path})
		return
	}
	if _, err := io.ReadFull(t.r.random, o.Salt[:]); err != nil {
		t.redactions = append(t.redactions, audit.Redaction{Path: path})
		return
	}
	hash := sha256.New()
	hash.Write(o.Salt[:])
	hash.Write(value)
	sum := hash.Sum(make([]byte, 0, sha256.Size))
	t.redactions = append(t.redactions, audit.Redaction{Path: path, Commitment: "sha256:" + hex.EncodeToString(sum)})
	o.Path = path
	if t.r.keep {
		o.Value = bytes.Clone(value)
	}
	t.openings = append(t.openings, o)
}

// text notes that a text was changed.
func (t *taken) text(path, before string) { t.value(path, quoted(before)) }

// field looks for secrets in a plain text.
func (t *taken) field(path string, text *string, look looking) {
	if found := scan(*text, look); len(found) > 0 {
		t.text(path, *text)
		*text = cut(*text, found)
	}
}

// annotations looks through those of the event itself. The API server writes there
// what mutating webhooks changed in the object.
func (t *taken) annotations(e *audit.Event, about topic) {
	var changed map[string]string
	for _, key := range hot(e.Annotations) {
		before := e.Annotations[key]
		after := annotation(key, before, about)
		if after == before {
			continue
		}
		if changed == nil {
			changed = maps.Clone(e.Annotations)
		}
		t.text("annotations."+key, before)
		changed[key] = after
	}
	if changed != nil {
		e.Annotations = changed
	}
}

// hot gives the keys of the annotations that may hold secrets, sorted. What the
// authorizer writes does not, and is on nearly every event.
func hot(annotations map[string]string) []string {
	_, decision := annotations["authorization.k8s.io/decision"]
	_, reason := annotations["authorization.k8s.io/reason"]
	if len(annotations) == 2 && decision && reason {
		return nil
	}
	var keys []string
	for key, value := range annotations {
		if !strings.HasPrefix(key, "authorization.k8s.io/") && len(value) > 5 { // "true", "false"
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// annotation gives the text without its secrets.
func annotation(key, value string, about topic) string {
	// The API server says under authentication.k8s.io/legacy-token whose token it was.
	if sensitive(key, narrow) && worth(value) && !strings.HasPrefix(key, "authentication.k8s.io/") {
		return bulwark.Redacted
	}
	how := plain
	switch {
	case about.secrets:
		how = loose
	case about.config:
		how = config
	}
	switch inspect(value, how, narrow, 0) {
	case secretJSON:
		return bulwark.Redacted
	case cleanJSON:
		return value
	case brokenJSON:
		if about.secrets {
			return bulwark.Redacted // it may hold a part of the Secret
		}
	case noJSON:
	}
	return cut(value, scan(value, looking{assigned: true}))
}

// body gives a body without its secrets. What cannot be read is taken out whole.
func (t *taken) body(path string, raw json.RawMessage, about topic) json.RawMessage {
	if len(raw) <= len("null") {
		return raw
	}
	w := walker{about: about}
	if !w.read(raw) {
		return t.whole(path, raw)
	}
	w.steps = append(w.steps, step{name: []byte(path), index: -1})
	w.root()
	switch {
	case len(w.edits) == 0:
		return raw
	case len(w.edits) > maxRedactions:
		return t.whole(path, raw)
	}
	canonical, err := audit.CanonicalJSON(w.apply())
	if err != nil {
		return t.whole(path, raw)
	}
	for _, edit := range w.edits {
		value, err := audit.CanonicalJSON(raw[edit.from:edit.to])
		if err != nil {
			value = quoted(string(raw[edit.from:edit.to]))
		}
		t.value(edit.path, value)
	}
	return canonical
}

// whole takes out a body. One that is no JSON is committed to as a string: its text,
// or in base64 where it is no text.
func (t *taken) whole(path string, raw []byte) json.RawMessage {
	value, err := audit.CanonicalJSON(raw)
	if err != nil {
		text := string(raw)
		if !utf8.ValidString(text) {
			text = base64.StdEncoding.EncodeToString(raw)
		}
		value = quoted(text)
	}
	t.value(path, value)
	return json.RawMessage(marker)
}

// quoted gives a text as canonical JSON.
func quoted(text string) []byte {
	raw, err := json.Marshal(text)
	if err != nil {
		return []byte(`""`) // no string fails to be marshalled
	}
	canonical, err := audit.CanonicalJSON(raw)
	if err != nil {
		return raw
	}
	return canonical
}
