package relay

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"bulwark.dev/bulwark/internal/cluster"
)

// ClientConfig is what a data plane needs to watch a controller. URL, TLS, Name,
// Log, Now and Random are required; the times have defaults.
type ClientConfig struct {
	// URL of the controller, "https://host:port" without a path.
	URL string
	// TLS gives the configuration of the next connection. It is asked for each,
	// so that certificates can be exchanged.
	TLS func() (*tls.Config, error)
	// Name of this data plane, for the controller's logs: its pod.
	Name string
	// Version of the program, for the logs of the other end.
	Version string
	Log     *slog.Logger
	Now     func() time.Time
	// Random spreads attempts to connect.
	Random func() uint64
	// MinBackoff and MaxBackoff bound the wait between two attempts.
	MinBackoff, MaxBackoff time.Duration
	// ConnectTimeout is for dialling, the handshake and the first line.
	ConnectTimeout time.Duration
}

// Watcher receives snapshots from a controller. It is also a
// prometheus.Collector. Make one with NewWatcher.
type Watcher struct {
	cfg   ClientConfig
	url   string
	count watcherCounters
	// mirror is used by the goroutine that connects.
	mirror mirror
	wake   chan struct{} // something for the applying goroutine

	mu     sync.Mutex
	status WatchStatus
	// pending is the newest snapshot, applied the digest of the one in force.
	pending  *delivery
	applied  string
	applying bool
	attempts uint64 // counts connections
	reports  chan []byte
	latest   delivery // the last commit, without its snapshot
}

type watcherCounters struct {
	connects, failures, resyncs, bytes, commits, applied, failed atomic.Uint64
}

// delivery is a snapshot on its way to being applied.
type delivery struct {
	connection uint64
	revision   uint64
	digest     string
	snap       *cluster.Snapshot
}

// WatchStatus is where a Watcher stands.
type WatchStatus struct {
	// Connected is whether a controller answers now.
	Connected bool `json:"connected"`
	// Digest is that of the state in force, "" before the first. Controllers
	// with the same state have the same digest.
	Digest string `json:"digest,omitempty"`
	// Revision in force, as the controller connected to counts; 0 where that
	// controller has another state or none.
	Revision uint64 `json:"revision,omitempty"`
	// Heard is when the controller last gave a sign of life.
	Heard time.Time `json:"heard"`
	// Error is why there is no connection, or why the newest state is not in
	// force.
	Error string `json:"error,omitempty"`
}

// NewWatcher makes a Watcher. It connects in Run.
func NewWatcher(cfg ClientConfig) (*Watcher, error) {
	if cfg.TLS == nil || cfg.Log == nil || cfg.Now == nil || cfg.Random == nil {
		return nil, errors.New("watch controller: TLS, Log, Now and Random are required")
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("watch controller: URL %q: expected https://host:port", plain(cfg.URL))
	}
	if !validName.MatchString(cfg.Name) {
		return nil, fmt.Errorf("watch controller: Name %q: expected that of a pod", plain(cfg.Name))
	}
	cfg.MinBackoff = cmp.Or(cfg.MinBackoff, DefaultMinBackoff)
	cfg.MaxBackoff = max(cmp.Or(cfg.MaxBackoff, DefaultMaxBackoff), cfg.MinBackoff)
	cfg.ConnectTimeout = cmp.Or(cfg.ConnectTimeout, DefaultConnectTimeout)
	if cfg.MinBackoff < 0 || cfg.ConnectTimeout < 0 {
		return nil, errors.New("watch controller: times must be positive")
	}
	u.Path = Path
	u.RawQuery = url.Values{"protocol": {fmt.Sprint(Protocol)}, "name": {cfg.Name}, "version": {cfg.Version}}.Encode()
	w := &Watcher{cfg: cfg, url: u.String(), wake: make(chan struct{}, 1)}
	w.mirror.connect()
	return w, nil
}

// Watch makes a Watcher and runs it.
func Watch(ctx context.Context, cfg ClientConfig, fn func(*cluster.Snapshot) error) error {
	w, err := NewWatcher(cfg)
	if err != nil {
		return err
	}
	return w.Run(ctx, fn)
}

