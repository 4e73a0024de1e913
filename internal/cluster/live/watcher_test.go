package live

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/cluster/live/livetest"
)

// TestWatch follows what a user does, with both ways to begin a watch.
func TestWatch(t *testing.T) {
	for _, streaming := range []bool{false, true} {
		t.Run(fmt.Sprint("streaming ", streaming), func(t *testing.T) {
			server := livetest.Start(t)
			server.Stream(streaming)
			server.Apply(httpRoute("a", "a.example"))
			server.Apply(made("v1", "Namespace", "", "shop", nil))
			server.Apply(secret("s", "Opaque"))
			server.Apply(secret("release", "helm.sh/release.v1"))
			server.Apply(secret("token", "kubernetes.io/service-account-token"))
			server.Apply(made("v1", "Service", "shop", "svc", object{"spec": object{"ports": []object{{"port": 80}}}}))
			r := start(t, server)
			first := r.until("first", func(*cluster.Snapshot) bool { return true })
			if !readableAll(first) || first.Len() != 4 || hosts(first) != "a=[a.example]" || len(first.Secrets) != 1 {
				t.Fatalf("first: %d objects, %s, unreadable %v, absent %v", first.Len(), hosts(first), first.Unreadable, first.Absent)
			}
			if meta := first.HTTPRoutes[0]; meta.ManagedFields != nil || meta.UID == "" || meta.Kind != "HTTPRoute" || meta.APIVersion != gatewayV1 {
				t.Errorf("metadata %+v %+v", meta.TypeMeta, meta.ObjectMeta)
			}
			if svc := first.Services[0]; svc.Spec.Ports[0].Protocol != "TCP" || svc.Kind != "Service" || svc.APIVersion != "v1" {
				t.Errorf("service %+v", svc)
			}
			if r.Synced() != nil || r.Healthy() != nil {
				t.Errorf("synced: %v, healthy: %v", r.Synced(), r.Healthy())
			}

			server.Apply(httpRoute("b", "b.example"))
			server.Apply(httpRoute("a", "new.example"))
			second := r.until("b and a", func(s *cluster.Snapshot) bool { return hosts(s) == "a=[new.example] b=[b.example]" })
			if second.Digest() == first.Digest() || &second.Secrets[0] != &first.Secrets[0] {
				t.Error("digest or sharing is wrong")
			}
			withStatus := httpRoute("a", "new.example")
			withStatus["status"] = object{"parents": []object{{"controllerName": "bulwark.dev/gateway", "parentRef": object{"name": "g"}, "conditions": nil}}}
			server.Apply(withStatus)
			third := r.until("status", func(s *cluster.Snapshot) bool { return len(s.HTTPRoutes[0].Status.Parents) == 1 })
			if third.Digest() != second.Digest() || third.HTTPRoutes[1] != second.HTTPRoutes[1] {
				t.Error("a status changes the digest, or another object")
			}
			server.Delete("HTTPRoute", "shop", "a")
			r.until("deleted", func(s *cluster.Snapshot) bool { return hosts(s) == "b=[b.example]" })
			if got := server.Requests("list", "httproutes"); streaming == (got > 0) {
				t.Errorf("%d lists", got)
			}
			if a := server.Accepted("secrets"); !strings.HasPrefix(a, "application/vnd.kubernetes.protobuf") {
				t.Errorf("secrets are asked for as %q", a)
			}
		})
	}
}

