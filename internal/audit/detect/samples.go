package detect

import (
	"fmt"

	"bulwark.dev/bulwark/internal/audit"
)

// Sample is one of a rule's own tests that must alert, with its events read.
type Sample struct {
	Rule, Name string
	Events     []*audit.Event
	// Fires reports whether the rule alerts for events, in an engine of its own. It is
	// for one goroutine at a time.
	Fires func(events []*audit.Event) bool
}

// Samples gives the alerting tests of the rules that alert by themselves. decode reads
// one event as ingest does.
func (s *Set) Samples(decode func(document []byte) ([]audit.Entry, error)) ([]Sample, error) {
	var out []Sample
	decode = withTrail(decode)
	for _, r := range s.Rules {
		if r.Quiet {
			continue
		}
		alone := &Set{Rules: withBases(r), vars: s.vars}
		var kept *Engine
		fires := func(events []*audit.Event) bool {
			if kept == nil {
				var err error
				if kept, err = NewEngine(alone, Config{}); err != nil {
					return false // the engine of the whole set says why
				}
			}
			engine := kept
			engine.forget()
			fired := false
			for i, e := range events {
				e.Seq = uint64(i) + 1
				for _, a := range engine.Observe(e) {
					fired = fired || a.Rule == r.Key
				}
			}
			return fired
		}
		for i := range r.own.Tests {
			t := &r.own.Tests[i]
			if !*t.Alert {
				continue
			}
			sample := Sample{Rule: r.Key, Name: t.Name, Fires: fires}
			for n, text := range t.events {
				entries, err := decode(text)
				if err != nil {
					return nil, fmt.Errorf("%s: test %q: event %d: %w", r.File, t.Name, n+1, err)
				}
				for _, entry := range entries {
					sample.Events = append(sample.Events, entry.Event)
				}
			}
			out = append(out, sample)
		}
	}
	return out, nil
}
