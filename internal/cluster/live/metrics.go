package live

import "github.com/prometheus/client_golang/prometheus"

// The metrics of a Watcher.
var (
	descObjects = prometheus.NewDesc("bulwark_cluster_objects",
		"Objects held, by kind.", []string{"kind"}, nil)
	descQuiet = prometheus.NewDesc("bulwark_cluster_last_event_seconds",
		"Seconds since the API server last sent anything of a kind.", []string{"kind"}, nil)
	descRestarts = prometheus.NewDesc("bulwark_cluster_watch_restarts_total",
		"Times that a kind had to be listed and watched anew.", []string{"kind"}, nil)
	descReadable = prometheus.NewDesc("bulwark_cluster_unreadable",
		"1 for kinds that cannot be read, whatever the reason, else 0.", []string{"kind"}, nil)
	descWatching = prometheus.NewDesc("bulwark_cluster_watching",
		"1 for kinds whose changes arrive at the moment, else 0.", []string{"kind"}, nil)
)

var _ prometheus.Collector = (*Watcher)(nil)

// Describe is for prometheus.Collector.
func (w *Watcher) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descObjects, descQuiet, descRestarts, descReadable, descWatching} {
		ch <- d
	}
}

// Collect is for prometheus.Collector.
func (w *Watcher) Collect(ch chan<- prometheus.Metric) {
	unreadable := map[string]bool{}
	for _, u := range w.store.Snapshot().Unreadable {
		unreadable[u.Kind] = true
	}
	for _, s := range w.sources {
		kind := s.kind.Name
		s.mu.Lock()
		last, restarts, watching := s.lastEvent, s.restarts, s.watching && s.failure == nil
		s.mu.Unlock()
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, kind)
		}
		gauge(descObjects, float64(w.store.Len(kind)))
		gauge(descReadable, number(unreadable[kind]))
		gauge(descWatching, number(watching))
		if !last.IsZero() {
			gauge(descQuiet, w.now().Sub(last).Seconds())
		}
		ch <- prometheus.MustNewConstMetric(descRestarts, prometheus.CounterValue, float64(restarts), kind)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