// TestVersions: CRDs that are missing, old, new, and that come and go.
func TestVersions(t *testing.T) {
	server := livetest.Start(t)
	server.Serve("tlsroutes", "v1alpha2")
	server.Serve("backendtlspolicies", "v1alpha3")
	server.Serve("referencegrants", "v1beta1")
	server.Serve("gateways", "v1beta1", "v1alpha2")
	server.Serve("grpcroutes", "v2", "v3")
	server.Serve("listenersets")
	server.Serve("securitypolicies")
	server.Apply(made(gatewayV1, "TLSRoute", "shop", "tls", object{"spec": object{"hostnames": []string{"a.example"}}}))
	server.Apply(made(gatewayV1, "ReferenceGrant", "shop", "grant", nil))
	server.Apply(made(gatewayV1, "Gateway", "shop", "gw", nil))
	r := start(t, server)
	s := r.until("first", func(*cluster.Snapshot) bool { return true })
	if diff := cmp.Diff([]cluster.Unreadable{
		{Kind: "GRPCRoute", Reason: "the server has grpcroutes.gateway.networking.k8s.io as v2, v3 only; this version of Bulwark reads v1, v1alpha2"},
		{Kind: "SecurityPolicy", Reason: "the CRD securitypolicies.bulwark.dev is not installed"},
	}, s.Unreadable); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]cluster.Unreadable{
		{Kind: "ListenerSet", Reason: "the CRD listenersets.gateway.networking.k8s.io is not installed"},
	}, s.Absent); diff != "" {
		t.Error(diff)
	}
	if len(s.TLSRoutes) != 1 || s.TLSRoutes[0].APIVersion != gatewayV1 || len(s.ReferenceGrants) != 1 || len(s.Gateways) != 1 {
		t.Errorf("older versions are not read: %v", s)
	}
	server.Serve("securitypolicies", "v1alpha1")
	server.Serve("listenersets", "v1")
	server.Serve("grpcroutes", "v1")
	server.Apply(made("bulwark.dev/v1alpha1", "SecurityPolicy", "shop", "p", object{"spec": object{
		"targetRefs": []object{{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "a"}}, "novel": object{},
	}}))
	s = r.until("CRDs installed", func(s *cluster.Snapshot) bool { return readableAll(s) && len(s.SecurityPolicies) == 1 })
	if got := s.SecurityPolicies[0].Annotations["bulwark.dev/unread"]; got != "spec.novel" {
		t.Errorf("a policy with a field of the future says %q", got)
	}
	// An upgrade moves the kind to another version while it is being watched.
	server.Serve("tlsroutes", "v1")
	server.Cut()
	server.Apply(made(gatewayV1, "TLSRoute", "shop", "more", object{"spec": object{}}))
	r.until("moved to v1", func(s *cluster.Snapshot) bool { return len(s.TLSRoutes) == 2 && readableAll(s) })
	server.Serve("securitypolicies")
	server.Cut()
	r.until("CRD removed", func(s *cluster.Snapshot) bool { return len(s.Unreadable) == 1 && len(s.SecurityPolicies) == 0 })
}

// TestSlowList: nothing is given before everything is known, and a list in pages
// is one list.
func TestSlowList(t *testing.T) {
	server := livetest.Start(t)
	server.Page(2)
	for i := range 9 {
		server.Apply(httpRoute(fmt.Sprint("r", i), "a.example"))
	}
	release := server.Hold("httproutes")
	defer release()
	r := start(t, server)
	r.eventually("only routes are missing", func() bool {
		err := r.Synced()
		return server.Requests("list", "httproutes") > 0 && err != nil && !strings.Contains(err.Error(), "\n") && strings.Contains(err.Error(), "httproutes: not read yet")
	})
	if r.last() != nil {
		t.Error("a Snapshot was given before everything was read")
	}
	release()
	if s := r.until("first", func(*cluster.Snapshot) bool { return true }); len(s.HTTPRoutes) != 9 {
		t.Errorf("%d routes, want 9", len(s.HTTPRoutes))
	}
	if n := server.Requests("list", "httproutes"); n != 5 {
		t.Errorf("%d requests for 9 routes in pages of 2", n)
	}
}

// TestUndecodable: an object of no known form does not stop the others of its
// kind from being followed, and the kind is not given out without it.
func TestUndecodable(t *testing.T) {
	server := livetest.Start(t)
	server.Apply(httpRoute("a", "a.example"))
	bad := httpRoute("bad", "")
	bad["spec"] = object{"hostnames": "not a list"}
	server.Apply(bad)
	r := start(t, server)
	s := r.until("first", func(*cluster.Snapshot) bool { return true })
	if len(s.Unreadable) != 1 || !strings.Contains(s.Unreadable[0].Reason, "HTTPRoute shop/bad") || len(s.HTTPRoutes) > 0 {
		t.Errorf("unreadable %v, routes %s", s.Unreadable, hosts(s))
	}
	server.Apply(httpRoute("bad", "good.example"))
	r.until("mended", func(s *cluster.Snapshot) bool {
		return readableAll(s) && hosts(s) == "a=[a.example] bad=[good.example]"
	})
	server.Apply(bad)
	r.until("broken", func(s *cluster.Snapshot) bool { return len(s.Unreadable) == 1 && len(s.HTTPRoutes) == 0 })
	server.Delete("HTTPRoute", "shop", "bad")
	r.until("gone", func(s *cluster.Snapshot) bool { return readableAll(s) && hosts(s) == "a=[a.example]" })
}

