package status

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// told lists the Events written so far as "type reason note".
func (b *bench) told() []string {
	b.t.Helper()
	var out []string
	for _, path := range b.server.Paths("/apis/events.k8s.io/v1/namespaces/shop/events/") {
		var e eventsv1.Event
		b.server.Get(b.t, path, &e)
		if e.ReportingController != ours || e.ReportingInstance == "" || e.Action == "" || e.EventTime.IsZero() || e.Regarding.Kind == "" {
			b.t.Errorf("incomplete: %+v", e)
		}
		out = append(out, e.Type+" "+e.Reason+" "+e.Note)
	}
	return out
}

func TestEventsTellTurns(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.w.events.run(ctx) }()
	defer func() { cancel(); <-done }()

	b.putRoute("a", nil)
	step := func(text string, ok bool, after time.Duration) {
		b.clock.add(after)
		c := no(text)
		if ok {
			c = yes(text)
		}
		b.pass(routes(b.route("a")), target("a", parent("edge", c)))
	}
	step("fine", true, 0) // good from the start: nothing to tell
	step("broken", false, time.Second)
	step("broken in another way", false, time.Second)
	step("fine", true, time.Second)
	step("broken", false, time.Second) // the same again, too soon
	step("fine", true, time.Second)
	step("broken", false, repeat)
	want := []string{
		"Warning NoMatchingParent Accepted=False (parent Gateway shop/edge): broken",
		"Normal Accepted Accepted=True (parent Gateway shop/edge): fine",
		"Warning NoMatchingParent Accepted=False (parent Gateway shop/edge): broken",
	}
	until(t.Context(), t, "three Events", func() bool { return len(b.told()) >= len(want) })
	if diff := cmp.Diff(want, b.told()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := b.metric("bulwark_status_events_total", "suppressed"); n != 2 {
		t.Errorf("%v suppressed, want 2", n)
	}
}

func TestEventsAreBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	const n = 2 * eventBurst
	var list []*gwv1.HTTPRoute
	var want []Target
	for _, name := range names("r", n) {
		list = append(list, b.putRoute(name, nil))
		want = append(want, target(name, parent("edge", no(strings.Repeat("é", maxNote)))))
	}
	b.pass(routes(list...), want...)
	if got := len(b.w.events.queue); got < eventBurst || got >= n {
		t.Errorf("%d Events of %d turns, want the burst of %d", got, n, eventBurst)
	}
	e := <-b.w.events.queue
	if raw, err := json.Marshal(e); err != nil || len(e.Note) > maxNote || strings.Contains(string(raw), `\ufffd`) {
		t.Errorf("note of %d bytes, %v", len(e.Note), err)
	}
}

func TestEventsMayBeForbidden(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.server.Intercept = func(r *http.Request) int {
		if strings.Contains(r.URL.Path, "events.k8s.io") {
			return http.StatusForbidden
		}
		return 0
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); b.w.events.run(ctx) }()
	var list []*gwv1.HTTPRoute
	var want []Target
	for _, name := range names("r", 5) {
		list = append(list, b.putRoute(name, nil))
		want = append(want, target(name, parent("edge", no(""))))
	}
	b.pass(routes(list...), want...)
	until(t.Context(), t, "five refusals", func() bool {
		return b.metric("bulwark_status_events_total", "failed") == 5
	})
	cancel()
	<-done
	if n := b.log.count("an Event was not written"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

func TestEventsCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.EventsPerMinute = -1 })
	b.pass(routes(b.putRoute("a", nil)), target("a", parent("edge", no(""))))
	if len(b.w.events.queue) != 0 {
		t.Error("told all the same")
	}
}
