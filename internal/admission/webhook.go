// Package admission judges what is about to be stored, by the controls that a
// scan runs. RATIONALE.md says what can go wrong, and why the settings are what
// they are.
package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/cluster/inventory"
	"bulwark.dev/bulwark/internal/posture/control"
)

// Unknown says what becomes of a request that a control cannot judge. The zero
// Unknown is not valid.
type Unknown uint8

// What becomes of it.
const (
	// UnknownRefuse treats it as failing.
	UnknownRefuse Unknown = iota + 1
	// UnknownAllow only warns.
	UnknownAllow
)

// Config is what a Webhook does.
type Config struct {
	// Controls are run over every object.
	Controls []control.Single
	// DenyAt is the lowest severity that refuses a request, WarnAt the lowest that
	// warns. DenyAt is required; without WarnAt nothing is warned of but what would
	// refuse.
	DenyAt, WarnAt bulwark.Severity
	// Unknown is required.
	Unknown Unknown
	// DryRun allows everything, and warns where it would refuse.
	DryRun bool
	// Requests for objects in these namespaces, or by these users and members of
	// these groups, are allowed without a look. Each is counted and noted in the
	// audit log.
	ExemptNamespaces, ExemptUsers, ExemptGroups []string
	// Except gives the name of the exception that a finding falls under, or "".
	// What could not be judged is under none.
	Except func(*inventory.Object, control.Meta, control.Result) string
	// Timeout is how long one request may take. Default: 5 seconds.
	Timeout time.Duration
	// Concurrent is how many requests are judged at once; others wait for Timeout.
	// Default: 16.
	Concurrent int
	// Log gets what is refused, Now the time it takes. Both are required.
	Log *slog.Logger
	Now func() time.Time
}

// Webhook is the http.Handler of a validating webhook. It keeps nothing between
// requests and is safe for use by many goroutines.
type Webhook struct {
	cfg   Config
	slots chan struct{}
	// memory bounds what all requests that are judged take of it.
	memory  *semaphore.Weighted
	metrics *metrics
}

// maxMemory is more than any one request takes, see maxReview and maxValues.
const maxMemory = 64 << 20

var _ http.Handler = (*Webhook)(nil)

// New makes a Webhook.
func New(cfg Config) (*Webhook, error) {
	err := errors.Join(
		required(len(cfg.Controls) > 0, "controls are required"),
		required(cfg.DenyAt != 0, "the severity to deny at is required"),
		required(cfg.Unknown == UnknownRefuse || cfg.Unknown == UnknownAllow, "what becomes of what cannot be judged is required"),
		required(cfg.Log != nil && cfg.Now != nil, "a log and a clock are required"),
		required(cfg.WarnAt == 0 || cfg.WarnAt <= cfg.DenyAt, "the severity to warn at is above that to deny at"),
		required(!slices.Contains(slices.Concat(cfg.ExemptNamespaces, cfg.ExemptUsers, cfg.ExemptGroups), ""), "an exemption has no name"),
	)
	if err != nil {
		return nil, fmt.Errorf("make admission webhook: %w", err)
	}
	if cfg.WarnAt == 0 {
		cfg.WarnAt = cfg.DenyAt
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.Concurrent <= 0 {
		cfg.Concurrent = 16
	}
	if cfg.Except == nil {
		cfg.Except = func(*inventory.Object, control.Meta, control.Result) string { return "" }
	}
	return &Webhook{cfg: cfg, slots: make(chan struct{}, cfg.Concurrent), memory: semaphore.NewWeighted(maxMemory), metrics: newMetrics()}, nil
}

func required(ok bool, what string) error {
	if ok {
		return nil
	}
	return errors.New(what)
}

// ServeHTTP answers one AdmissionReview. What is no review gets a bare status:
// who sends such things learns nothing.
func (w *Webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	started := w.cfg.Now()
	patience := w.patience(r)
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	// The context does not end a read: without this, who sends a body slowly would
	// keep a slot for as long as the server allows. A writer without deadlines is
	// not a connection.
	if err := http.NewResponseController(rw).SetReadDeadline(started.Add(patience)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		w.cfg.Log.LogAttrs(ctx, slog.LevelDebug, "read deadline was not set", slog.Any("error", err))
	}
	bare := func(outcome string, status int) {
		w.metrics.done(outcome, w.cfg.Now().Sub(started))
		http.Error(rw, http.StatusText(status), status)
	}
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		// The API server does then as its failurePolicy says.
		bare("overloaded", http.StatusServiceUnavailable)
		return
	}
	req, status := readReview(rw, r)
	if status != http.StatusOK {
		bare("malformed", status)
		return
	}
	if w.memory.Acquire(ctx, req.size) != nil {
		bare("overloaded", http.StatusServiceUnavailable)
		return
	}
	defer w.memory.Release(req.size)
	d := w.decide(ctx, req)
	if err := writeReview(rw, req, d); err != nil {
		w.cfg.Log.LogAttrs(ctx, slog.LevelDebug, "answer was not taken", slog.Any("error", err))
	}
	w.metrics.done(d.outcome, w.cfg.Now().Sub(started))
	w.report(ctx, req, d)
}

// patience is how long a request may take: what is set, or less where the API
// server says that it waits less. A little is kept to answer in time.
func (w *Webhook) patience(r *http.Request) time.Duration {
	out := w.cfg.Timeout
	if asked, err := time.ParseDuration(r.URL.Query().Get("timeout")); err == nil && asked > 0 {
		out = min(out, asked-asked/10)
	}
	return out
}

// report logs what is refused, or would be.
func (w *Webhook) report(ctx context.Context, req *request, d *decision) {
	if d.outcome != outcomeDenied && d.outcome != outcomeDryRun && d.outcome != outcomeExempt {
		return
	}
	level := slog.LevelInfo
	if d.outcome == outcomeExempt {
		level = slog.LevelDebug
	}
	w.cfg.Log.LogAttrs(ctx, level, "admission", slog.String("outcome", d.outcome), slog.String("uid", string(req.UID)),
		slog.String("operation", string(req.Operation)), slog.String("object", req.ref().String()),
		slog.String("user", req.UserInfo.Username), slog.Any("controls", d.controls()), slog.String("exempt", d.exempt))
}
