package ops

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func TestAdmin(t *testing.T) {
	var broken error
	a, err := StartAdmin(t.Context(), AdminConfig{
		Address: "127.0.0.1:0", Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
		Ready:  []Check{{"events", func() error { return broken }}},
		Status: func() any { return map[string]string{"lastReload": "ok"} },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	get := func(path string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+a.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	for _, tc := range []struct {
		path, body string
		status     int
		broken     error
	}{
		{path: "/healthz", status: 200, body: "ok"},
		{path: "/readyz", status: 200, body: "events: ok"},
		{path: "/readyz", status: 503, body: "events: disk full", broken: errors.New("disk full")},
		{path: "/metrics", status: 200},
		{path: "/status", status: 200, body: `"lastReload": "ok"`},
		{path: "/debug/pprof/", status: 404},
	} {
		broken = tc.broken
		if status, body := get(tc.path); status != tc.status || !strings.Contains(body, tc.body) {
			t.Errorf("%s: %d %q", tc.path, status, body)
		}
	}
}

func TestTracerContinuesAndStarts(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	tr := newTracer(sdktrace.WithSyncer(spans), 1)
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	forward, id, end := tr.Start(parent, "", "r")
	end(502)
	if id != "4bf92f3577b34da6a3ce929d0e0e4736" || !strings.Contains(forward, id) || forward == parent {
		t.Errorf("forward %q, trace %q", forward, id)
	}
	for _, malformed := range []string{"", "00-xyz", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "00-00000000000000000000000000000000-00f067aa0ba902b7-01"} {
		if _, fresh, end := tr.Start(malformed, "", "r"); fresh == id || len(fresh) != 32 {
			t.Errorf("%q gave trace %q", malformed, fresh)
		} else {
			end(200)
		}
	}
	if got := len(spans.GetSpans()); got != 5 {
		t.Errorf("%d spans, want 5", got)
	}
	if err := tr.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
