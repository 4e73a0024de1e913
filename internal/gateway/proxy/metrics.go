package proxy

import (
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"bulwark.dev/bulwark"
)

// metrics counts in plain atomics and speaks Prometheus only when asked. Labels
// are bounded: rules that are in force, status classes, and codes of refusal.
type metrics struct {
	rejected   atomic.Uint64 // connections over the limit
	handshakes atomic.Uint64 // failed TLS handshakes
	faults     atomic.Uint64 // panics that were caught
	unrouted   ruleMetrics   // requests that reached no rule
	events     atomic.Uint64
	refusals   [len(codes)]atomic.Uint64
	reloads    atomic.Uint64
	rulesBad   atomic.Int64  // rules in force that refuse everything
	bytesIn    atomic.Uint64 // of streams that have ended
	bytesOut   atomic.Uint64
	duration   [len(durationBounds) + 1]atomic.Uint64
	durationNs atomic.Uint64

	mu    sync.Mutex
	rules map[string]*ruleMetrics
}

// ruleMetrics counts the requests of one rule by status class; [0] is no
// status at all. Streams are counted by their decision: [1] were admitted.
type ruleMetrics struct {
	class   [6]atomic.Uint64
	streams [2]atomic.Uint64
}

var codes = [...]bulwark.Code{
	bulwark.CodeBadRequest, bulwark.CodeUnauthenticated, bulwark.CodeForbidden, bulwark.CodeNotFound, bulwark.CodeTooLarge,
	bulwark.CodeTimeout, bulwark.CodeMisdirected, bulwark.CodeRateLimited, bulwark.CodeLockedOut, bulwark.CodeOverloaded,
	bulwark.CodeUnavailable, bulwark.CodeBadGateway, bulwark.CodeGatewayTimeout, bulwark.CodeClientGone,
	bulwark.CodeNotImplemented, bulwark.CodeMethodNotAllowed, bulwark.CodeInternal,
}

// durationBounds are the histogram's upper bounds in microseconds.
var durationBounds = [...]int64{500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000}

func newMetrics() *metrics { return &metrics{rules: map[string]*ruleMetrics{}} }

// rule gives the counters of a rule, the same ones after a reload.
func (m *metrics) rule(id string) *ruleMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rules[id]
	if r == nil {
		r = new(ruleMetrics)
		m.rules[id] = r
	}
	return r
}

// retain forgets the rules that t no longer has.
func (m *metrics) retain(t *table) {
	m.reloads.Add(1)
	refusing := int64(0)
	for i := range t.rules {
		if t.rules[i].Refuse != nil {
			refusing++
		}
	}
	m.rulesBad.Store(refusing)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.rules) == len(t.rules) {
		return // every rule of t is there, so there is no other
	}
	in := make(map[string]bool, len(t.rules))
	for i := range t.rules {
		in[t.rules[i].ID] = true
	}
	maps.DeleteFunc(m.rules, func(id string, _ *ruleMetrics) bool { return !in[id] })
}

// count takes in one finished request.
func (m *metrics) count(r *ruleMetrics, e *bulwark.Event) {
	if r == nil {
		r = &m.unrouted
	}
	r.class[min(max(e.Status/100, 0), 5)].Add(1)
	m.decided(e)
	us, b := e.Duration.Microseconds(), 0
	for b < len(durationBounds) && us > durationBounds[b] {
		b++
	}
	m.duration[b].Add(1)
	m.durationNs.Add(uint64(max(e.Duration, 0)))
}

func (m *metrics) decided(e *bulwark.Event) {
	m.events.Add(1)
	if e.Decision.Allowed {
		return
	}
	for i, c := range codes {
		if c == e.Decision.Code {
			m.refusals[i].Add(1)
			break
		}
	}
}

// countStream takes in one stream that has ended, or never began.
func (m *metrics) countStream(r *ruleMetrics, e *bulwark.Event) {
	if r == nil {
		r = &m.unrouted
	}
	admitted := 0
	if e.Decision.Allowed {
		admitted = 1
	}
	r.streams[admitted].Add(1)
	m.decided(e)
	m.bytesIn.Add(uint64(max(e.BytesIn, 0)))
	m.bytesOut.Add(uint64(max(e.BytesOut, 0)))
}

