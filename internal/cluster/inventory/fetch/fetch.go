// Package fetch reads everything that an API server holds into one Snapshot: every
// kind that can be listed, in the version that the server prefers, page by page.
// It only ever sends GET, and follows no redirect.
//
// What is missing is always said. A kind that may not be listed, or whose list
// broke off, is in Snapshot.Unreadable with the reason; of one that broke off the
// objects that did arrive are there too. Kinds are read one after the other, so
// the Snapshot is not of one instant.
//
// Values of Secrets are dropped as they arrive, see package redact. LeftOut names the
// kinds that are not read on purpose.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"bulwark.dev/bulwark/internal/cluster/inventory"
)

// Options say how to read. The zero Options read everything but the values of
// Secrets.
type Options struct {
	// Log gets what an operator may want to know, at level debug. Default: nothing.
	Log *slog.Logger
	// Progress is called after each kind, from one goroutine at a time.
	Progress func(Progress)
	// PageSize is how many objects one request asks for. Default: 500.
	PageSize int
	// Namespaces are read one by one where a kind may not be listed in the whole
	// cluster. Without them such a kind is unreadable.
	Namespaces []string
	// SecretValues keeps the values of Secrets. They then are in memory, and in
	// whatever the Snapshot is saved to.
	SecretValues bool
	// Workers is how many requests are under way at once. Default: 4.
	Workers int
	// Timeout is how long one request may take, with its body. Default: one minute.
	Timeout time.Duration
	// Total is how long all requests may take: a server that sends a little at a time
	// must not hold a scan up for ever. What was not asked for by then is unreadable.
	// Default: one hour.
	Total time.Duration
	// MaxObjects and MaxBytes bound what is kept of the whole cluster: a server that
	// never ends its list must not take all memory. Defaults: 2 million, 8 GiB.
	MaxObjects, MaxBytes int64
	// Wait passes time between attempts. Default: a timer.
	Wait func(context.Context, time.Duration) error
}

// Progress says how far it is.
type Progress struct {
	// Group and Kind are what was just read, Objects how many there are of it.
	Group, Kind string
	Objects     int
	// Done of Total kinds have been read.
	Done, Total int
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.PageSize <= 0 {
		o.PageSize = 500
	}
	if o.Workers <= 0 {
		o.Workers = 4
	}
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	if o.Total <= 0 {
		o.Total = time.Hour
	}
	if o.MaxObjects <= 0 {
		o.MaxObjects = 2_000_000
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 8 << 30
	}
	if o.Wait == nil {
		o.Wait = sleep
	}
	return o
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller says what it was doing
	case <-t.C:
		return nil
	}
}

// Snapshot reads the cluster. It fails only where not even the list of kinds can
// be had, for then nobody could say what is missing, and when ctx ends.
func Snapshot(ctx context.Context, cfg *rest.Config, opt Options) (*inventory.Snapshot, error) {
	opt = opt.withDefaults()
	for _, ns := range opt.Namespaces {
		if len(validation.IsDNS1123Label(ns)) > 0 {
			return nil, fmt.Errorf("read namespace %q: that is no name of one", ns)
		}
	}
	c, err := newClient(cfg, &opt)
	if err != nil {
		return nil, err
	}
	defer time.AfterFunc(opt.Total, func() { c.late.Store(true) }).Stop()
	r := &reader{client: c, opt: &opt}
	if err := r.cluster(ctx); err != nil {
		return nil, fmt.Errorf("read cluster %s: %w", c.base.Redacted(), err)
	}
	slices.SortFunc(r.unreadable, byKind)
	return inventory.NewSnapshot(r.objects, r.facts, r.unreadable, r.problems), nil
}

// cluster reads everything.
func (r *reader) cluster(ctx context.Context) error {
	r.facts.Live = true
	if err := r.version(ctx); err != nil {
		return err
	}
	kinds, err := r.discover(ctx)
	if err != nil {
		return err
	}
	if err := r.lists(ctx, kinds); err != nil {
		return err
	}
	r.facts.Managed = managed(r.facts.Version, kinds, r.objects)
	return r.kubelets(ctx)
}

// reader is one reading of a cluster.
type reader struct {
	*client
	opt   *Options
	facts inventory.Facts

	kept, keptBytes atomic.Int64

	mu         sync.Mutex
	objects    []*inventory.Object
	unreadable []inventory.Unreadable
	problems   []inventory.Problem
	done       int
}

func (r *reader) lists(ctx context.Context, kinds []resource) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.opt.Workers)
	for _, k := range kinds {
		g.Go(func() error {
			objects, missing := r.everywhere(ctx, k)
			if err := ctx.Err(); err != nil {
				return err //nolint:wrapcheck // Snapshot says what it was doing
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.objects = append(r.objects, objects...)
			r.unreadable = append(r.unreadable, missing...)
			r.done++
			for _, m := range missing {
				r.opt.Log.LogAttrs(ctx, slog.LevelDebug, "kind is not readable",
					slog.String("group", m.Group), slog.String("kind", m.Kind), slog.String("namespace", m.Namespace), slog.String("reason", m.Reason))
			}
			r.opt.Progress(Progress{Group: k.group, Kind: k.kind, Objects: len(objects), Done: r.done, Total: len(kinds)})
			return nil
		})
	}
	return g.Wait() //nolint:wrapcheck // Snapshot says what it was doing
}

// everywhere lists a kind in the whole cluster or, where that is forbidden, in
// the namespaces that were asked for.
func (r *reader) everywhere(ctx context.Context, k resource) ([]*inventory.Object, []inventory.Unreadable) {
	objects, err := r.list(ctx, k, "")
	if err == nil {
		return objects, nil
	}
	all := inventory.Unreadable{Group: k.group, Kind: k.kind, Reason: k.why(err)}
	if !forbidden(err) || !k.namespaced || len(r.opt.Namespaces) == 0 || len(objects) > 0 {
		return objects, []inventory.Unreadable{all}
	}
	var missing []inventory.Unreadable
	for _, ns := range r.opt.Namespaces {
		some, err := r.list(ctx, k, ns)
		objects = append(objects, some...)
		if err == nil {
			all.Except = append(all.Except, ns)
			continue
		}
		missing = append(missing, inventory.Unreadable{Group: k.group, Kind: k.kind, Namespace: ns, Reason: k.why(err)})
	}
	return objects, append(missing, all)
}

// version asks for the server's version, and so whether it is there at all.
func (r *reader) version(ctx context.Context) error {
	var v struct {
		GitVersion string `json:"gitVersion"`
	}
	err := r.getJSON(ctx, "/version", &v)
	if _, answered := errors.AsType[*statusError](err); err != nil && !answered {
		return err
	}
	r.facts.Version = v.GitVersion // "" where it may not be read
	return nil
}
