package log

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// paced is a pacer on a clock that only the test moves. It tells how long it rested.
func paced(hurry *bool) (p *pacer, work func(d time.Duration) error, rested *time.Duration) {
	now, total := received(), time.Duration(0)
	p = &pacer{now: func() time.Time { return now }, hurry: func() bool { return *hurry }}
	p.rest = func(_ context.Context, d time.Duration) error {
		total += d
		now = now.Add(d)
		return nil
	}
	return p, func(d time.Duration) error {
		now = now.Add(d)
		return p.pause(context.Background())
	}, &total
}

func TestPacer(t *testing.T) {
	t.Parallel()
	ran := 0
	for name, test := range map[string]struct {
		filled time.Duration
		hurry  bool
		each   time.Duration // what an event costs; the pacer believes 20 µs
		want   time.Duration // how long 10,000 events rest
	}{
		"in half the time":          {filled: 600 * time.Millisecond, each: 20 * time.Microsecond, want: 100 * time.Millisecond},
		"no more than three times":  {filled: time.Minute, each: 20 * time.Microsecond, want: 600 * time.Millisecond},
		"no time to rest":           {filled: 400 * time.Millisecond, each: 20 * time.Microsecond},
		"nobody knows":              {each: 20 * time.Microsecond},
		"a clock that went back":    {filled: -time.Hour, each: 20 * time.Microsecond},
		"somebody waits":            {filled: time.Minute, hurry: true, each: 20 * time.Microsecond},
		"dearer than was believed":  {filled: 600 * time.Millisecond, each: 2 * time.Millisecond, want: 100 * time.Millisecond},
		"cheaper than was believed": {filled: 600 * time.Millisecond, each: 2 * time.Microsecond, want: 10 * time.Millisecond},
	} {
		p, work, rested := paced(&test.hurry)
		p.begin(10_000, test.filled)
		for range 200 { // pieces of 50 events
			if err := work(50 * test.each); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if off := *rested - test.want; off < -5*time.Millisecond || off > 5*time.Millisecond {
			t.Errorf("%s: rested %v, want %v", name, *rested, test.want)
		}
		p.end(10_000)
		if p.each != min(test.each, paceDearest) {
			t.Errorf("%s: learned that an event costs %v, want %v", name, p.each, test.each)
		}
		ran++
	}
	if ran != 8 {
		t.Errorf("%d cases", ran)
	}
}

// However the clock jumps, rests have a bound and sealing comes to its end.
func TestPacerHasABound(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	hurry := false
	for range 200 {
		p, work, rested := paced(&hurry)
		n, filled := random.Uint64N(1<<20), time.Duration(random.Int64N(int64(time.Hour)))
		p.begin(n, filled)
		most := min(time.Duration(paceMost*n)*p.each, filled/2)
		for range 300 {
			if err := work(time.Duration(random.Int64N(int64(2*time.Hour))) - time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		if *rested > most {
			t.Errorf("%d events that took %v rested %v, more than %v", n, filled, *rested, most)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p, _, _ := paced(&hurry)
	if err := p.pause(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a log that is closing goes on: %v", err)
	}
	if err := rest(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("a log that is closing rests: %v", err)
	}
}

// Sealing keeps up with events that come all the time, on a clock that makes it believe
// that it has all the time in the world.
func TestSealsUnderLoad(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.SealEvents = 20
	var clock atomic.Int64
	cfg.Now = func() time.Time { return received().Add(time.Duration(clock.Add(1)) * time.Second) }
	l := mustOpen(t, cfg)
	const files = 25
	for range files {
		mustAppend(t, l, entries("a", 20))
	}
	mustAppend(t, l, entries("b", 1)) // ends the last of them; this one's own waits for its age
	for {
		l.mu.Lock()
		attempt, waiting, err := l.sealing, len(l.pending), l.sealErr
		l.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		if waiting == 0 {
			break
		}
		<-attempt
	}
	if s := l.Stats(); s.Sealed != files || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}