var (
	descRequests   = prometheus.NewDesc("bulwark_gateway_requests_total", "Requests by rule and class of status.", []string{"rule", "class"}, nil)
	descRefused    = prometheus.NewDesc("bulwark_gateway_refused_total", "Requests refused, by code.", []string{"code"}, nil)
	descDuration   = prometheus.NewDesc("bulwark_gateway_request_duration_seconds", "Time from a request's head to the end of its response.", nil, nil)
	descConns      = prometheus.NewDesc("bulwark_gateway_connections", "Open client connections.", nil, nil)
	descRejected   = prometheus.NewDesc("bulwark_gateway_connections_rejected_total", "Client connections closed because there were too many.", nil, nil)
	descHandshakes = prometheus.NewDesc("bulwark_gateway_tls_handshake_failures_total", "TLS handshakes that failed.", nil, nil)
	descFaults     = prometheus.NewDesc("bulwark_gateway_faults_total", "Connections closed because serving them hit a fault of the gateway.", nil, nil)
	descStreams    = prometheus.NewDesc("bulwark_gateway_streams_total", "Connections passed on as bytes, by rule and decision, counted when they end.", []string{"rule", "decision"}, nil)
	descOpen       = prometheus.NewDesc("bulwark_gateway_streams", "Connections that are being passed on as bytes.", nil, nil)
	descBytes      = prometheus.NewDesc("bulwark_gateway_stream_bytes_total", "Bytes of ended streams, by direction: in is from clients.", []string{"direction"}, nil)
	descReloads    = prometheus.NewDesc("bulwark_gateway_tables_total", "Tables put in force.", nil, nil)
	descRulesBad   = prometheus.NewDesc("bulwark_gateway_rules_refusing", "Rules in force that refuse every request because they cannot be served as asked for.", nil, nil)
	descBackend    = prometheus.NewDesc("bulwark_gateway_backend_requests_total", "Requests sent to a backend.", []string{"backend"}, nil)
	descFailures   = prometheus.NewDesc("bulwark_gateway_backend_failures_total", "Requests that a backend did not answer well.", []string{"backend"}, nil)
	descRetries    = prometheus.NewDesc("bulwark_gateway_backend_retries_total", "Second and later tries.", []string{"backend"}, nil)
	descEjected    = prometheus.NewDesc("bulwark_gateway_backend_ejected_endpoints", "Endpoints that are shunned for now.", []string{"backend"}, nil)
	descWaiting    = prometheus.NewDesc("bulwark_gateway_queued_requests", "Requests that wait in rate-limit queues.", nil, nil)
	descLimitKeys  = prometheus.NewDesc("bulwark_gateway_limit_keys", "Keys that rate limits count.", nil, nil)
	descOverflowed = prometheus.NewDesc("bulwark_gateway_limit_overflow_total", "Requests that met the bucket which surplus keys share.", nil, nil)
)

// Describe is prometheus.Collector's.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRequests, descRefused, descDuration, descConns, descRejected, descHandshakes, descFaults, descStreams, descOpen, descBytes, descReloads, descRulesBad, descBackend, descFailures, descRetries, descEjected, descWaiting, descLimitKeys, descOverflowed} {
		ch <- d
	}
}

// Collect is prometheus.Collector's.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	m := s.metrics
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	classes := func(id string, r *ruleMetrics) {
		for c := range r.class {
			if n := r.class[c].Load(); n > 0 {
				counter(descRequests, n, id, className(c))
			}
		}
		for i, decision := range [...]string{"refused", "allowed"} {
			if n := r.streams[i].Load(); n > 0 {
				counter(descStreams, n, id, decision)
			}
		}
	}
	m.mu.Lock()
	for id, r := range m.rules {
		classes(id, r)
	}
	m.mu.Unlock()
	classes("", &m.unrouted)
	for i, c := range codes {
		counter(descRefused, m.refusals[i].Load(), string(c))
	}
	buckets, sum := map[float64]uint64{}, uint64(0)
	for i, bound := range durationBounds {
		sum += m.duration[i].Load()
		buckets[float64(bound)/1e6] = sum
	}
	sum += m.duration[len(durationBounds)].Load()
	ch <- prometheus.MustNewConstHistogram(descDuration, sum, float64(m.durationNs.Load())/1e9, buckets)
	ch <- prometheus.MustNewConstMetric(descConns, prometheus.GaugeValue, float64(s.open.Load()))
	ch <- prometheus.MustNewConstMetric(descRulesBad, prometheus.GaugeValue, float64(m.rulesBad.Load()))
	s.mu.Lock()
	open := len(s.streams)
	s.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(descOpen, prometheus.GaugeValue, float64(open))
	counter(descBytes, m.bytesIn.Load(), "in")
	counter(descBytes, m.bytesOut.Load(), "out")
	counter(descRejected, m.rejected.Load())
	counter(descHandshakes, m.handshakes.Load())
	counter(descFaults, m.faults.Load())
	counter(descReloads, m.reloads.Load())
	limits := s.cfg.Filters.State.Stats()
	ch <- prometheus.MustNewConstMetric(descWaiting, prometheus.GaugeValue, float64(limits.Waiting))
	ch <- prometheus.MustNewConstMetric(descLimitKeys, prometheus.GaugeValue, float64(limits.RateKeys))
	counter(descOverflowed, limits.Overflowed)
	set := s.table.Load().set
	if set == nil {
		return
	}
	for _, b := range set.Stats() {
		if b.Requests == 0 {
			continue // series for what is used only
		}
		counter(descBackend, b.Requests, b.Backend)
		counter(descFailures, b.Failures, b.Backend)
		counter(descRetries, b.Retries, b.Backend)
		ch <- prometheus.MustNewConstMetric(descEjected, prometheus.GaugeValue, float64(b.Ejected), b.Backend)
	}
}

func className(c int) string {
	if c == 0 {
		return "none"
	}
	return strconv.Itoa(c) + "xx"
}
