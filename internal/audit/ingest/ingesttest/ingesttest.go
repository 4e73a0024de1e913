// Package ingesttest is what tests of the ways into the trail share: a log in memory, and
// a decoder that redacts nothing.
package ingesttest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/ingest"
)

// Sink keeps what it is given in memory.
type Sink struct {
	// Before, where set, is asked first; its error is Append's.
	Before func(ctx context.Context, entries []audit.Entry) error

	mu     sync.Mutex
	events []*audit.Event
	calls  int
}

var _ ingest.Sink = (*Sink)(nil)

// Append keeps the entries' events.
func (s *Sink) Append(ctx context.Context, entries []audit.Entry) (uint64, error) {
	if s.Before != nil {
		if err := s.Before(ctx, entries); err != nil {
			return 0, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	first := uint64(len(s.events)) + 1
	for _, e := range entries {
		s.events = append(s.events, e.Event)
	}
	return first, nil
}

// Events are those that were kept.
func (s *Sink) Events() []*audit.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Calls is how often Append kept something.
func (s *Sink) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// IDs are the audit ids of the events, and what events of the trail itself say.
func (s *Sink) IDs() []string {
	var out []string
	for _, e := range s.Events() {
		if e.Kind == audit.KindSystem {
			out = append(out, e.Status.Message)
		} else {
			out = append(out, e.AuditID)
		}
	}
	return out
}

// Nowhere is a Sink that forgets.
type Nowhere struct{}

// Append forgets the entries.
func (Nowhere) Append(context.Context, []audit.Entry) (uint64, error) { return 1, nil }

// Decoder makes a decoder that redacts nothing, at noon.
func Decoder(source string) *ingest.Decoder {
	return &ingest.Decoder{
		Source: source,
		Now:    func() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) },
		Redact: func(*audit.Event) []audit.Opening { return nil },
	}
}

// List is an EventList as an API server sends it.
func List(ids ...string) string {
	items := make([]string, 0, len(ids))
	for _, id := range ids {
		items = append(items, `{"level":"Metadata","auditID":"`+id+`","stage":"ResponseComplete","requestURI":"/api/v1/pods","verb":"list","user":{"username":"ann"}}`)
	}
	return `{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":[` + strings.Join(items, ",") + `]}`
}
