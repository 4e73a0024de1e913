package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/gateway/compile"
	"bulwark.dev/bulwark/internal/gateway/proxy"
	"bulwark.dev/bulwark/internal/ops"
)

// The event log keeps at most this much on disk.
const (
	eventFileSize  = 256 << 20
	eventFilesKept = 8
)

// upFlags are the settings of "bulwark up".
type upFlags struct {
	files       []string
	data        string
	admin       string
	events      string
	unprotected string
	logFormat   string
	logLevel    string
	otlp        string
	sample      float64
	drain       time.Duration
	example     bool
	profiles    bool
	limits      proxy.Limits
}

func newUp(env *Env) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine in one process",
		Long: `Run Bulwark on this machine, in one process and without a cluster.

Without -f it runs a small shop API and a local identity provider on loopback,
writes their configuration to DATA/shop, and guards them. With -f it guards your
own backends by your own files: Gateway API objects, SecurityPolicies, Services
with EndpointSlices, Secrets and ConfigMaps. Changed files are picked up at once;
a change that does not load leaves what was in force.

Every request is recorded in DATA/events.jsonl. Ctrl-C drains and exits.`,
		Example: `  bulwark up
  bulwark up -f ./policies --data /var/lib/bulwark`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return badUse(err)
			}
			return runUp(cmd.Context(), env, &f)
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.files, "file", "f", nil, "file or folder with objects; may be repeated (default: the shop example)")
	fl.StringVar(&f.data, "data", "bulwark-data", "folder for events and, without -f, the example's configuration")
	fl.StringVar(&f.admin, "admin", "127.0.0.1:9400", "address of health, status and metrics endpoints")
	fl.StringVar(&f.events, "events", "all", "which requests are recorded: all, refused or none")
	fl.StringVar(&f.unprotected, "unprotected", "refuse", "routes that no SecurityPolicy covers: refuse or allow")
	fl.StringVar(&f.logFormat, "log-format", "text", "log format: text or json")
	fl.StringVar(&f.logLevel, "log-level", "info", "lowest log level: debug, info, warn or error")
	fl.StringVar(&f.otlp, "otlp-endpoint", "", "URL of an OpenTelemetry collector (OTLP over HTTP); empty exports no traces")
	fl.Float64Var(&f.sample, "trace-sample", 0.01, "share of traces begun here that is sampled, 0 to 1")
	fl.DurationVar(&f.drain, "drain", drainPeriod, "how long requests in flight may take after Ctrl-C")
	fl.BoolVar(&f.example, "example", false, "run the shop API and its identity provider beside the files given with -f")
	fl.BoolVar(&f.profiles, "pprof", false, "serve /debug/pprof on the admin address")
	fl.IntVar(&f.limits.Connections, "max-connections", 0, "largest number of client connections (0: 16384)")
	fl.DurationVar(&f.limits.HeaderTimeout, "header-timeout", 0, "longest time for a request's head (0: 10s)")
	fl.DurationVar(&f.limits.IdleTimeout, "idle-timeout", 0, "longest time between two requests of a connection (0: 90s)")
	fl.DurationVar(&f.limits.BodyTimeout, "body-timeout", 0, "longest wait for the next bytes of a body (0: 60s)")
	fl.DurationVar(&f.limits.RequestTimeout, "request-timeout", 0, "longest wait for a response's head where the route sets none (0: 60s)")
	return cmd
}

func (f *upFlags) check() error {
	oneOf := func(flag, value string, allowed ...string) error {
		if slices.Contains(allowed, value) {
			return nil
		}
		return fmt.Errorf("--%s %q: expected one of %v", flag, value, allowed)
	}
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
	if f.data == "" {
		err = errors.Join(err, errors.New("--data: expected a folder"))
	}
	return err
}

// stack is what must be stopped, last started first.
type stack []func(context.Context) error

func (s *stack) push(f func(context.Context) error) { *s = append(*s, f) }

func (s stack) stop(ctx context.Context) error {
	var err error
	for _, f := range slices.Backward(s) {
		err = errors.Join(err, f(ctx))
	}
	return err
}

// runUp runs until ctx ends, then drains.
func runUp(ctx context.Context, env *Env, f *upFlags) (err error) {
	log, err := newLog(env.Stderr, f.logFormat, f.logLevel)
	if err != nil {
		return err
	}
	var running stack
	defer func() {
		// Whatever ended ctx must not cut the draining short.
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.drain+time.Second)
		defer cancel()
		err = errors.Join(err, running.stop(stopCtx))
	}()

	example := len(f.files) == 0 || f.example
	if len(f.files) == 0 {
		dir := filepath.Join(f.data, "shop")
		if err := writeShop(dir); err != nil {
			return badUse(err)
		}
		f.files = []string{dir}
	}
	// Read before anything starts: a mistake in the files ends here.
	snap, err := cluster.LoadFiles(f.files)
	if err != nil {
		return badUse(err)
	}
	if example {
		stop, err := startShop(ctx, env, log)
		if err != nil {
			return badUse(err)
		}
		running.push(stop)
	}
	g, err := startGateway(ctx, env, log, f, &running)
	if err != nil {
		return err
	}
	if err := g.apply(ctx, snap); err != nil {
		return badUse(err)
	}
	if err := g.describe(env.Stdout, f, example); err != nil {
		return err
	}
	watchCtx, stopWatch := context.WithCancel(ctx)
	defer stopWatch()
	if err := cluster.Watch(watchCtx, f.files, log, func(s *cluster.Snapshot, err error) { g.changed(watchCtx, s, err) }); err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	log.LogAttrs(ctx, slog.LevelInfo, "draining", slog.Duration("atMost", f.drain))
	return nil
}

// startGateway starts the parts around the proxy and the proxy itself, which
// serves nothing until its first apply.
func startGateway(ctx context.Context, env *Env, log *slog.Logger, f *upFlags, running *stack) (*gateway, error) {
	ready := []ops.Check{}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	var rec proxy.Recorder = discard{}
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
		rec = events
		if f.events == "refused" {
			rec = selective{events}
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
	g, err := newGateway(env, log, compile.Options{Unprotected: f.unprotected == "allow"}, rec, tracer, f.limits) //nolint:contextcheck // it outlives ctx, to drain
	if err != nil {
		return nil, err
	}
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

// describe tells a person what is guarded and what is refused.
func (g *gateway) describe(w io.Writer, f *upFlags, example bool) error {
	var b []byte
	b = append(b, "Guarded:\n"...)
	for _, line := range guarded(g.table, g.server.Addresses()) {
		b = fmt.Appendf(b, "  %s\n", line)
	}
	if lines := g.refusedLines(); len(lines) > 0 {
		b = append(b, "\nNot in force as asked for:\n"...)
		for _, l := range lines {
			b = fmt.Appendf(b, "  %s %s %s=%s (%s): %s\n", l.Object, l.Section, l.Condition, l.Status, l.Reason, l.Message)
		}
	}
	b = append(b, "\nRefused: everything else. No route: 404. No credential: 401. No rule that allows it: 403.\n"...)
	if f.events != "none" {
		b = fmt.Appendf(b, "Events:  %s\n", filepath.Join(f.data, "events.jsonl"))
	}
	b = fmt.Appendf(b, "Objects: %v (changes take effect at once)\n", f.files)
	if example {
		b = append(b, shopTour...)
	}
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("print what is guarded: %w", err)
	}
	return nil
}
