package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/gateway/compile"
	"bulwark.dev/bulwark/internal/gateway/filters"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/proxy"
	"bulwark.dev/bulwark/internal/gateway/upstream"
)

// gateway joins a source of objects to a proxy.
type gateway struct {
	env    *Env
	log    *slog.Logger
	judge  *judge
	source func() any // where the objects come from, for /status; may be nil
	state  *filters.State
	server *proxy.Server

	mu      sync.Mutex
	table   *ir.Table
	report  *compile.Report
	loadErr error  // of the last reload
	digest  string // of the objects in force

	told map[compile.Line]bool // what was logged as refused; of the goroutine of changed
}

// discard is the recorder of a gateway that was told to keep no events.
type discard struct{}

func (discard) Record(*bulwark.Event) {}

// selective keeps refusals only.
type selective struct{ next proxy.Recorder }

func (s selective) Record(e *bulwark.Event) {
	if !e.Decision.Allowed {
		s.next.Record(e)
	}
}

func newGateway(env *Env, log *slog.Logger, j *judge, rec proxy.Recorder, tracer proxy.Tracer, f *gatewayFlags) (*gateway, error) {
	state := filters.NewState()
	server, err := proxy.New(proxy.Config{
		Now: env.Now, Random: env.Random, Log: log, Recorder: rec, Tracer: tracer, Limits: f.limits, PartialBind: f.partial,
		APIServers: f.apiServers, Stamp: f.stamp, Unable: f.unable,
		Filters:  filterDeps(env, log, state),
		Upstream: upstream.Options{Now: env.Now, Log: log},
	})
	if err != nil {
		return nil, fmt.Errorf("make gateway: %w", err)
	}
	return &gateway{env: env, log: log, judge: j, state: state, server: server}, nil
}

// filterDeps is what the steps of every rule need.
func filterDeps(env *Env, log *slog.Logger, state *filters.State) filters.Deps {
	return filters.Deps{
		Now: env.Now, State: state, Log: log,
		// Key sets are fetched by https from where the policy says, and from
		// nowhere else: redirects are refused by the fetcher.
		HTTP: &http.Client{Timeout: 10 * time.Second},
	}
}

// apply puts a snapshot in force. On an error what was in force stays.
func (g *gateway) apply(ctx context.Context, snap *cluster.Snapshot) error {
	started := g.env.Now()
	table, report, problems, err := g.judge.judge(snap, func(t *ir.Table) ([]proxy.Problem, error) { return g.server.Apply(ctx, t) })
	if err != nil {
		return fmt.Errorf("put configuration in force: %w", err)
	}
	for _, p := range problems {
		g.log.LogAttrs(ctx, slog.LevelError, "part of the configuration is refused", slog.String("part", p.Rule+p.Listener), slog.Any("error", p.Err))
	}
	g.mu.Lock()
	g.table, g.report, g.digest = table, report, snap.Digest()
	g.mu.Unlock()
	g.log.LogAttrs(ctx, slog.LevelInfo, "configuration is in force",
		slog.Int("listeners", len(table.Listeners)), slog.Int("rules", len(table.Rules)), slog.Int("backends", len(table.Backends)),
		slog.Bool("complete", report.OK()), slog.Duration("took", g.env.Now().Sub(started)))
	return nil
}

// changed takes the result of a reload: a snapshot, or why there is none.
func (g *gateway) changed(ctx context.Context, snap *cluster.Snapshot, err error) error {
	g.mu.Lock()
	same := err == nil && snap.Digest() == g.digest
	if same {
		// What is in force already, for example after a mistake was undone.
		g.loadErr = nil
	}
	g.mu.Unlock()
	if same {
		return nil
	}
	if err == nil {
		err = g.apply(ctx, snap)
	}
	g.mu.Lock()
	g.loadErr = err
	g.mu.Unlock()
	if err != nil {
		g.log.LogAttrs(ctx, slog.LevelError, "reload failed; the configuration before stays in force", slog.Any("error", err))
		return err
	}
	g.tell(ctx)
	return nil
}

// maxTold is how many refusals of one change are logged one by one.
const maxTold = 50

// tell logs what is newly not in force as asked for.
func (g *gateway) tell(ctx context.Context) {
	lines := g.refusedLines()
	told := make(map[compile.Line]bool, len(lines))
	fresh := 0
	for _, l := range lines {
		told[l] = true
		if g.told[l] {
			continue
		}
		if fresh++; fresh > maxTold {
			continue
		}
		g.log.LogAttrs(ctx, slog.LevelWarn, "not in force as asked for", slog.String("object", l.Object), slog.String("condition", l.Condition), slog.String("reason", l.Reason), slog.String("message", l.Message))
	}
	if fresh > maxTold {
		g.log.LogAttrs(ctx, slog.LevelWarn, "more is not in force as asked for; /status lists all", slog.Int("more", fresh-maxTold))
	}
	g.told = told
}

// lastReport is the report on the configuration in force, or nil.
func (g *gateway) lastReport() *compile.Report {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.report
}

// refusedLines are the conditions that are not as they should be.
func (g *gateway) refusedLines() []compile.Line {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.report.Bad()
}

// configured is the readiness check of the last reload.
func (g *gateway) configured() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.table == nil {
		return errors.New("no configuration yet")
	}
	return nil
}

// status is what /status shows.
func (g *gateway) status() any {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := struct {
		LastReload string         `json:"lastReload"`
		Source     any            `json:"source,omitempty"`
		Conditions []compile.Line `json:"conditions"`
	}{LastReload: "ok"}
	if g.loadErr != nil {
		out.LastReload = g.loadErr.Error()
	}
	if g.source != nil {
		out.Source = g.source()
	}
	if g.report != nil {
		out.Conditions = g.report.Lines()
	}
	return out
}

func (g *gateway) shutdown(ctx context.Context) error {
	defer g.state.Close()
	return g.server.Shutdown(ctx)
}
