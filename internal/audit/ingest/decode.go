package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// defaultMaxEvent is the size from which an event's bodies are dropped. An API server
// with its default settings cuts events at a tenth of it.
const defaultMaxEvent = 1 << 20

// maxEntries is how many events one document may tell. An API server sends 400 at once.
// Without the limit a document of empty events would take fifty times its size.
const maxEntries = 1 << 17

var errMany = fmt.Errorf("more than %d events in one document", maxEntries)

// errOver says that an event turned out to be too large while it was read.
var errOver = errors.New("the event is too large")

// maxWrapped is how many lists and envelopes an event may come in.
const maxWrapped = 6

// What ingest itself has to say of an event stands in annotations with this prefix.
// A source that uses it finds its own words under More.
const (
	notes = "ingest.bulwark.dev/"
	// NoteDropped names what was left out of the event, and why.
	NoteDropped = notes + "dropped"
	// NoteReplaced says that some text was no valid Unicode.
	NoteReplaced = notes + "replaced"
	// NoteCut says that texts or lists were cut because the event was too large.
	NoteCut = notes + "cut"
	// NoteMerged names what stood twice and was put together.
	NoteMerged = notes + "merged"
)

// Decoder turns what sources send into events of one form. It may be used by many
// goroutines; its fields are set before the first use.
type Decoder struct {
	// Source and Cluster are what each event says of itself. Where Cluster is empty and
	// the document names the cluster, that name is taken.
	Source, Cluster string
	// Now is the clock that Received is read from.
	Now func() time.Time
	// Redact takes secrets out of an event and gives what opens the commitments to them.
	Redact func(*audit.Event) []audit.Opening
	// MaxEvent is the size in bytes from which an event loses its bodies, and its texts
	// are cut; 0 means 1 MiB.
	MaxEvent int

	readers sync.Pool
}

// Decode reads one JSON document: an audit.k8s.io/v1 Event or EventList, a list of
// such, what EKS, AKS and GKE make of one, a line of the gateway's event log, or what
// another part of Bulwark tells of itself.
// Each event that it tells becomes an entry, in the document's order; nothing is left
// out, also not what looks like a repetition. What is JSON but cannot be understood
// becomes an event of kind system that says so. What is no JSON, or tells more than
// 131072 events, is an error, and there are no entries.
func (d *Decoder) Decode(document []byte) ([]audit.Entry, error) {
	if d.Now == nil || d.Redact == nil || d.Source == "" {
		return nil, errors.New("decode audit events: the decoder needs a source's name, a clock and a redaction")
	}
	r, ok := d.readers.Get().(*reader)
	if !ok {
		r = newReader()
	}
	r.begin(d, document)
	err := r.element()
	if err == nil {
		err = r.End()
	}
	entries := r.entries
	r.begin(nil, nil)
	d.readers.Put(r)
	if err != nil {
		return nil, fmt.Errorf("decode audit events: %w", err)
	}
	return entries, nil
}

