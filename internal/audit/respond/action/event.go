package action

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// The verbs of events of kind action.
const (
	VerbPlan   = "plan"   // what would be done; a failure says why it would not
	VerbApply  = "apply"  // it is carried out from here on
	VerbStand  = "stand"  // it was carried out, and stands
	VerbUndo   = "undo"   // somebody took it back
	VerbExpire = "expire" // its time was over, and it was taken back
	VerbFail   = "fail"   // it could not be carried out, and what was done was taken back
	VerbExtend = "extend" // a standing refusal was put into a policy that came later
)

// source is the Source of these events.
const source = "respond"

// Note is an event that is to be told.
type Note struct {
	Verb    string    `json:"verb"`
	By      string    `json:"by"`
	At      time.Time `json:"at"`
	Failure string    `json:"failure,omitempty"`
	Message string    `json:"message,omitempty"`
}

// body is what an event of kind action has in More.
type body struct {
	Run        string            `json:"run"`
	Action     string            `json:"action"`
	Parameters map[string]string `json:"parameters,omitempty"`
	State      State             `json:"state"`
	Automatic  bool              `json:"automatic"`
	Reason     string            `json:"reason,omitempty"`
	Alert      string            `json:"alert,omitempty"`
	Rule       string            `json:"rule,omitempty"`
	Evidence   []uint64          `json:"evidence,omitempty"`
	Until      time.Time         `json:"until,omitzero"`
	Changes    []*Change         `json:"changes,omitempty"`
	Breaks     []string          `json:"breaks,omitempty"`
	Warnings   []string          `json:"warnings,omitempty"`
}

// event makes the event of a note.
func (r *Run) event(n Note) *audit.Event {
	e := &audit.Event{
		Kind: audit.KindAction, Source: source, Received: micros(n.At), StageAt: micros(n.At), AuditID: r.ID, Verb: n.Verb,
		User:   audit.User{Username: strings.ToValidUTF8(n.By, "\uFFFD")},
		Status: audit.Status{Status: "Success", Message: strings.ToValidUTF8(n.Message, "\uFFFD")},
	}
	if n.Failure != "" {
		e.Status.Status, e.Status.Reason = "Failure", n.Failure
	}
	if len(r.Changes) > 0 {
		o := r.Changes[0].Object
		group, version, ok := strings.Cut(o.APIVersion, "/")
		if !ok {
			group, version = "", o.APIVersion
		}
		e.Object = audit.ObjectRef{APIGroup: group, APIVersion: version, Resource: o.Resource, Namespace: o.Namespace, Name: o.Name, UID: r.Changes[0].UID}
	}
	raw, err := json.Marshal(body{
		Run: r.ID, Action: r.Action, Parameters: r.Parameters, State: r.State, Automatic: r.Automatic, Reason: r.Reason, Alert: r.Alert,
		Rule: r.Rule, Evidence: r.Evidence, Until: r.Until, Changes: r.Changes, Breaks: r.Breaks, Warnings: r.Warnings,
	})
	if err == nil {
		raw, err = audit.CanonicalJSON(raw)
	}
	if err == nil {
		e.More = raw
	}
	return e
}

func micros(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// tell writes an event of a run into the trail now, or fails.
func (e *Engine) tell(ctx context.Context, r *Run, n Note) error {
	if _, err := e.cfg.Trail.Append(ctx, []audit.Entry{{Event: r.event(n)}}); err != nil {
		return fmt.Errorf("tell the trail of response %s: %w", r.ID, err)
	}
	return nil
}

// note tells of what has happened already. What the trail does not take is kept with the
// run and told later.
func (e *Engine) note(ctx context.Context, r *Run, verb, by, failure, message string) {
	n := Note{Verb: verb, By: by, At: e.cfg.Now(), Failure: failure, Message: message}
	level := slog.LevelInfo
	if failure != "" {
		level = slog.LevelError
	}
	e.cfg.Log.LogAttrs(ctx, level, "response", slog.String("run", r.ID), slog.String("action", r.Action), slog.String("verb", verb),
		slog.String("by", by), slog.String("failure", failure), slog.String("message", message))
	r.Untold = append(r.Untold, n)
	e.flush(ctx, r)
}

// flush tells the trail what it was not told.
func (e *Engine) flush(ctx context.Context, r *Run) {
	for len(r.Untold) > 0 {
		if err := e.tell(context.WithoutCancel(ctx), r, r.Untold[0]); err != nil {
			e.cfg.Log.LogAttrs(ctx, slog.LevelError, "response not told", slog.String("run", r.ID), slog.Any("error", err))
			return
		}
		r.Untold = r.Untold[1:]
	}
	r.Untold = nil
}
