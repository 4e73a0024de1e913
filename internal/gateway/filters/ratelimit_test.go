package filters

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/gateway/ir"
	"bulwark.dev/bulwark/internal/gateway/message"
)

func depsNow(tb testing.TB) Deps {
	tb.Helper()
	d := Deps{Now: time.Now, State: NewState(), Log: slog.New(slog.DiscardHandler)}
	tb.Cleanup(d.State.Close)
	return d
}

func mustMake(tb testing.TB, mk func(*ir.Rule, Deps) (step, error), r *ir.Rule, d Deps) step {
	tb.Helper()
	s, err := mk(r, d)
	if err != nil || s == nil {
		tb.Fatalf("step %v, error %v", s, err)
	}
	return s
}

func exchange(name string, now time.Time) *Exchange {
	return &Exchange{
		Req:      &message.Request{Method: "GET", Scheme: "http", Host: "shop.example", Path: "/orders", Proto: 11},
		Match:    &ir.Match{PathKind: ir.PathPrefix, Path: "/"},
		Source:   netip.MustParseAddr("192.0.2.1"),
		Now:      now,
		Identity: &bulwark.Identity{Name: name, Method: "jwt", Issuer: "https://idp.example"},
	}
}

func queued(key string, depth int, timeout time.Duration) *ir.Rule {
	return &ir.Rule{RateLimits: []ir.RateLimit{{
		Rule: "policy rateLimit q", Key: key, Count: 10, Period: time.Second, Burst: 1,
		Queue: &ir.Queue{Depth: depth, Timeout: timeout},
	}}}
}

// TestQueueDelaysInPlaceOfRefusing sends a burst through a queued limit.
func TestQueueDelaysInPlaceOfRefusing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := depsNow(t)
		s := mustMake(t, newRateLimits, queued("identity.name", 4, time.Second), d)
		start := time.Now()
		var wg sync.WaitGroup
		for n := range 6 {
			wg.Go(func() {
				x := exchange("alice", time.Now())
				got := s.request(t.Context(), x)
				want := time.Duration(n) * 100 * time.Millisecond
				if n < 5 && (!got.Allowed || time.Since(start) != want || x.Queued != want) {
					t.Errorf("request %d: %+v after %v, told %v", n, got, time.Since(start), x.Queued)
				}
				if n == 5 && (got.Allowed || got.Status != http.StatusTooManyRequests || got.RetryAfter != time.Second) {
					t.Errorf("beyond the depth: %+v", got)
				}
				if x.ResponseHeader.Get("ratelimit") == "" {
					t.Errorf("request %d: no RateLimit field", n)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
	})
}

// TestQueueIsFairBetweenCallers lets one caller fill the queue of a limit that
// all share.
func TestQueueIsFairBetweenCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := depsNow(t)
		s := mustMake(t, newRateLimits, queued("", 20, 10*time.Second), d)
		var mu sync.Mutex
		served := map[string]int{}
		var wg sync.WaitGroup
		send := func(x *Exchange, who string) {
			wg.Go(func() {
				if s.request(t.Context(), x).Allowed {
					mu.Lock()
					served[who]++
					mu.Unlock()
				}
			})
			synctest.Wait()
		}
		send(exchange("noisy", time.Now()), "first")
		for range 200 {
			send(exchange("noisy", time.Now()), "noisy")
		}
		for n := range 30 {
			send(exchange("quiet", time.Now()), "quiet")
			// Without an identity, a flood from one /64 is one caller.
			x := exchange("", time.Now())
			x.Identity, x.Source = nil, netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", n+1))
			send(x, "nobody")
		}
		wg.Wait()
		for _, who := range []string{"noisy", "quiet", "nobody"} {
			if n := served[who]; n < 6 || n > 7 {
				t.Errorf("%s was served %d of 20 places: %v", who, n, served)
			}
		}
	})
}

// TestQueueEndsWithTheRequest covers the ways in which waiting ends without a
// turn.
func TestQueueEndsWithTheRequest(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(d Deps, cancel context.CancelFunc)
		ctx    func(context.Context) (context.Context, context.CancelFunc)
		status int
		code   bulwark.Code
	}{
		"client gone": {func(_ Deps, cancel context.CancelFunc) { cancel() }, context.WithCancel, 499, bulwark.CodeClientGone},
		"shutdown":    {func(d Deps, _ context.CancelFunc) { d.State.Close() }, context.WithCancel, 503, bulwark.CodeUnavailable},
		"request timeout": {
			func(Deps, context.CancelFunc) {},
			func(ctx context.Context) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, 30*time.Millisecond)
			},
			504, bulwark.CodeGatewayTimeout,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := depsNow(t)
				s := mustMake(t, newRateLimits, queued("", 5, time.Minute), d)
				s.request(t.Context(), exchange("a", time.Now()))
				ctx, cancel := c.ctx(t.Context())
				defer cancel()
				var got bulwark.Decision
				var wg sync.WaitGroup
				wg.Go(func() { got = s.request(ctx, exchange("a", time.Now())) })
				synctest.Wait()
				c.end(d, cancel)
				wg.Wait()
				if got.Allowed || got.Status != c.status || got.Code != c.code {
					t.Errorf("%+v", got)
				}
				if n := d.State.Stats().Waiting; n != 0 {
					t.Errorf("%d still wait", n)
				}
			})
		})
	}
}

