package forward

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// counts are what metrics tell.
type counts struct {
	sent, dropped, failures atomic.Uint64
	acknowledged            atomic.Int64 // nanoseconds of Unix time
	full, diskFails         atomic.Bool
}

var _ prometheus.Collector = (*Sender)(nil)

// The metrics of a Sender.
var ( //nolint:gochecknoglobals // read only
	descQueued       = desc("queued_bytes", "Events in memory, which would be lost with the process.")
	descSpooled      = desc("spooled_bytes", "Events on disk that the trail has not acknowledged.")
	descSent         = desc("sent_events_total", "Events that the trail acknowledged.")
	descDropped      = desc("dropped_events_total", "Events that were dropped: no room, or refused by the trail.")
	descFailures     = desc("failures_total", "Batches that were not acknowledged.")
	descAcknowledged = desc("last_acknowledged_timestamp_seconds", "When the trail acknowledged something last, in Unix time; 0: never since the start.")
	descFull         = desc("full", "1 while the spool has all the bytes that it may have.")
	descDiskFails    = desc("disk_failing", "1 while the spool cannot be written.")
)

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("bulwark_audit_forward_"+name, help, nil, nil)
}

// Describe is for prometheus.Collector.
func (s *Sender) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descQueued, descSpooled, descSent, descDropped, descFailures, descAcknowledged, descFull, descDiskFails} {
		ch <- d
	}
}

// Collect is for prometheus.Collector.
func (s *Sender) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	queued := len(s.queue) + len(s.stuck)
	s.mu.Unlock()
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	flag := func(d *prometheus.Desc, on bool) {
		if on {
			gauge(d, 1)
			return
		}
		gauge(d, 0)
	}
	gauge(descQueued, float64(queued))
	gauge(descSpooled, float64(s.spool.unread()))
	gauge(descAcknowledged, float64(s.counts.acknowledged.Load())/1e9)
	flag(descFull, s.counts.full.Load())
	flag(descDiskFails, s.counts.diskFails.Load())
	for d, n := range map[*prometheus.Desc]uint64{
		descSent: s.counts.sent.Load(), descDropped: s.counts.dropped.Load(), descFailures: s.counts.failures.Load(),
	} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n))
	}
}
