package action

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
)

func (e *Engine) trouble(ctx context.Context, r *Run, err error) {
	e.cfg.Log.LogAttrs(ctx, slog.LevelError, "response", slog.String("run", r.ID), slog.String("action", r.Action), slog.Any("error", err))
}

const (
	// lookEvery is how often standing refusals are compared with the cluster.
	lookEvery = 5 * time.Second
	// planFactor is how many more dry runs than measures are made without a person.
	planFactor = 10
	// mostExtended ends a quarrel with a tool that puts a policy back as it was.
	mostExtended = 200
)

// extend puts standing refusals into SecurityPolicies that were made, or written anew,
// after the refusal.
func (e *Engine) extend(ctx context.Context) {
	var standing []*Run
	for _, r := range e.runs {
		if r.State == StateStanding && slices.ContainsFunc(r.Changes, func(c *Change) bool { return c.Do == DoDeny }) {
			standing = append(standing, r)
		}
	}
	if len(standing) == 0 {
		return
	}
	policies, err := e.cfg.Cluster.List(ctx, policyVersion, policyResource, "")
	if err != nil {
		e.cfg.Log.LogAttrs(ctx, slog.LevelError, "standing refusals not compared with the cluster", slog.Any("error", err))
		return
	}
	for _, r := range standing {
		first := r.Changes[slices.IndexFunc(r.Changes, func(c *Change) bool { return c.Do == DoDeny })]
		for i := range policies {
			u := &policies[i]
			rules, ok := rulesOf(u)
			if !ok || ruleAt(rules, first.Rule["name"]) >= 0 || u.GetDeletionTimestamp() != nil {
				continue
			}
			c := &Change{Do: DoDeny, Object: policyObject(u), UID: string(u.GetUID()), Rule: first.Rule}
			at := slices.IndexFunc(r.Changes, func(o *Change) bool { return o.Do == DoDeny && o.Object == c.Object && o.UID == c.UID })
			if at >= 0 {
				if c = r.Changes[at]; c.Extended >= mostExtended {
					continue
				}
			} else {
				r.Changes = append(r.Changes, c)
			}
			if err := e.one(ctx, r, c); err != nil {
				if text := "NOT SEALED: " + err.Error(); text != r.Trouble { // told once, tried again and again
					r.Trouble = text
					e.note(ctx, r, VerbExtend, bySystem, reasonOf(err), text)
				}
				e.keep(ctx, r)
				continue
			}
			c.Extended, r.Trouble = c.Extended+1, ""
			message := "put into " + c.Object.String() + ", which was made or written anew since"
			if c.Extended == mostExtended {
				message += "; that was the last time: something else takes it out again and again"
			}
			e.note(ctx, r, VerbExtend, bySystem, "", message)
			e.keep(ctx, r)
		}
	}
}

// Respond does what the policy says about an alert of the trail. What the policy or a
// guard refuses is told in the trail and no error; an error is one that another try may
// not meet.
func (e *Engine) Respond(ctx context.Context, a Alert, severity bulwark.Severity) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var failed error
	for i := range e.cfg.Policy.Responses {
		b := &e.cfg.Policy.Responses[i]
		if b.Detection != a.Rule || severity < b.least {
			continue
		}
		if err := e.answer(ctx, b, a); err != nil && !errors.Is(err, ErrRefused) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func (e *Engine) answer(ctx context.Context, b *Binding, a Alert) error {
	for _, r := range e.runs {
		if r.AlertSeq == a.Seq && r.Action == b.Action {
			return nil // before a restart
		}
	}
	q := Request{
		Action: b.Action, Alert: &a, From: b.From, By: "policy", Reason: fmt.Sprintf("detection %s", a.Rule), Expiry: b.Expiry.Duration, automatic: true,
	}
	now := e.cfg.Now()
	why := ""
	switch age := now.Sub(a.Time); {
	case age > e.cfg.Policy.Limits.MaxAge.Duration:
		why = fmt.Sprintf("the alert is %v old, more than the %v that are acted on", age.Round(time.Second), e.cfg.Policy.Limits.MaxAge.Duration)
	case age < -5*time.Minute:
		why = "the alert is of a time to come"
	case b.Mode == ModeEnforce:
		why = e.over(now)
	default:
		e.shown = slices.DeleteFunc(e.shown, func(t time.Time) bool { return now.Sub(t) >= time.Hour || t.After(now) })
		if len(e.shown) >= planFactor*e.cfg.Policy.Limits.PerHour {
			why = fmt.Sprintf("%d dry runs within an hour are enough", len(e.shown))
		} else {
			e.shown = append(e.shown, now)
		}
	}
	if why != "" {
		return e.hold(ctx, q, why)
	}
	e.held = 0
	if b.Mode != ModeEnforce {
		_, err := e.plan(ctx, q)
		return err
	}
	_, err := e.carryOut(ctx, q)
	return err
}

// over says which limit of automatic measures is reached, or "".
func (e *Engine) over(now time.Time) string {
	lately, standing := 0, 0
	for _, r := range e.runs {
		if !r.Automatic {
			continue
		}
		if r.within(now, time.Hour) {
			lately++
		}
		if !r.ended() {
			standing++
		}
	}
	switch l := e.cfg.Policy.Limits; {
	case lately >= l.PerHour:
		return fmt.Sprintf("%d automatic responses within an hour are the most that the policy allows", l.PerHour)
	case standing >= l.Standing:
		return fmt.Sprintf("%d automatic responses stand, the most that the policy allows", standing)
	}
	return ""
}

// overActor says that one user's doings have brought about enough, or "".
func (e *Engine) overActor(r *Run) string {
	n := 0
	for _, other := range e.runs {
		if other.Automatic && other.Actor == r.Actor && other.within(r.Planned, time.Hour) {
			n++
		}
	}
	if most := e.cfg.Policy.Limits.PerActor; n >= most {
		return fmt.Sprintf("what %q did has brought about %d automatic responses within an hour, the most that the policy allows for one", r.Actor, n)
	}
	return ""
}

// within reports whether a run was applied not longer ago than that, nor as much later: a
// clock that went back must not count it for ever.
func (r *Run) within(now time.Time, d time.Duration) bool {
	since := now.Sub(r.Applied)
	return since < d && since > -d
}

// observe notes who did what the evidence tells of, and since when.
func (r *Run) observe(evidence []*audit.Event) {
	for _, ev := range evidence {
		at := ev.RequestReceived
		if at.IsZero() {
			at = ev.StageAt
		}
		if r.since.IsZero() || at.Before(r.since) {
			r.since = at
		}
		r.Actor = cmp.Or(r.Actor, ev.User.Username)
	}
}

// hold tells that an alert is not acted on: of the first of many, and then of every
// hundredth, so that whoever makes the alerts does not fill the trail as well.
func (e *Engine) hold(ctx context.Context, q Request, why string) error {
	e.held++
	e.stats.count(q.Action, outcomeHeld)
	if e.held%100 != 1 {
		return nil
	}
	r := &Run{Action: q.Action, State: StatePlanned, By: q.By, Automatic: true, Reason: q.Reason, Alert: q.Alert.ID, AlertSeq: q.Alert.Seq, Rule: q.Alert.Rule, Evidence: q.Alert.Evidence}
	e.note(ctx, r, VerbPlan, q.By, "Held", fmt.Sprintf("not acted on (%d so far): %s", e.held, why))
	return nil
}
