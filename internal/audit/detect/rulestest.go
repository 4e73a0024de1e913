package detect

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"bulwark.dev/bulwark/internal/audit"
)

// TestResult is what became of one of a rule's own tests.
type TestResult struct {
	Rule, File, Name string
	Want, Got        bool
	// Alerts are those of the rule.
	Alerts []Alert
	Err    error
}

// OK reports whether the test gave what it must.
func (t TestResult) OK() bool { return t.Err == nil && t.Want == t.Got }

// Test runs the tests that rules have inside, each in an engine that remembers nothing
// and has the rule and those that it joins. decode reads one event as ingest does.
func (s *Set) Test(decode func(document []byte) ([]audit.Entry, error)) []TestResult {
	var out []TestResult
	decode = withTrail(decode)
	for _, r := range s.Rules {
		if len(r.own.Tests) == 0 {
			continue
		}
		tested := *r
		tested.Quiet = false
		engine, broken := NewEngine(&Set{Rules: withBases(&tested), vars: s.vars}, Config{})
		for i := range r.own.Tests {
			t := &r.own.Tests[i]
			result := TestResult{Rule: r.Key, File: r.File, Name: t.Name, Want: *t.Alert, Err: broken}
			if broken == nil {
				engine.forget()
				result.Alerts, result.Err = engine.run(r, t, decode)
			}
			result.Got = len(result.Alerts) > 0
			out = append(out, result)
		}
	}
	return out
}

// run gives the alerts of a rule for the events of one of its tests.
func (g *Engine) run(r *Rule, t *ownTest, decode func([]byte) ([]audit.Entry, error)) ([]Alert, error) {
	var out []Alert
	seq := uint64(0)
	for i, text := range t.events {
		entries, err := decode(text)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", i+1, err)
		}
		if len(entries) == 0 {
			return nil, fmt.Errorf("event %d: %w", i+1, errors.New("nothing came out of it"))
		}
		for _, entry := range entries {
			if e := entry.Event; e.Kind == audit.KindSystem && e.Status.Reason == "Unreadable" && !slices.Contains(r.Kinds, audit.KindSystem) {
				return nil, fmt.Errorf("event %d: %s", i+1, e.Status.Message)
			}
			seq++
			entry.Event.Seq = seq
			for _, a := range g.Observe(entry.Event) {
				if a.Rule == r.Key {
					out = append(out, a)
				}
			}
		}
	}
	return out, nil
}

// withTrail reads events of the trail's own life, which ingest takes from nobody, in the
// form in which the log keeps them, and leaves the others to decode.
func withTrail(decode func([]byte) ([]audit.Entry, error)) func([]byte) ([]audit.Entry, error) {
	return func(text []byte) ([]audit.Entry, error) {
		var head struct {
			Kind audit.Kind `json:"kind"`
		}
		if json.Unmarshal(text, &head) != nil || head.Kind != audit.KindSystem && head.Kind != audit.KindAction && head.Kind != audit.KindAlert {
			return decode(text)
		}
		e, err := audit.NewParser().ParseKnown(text)
		if err != nil {
			return nil, err //nolint:wrapcheck // it says what it was doing
		}
		return []audit.Entry{{Event: e}}, nil
	}
}

// withBases lists a rule and all below it, each once.
func withBases(r *Rule) []*Rule {
	var out []*Rule
	seen := map[*Rule]bool{}
	var walk func(r *Rule)
	walk = func(r *Rule) {
		if seen[r] {
			return
		}
		seen[r] = true
		out = append(out, r)
		for _, b := range r.Bases {
			walk(b)
		}
	}
	walk(r)
	return out
}
