package relay

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"bulwark.dev/bulwark/internal/cluster"
)

// TestChangesArrive follows one data plane from nothing to its third state.
func TestChangesArrive(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	c := startController(t, ca, "127.0.0.1:0", nil)
	p := startPlane(t, ca, c.addr, nil, nil)
	a, b := route("shop", "a", "/a"), route("shop", "b", "/b")
	first := snapshot(t, a, b)
	if r := c.Publish(first, nil); r != 1 {
		t.Errorf("first revision %d", r)
	}
	until(t, "first state", func() bool { return p.last() != nil })
	got := p.last()
	if got.Len() != 2 || len(got.HTTPRoutes) != 2 {
		t.Fatalf("%d objects", got.Len())
	}
	if g := got.HTTPRoutes[0]; len(g.Status.Parents) != 0 || g.ManagedFields != nil || g.ResourceVersion != "" || g.Labels["app"] != "a" || g.Generation != 1 || g.CreationTimestamp.IsZero() {
		t.Errorf("travelled as %+v", g)
	}
	// A status that changes is no change.
	status := a.DeepCopy()
	status.Status.Parents, status.ResourceVersion = nil, "8"
	if r := c.Publish(snapshot(t, status, b), nil); r != 1 {
		t.Errorf("a change of status made revision %d", r)
	}
	// One object changes, one goes, one comes.
	changed := a.DeepCopy()
	changed.Spec.Hostnames = nil
	d := route("shop", "d", "/d")
	if r := c.Publish(snapshot(t, changed, b, d), nil); r != 2 {
		t.Errorf("revision %d", r)
	}
	until(t, "three routes", func() bool { return p.last().Len() == 3 })
	second := p.last()
	if second.HTTPRoutes[1] != got.HTTPRoutes[1] {
		t.Error("route b did not change and is another pointer")
	}
	if len(second.HTTPRoutes[0].Spec.Hostnames) != 0 || second.Digest() == got.Digest() {
		t.Error("route a changed and does not show it")
	}
	c.Publish(snapshot(t, b), nil)
	until(t, "one route", func() bool { return p.last().Len() == 1 })
	if p.last().HTTPRoutes[0] != got.HTTPRoutes[1] {
		t.Error("route b is another pointer")
	}
	until(t, "revision is reported", func() bool {
		cl := c.Clients()
		return len(cl) == 1 && cl[0].Applied == 3 && cl[0].Sent == 3 && cl[0].Name == "gateway-1" && cl[0].Version == "v0.0.1"
	})
	if n := len(p.all()); n != 3 {
		t.Errorf("applied %d times, want 3", n)
	}
	if s := p.Status(); !s.Connected || s.Revision != 3 || s.Error != "" {
		t.Errorf("status %+v", s)
	}
	p.stop()
	until(t, "data plane is gone", func() bool { return len(c.Clients()) == 0 })
}

// TestOnlyWhatIsUsed: Secrets and the like do not leave the controller unless
// the configuration depends on them.
func TestOnlyWhatIsUsed(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	c := startController(t, ca, "127.0.0.1:0", nil)
	p := startPlane(t, ca, c.addr, nil, nil)
	service := func(name string) *corev1.Service { return &corev1.Service{ObjectMeta: meta("shop", name)} }
	snap := snapshot(t,
		secret("used", "s3cret-used"), secret("unused", "s3cret-unused"),
		&corev1.ConfigMap{ObjectMeta: meta("shop", "used")}, &corev1.ConfigMap{ObjectMeta: meta("shop", "unused")},
		service("used"), service("unused"), slice("used-1", "used"), slice("unused-1", "unused"), slice("used-2", ""),
		&corev1.Namespace{ObjectMeta: meta("", "shop")})
	var asked atomic.Int64
	c.Publish(snap, func(kind, namespace, name string) bool {
		asked.Add(1)
		return namespace == "shop" && name == "used" && (kind == "Secret" || kind == "ConfigMap" || kind == "Service")
	})
	until(t, "state", func() bool { return p.last() != nil })
	got := p.last()
	if len(got.Secrets) != 1 || len(got.ConfigMaps) != 1 || len(got.Services) != 1 || len(got.EndpointSlices) != 1 || len(got.Namespaces) != 1 {
		t.Fatalf("%d Secrets, %d ConfigMaps, %d Services, %d EndpointSlices, %d Namespaces",
			len(got.Secrets), len(got.ConfigMaps), len(got.Services), len(got.EndpointSlices), len(got.Namespaces))
	}
	if string(got.Secrets[0].Data["key"]) != "s3cret-used" || got.EndpointSlices[0].Name != "used-1" {
		t.Errorf("%+v %+v", got.Secrets[0], got.EndpointSlices[0])
	}
	c.Publish(snap, nil)
	until(t, "nothing is used", func() bool { return p.last().Len() == 1 })
	for _, text := range []string{c.logs.String(), p.logs.String()} {
		if strings.Contains(text, "s3cret") || strings.Contains(text, "czNjcmV0") {
			t.Errorf("a Secret is in a log: %s", text)
		}
	}
	if asked.Load() == 0 {
		t.Error("nothing was asked for")
	}
}

