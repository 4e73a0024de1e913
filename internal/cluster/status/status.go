// Package status writes into the status of objects what became of them: of
// GatewayClasses, Gateways, ListenerSets, routes and policies. Only the elected
// leader runs it.
//
// A status is written as a JSON merge patch of the fields that Bulwark owns,
// with the resourceVersion of the object that it was made from. Against a
// whole-object update this is smaller by the spec, leaves alone what a newer
// CRD may hold beside, and needs no permission but patch; against server-side
// apply it keeps what is needed here: a status made from an old object is
// refused (409), and lists that are atomic in the API (the parents of a route,
// the ancestors of a policy) are shared with other controllers in full view.
package status

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/internal/cluster"
)

// What is used where a Config leaves a number at zero.
const (
	// DefaultWritesPerSecond lets 5,000 routes be written in some ten seconds,
	// a rate that one client may ask of an API server.
	DefaultWritesPerSecond = 500
	// DefaultParallel is how many writes are under way at once.
	DefaultParallel = 8
	// DefaultEventsPerMinute bounds Events over a longer time.
	DefaultEventsPerMinute = 60
)

// Limits of Gateway API's CRDs.
const (
	maxConditions = 8
	maxParents    = 32
	maxAncestors  = 16
	maxFeatures   = 64
	maxMessage    = 32768
)

// requestTimeout is for one request. What takes longer is tried again.
const requestTimeout = 10 * time.Second

// Config says who writes, and how fast.
type Config struct {
	// REST is how the API server is reached. Its rate limit is not used.
	REST *rest.Config
	// ControllerName is the name under which entries of routes and policies are
	// ours. Entries of other names are never touched.
	ControllerName gwv1.GatewayController
	// Features are what status.supportedFeatures of our GatewayClasses claims.
	Features []gwv1.FeatureName
	Log      *slog.Logger
	Now      func() time.Time
	// WritesPerSecond and Parallel bound the load on the API server.
	WritesPerSecond, Parallel int
	// EventsPerMinute bounds the Events written; none are where it is negative.
	EventsPerMinute int
	// Instance is named in Events as the reporting instance: the pod's name.
	Instance string
}

// Target is what became of one object. Which field counts depends on Kind:
// Conditions for a GatewayClass, Gateway for a Gateway, ListenerSet for a
// ListenerSet, Parents for HTTPRoute, GRPCRoute and TLSRoute, Ancestors for
// BackendTLSPolicy and SecurityPolicy. Transition times and the observed
// generation are filled in by the Writer.
type Target struct {
	Kind, Namespace, Name string
	// Generation is that of the object which was judged. 0 means: that of the
	// object in the Snapshot given to Update.
	Generation  int64
	Conditions  []metav1.Condition
	Gateway     *gwv1.GatewayStatus
	ListenerSet *gwv1.ListenerSetStatus
	Parents     []gwv1.RouteParentStatus
	Ancestors   []gwv1.PolicyAncestorStatus
}

// Writer keeps the status of objects as it was last asked for. Its methods may
// be used by several goroutines.
type Writer struct {
	cfg    Config
	client *rest.RESTClient
	kinds  []kind
	meters meters
	events *recorder

	running atomic.Bool
	wake    chan struct{}
	mu      sync.Mutex
	newest  *wanted // nil before the first Update
}

// wanted is one Update.
type wanted struct {
	snap    *cluster.Snapshot
	targets map[ref]*Target
}

// ref names an object of the kinds that have a status.
type ref struct{ kind, namespace, name string }

func (r ref) String() string {
	if r.namespace == "" {
		return r.kind + " " + r.name
	}
	return r.kind + " " + r.namespace + "/" + r.name
}

// New checks cfg and makes a Writer, which does nothing before Run.
func New(cfg Config) (*Writer, error) {
	cfg.WritesPerSecond = cmp.Or(cfg.WritesPerSecond, DefaultWritesPerSecond)
	cfg.Parallel = cmp.Or(cfg.Parallel, DefaultParallel)
	cfg.EventsPerMinute = cmp.Or(cfg.EventsPerMinute, DefaultEventsPerMinute)
	cfg.Features = slices.Compact(slices.Sorted(slices.Values(cfg.Features)))
	switch {
	case cfg.REST == nil || cfg.Log == nil || cfg.Now == nil:
		return nil, errors.New("status: REST, Log and Now are required")
	case cfg.ControllerName == "":
		return nil, errors.New("status: ControllerName is required")
	case cfg.WritesPerSecond < 0 || cfg.Parallel < 0:
		return nil, fmt.Errorf("status: %d writes per second, %d in parallel: want more than none", cfg.WritesPerSecond, cfg.Parallel)
	case len(cfg.Features) > maxFeatures:
		return nil, fmt.Errorf("status: %d features; a GatewayClass holds %d", len(cfg.Features), maxFeatures)
	}
	client, err := newClient(cfg.REST, cfg.WritesPerSecond)
	if err != nil {
		return nil, err
	}
	w := &Writer{cfg: cfg, client: client, kinds: kinds(), meters: newMeters(), wake: make(chan struct{}, 1)}
	w.events = newRecorder(w)
	return w, nil
}

// newClient makes a client that is not tied to one API group.
func newClient(cfg *rest.Config, perSecond int) (*rest.RESTClient, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.RateLimiter = flowcontrol.NewTokenBucketRateLimiter(float32(perSecond), max(1, perSecond/2))
	cfg.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	cfg.Timeout = requestTimeout
	// Custom resources are served as JSON only.
	cfg.AcceptContentTypes, cfg.ContentType = "application/json", "application/json"
	client, err := rest.UnversionedRESTClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("status: client for %s: %w", cfg.Host, err)
	}
	return client, nil
}

// Update says what the status of the objects of snap is to be. Entries under
// our name on objects that want does not list are removed. It never blocks: an
// Update that was not begun yet is replaced. It must be called for every new
// Snapshot, also for one in which only a status changed: that is how the
// Writer learns that its writes arrived, that a conflict is over, or that
// somebody edited a status. Neither argument may be changed afterwards.
func (w *Writer) Update(snap *cluster.Snapshot, want []Target) {
	targets := make(map[ref]*Target, len(want))
	for i := range want {
		t := &want[i]
		targets[ref{t.Kind, t.Namespace, t.Name}] = t
	}
	w.mu.Lock()
	w.newest = &wanted{snap, targets}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *Writer) current() *wanted {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest
}

// Run writes until ctx ends. It may run again after it has returned, but not
// twice at once.
func (w *Writer) Run(ctx context.Context) error {
	if !w.running.CompareAndSwap(false, true) {
		return errors.New("status: the Writer runs already")
	}
	defer w.running.Store(false)
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { w.events.run(ctx) })

	// Another process may have led since this one did, so nothing is remembered.
	p := newPasses(w)
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
		case <-retry.C:
		}
		if in := w.current(); in != nil {
			if wait := p.run(ctx, in); wait > 0 {
				retry.Reset(wait)
			} else {
				retry.Stop()
			}
		}
	}
}
