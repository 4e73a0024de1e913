package status

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"bulwark.dev/bulwark/api/v1alpha1"
	"bulwark.dev/bulwark/internal/cluster"
)

func TestEveryKindIsWrittenOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	meta := metav1.ObjectMeta{Namespace: "shop", Name: "x", Generation: 3}
	refs := []gwv1.RouteParentStatus{parent("edge", yes(""))}
	ancestors := []gwv1.PolicyAncestorStatus{ancestor("edge", yes(""))}
	conditions := []metav1.Condition{yes("")}
	gatewayStatus := &gwv1.GatewayStatus{
		Conditions: conditions,
		Listeners:  []gwv1.ListenerStatus{{Name: "http", Conditions: conditions}},
	}
	setStatus := &gwv1.ListenerSetStatus{Conditions: conditions}
	class := metav1.ObjectMeta{Name: "x", Generation: 3}
	objects := map[string]any{
		gwAPI + "/gatewayclasses/x":                                     &gwv1.GatewayClass{ObjectMeta: class},
		gwAPI + "/namespaces/shop/gateways/x":                           &gwv1.Gateway{ObjectMeta: meta},
		gwAPI + "/namespaces/shop/listenersets/x":                       &gwv1.ListenerSet{ObjectMeta: meta},
		gwAPI + "/namespaces/shop/httproutes/x":                         &gwv1.HTTPRoute{ObjectMeta: meta},
		gwAPI + "/namespaces/shop/grpcroutes/x":                         &gwv1.GRPCRoute{ObjectMeta: meta},
		gwAPI + "/namespaces/shop/tlsroutes/x":                          &gwv1.TLSRoute{ObjectMeta: meta},
		gwAPI + "/namespaces/shop/backendtlspolicies/x":                 &gwv1.BackendTLSPolicy{ObjectMeta: meta},
		"/apis/bulwark.dev/v1alpha1/namespaces/shop/securitypolicies/x": &v1alpha1.SecurityPolicy{ObjectMeta: meta},
	}
	for path, o := range objects {
		b.server.Put(t, path, o)
	}
	read := func() *cluster.Snapshot {
		snap := &cluster.Snapshot{
			GatewayClasses: []*gwv1.GatewayClass{{}}, Gateways: []*gwv1.Gateway{{}}, ListenerSets: []*gwv1.ListenerSet{{}},
			HTTPRoutes: []*gwv1.HTTPRoute{{}}, GRPCRoutes: []*gwv1.GRPCRoute{{}}, TLSRoutes: []*gwv1.TLSRoute{{}},
			BackendTLSPolicies: []*gwv1.BackendTLSPolicy{{}}, SecurityPolicies: []*v1alpha1.SecurityPolicy{{}},
		}
		for path, into := range map[string]any{
			gwAPI + "/gatewayclasses/x":                                     snap.GatewayClasses[0],
			gwAPI + "/namespaces/shop/gateways/x":                           snap.Gateways[0],
			gwAPI + "/namespaces/shop/listenersets/x":                       snap.ListenerSets[0],
			gwAPI + "/namespaces/shop/httproutes/x":                         snap.HTTPRoutes[0],
			gwAPI + "/namespaces/shop/grpcroutes/x":                         snap.GRPCRoutes[0],
			gwAPI + "/namespaces/shop/tlsroutes/x":                          snap.TLSRoutes[0],
			gwAPI + "/namespaces/shop/backendtlspolicies/x":                 snap.BackendTLSPolicies[0],
			"/apis/bulwark.dev/v1alpha1/namespaces/shop/securitypolicies/x": snap.SecurityPolicies[0],
		} {
			if !b.server.Get(t, path, into) {
				t.Fatalf("no %s", path)
			}
		}
		return snap
	}
	want := []Target{
		{Kind: "GatewayClass", Name: "x", Conditions: conditions},
		{Kind: "Gateway", Namespace: "shop", Name: "x", Gateway: gatewayStatus},
		{Kind: "ListenerSet", Namespace: "shop", Name: "x", ListenerSet: setStatus},
		{Kind: "HTTPRoute", Namespace: "shop", Name: "x", Generation: 3, Parents: refs},
		{Kind: "GRPCRoute", Namespace: "shop", Name: "x", Parents: refs},
		{Kind: "TLSRoute", Namespace: "shop", Name: "x", Parents: refs},
		{Kind: "BackendTLSPolicy", Namespace: "shop", Name: "x", Ancestors: ancestors},
		{Kind: "SecurityPolicy", Namespace: "shop", Name: "x", Ancestors: ancestors},
	}
	before := read()
	if wait := b.pass(before, want...); wait != 0 {
		t.Fatalf("wants to try again in %v: %s", wait, b.log.text.String())
	}
	if n := writes(b.server.Requests(), http.MethodPatch); n != len(objects) {
		t.Fatalf("%d writes for %d objects", n, len(objects))
	}
	after := read()
	done := []metav1.Condition{{
		Type: "Accepted", Status: metav1.ConditionTrue, Reason: "Accepted", ObservedGeneration: 3,
		LastTransitionTime: metav1.NewTime(b.clock.Now()),
	}}
	for kind, got := range map[string][]metav1.Condition{
		"GatewayClass": after.GatewayClasses[0].Status.Conditions, "Gateway": after.Gateways[0].Status.Conditions,
		"listener": after.Gateways[0].Status.Listeners[0].Conditions, "ListenerSet": after.ListenerSets[0].Status.Conditions,
		"HTTPRoute": after.HTTPRoutes[0].Status.Parents[0].Conditions, "GRPCRoute": after.GRPCRoutes[0].Status.Parents[0].Conditions,
		"TLSRoute": after.TLSRoutes[0].Status.Parents[0].Conditions, "BackendTLSPolicy": after.BackendTLSPolicies[0].Status.Ancestors[0].Conditions,
		"SecurityPolicy": after.SecurityPolicies[0].Status.Ancestors[0].Conditions,
	} {
		if diff := cmp.Diff(done, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}
	}
	if f := after.GatewayClasses[0].Status.SupportedFeatures; len(f) != 2 || f[0].Name != "Gateway" || f[1].Name != "HTTPRoute" {
		t.Errorf("features %v are not the sorted list of those claimed", f)
	}
	b.clock.add(time.Hour)
	b.pass(before, want...) // the watch is late
	b.pass(after, want...)
	b.pass(after, want...)
	if n := len(b.server.Requests()); n != 0 {
		t.Errorf("%d requests though nothing changed", n)
	}
}

