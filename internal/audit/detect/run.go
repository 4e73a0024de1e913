package detect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect/behaviour"
)

// Source is the log as Run reads it.
type Source interface {
	// Events calls fn with all events from a number on, in their order, up to the last
	// one there is now.
	Events(ctx context.Context, from uint64, fn func(*audit.Event) error) error
	// Last is the number of the last event that is safe on disk.
	Last() uint64
	// Changed is closed when Last moves; the next change has another channel.
	Changed() <-chan struct{}
}

// Sink is the log as Run writes it.
type Sink interface {
	Append(ctx context.Context, entries []audit.Entry) (first uint64, err error)
}

// Store keeps what Run remembers. Load gives nil where there is nothing; Save replaces
// all of it or nothing.
type Store interface {
	Load() ([]byte, error)
	Save(state []byte) error
}

// RunConfig is how Run runs. Now is needed.
type RunConfig struct {
	Now func() time.Time
	// SaveEvery is after how many events the state is saved, 50,000, and as many more as
	// the engine remembers; SaveAfter is after how long, 10 seconds, when no events come.
	SaveEvery int
	SaveAfter time.Duration
	// Once ends Run when all that is in the log was observed.
	Once bool
	// OnAlert, where set, is called with each alert once it is in the log.
	OnAlert func(Alert)
	// OnStart, where set, is called when what was remembered is there again.
	OnStart func()
	// OnObserved, where set, is called after each event with its number and when it was
	// received, and at the start with the number that Run goes on after.
	OnObserved func(seq uint64, received time.Time)
	// OnFault, where set, is called for each event at which a rule or a Stateful panicked.
	OnFault func(seq uint64, fault any)
}

const (
	defaultSaveEvery = 50_000
	defaultSaveAfter = 10 * time.Second
	// An alert waits for so many others, or so many events, before it is written: each
	// writing waits for the disk.
	maxPending     = 256
	maxPendingWait = 1000
	// What breaks at every event is told of once in a while: telling is an event too.
	faultEvery = time.Minute
	// For so many that are remembered more, saving waits for SaveAfter once more.
	manyRemembered = 200_000
)

// Run observes the log from where it was, and writes alerts into it, until ctx ends:
// then it saves and returns nil. After a crash it goes on from the last save: an event
// is observed again, but an alert that is in the log is not written again, as it has
// the same id. An event at which a rule panics is told of and passed over.
func Run(ctx context.Context, source Source, sink Sink, engine *Engine, store Store, config RunConfig) error {
	if config.Now == nil {
		return errors.New("run detections: a clock is required")
	}
	if config.SaveEvery <= 0 {
		config.SaveEvery = defaultSaveEvery
	}
	if config.SaveAfter <= 0 {
		config.SaveAfter = defaultSaveAfter
	}
	r := &runner{RunConfig: config, source: source, sink: sink, engine: engine, store: store}
	if err := r.restore(ctx); err != nil {
		return err
	}
	if r.OnStart != nil {
		r.OnStart()
	}
	r.observed(r.last, time.Time{})
	timer := time.NewTimer(config.SaveAfter)
	defer timer.Stop()
	for {
		changed, before := source.Changed(), r.last
		err := r.pass(ctx)
		if ctx.Err() != nil {
			return r.save(context.WithoutCancel(ctx))
		}
		if err != nil {
			return err
		}
		if config.Once && r.last == before {
			return r.save(ctx)
		}
		if config.Once {
			continue
		}
		select {
		case <-changed:
		case <-timer.C:
			if err := r.tick(ctx); err != nil {
				return err
			}
			if r.idle++; r.idle > r.engine.remembered()/manyRemembered {
				if err := r.save(ctx); err != nil {
					return err
				}
			}
			timer.Reset(config.SaveAfter)
		case <-ctx.Done():
			return r.save(context.WithoutCancel(ctx))
		}
	}
}

type runner struct {
	RunConfig
	source Source
	sink   Sink
	engine *Engine
	store  Store

	last    uint64 // observed
	unsaved int
	pending []Alert
	waited  int
	idle    int // how often there was time to save since the last save

	// What may be in the log already: the ids of alerts after the number before, up to
	// replay. They are read when the first alert asks.
	before, replay uint64
	written        map[string]bool

	told Stats
	// behaved is what was told of rules about behaviour, and when.
	behaved     behaviour.Counts
	behavedTold time.Time
	// ticked says that Tick was called since the start; faults are events at which something
	// panicked, faultTold is when the log was last told.
	ticked    bool
	faults    uint64
	faultTold time.Time
}

// savedRun is what Run remembers.
type savedRun struct {
	Version int    `json:"version"`
	Last    uint64 `json:"last"`   // observed
	Before  uint64 `json:"before"` // the log's last number then: later alerts may be of events after Last
	// Engine is its state; a text is one in base64, as it was written once.
	Engine json.RawMessage `json:"engine"`
}

const runVersion = 1

func (r *runner) restore(ctx context.Context) error {
	r.replay = r.source.Last()
	text, err := r.store.Load()
	if err != nil {
		return fmt.Errorf("run detections: load the state: %w", err)
	}
	if text == nil {
		return nil
	}
	var s savedRun
	if err := json.Unmarshal(text, &s); err != nil || s.Version != runVersion {
		return fmt.Errorf("run detections: the state cannot be read (version %d, %w): remove it to observe the whole log again", s.Version, errors.Join(err, errState))
	}
	if s.Last > r.replay || s.Before > r.replay {
		return fmt.Errorf("run detections: event %d was observed, but the log ends at %d: it was replaced or rolled back; remove the state to observe it again", max(s.Last, s.Before), r.replay)
	}
	r.last, r.before = s.Last, s.Before
	if err := r.engine.Restore(s.state()); err != nil {
		// What was remembered of open windows, or of behaviour, is lost; where to go on from is not.
		return r.tell(ctx, "Forgot", "detections go on without what they remembered: "+err.Error())
	}
	return nil
}

