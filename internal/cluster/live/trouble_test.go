package live

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/cluster"
	"bulwark.dev/bulwark/internal/cluster/live/livetest"
)

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
