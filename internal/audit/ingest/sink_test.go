package ingest

import (
	"context"
	"sync"

	"bulwark.dev/bulwark/internal/audit"
)

// memory is a Sink that keeps what it is given, unless before says otherwise.
type memory struct {
	before func(ctx context.Context, entries []audit.Entry) error

	mu     sync.Mutex
	events []*audit.Event
	calls  int
}

func (m *memory) Append(ctx context.Context, entries []audit.Entry) (uint64, error) {
	if m.before != nil {
		if err := m.before(ctx, entries); err != nil {
			return 0, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	first := uint64(len(m.events)) + 1
	for _, e := range entries {
		m.events = append(m.events, e.Event)
	}
	return first, nil
}

func (m *memory) all() []*audit.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]*audit.Event(nil), m.events...)
}

// ids are the audit ids, and what events of the trail itself say.
func (m *memory) ids() []string {
	var out []string
	for _, e := range m.all() {
		if e.Kind == audit.KindSystem {
			out = append(out, e.Status.Message)
		} else {
			out = append(out, e.AuditID)
		}
	}
	return out
}
