package admission

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bulwark.dev/bulwark"
)

// metrics are those of a Webhook. No label has a value that a caller chooses.
type metrics struct {
	requests *prometheus.CounterVec
	findings *prometheus.CounterVec
	seconds  prometheus.Histogram
}

func newMetrics() *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bulwark_admission_requests_total",
			Help: "Requests by outcome: allowed, denied, would-deny, exempt, not-applicable, malformed or overloaded.",
		}, []string{"outcome"}),
		findings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bulwark_admission_findings_total",
			Help: "What controls found in requests, by control and effect: deny, warn, excepted or unknown.",
		}, []string{"control", "effect"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bulwark_admission_seconds", Help: "Time that a request took.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
		}),
	}
	for _, o := range []string{outcomeAllowed, outcomeDenied, outcomeDryRun, outcomeExempt, outcomeNotApplicable, "malformed", "overloaded"} {
		m.requests.WithLabelValues(o)
	}
	return m
}

func (m *metrics) done(outcome string, took time.Duration) {
	m.requests.WithLabelValues(outcome).Inc()
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) found(f *finding) {
	effect := "warn"
	switch {
	case f.exception != "":
		effect = "excepted"
	case f.denies:
		effect = "deny"
	case f.Verdict == bulwark.VerdictUnknown:
		effect = "unknown"
	}
	m.findings.WithLabelValues(f.ID, effect).Inc()
}

var _ prometheus.Collector = (*Webhook)(nil)

// Describe is for prometheus.Collector.
func (w *Webhook) Describe(ch chan<- *prometheus.Desc) {
	w.metrics.requests.Describe(ch)
	w.metrics.findings.Describe(ch)
	w.metrics.seconds.Describe(ch)
}

// Collect is for prometheus.Collector.
func (w *Webhook) Collect(ch chan<- prometheus.Metric) {
	w.metrics.requests.Collect(ch)
	w.metrics.findings.Collect(ch)
	w.metrics.seconds.Collect(ch)
}
