package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"bulwark.dev/bulwark/catalog"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/control"
	"bulwark.dev/bulwark/internal/audit/detect"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/respond/action"
	"bulwark.dev/bulwark/internal/cluster/respond"
)

// respondFlags say what measures may be taken, and on which cluster.
type respondFlags struct {
	policy     string
	kubeconfig string
	namespace  string
}

func (f *respondFlags) add(fl *pflag.FlagSet, policy string) {
	fl.StringVar(&f.policy, policy, "", "file that says which measures are taken by themselves, for how long, and what is never touched")
	fl.StringVar(&f.kubeconfig, "respond-kubeconfig", "", `kubeconfig of the cluster that measures are taken on; "" is the pod's own ServiceAccount`)
	fl.StringVar(&f.namespace, "respond-namespace", "", "Bulwark's own namespace, which no measure touches (default $POD_NAMESPACE, or bulwark-system)")
}

// engine makes the responder of a trail. With no policy nothing is done by itself.
func (f *respondFlags) engine(env *Env, t *trail, logger *slog.Logger) (*action.Engine, error) {
	actions, err := action.Load(catalog.Responses())
	if err != nil {
		return nil, fmt.Errorf("read the actions: %w", err)
	}
	policy := action.DefaultPolicy()
	if f.policy != "" {
		text, err := os.ReadFile(f.policy) // #nosec G304 -- the person who runs it names it
		if err == nil {
			policy, err = action.ParsePolicy(text, actions)
		}
		if err != nil {
			return nil, badUse(fmt.Errorf("%s: %w", f.policy, err))
		}
	}
	cfg, err := restConfig(f.kubeconfig)
	if err != nil {
		return nil, err
	}
	client, err := respond.New(cfg)
	if err != nil {
		return nil, badUse(err)
	}
	namespace := f.namespace
	if namespace == "" {
		namespace = os.Getenv("POD_NAMESPACE")
	}
	if namespace == "" {
		namespace = "bulwark-system"
	}
	e, err := action.New(action.Config{
		Dir: responsesOf(t.dir), Actions: actions, Policy: policy, Cluster: client, Trail: responseTrail{t.log}, Namespace: namespace,
		Now: env.Now, Random: rand.Reader, Log: logger,
	})
	if err != nil {
		return nil, badUse(err)
	}
	return e, nil
}

// takeOrders answers commands that change the trail or take measures, and takes those
// measures that the policy says.
func (f *serveAuditFlags) takeOrders(ctx context.Context, env *Env, t *trail, registry *prometheus.Registry, parts *errgroup.Group, logger *slog.Logger) error {
	orders := control.NewServer(logger)
	if f.responses.policy == "" && (f.responses.kubeconfig != "" || f.responses.namespace != "") {
		return badUse(errors.New("--respond-kubeconfig and --respond-namespace go with --respond"))
	}
	var responder *action.Engine
	if f.responses.policy != "" {
		var err error
		if responder, err = f.responses.engine(env, t, logger); err != nil {
			return err
		}
		registry.MustRegister(responder)
		t.respond(ctx, responder, parts, logger)
	}
	handleResponses(orders, t, responder)
	t.keeping.handle(orders)
	ln, err := control.Listen(ctx, t.dir)
	if err != nil {
		// Recording matters more: the folder may be one that has no sockets.
		logger.LogAttrs(ctx, slog.LevelError, "commands cannot reach this server", slog.Any("error", err))
		return nil
	}
	parts.Go(func() error { return orders.Serve(ctx, ln) })
	return nil
}

// responsesOf is where it is kept what stands.
func responsesOf(data string) string { return filepath.Join(data, "responses") }

// responseTrail is the trail as measures need it.
type responseTrail struct{ log *log.Log }

// Append writes events.
func (t responseTrail) Append(ctx context.Context, entries []audit.Entry) (uint64, error) {
	return t.log.Append(ctx, entries) //nolint:wrapcheck // it says what it was doing
}

