package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/pflag"

	"bulwark.dev/bulwark/internal/gateway/compile"
	"bulwark.dev/bulwark/internal/gateway/proxy"
	"bulwark.dev/bulwark/internal/ops"
)

// The event log keeps at most this much on disk.
const (
	eventFileSize  = 256 << 20
	eventFilesKept = 8
)

// processFlags are the settings of every command that runs until it is stopped.
type processFlags struct {
	admin     string
	logFormat string
	logLevel  string
	profiles  bool
}

func (f *processFlags) add(fl *pflag.FlagSet, admin, logFormat string) {
	fl.StringVar(&f.admin, "admin", admin, "address of health, status and metrics endpoints")
	fl.StringVar(&f.logFormat, "log-format", logFormat, "log format: text or json")
	fl.StringVar(&f.logLevel, "log-level", "info", "lowest log level: debug, info, warn or error")
	fl.BoolVar(&f.profiles, "pprof", false, "serve /debug/pprof on the admin address")
}

// gatewayFlags are the settings of a data plane.
type gatewayFlags struct {
	processFlags
	data        string
	events      string
	unprotected string
	otlp        string
	sample      float64
	drain       time.Duration
	limits      proxy.Limits
	apiServers  []string
	stamp       string
	// partial serves what can be bound where an address cannot: in a cluster one
	// tenant's address must not hold back another's.
	partial bool
	forward forwardFlags
	// unable says that requests are to be refused, since nobody would know of them.
	unable func() bool
}

func (f *gatewayFlags) add(fl *pflag.FlagSet, admin, logFormat string) {
	f.processFlags.add(fl, admin, logFormat)
	fl.StringVar(&f.data, "data", "bulwark-data", "folder for events")
	fl.StringVar(&f.events, "events", "all", "which requests are recorded: all, refused or none")
	fl.StringVar(&f.unprotected, "unprotected", "refuse", "routes that no SecurityPolicy covers: refuse or allow")
	fl.StringVar(&f.otlp, "otlp-endpoint", "", "URL of an OpenTelemetry collector (OTLP over HTTP); empty exports no traces")
	fl.Float64Var(&f.sample, "trace-sample", 0.01, "share of traces begun here that is sampled, 0 to 1")
	fl.DurationVar(&f.drain, "drain", drainPeriod, "how long requests in flight may take after the signal to stop")
	fl.StringArrayVar(&f.apiServers, "api-server", nil, "backend, as NAMESPACE/SERVICE:PORT, that is a Kubernetes API server: its requests get an Audit-ID of the gateway's own; may be repeated")
	fl.StringVar(&f.stamp, "audit-stamp", "bulwark-", "how those Audit-IDs begin")
	f.forwardFlags(fl)
	fl.IntVar(&f.limits.Connections, "max-connections", 0, "largest number of client connections (0: 16384)")
	fl.DurationVar(&f.limits.HeaderTimeout, "header-timeout", 0, "longest time for a request's head (0: 10s)")
	fl.DurationVar(&f.limits.IdleTimeout, "idle-timeout", 0, "longest time between two requests of a connection (0: 90s)")
	fl.DurationVar(&f.limits.BodyTimeout, "body-timeout", 0, "longest wait for the next bytes of a body (0: 60s)")
	fl.DurationVar(&f.limits.RequestTimeout, "request-timeout", 0, "longest wait for a response's head where the route sets none (0: 60s)")
}

func oneOf(flag, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("--%s %q: expected one of %v", flag, value, allowed)
}

