package action

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"time"
)

// How often taking back is tried that fails: soon, then less and less.
const (
	retryFirst = 5 * time.Second
	retryMost  = 5 * time.Minute
)

// bySystem is who does what nobody asked for at that moment.
const bySystem = "bulwark"

// Apply plans, and carries the plan out.
func (e *Engine) Apply(ctx context.Context, q Request) (*Run, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r, err := e.carryOut(ctx, q)
	return r.clone(), err
}

func (e *Engine) carryOut(ctx context.Context, q Request) (*Run, error) {
	r, err := e.plan(ctx, q)
	if err != nil {
		return nil, err
	}
	r.State, r.Applied = StateApplying, micros(e.cfg.Now())
	r.Until = r.Applied.Add(r.Expiry)
	if err := e.save(r); err != nil {
		return nil, err
	}
	// Nothing is done that the trail does not know of first.
	if err := e.tell(ctx, r, Note{Verb: VerbApply, By: q.By, At: r.Applied}); err != nil {
		return nil, errors.Join(err, os.Remove(e.ledger.path(r.ID)))
	}
	e.runs[r.ID] = r
	// From here on it is brought to an end, whoever has gone away.
	ctx = context.WithoutCancel(ctx)
	for _, c := range r.Changes {
		if err := e.one(ctx, r, c); err != nil {
			r.Failure = err.Error()
			e.keep(ctx, r)
			return r, errors.Join(fmt.Errorf("apply %s as %s: %w", r.Action, r.ID, err), e.takeBack(ctx, r, VerbFail, q.By))
		}
	}
	r.State = StateStanding
	e.stats.count(r.Action, outcomeApplied)
	e.note(ctx, r, VerbStand, q.By, "", "until "+r.Until.Format(time.RFC3339))
	e.keep(ctx, r)
	return r, nil
}

// one carries out one change; what it is about to do is on the disk before.
func (e *Engine) one(ctx context.Context, r *Run, c *Change) error {
	c.Begun = true
	if err := e.save(r); err != nil {
		c.Begun = false
		return err
	}
	if err := e.do(ctx, c, false); err != nil {
		return err
	}
	c.Done = true
	return e.save(r)
}

// keep saves a run where a failure cannot change what was done: the next sweep saves it
// again.
func (e *Engine) keep(ctx context.Context, r *Run) {
	if err := e.save(r); err != nil {
		e.trouble(ctx, r, err)
	}
}

// Undo takes a run back before its time is over. It may be asked for again and again;
// where somebody else's changes were in the way, it looks at them once more.
func (e *Engine) Undo(ctx context.Context, id, by, reason string) (*Run, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.runs[id]
	switch {
	case r == nil:
		return nil, refusef("there is no response %q", id)
	case by == "":
		return nil, refusef("nobody says who wants it")
	case r.State == StateUndone || r.State == StateFailed:
		return r.clone(), nil
	}
	if reason != "" {
		by += ": " + reason
	}
	err := e.takeBack(context.WithoutCancel(ctx), r, VerbUndo, by)
	return r.clone(), err
}

// takeBack undoes what was done of a run, last first. What meets an error stays to be
// tried again by Sweep.
func (e *Engine) takeBack(ctx context.Context, r *Run, verb, by string) error {
	r.State, r.EndVerb, r.EndBy = StateUndoing, verb, by
	if r.Ending.IsZero() {
		r.Ending = micros(e.cfg.Now())
	}
	if err := e.save(r); err != nil {
		return e.later(ctx, r, err)
	}
	left := ""
	for _, c := range slices.Backward(r.Changes) {
		if !c.Begun || c.Undone {
			continue
		}
		var err error
		if c.Left, err = e.undo(ctx, c); err != nil {
			return e.later(ctx, r, err)
		}
		c.Undone = c.Left == ""
		left = cmp.Or(left, c.Left)
	}
	message := ""
	switch {
	case left != "":
		r.State, message = StatePartly, "left as it is: "+left
	case r.Failure != "":
		r.State = StateFailed
	default:
		r.State = StateUndone
	}
	r.Ended, r.Trouble = micros(e.cfg.Now()), ""
	e.stats.count(r.Action, outcomeOf(r, verb))
	e.note(ctx, r, verb, by, cmp.Or(failureWord(r, left)), cmp.Or(message, r.Failure))
	e.keep(ctx, r)
	if left != "" {
		return fmt.Errorf("take back %s: %w: %s", r.ID, errChanged, left)
	}
	return nil
}