// Events reads the events of some numbers, from the disk: they are nobody else's.
func (t responseTrail) Events(ctx context.Context, seqs []uint64) ([]*audit.Event, error) {
	v, err := t.log.View()
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it was doing
	}
	out := make([]*audit.Event, 0, len(seqs))
	for _, seq := range seqs {
		e, err := eventAt(ctx, v, seq)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// eventAt reads one event.
func eventAt(ctx context.Context, v *log.View, seq uint64) (*audit.Event, error) {
	var out *audit.Event
	err := v.Events(ctx, seq, func(e *audit.Event) error { out = e; return errFound })
	if err != nil && !errors.Is(err, errFound) {
		return nil, err //nolint:wrapcheck // it says what it was doing
	}
	if out == nil || out.Seq != seq {
		return nil, fmt.Errorf("event %d is not in the trail, or retention took it", seq)
	}
	return out, nil
}

// answerable reads an alert that detections of this trail wrote.
func answerable(e *audit.Event) (action.Alert, detect.Alert, error) {
	if e.Kind != audit.KindAlert || e.Source != "detect" {
		return action.Alert{}, detect.Alert{}, fmt.Errorf("event %d is no alert of this trail's detections", e.Seq)
	}
	a, err := detect.AlertOf(e)
	if err != nil {
		return action.Alert{}, detect.Alert{}, err //nolint:wrapcheck // it says what it was doing
	}
	return action.Alert{Seq: e.Seq, ID: a.ID, Rule: a.Rule, Time: a.Time, Evidence: a.Evidence}, a, nil
}

// alertNamed finds an alert by its id or by its number.
func (t *trail) alertNamed(ctx context.Context, name string) (*action.Alert, error) {
	v, err := t.log.View()
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what it was doing
	}
	var found *audit.Event
	if seq, perr := strconv.ParseUint(name, 10, 64); perr == nil {
		if found, err = eventAt(ctx, v, seq); err != nil {
			return nil, err
		}
	} else {
		err := v.Events(ctx, 1, func(e *audit.Event) error {
			if e.Kind == audit.KindAlert && e.AuditID == name {
				found = e
				return errFound
			}
			return nil
		})
		if err != nil && !errors.Is(err, errFound) {
			return nil, fmt.Errorf("look for alert %q: %w", name, err)
		}
	}
	if found == nil {
		return nil, fmt.Errorf("there is no alert %q in the trail", name)
	}
	a, _, err := answerable(found)
	return &a, err
}

const (
	// sweepEvery is how soon a measure whose time is over is taken back.
	sweepEvery = time.Second
	// answerTries is how often an alert is tried to be acted on while the API server is away.
	answerTries = 6
)

// respond answers alerts by the policy, and takes back what is due, until ctx ends.
func (t *trail) respond(ctx context.Context, e *action.Engine, parts *errgroup.Group, logger *slog.Logger) {
	parts.Go(func() error {
		return t.part(ctx, "taking measures back", logger, func(ctx context.Context) error {
			tick := time.NewTicker(sweepEvery)
			defer tick.Stop()
			for {
				e.Sweep(ctx)
				select {
				case <-ctx.Done():
					return nil
				case <-tick.C:
				}
			}
		})
	})
	parts.Go(func() error {
		return t.part(ctx, "responding to alerts", logger, func(ctx context.Context) error { return t.answerAll(ctx, e, logger) })
	})
}

// answerAll acts on each alert from where it was.
func (t *trail) answerAll(ctx context.Context, e *action.Engine, logger *slog.Logger) error {
	place := placeFile(filepath.Join(t.dir, "detect", "responded"))
	if _, err := os.Stat(string(place)); errors.Is(err, fs.ErrNotExist) {
		if err := place.Save(t.log.Last()); err != nil {
			return err
		}
	}
	seq, err := place.Load()
	if err != nil {
		return err
	}
	source := &alertSource{log: t.log}
	for {
		next, err := source.Next(ctx, seq)
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // it was asked to end
			}
			return fmt.Errorf("respond to alerts: %w", err)
		}
		t.answer(ctx, e, next.Seq, logger)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it is looked at again; what was done for it is known
		}
		seq = next.Seq
		if err := place.Save(seq); err != nil {
			return err
		}
	}
}

