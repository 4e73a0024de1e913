package webhook

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The outcomes that metrics tell apart.
const (
	outcomeTaken           = "taken"
	outcomeUnauthenticated = "unauthenticated"
	outcomeForbidden       = "forbidden"
	outcomeMalformed       = "malformed"
	outcomeLarge           = "too-large"
	outcomeOverloaded      = "overloaded"
	outcomeSink            = "not-kept"
)

// metrics are those of a Handler. No label has a value that a caller chooses.
type metrics struct {
	batches *prometheus.CounterVec
	events  prometheus.Counter
	waiting prometheus.Gauge
	seconds prometheus.Histogram
}

func newMetrics() *metrics {
	m := &metrics{
		batches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bulwark_audit_webhook_batches_total",
			Help: "Batches by outcome: taken, unauthenticated, forbidden, malformed, too-large, overloaded or not-kept.",
		}, []string{"outcome"}),
		events: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "bulwark_audit_webhook_events_total", Help: "Events of batches that were taken.",
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bulwark_audit_webhook_waiting_bytes", Help: "Bytes of batches that are being read or wait for the log.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "bulwark_audit_webhook_seconds", Help: "Time from a batch's headers to its answer.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
	}
	for _, o := range []string{outcomeTaken, outcomeUnauthenticated, outcomeForbidden, outcomeMalformed, outcomeLarge, outcomeOverloaded, outcomeSink} {
		m.batches.WithLabelValues(o)
	}
	return m
}

func (m *metrics) done(a answer, took time.Duration) {
	m.batches.WithLabelValues(a.outcome).Inc()
	m.events.Add(float64(a.events))
	m.seconds.Observe(took.Seconds())
}

var _ prometheus.Collector = (*Handler)(nil)

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.batches, m.events, m.waiting, m.seconds}
}

// Describe is for prometheus.Collector.
func (w *Handler) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range w.metrics.all() {
		c.Describe(ch)
	}
}

// Collect is for prometheus.Collector.
func (w *Handler) Collect(ch chan<- prometheus.Metric) {
	for _, c := range w.metrics.all() {
		c.Collect(ch)
	}
}
