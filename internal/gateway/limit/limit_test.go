package limit

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func limiter(tb testing.TB, c Config) *Limiter {
	tb.Helper()
	l, err := New(c, epoch)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func TestNewRefuses(t *testing.T) {
	good := Config{Count: 1, Period: time.Second, Burst: 1}
	for name, edit := range map[string]func(*Config){
		"zero":              func(c *Config) { *c = Config{} },
		"no count":          func(c *Config) { c.Count = 0 },
		"negative count":    func(c *Config) { c.Count = -1 },
		"no period":         func(c *Config) { c.Period = 0 },
		"negative period":   func(c *Config) { c.Period = -time.Second },
		"no burst":          func(c *Config) { c.Burst = 0 },
		"negative keys":     func(c *Config) { c.MaxKeys = -1 },
		"burst overflows":   func(c *Config) { c.Burst = math.MaxInt },
		"period times many": func(c *Config) { c.Period, c.Burst = math.MaxInt64/8, 3 },
	} {
		c := good
		edit(&c)
		if _, err := New(c, epoch); err == nil {
			t.Errorf("%s: %+v was accepted", name, c)
		}
	}
	if _, err := New(good, time.Time{}); err == nil {
		t.Error("a clock at zero was accepted")
	}
	if _, err := New(good, epoch); err != nil {
		t.Error(err)
	}
}

func TestAllowTellsWhatIsLeft(t *testing.T) {
	l := limiter(t, Config{Count: 10, Period: time.Second, Burst: 3})
	ms := time.Millisecond
	steps := []struct {
		at   time.Duration
		want Verdict
	}{
		{0, Verdict{OK: true, Remaining: 2, Reset: 100 * ms}},
		{0, Verdict{OK: true, Remaining: 1, Reset: 200 * ms}},
		{0, Verdict{OK: true, Remaining: 0, Reset: 300 * ms}},
		{0, Verdict{RetryAfter: 100 * ms, Reset: 300 * ms}},
		{40 * ms, Verdict{RetryAfter: 60 * ms, Reset: 260 * ms}},
		{100 * ms, Verdict{OK: true, Remaining: 0, Reset: 300 * ms}},
		{100 * ms, Verdict{RetryAfter: 100 * ms, Reset: 300 * ms}},
		{10 * time.Second, Verdict{OK: true, Remaining: 2, Reset: 100 * ms}},
	}
	for i, s := range steps {
		peek := l.Peek("k", epoch.Add(s.at))
		got := l.Allow("k", epoch.Add(s.at))
		if diff := cmp.Diff(s.want, got); diff != "" {
			t.Errorf("step %d (-want +got):\n%s", i, diff)
		}
		if peek != got {
			t.Errorf("step %d: Peek said %+v, Allow %+v", i, peek, got)
		}
	}
}

// TestUnevenRateRoundsDown shows that a rate that does not divide its period is
// never exceeded by the rounding.
func TestUnevenRateRoundsDown(t *testing.T) {
	l := limiter(t, Config{Count: 7, Period: time.Second, Burst: 1})
	n := 0
	for at := time.Duration(0); at < 1000*time.Second; at += time.Millisecond {
		if l.Allow("k", epoch.Add(at)).OK {
			n++
		}
	}
	if n > 7*1000 || n < 6900 {
		t.Errorf("%d in 1000 s at 7/s", n)
	}
}

func TestClockBackwardsGrantsNothing(t *testing.T) {
	l := limiter(t, Config{Count: 1, Period: time.Second, Burst: 2})
	late := epoch.Add(time.Hour)
	l.Allow("k", late)
	l.Allow("k", late)
	for _, now := range []time.Time{late.Add(-time.Minute), epoch, epoch.Add(-time.Hour), {}, late} {
		if v := l.Allow("k", now); v.OK || v.RetryAfter <= 0 {
			t.Errorf("at %v: %+v", now, v)
		}
	}
	if v := l.Allow("k", late.Add(time.Second)); !v.OK {
		t.Errorf("the clock is forward again: %+v", v)
	}
}

// TestSweptKeyStaysSwept tries to revive a forgotten key in the past, where its
// bucket was full.
func TestSweptKeyStaysSwept(t *testing.T) {
	l := limiter(t, Config{Count: 1, Period: time.Second, Burst: 1, MaxKeys: shards})
	l.Allow("victim", epoch)
	for i := range 10_000 { // all shards meet later times and sweep
		l.Allow(fmt.Sprint(i), epoch.Add(time.Duration(i)*time.Second))
	}
	first := l.Allow("victim", epoch)
	if second := l.Allow("victim", epoch); first.OK && second.OK {
		t.Error("two of a burst of one")
	}
}

// TestFarFutureDoesNotOverflow tries times that sums could overflow on.
func TestFarFutureDoesNotOverflow(t *testing.T) {
	l := limiter(t, Config{Count: 1, Period: math.MaxInt64 / 8, Burst: 2})
	for _, now := range []time.Time{epoch, epoch.AddDate(290, 0, 0), epoch.AddDate(9000, 0, 0), time.Unix(math.MaxInt64/2, 0)} {
		granted := 0
		for range 5 {
			v := l.Allow("k", now)
			if v.OK {
				granted++
			}
			if v.RetryAfter < 0 || v.Reset < 0 || v.Remaining < 0 {
				t.Errorf("at %v: %+v", now, v)
			}
		}
		if granted > 2 {
			t.Errorf("at %v: %d granted of a burst of 2", now, granted)
		}
	}
}

// TestFloodOfKeysStaysBounded sends more live keys than there is room for: the
// surplus shares one bucket.
func TestFloodOfKeysStaysBounded(t *testing.T) {
	const most = 1024
	l := limiter(t, Config{Count: 1, Period: time.Hour, Burst: 1, MaxKeys: most})
	granted := 0
	for i := range 100_000 {
		if l.Allow(fmt.Sprintf("key-%d", i), epoch).OK {
			granted++
		}
	}
	if granted > most+1 {
		t.Errorf("%d keys were granted a burst of 1, bound %d and one shared bucket", granted, most)
	}
	if n := l.Keys(); n > most {
		t.Errorf("%d keys held, bound %d", n, most)
	}
	if l.Overflowed() == 0 {
		t.Error("nothing was counted as overflowing")
	}
	// Once the flood's buckets are empty, a newcomer has its own again.
	if v := l.Allow("late", epoch.Add(3*time.Hour)); !v.OK {
		t.Errorf("after the flood: %+v", v)
	}
}

// TestOverflowInheritance tries to win a second burst by moving from the shared
// bucket to an own one.
func TestOverflowInheritance(t *testing.T) {
	l := limiter(t, Config{Count: 1, Period: time.Minute, Burst: 4, MaxKeys: shards})
	for i := 0; l.Overflowed() == 0; i++ {
		l.Allow(fmt.Sprint("fill", i), epoch)
	}
	granted := 0
	for range 10 {
		if l.Allow("mover", epoch).OK {
			granted++
		}
	}
	// 61 s later the fillers' buckets are empty; the mover's 4 and the shared
	// bucket's refill are all it may have.
	for range 10 {
		if l.Allow("mover", epoch.Add(61*time.Second)).OK {
			granted++
		}
	}
	if granted > 4+1 {
		t.Errorf("%d granted, want at most burst and one refill", granted)
	}
}

func TestHugeKeysCostNothing(t *testing.T) {
	l := limiter(t, Config{Count: 1, Period: time.Hour, Burst: 1})
	huge := strings.Repeat("x", 1<<20)
	if !l.Allow(huge, epoch).OK || l.Allow(huge, epoch).OK || !l.Allow(huge+"y", epoch).OK {
		t.Error("long keys are not told apart")
	}
	if n := testing.AllocsPerRun(100, func() { l.Allow(huge, epoch) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAllowDoesNotAllocate(t *testing.T) {
	l := limiter(t, Config{Count: 1000, Period: time.Second, Burst: 10})
	now := epoch
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(time.Microsecond)
		l.Allow("a key", now)
		l.Peek("a key", now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestNeverMoreThanPromised is the property: in any window of any schedule, no
// key gets more than burst + rate × window.
func TestNeverMoreThanPromised(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{
			Count:   rapid.IntRange(1, 2000).Draw(t, "count"),
			Period:  time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(time.Hour)).Draw(t, "period")),
			Burst:   rapid.IntRange(1, 20).Draw(t, "burst"),
			MaxKeys: rapid.SampledFrom([]int{0, shards, 3 * shards}).Draw(t, "keys"),
		}
		l, err := New(c, epoch)
		if err != nil {
			t.Fatal(err)
		}
		scale := max(1, int64(c.Period)/int64(c.Count))
		granted := map[string][]int64{}
		passed := int64(0)
		for range rapid.IntRange(1, 300).Draw(t, "requests") {
			// Real time passes; what the caller says may lag behind it.
			passed += rapid.Int64Range(0, 2*scale).Draw(t, "step")
			stamp := passed - rapid.SampledFrom([]int64{0, 0, 0, scale, 50 * scale}).Draw(t, "lag")
			key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "key")
			if l.Allow(key, epoch.Add(time.Duration(stamp))).OK {
				// Windows are measured in the limiter's own time, which lag makes
				// stand still and never run backwards or ahead.
				clock := l.shard[l.hash(key)%shards].clock
				if clock > passed || clock < stamp {
					t.Fatalf("the limiter's clock is at %d, real time %d, stamp %d", clock, passed, stamp)
				}
				granted[key] = append(granted[key], clock)
			}
		}
		for key, at := range granted {
			checkWindows(t, c, key, at)
		}
	})
}

type failer interface{ Fatalf(string, ...any) }

func checkWindows(t failer, c Config, key string, at []int64) {
	interval := (int64(c.Period) + int64(c.Count) - 1) / int64(c.Count)
	for i := range at {
		for j := i; j < len(at); j++ {
			if may := int64(c.Burst) + (at[j]-at[i])/interval; int64(j-i+1) > may {
				t.Fatalf("key %s: %d granted in a window of %v, may be %d: %+v", key, j-i+1, time.Duration(at[j]-at[i]), may, c)
			}
		}
	}
}

// TestNeverMoreConcurrently hammers few keys from many goroutines with times
// that lag differently.
func TestNeverMoreConcurrently(t *testing.T) {
	c := Config{Count: 1000, Period: time.Second, Burst: 50}
	l := limiter(t, c)
	const length = 2 * time.Second
	var now atomic.Int64
	var granted [3]atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				at := now.Add(int64(10 * time.Microsecond))
				if at > int64(length) {
					return
				}
				k := (g + i) % len(granted)
				if l.Allow(fmt.Sprint(k), epoch.Add(time.Duration(at)-time.Duration(g)*time.Millisecond)).OK {
					granted[k].Add(1)
				}
			}
		})
	}
	wg.Wait()
	for k := range granted {
		most := int64(c.Burst) + int64(length/time.Millisecond)
		if n := granted[k].Load(); n > most || n < most/2 {
			t.Errorf("key %d: %d granted, most %d", k, n, most)
		}
	}
}