var errState = errors.New("it is not of this form")

// state is that of the engine.
func (s *savedRun) state() []byte {
	var text []byte
	if len(s.Engine) > 0 && s.Engine[0] == '"' && json.Unmarshal(s.Engine, &text) == nil {
		return text
	}
	return s.Engine
}

// pass observes what is new and safe on disk: what is not may be gone after a crash.
func (r *runner) pass(ctx context.Context) error {
	last := r.source.Last()
	err := r.source.Events(ctx, r.last+1, func(e *audit.Event) error {
		if e.Seq > last {
			return errEnough
		}
		alerts, fault := r.observe(e)
		if fault != nil {
			if err := r.broke(ctx, e.Seq, fault); err != nil {
				return err
			}
		}
		for _, a := range alerts {
			ok, err := r.isNew(ctx, e.Seq, a.ID)
			if err != nil {
				return err
			}
			if ok {
				r.pending = append(r.pending, a)
			}
		}
		r.last = e.Seq
		r.unsaved++
		r.observed(e.Seq, e.Received)
		if len(r.pending) > 0 {
			r.waited++
		}
		if len(r.pending) >= maxPending || r.waited >= maxPendingWait {
			if err := r.flush(ctx); err != nil {
				return err
			}
		}
		if r.unsaved >= r.SaveEvery+r.engine.remembered() { // what is much to save is saved less often
			return r.save(ctx)
		}
		return ctx.Err()
	})
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("run detections: after event %d: %w", r.last, err)
	}
	if err := r.flush(ctx); err != nil {
		return fmt.Errorf("run detections: after event %d: %w", r.last, err)
	}
	return nil
}

// isNew reports whether an alert that event seq raised is not in the log yet.
func (r *runner) isNew(ctx context.Context, seq uint64, id string) (bool, error) {
	if seq > r.replay {
		r.written = nil
		return true, nil
	}
	if r.written == nil {
		r.written = map[string]bool{}
		err := r.source.Events(ctx, r.before+1, func(e *audit.Event) error {
			if e.Seq > r.replay {
				return errEnough
			}
			if e.Kind == audit.KindAlert {
				r.written[e.AuditID] = true
			}
			return ctx.Err()
		})
		if err != nil && !errors.Is(err, errEnough) {
			return false, fmt.Errorf("look for alerts after event %d: %w", r.before, err)
		}
	}
	return !r.written[id], nil
}

// errEnough ends a reading early.
var errEnough = errors.New("enough")

func (r *runner) flush(ctx context.Context) error {
	if len(r.pending) == 0 {
		return nil
	}
	now := r.Now()
	entries := make([]audit.Entry, 0, len(r.pending))
	for _, a := range r.pending {
		entries = append(entries, audit.Entry{Event: a.Event(now)})
	}
	if _, err := r.sink.Append(ctx, entries); err != nil {
		return fmt.Errorf("write %d alerts: %w", len(entries), err)
	}
	if r.OnAlert != nil {
		for _, a := range r.pending {
			r.OnAlert(a)
		}
	}
	r.pending, r.waited = nil, 0
	return nil
}

// save writes alerts, then the state: in this order nothing is missed.
func (r *runner) save(ctx context.Context) error {
	if err := r.flush(ctx); err != nil {
		return err
	}
	if r.unsaved == 0 {
		return nil
	}
	now := r.engine.Stats()
	if groups, hits := now.GroupsEvicted-r.told.GroupsEvicted, now.HitsDropped-r.told.HitsDropped; groups+hits > 0 {
		r.told = now
		if err := r.tell(ctx, "Forgot", fmt.Sprintf("correlations may miss something: %d groups and %d events had to be forgotten to stay within the memory set", groups, hits)); err != nil {
			return err
		}
	}
	if err := r.tellForgetful(ctx, now.Behaviour); err != nil {
		return err
	}
	state, err := r.engine.State()
	if err != nil {
		return fmt.Errorf("run detections: %w", err)
	}
	// During a replay, alerts of events after r.last may be anywhere after the first save.
	before := r.source.Last()
	if r.last < r.replay {
		before = r.before
	}
	text, err := json.Marshal(savedRun{Version: runVersion, Last: r.last, Before: before, Engine: state})
	if err != nil {
		return fmt.Errorf("run detections: %w", err)
	}
	if err := r.store.Save(text); err != nil {
		return fmt.Errorf("run detections: save the state after event %d: %w", r.last, err)
	}
	r.unsaved, r.idle = 0, 0
	return nil
}

// tell puts into the log what became of the detections themselves.
func (r *runner) tell(ctx context.Context, reason, message string) error {
	e := &audit.Event{
		Kind: audit.KindSystem, Source: alertSource, Verb: "detect", Received: r.Now().UTC().Truncate(time.Microsecond),
		Status: audit.Status{Status: "Failure", Reason: reason, Message: message},
	}
	if _, err := r.sink.Append(ctx, []audit.Entry{{Event: e}}); err != nil {
		return fmt.Errorf("run detections: write what happened: %w", err)
	}
	return nil
}
