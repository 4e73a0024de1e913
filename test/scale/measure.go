package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// results are all figures of a run.
type results struct {
	Options     map[string]int `json:"options"`
	Propagation []propagation  `json:"propagation"`
	Phases      []*phase       `json:"phases"`
	Loads       []*loadFigures `json:"loads"`
	FullState   float64        `json:"fullStateBytes"`
	FirstReady  float64        `json:"secondsUntilNewDataPlaneReady"`
}

// part is what one part of Bulwark used in a phase.
type part struct {
	CPU  float64 `json:"cpuSeconds"`
	Peak float64 `json:"residentBytesPeak"`
	RSS  float64 `json:"residentBytesAtEnd"`
	Heap float64 `json:"heapInUseBytesAtEnd"`
}

// phase is a stretch of a run.
type phase struct {
	Name    string           `json:"name"`
	Routes  int              `json:"routes"`
	Seconds float64          `json:"seconds"`
	Settled float64          `json:"secondsUntilSettled"`
	Load    string           `json:"loadAverage"`
	Parts   map[string]*part `json:"parts"`
	// Changes are calls to the API server in it; what follows is in all.
	Changes      int     `json:"changes"`
	RelayBytes   float64 `json:"relayBytes"`
	RelayChanges float64 `json:"relayChanges"`
	StatusWrites float64 `json:"statusWrites"`
	Conflicts    float64 `json:"statusConflicts"`
	OtherWrites  float64 `json:"otherWrites"`
	// Reloads tells how long the data plane took to put tables in force.
	Reloads summary `json:"reloads"`
}

// bench is a run.
type bench struct {
	opt options
	w   *world
	r   *results
}

func measure(ctx context.Context, opt options, log io.Writer) (*results, error) {
	w, err := newWorld(ctx, log, opt.pace)
	if err != nil {
		return nil, err
	}
	b := &bench{opt: opt, w: w, r: &results{Options: map[string]int{
		"routes": opt.routes, "few": opt.few, "changes": opt.changes, "churn": opt.churn, "rate": opt.rate, "idle": opt.idle, "controllers": opt.controllers,
	}}}
	for _, step := range []func(context.Context) error{b.small, b.grow, b.rest, b.large, b.newDataPlane, b.churn} {
		if err := step(ctx); err != nil {
			return b.r, err
		}
	}
	return b.r, nil
}

