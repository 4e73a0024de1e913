package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect"
)

// detections look at a trail that is served. They may break off and begin again: the
// recording goes on meanwhile, and is told of it.
type detections struct {
	t      *trail
	log    *slog.Logger
	engine func() (*detect.Engine, error)
	// blind is an engine of the one rule about detections that do not run: who should
	// tell of it does not.
	blind *detect.Engine

	current  atomic.Pointer[detect.Engine]
	running  atomic.Bool
	observed atomic.Uint64
	received atomic.Int64 // of the last observed event, in microseconds; 0: of none yet
	began    time.Time

	alerts *prometheus.CounterVec
	faults prometheus.Counter
	fails  prometheus.Counter

	mu  sync.Mutex
	why error // they do not run
	was string
}

// newDetections makes detections that do not run yet. engine makes one that has observed
// nothing.
func newDetections(t *trail, set *detect.Set, engine func() (*detect.Engine, error), log *slog.Logger) (*detections, error) {
	d := &detections{
		t: t, log: log, engine: engine, began: t.now(), why: errors.New("they have not begun"),
		alerts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "bulwark_audit_alerts_total", Help: "Alerts that were raised since the start, by severity."}, []string{"severity"}),
		faults: prometheus.NewCounter(prometheus.CounterOpts{Name: "bulwark_audit_detection_faults_total", Help: "Events at which a detection broke off, and which the rest of them did not see."}),
		fails:  prometheus.NewCounter(prometheus.CounterOpts{Name: "bulwark_audit_detection_failures_total", Help: "Times that the detections ended and had to be begun again."}),
	}
	lone := &detect.Set{}
	if i := slices.IndexFunc(set.Rules, func(r *detect.Rule) bool { return r.Key == lifeBlind }); i >= 0 {
		lone.Rules = set.Rules[i : i+1]
	}
	var err error
	if d.blind, err = detect.NewEngine(lone, detect.Config{}); err != nil {
		return nil, badUse(fmt.Errorf("make the rules ready: %w", err))
	}
	return d, nil
}

// run lets the detections look at everything until ctx ends.
func (d *detections) run(ctx context.Context) error {
	return detect.Keep(ctx, d.t.log, d.t.log, d.t.detections(), detect.KeepConfig{ //nolint:wrapcheck // it says what it was doing
		RunConfig: detect.RunConfig{
			Now: d.t.now, OnAlert: func(a detect.Alert) { d.alert(ctx, a) },
			OnObserved: func(seq uint64, received time.Time) {
				d.observed.Store(seq)
				if !received.IsZero() {
					d.received.Store(received.UnixMicro())
				}
			},
			OnFault: func(seq uint64, fault any) {
				d.faults.Inc()
				d.log.LogAttrs(ctx, slog.LevelError, "a detection broke off at an event", slog.Uint64("event", seq), slog.Any("fault", fault))
			},
		},
		Engine: func() (*detect.Engine, error) {
			engine, err := d.engine()
			if err == nil {
				d.current.Store(engine)
			}
			return engine, err
		},
		Wait: pause, Down: d.down, Up: func() { d.up(ctx) },
	})
}

func (d *detections) alert(ctx context.Context, a detect.Alert) {
	d.alerts.WithLabelValues(a.Severity.String()).Inc()
	d.log.LogAttrs(ctx, slog.LevelWarn, "alert", slog.String("rule", a.Rule), slog.String("severity", a.Severity.String()), slog.String("actor", a.Actor),
		slog.String("summary", a.Summary), slog.String("evidence", a.EvidenceLine()), slog.String("id", a.ID))
}

