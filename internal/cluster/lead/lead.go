// Package lead elects one of several processes by a Lease of the API server.
// Who leads does the work that two must not do at once; the Lease bounds how
// long that goes wrong, and cannot rule it out: a process that was stopped for
// longer than a lease may wake up in the middle of a write. Every write of a
// leader therefore names the resourceVersion that it was made from as well.
package lead

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// What is used where a Config leaves a duration at zero: those of Kubernetes'
// own controllers.
const (
	DefaultLeaseDuration = 15 * time.Second
	DefaultRenewDeadline = 10 * time.Second
	DefaultRetryPeriod   = 2 * time.Second
)

// Config says who stands for election, and where.
type Config struct {
	// REST is how the API server is reached. It must be allowed to create
	// Leases, and to get and update this one.
	REST *rest.Config
	// Namespace and Name are those of the Lease, which is made if missing.
	Namespace, Name string
	// Identity tells the candidates apart: no two processes may share one.
	Identity string
	Log      *slog.Logger
	// LeaseDuration is how long a leader that is not heard of keeps its office;
	// RenewDeadline how long a leader goes on that cannot renew, and shorter
	// than that; RetryPeriod the time between two tries.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
}

// Election is one candidate. It collects the metric bulwark_leader.
type Election struct {
	cfg     Config
	leases  coordinationv1.LeasesGetter
	leading atomic.Bool
	gauge   prometheus.GaugeFunc
}

// New checks cfg and makes a candidate. It does not reach the API server yet.
func New(cfg Config) (*Election, error) {
	cfg.LeaseDuration = cmp.Or(cfg.LeaseDuration, DefaultLeaseDuration)
	cfg.RenewDeadline = cmp.Or(cfg.RenewDeadline, DefaultRenewDeadline)
	cfg.RetryPeriod = cmp.Or(cfg.RetryPeriod, DefaultRetryPeriod)
	switch {
	case cfg.REST == nil || cfg.Log == nil:
		return nil, errors.New("lead: REST and Log are required")
	case cfg.Namespace == "" || cfg.Name == "":
		return nil, errors.New("lead: namespace and name of the Lease are required")
	case cfg.Identity == "":
		return nil, errors.New("lead: Identity is required")
	case cfg.LeaseDuration < time.Second:
		return nil, fmt.Errorf("lead: a Lease of %v; it is told in seconds", cfg.LeaseDuration)
	case cfg.LeaseDuration <= cfg.RenewDeadline || cfg.RenewDeadline <= 2*cfg.RetryPeriod || cfg.RetryPeriod < 0:
		return nil, fmt.Errorf("lead: want lease %v > renew %v > 2 × retry %v > 0", cfg.LeaseDuration, cfg.RenewDeadline, cfg.RetryPeriod)
	}
	cfg.REST = rest.CopyConfig(cfg.REST)
	// A try that hangs must leave time for another one before the deadline.
	cfg.REST.Timeout = cfg.RenewDeadline / 2
	client, err := coordinationv1.NewForConfig(cfg.REST)
	if err != nil {
		return nil, fmt.Errorf("lead: client for Lease %s/%s: %w", cfg.Namespace, cfg.Name, err)
	}
	e := &Election{cfg: cfg, leases: client}
	e.gauge = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "bulwark_leader", Help: "1 while this process holds the Lease.",
	}, func() float64 {
		if e.Leading() {
			return 1
		}
		return 0
	})
	return e, nil
}

// Leading reports whether this process holds the Lease, as far as it knows.
func (e *Election) Leading() bool { return e.leading.Load() }

// Describe implements prometheus.Collector.
func (e *Election) Describe(ch chan<- *prometheus.Desc) { e.gauge.Describe(ch) }

// Collect implements prometheus.Collector.
func (e *Election) Collect(ch chan<- prometheus.Metric) { e.gauge.Collect(ch) }

// Run campaigns until ctx ends, and runs work while leading. The context of
// work ends when ctx does, or when the Lease is lost or cannot be renewed; Run
// then waits for work before it campaigns again, so that work never runs twice
// at once in this process. The Lease is given up only after work has returned.
// An API server that does not answer costs the office, not the process: Run
// returns an error only for a configuration that cannot work.
func (e *Election) Run(ctx context.Context, work func(context.Context)) error {
	for ctx.Err() == nil {
		if err := e.campaign(ctx, work); err != nil {
			return err
		}
		pause(ctx, e.cfg.RetryPeriod)
	}
	return nil
}

