package relay

import "github.com/prometheus/client_golang/prometheus"

// descs are the metrics of both ends. They have no labels: names of pods come
// and go.
type descs struct {
	clients, behind, failing, revision                              *prometheus.Desc
	published, encodes, bytes, full, deltas, resumed, refused       *prometheus.Desc
	connected, heard, connects, failures, resyncs, received, commit *prometheus.Desc
	applied, failed                                                 *prometheus.Desc
}

func metric(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }

func serverDescs() descs {
	const p = "bulwark_relay_"
	return descs{
		clients:   metric(p+"clients", "Data planes that are connected."),
		behind:    metric(p+"clients_behind", "Data planes that are connected and do not have the newest revision in force."),
		failing:   metric(p+"clients_failing", "Data planes that could not put a revision in force."),
		revision:  metric(p+"revision", "Newest revision of this process."),
		published: metric(p+"revisions_total", "Revisions made."),
		encodes:   metric(p+"encoded_objects_total", "Objects that were encoded."),
		bytes:     metric(p+"sent_bytes_total", "Bytes sent to data planes."),
		full:      metric(p+"full_states_total", "Times that a data plane was sent everything."),
		deltas:    metric(p+"changes_total", "Times that a data plane was sent a change."),
		resumed:   metric(p+"resumed_total", "Times that a data plane connected with the newest state."),
		refused:   metric(p+"refused_total", "Connections that were turned away after the handshake."),
	}
}

func watcherDescs() descs {
	const p = "bulwark_relay_client_"
	return descs{
		connected: metric(p+"connected", "1 while a controller answers."),
		heard:     metric(p+"heard_timestamp_seconds", "When the controller last gave a sign of life."),
		connects:  metric(p+"connects_total", "Connections made."),
		failures:  metric(p+"failures_total", "Connections that failed or broke."),
		resyncs:   metric(p+"resyncs_total", "Streams given up because of what came in them."),
		received:  metric(p+"received_bytes_total", "Bytes received."),
		commit:    metric(p+"commits_total", "States received."),
		applied:   metric(p+"applied_total", "States put in force."),
		failed:    metric(p+"apply_failures_total", "States that could not be put in force."),
	}
}

// Describe implements prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect implements prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	d := serverDescs()
	revision, _ := s.Revision()
	behind, failing, clients := 0, 0, s.Clients()
	for _, c := range clients {
		if c.Applied < revision {
			behind++
		}
		if c.Failed != "" {
			failing++
		}
	}
	gauge(ch, d.clients, float64(len(clients)))
	gauge(ch, d.behind, float64(behind))
	gauge(ch, d.failing, float64(failing))
	gauge(ch, d.revision, float64(revision))
	total(ch, d.published, s.count.published.Load())
	total(ch, d.encodes, s.count.encodes.Load())
	total(ch, d.bytes, s.count.bytes.Load())
	total(ch, d.full, s.count.full.Load())
	total(ch, d.deltas, s.count.deltas.Load())
	total(ch, d.resumed, s.count.resumed.Load())
	total(ch, d.refused, s.count.refused.Load())
}

// Describe implements prometheus.Collector.
func (w *Watcher) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(w, ch) }

// Collect implements prometheus.Collector.
func (w *Watcher) Collect(ch chan<- prometheus.Metric) {
	d, status := watcherDescs(), w.Status()
	connected, heard := 0.0, 0.0
	if status.Connected {
		connected = 1
	}
	if !status.Heard.IsZero() {
		heard = float64(status.Heard.UnixMilli()) / 1000
	}
	gauge(ch, d.connected, connected)
	gauge(ch, d.heard, heard)
	total(ch, d.connects, w.count.connects.Load())
	total(ch, d.failures, w.count.failures.Load())
	total(ch, d.resyncs, w.count.resyncs.Load())
	total(ch, d.received, w.count.bytes.Load())
	total(ch, d.commit, w.count.commits.Load())
	total(ch, d.applied, w.count.applied.Load())
	total(ch, d.failed, w.count.failed.Load())
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
}

func total(ch chan<- prometheus.Metric, d *prometheus.Desc, v uint64) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
}