func micros(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func (r *reader) begin(d *Decoder, document []byte) {
	r.d, r.entries, r.wrapped, r.over = d, nil, 0, false
	r.Reset(document)
	if d != nil {
		r.cluster, r.now = d.Cluster, micros(d.Now())
		if r.limit = d.MaxEvent; r.limit <= 0 {
			r.limit = defaultMaxEvent
		}
	}
}

// element reads one value and adds the entries for it. It returns an error only if
// the value is no JSON.
func (r *reader) element() error { return r.attempt(r.any) }

// attempt reads one value. If read fails, and it is JSON all the same, an entry that
// says why takes its place.
func (r *reader) attempt(read func() error) error {
	r.Next()
	from := r.Offset()
	problem := read()
	if len(r.entries) > maxEntries {
		return errMany
	}
	if problem == nil {
		return nil
	}
	r.Seek(from)
	raw, err := r.Raw()
	if err != nil {
		return err
	}
	// Not even a hash of it: that would let one guess a secret in it.
	entry := Unread(r.d.Source, problem.Error(), r.now)
	entry.Event.Cluster = r.cluster
	entry.Event.More = append(strconv.AppendInt([]byte(`{"bytes":`), int64(len(raw)), 10), '}')
	r.entries = append(r.entries, entry)
	return nil
}

// any reads an event, or events in an envelope, of whatever form.
func (r *reader) any() error {
	if r.wrapped++; r.wrapped > maxWrapped {
		return errors.New("an event is wrapped too often")
	}
	defer func() { r.wrapped-- }()
	if r.Next() == '[' {
		return r.Array(r.element)
	}
	from := r.Offset()
	what, err := r.form()
	if err != nil {
		return err
	}
	r.Seek(from)
	switch what {
	case formEvent:
		return r.sized(r.event)
	case formEventList: // its items do not repeat their kind
		return r.within("items", func() error { return r.attempt(func() error { return r.sized(r.event) }) })
	case formList:
		return r.within("items", r.element)
	case formCloudWatch:
		return r.cloudWatch()
	case formRecords:
		return r.within("records", r.element)
	case formRecord:
		return r.azure()
	case formLogEntry:
		return r.sized(r.google)
	case formGateway:
		return r.sized(r.gateway)
	case formPart:
		return r.sized(r.part)
	case formUnknown:
	}
	return errors.New("no known form of an audit event")
}

// within calls element for each element of the lists that an object has under name,
// and passes over its other members.
func (r *reader) within(name string, element func() error) error {
	found := false
	return r.Object(func(n []byte) error {
		if string(n) != name {
			return r.Skip()
		}
		if found {
			return fmt.Errorf("%q stands twice", name)
		}
		found = true
		if r.Null() {
			return nil
		}
		return r.Array(element)
	})
}

// embedded reads what stands as JSON text within a JSON string, or as an object, and
// calls read with the cursor at its beginning.
func (r *reader) embedded(read func() error) error {
	if r.Next() != '"' {
		return read()
	}
	r.Replaced = false
	text, err := r.String()
	if err != nil {
		return err
	}
	outer, before := r.Cursor, len(r.entries)
	r.Cursor, r.replaced = *audit.NewCursor(bytes.Clone(text)), r.Replaced
	if err = read(); err == nil {
		err = r.End()
	}
	if err != nil {
		r.entries = r.entries[:before]
	}
	r.Cursor, r.replaced = outer, false
	return err
}

// sized reads one event. One that is larger than the limit is read again, without its
// bodies.
func (r *reader) sized(read func(*audit.Event) error) error {
	from := r.Offset()
	r.from = from
	for r.over = false; ; r.over = true {
		e := &audit.Event{Kind: audit.KindAPI, Source: r.d.Source, Cluster: r.cluster, Received: r.now}
		r.start()
		err := read(e)
		if !r.over && (errors.Is(err, errOver) || err == nil && r.grown()) {
			r.Seek(from)
			continue
		}
		if err != nil {
			return err
		}
		if err := r.finish(e); err != nil {
			return err
		}
		r.entries = append(r.entries, audit.Entry{Event: e, Openings: r.d.Redact(e)})
		return nil
	}
}

// grown reports whether what was read of the event is more than it may have.
func (r *reader) grown() bool { return r.Offset()-r.from > r.limit }

// form is what a document's object is.
type form int

const (
	formUnknown    form = iota
	formEvent           // audit.k8s.io/v1 Event
	formEventList       // audit.k8s.io/v1 EventList
	formList            // any other object with items
	formCloudWatch      // a batch of a CloudWatch Logs subscription
	formRecords         // a batch of Azure diagnostics
	formRecord          // one of Azure's records
	formLogEntry        // Google Cloud's LogEntry
	formGateway         // a line of the gateway's event log
	formPart            // what another part of Bulwark tells of itself
)

var errFound = errors.New("found")

// form looks at the names in an object. The kind decides, wherever it stands; API
// servers write it first, so that this ends at once.
func (r *reader) form() (form, error) {
	found, decided := formUnknown, false
	var is struct{ event, list, batch, records, record, entry, decision, time, part bool }
	err := r.Object(func(name []byte) error {
		switch string(name) {
		case "kind":
			if r.Next() != '"' {
				break
			}
			kind, err := r.String()
			switch {
			case err != nil:
				return err
			case string(kind) == "Event":
				found = formEvent
			case string(kind) == "EventList":
				found = formEventList
			}
			decided = true
			return errFound
		case "items":
			is.list = true
		case "logEvents", "events":
			is.batch = true
		case "records":
			is.records = true
		case "properties":
			is.record = true
		case "protoPayload":
			is.entry = true
		case "decision":
			is.decision = true
		case "time":
			is.time = true
		case "part":
			is.part = true
		case "verb", "objectRef", "auditID", "requestURI", "user", "stage":
			is.event = true
		}
		return r.Skip()
	})
	switch {
	case err != nil && !errors.Is(err, errFound):
		return formUnknown, err
	case decided:
		return found, nil
	case is.entry:
		return formLogEntry, nil
	case is.event:
		return formEvent, nil
	case is.list:
		return formList, nil
	case is.batch:
		return formCloudWatch, nil
	case is.records:
		return formRecords, nil
	case is.record:
		return formRecord, nil
	case is.decision && is.time:
		return formGateway, nil
	case is.part && is.time:
		return formPart, nil
	}
	return formUnknown, nil
}