// term is the state of one campaign: work begins at most once, and not after
// the campaign was closed.
type term struct {
	mu            sync.Mutex
	began, closed bool
	done          chan struct{}
}

func (t *term) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began = !t.closed
	return t.began
}

// end closes the campaign and waits for work if it has begun.
func (t *term) end() {
	t.mu.Lock()
	t.closed = true
	began := t.began
	t.mu.Unlock()
	if began {
		<-t.done
	}
}

// campaign waits for the Lease, leads once and gives the Lease up.
func (e *Election) campaign(ctx context.Context, work func(context.Context)) error {
	// The Lease is renewed until work has returned, which is after ctx ends.
	elect, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	t := &term{done: make(chan struct{})}
	lock := &loggedLock{log: e.cfg.Log, Interface: &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: e.cfg.Namespace, Name: e.cfg.Name},
		Client:     e.leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: e.cfg.Identity},
	}}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, Name: e.cfg.Name,
		LeaseDuration: e.cfg.LeaseDuration, RenewDeadline: e.cfg.RenewDeadline, RetryPeriod: e.cfg.RetryPeriod,
		// The library would release before work has returned, and end the
		// context of work only after the release.
		ReleaseOnCancel: false,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(held context.Context) {
				if !t.begin() {
					return
				}
				defer close(t.done)
				defer stop()
				if ctx.Err() == nil && held.Err() == nil {
					e.lead(ctx, held, work)
				}
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				if identity != "" && identity != e.cfg.Identity {
					e.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "another process leads", slog.String("leader", identity))
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("lead: election by Lease %s/%s: %w", e.cfg.Namespace, e.cfg.Name, err)
	}
	ended := context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if !t.began {
			stop()
		}
	})
	defer ended()
	elector.Run(elect)
	t.end()
	if elector.IsLeader() {
		e.release(context.WithoutCancel(ctx), lock)
	}
	return nil
}

// lead runs work until ctx or held ends.
func (e *Election) lead(ctx, held context.Context, work func(context.Context)) {
	during, end := context.WithCancel(held)
	defer end()
	defer context.AfterFunc(ctx, end)()
	e.leading.Store(true)
	defer e.leading.Store(false)
	// What says that it leads must not outlive the Lease, even where work takes
	// long to return.
	defer context.AfterFunc(held, func() { e.leading.Store(false) })()
	e.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "leading", slog.String("identity", e.cfg.Identity))
	work(during)
	e.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "no longer leading", slog.Bool("lease_lost", held.Err() != nil))
}

// release gives the Lease up if it is still ours, so that the next leader need
// not wait until it runs out. Failing to is no harm.
func (e *Election) release(ctx context.Context, lock resourcelock.Interface) {
	ctx, cancel := context.WithTimeout(ctx, e.cfg.RenewDeadline/2)
	defer cancel()
	record, _, err := lock.Get(ctx)
	if err != nil || record.HolderIdentity != e.cfg.Identity {
		return
	}
	// Nobody holds it. One second is the shortest that a Lease can say.
	record.HolderIdentity, record.LeaseDurationSeconds = "", 1
	_ = lock.Update(ctx, *record) // logged by the lock
}

// loggedLock tells when the Lease begins or ceases to be out of reach.
type loggedLock struct {
	resourcelock.Interface

	log    *slog.Logger
	failed atomic.Bool
}

func (l *loggedLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	record, raw, err := l.Interface.Get(ctx)
	return record, raw, l.note(ctx, err)
}

func (l *loggedLock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.note(ctx, l.Interface.Create(ctx, r))
}

func (l *loggedLock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	return l.note(ctx, l.Interface.Update(ctx, r))
}

func (l *loggedLock) note(ctx context.Context, err error) error {
	switch {
	case harmless(err):
		if l.failed.Swap(false) {
			l.log.LogAttrs(ctx, slog.LevelInfo, "Lease is in reach again", slog.String("lease", l.Describe()))
		}
	case !l.failed.Swap(true):
		l.log.LogAttrs(ctx, slog.LevelWarn, "Lease is out of reach", slog.String("lease", l.Describe()), slog.Any("error", err))
	}
	return err
}