// Run connects to the controller, again and again, until ctx ends; then it
// returns nil. It calls fn from this goroutine, one call at a time, with each
// new state that the controller commits; states that come while fn runs
// collapse into the newest. An object that did not change is the same pointer
// in the next snapshot. While there is no connection fn is not called: the last
// snapshot stays in force. Nothing is kept on disk. When fn gives an error, what
// was in force must still be; fn is called again after a while, or when there is
// a newer state. Run may be called once.
func (w *Watcher) Run(ctx context.Context, fn func(*cluster.Snapshot) error) error {
	var connecting sync.WaitGroup
	defer connecting.Wait()
	connecting.Go(func() { w.connect(ctx) })

	pause := backoff{least: time.Second, most: time.Minute, random: w.cfg.Random}
	retry := time.NewTimer(time.Hour)
	retry.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
			pause.reset()
		case <-retry.C:
		}
		d := w.next()
		if d == nil {
			continue
		}
		if err := fn(d.snap); err != nil {
			w.failed(ctx, d, err)
			retry.Reset(pause.next())
			continue
		}
		w.succeeded(d)
	}
}

// next gives the newest state that is not in force, or nil.
func (w *Watcher) next() *delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending != nil && w.pending.digest == w.applied {
		w.stands(*w.pending)
	}
	w.applying = w.pending != nil
	return w.pending
}

// committed takes the state after a commit.
func (w *Watcher) committed(d delivery) {
	w.count.commits.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latest = d
	w.latest.snap = nil
	// While fn runs, what will be in force after it is not known.
	if d.digest == w.applied && !w.applying {
		w.stands(d)
		return
	}
	if w.pending != nil && w.pending.digest == d.digest {
		w.pending.connection, w.pending.revision = d.connection, d.revision
		return
	}
	w.pending = &d
	select {
	case w.wake <- struct{}{}:
	default: // it is awake already
	}
}

// stands takes a state that is in force already, as after a move to another
// controller.
func (w *Watcher) stands(d delivery) {
	w.pending = nil
	w.status.Revision, w.status.Error = 0, ""
	if r := w.revisionOf(&d); r != 0 {
		w.status.Revision = r
		w.report(verbApplied, progress{Revision: r})
	}
}

func (w *Watcher) succeeded(d *delivery) {
	w.count.applied.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied, w.applying = d.digest, false
	w.status.Digest, w.status.Revision = d.digest, 0
	if w.status.Connected {
		w.status.Error = ""
	}
	if w.pending == d {
		w.pending = nil
	}
	if r := w.revisionOf(d); r != 0 {
		w.status.Revision = r
		w.report(verbApplied, progress{Revision: r})
	}
}

func (w *Watcher) failed(ctx context.Context, d *delivery, err error) {
	w.count.failed.Add(1)
	w.cfg.Log.LogAttrs(ctx, slog.LevelError, "new configuration is not in force", slog.String("digest", d.digest), slog.Any("error", err))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status.Error, w.applying = err.Error(), false
	if r := w.revisionOf(d); r != 0 {
		w.report(verbFailed, progress{Revision: r, Reason: plain(err.Error())})
	}
}

// revisionOf gives the number by which the controller connected to knows a
// state, or 0.
func (w *Watcher) revisionOf(d *delivery) uint64 {
	switch {
	case w.reports == nil:
		return 0
	case d.connection == w.attempts:
		return d.revision
	case w.latest.connection == w.attempts && w.latest.digest == d.digest:
		return w.latest.revision
	}
	return 0
}

// report queues a line for the controller. A report that was not sent yet gives
// way: only the last one says how things are.
func (w *Watcher) report(verb string, p progress) {
	if w.reports == nil {
		return
	}
	select {
	case <-w.reports:
	default:
	}
	w.reports <- line(verb, p) // never waits: there is room, and mu is held
}

// Status gives where the Watcher stands.
func (w *Watcher) Status() WatchStatus {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// backoff gives growing waits, each spread over half to all of its length.
type backoff struct {
	least, most, now time.Duration
	random           func() uint64
}

func (b *backoff) next() time.Duration {
	b.now = min(max(b.now*2, b.least), b.most)
	return b.now/2 + time.Duration(unit(b.random)*float64(b.now)/2)
}

func (b *backoff) reset() { b.now = 0 }