// down tells that the detections do not run: the operator, the trail, and by the trail
// whoever is told of alerts.
func (d *detections) down(ctx context.Context, why error) {
	d.running.Store(false)
	d.fails.Inc()
	d.mu.Lock()
	d.why = why
	again := d.was == why.Error()
	d.mu.Unlock()
	d.log.LogAttrs(ctx, slog.LevelError, "the detections do not run; recording goes on", slog.Any("error", why))
	if again {
		return
	}
	event := func() *audit.Event {
		return lifeEvent(d.t.now(), lifeBlind, "Failed", "nothing looks at events until the detections run again: "+why.Error(), map[string]string{"observed": strconv.FormatUint(d.observed.Load(), 10)})
	}
	seq, err := d.t.log.Append(ctx, []audit.Entry{{Event: event()}})
	if err == nil {
		e := event() // the other one is the log's
		e.Seq = seq
		for _, a := range d.blind.Observe(e) {
			// The detections, once they run, find the same and see that it is there.
			if _, err = d.t.log.Append(ctx, []audit.Entry{{Event: a.Event(d.t.now())}}); err == nil {
				d.alert(ctx, a)
			}
		}
	}
	if err != nil {
		d.log.LogAttrs(ctx, slog.LevelError, "the trail does not tell that the detections do not run", slog.Any("error", err))
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.was = why.Error()
}

func (d *detections) up(ctx context.Context) {
	d.running.Store(true)
	d.mu.Lock()
	was := d.was
	d.why, d.was = nil, ""
	d.mu.Unlock()
	if was == "" {
		return
	}
	d.log.LogAttrs(ctx, slog.LevelInfo, "the detections run again")
	if err := d.t.tell(ctx, lifeSees, "", "the detections run again, from where they were", nil); err != nil && ctx.Err() == nil {
		d.log.LogAttrs(ctx, slog.LevelError, "the trail does not tell that the detections run again", slog.Any("error", err))
	}
}

// lag is how far the detections are behind the log: in events, and since when.
func (d *detections) lag() (events, seconds float64) {
	last, at := d.t.log.Last(), d.observed.Load()
	if at >= last {
		return 0, 0
	}
	since := d.began
	if us := d.received.Load(); us != 0 {
		since = time.UnixMicro(us)
	}
	return float64(last - at), max(d.t.now().Sub(since).Seconds(), 0)
}

// status is what /status says of them.
func (d *detections) status() any {
	d.mu.Lock()
	defer d.mu.Unlock()
	events, seconds := d.lag()
	return struct {
		State         string  `json:"detections"`
		Observed      uint64  `json:"observed"`
		BehindEvents  float64 `json:"behindEvents"`
		BehindSeconds float64 `json:"behindSeconds"`
	}{said(d.why), d.observed.Load(), events, seconds}
}

func (d *detections) stat(of func(detect.Stats) uint64) float64 {
	if g := d.current.Load(); g != nil {
		return float64(of(g.Stats()))
	}
	return 0
}

// register adds the metrics.
func (d *detections) register(registry *prometheus.Registry) {
	forgotten := func(what string, of func(detect.Stats) uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "bulwark_audit_detections_forgotten_total", ConstLabels: prometheus.Labels{"what": what},
			Help: "What correlations had to forget before its time, to stay within their memory.",
		}, func() float64 { return d.stat(of) })
	}
	gauge := func(name, help string, of func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, of)
	}
	registry.MustRegister(
		d.alerts, d.faults, d.fails,
		gauge("bulwark_audit_detections_running", "1 while the detections look at events.", func() float64 {
			if d.running.Load() {
				return 1
			}
			return 0
		}),
		gauge("bulwark_audit_detections_lag_events", "Events of the trail that the detections have not seen yet.", func() float64 { n, _ := d.lag(); return n }),
		gauge("bulwark_audit_detections_lag_seconds", "Age of the last event that the detections have seen, while there are later ones.", func() float64 { _, s := d.lag(); return s }),
		forgotten("groups", func(s detect.Stats) uint64 { return s.GroupsEvicted }),
		forgotten("events", func(s detect.Stats) uint64 { return s.HitsDropped }),
	)
}