func TestInFlight(t *testing.T) {
	f := NewInFlight()
	var held []func()
	for range 3 {
		release, ok := f.Acquire("a", 3)
		if !ok {
			t.Fatal("no room for three")
		}
		held = append(held, release)
	}
	if _, ok := f.Acquire("a", 3); ok {
		t.Error("a fourth got in")
	}
	if _, ok := f.Acquire("a", 0); ok {
		t.Error("a bound of zero let one in")
	}
	if release, ok := f.Acquire("b", 1); !ok {
		t.Error("another key is held up")
	} else {
		release()
	}
	held[0]()
	if release, ok := f.Acquire("a", 3); !ok {
		t.Error("what was given back is not there")
	} else {
		release()
	}
	for _, release := range held[1:] {
		release()
	}
	if n := f.Keys(); n != 0 {
		t.Errorf("%d keys left behind", n)
	}
	if n := testing.AllocsPerRun(1000, func() {
		release, _ := f.Acquire("a", 1)
		release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestInFlightConcurrently(t *testing.T) {
	f := NewInFlight()
	const most = 4
	var now, peak, refused atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 2000 {
				release, ok := f.Acquire("k", most)
				if !ok {
					refused.Add(1)
					continue
				}
				n := now.Add(1)
				for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
				}
				now.Add(-1)
				release()
			}
		})
	}
	wg.Wait()
	if peak.Load() > most || peak.Load() < 1 {
		t.Errorf("%d at once, bound %d (%d refused)", peak.Load(), most, refused.Load())
	}
	if f.Keys() != 0 {
		t.Error("a key was left behind")
	}
}

