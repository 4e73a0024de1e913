package action

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What became of a response.
const (
	outcomePlanned = "planned" // shown, as a dry run or before it was carried out
	outcomeApplied = "applied"
	outcomeRefused = "refused" // by a guard or by the policy
	outcomeHeld    = "held"    // a limit kept an alert from being answered
	outcomeFailed  = "failed"  // it could not be planned or carried out
	outcomeUndone  = "undone"
	outcomeExpired = "expired"
	outcomePartly  = "partly" // taken back but for what somebody else has changed since
)

func outcomes() []string {
	return []string{outcomePlanned, outcomeApplied, outcomeRefused, outcomeHeld, outcomeFailed, outcomeUndone, outcomeExpired, outcomePartly}
}

// outcomeOf says how a run ended.
func outcomeOf(r *Run, verb string) string {
	switch {
	case r.State == StatePartly:
		return outcomePartly
	case r.State == StateFailed:
		return outcomeFailed
	case verb == VerbExpire:
		return outcomeExpired
	}
	return outcomeUndone
}

// otherAction stands for names of actions that there are not: whoever asks chooses them.
const otherAction = "other"

// stats are the numbers that metrics show. They have a lock of their own, so that looking
// at them does not wait for the cluster.
type stats struct {
	mu      *sync.Mutex
	actions []string
	ended   map[[2]string]float64 // by action and outcome
	// standing and pending count runs by action; pendingSince is of the oldest one, and
	// untold counts events that the trail did not take yet.
	standing, pending map[string]float64
	pendingSince      time.Time
	untold            int
	ledgerFailures    float64
}

func newStats(actions map[string]*Action) stats {
	s := stats{mu: &sync.Mutex{}, ended: map[[2]string]float64{}}
	for name := range actions {
		s.actions = append(s.actions, name)
	}
	slices.Sort(s.actions)
	return s
}

func (s *stats) count(action, outcome string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[[2]string{s.label(action), outcome}]++
}

func (s *stats) label(action string) string {
	if slices.Contains(s.actions, action) {
		return action
	}
	return otherAction
}

// save keeps a run, and counts.
func (e *Engine) save(r *Run) error {
	err := e.ledger.save(r)
	if err != nil {
		e.stats.mu.Lock()
		e.stats.ledgerFailures++
		e.stats.mu.Unlock()
	}
	e.measure()
	return err
}

// measure looks at the runs; the caller has the Engine's lock.
func (e *Engine) measure() {
	standing, pending, untold := map[string]float64{}, map[string]float64{}, 0
	var since time.Time
	for _, r := range e.runs {
		untold += len(r.Untold)
		began, action := r.Ending, e.stats.label(r.Action)
		switch r.State {
		case StateStanding:
			standing[action]++
			continue
		case StateApplying:
			began = r.Applied
		case StateUndoing:
			standing[action]++ // in whole or in part
		case StatePlanned, StateUndone, StateFailed, StatePartly:
			continue
		}
		pending[action]++
		if since.IsZero() || began.Before(since) {
			since = began
		}
	}
	e.stats.mu.Lock()
	defer e.stats.mu.Unlock()
	e.stats.standing, e.stats.pending, e.stats.pendingSince, e.stats.untold = standing, pending, since, untold
}

// metrics are the descriptions of what Collect gives.
type metrics struct {
	responses, standing, pending, oldest, failures, unreadable, untold *prometheus.Desc
}

func descriptions() metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("bulwark_audit_"+name, help, labels, nil)
	}
	return metrics{
		responses:  desc("responses_total", "Responses to alerts since the start, by what became of them.", "action", "outcome"),
		standing:   desc("responses_standing", "Responses that are in force now.", "action"),
		pending:    desc("responses_pending", "Responses that are being carried out, or wait to be taken back.", "action"),
		oldest:     desc("responses_oldest_pending_seconds", "For how long the oldest of those has been pending; 0 when there is none."),
		failures:   desc("response_ledger_failures_total", "Failures to keep on disk what stands."),
		unreadable: desc("response_ledger_unreadable", "1 while a part of what stands cannot be read, and nothing new is done."),
		untold:     desc("response_untold_events", "Events of responses that the trail has not taken yet."),
	}
}

// Describe says which metrics there are.
func (e *Engine) Describe(out chan<- *prometheus.Desc) {
	d := descriptions()
	for _, desc := range []*prometheus.Desc{d.responses, d.standing, d.pending, d.oldest, d.failures, d.unreadable, d.untold} {
		out <- desc
	}
}

// Collect reads them.
func (e *Engine) Collect(out chan<- prometheus.Metric) {
	d, now := descriptions(), e.cfg.Now()
	e.stats.mu.Lock()
	defer e.stats.mu.Unlock()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	s := &e.stats
	all := append(slices.Clone(s.actions), otherAction)
	for _, action := range all {
		for _, outcome := range outcomes() {
			out <- prometheus.MustNewConstMetric(d.responses, prometheus.CounterValue, s.ended[[2]string{action, outcome}], action, outcome)
		}
	}
	for _, action := range all {
		gauge(d.standing, s.standing[action], action)
		gauge(d.pending, s.pending[action], action)
	}
	age := 0.0
	if !s.pendingSince.IsZero() {
		age = max(0, now.Sub(s.pendingSince).Seconds())
	}
	gauge(d.oldest, age)
	gauge(d.untold, float64(s.untold))
	out <- prometheus.MustNewConstMetric(d.failures, prometheus.CounterValue, s.ledgerFailures)
	broken := 0.0
	if e.broken != nil {
		broken = 1
	}
	gauge(d.unreadable, broken)
}
