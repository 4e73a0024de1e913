package live

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/cluster/live/livetest"
)

// run is a Watcher at work on a server.
type run struct {
	*Watcher
	t *testing.T

	mu    sync.Mutex
	all   []*cluster.Snapshot
	stop  context.CancelFunc
	ended chan struct{}
}

func start(t *testing.T, server *livetest.Server) *run {
	t.Helper()
	return startWith(t, Config{
		REST: server.Config(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now,
		Debounce: 2 * time.Millisecond, Confirm: 30 * time.Millisecond,
	})
}

func startWith(t *testing.T, cfg Config) *run {
	t.Helper()
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range w.sources {
		s.wait.first, s.wait.lost, s.wait.denied = 5*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &run{Watcher: w, t: t, stop: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		if err := w.Run(ctx, r.take); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-r.ended
	})
	return r
}

func (r *run) take(s *cluster.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, s)
}

// last gives the Snapshot in force, or nil.
func (r *run) last() *cluster.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return nil
	}
	return r.all[len(r.all)-1]
}

// until waits for a Snapshot.
func (r *run) until(what string, ok func(*cluster.Snapshot) bool) *cluster.Snapshot {
	r.t.Helper()
	for {
		if s := r.last(); s != nil && ok(s) {
			return s
		}
		r.wait(what)
	}
}

// eventually waits for anything.
func (r *run) eventually(what string, ok func() bool) {
	r.t.Helper()
	for !ok() {
		r.wait(what)
	}
}

func (r *run) wait(what string) {
	r.t.Helper()
	select {
	case <-r.t.Context().Done():
		r.t.Fatalf("never: %s; synced: %v; healthy: %v", what, r.Synced(), r.Healthy())
	case <-time.After(time.Millisecond):
	}
}

type object = map[string]any

func made(apiVersion, kind, namespace, name string, more object) object {
	meta := object{"name": name}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	o := object{"apiVersion": apiVersion, "kind": kind, "metadata": meta}
	maps.Copy(o, more)
	return o
}

const gatewayV1 = "gateway.networking.k8s.io/v1"

func httpRoute(name, host string) object {
	return made(gatewayV1, "HTTPRoute", "shop", name, object{"spec": object{"hostnames": []string{host}}})
}

func secret(name, kind string) object {
	return made("v1", "Secret", "shop", name, object{"type": kind, "data": object{"a": "Yg=="}})
}

// hosts gives "name=hostname" of each route.
func hosts(s *cluster.Snapshot) string {
	var out []string
	for _, r := range s.HTTPRoutes {
		out = append(out, fmt.Sprintf("%s=%s", r.Name, r.Spec.Hostnames))
	}
	return strings.Join(out, " ")
}

func readableAll(s *cluster.Snapshot) bool { return len(s.Unreadable)+len(s.Absent) == 0 }

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

// TestTrouble cuts, forgets, stops and slows the server: what was read stays,
// and what happened meanwhile arrives.
func TestTrouble(t *testing.T) {
	nothing := func(*livetest.Server) {}
	tests := []struct {
		name    string
		trouble func(*livetest.Server, *run)
		end     func(*livetest.Server)
	}{
		{"watches cut", func(s *livetest.Server, _ *run) { s.Cut() }, nothing},
		{"history forgotten", func(s *livetest.Server, _ *run) { s.Stop() }, func(s *livetest.Server) {
			s.Forget()
			s.Resume()
		}},
		{"server gone", gone, (*livetest.Server).Resume},
		{"server overloaded", troubled(http.StatusTooManyRequests), relieved},
		{"server starting", troubled(http.StatusServiceUnavailable), relieved},
		{"server broken", troubled(http.StatusInternalServerError), relieved},
		{"credential expired", troubled(http.StatusUnauthorized), relieved},
	}
	for _, streaming := range []bool{false, true} {
		for _, tt := range tests {
			t.Run(fmt.Sprint(tt.name, ", streaming ", streaming), func(t *testing.T) {
				t.Parallel()
				server := livetest.Start(t)
				server.Stream(streaming)
				server.Apply(httpRoute("a", "a.example"))
				server.Apply(httpRoute("b", "b.example"))
				r := start(t, server)
				before := r.until("first", readableAll)
				tt.trouble(server, r)
				if s := r.last(); hosts(s) != "a=[a.example] b=[b.example]" || !readableAll(s) {
					t.Errorf("in trouble: %s, unreadable %v", hosts(s), s.Unreadable)
				}
				server.Apply(httpRoute("c", "c.example"))
				server.Delete("HTTPRoute", "shop", "a")
				tt.end(server)
				after := r.until("what happened meanwhile", func(s *cluster.Snapshot) bool { return hosts(s) == "b=[b.example] c=[c.example]" })
				if after.HTTPRoutes[0] != before.HTTPRoutes[1] {
					t.Error("an object that did not change is another pointer")
				}
				r.eventually("healthy", func() bool { return r.Healthy() == nil })
				server.Apply(httpRoute("d", "d.example"))
				r.until("what happens after", func(s *cluster.Snapshot) bool { return len(s.HTTPRoutes) == 3 })
				// Nothing in between was half of anything.
				r.mu.Lock()
				defer r.mu.Unlock()
				for _, s := range r.all {
					if len(s.HTTPRoutes) < 2 || len(s.Unreadable) > 0 {
						t.Errorf("a Snapshot showed %q, unreadable %v", hosts(s), s.Unreadable)
					}
				}
			})
		}
	}
}

