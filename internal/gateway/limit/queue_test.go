package limit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// room is a queue in a bubble of fake time, with one goroutine per caller.
type room struct {
	t       failer
	q       *Queue
	start   time.Time
	timeout time.Duration

	mu   sync.Mutex
	wg   sync.WaitGroup
	done []call
}

type call struct {
	key, flow string
	n         int
	came, at  time.Duration
	verdict   Verdict
	waited    time.Duration
	err       error
}

func newRoom(t failer, c Config, depth int, timeout time.Duration) *room {
	l, err := New(c, time.Now())
	if err != nil {
		t.Fatalf("%v", err)
	}
	return &room{t: t, q: NewQueue(l, depth, time.Now), start: time.Now(), timeout: timeout}
}

// come sends one caller and lets it settle into its place.
func (r *room) come(ctx context.Context, key, flow string, n int) {
	came := time.Since(r.start)
	r.wg.Go(func() {
		var waited time.Duration
		var err error
		v := r.q.Try(key, time.Now())
		if !v.OK {
			v, waited, err = r.q.Wait(ctx, key, flow, r.timeout)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.done = append(r.done, call{key, flow, n, came, time.Since(r.start), v, waited, err})
	})
	synctest.Wait()
}

// end waits for all callers and checks what must hold for each.
func (r *room) end() []call {
	r.wg.Wait()
	if n := r.q.Waiting(); n != 0 {
		r.t.Fatalf("%d still counted as waiting", n)
	}
	r.q.mu.Lock()
	defer r.q.mu.Unlock()
	if len(r.q.lanes) != 0 || len(r.q.flows) != 0 || len(r.q.due.items) != 0 || len(r.q.crowd.items) != 0 {
		r.t.Fatalf("left behind: %d lanes, %d flows", len(r.q.lanes), len(r.q.flows))
	}
	for _, c := range r.done {
		if c.verdict.OK != (c.err == nil) {
			r.t.Fatalf("verdict %+v with error %v", c.verdict, c.err)
		}
		if waited := c.at - c.came; waited > r.timeout || c.waited > waited {
			r.t.Fatalf("waited %v, told %v, limit %v", waited, c.waited, r.timeout)
		}
	}
	return r.done
}

func (r *room) count(match func(call) bool) (n int) {
	for _, c := range r.done {
		if match(c) {
			n++
		}
	}
	return n
}

func TestQueueWakesOnSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Config{Count: 10, Period: time.Second, Burst: 2}, 10, time.Minute)
		for n := range 6 {
			r.come(t.Context(), "k", "f", n)
		}
		for i, c := range r.end() {
			want := time.Duration(max(0, i-1)) * 100 * time.Millisecond
			if c.n != i || c.at != want || c.waited != want || c.err != nil {
				t.Errorf("turn %d: caller %d at %v after %v, error %v; want at %v", i, c.n, c.at, c.waited, c.err, want)
			}
		}
	})
}

func TestQueueNobodyOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Config{Count: 10, Period: time.Second, Burst: 1}, 100, time.Minute)
		for n := range 20 { // newcomers come while turns are due
			r.come(t.Context(), "k", "f", n)
			time.Sleep(50 * time.Millisecond)
		}
		for i, c := range r.end() {
			if c.n != i || c.err != nil {
				t.Errorf("turn %d went to caller %d, error %v", i, c.n, c.err)
			}
		}
	})
}

// TestQueueFlowsTakeTurns fills a shared key's queue with one noisy flow, then
// a quiet one comes.
func TestQueueFlowsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Config{Count: 10, Period: time.Second, Burst: 1}, 100, time.Minute)
		for n := range 51 {
			r.come(t.Context(), "", "noisy", n)
		}
		for n := range 5 {
			r.come(t.Context(), "", "quiet", n)
		}
		r.end()
		for _, c := range r.done {
			if c.flow == "quiet" && c.at > time.Duration(2*(c.n+1))*100*time.Millisecond {
				t.Errorf("quiet caller %d had its turn at %v", c.n, c.at)
			}
		}
	})
}

// TestQueueFullMakesRoomForOthers measures what each flow gets of a full queue.
func TestQueueFullMakesRoomForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const depth = 30
		r := newRoom(t, Config{Count: 10, Period: time.Second, Burst: 1}, depth, time.Minute)
		for n := range 200 {
			r.come(t.Context(), "", "noisy", n)
		}
		if w := r.q.Waiting(); w != depth {
			t.Fatalf("%d wait, depth %d", w, depth)
		}
		for n := range 20 {
			r.come(t.Context(), "", "b", n)
			r.come(t.Context(), "", "c", n)
			if w := r.q.Waiting(); w != depth {
				t.Fatalf("%d wait, depth %d", w, depth)
			}
		}
		r.end()
		for _, flow := range []string{"noisy", "b", "c"} {
			n := r.count(func(c call) bool { return c.flow == flow && c.err == nil })
			if n < 9 || n > 11 {
				t.Errorf("flow %s was served %d of 30 places", flow, n)
			}
		}
		if n := r.count(func(c call) bool { return errors.Is(c.err, ErrFull) }); n == 0 {
			t.Error("nobody was turned away")
		}
	})
}

func TestQueueKeysDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Config{Count: 10, Period: time.Second, Burst: 1}, 100, time.Minute)
		for n := range 10 {
			r.come(t.Context(), "a", "a", n)
		}
		r.come(t.Context(), "b", "b", 0)
		r.come(t.Context(), "b", "b", 1)
		r.end()
		for _, c := range r.done {
			if c.key == "b" && c.at != time.Duration(c.n)*100*time.Millisecond {
				t.Errorf("caller %d of b had its turn at %v", c.n, c.at)
			}
		}
	})
}

func TestQueueTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Config{Count: 1, Period: time.Second, Burst: 1}, 100, 2500*time.Millisecond)
		r.come(t.Context(), "k", "f", 0) // at once
		r.come(t.Context(), "k", "f", 1) // at 1 s
		r.come(t.Context(), "k", "f", 2) // at 2 s
		r.come(t.Context(), "k", "f", 3) // could only come at 3 s: refused at once
		r.come(t.Context(), "k", "g", 4) // takes the turn at 2 s, and f's 2 is late
		r.end()
		served := r.count(func(c call) bool { return c.err == nil })
		if served != 3 {
			t.Errorf("%d served", served)
		}
		for _, c := range r.done {
			if c.n == 3 && (!errors.Is(c.err, ErrTimeout) || c.at != 0 || c.verdict.RetryAfter != 3*time.Second) {
				t.Errorf("the hopeless one: %+v", c)
			}
			if c.n == 2 && (!errors.Is(c.err, ErrTimeout) || c.at != r.timeout || c.verdict.RetryAfter <= 0) {
				t.Errorf("the late one: %+v", c)
			}
		}
	})
}

func TestQueueCancelGivesThePlaceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Config{Count: 10, Period: time.Second, Burst: 1}, 2, time.Minute)
		gone := errors.New("the client went away")
		ctx, cancel := context.WithCancelCause(t.Context())
		r.come(t.Context(), "k", "f", 0)
		r.come(ctx, "k", "f", 1)
		r.come(ctx, "k", "f", 2)
		r.come(t.Context(), "k", "f", 3)
		cancel(gone)
		synctest.Wait()
		if w := r.q.Waiting(); w != 0 {
			t.Fatalf("%d wait after cancelling", w)
		}
		r.come(t.Context(), "k", "f", 4)
		r.end()
		for _, c := range r.done {
			switch c.n {
			case 1, 2:
				if !errors.Is(c.err, gone) || c.at != 0 {
					t.Errorf("cancelled: %+v", c)
				}
			case 3:
				if !errors.Is(c.err, ErrFull) {
					t.Errorf("beyond the depth: %+v", c)
				}
			case 4: // the cancelled ones' turns are not used up
				if c.err != nil || c.at != 100*time.Millisecond {
					t.Errorf("after cancelling: %+v", c)
				}
			}
		}
	})
}

func TestQueueClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Config{Count: 1, Period: time.Hour, Burst: 1}, 100, 5*time.Hour)
		for n := range 4 {
			r.come(t.Context(), "k", fmt.Sprint(n), n)
		}
		r.q.Close()
		r.come(t.Context(), "k", "late", 4)
		r.end()
		if n := r.count(func(c call) bool { return errors.Is(c.err, ErrClosed) && c.at == 0 }); n != 4 {
			t.Errorf("%d were told that the queue closed: %+v", n, r.done)
		}
		r.q.Close()
	})
}

func TestQueueDepthAndTimeoutOfZeroRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Config{Count: 1, Period: time.Second, Burst: 1}, 0, time.Minute)
		r.come(t.Context(), "k", "f", 0)
		r.come(t.Context(), "k", "f", 1)
		r.q.SetDepth(10)
		r.timeout = 0
		r.come(t.Context(), "k", "f", 2)
		r.timeout = time.Minute
		r.come(t.Context(), "k", "f", 3)
		r.end()
		want := []error{nil, ErrFull, ErrTimeout, nil}
		for _, c := range r.done {
			if !errors.Is(c.err, want[c.n]) {
				t.Errorf("caller %d: %v, want %v", c.n, c.err, want[c.n])
			}
		}
	})
}

// TestQueueSharesTheLimiter lets others take from the same limiter past the
// queue: the queue must neither exceed the rate nor spin.
func TestQueueSharesTheLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Config{Count: 10, Period: time.Second, Burst: 1}, 10, 3*time.Second)
		stop := time.Now().Add(2 * time.Second)
		stolen := 0
		r.wg.Go(func() {
			for time.Now().Before(stop) {
				if r.q.limiter.Allow("k", time.Now()).OK {
					stolen++
				}
				time.Sleep(99 * time.Millisecond)
			}
		})
		synctest.Wait()
		for n := range 5 {
			r.come(t.Context(), "k", "f", n)
		}
		r.end()
		served := r.count(func(c call) bool { return c.err == nil })
		if served != 5 || stolen == 0 {
			t.Errorf("%d served, %d stolen", served, stolen)
		}
	})
}

