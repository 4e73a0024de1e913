package relay

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// TestMetrics: both ends tell how things stand, and say it in a way that
// Prometheus takes.
func TestMetrics(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	c := startController(t, ca, "127.0.0.1:0", nil)
	p := startPlane(t, ca, c.addr, nil, nil)
	all := routes(3)
	c.Publish(snapshot(t, all[:2]...), nil)
	until(t, "first", func() bool { return p.Status().Revision == 1 })
	c.Publish(snapshot(t, all...), nil)
	until(t, "second", func() bool { cl := c.Clients(); return len(cl) == 1 && cl[0].Applied == 2 })
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c.Server, p.Watcher)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	for _, moving := range []string{
		"bulwark_relay_sent_bytes_total", "bulwark_relay_client_received_bytes_total", "bulwark_relay_client_heard_timestamp_seconds",
	} {
		if got[moving] == 0 {
			t.Errorf("%s is 0", moving)
		}
		delete(got, moving)
	}
	want := map[string]float64{
		"bulwark_relay_clients": 1, "bulwark_relay_clients_behind": 0, "bulwark_relay_clients_failing": 0,
		"bulwark_relay_revision": 2, "bulwark_relay_revisions_total": 2, "bulwark_relay_encoded_objects_total": 3,
		"bulwark_relay_full_states_total": 1, "bulwark_relay_changes_total": 1, "bulwark_relay_resumed_total": 0, "bulwark_relay_refused_total": 0,
		"bulwark_relay_client_connected": 1, "bulwark_relay_client_connects_total": 1, "bulwark_relay_client_failures_total": 0,
		"bulwark_relay_client_resyncs_total": 0, "bulwark_relay_client_commits_total": 2, "bulwark_relay_client_applied_total": 2,
		"bulwark_relay_client_apply_failures_total": 0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}