func limited(count, burst int) *ir.Rule {
	return &ir.Rule{ID: "r", RateLimits: []ir.RateLimit{{Rule: "policy rateLimit l", Count: count, Period: time.Hour, Burst: burst}}}
}

// TestCountersSurviveReload reloads with the same and with other numbers.
func TestCountersSurviveReload(t *testing.T) {
	d := depsNow(t)
	d.Now = func() time.Time { return epoch }
	once := func(r *ir.Rule) bool {
		t.Helper()
		return mustMake(t, newRateLimits, r, d).request(t.Context(), exchange("a", epoch)).Allowed
	}
	if !once(limited(2, 1)) || once(limited(2, 1)) {
		t.Error("a reload of the same limit began to count anew")
	}
	other := limited(2, 1)
	other.ID = "another rule with the same limit"
	if once(other) {
		t.Error("two rules that name one limit do not share it")
	}
	if !once(limited(3, 1)) {
		t.Error("other numbers did not begin anew")
	}
	old := mustMake(t, newRateLimits, limited(2, 1), d)
	d.State.Retain(&ir.Table{Rules: []ir.Rule{*limited(3, 1)}})
	if n := d.State.Stats().RateKeys; n != 1 {
		t.Errorf("%d keys after the old table went, want the new one's", n)
	}
	if once(limited(3, 1)) {
		t.Error("what the new table uses was forgotten")
	}
	if old.request(t.Context(), exchange("a", epoch)).Allowed {
		t.Error("a request on the old table found new counters")
	}
}

// TestReloadDuringQueue keeps waiters across a reload with another depth, and
// across one that drops the limit; shutdown still reaches them.
func TestReloadDuringQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := depsNow(t)
		first := mustMake(t, newRateLimits, queued("", 5, time.Minute), d)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var order []string
		send := func(s step, who string) {
			wg.Go(func() {
				got := s.request(t.Context(), exchange(who, time.Now()))
				mu.Lock()
				defer mu.Unlock()
				order = append(order, fmt.Sprintf("%s %v", who, got.Allowed))
			})
			synctest.Wait()
		}
		send(first, "a1")
		send(first, "a2")
		send(first, "a3")
		second := mustMake(t, newRateLimits, queued("", 3, time.Minute), d)
		d.State.Retain(&ir.Table{Rules: []ir.Rule{*queued("", 3, time.Minute)}})
		send(second, "b1")
		send(second, "b2") // beyond the new depth
		time.Sleep(time.Second)
		synctest.Wait()
		if got := strings.Join(order, ", "); got != "a1 true, b2 false, a2 true, a3 true, b1 true" {
			t.Errorf("served: %s", got)
		}
		order = nil
		send(first, "c1")
		send(first, "c2")
		d.State.Retain(&ir.Table{})
		d.State.Retain(&ir.Table{})
		if n := d.State.Stats().Waiting; n != 1 {
			t.Errorf("%d wait in retired queues", n)
		}
		d.State.Close()
		wg.Wait()
		if got := strings.Join(order, ", "); got != "c1 true, c2 false" {
			t.Errorf("after shutdown: %s", got)
		}
		late := mustMake(t, newRateLimits, queued("", 3, time.Minute), d)
		late.request(t.Context(), exchange("d", time.Now()))
		if got := late.request(t.Context(), exchange("d", time.Now())); got.Status != http.StatusServiceUnavailable {
			t.Errorf("a queue made after shutdown: %+v", got)
		}
	})
}

func TestConcurrencySurvivesReloadAndLeaksNothing(t *testing.T) {
	d := depsNow(t)
	rule := func(most int) *ir.Rule {
		return &ir.Rule{Concurrency: &ir.Concurrency{Rule: "c", Key: "identity.name", Max: most}}
	}
	s := mustMake(t, newConcurrency, rule(2), d)
	var held []*Exchange
	for range 2 {
		x := exchange("a", epoch)
		if got := s.request(t.Context(), x); !got.Allowed {
			t.Fatalf("%+v", got)
		}
		held = append(held, x)
	}
	d.State.Retain(&ir.Table{}) // in use: must not be forgotten
	if got := mustMake(t, newConcurrency, rule(2), d).request(t.Context(), exchange("a", epoch)); got.Allowed {
		t.Error("after a reload, what is in flight was forgotten")
	}
	more := mustMake(t, newConcurrency, rule(3), d)
	x := exchange("a", epoch)
	if got := more.request(t.Context(), x); !got.Allowed {
		t.Errorf("a wider bound did not help: %+v", got)
	}
	for _, x := range append(held, x) {
		x.Reset() // the proxy's way to forget an exchange
		x.Done()
	}
	if n := d.State.Stats().InFlightKeys; n != 0 {
		t.Errorf("%d keys in flight at the end", n)
	}
}