func TestStaleSnapshotBuildsOnOwnWrite(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	old := b.putRoute("a", nil)
	b.pass(routes(old), target("a", parent("edge", yes("one"))))
	b.pass(routes(old), target("a", parent("edge", yes("two")))) // still the old Snapshot
	for _, r := range b.server.Requests() {
		if r.Code != http.StatusOK {
			t.Errorf("%s %s: %d", r.Method, r.Path, r.Code)
		}
	}
	if got := b.route("a").Status.Parents[0].Conditions[0].Message; got != "two" {
		t.Errorf("message %q", got)
	}
}

func TestConflictWaitsForTheNextSnapshot(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	old := b.putRoute("a", nil)
	next := b.putRoute("a", func(r *gwv1.HTTPRoute) { r.Generation, r.UID = 2, old.UID })
	if wait := b.pass(routes(old), target("a", parent("edge", yes("of generation 1")))); wait != 0 {
		t.Errorf("a conflict is tried again by itself, in %v", wait)
	}
	if r := b.server.Requests(); len(r) != 1 || r[0].Code != http.StatusConflict {
		t.Fatalf("requests %v", r)
	}
	if p := b.route("a").Status.Parents; len(p) != 0 {
		t.Fatalf("a status of generation 1 was written over generation 2: %v", p)
	}
	b.pass(routes(next), target("a", parent("edge", yes("of generation 2"))))
	if c := b.route("a").Status.Parents[0].Conditions[0]; c.ObservedGeneration != 2 || c.Message != "of generation 2" {
		t.Errorf("condition %+v", c)
	}
	if n := b.metric("bulwark_status_writes_total", "conflict"); n != 1 {
		t.Errorf("counted %v conflicts", n)
	}
}

func TestJudgementOfAnotherGenerationIsLeft(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	r := b.putRoute("a", func(r *gwv1.HTTPRoute) { r.Generation = 2 })
	for _, generation := range []int64{1, 3} {
		want := target("a", parent("edge", yes("")))
		want.Generation = generation
		b.pass(routes(r), want)
	}
	unversioned := r.DeepCopy()
	unversioned.ResourceVersion = ""
	b.pass(routes(unversioned), target("a", parent("edge", yes(""))))
	if n := len(b.server.Requests()); n != 0 {
		t.Errorf("%d writes", n)
	}
}

