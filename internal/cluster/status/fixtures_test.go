package status

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/cluster/status/apitest"
)

const ours = "bulwark.dev/gateway"

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// journal collects what is logged.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) count(s string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), s)
}

// bench is a Writer with an API server of its own.
type bench struct {
	t      *testing.T
	server *apitest.Server
	clock  *clock
	log    *journal
	w      *Writer
	p      *passes
}

func newBench(t *testing.T, edit func(*Config)) *bench {
	t.Helper()
	b := &bench{t: t, server: apitest.New(t), clock: newClock(), log: &journal{}}
	cfg := Config{
		REST: b.server.REST(), ControllerName: ours, Features: []gwv1.FeatureName{"HTTPRoute", "Gateway"},
		Log: slog.New(slog.NewTextHandler(b.log, nil)), Now: b.clock.Now, WritesPerSecond: 100000,
	}
	if edit != nil {
		edit(&cfg)
	}
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.w, b.p = w, newPasses(w)
	return b
}

// pass runs one pass, as Run would after an Update.
func (b *bench) pass(snap *cluster.Snapshot, want ...Target) time.Duration {
	b.t.Helper()
	b.w.Update(snap, want)
	return b.p.run(b.t.Context(), b.w.current())
}

// writes counts the requests of a method since the last look.
func writes(requests []apitest.Request, method string) int {
	n := 0
	for _, r := range requests {
		if r.Method == method {
			n++
		}
	}
	return n
}

const gwAPI = "/apis/gateway.networking.k8s.io/v1"

func routePath(name string) string { return gwAPI + "/namespaces/shop/httproutes/" + name }

// putRoute stores a route, which may be nil, and gives it as it is stored.
func (b *bench) putRoute(name string, edit func(*gwv1.HTTPRoute)) *gwv1.HTTPRoute {
	b.t.Helper()
	r := &gwv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Generation: 1}}
	if edit != nil {
		edit(r)
	}
	b.server.Put(b.t, routePath(name), r)
	return b.route(name)
}

func (b *bench) route(name string) *gwv1.HTTPRoute {
	b.t.Helper()
	var r gwv1.HTTPRoute
	if !b.server.Get(b.t, routePath(name), &r) {
		b.t.Fatalf("no route %s", name)
	}
	return &r
}

func routes(list ...*gwv1.HTTPRoute) *cluster.Snapshot { return &cluster.Snapshot{HTTPRoutes: list} }

// yes and no are an Accepted condition as the compiler makes it.
func yes(message string) metav1.Condition {
	return metav1.Condition{Type: "Accepted", Status: metav1.ConditionTrue, Reason: "Accepted", Message: message}
}

func no(message string) metav1.Condition {
	return metav1.Condition{Type: "Accepted", Status: metav1.ConditionFalse, Reason: "NoMatchingParent", Message: message}
}

func parent(gateway string, c ...metav1.Condition) gwv1.RouteParentStatus {
	return gwv1.RouteParentStatus{
		ParentRef: gwv1.ParentReference{Name: gwv1.ObjectName(gateway)}, ControllerName: ours, Conditions: c,
	}
}

func target(route string, parents ...gwv1.RouteParentStatus) Target {
	return Target{Kind: "HTTPRoute", Namespace: "shop", Name: route, Parents: parents}
}

func ancestor(gateway string, c ...metav1.Condition) gwv1.PolicyAncestorStatus {
	return gwv1.PolicyAncestorStatus{
		AncestorRef: gwv1.ParentReference{Name: gwv1.ObjectName(gateway)}, ControllerName: ours, Conditions: c,
	}
}

// until waits for a condition to hold, for as long as the test may run.
func until(ctx context.Context, t *testing.T, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not before the end of the test", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func names(prefix string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s-%03d", prefix, i))
	}
	return out
}

// metric reads a metric of a Writer: the sum of those whose label, where one is
// given, has a value.
func (b *bench) metric(name, label string) float64 {
	b.t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(b.w)
	families, err := registry.Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	sum := 0.0
	for _, f := range families {
		for _, m := range f.GetMetric() {
			match := label == ""
			for _, l := range m.GetLabel() {
				match = match || l.GetValue() == label
			}
			if f.GetName() == name && match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}
