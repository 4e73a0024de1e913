package ingest

import (
	"context"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// Sink takes entries into the log. When Append returns without an error they are on
// the disk to stay, numbered from first on.
type Sink interface {
	Append(ctx context.Context, entries []audit.Entry) (first uint64, err error)
}

// Decode turns one JSON document into entries, as Decoder.Decode does. It may keep
// nothing of the document: its memory is used again.
type Decode func(document []byte) ([]audit.Entry, error)

// Unread is the event that stands for input that could not be kept as what it was.
// Its text says what was wrong and never quotes the input, which may hold secrets.
func Unread(source, text string, now time.Time) audit.Entry {
	return audit.Entry{Event: &audit.Event{
		Kind: audit.KindSystem, Source: source, Received: micros(now), Verb: "ingest",
		Status: audit.Status{Status: "Failure", Reason: "Unreadable", Message: text},
	}}
}
