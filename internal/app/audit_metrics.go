package app

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"bulwark.dev/bulwark/internal/audit/respond"
)

// trailMetrics are counts of the log.
type trailMetrics struct {
	t     *trail
	descs map[string]*prometheus.Desc
}

// counters are the metrics by name, with what they say.
var trailCounters = map[string]string{ //nolint:gochecknoglobals // read only
	"bulwark_audit_log_events_total":         "Events that the trail took since the start.",
	"bulwark_audit_log_refused_events_total": "Events that were refused because they could not be written.",
	"bulwark_audit_log_commits_total":        "Writes to disk, each of one batch or several.",
	"bulwark_audit_log_segments_total":       "Segments that were sealed since the start.",
	"bulwark_audit_log_troubles_total":       "Failures of the disk or of sealing.",
}

var trailGauges = map[string]string{ //nolint:gochecknoglobals // read only
	"bulwark_audit_log_last_event":       "Number of the last event.",
	"bulwark_audit_log_waiting_segments": "Parts of the trail that wait to be sealed.",
	"bulwark_audit_log_full":             "1 while the disk is full and nothing is accepted.",
}

func newTrailMetrics(t *trail) *trailMetrics {
	m := &trailMetrics{t: t, descs: map[string]*prometheus.Desc{}}
	for _, all := range []map[string]string{trailCounters, trailGauges} {
		for name, help := range all {
			m.descs[name] = prometheus.NewDesc(name, help, nil, nil)
		}
	}
	return m
}

// Describe says which metrics there are.
func (m *trailMetrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		out <- d
	}
}

// Collect reads them.
func (m *trailMetrics) Collect(out chan<- prometheus.Metric) {
	s := m.t.log.Stats()
	full := 0.0
	if s.Full {
		full = 1
	}
	for name, value := range map[string]float64{
		"bulwark_audit_log_events_total": float64(s.Events), "bulwark_audit_log_refused_events_total": float64(s.Refused), "bulwark_audit_log_commits_total": float64(s.Commits),
		"bulwark_audit_log_segments_total": float64(s.Sealed), "bulwark_audit_log_troubles_total": float64(s.Troubles),
	} {
		out <- prometheus.MustNewConstMetric(m.descs[name], prometheus.CounterValue, value)
	}
	for name, value := range map[string]float64{
		"bulwark_audit_log_last_event": float64(s.Last), "bulwark_audit_log_waiting_segments": float64(s.Waiting), "bulwark_audit_log_full": full,
	} {
		out <- prometheus.MustNewConstMetric(m.descs[name], prometheus.GaugeValue, value)
	}
}

// countUndelivered makes the metric of attempts to tell receivers that failed.
func (t *trail) countUndelivered(receivers map[string]respond.Receiver) prometheus.Collector {
	failed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "bulwark_audit_delivery_failures_total", Help: "Attempts to tell a receiver of an alert that failed; given up are those that it refused.",
	}, []string{"receiver", "given_up"})
	for name := range receivers {
		for _, up := range []string{"false", "true"} {
			failed.WithLabelValues(name, up)
		}
	}
	t.undelivered = func(receiver string, givenUp bool) {
		failed.WithLabelValues(receiver, strconv.FormatBool(givenUp)).Inc()
	}
	return failed
}