func TestManyAndHugeKeysAreBounded(t *testing.T) {
	d := depsNow(t)
	d.Now = func() time.Time { return epoch }
	r := limited(1, 1)
	r.RateLimits[0].Key = "identity.name"
	s := mustMake(t, newRateLimits, r, d)
	x := exchange("", epoch)
	for i := range 100_000 {
		x.Identity.Name = fmt.Sprint(i)
		s.request(t.Context(), x)
	}
	st := d.State.Stats()
	if st.RateKeys > 1<<16 || st.Overflowed == 0 {
		t.Errorf("%+v", st)
	}
	x.Identity.Name = strings.Repeat("k", 1<<20)
	s.request(t.Context(), x)
	if s.request(t.Context(), x).Allowed {
		t.Error("a huge key is not counted")
	}
}

// TestNothingToDoCostsNothing measures the steps on a request they let pass.
func TestNothingToDoCostsNothing(t *testing.T) {
	d := depsNow(t)
	origin := &ir.CORS{Rule: "c", AllowOrigins: []string{"https://a.example"}}
	prefix := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for name, c := range map[string]struct {
		mk    func(*ir.Rule, Deps) (step, error)
		rule  ir.Rule
		allow float64
	}{
		"network":     {newNetwork, ir.Rule{Network: &ir.Network{Allow: prefix}}, 0},
		"form":        {newForm, ir.Rule{}, 0},
		"cors":        {newCORS, ir.Rule{CORS: origin}, 0},
		"headers":     {newHeaders, ir.Rule{RequestHeaders: &ir.HeaderEdit{Set: []ir.NameValue{{Name: "X-A", Value: "b"}}, Remove: []string{"X-B"}}}, 0},
		"transform":   {newTransform, ir.Rule{Transform: &ir.Transform{RemoveHeaders: []string{"x-none"}, PathPattern: "^/v1/"}}, 0},
		"rewrite":     {newRewrite, ir.Rule{Rewrite: &ir.Rewrite{Hostname: "b.example"}}, 0},
		"concurrency": {newConcurrency, ir.Rule{Concurrency: &ir.Concurrency{Rule: "c", Max: 2}}, 0},
		// One string tells the client what is left.
		"ratelimit": {newRateLimits, ir.Rule{RateLimits: []ir.RateLimit{{Rule: "r", Count: 1e9, Period: time.Second, Burst: 1e6}}}, 1},
	} {
		s := mustMake(t, c.mk, &c.rule, d)
		x := exchange("a", time.Now())
		x.Req.Header.Add("x-a", "a")
		ctx := t.Context()
		got := testing.AllocsPerRun(200, func() {
			x.ResponseHeader = x.ResponseHeader[:0]
			if d := s.request(ctx, x); !d.Allowed {
				t.Fatalf("%s: %+v", name, d)
			}
			x.Done()
		})
		if got > c.allow {
			t.Errorf("%s: %v allocations, want %v", name, got, c.allow)
		}
	}
}

// TestStepsWithoutDepsRefuseToBeMade gives no state to those that count.
func TestStepsWithoutDepsRefuseToBeMade(t *testing.T) {
	if _, err := newRateLimits(limited(1, 1), Deps{}); err == nil {
		t.Error("rate limits without a state")
	}
	if _, err := newConcurrency(&ir.Rule{Concurrency: &ir.Concurrency{Max: 1}}, Deps{}); err == nil {
		t.Error("concurrency without a state")
	}
	r := limited(1, 1)
	for range maxRateLimits {
		r.RateLimits = append(r.RateLimits, r.RateLimits[0])
	}
	if _, err := newRateLimits(r, depsNow(t)); err == nil {
		t.Error("more rate limits than there are keys for")
	}
}

// TestNotAskedForIsNil guards against typed nils: a step that is not asked for
// must compare equal to nil.
func TestNotAskedForIsNil(t *testing.T) {
	d := depsNow(t)
	for name, mk := range map[string]func(*ir.Rule, Deps) (step, error){
		"network": newNetwork, "cors": newCORS, "ratelimit": newRateLimits, "concurrency": newConcurrency,
		"redirect": newRedirect, "transform": newTransform, "headers": newHeaders, "rewrite": newRewrite,
	} {
		if s, err := mk(&ir.Rule{}, d); s != nil || err != nil {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	if s, err := newForm(&ir.Rule{}, d); s == nil || err != nil {
		t.Errorf("form must always be there: %v, %v", s, err)
	}
}

func BenchmarkRateLimit(b *testing.B) {
	d := depsNow(b)
	s := mustMake(b, newRateLimits, &ir.Rule{RateLimits: []ir.RateLimit{{Rule: "p rateLimit r", Key: "identity.name", Count: 1e9, Period: time.Second, Burst: 1e6}}}, d)
	x, ctx := exchange("a", time.Now()), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		x.ResponseHeader = x.ResponseHeader[:0]
		s.request(ctx, x)
	}
}
