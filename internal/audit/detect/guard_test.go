package detect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// brittle is a Stateful that breaks at some events, and tells what time it was told.
type brittle struct {
	breaks func(seq uint64) bool
	seen   []uint64
	last   uint64
	due    time.Time
}

func (b *brittle) Name() string { return "brittle" }

func (b *brittle) Observe(e *audit.Event, _ func(Alert)) {
	if b.breaks != nil && b.breaks(e.Seq) {
		panic("a rule that nobody tried")
	}
	b.seen = append(b.seen, e.Seq)
	if e.Kind == audit.KindAPI && b.due.IsZero() {
		b.last, b.due = e.Seq, e.Received.Add(time.Minute)
	}
}

func (b *brittle) Tick(now time.Time, emit func(Alert)) {
	if !b.due.IsZero() && now.After(b.due) {
		b.due = time.Time{}
		emit(Alert{Rule: "late", Title: "late", Evidence: []uint64{b.last}})
	}
}

func (b *brittle) State() ([]byte, error) { return []byte("{}"), nil }
func (b *brittle) Restore([]byte) error   { return nil }

// TestFault: an event at which something panics is told of and passed over; alerts of
// the rules before are kept, and what breaks always does not tell of its own telling.
func TestFault(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		breaks func(uint64) bool
		faults []uint64
	}{
		{"one", func(seq uint64) bool { return seq == 2 }, []uint64{2}},
		{"all", func(uint64) bool { return true }, []uint64{1, 2, 3, 4, 5, 6, 7}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			log := newMemory()
			log.add(3)
			var faults []uint64
			engine := mustEngine(t, Config{Stateful: []Stateful{&brittle{breaks: tt.breaks}}}, one("every", "{verb: create}"))
			err := Run(t.Context(), log, log, engine, &kept{}, RunConfig{
				Now: start, Once: true, OnFault: func(seq uint64, _ any) { faults = append(faults, seq) },
			})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(faults, tt.faults) || len(log.alerts()) != 3 {
				t.Errorf("faults at %v, want %v; %d alerts, want 3", faults, tt.faults, len(log.alerts()))
			}
			var told []string
			for _, e := range log.events {
				if e.Kind == audit.KindSystem {
					told = append(told, e.Status.Reason+" "+e.Status.Message)
				}
			}
			if len(told) != 1 || !strings.Contains(told[0], fmt.Sprintf("Broken a detection broke off at event %d,", tt.faults[0])) {
				t.Errorf("told %q", told)
			}
		})
	}
}

// TestTick: what does not come is noticed when nothing else comes either, and told once,
// also by a process that goes on after a crash.
func TestTick(t *testing.T) {
	t.Parallel()
	log, store := newMemory(), &kept{}
	log.add(1)
	now := start().Add(time.Second)
	for range 2 { // nothing is saved by the first
		ctx, cancel := context.WithCancel(t.Context())
		engine := mustEngine(t, Config{Stateful: []Stateful{&brittle{}}}, one("none", "{verb: other}"))
		ticks := 0
		err := Run(ctx, log, log, engine, unsaved{store}, RunConfig{SaveAfter: time.Millisecond, Now: func() time.Time {
			if ticks++; ticks > 3 {
				cancel()
			}
			now = now.Add(40 * time.Second)
			return now
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := log.alerts(); len(got) != 1 {
			t.Errorf("alerts %v", got)
		}
		cancel()
	}
}

// unsaved is a store of a process that crashes before it saves.
type unsaved struct{ *kept }

func (unsaved) Save([]byte) error { return nil }

// TestKeep: detections that fail are begun again, later and later, with a new engine,
// and it is told when they stop and when they run.
func TestKeep(t *testing.T) {
	t.Parallel()
	log := newMemory()
	log.add(2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var told []string
	tries := 0
	store := &kept{state: []byte("nonsense")}
	err := Keep(ctx, log, log, store, KeepConfig{
		RunConfig: RunConfig{Now: start, OnObserved: func(seq uint64, _ time.Time) {
			if seq == 3 { // both events and an alert
				cancel()
			}
		}},
		Engine: func() (*Engine, error) {
			switch tries++; tries {
			case 1:
				return nil, errors.New("no engine")
			case 2:
				panic("worse")
			case 4:
				store.state = nil
			}
			return mustEngine(t, Config{}, one("every", "{verb: create}", "bulwark: {suppress: {by: [verb], for: 1h}}")), nil
		},
		Wait: func(_ context.Context, d time.Duration) error {
			told = append(told, "wait "+d.String())
			return nil
		},
		Down: func(_ context.Context, err error) { told = append(told, "down "+err.Error()) },
		Up:   func() { told = append(told, "up") },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"down make the rules ready: no engine", "wait 1s", "down run detections: panic: worse", "wait 2s",
		"down run detections: the state cannot be read", "wait 4s", "up",
	}
	ok := func(a, b string) bool { return strings.HasPrefix(a, b) }
	if !slices.EqualFunc(told, want, ok) || len(log.alerts()) != 1 {
		t.Errorf("told %q, want %q; alerts %v", told, want, log.alerts())
	}
	if err := Keep(ctx, log, log, store, KeepConfig{}); err == nil {
		t.Error("the zero KeepConfig is taken")
	}
}