// phase measures what happens in do, until all is settled.
func (b *bench) phase(ctx context.Context, name string, routes, changes int, do func(context.Context) error) error {
	b.w.say("%s ...", name)
	counted, err := b.w.pods.scrape(ctx, controller)
	if err != nil {
		return err
	}
	before, err := b.w.pods.usage(true)
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := do(ctx); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p := &phase{Name: name, Routes: routes, Changes: changes, Seconds: time.Since(begin).Seconds(), Parts: map[string]*part{}}
	settled, err := b.w.settle(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.Settled = max(0, settled.Sub(begin).Seconds()-p.Seconds)
	p.Load = loadAverage()
	after, err := b.w.pods.usage(false)
	if err != nil {
		return err
	}
	for role, u := range after {
		f, err := b.w.pods.scrape(ctx, role)
		if err != nil {
			return err
		}
		p.Parts[role] = &part{CPU: (u.cpu - before[role].cpu).Seconds(), RSS: u.now, Peak: u.peak, Heap: f.most("go_memstats_heap_inuse_bytes")}
	}
	now, err := b.w.pods.scrape(ctx, controller)
	if err != nil {
		return err
	}
	grown := func(metric string, labels ...string) float64 {
		return now.sum(metric, labels...) - counted.sum(metric, labels...)
	}
	p.RelayBytes, p.RelayChanges = grown("bulwark_relay_sent_bytes_total"), grown("bulwark_relay_changes_total")
	p.StatusWrites = grown("bulwark_status_writes_total", `outcome="written"`)
	p.Conflicts = grown("bulwark_status_writes_total", `outcome="conflict"`)
	p.OtherWrites = grown("bulwark_status_events_total", `outcome="written"`) + grown("bulwark_provision_writes_total", `outcome="written"`)
	p.Reloads = summarize(b.w.pods.since(begin))
	b.r.Phases = append(b.r.Phases, p)
	b.w.say("%s: %s", name, p)
	return nil
}

func (p *phase) String() string {
	c, d := p.Parts[controller], p.Parts[dataPlane]
	return fmt.Sprintf("%.1f s and %.1f s to settle (load average %s); CPU %.2f s controller, %.2f s data plane; RSS %.0f MB (peak %.0f) and %.0f MB (peak %.0f); %d tables, p50 %.0f ms, max %.0f ms; %.0f relay bytes, %.0f status writes",
		p.Seconds, p.Settled, p.Load, c.CPU, d.CPU, c.RSS/megabyte, c.Peak/megabyte, d.RSS/megabyte, d.Peak/megabyte,
		p.Reloads.N, p.Reloads.P50*1e3, p.Reloads.Max*1e3, p.RelayBytes, p.StatusWrites)
}

// numbers gives the routes from..to-1.
func numbers(from, to int) []route {
	var out []route
	for r := from; r < to; r++ {
		out = append(out, route(r))
	}
	return out
}

// small makes the first routes and measures changes among them.
func (b *bench) small(ctx context.Context) error {
	if err := each(ctx, 0, b.opt.few, 1, func(int) {}, b.w.add); err != nil {
		return err
	}
	if _, err := b.w.settle(ctx); err != nil {
		return err
	}
	if err := b.w.prove(ctx, numbers(0, b.opt.few)); err != nil {
		return err
	}
	return b.changes(ctx, b.opt.few)
}

// The phases in which changes come one by one.
const (
	watched   = "changes, watched"
	unwatched = "changes, unwatched"
)

// changes measures changes one by one: first how fast they are enforced, then,
// without looking, what they cost.
func (b *bench) changes(ctx context.Context, all int) error {
	err := b.phase(ctx, fmt.Sprintf("%s, %d routes", watched, all), all, b.opt.changes*(len(changes())+1), func(ctx context.Context) error {
		found, err := b.w.propagate(ctx, all, b.opt.changes, b.opt.kind)
		b.r.Propagation = append(b.r.Propagation, found...)
		for _, p := range found {
			b.w.say("  %s, %d routes: enforced %s; told %s; called %s", p.Change, p.Routes, p.Enforced, p.Told, p.Called)
		}
		return err
	})
	if err != nil {
		return err
	}
	return b.phase(ctx, fmt.Sprintf("%s, %d routes", unwatched, all), all, b.opt.changes, func(ctx context.Context) error {
		for n := range b.opt.changes {
			r := route(rand.IntN(all/2) * 2)
			// Another description of the same role: a new generation.
			if _, err := b.w.replace(ctx, policies, r, whenField, fmt.Sprintf("%s || %q in identity.roles", admits(r.friend()), fmt.Sprintf("other-%d", n))); err != nil {
				return err
			}
			pause(ctx, b.opt.pace)
		}
		return nil
	})
}

func (s summary) String() string {
	return fmt.Sprintf("p50 %.0f ms, p99 %.0f ms, max %.0f ms (%d)", s.P50*1e3, s.P99*1e3, s.Max*1e3, s.N)
}

// underLoad does something while the stable routes, and those that come and go,
// are called.
func (b *bench) underLoad(ctx context.Context, do func(ctx context.Context, done func(int)) error) error {
	var newest atomic.Int64
	loaded, stop := context.WithCancel(ctx)
	defer stop()
	got := make(chan []*loadFigures, 1)
	go func() {
		got <- b.w.load(loaded, b.w.loads(b.opt.few, b.opt.routes, func() int { return int(newest.Load()) }), b.opt.rate)
	}()
	err := do(ctx, func(n int) { newest.Store(int64(n)) })
	stop()
	b.add(<-got)
	return err
}

// add merges the figures of a load into those of the run.
func (b *bench) add(more []*loadFigures) {
	for i, f := range more {
		if i >= len(b.r.Loads) {
			b.r.Loads = append(b.r.Loads, &loadFigures{Load: f.Load})
		}
		t := b.r.Loads[i]
		t.Requests, t.Failed, t.Wrong = t.Requests+f.Requests, t.Failed+f.Failed, t.Wrong+f.Wrong
		t.samples = append(t.samples, f.samples...)
		t.First = append(t.First, f.First...)
		t.Latency = summarize(t.samples)
		b.w.say("  %s: %d requests, %d failed, %d wrong, %s %v", f.Load, f.Requests, f.Failed, f.Wrong, f.Latency, f.First)
	}
}

// grow makes all other routes, under load.
func (b *bench) grow(ctx context.Context) error {
	made := b.opt.routes - b.opt.few
	err := b.underLoad(ctx, func(ctx context.Context, done func(int)) error {
		return b.phase(ctx, "create under load", b.opt.routes, made*3/2, func(ctx context.Context) error {
			return each(ctx, b.opt.few, b.opt.routes, b.opt.parallel, done, b.w.add)
		})
	})
	if err != nil {
		return err
	}
	return b.w.prove(ctx, numbers(0, b.opt.routes))
}

// rest measures what Bulwark needs while nothing happens.
func (b *bench) rest(ctx context.Context) error {
	return b.phase(ctx, "idle", b.opt.routes, 0, func(ctx context.Context) error {
		pause(ctx, time.Duration(b.opt.idle)*time.Second)
		return ctx.Err()
	})
}

// large measures changes among all routes.
func (b *bench) large(ctx context.Context) error {
	profiled := make(chan error, 1)
	go func() {
		if b.opt.profile == "" {
			profiled <- nil
			return
		}
		profiled <- b.w.pods.profile(ctx, b.opt.profile, "changes", 30)
	}()
	return errors.Join(b.changes(ctx, b.opt.routes), <-profiled)
}

// newDataPlane starts one more data plane, which needs everything.
func (b *bench) newDataPlane(ctx context.Context) error {
	scale := func(n int) error {
		_, err := b.w.kube.AppsV1().Deployments(system).Patch(ctx, "bulwark-gateway", types.MergePatchType,
			fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, n), metav1.PatchOptions{})
		if err != nil {
			return fmt.Errorf("scale the data plane: %w", err)
		}
		return nil
	}
	return b.phase(ctx, "a second data plane", b.opt.routes, 0, func(ctx context.Context) error {
		before, err := b.w.pods.scrape(ctx, controller)
		if err != nil {
			return err
		}
		begin := time.Now()
		if err := scale(2); err != nil {
			return err
		}
		err = until(ctx, 20*time.Millisecond, func() (bool, error) {
			d, err := b.w.kube.AppsV1().Deployments(system).Get(ctx, "bulwark-gateway", metav1.GetOptions{})
			if err != nil {
				return false, fmt.Errorf("look at the data plane: %w", err)
			}
			return d.Status.ReadyReplicas == 2, nil
		})
		if err != nil {
			return err
		}
		b.r.FirstReady = time.Since(begin).Seconds()
		after, err := b.w.pods.scrape(ctx, controller)
		if err != nil {
			return err
		}
		b.r.FullState = after.sum("bulwark_relay_sent_bytes_total") - before.sum("bulwark_relay_sent_bytes_total")
		b.w.say("  full state: %.0f bytes; ready after %.1f s", b.r.FullState, b.r.FirstReady)
		return scale(1)
	})
}