func failureWord(r *Run, left string) string {
	switch {
	case left != "":
		return "ChangedSince"
	case r.Failure != "":
		return "Failed"
	}
	return ""
}

// later notes that taking back failed, and when it is tried again. The trail is told of
// the first failure and of other ones, not of each try.
func (e *Engine) later(ctx context.Context, r *Run, err error) error {
	pause := retryMost
	if r.Tries < 6 {
		pause = retryFirst << r.Tries
	}
	r.Tries++
	r.Next = micros(e.cfg.Now()).Add(min(pause, retryMost))
	if text := err.Error(); text != r.Trouble {
		r.Trouble = text
		e.note(ctx, r, r.EndVerb, r.EndBy, reasonOf(err), "it still stands, and is tried again: "+text)
	}
	e.keep(ctx, r)
	return fmt.Errorf("take back %s, which is tried again: %w", r.ID, err)
}

// Sweep does what is due: it takes back what has expired and what another process left
// unfinished, and puts standing refusals into policies that came later. Call it at the
// start and then every second or so.
func (e *Engine) Sweep(ctx context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.cfg.Now()
	if e.broken != nil && !e.complained {
		e.complained = true
		e.note(ctx, &Run{State: StatePlanned, By: bySystem}, VerbFail, bySystem, "Unreadable", e.broken.Error())
	}
	for _, id := range slices.Sorted(maps.Keys(e.runs)) {
		if ctx.Err() != nil {
			return
		}
		r := e.runs[id]
		if r.rewind(now) {
			e.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "the clock went back: a response ends sooner than was said", slog.String("run", r.ID), slog.Time("until", r.Until))
			e.keep(ctx, r)
		}
		if len(r.Untold) > 0 {
			if e.flush(ctx, r); len(r.Untold) == 0 {
				e.keep(ctx, r)
			}
		}
		var err error
		switch {
		case r.ended():
			e.forget(ctx, r, now)
		case now.Before(r.Next):
		case r.State == StateApplying:
			r.Failure = "the process ended while it was carried out"
			err = e.takeBack(ctx, r, VerbFail, bySystem)
		case r.State == StateUndoing:
			err = e.takeBack(ctx, r, cmp.Or(r.EndVerb, VerbUndo), cmp.Or(r.EndBy, bySystem))
		case !now.Before(r.Until):
			err = e.takeBack(ctx, r, VerbExpire, bySystem)
		}
		if err != nil {
			e.trouble(ctx, r, err)
		}
	}
	if now.Sub(e.looked) >= lookEvery || now.Before(e.looked) {
		e.looked = now
		e.extend(ctx)
	}
}

// rewind shortens what a clock that went back would leave standing for longer than was
// said, and reports whether it did. A clock that went ahead ends things sooner; that is
// left, since a machine that slept looks the same.
func (r *Run) rewind(now time.Time) bool {
	if r.ended() {
		return false
	}
	longest := micros(now.Add(max(r.Expiry, 0)))
	late, waits := r.Until.After(longest), r.Next.Sub(now) > retryMost
	if late {
		r.Until = longest
	}
	if waits {
		r.Next = time.Time{}
	}
	return late || waits
}

// keepEnded is how long it is kept what became of a run; the trail has it for longer.
const keepEnded = 30 * 24 * time.Hour

// forget drops a run that ended long ago.
func (e *Engine) forget(ctx context.Context, r *Run, now time.Time) {
	if len(r.Untold) > 0 || r.State == StatePartly || now.Sub(r.Ended) < keepEnded {
		return
	}
	if err := os.Remove(e.ledger.path(r.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		e.trouble(ctx, r, err)
		return
	}
	delete(e.runs, r.ID)
}