// TestQueueProperty runs random callers with random patience and cancellation.
func TestQueueProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := Config{
			Count:  rapid.IntRange(1, 50).Draw(rt, "count"),
			Period: time.Second,
			Burst:  rapid.IntRange(1, 4).Draw(rt, "burst"),
		}
		depth := rapid.IntRange(0, 12).Draw(rt, "depth")
		timeout := time.Duration(rapid.IntRange(0, 3000).Draw(rt, "timeout")) * time.Millisecond
		type arrival struct {
			after, patience time.Duration
			key, flow       string
		}
		arrivals := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) arrival {
			return arrival{
				after:    time.Duration(rapid.IntRange(0, 60).Draw(rt, "after")) * time.Millisecond,
				patience: time.Duration(rapid.IntRange(1, 4000).Draw(rt, "patience")) * time.Millisecond,
				key:      rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "key"),
				flow:     rapid.SampledFrom([]string{"x", "y", "z"}).Draw(rt, "flow"),
			}
		}), 1, 60).Draw(rt, "arrivals")
		synctest.Test(t, func(t *testing.T) {
			r := newRoom(rt, c, depth, timeout)
			for n, a := range arrivals {
				time.Sleep(a.after)
				ctx, cancel := context.WithTimeout(t.Context(), a.patience)
				defer cancel()
				r.come(ctx, a.key, a.flow, n)
				if w := r.q.Waiting(); w > depth {
					rt.Fatalf("%d wait, depth %d", w, depth)
				}
			}
			r.end()
			for _, key := range []string{"a", "b"} {
				var at []int64
				last := map[string]int{}
				slices.SortStableFunc(r.done, func(a, b call) int { return int(a.at - b.at) })
				for _, d := range r.done {
					if d.key != key || d.err != nil {
						continue
					}
					at = append(at, int64(d.at))
					// In one flow, who came later is not served at an earlier time.
					if d.came < time.Duration(last[d.flow]) {
						rt.Fatalf("flow %s of %s: one that came at %v was overtaken", d.flow, key, d.came)
					}
					last[d.flow] = int(d.came)
				}
				checkWindows(rt, c, key, at)
			}
		})
	})
}

// TestQueueUnderLoad runs real time and real races.
func TestQueueUnderLoad(t *testing.T) {
	c := Config{Count: 2000, Period: time.Second, Burst: 5}
	l, err := New(c, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	q := NewQueue(l, 64, time.Now)
	start := time.Now()
	var mu sync.Mutex
	counts := map[string]int{}
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for i := range 40 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+(g*i)%20)*time.Millisecond)
				v, _, err := q.Wait(ctx, "k", fmt.Sprint(g), 10*time.Millisecond)
				cancel()
				mu.Lock()
				switch {
				case v.OK != (err == nil):
					t.Errorf("verdict %+v with error %v", v, err)
				case v.OK:
					counts["served"]++
				default:
					counts["refused"]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	most := c.Burst + int(time.Since(start)/(500*time.Microsecond)) + 1
	if counts["served"] == 0 || counts["served"] > most {
		t.Errorf("%v, at most %d may be served", counts, most)
	}
	q.mu.Lock()
	if q.Waiting() != 0 || len(q.lanes) != 0 || len(q.flows) != 0 {
		t.Error("something was left behind")
	}
	q.mu.Unlock()
	q.Close()
}

// TestQueueDoesNotSpin stops the clock while somebody waits for the next
// microsecond.
func TestQueueDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var asked atomic.Int64
		stopped := func() time.Time {
			asked.Add(1)
			return start
		}
		l, err := New(Config{Count: 1_000_000, Period: time.Second, Burst: 1}, start)
		if err != nil {
			t.Fatal(err)
		}
		q := NewQueue(l, 1, stopped)
		if !q.Try("k", start).OK {
			t.Fatal("no room at the start")
		}
		if _, _, err := q.Wait(t.Context(), "k", "f", 100*time.Millisecond); !errors.Is(err, ErrTimeout) {
			t.Errorf("the clock stands, but: %v", err)
		}
		if n := asked.Load(); n > 110 {
			t.Errorf("the queue woke %d times in 100 ms", n)
		}
	})
}

// TestQueueDoesNotSwapEquals shows that a flow next to the longest does not win
// a place by coming again.
func TestQueueDoesNotSwapEquals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoom(t, Config{Count: 1, Period: time.Second, Burst: 1}, 3, time.Minute)
		for n, flow := range []string{"first", "a", "a", "b", "b", "a"} {
			r.come(t.Context(), "", flow, n)
		}
		r.end()
		for _, c := range r.done {
			if full := errors.Is(c.err, ErrFull); full != (c.n >= 4) {
				t.Errorf("caller %d of %s: %v", c.n, c.flow, c.err)
			}
		}
	})
}

func BenchmarkQueueWithRoom(b *testing.B) {
	l, err := New(Config{Count: 1_000_000_000, Period: time.Second, Burst: 1_000_000}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	q := NewQueue(l, 64, time.Now)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if q.Try("user", time.Now()).OK {
			continue
		}
		if _, _, err := q.Wait(ctx, "user", "user", time.Second); err != nil {
			b.Fatal(err)
		}
	}
}