// answer acts on one alert, and tries again while the cluster does not answer.
func (t *trail) answer(ctx context.Context, e *action.Engine, seq uint64, logger *slog.Logger) {
	v, err := t.log.View()
	var event *audit.Event
	if err == nil {
		event, err = eventAt(ctx, v, seq)
	}
	var a action.Alert
	var full detect.Alert
	if err == nil {
		a, full, err = answerable(event)
	}
	for try := 0; err == nil && try < answerTries; try++ {
		failed := e.Respond(ctx, a, full.Severity)
		if failed == nil {
			return
		}
		logger.LogAttrs(ctx, slog.LevelError, "alert not acted on", slog.Uint64("seq", seq), slog.Int("try", try+1), slog.Any("error", failed))
		timer := time.NewTimer(time.Second << try)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
	if err != nil {
		logger.LogAttrs(ctx, slog.LevelError, "alert not acted on", slog.Uint64("seq", seq), slog.Any("error", err))
	}
}

// The verbs of the control socket.
const (
	verbPlan  = "respond-plan"
	verbApply = "respond-apply"
	verbUndo  = "respond-undo"
)

// responseRequest is what a command asks for.
type responseRequest struct {
	Action string            `json:"action,omitempty"`
	Set    map[string]string `json:"set,omitempty"`
	Alert  string            `json:"alert,omitempty"`
	From   string            `json:"from,omitempty"`
	Reason string            `json:"reason,omitempty"`
	Expiry time.Duration     `json:"expiry,omitempty"`
	Run    string            `json:"run,omitempty"`
}

// responseAnswer is what came of it: the run, and what went wrong after it began.
type responseAnswer struct {
	Run     *action.Run `json:"run"`
	Problem string      `json:"problem,omitempty"`
}

// handleResponses answers the commands "audit response" in the process that writes the
// trail. Without an engine they are told what is missing.
func handleResponses(srv *control.Server, t *trail, e *action.Engine) {
	for _, verb := range []string{verbPlan, verbApply, verbUndo} {
		srv.Handle(verb, func(ctx context.Context, raw json.RawMessage) (any, error) {
			if e == nil {
				return nil, control.Refuse(errors.New("this server takes no measures: start it with --respond FILE"))
			}
			var q responseRequest
			if err := control.Decode(raw, &q); err != nil {
				return nil, err //nolint:wrapcheck // it says what it was doing
			}
			answer, err := t.perform(ctx, e, verb, q, callerName(ctx))
			if errors.Is(err, action.ErrRefused) {
				err = control.Refuse(err)
			}
			return answer, err
		})
	}
}

// perform does what a command asks for.
func (t *trail) perform(ctx context.Context, e *action.Engine, verb string, q responseRequest, by string) (*responseAnswer, error) {
	var r *action.Run
	var err error
	if verb == verbUndo {
		r, err = e.Undo(ctx, q.Run, by, q.Reason)
	} else {
		request := action.Request{Action: q.Action, Set: q.Set, From: q.From, By: by, Reason: q.Reason, Expiry: q.Expiry}
		if q.Alert != "" {
			if request.Alert, err = t.alertNamed(ctx, q.Alert); err != nil {
				return nil, fmt.Errorf("%w: %w", action.ErrRefused, err)
			}
		}
		if verb == verbApply {
			r, err = e.Apply(ctx, request)
		} else {
			r, err = e.Plan(ctx, request)
		}
	}
	if r == nil {
		return nil, err //nolint:wrapcheck // it says what it was doing
	}
	answer := &responseAnswer{Run: r}
	if err != nil {
		answer.Problem = err.Error()
	}
	return answer, nil
}

// callerName is who sent a request, as the system tells it.
func callerName(ctx context.Context) string {
	uid, ok := control.Caller(ctx)
	if !ok {
		uid = os.Getuid() // nobody else but root can open the socket
	}
	return nameOf(uid)
}

// nameOf is a user of this machine, as the trail tells of one.
func nameOf(uid int) string {
	who := whoIs(uid)
	return fmt.Sprintf("%s (uid %s)", who.Name, who.ID)
}