// churn edits routes and their policies, and takes them away, under load.
func (b *bench) churn(ctx context.Context) error {
	from, to := b.opt.routes-b.opt.churn, b.opt.routes
	err := b.underLoad(ctx, func(ctx context.Context, done func(int)) error {
		return b.phase(ctx, "edit under load", b.opt.routes, b.opt.churn*3/2, func(ctx context.Context) error {
			return each(ctx, from, to, b.opt.parallel, done, func(ctx context.Context, r route) error {
				_, err := b.w.replace(ctx, routes, r, pathField, path(1))
				if err == nil && r.own() {
					_, err = b.w.replace(ctx, policies, r, whenField, admits(r.friend())+` && request.method == "GET"`)
				}
				return err
			})
		})
	})
	if err != nil {
		return err
	}
	for _, r := range numbers(from, to) {
		b.w.version[r] = 1
	}
	if err := b.w.prove(ctx, numbers(0, to)); err != nil {
		return err
	}
	err = b.underLoad(ctx, func(ctx context.Context, done func(int)) error {
		return b.phase(ctx, "delete under load", from, b.opt.churn*3/2, func(ctx context.Context) error {
			return each(ctx, from, to, b.opt.parallel, done, b.w.drop)
		})
	})
	if err != nil {
		return err
	}
	return errors.Join(b.w.prove(ctx, numbers(0, from)), b.w.proveGone(ctx, numbers(from, to)))
}
