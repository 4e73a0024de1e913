package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"bulwark.dev/bulwark/internal/cluster"
)

// patience is how long a source waits before it tries again.
type patience struct {
	// first doubles with each failure in a row.
	first time.Duration
	// lost is the longest wait for a server that cannot be reached, denied for
	// a permission or a CRD that is missing.
	lost, denied time.Duration
	// calm is how long an attempt must have lasted for the next failure to
	// count as a first one.
	calm time.Duration
	// confirm is how long refusals must last to be believed.
	confirm time.Duration
}

// usual is the patience of a source, except for confirm.
func usual() patience {
	return patience{first: 250 * time.Millisecond, lost: 10 * time.Second, denied: 15 * time.Second, calm: 30 * time.Second}
}

// confirmations is how many refusals in a row it takes until one is believed.
const confirmations = 3

// state is what is known of a kind.
type state int

const (
	// unknown: nothing was answered yet.
	unknown state = iota
	// readable: the store has what the server had at the last contact.
	readable
	// down: the store says why there is nothing.
	down
)

// source keeps the objects of one kind in the store.
type source struct {
	kind    cluster.Kind
	store   *cluster.Store
	clients *clients
	log     *slog.Logger
	now     func() time.Time
	wait    patience
	// failing counts the sources whose last attempt failed, so that an outage is
	// told of once and not for each kind.
	failing *atomic.Int32
	// changed is told that the store may hold something new.
	changed func()

	// What follows is for the goroutine of run alone.
	version   int // index in kind.Versions
	reflector *cache.Reflector
	fails     int  // in a row
	failed    bool // counted in failing

	// mu is for those who look on: the fields are changed by that goroutine.
	mu       sync.Mutex
	state    state
	watching bool // this attempt's watch was accepted
	listed   bool // this attempt's content is known
	// pending is content that counts once the watch is accepted.
	pending     []cluster.Object
	verbs       []string // refused in this attempt
	refusals    int      // in a row
	refusedFrom time.Time
	failure     error  // of the last attempt, nil while watching
	back        bool   // became readable since recovered was called
	reason      string // of down
	lastEvent   time.Time
	restarts    uint64
}

// run reads and watches until ctx ends.
func (s *source) run(ctx context.Context) {
	for ctx.Err() == nil {
		begun := s.now()
		err := s.attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		if s.now().Sub(begun) > s.wait.calm || s.recovered() {
			s.fails = 0
		}
		pause(ctx, s.judge(ctx, err))
		s.fails++
	}
}

// recovered reports, once, whether the kind became readable.
func (s *source) recovered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.back
	s.back = false
	return was
}

// pause waits, up to half as long again so that sources spread out.
func pause(ctx context.Context, d time.Duration) {
	d += time.Duration(rand.Int64N(int64(d)/2 + 1)) //nolint:gosec // spreads load, guards nothing
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// missingError says that the server does not have the kind in any version that
// can be read.
type missingError struct {
	served []string
	err    error
}

func (e *missingError) Error() string { return e.err.Error() }
func (e *missingError) Unwrap() error { return e.err }

// attempt reads and watches for as long as it can, in the newest version that
// the server has.
func (s *source) attempt(ctx context.Context) error {
	var err error
	for range s.kind.Versions {
		if err = s.follow(ctx); !apierrors.IsNotFound(err) || ctx.Err() != nil {
			return err
		}
		s.version = (s.version + 1) % len(s.kind.Versions)
		s.reflector = nil
	}
	s.version = 0
	served, discoveryErr := s.clients.served(ctx, s.kind)
	if discoveryErr != nil {
		s.log.LogAttrs(ctx, slog.LevelDebug, "discovery failed", slog.String("kind", s.kind.Name), slog.Any("error", discoveryErr))
	}
	return &missingError{served: served, err: err}
}

// follow reads and watches the current version.
func (s *source) follow(ctx context.Context) error {
	s.mu.Lock()
	s.watching, s.listed, s.pending, s.verbs = false, false, nil, nil
	s.mu.Unlock()
	if s.reflector == nil {
		r, err := s.newReflector()
		if err != nil {
			return err
		}
		s.reflector = r
	}
	if err := s.reflector.ListAndWatchWithContext(klog.NewContext(ctx, demotedLog(s.log))); err != nil {
		return fmt.Errorf("read %s: %w", s.kind.Resource, err)
	}
	return nil
}

func (s *source) newReflector() (*cache.Reflector, error) {
	client, err := s.clients.version(s.kind, s.kind.Versions[s.version])
	if err != nil {
		return nil, err
	}
	d := &door{
		client: client, kind: s.kind, selector: selection(s.kind), codec: runtime.NewParameterCodec(s.clients.scheme),
		opened: s.opened, refused: s.refused,
	}
	logger := demotedLog(s.log)
	return cache.NewReflectorWithOptions(d, nil, sink{s}, cache.ReflectorOptions{
		Name: "bulwark", TypeDescription: s.kind.Name, Logger: &logger,
		// The few waits that are the reflector's own do not end with ctx.
		Backoff: &wait.Backoff{Duration: s.wait.first, Cap: 8 * s.wait.first, Steps: 4, Factor: 2, Jitter: 1},
	}), nil
}

// opened takes that a watch was accepted.
func (s *source) opened() {
	s.mu.Lock()
	s.watching = true
	s.mu.Unlock()
	s.good()
}

// refused takes that a request was forbidden.
func (s *source) refused(verb string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.verbs, verb) {
		s.verbs = append(s.verbs, verb)
		slices.Sort(s.verbs)
	}
}

