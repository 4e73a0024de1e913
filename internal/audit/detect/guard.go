package detect

import (
	"context"
	"fmt"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// Ticker is a Stateful that notices what does not come. Run calls Tick every
// RunConfig.SaveAfter when everything in the log was observed, with the time at which
// an event would be received now.
type Ticker interface {
	Tick(now time.Time, emit func(Alert))
}

// Tick tells each Ticker what time it is, and gives the alerts that this raises.
func (g *Engine) Tick(now time.Time) []Alert {
	g.alerts = nil
	for _, s := range g.config.Stateful {
		if t, ok := s.(Ticker); ok {
			t.Tick(now, g.emit)
		}
	}
	return g.alerts
}

// observe is Engine.Observe, and says what panicked: one event must not end the
// detections. The alerts of the rules that came before are kept.
func (r *runner) observe(e *audit.Event) (alerts []Alert, fault any) {
	defer func() {
		if fault = recover(); fault != nil {
			alerts = r.engine.alerts
		}
	}()
	return r.engine.Observe(e), nil
}

// broke counts and tells that something panicked at an event.
func (r *runner) broke(ctx context.Context, seq uint64, fault any) error {
	r.faults++
	if r.OnFault != nil {
		r.OnFault(seq, fault)
	}
	now := r.Now()
	if since := now.Sub(r.faultTold); r.faults > 1 && since > -faultEvery && since < faultEvery {
		return nil
	}
	r.faultTold = now
	return r.tell(ctx, "Broken", fmt.Sprintf("a detection broke off at event %d, which the rest of the rules did not see (events so far: %d): %.200s",
		seq, r.faults, strings.ToValidUTF8(fmt.Sprint(fault), "\uFFFD")))
}

func (r *runner) observed(seq uint64, received time.Time) {
	if r.OnObserved != nil {
		r.OnObserved(seq, received)
	}
}

// tick lets time pass where nothing comes. What is not observed yet would come too late.
func (r *runner) tick(ctx context.Context) error {
	if r.last != r.source.Last() {
		return nil
	}
	for _, a := range r.engine.Tick(r.Now()) {
		// What a process that crashed was told by its clock, this one is told first thing.
		ok := r.ticked
		if !ok {
			var err error
			if ok, err = r.isNew(ctx, r.replay, a.ID); err != nil {
				return err
			}
		}
		if ok {
			r.pending = append(r.pending, a)
		}
	}
	r.ticked = true
	return r.flush(ctx)
}
