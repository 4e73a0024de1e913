package proxy

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetrics(t *testing.T) {
	f := start(t, oneBackend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }), Limits{})
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(f.server); err != nil {
		t.Fatal(err)
	}
	c, br := f.dial(t)
	send(t, c, br, "GET", "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	send(t, c, br, "GET", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")
	for f.server.metrics.events.Load() < 2 { // the answer is out before the count
		time.Sleep(time.Millisecond)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			switch {
			case m.GetCounter() != nil:
				got[name] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				got[name] = m.GetGauge().GetValue()
			case m.GetHistogram() != nil:
				got[name] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	for name, want := range map[string]float64{
		"bulwark_gateway_requests_total 2xx all":              1,
		"bulwark_gateway_requests_total 4xx ":                 1,
		"bulwark_gateway_refused_total bad-request":           1,
		"bulwark_gateway_request_duration_seconds":            2,
		"bulwark_gateway_backend_requests_total ns/svc:80":    1,
		"bulwark_gateway_backend_failures_total ns/svc:80":    0,
		"bulwark_gateway_backend_ejected_endpoints ns/svc:80": 0,
		"bulwark_gateway_tables_total":                        1,
		"bulwark_gateway_queued_requests":                     0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (there: %v), want %v", name, v, ok, want)
		}
	}
}
