package live

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

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
