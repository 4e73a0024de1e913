package lead

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	coordinationv1 "k8s.io/api/coordination/v1"

	"bulwark.dev/bulwark/internal/cluster/status/apitest"
)

const leasePath = "/apis/coordination.k8s.io/v1/namespaces/bulwark/leases/controller"

// candidate runs an election until stop, and counts who leads.
type candidate struct {
	*Election

	stop    context.CancelFunc
	done    chan struct{}
	terms   atomic.Int64
	leading *atomic.Int64 // of all candidates of the test
	clash   atomic.Bool   // somebody else led at the time
	linger  time.Duration // how long work takes to return
}

func stand(t *testing.T, server *apitest.Server, identity string, leading *atomic.Int64, linger time.Duration) *candidate {
	t.Helper()
	e, err := New(Config{
		REST: server.REST(), Namespace: "bulwark", Name: "controller", Identity: identity, Log: slog.New(slog.DiscardHandler),
		LeaseDuration: 5 * time.Second, RenewDeadline: 4 * time.Second, RetryPeriod: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	c := &candidate{Election: e, stop: stop, done: make(chan struct{}), leading: leading, linger: linger}
	go func() {
		defer close(c.done)
		if err := e.Run(ctx, func(ctx context.Context) { c.work(ctx) }); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		stop()
		<-c.done
		if c.clash.Load() {
			t.Errorf("%s led while another did", identity)
		}
	})
	return c
}

func (c *candidate) work(ctx context.Context) {
	if c.leading.Add(1) > 1 {
		c.clash.Store(true)
	}
	c.terms.Add(1)
	<-ctx.Done()
	time.Sleep(c.linger)
	c.leading.Add(-1)
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for !ok() {
		select {
		case <-t.Context().Done():
			t.Fatalf("%s: not before the end of the test", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func holder(t *testing.T, server *apitest.Server) string {
	t.Helper()
	var l coordinationv1.Lease
	if !server.Get(t, leasePath, &l) || l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

func TestOneLeadsAndHandsOver(t *testing.T) {
	t.Parallel()
	server := apitest.New(t)
	var leading atomic.Int64
	a := stand(t, server, "a", &leading, 200*time.Millisecond)
	until(t, "a leads", a.Leading)
	b := stand(t, server, "b", &leading, 0)
	for range 20 {
		time.Sleep(10 * time.Millisecond)
		if b.Leading() || !a.Leading() {
			t.Fatalf("a leads: %t, b leads: %t", a.Leading(), b.Leading())
		}
	}
	a.stop()
	<-a.done
	if got := holder(t, server); got == "a" {
		t.Error("a stopped and still holds the Lease")
	}
	until(t, "b leads", b.Leading)
}

func TestLeaseIsKeptUntilWorkHasReturned(t *testing.T) {
	t.Parallel()
	server := apitest.New(t)
	var leading atomic.Int64
	a := stand(t, server, "a", &leading, 6*time.Second) // longer than the Lease
	until(t, "a leads", a.Leading)
	b := stand(t, server, "b", &leading, 0)
	a.stop()
	until(t, "b leads", b.Leading) // a clash fails the test at its end
	if a.terms.Load() != 1 || b.terms.Load() != 1 {
		t.Errorf("terms: a %d, b %d", a.terms.Load(), b.terms.Load())
	}
}

func TestOutageCostsTheOfficeNotTheProcess(t *testing.T) {
	t.Parallel()
	server := apitest.New(t)
	var down atomic.Bool
	server.Intercept = func(*http.Request) int {
		if down.Load() {
			return http.StatusInternalServerError
		}
		return 0
	}
	var leading atomic.Int64
	// Work that takes long to end must not run twice at once: a clash.
	a := stand(t, server, "a", &leading, time.Second)
	until(t, "a leads", a.Leading)
	down.Store(true)
	until(t, "a says that it does not lead", func() bool { return !a.Leading() })
	down.Store(false)
	until(t, "a leads again", a.Leading)
	if n := a.terms.Load(); n != 2 {
		t.Errorf("%d terms", n)
	}
}

func TestStolenLeaseEndsWork(t *testing.T) {
	t.Parallel()
	server := apitest.New(t)
	var leading atomic.Int64
	a := stand(t, server, "a", &leading, 0)
	until(t, "a leads", a.Leading)
	var l coordinationv1.Lease
	server.Get(t, leasePath, &l)
	l.Spec.HolderIdentity = new("thief")
	server.Put(t, leasePath, &l)
	until(t, "work has ended", func() bool { return leading.Load() == 0 })
	if got := holder(t, server); got != "thief" {
		t.Errorf("the Lease of %q was taken from its holder", got)
	}
	until(t, "a leads when the other's Lease has run out", a.Leading)
}

func TestWorkThatReturnsIsBegunAgain(t *testing.T) {
	t.Parallel()
	server := apitest.New(t)
	e, err := New(Config{
		REST: server.REST(), Namespace: "bulwark", Name: "controller", Identity: "a", Log: slog.New(slog.DiscardHandler),
		LeaseDuration: time.Second, RenewDeadline: 500 * time.Millisecond, RetryPeriod: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	n := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		err = e.Run(ctx, func(context.Context) {
			if n++; n == 3 {
				stop()
			}
		})
	})
	wg.Wait()
	if err != nil || n != 3 {
		t.Errorf("%d times, %v", n, err)
	}
}

func TestGauge(t *testing.T) {
	t.Parallel()
	server := apitest.New(t)
	var leading atomic.Int64
	a := stand(t, server, "a", &leading, 0)
	registry := prometheus.NewRegistry()
	registry.MustRegister(a)
	read := func() float64 {
		families, err := registry.Gather()
		if err != nil || len(families) != 1 || families[0].GetName() != "bulwark_leader" {
			t.Fatalf("gathered %v, %v", families, err)
		}
		return families[0].GetMetric()[0].GetGauge().GetValue()
	}
	until(t, "1", func() bool { return read() == 1 })
	a.stop()
	<-a.done
	if got := read(); got != 0 {
		t.Errorf("%v after the end", got)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := Config{REST: apitest.New(t).REST(), Namespace: "n", Name: "l", Identity: "i", Log: slog.New(slog.DiscardHandler)}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Config){
		"no REST": func(c *Config) { c.REST = nil }, "no log": func(c *Config) { c.Log = nil },
		"no namespace": func(c *Config) { c.Namespace = "" }, "no name": func(c *Config) { c.Name = "" },
		"no identity": func(c *Config) { c.Identity = "" }, "too short": func(c *Config) { c.LeaseDuration = time.Millisecond },
		"renew after the end": func(c *Config) { c.RenewDeadline = time.Hour }, "retry too seldom": func(c *Config) { c.RetryPeriod = 9 * time.Second },
	} {
		c := good
		edit(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
