package status

import "github.com/prometheus/client_golang/prometheus"

// meters are the metrics of a Writer.
type meters struct {
	writes, events   *prometheus.CounterVec
	pending, seconds prometheus.Gauge
}

func newMeters() meters {
	return meters{
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bulwark_status_writes_total",
			Help: "Writes of a status by kind and outcome: written, conflict, gone, forbidden, refused or failed.",
		}, []string{"kind", "outcome"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bulwark_status_events_total",
			Help: "Events on objects by outcome: written, suppressed, dropped or failed.",
		}, []string{"outcome"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bulwark_status_pending", Help: "Objects whose status is not as it should be yet.",
		}),
		seconds: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bulwark_status_pass_seconds", Help: "How long the last pass that wrote anything took.",
		}),
	}
}

func (m *meters) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.writes, m.events, m.pending, m.seconds}
}

// Describe implements prometheus.Collector.
func (w *Writer) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range w.meters.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (w *Writer) Collect(ch chan<- prometheus.Metric) {
	for _, c := range w.meters.collectors() {
		c.Collect(ch)
	}
}
