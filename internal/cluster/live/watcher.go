package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"bulwark.dev/bulwark/internal/cluster"
)

// What Config falls back to.
const (
	defaultDebounce = 20 * time.Millisecond
	defaultConfirm  = 5 * time.Second
	// longest is how many times Debounce a stream of changes can put a
	// Snapshot off.
	longest = 10
)

// Config is what a Watcher needs.
type Config struct {
	// REST is the connection to the API server; required.
	REST *rest.Config
	// Log is required.
	Log *slog.Logger
	// Now is the clock; required.
	Now func() time.Time
	// Debounce is how long changes must pause before a Snapshot is given; after
	// ten times that it is given anyway. Default: 20ms.
	Debounce time.Duration
	// Confirm is how long a server must refuse to give a kind before its objects
	// are dropped. A server that has just started refuses everything for a
	// moment. Default: 5s.
	Confirm time.Duration
}

// Watcher keeps Snapshots of one cluster current. It is a prometheus.Collector.
// Make one with New.
type Watcher struct {
	debounce time.Duration
	store    *cluster.Store
	sources  []*source
	clients  *clients
	now      func() time.Time
	// dirty holds one token while the store may have changed.
	dirty chan struct{}

	mu     sync.Mutex
	synced bool
}

// New makes a Watcher. It connects to nothing yet.
func New(cfg Config) (*Watcher, error) {
	if cfg.Log == nil || cfg.Now == nil {
		return nil, errors.New("watch a cluster: a log and a clock are required")
	}
	if cfg.Debounce <= 0 {
		cfg.Debounce = defaultDebounce
	}
	if cfg.Confirm <= 0 {
		cfg.Confirm = defaultConfirm
	}
	c, err := newClients(cfg.REST)
	if err != nil {
		return nil, fmt.Errorf("watch a cluster: %w", err)
	}
	w := &Watcher{
		debounce: cfg.Debounce, store: cluster.NewStore(), clients: c, now: cfg.Now, dirty: make(chan struct{}, 1),
	}
	wait, failing := usual(), new(atomic.Int32)
	wait.confirm = cfg.Confirm
	for _, k := range cluster.Kinds() {
		w.sources = append(w.sources, &source{
			kind: k, store: w.store, clients: c, log: cfg.Log, now: cfg.Now, wait: wait, failing: failing, changed: w.changed,
		})
	}
	return w, nil
}

// Watch is New and Run.
func Watch(ctx context.Context, cfg Config, fn func(*cluster.Snapshot)) error {
	w, err := New(cfg)
	if err != nil {
		return err
	}
	return w.Run(ctx, fn)
}

// Run watches until ctx ends, which is no error; it may be called once. It calls
// fn from this goroutine, one call at a time: first when every kind was read or
// is known to be unreadable, then after each burst of changes. A server that
// cannot be reached changes nothing: the last Snapshot stays the current one.
func (w *Watcher) Run(ctx context.Context, fn func(*cluster.Snapshot)) error {
	var sources sync.WaitGroup
	defer w.clients.http.CloseIdleConnections()
	defer sources.Wait()
	for _, s := range w.sources {
		sources.Go(func() { s.run(ctx) })
	}
	var last *cluster.Snapshot
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.dirty:
		}
		if !w.settle(ctx) {
			return nil
		}
		if w.unsettled() != nil {
			continue
		}
		// One more change may come in between; it leaves its own token.
		if snap := w.store.Snapshot(); snap != last {
			last = snap
			w.mu.Lock()
			w.synced = true
			w.mu.Unlock()
			fn(snap)
		}
	}
}

// changed leaves a token.
func (w *Watcher) changed() {
	select {
	case w.dirty <- struct{}{}:
	default:
	}
}

// settle waits until changes pause, and gives false when ctx ends.
func (w *Watcher) settle(ctx context.Context) bool {
	quiet, latest := time.NewTimer(w.debounce), time.NewTimer(longest*w.debounce)
	defer quiet.Stop()
	defer latest.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-w.dirty:
			quiet.Reset(w.debounce)
		case <-quiet.C:
			return true
		case <-latest.C:
			return true
		}
	}
}

// unsettled gives the kinds of which nothing is known yet, or nil.
func (w *Watcher) unsettled() error {
	var errs []error
	for _, s := range w.sources {
		if ok, err := s.settled(); !ok {
			if err == nil {
				err = errors.New("not read yet")
			}
			errs = append(errs, fmt.Errorf("%s: %w", s.kind.Resource, err))
		}
	}
	return few(errs)
}

// few joins errors of kinds and leaves out most of many, since an outage has one
// cause. Nil ones do not count.
func few(errs []error) error {
	const most = 3
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if more := len(errs) - most; more > 0 {
		errs = append(errs[:most], fmt.Errorf("and %d more kinds", more))
	}
	return errors.Join(errs...)
}

// Synced gives nil once Run gave its first Snapshot, and before that what it
// waits for.
func (w *Watcher) Synced() error {
	w.mu.Lock()
	synced := w.synced
	w.mu.Unlock()
	if synced {
		return nil
	}
	if err := w.unsettled(); err != nil {
		return fmt.Errorf("cluster is not read yet: %w", err)
	}
	return errors.New("cluster is not read yet")
}

// Healthy gives nil while the Snapshot is current, and else which kinds the
// server does not give at the moment. Kinds that may not be read are not a
// matter of health: the Snapshot names them.
func (w *Watcher) Healthy() error {
	var errs []error
	for _, s := range w.sources {
		errs = append(errs, s.sick())
	}
	if err := few(errs); err != nil {
		return fmt.Errorf("cluster is not being watched: %w", err)
	}
	return nil
}