func (f *gatewayFlags) check() error {
	err := errors.Join(
		oneOf("events", f.events, "all", "refused", "none"),
		oneOf("unprotected", f.unprotected, "refuse", "allow"),
	)
	if f.sample < 0 || f.sample > 1 {
		err = errors.Join(err, fmt.Errorf("--trace-sample %v: expected 0 to 1", f.sample))
	}
	if f.drain < 0 {
		err = errors.Join(err, fmt.Errorf("--drain %v: expected a positive time", f.drain))
	}
	for name, d := range map[string]time.Duration{
		"header-timeout": f.limits.HeaderTimeout, "idle-timeout": f.limits.IdleTimeout,
		"body-timeout": f.limits.BodyTimeout, "request-timeout": f.limits.RequestTimeout,
	} {
		if d < 0 {
			err = errors.Join(err, fmt.Errorf("--%s %v: expected a positive time", name, d))
		}
	}
	if f.limits.Connections < 0 {
		err = errors.Join(err, fmt.Errorf("--max-connections %d: expected a positive number", f.limits.Connections))
	}
	for _, b := range f.apiServers {
		if !backendName.MatchString(b) {
			err = errors.Join(err, fmt.Errorf("--api-server %q: expected NAMESPACE/SERVICE:PORT", b))
		}
	}
	if !stampText.MatchString(f.stamp) {
		err = errors.Join(err, fmt.Errorf("--audit-stamp %q: expected 3 to 32 letters, digits, dots or dashes", f.stamp))
	}
	if f.data == "" {
		err = errors.Join(err, errors.New("--data: expected a folder"))
	}
	return errors.Join(err, f.forwardCheck())
}

// What a backend is called, and what an audit id may begin with: an API server takes 64
// characters, and 32 are random.
var (
	backendName = regexp.MustCompile(`^[a-z0-9.-]+/[a-z0-9.-]+:[0-9]+$`)
	stampText   = regexp.MustCompile(`^[A-Za-z0-9.-]{3,32}$`)
)

// options are what of the flags matters to compilation.
func (f *gatewayFlags) options() compile.Options {
	return compile.Options{Unprotected: f.unprotected == "allow"}
}

// newRegistry makes a metrics registry that tells of the process itself.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// source is what a process watches, seen from its admin endpoints.
type source struct {
	ready   []ops.Check
	metrics []prometheus.Collector
	status  func() any // shown by /status as "source"
}

// startGateway starts the parts around the proxy and the proxy itself, which
// serves nothing until its first apply.
func startGateway(ctx context.Context, env *Env, log *slog.Logger, f *gatewayFlags, j *judge, running *stack, more ...source) (*gateway, error) {
	ready := []ops.Check{}
	registry := newRegistry()
	var state func() any
	for _, m := range more {
		ready = append(ready, m.ready...)
		registry.MustRegister(m.metrics...)
		state = m.status
	}
	rec, recorded, log, err := f.forwardEvents(env, log, running, registry) //nolint:contextcheck // it outlives ctx, to send the rest
	if err != nil {
		return nil, err
	}
	ready = append(ready, recorded...)
	if f.events != "none" {
		events, err := ops.OpenEventLog(f.data, eventFileSize, eventFilesKept, env.Now, log) //nolint:contextcheck // it outlives ctx, to record the drain
		if err != nil {
			return nil, badUse(err)
		}
		running.push(func(context.Context) error { return events.Close() }) //nolint:contextcheck // closing is not cut short
		ready = append(ready, ops.Check{Name: "events", Fn: events.Healthy})
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "bulwark_events_lost_total", Help: "Events that could not be written.",
		}, func() float64 { return float64(events.Lost()) }))
		rec = both{events, rec}
		if f.events == "refused" {
			rec = selective{rec}
		}
	}
	var tracer proxy.Tracer
	if f.otlp != "" {
		t, err := ops.NewTracer(ctx, f.otlp, f.sample)
		if err != nil {
			return nil, badUse(err)
		}
		running.push(t.Close)
		tracer = t
	}
	g, err := newGateway(env, log, j, rec, tracer, f) //nolint:contextcheck // it outlives ctx, to drain
	if err != nil {
		return nil, err
	}
	g.source = state
	running.push(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, f.drain)
		defer cancel()
		return g.shutdown(ctx)
	})
	registry.MustRegister(g.server)
	admin, err := ops.StartAdmin(ctx, ops.AdminConfig{
		Address: f.admin, Metrics: registry, Profiles: f.profiles, Status: g.status, Log: log,
		Ready: append(ready, ops.Check{Name: "configuration", Fn: g.configured}),
	})
	if err != nil {
		return nil, badUse(err)
	}
	running.push(func(context.Context) error { return admin.Close() })
	log.LogAttrs(ctx, slog.LevelInfo, "admin endpoints", slog.String("address", admin.Addr().String()))
	return g, nil
}
