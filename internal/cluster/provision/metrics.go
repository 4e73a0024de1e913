package provision

import "github.com/prometheus/client_golang/prometheus"

// meters are the metrics of a Provisioner.
type meters struct {
	writes  *prometheus.CounterVec
	ports   *prometheus.GaugeVec
	pending prometheus.Gauge
}

func newMeters() meters {
	return meters{
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bulwark_provision_writes_total",
			Help: "Writes for Gateways by resource and outcome: written, conflict, gone, forbidden or failed.",
		}, []string{"resource", "outcome"}),
		ports: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "bulwark_provision_ports", Help: "Target ports by state: used, or held because they were used lately.",
		}, []string{"state"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "bulwark_provision_failing", Help: "Gateways whose Services or EndpointSlices could not be written in the last round.",
		}),
	}
}

func (m *meters) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.writes, m.ports, m.pending}
}

// Describe implements prometheus.Collector.
func (p *Provisioner) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range p.meters.collectors() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (p *Provisioner) Collect(ch chan<- prometheus.Metric) {
	for _, c := range p.meters.collectors() {
		c.Collect(ch)
	}
}
