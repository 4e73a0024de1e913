// Package audit has the one form of an event that every part of the audit trail
// reads: ingest makes it, the log keeps it, rules and searches look at it.
//
// The words are those of audit.k8s.io/v1 where it has one. What comes from
// elsewhere, such as the gateway or a cloud's log, is put into the same words.
package audit

import (
	"encoding/json"
	"time"
)

// Kind says what sort of thing happened. The zero Kind is not valid.
type Kind string

// The kinds of events.
const (
	KindAPI     Kind = "api"     // a request to a Kubernetes API server, as its audit log tells it
	KindGateway Kind = "gateway" // a request through Bulwark's gateway
	KindAccess  Kind = "access"  // a request or session through Bulwark's access to the API server
	KindAlert   Kind = "alert"   // a detection fired
	KindAction  Kind = "action"  // a response was taken, or undone
	KindSystem  Kind = "system"  // the trail's own life: started, sealed, disk full, input that could not be read
)

// Kinds lists all kinds.
func Kinds() []Kind {
	return []Kind{KindAPI, KindGateway, KindAccess, KindAlert, KindAction, KindSystem}
}

// Event is one thing that happened. Texts are as the source gave them: treat each
// as hostile. An empty value and an absent one are the same.
//
// An Event that was made may be shared; nobody changes it. Its lazily parsed bodies
// are the exception: only one goroutine at a time may look at fields of one Event.
type Event struct {
	// Seq is the event's number in the log, from 1, without gaps. The log gives it; it
	// is not part of the canonical form.
	Seq uint64

	Kind Kind
	// Source names the feed: "webhook", "file", "import", "gateway", and after a slash
	// which of several it was, for example "webhook/apiserver-0".
	Source string
	// Cluster names the cluster that it happened in, where the feed knows.
	Cluster string
	// Received is when Bulwark took it, by Bulwark's clock: UTC, whole microseconds.
	Received time.Time

	AuditID    string
	Level      string // Metadata, Request, RequestResponse
	Stage      string // RequestReceived, ResponseStarted, ResponseComplete, Panic
	RequestURI string
	// Verb is the verb after normalisation: exec, attach, port-forward and proxied
	// upgrades are "create", whatever method carried them.
	Verb string
	// SaidVerb is what the source called it, where that differs from Verb.
	SaidVerb     string
	User         User
	Impersonated *User // who the user acted as; nil when nobody else
	SourceIPs    []string
	UserAgent    string
	Object       ObjectRef
	Status       Status
	// RequestObject and ResponseObject are canonical JSON (see CanonicalJSON) after
	// redaction.
	RequestObject  json.RawMessage
	ResponseObject json.RawMessage
	// RequestReceived and StageAt are requestReceivedTimestamp and stageTimestamp, UTC,
	// whole microseconds.
	RequestReceived time.Time
	StageAt         time.Time
	Annotations     map[string]string

	// Redactions say what was taken out, and commit to it.
	Redactions []Redaction
	// More is what the source said besides, as one canonical JSON object.
	More json.RawMessage

	parsed parsed
}

// User is who did it, as the source authenticated them.
type User struct {
	Username string
	UID      string
	Groups   []string
	Extra    map[string][]string
}

// ObjectRef is what it was done to.
type ObjectRef struct {
	APIGroup        string
	APIVersion      string
	Resource        string
	Subresource     string
	Namespace       string
	Name            string
	UID             string
	ResourceVersion string
}

// Status is how it ended. A zero Code means that the source did not say.
type Status struct {
	Code    int32
	Status  string
	Reason  string
	Message string
}

// Redaction is a value that was taken out of an event at ingest.
type Redaction struct {
	// Path is where it stood: a field path such as "requestObject.data.password".
	Path string
	// Commitment is "sha256:" and the hash, in hex, of a random salt of 32 bytes followed
	// by the value's canonical JSON. Who has the opening can show what the value was;
	// nobody else can guess it.
	Commitment string
}

// Opening shows what a commitment was made of. It is kept apart from the event,
// encrypted, and may be destroyed; the event verifies without it.
type Opening struct {
	Path string
	Salt [32]byte
	// Value is the canonical JSON of what was taken out; nil where only the salt is kept.
	Value []byte
}

// Entry is what ingest hands to the log: an event and what opens its commitments.
type Entry struct {
	Event    *Event
	Openings []Opening
}

// Time is when it happened as the source tells it: StageAt, else RequestReceived,
// else Received.
func (e *Event) Time() time.Time {
	switch {
	case !e.StageAt.IsZero():
		return e.StageAt
	case !e.RequestReceived.IsZero():
		return e.RequestReceived
	}
	return e.Received
}

// Actor is whose rights were used: the impersonated user where there is one.
func (e *Event) Actor() *User {
	if e.Impersonated != nil {
		return e.Impersonated
	}
	return &e.User
}

// Decision is what the API server's authorizer said: "allow", "forbid" or "".
func (e *Event) Decision() string { return e.Annotations["authorization.k8s.io/decision"] }

// Succeeded reports whether the request was let through and did what it asked, as
// far as the source says: allowed, and answered below 300 (a switch of protocols is
// 101), or with no answer told.
func (e *Event) Succeeded() bool {
	return e.Decision() != "forbid" && e.Status.Code < 300 && (e.Status.Code != 0 || e.Status.Status != "Failure")
}