// gone stops the server until every kind noticed.
func gone(s *livetest.Server, r *run) {
	s.Stop()
	r.eventually("every kind sick", func() bool {
		err := r.Healthy()
		return err != nil && strings.Contains(err.Error(), fmt.Sprintf("and %d more kinds", len(cluster.Kinds())-3))
	})
	if err := r.Synced(); err != nil {
		r.t.Errorf("a Watcher that was synced is no more: %v", err)
	}
}

// troubled makes the server answer with a status until that was noticed.
func troubled(status int) func(*livetest.Server, *run) {
	return func(s *livetest.Server, r *run) {
		for _, verb := range []string{"list", "watch"} {
			s.Answer(verb, "httproutes", status)
		}
		before := s.Requests("watch", "httproutes")
		s.Cut()
		r.eventually("asked in vain", func() bool {
			// The client itself obeys a 429 for a while before it gives up.
			return s.Requests("watch", "httproutes") > before && (r.Healthy() != nil || status == http.StatusTooManyRequests)
		})
	}
}

func relieved(s *livetest.Server) {
	for _, verb := range []string{"list", "watch"} {
		s.Answer(verb, "httproutes", 0)
	}
}

// TestPermissions takes permissions away and gives them.
func TestPermissions(t *testing.T) {
	const (
		noList  = `no permission to list secrets (RBAC verb list, resource secrets, apiGroup "")`
		noWatch = `no permission to watch secrets (RBAC verb watch, resource secrets, apiGroup "")`
		neither = `no permission to list and watch secrets (RBAC verbs list and watch, resource secrets, apiGroup "")`
	)
	tests := []struct {
		name      string
		streaming bool
		verbs     []string
		want      string
	}{
		{"list", false, []string{"list"}, noList},
		{"watch", false, []string{"watch"}, noWatch},
		{"both", false, []string{"list", "watch"}, neither},
		{"watch, streaming", true, []string{"watch"}, noWatch},
		{"both, streaming", true, []string{"list", "watch"}, neither},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := livetest.Start(t)
			server.Stream(tt.streaming)
			server.Apply(secret("s", "Opaque"))
			server.Apply(httpRoute("a", "a.example"))
			for _, v := range tt.verbs {
				server.Answer(v, "secrets", http.StatusForbidden)
			}
			r := start(t, server)
			denied := func(s *cluster.Snapshot) bool {
				if len(s.Unreadable) == 0 {
					return false
				}
				if diff := cmp.Diff([]cluster.Unreadable{{Kind: "Secret", Reason: tt.want}}, s.Unreadable); diff != "" || len(s.Secrets) > 0 {
					t.Fatalf("%d secrets, unreadable:\n%s", len(s.Secrets), diff)
				}
				return true
			}
			if first := r.until("first", func(*cluster.Snapshot) bool { return true }); !denied(first) || len(first.HTTPRoutes) != 1 {
				t.Error("the first Snapshot came before it was known what may be read")
			}
			if err := r.Healthy(); err != nil {
				t.Errorf("a missing permission makes it unhealthy: %v", err)
			}
			for _, v := range tt.verbs {
				server.Answer(v, "secrets", 0)
			}
			r.until("granted", func(s *cluster.Snapshot) bool { return readableAll(s) && len(s.Secrets) == 1 })
			for _, v := range tt.verbs {
				server.Answer(v, "secrets", http.StatusForbidden)
			}
			server.Cut()
			r.until("revoked", denied)
			for _, v := range tt.verbs {
				server.Answer(v, "secrets", 0)
			}
			r.until("granted again", func(s *cluster.Snapshot) bool { return readableAll(s) && len(s.Secrets) == 1 })
		})
	}
}

// TestShortRefusal: an API server that starts refuses everything for a moment,
// and nothing may be dropped for that.
func TestShortRefusal(t *testing.T) {
	server := livetest.Start(t)
	server.Apply(secret("s", "Opaque"))
	r := startWith(t, Config{
		REST: server.Config(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: time.Now,
		Debounce: 2 * time.Millisecond, Confirm: time.Hour,
	})
	r.until("first", readableAll)
	server.Answer("list", "secrets", http.StatusForbidden)
	server.Answer("watch", "secrets", http.StatusForbidden)
	server.Cut()
	r.eventually("refused", func() bool { return server.Requests("list", "secrets") >= 3 })
	server.Answer("list", "secrets", 0)
	server.Answer("watch", "secrets", 0)
	server.Apply(secret("t", "Opaque"))
	r.until("both secrets", func(s *cluster.Snapshot) bool { return len(s.Secrets) == 2 })
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.all {
		if !readableAll(s) || len(s.Secrets) == 0 {
			t.Errorf("for a moment there were %d secrets, unreadable %v", len(s.Secrets), s.Unreadable)
		}
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