func TestIndexedHeap(t *testing.T) {
	type item struct{ value, place int }
	rapid.Check(t, func(t *rapid.T) {
		h := indexed[*item]{
			less:  func(a, b *item) bool { return a.value < b.value },
			place: func(i *item) *int { return &i.place },
		}
		var all []*item
		for range rapid.IntRange(0, 100).Draw(t, "operations") {
			switch op := rapid.IntRange(0, 2).Draw(t, "op"); {
			case op == 0 || len(all) == 0:
				it := &item{value: rapid.IntRange(0, 50).Draw(t, "value")}
				all = append(all, it)
				h.push(it)
			case op == 1:
				i := rapid.IntRange(0, len(all)-1).Draw(t, "which")
				h.remove(all[i])
				all = slices.Delete(all, i, i+1)
			default:
				it := all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
				it.value = rapid.IntRange(0, 50).Draw(t, "value")
				h.fix(it)
			}
			if len(h.items) != len(all) {
				t.Fatalf("%d items, want %d", len(h.items), len(all))
			}
			for i, it := range h.items {
				if it.place != i {
					t.Fatalf("item at %d thinks it is at %d", i, it.place)
				}
				if h.items[0].value > it.value {
					t.Fatal("the first is not the least")
				}
			}
		}
	})
}

func BenchmarkAllow(b *testing.B) {
	l := limiter(b, Config{Count: 1_000_000, Period: time.Second, Burst: 1000})
	now := epoch
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(time.Microsecond)
		l.Allow("SecurityPolicy shop/orders user 12345", now)
	}
}

func BenchmarkAllowParallelManyKeys(b *testing.B) {
	l := limiter(b, Config{Count: 100, Period: time.Second, Burst: 100})
	keys := make([]string, 4096)
	for i := range keys {
		keys[i] = fmt.Sprintf("user-%d", i)
	}
	b.ReportAllocs()
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		i := int(next.Add(1)) * 977
		for pb.Next() {
			i++
			l.Allow(keys[i%len(keys)], epoch.Add(time.Duration(i)*time.Microsecond))
		}
	})
}

func BenchmarkInFlight(b *testing.B) {
	f := NewInFlight()
	b.ReportAllocs()
	for b.Loop() {
		release, _ := f.Acquire("user", 10)
		release()
	}
}