func TestEntriesOfOthersAndOfOldParents(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	theirs := gwv1.RouteParentStatus{ParentRef: defaultRef(gwv1.ParentReference{Name: "x"}), ControllerName: "example.com/other"}
	r := b.putRoute("a", func(r *gwv1.HTTPRoute) {
		r.Status.Parents = []gwv1.RouteParentStatus{theirs, parent("left", yes(""))}
	})
	b.putRoute("b", func(r *gwv1.HTTPRoute) { r.Status.Parents = []gwv1.RouteParentStatus{theirs} })
	b.pass(routes(r, b.route("b"))) // no Gateway of ours is named any more
	if diff := cmp.Diff([]gwv1.RouteParentStatus{theirs}, b.route("a").Status.Parents); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(b.server.Requests()); n != 1 {
		t.Errorf("%d writes, want the one that removes ours", n)
	}
}

func TestDeletedObjectIsDropped(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	r := b.putRoute("a", nil)
	b.server.Remove(routePath("a"))
	if wait := b.pass(routes(r), target("a", parent("edge", yes("")))); wait != 0 {
		t.Errorf("tries again in %v", wait)
	}
	if n := b.log.count("level="); n != 0 {
		t.Errorf("logged: %s", b.log.text.String())
	}
}

func TestMissingPermissionIsToldOncePerKind(t *testing.T) {
	t.Parallel()
	var denied atomic.Bool
	b := newBench(t, func(c *Config) { c.Parallel = 1 })
	b.server.Intercept = func(r *http.Request) int {
		if denied.Load() && strings.Contains(r.URL.Path, "httproutes") {
			return http.StatusForbidden
		}
		return 0
	}
	denied.Store(true)
	r := b.putRoute("a", nil)
	b.server.Put(t, gwAPI+"/namespaces/shop/gateways/edge", &gwv1.Gateway{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "edge", Generation: 1}})
	var gw gwv1.Gateway
	b.server.Get(t, gwAPI+"/namespaces/shop/gateways/edge", &gw)
	snap := &cluster.Snapshot{HTTPRoutes: []*gwv1.HTTPRoute{r}, Gateways: []*gwv1.Gateway{&gw}}
	want := []Target{
		target("a", parent("edge", yes(""))),
		{Kind: "Gateway", Namespace: "shop", Name: "edge", Gateway: &gwv1.GatewayStatus{Conditions: []metav1.Condition{yes("")}}},
	}
	for range 3 {
		if wait := b.pass(snap, want...); wait <= 0 || wait > forbiddenRetry {
			t.Errorf("tries again in %v", wait)
		}
	}
	if n := writes(b.server.Requests(), http.MethodPatch); n != 2 {
		t.Errorf("%d writes, want the Gateway's and one refused", n)
	}
	b.clock.add(forbiddenRetry + time.Second)
	b.pass(snap, want...) // refused again, and not told again
	if n := b.log.count("patch httproutes/status in gateway.networking.k8s.io"); n != 1 {
		t.Errorf("the missing permission was told %d times:\n%s", n, b.log.text.String())
	}
	denied.Store(false)
	b.clock.add(forbiddenRetry + time.Second)
	if wait := b.pass(snap, want...); wait != 0 || len(b.route("a").Status.Parents) != 1 {
		t.Errorf("with the permission back: wait %v, status %v", wait, b.route("a").Status)
	}
}

func TestRefusedStatusIsNotRepeated(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.server.Intercept = func(*http.Request) int { return http.StatusUnprocessableEntity }
	r := b.putRoute("a", nil)
	for range 3 {
		b.pass(routes(r), target("a", parent("edge", yes("odd"))))
		b.clock.add(time.Minute)
	}
	if n := len(b.server.Requests()); n != 1 {
		t.Errorf("asked %d times for what is refused", n)
	}
	b.pass(routes(r), target("a", parent("edge", yes("other"))))
	if n := len(b.server.Requests()); n != 1 {
		t.Errorf("another status was asked for %d times, want once", n)
	}
}

func TestServerThatStoresSomethingElseIsLeftAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	b.server.Stored = func(_ string, o map[string]any) {
		status, _ := o["status"].(map[string]any)
		if parents, _ := status["parents"].([]any); len(parents) > 1 {
			status["parents"] = parents[:1]
		}
	}
	b.putRoute("a", nil)
	for range 4 {
		b.pass(routes(b.route("a")), target("a", parent("edge", yes("")), parent("side", yes(""))))
		b.clock.add(time.Minute)
	}
	if n := len(b.server.Requests()); n != 1 {
		t.Errorf("wrote %d times", n)
	}
}

func TestEditedStatusIsPutBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	want := target("a", parent("edge", no("not here")))
	b.pass(routes(b.putRoute("a", nil)), want)
	r := b.route("a")
	r.Status.Parents[0].Conditions[0].Status = metav1.ConditionTrue
	b.server.Put(t, routePath("a"), r)
	b.pass(routes(b.route("a")), want)
	if c := b.route("a").Status.Parents[0].Conditions[0]; c.Status != metav1.ConditionFalse {
		t.Errorf("condition %+v", c)
	}
}

func TestOutageIsSurvived(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	var down atomic.Bool
	down.Store(true)
	b.server.Intercept = func(*http.Request) int {
		if down.Load() {
			return http.StatusInternalServerError
		}
		return 0
	}
	var list []*gwv1.HTTPRoute
	var want []Target
	for _, n := range names("r", 200) {
		list = append(list, b.putRoute(n, nil))
		want = append(want, target(n, parent("edge", yes(""))))
	}
	last := time.Duration(0)
	for range 3 {
		wait := b.pass(routes(list...), want...)
		if wait < last || wait < minRetry || wait > maxRetry {
			t.Errorf("waits %v after %v", wait, last)
		}
		last = wait
	}
	if n := len(b.server.Requests()); n > 3*(maxFailures+DefaultParallel) {
		t.Errorf("%d requests to a server in trouble", n)
	}
	down.Store(false)
	if wait := b.pass(routes(list...), want...); wait != 0 {
		t.Errorf("waits %v with all well", wait)
	}
	if n := b.metric("bulwark_status_pending", ""); n != 0 {
		t.Errorf("%v pending", n)
	}
}

func TestRunTakesTheNewestAndKeepsToItsBounds(t *testing.T) {
	t.Parallel()
	const n, limit = 300, 8
	b := newBench(t, func(c *Config) { c.Now = time.Now })
	var busy, most atomic.Int64
	b.server.Intercept = func(*http.Request) int {
		now := busy.Add(1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		time.Sleep(3 * time.Millisecond)
		busy.Add(-1)
		return 0
	}
	var list []*gwv1.HTTPRoute
	for _, name := range names("r", n) {
		list = append(list, b.putRoute(name, nil))
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	until(t.Context(), t, "the Writer runs", b.w.running.Load)
	if err := b.w.Run(ctx); err == nil {
		t.Error("runs twice")
	}
	for _, text := range []string{"one", "two", "three", "last"} {
		var want []Target
		for _, r := range list {
			want = append(want, target(r.Name, parent("edge", yes(text))))
		}
		b.w.Update(routes(list...), want)
	}
	until(t.Context(), t, "all hold the last text", func() bool {
		for _, r := range list {
			p := b.route(r.Name).Status.Parents
			if len(p) != 1 || p[0].Conditions[0].Message != "last" {
				return false
			}
		}
		return true
	})
	cancel()
	wg.Wait()
	if got := most.Load(); got > limit || got < 2 {
		t.Errorf("%d writes at once, want some and at most %d", got, limit)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := Config{REST: newBench(t, nil).server.REST(), ControllerName: ours, Log: newBench(t, nil).w.cfg.Log, Now: time.Now}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*Config){
		"no REST": func(c *Config) { c.REST = nil }, "no name": func(c *Config) { c.ControllerName = "" },
		"no log": func(c *Config) { c.Log = nil }, "no clock": func(c *Config) { c.Now = nil },
		"negative": func(c *Config) { c.Parallel = -1 },
		"too many features": func(c *Config) {
			for _, n := range names("f", 65) {
				c.Features = append(c.Features, gwv1.FeatureName(n))
			}
		},
	} {
		c := good
		edit(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
