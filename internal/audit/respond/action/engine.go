package action

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"bulwark.dev/bulwark/internal/audit"
)

// Cluster is what the steps are carried out on. Its errors are those of
// k8s.io/apimachinery's api/errors, so that what is missing, forbidden or in conflict can
// be told apart. With dryRun the API server checks and changes nothing.
type Cluster interface {
	Get(ctx context.Context, apiVersion, resource, namespace, name string) (*unstructured.Unstructured, error)
	List(ctx context.Context, apiVersion, resource, namespace string) ([]unstructured.Unstructured, error)
	Create(ctx context.Context, resource string, object *unstructured.Unstructured, dryRun bool) (*unstructured.Unstructured, error)
	// Patch is a JSON merge patch.
	Patch(ctx context.Context, apiVersion, resource, namespace, name string, patch []byte, dryRun bool) (*unstructured.Unstructured, error)
	// Delete deletes the object of this uid and no other.
	Delete(ctx context.Context, apiVersion, resource, namespace, name, uid string, dryRun bool) error
	// Self is the user name that the API server knows us by.
	Self(ctx context.Context) (string, error)
}

// Trail is the audit trail.
type Trail interface {
	// Append is durable when it returns.
	Append(ctx context.Context, entries []audit.Entry) (first uint64, err error)
	// Events gives the events of these numbers, in their order; one that is not there, or
	// whose body retention took, is an error.
	Events(ctx context.Context, seqs []uint64) ([]*audit.Event, error)
}

// Config is what an Engine works with. All but Namespace is required.
type Config struct {
	// Dir is the folder in which it is kept what stands.
	Dir     string
	Actions map[string]*Action
	Policy  *Policy
	Cluster Cluster
	Trail   Trail
	// Namespace is Bulwark's own, which no action touches.
	Namespace string
	Now       func() time.Time
	Random    io.Reader
	Log       *slog.Logger
}

// Engine plans, applies and undoes. Its methods may be called by several goroutines; one
// works at a time. Only one process may have an Engine over one folder.
type Engine struct {
	cfg    Config
	ledger ledger

	mu   sync.Mutex
	runs map[string]*Run
	// looked is when standing refusals were last compared with the cluster.
	looked time.Time
	// held counts the alerts that the limits kept from being answered since it was told.
	held int
	// shown are when plans were made by themselves within the last hour.
	shown []time.Time
	// broken says what of the ledger cannot be read; complained that the trail knows.
	broken     error
	complained bool
	stats      stats
}

// New makes an Engine and reads what stands. What of it cannot be read is no error, since
// the rest is to be taken back all the same: nothing new is done until it is mended, the
// trail is told, and a metric says so.
func New(cfg Config) (*Engine, error) {
	if cfg.Dir == "" || len(cfg.Actions) == 0 || cfg.Policy == nil || cfg.Cluster == nil || cfg.Trail == nil || cfg.Now == nil || cfg.Random == nil || cfg.Log == nil {
		return nil, errors.New("responses: a part of the configuration is missing")
	}
	e := &Engine{cfg: cfg, ledger: ledger{filepath.Clean(cfg.Dir)}}
	e.runs, e.broken = e.ledger.load()
	e.stats = newStats(cfg.Actions)
	e.measure()
	return e, nil
}

// Request is what somebody wants to be done.
type Request struct {
	Action string
	// Set are the parameters, unless an alert's evidence has them.
	Set map[string]string
	// Alert is the event of an alert, as the trail has it, and From how its evidence is read.
	Alert *Alert
	From  string
	// By and Reason say who wants it, and why.
	By, Reason string
	Expiry     time.Duration
	automatic  bool
}

// Alert is what an action answers.
type Alert struct {
	Seq      uint64
	ID, Rule string
	Time     time.Time
	Evidence []uint64
}

// maxEvidence is how much of an alert's evidence is looked at.
const maxEvidence = 64

// Plan says what would be changed, has the API server check it in a dry run, and tells
// the trail. An error that is ErrRefused is one that no other attempt would change.
func (e *Engine) Plan(ctx context.Context, q Request) (*Run, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, err := e.plan(ctx, q)
	return r.clone(), err
}

func (e *Engine) plan(ctx context.Context, q Request) (*Run, error) {
	r, err := e.prepare(ctx, q)
	if err != nil {
		e.stats.count(q.Action, map[bool]string{true: outcomeRefused, false: outcomeFailed}[errors.Is(err, ErrRefused)])
		e.note(ctx, r, VerbPlan, q.By, reasonOf(err), err.Error())
		return nil, fmt.Errorf("plan %s: %w", q.Action, err)
	}
	if err := e.tell(ctx, r, Note{Verb: VerbPlan, By: q.By, At: r.Planned, Message: "dry run only: nothing was changed"}); err != nil {
		return nil, err
	}
	e.stats.count(q.Action, outcomePlanned)
	return r, nil
}