// good makes the kind readable once it is listed and being watched. One without
// the other would go stale.
func (s *source) good() {
	ctx := context.Background() // the reflector calls without one
	s.mu.Lock()
	if !s.listed || !s.watching {
		s.mu.Unlock()
		return
	}
	pending, replace, fromDown := s.pending, s.state != readable, s.state == down
	s.mu.Unlock()
	if replace {
		// Before the state says so: whoever sees the state looks at the store.
		s.keep(ctx, s.store.Replace(s.kind.Name, pending))
	}
	s.mu.Lock()
	s.back = s.back || replace
	s.pending, s.failure, s.refusals, s.reason, s.state = nil, nil, 0, "", readable
	s.lastEvent = s.now()
	s.mu.Unlock()
	if fromDown {
		s.log.LogAttrs(ctx, slog.LevelInfo, "kind can be read now", slog.String("kind", s.kind.Name))
	}
	if s.failed {
		s.failed = false
		if s.failing.Add(-1) == 0 {
			s.log.LogAttrs(ctx, slog.LevelInfo, "cluster is being watched again")
		}
	}
	s.changed()
}

// keep logs what the store refuses: a mistake of ours, since it is given its own
// kinds only.
func (s *source) keep(ctx context.Context, err error) {
	if err != nil {
		s.log.LogAttrs(ctx, slog.LevelError, "object is not kept", slog.String("kind", s.kind.Name), slog.Any("error", err))
	}
}

// judge takes how an attempt ended and gives how long to wait for the next.
func (s *source) judge(ctx context.Context, err error) time.Duration {
	wait := s.wait.first << min(s.fails, 10)
	missing := (*missingError)(nil)
	gone := errors.As(err, &missing)
	s.mu.Lock()
	s.restarts++
	s.watching, s.failure = false, err
	if !gone && !apierrors.IsForbidden(err) {
		s.refusals = 0
		s.mu.Unlock()
		s.lost(ctx, err)
		return min(wait, s.wait.lost)
	}
	if s.refusals++; s.refusals == 1 {
		s.refusedFrom = s.now()
	}
	// A server that has just started refuses what it will allow in a moment,
	// and refusals drop what is in force: so they must last. A first 404 can be
	// believed, since until a server knows its CRDs it answers 503.
	believed := s.state == down || gone && s.state == unknown ||
		s.refusals >= confirmations && s.now().Sub(s.refusedFrom) >= s.wait.confirm
	verbs := s.verbs
	s.mu.Unlock()
	if !believed {
		return min(s.wait.confirm/confirmations, 4*s.wait.first)
	}
	s.down(ctx, verbs, missing)
	return min(wait, s.wait.denied)
}

// lost takes that the server could not be read.
func (s *source) lost(ctx context.Context, err error) {
	if err == nil {
		return
	}
	level := slog.LevelDebug
	if !s.failed {
		s.failed = true
		if s.failing.Add(1) == 1 {
			level = slog.LevelWarn
		}
	}
	s.log.LogAttrs(ctx, level, "cluster cannot be read; what was read stays in force", slog.String("kind", s.kind.Name), slog.Any("error", err))
}

// down says in the store why there is nothing of the kind.
func (s *source) down(ctx context.Context, verbs []string, missing *missingError) {
	var why string
	absent := false
	switch {
	case missing == nil:
		why = denial(s.kind, verbs)
	case len(missing.served) > 0:
		why = fmt.Sprintf("the server has %s.%s as %s only; this version of Bulwark reads %s",
			s.kind.Resource, s.kind.Group, strings.Join(missing.served, ", "), strings.Join(s.kind.Versions, ", "))
	default:
		why = fmt.Sprintf("the CRD %s.%s is not installed", s.kind.Resource, s.kind.Group)
		absent = s.kind.Optional
	}
	s.mu.Lock()
	again := s.state == down && s.reason == why
	s.mu.Unlock()
	if again {
		return
	}
	if absent {
		s.keep(ctx, s.store.SetAbsent(s.kind.Name, why))
		s.log.LogAttrs(ctx, slog.LevelInfo, "the server does not have this kind", slog.String("kind", s.kind.Name), slog.String("reason", why))
	} else {
		s.keep(ctx, s.store.SetUnreadable(s.kind.Name, why))
		s.log.LogAttrs(ctx, slog.LevelError, "kind cannot be read; what depends on it is refused", slog.String("kind", s.kind.Name), slog.String("reason", why))
	}
	s.mu.Lock()
	s.state, s.reason = down, why
	s.mu.Unlock()
	s.changed()
}

// settled reports whether it is known what there is, and if not, why.
func (s *source) settled() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != unknown, s.failure
}

// sick gives what keeps the kind from being current, or nil. A kind that is down
// is current: the Snapshot says so.
func (s *source) sick() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	missing := (*missingError)(nil)
	switch {
	case s.state == unknown && s.failure == nil:
		return fmt.Errorf("%s: not read yet", s.kind.Resource)
	case s.state == down && (errors.As(s.failure, &missing) || apierrors.IsForbidden(s.failure)):
		return nil
	case s.failure != nil:
		return fmt.Errorf("%s: %w", s.kind.Resource, s.failure)
	}
	return nil
}