// TestUnreadableTravels: a data plane must know what is not known.
func TestUnreadableTravels(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	c := startController(t, ca, "127.0.0.1:0", nil)
	p := startPlane(t, ca, c.addr, nil, nil)
	a := route("shop", "a", "/a")
	forbidden := []cluster.Unreadable{{Kind: "Secret", Reason: "no permission to list secrets"}}
	c.Publish(snapshotWithout(t, forbidden, a), everything)
	until(t, "state", func() bool { return p.last() != nil })
	if u := p.last().Unreadable; len(u) != 1 || u[0] != forbidden[0] {
		t.Errorf("unreadable: %v", u)
	}
	c.Publish(snapshot(t, a, secret("s", "x")), everything)
	until(t, "readable", func() bool { return len(p.last().Unreadable) == 0 && len(p.last().Secrets) == 1 })
	c.Publish(snapshotWithout(t, forbidden, a), everything)
	until(t, "unreadable again", func() bool { return len(p.last().Unreadable) == 1 && len(p.last().Secrets) == 0 })
	c.Publish(snapshotWithout(t, []cluster.Unreadable{{Kind: "Secret", Reason: "another"}}, a), everything)
	until(t, "another reason", func() bool { u := p.last().Unreadable; return len(u) == 1 && u[0].Reason == "another" })
}

// TestFailureIsReportedAndRetried: what cannot be put in force is told to the
// controller, and tried again.
func TestFailureIsReportedAndRetried(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	c := startController(t, ca, "127.0.0.1:0", nil)
	var broken atomic.Bool
	var calls atomic.Int64
	broken.Store(true)
	p := startPlane(t, ca, c.addr, nil, func(*cluster.Snapshot) error {
		calls.Add(1)
		if broken.Load() {
			return errors.New("port 443 is taken\nby another")
		}
		return nil
	})
	c.Publish(snapshot(t, route("shop", "a", "/a")), nil)
	until(t, "failure is reported", func() bool {
		cl := c.Clients()
		return len(cl) == 1 && strings.HasPrefix(cl[0].Failed, "port 443 is taken") && !strings.Contains(cl[0].Failed, "\n") && cl[0].Applied == 0
	})
	if !strings.Contains(p.Status().Error, "port 443") {
		t.Errorf("status %+v", p.Status())
	}
	broken.Store(false)
	until(t, "success is reported", func() bool {
		cl := c.Clients()
		return len(cl) == 1 && cl[0].Failed == "" && cl[0].Applied == 1
	})
	if calls.Load() < 2 || p.Status().Error != "" {
		t.Errorf("%d calls, status %+v", calls.Load(), p.Status())
	}
}

// TestNothingBeforeTheFirstState: a controller that knows nothing sends data
// planes away, and they do not take that for an empty configuration.
func TestNothingBeforeTheFirstState(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	c := startController(t, ca, "127.0.0.1:0", func(cfg *ServerConfig) { cfg.Heartbeat = 500 * time.Millisecond })
	p := startPlane(t, ca, c.addr, nil, nil)
	until(t, "sent away", func() bool { return strings.Contains(p.logs.String(), errUnready.Error()) })
	if p.last() != nil || p.Status().Digest != "" {
		t.Error("a state was applied")
	}
	c.Publish(snapshot(t), nil)
	until(t, "empty state", func() bool { return p.last() != nil })
	if p.last().Len() != 0 {
		t.Errorf("%d objects", p.last().Len())
	}
}

// TestStatesCollapse: while fn runs, states that come are not queued.
func TestStatesCollapse(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	c := startController(t, ca, "127.0.0.1:0", nil)
	hold := make(chan struct{})
	var p *plane
	entered := make(chan struct{}, 100)
	p = startPlane(t, ca, c.addr, nil, func(s *cluster.Snapshot) error {
		entered <- struct{}{}
		<-hold
		return p.apply(s)
	})
	all := routes(50)
	c.Publish(snapshot(t, all[:1]...), nil)
	<-entered
	for i := range all {
		c.Publish(snapshot(t, all[:i+1]...), nil)
	}
	// The first state again, while fn is at work on it: it must be last.
	until(t, "all arrived", func() bool { r, _ := c.Revision(); cl := c.Clients(); return len(cl) == 1 && cl[0].Sent == r })
	c.Publish(snapshot(t, all[:2]...), nil)
	c.Publish(snapshot(t, all[:1]...), nil)
	r, _ := c.Revision()
	until(t, "last arrived", func() bool { cl := c.Clients(); return len(cl) == 1 && cl[0].Sent == r && p.latestRevision() == r })
	close(hold)
	until(t, "last is in force", func() bool { return p.Status().Revision == r })
	if n := len(p.all()); n > 2 {
		t.Errorf("applied %d times", n)
	}
	if p.last().Len() != 1 {
		t.Errorf("%d objects are in force, want 1", p.last().Len())
	}
}

func (w *Watcher) latestRevision() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.latest.revision
}

// TestOldStateWhileNewerIsApplied: fn is at work on B when the controller goes
// back to A, which was in force before.
func TestOldStateWhileNewerIsApplied(t *testing.T) {
	noLeaks(t)
	ca := newCA(t)
	c := startController(t, ca, "127.0.0.1:0", nil)
	var slow atomic.Bool
	entered, hold := make(chan struct{}), make(chan struct{})
	var p *plane
	p = startPlane(t, ca, c.addr, nil, func(s *cluster.Snapshot) error {
		if slow.Load() && s.Len() == 2 {
			close(entered)
			<-hold
		}
		return p.apply(s)
	})
	all := routes(2)
	c.Publish(snapshot(t, all[:1]...), nil)
	until(t, "A", func() bool { return p.Status().Revision == 1 })
	slow.Store(true)
	c.Publish(snapshot(t, all...), nil)
	<-entered
	c.Publish(snapshot(t, all[:1]...), nil)
	until(t, "A again arrived", func() bool { return p.latestRevision() == 3 })
	close(hold)
	until(t, "A again in force", func() bool { return p.Status().Revision == 3 })
	if p.last().Len() != 1 {
		t.Error("B is in force")
	}
}