// prepare makes a plan. The run is never nil.
func (e *Engine) prepare(ctx context.Context, q Request) (*Run, error) {
	r := &Run{
		Action: q.Action, Parameters: map[string]string{}, State: StatePlanned, By: q.By, Automatic: q.automatic, Reason: q.Reason, Planned: micros(e.cfg.Now()),
	}
	var random [6]byte
	if _, err := io.ReadFull(e.cfg.Random, random[:]); err != nil {
		return r, fmt.Errorf("make an id: %w", err)
	}
	r.ID = "r-" + hex.EncodeToString(random[:])
	if _, taken := e.runs[r.ID]; taken {
		return r, fmt.Errorf("make an id: %s is there already", r.ID)
	}
	a := e.cfg.Actions[q.Action]
	if a == nil {
		return r, refusef("there is no action %q", q.Action)
	}
	if q.By == "" {
		return r, refusef("nobody says who wants it")
	}
	if e.broken != nil {
		return r, refusef("it is not known what stands, and nothing is done until that is mended and the server started again: %w", e.broken)
	}
	expiry, err := e.cfg.Policy.expiry(q.Expiry)
	if err != nil {
		return r, err
	}
	r.Expiry = expiry
	self, err := e.cfg.Cluster.Self(ctx)
	if err != nil {
		return r, fmt.Errorf("ask the API server who Bulwark is: %w", err)
	}
	if err := e.parameters(ctx, a, q, r, self); err != nil {
		return r, err
	}
	p := &planner{engine: e, action: a, run: r, self: self, uid: r.uid}
	r.Breaks = slices.Clone(a.Breaks)
	for i := range a.Steps {
		if err := p.step(ctx, &a.Steps[i]); err != nil {
			return r, fmt.Errorf("step %d, %s: %w", i+1, a.Steps[i].Do, err)
		}
	}
	if len(r.Changes) == 0 {
		return r, refusef("nothing would change: it is like that already")
	}
	for _, other := range e.runs {
		if !other.ended() && (other.Action == r.Action && maps.Equal(other.Parameters, r.Parameters) || touchesSame(other, r)) {
			return r, refusef("response %s stands on the same already: undo it first", other.ID)
		}
	}
	for i, c := range r.Changes {
		if err := e.rehearse(ctx, c); err != nil {
			return r, fmt.Errorf("dry run of step %d, %s of %s: %w", i+1, c.Do, c.Object, err)
		}
	}
	return r, nil
}

// touchesSame reports whether two runs change one object. Refusals at the gateway are
// many to one policy, and told apart by their names.
func touchesSame(a, b *Run) bool {
	for _, x := range a.Changes {
		for _, y := range b.Changes {
			if x.Undone || x.Object != y.Object {
				continue
			}
			if x.Do != DoDeny || y.Do != DoDeny || x.Rule["when"] == y.Rule["when"] {
				return true
			}
		}
	}
	return false
}

// parameters finds the parameters: in evidence, or as somebody gave them.
func (e *Engine) parameters(ctx context.Context, a *Action, q Request, r *Run, self string) error {
	var err error
	if q.Alert == nil {
		if q.Reason == "" {
			return refusef("without an alert, a reason is required")
		}
		if r.Parameters, err = a.given(q.Set); err != nil {
			return err
		}
		return e.allowed(a, r.Parameters)
	}
	r.Alert, r.AlertSeq, r.Rule, r.Evidence = q.Alert.ID, q.Alert.Seq, q.Alert.Rule, q.Alert.Evidence
	if len(q.Set) > 0 {
		return refusef("the evidence of an alert has the parameters: give an alert or values, not both")
	}
	if len(q.Alert.Evidence) > maxEvidence {
		return refusef("the alert has %d events of evidence, more than the %d that are looked at", len(q.Alert.Evidence), maxEvidence)
	}
	evidence, err := e.cfg.Trail.Events(ctx, q.Alert.Evidence)
	if err != nil {
		return fmt.Errorf("read the evidence: %w", err)
	}
	how, reading, err := a.reading(q.From)
	if err != nil {
		return err
	}
	for _, ev := range evidence {
		if !q.automatic {
			break
		}
		if ev.User.Username == self {
			return refusef("event %d is Bulwark's own doing: it does not answer itself", ev.Seq)
		}
		if err := e.trusted(ev); err != nil {
			return err
		}
		if how == ReadCaller && len(reading.UID) > 0 {
			// Whoever may choose a name can choose that of another; a uid is the API server's.
			if uid, err := first(ev, reading.UID); err != nil || uid == "" {
				return refusef("event %d does not say by a uid who %q is: that is for a person to decide", ev.Seq, ev.User.Username)
			}
		}
	}
	r.observe(evidence)
	if why := e.overActor(r); q.automatic && why != "" {
		return refusef("%s", why)
	}
	if r.Parameters, r.uid, err = a.read(how, reading, evidence); err != nil {
		return err
	}
	for _, ev := range evidence {
		for _, g := range ev.User.Groups {
			if how != ReadCaller {
				continue
			}
			if err := e.group(g); err != nil {
				return refusef("event %d: %q is of a group that is not touched: %w", ev.Seq, ev.User.Username, err)
			}
		}
	}
	return e.allowed(a, r.Parameters)
}

// allowed refuses parameters that name what is protected.
func (e *Engine) allowed(a *Action, set map[string]string) error {
	for _, p := range a.Parameters {
		v := set[p.Name]
		if v == "" {
			continue
		}
		var err error
		switch p.Kind {
		case kindNamespace:
			err = e.namespace(v)
		case kindIdentity:
			err = e.identity(v, "")
		case kindNode:
			if listed(e.cfg.Policy.Protected.Nodes, v) {
				err = refusef("node %s is protected", v)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reasonOf is a word for a failure.
func reasonOf(err error) string {
	switch {
	case errors.Is(err, ErrRefused):
		return "Refused"
	case isForbidden(err):
		return "Forbidden"
	}
	return "Failed"
}

// Runs lists what was carried out, the newest first; all wants those that ended too.
func (e *Engine) Runs(all bool) []Run {
	e.mu.Lock()
	defer e.mu.Unlock()
	return list(e.runs, all)
}