// TestBurst: many changes make few Snapshots, and the last one has them all.
func TestBurst(t *testing.T) {
	const n = 500
	server := livetest.Start(t)
	server.Stream(true)
	r := startWith(t, Config{
		REST: server.Config(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now, Debounce: 50 * time.Millisecond,
	})
	r.until("first", readableAll)
	for i := range n {
		server.Apply(httpRoute(fmt.Sprint("r", i), "a.example"))
	}
	r.until("all routes", func(s *cluster.Snapshot) bool { return len(s.HTTPRoutes) == n })
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) >= n {
		t.Errorf("%d Snapshots for %d changes", len(r.all), n)
	}
}

// TestEnds: nothing is left running when the context ends, whatever the server
// does at that time.
func TestEnds(t *testing.T) {
	troubles := map[string]func(*livetest.Server){
		"none":    func(*livetest.Server) {},
		"stopped": (*livetest.Server).Stop,
		"busy": func(s *livetest.Server) {
			for _, k := range cluster.Kinds() {
				s.Answer("list", k.Resource, http.StatusTooManyRequests)
				s.Answer("watch", k.Resource, http.StatusTooManyRequests)
			}
			s.Cut()
		},
		"denied": func(s *livetest.Server) {
			for _, k := range cluster.Kinds() {
				s.Answer("list", k.Resource, http.StatusForbidden)
				s.Answer("watch", k.Resource, http.StatusForbidden)
			}
			s.Cut()
		},
	}
	for name, trouble := range troubles {
		t.Run(name, func(t *testing.T) {
			server := livetest.Start(t)
			r := start(t, server)
			r.until("first", readableAll)
			trouble(server)
			r.stop()
			<-r.ended
			r.eventually("no goroutine of a client is left", func() bool {
				buf := make([]byte, 1<<20)
				stacks := string(buf[:runtime.Stack(buf, true)])
				return !strings.Contains(stacks, "cache.(*Reflector)") && !strings.Contains(stacks, "live.(*source)") && !strings.Contains(stacks, "watch.(*StreamWatcher)")
			})
		})
	}
	t.Run("before anything was read", func(t *testing.T) {
		server := livetest.Start(t)
		server.Stop()
		r := start(t, server)
		r.eventually("refused", func() bool {
			err := r.Synced()
			return err != nil && strings.Contains(err.Error(), "connection refused")
		})
		r.stop()
		<-r.ended
		if r.last() != nil || r.Healthy() == nil {
			t.Error("there is a Snapshot of a server that never answered")
		}
	})
}

func TestMetrics(t *testing.T) {
	server := livetest.Start(t)
	server.Answer("list", "secrets", http.StatusForbidden)
	server.Apply(httpRoute("a", "a.example"))
	r := start(t, server)
	r.until("first", func(*cluster.Snapshot) bool { return true })
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(r.Watcher); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()+" "+m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"bulwark_cluster_objects HTTPRoute": 1, "bulwark_cluster_objects Secret": 0, "bulwark_cluster_unreadable Secret": 1,
		"bulwark_cluster_unreadable HTTPRoute": 0, "bulwark_cluster_watching HTTPRoute": 1, "bulwark_cluster_watching Secret": 0,
		"bulwark_cluster_watch_restarts_total HTTPRoute": 0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v, want %v", name, v, want)
		}
	}
	if got["bulwark_cluster_watch_restarts_total Secret"] < 3 {
		t.Errorf("restarts: %v", got)
	}
	if _, ok := got["bulwark_cluster_last_event_seconds HTTPRoute"]; !ok {
		t.Error("no time of the last event")
	}
}

func TestConfig(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for name, cfg := range map[string]Config{
		"nothing": {}, "no connection": {Log: log, Now: time.Now},
		"no clock": {REST: livetest.Start(t).Config(), Log: log}, "no log": {REST: livetest.Start(t).Config(), Now: time.Now},
	} {
		if err := Watch(t.Context(), cfg, func(*cluster.Snapshot) {}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
