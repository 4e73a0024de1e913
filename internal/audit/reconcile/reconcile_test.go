package reconcile_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/reconcile"
)

const proxy = "system:serviceaccount:bulwark-system:bulwark-access"

var start = time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)

func config() reconcile.Config {
	return reconcile.Config{Stamp: "bw-", Proxy: proxy, Direct: []string{"breakglass", "ci:*"}, Unrecorded: []string{"/healthz*", "/version"}, Grace: time.Minute, Most: 1000}
}

// story makes events with numbers of their own.
type story struct {
	seq    uint64
	events []*audit.Event
}

func (s *story) add(after time.Duration, e audit.Event) *story {
	s.seq++
	e.Seq, e.Received = s.seq, start.Add(after)
	s.events = append(s.events, &e)
	return s
}

func get(name string) audit.ObjectRef {
	return audit.ObjectRef{Resource: "secrets", Namespace: "shop", Name: name}
}

func access(id, user, name string) audit.Event {
	return audit.Event{Kind: audit.KindAccess, Source: "access", AuditID: id, Verb: "get", Object: get(name), User: audit.User{Username: user}}
}

func api(id, user, as, name string) audit.Event {
	e := audit.Event{
		Kind: audit.KindAPI, Source: "webhook/a", Stage: "ResponseComplete", AuditID: id, Verb: "get", Object: get(name), User: audit.User{Username: user},
		RequestURI: "/api/v1/namespaces/shop/secrets/" + name + "?x=y",
	}
	if as != "" {
		e.Impersonated = &audit.User{Username: as}
	}
	return e
}

func gateway(id, method, path, sent string) audit.Event {
	e := audit.Event{
		Kind: audit.KindGateway, Source: "file/events.jsonl", Stage: "ResponseComplete", AuditID: "request", Verb: method, RequestURI: path, User: audit.User{Username: "rita"},
		Status: audit.Status{Code: 200}, Annotations: map[string]string{"authorization.k8s.io/decision": "allow"}, More: []byte(`{"gateway":{"host":"k8s.example"}}`),
	}
	if id != "" {
		e.More = fmt.Appendf(nil, `{"gateway":{"auditId":%q,"host":"k8s.example","sentPath":%q}}`, id, sent)
	}
	return e
}

func run(t *testing.T, r *reconcile.Reconciler, events []*audit.Event) []string {
	t.Helper()
	var out []string
	for _, e := range events {
		r.Observe(e, func(f reconcile.Finding) { out = append(out, fmt.Sprint(f.Kind, " ", f.Actor, " ", f.Evidence)) })
		// A restart between any two events changes nothing.
		raw, err := r.State()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Restore(raw); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestReconcile(t *testing.T) {
	t.Parallel()
	refused := access("bw-1", "alice", "a")
	refused.Status.Reason = "Refused"
	received := api("bw-1", proxy, "alice", "a")
	received.Stage = "RequestReceived"
	lease := api("lease", "system:apiserver", "", "x")
	nobody := api("x", "", "", "a")
	nobody.Status.Code = 401
	asked := func(e audit.Event, after time.Duration) audit.Event {
		e.RequestReceived = start.Add(after)
		return e
	}
	refusedBy := func(e audit.Event) audit.Event {
		e.Annotations = map[string]string{"authorization.k8s.io/decision": "forbid"}
		return e
	}
	made := func(e audit.Event, name string) audit.Event { e.Verb, e.Object.Name = "create", name; return e }
	later := func(s *story) *story {
		return s.add(50*time.Second, lease).add(100*time.Second, lease).add(150*time.Second, lease)
	}
	tests := []struct {
		name string
		s    *story
		want []string
	}{
		{"both sides", later(new(story).add(0, access("bw-1", "alice", "a")).add(time.Second, received).add(time.Second, api("bw-1", proxy, "alice", "a"))), nil},
		{"the server first", later(new(story).add(0, api("bw-1", proxy, "alice", "a")).add(time.Second, access("bw-1", "alice", "a"))), nil},
		{"a created object's name is told by one side only", later(new(story).add(0, made(api("bw-1", proxy, "alice", ""), "new")).add(0, made(access("bw-1", "alice", ""), ""))), nil},
		{"refused by Bulwark", later(new(story).add(0, refused)), nil},
		{"suppressed", later(new(story).add(0, access("bw-1", "alice", "a"))), []string{"suppression alice [1]"}},
		{"around Bulwark", new(story).add(0, api("x", "alice", "", "a")), []string{"bypass alice [1]"}},
		{"around Bulwark as another", new(story).add(0, api("x", "alice", "root", "a")), []string{"bypass root [1]"}},
		{"may go directly", new(story).add(0, api("x", "breakglass", "", "a")).add(0, api("y", "ci:deploy", "", "a")).add(0, api("z", "system:node:n", "", "a")), nil},
		{"breakglass is a whole name", new(story).add(0, api("x", "breakglass2", "", "a")), []string{"bypass breakglass2 [1]"}},
		{"a stamp that was never given", later(new(story).add(0, api("bw-9", proxy, "alice", "a"))), []string{"forgery alice [1]"}},
		{"a stamp around Bulwark", later(new(story).add(0, access("bw-1", "alice", "a")).add(0, api("bw-1", "alice", "", "a"))), []string{"forgery alice [1 2]"}},
		{"Bulwark's user without a stamp", new(story).add(0, api("x", proxy, "alice", "a")), []string{"forgery alice [1]"}},
		{"another request", later(new(story).add(0, access("bw-1", "alice", "a")).add(0, api("bw-1", proxy, "alice", "b"))), []string{"forgery alice [1 2]"}},
		{"another user", later(new(story).add(0, access("bw-1", "alice", "a")).add(0, api("bw-1", proxy, "root", "a"))), []string{"forgery root [1 2]"}},
		{
			"a used stamp", later(new(story).add(0, access("bw-1", "alice", "a")).add(0, api("bw-1", proxy, "alice", "a")).add(time.Second, api("bw-1", proxy, "alice", "b"))),
			[]string{"reuse alice [2 3]"},
		},
		{
			"a used stamp for the same again", later(new(story).add(0, access("bw-1", "alice", "a")).add(0, api("bw-1", proxy, "alice", "a")).add(time.Second, asked(api("bw-1", proxy, "alice", "a"), time.Second))),
			[]string{"reuse alice [2 3]"},
		},
		{"the same record twice", later(new(story).add(0, access("bw-1", "alice", "a")).add(0, api("bw-1", proxy, "alice", "a")).add(time.Second, api("bw-1", proxy, "alice", "a"))), nil},
		{"a stamp long after", later(new(story).add(0, access("bw-1", "alice", "a")).add(0, api("bw-1", proxy, "alice", "a")).add(61*time.Second, api("bw-1", proxy, "alice", "a"))), []string{"forgery alice [3]"}},
		{"a clock that goes back", later(new(story).add(0, lease).add(-time.Hour, access("bw-1", "alice", "a")).add(-time.Hour, api("bw-1", proxy, "alice", "a"))), nil},
		{"suppressed after a clock went back", later(new(story).add(0, lease).add(-time.Hour, access("bw-1", "alice", "a"))), []string{"suppression alice [2]"}},
		{"nobody was let in", new(story).add(0, nobody), nil},
		{"through the gateway", later(new(story).add(0, gateway("bw-1", "get", "/api/v1/namespaces/shop/secrets/a", "")).add(0, api("bw-1", proxy, "", "a"))), nil},
		{"the gateway rewrote it", later(new(story).add(0, gateway("bw-1", "get", "/k8s/api", "/api/v1/namespaces/shop/secrets/a")).add(0, api("bw-1", proxy, "", "a"))), nil},
		{"the gateway suppressed", later(new(story).add(0, gateway("bw-1", "get", "/api/v1/namespaces/shop/secrets/a", ""))), []string{"suppression rita [1]"}},
		{"the gateway, another path", later(new(story).add(0, gateway("bw-1", "get", "/version2", "")).add(0, api("bw-1", proxy, "", "a"))), []string{"forgery " + proxy + " [1 2]"}},
		{"the gateway, another method", later(new(story).add(0, gateway("bw-1", "delete", "/api/v1/namespaces/shop/secrets/a", "")).add(0, api("bw-1", proxy, "", "a"))), []string{"forgery " + proxy + " [1 2]"}},
		{"the gateway did not stamp", later(new(story).add(0, gateway("", "get", "/x", ""))), nil},
		{"another's stamp", later(new(story).add(0, gateway("other-1", "get", "/x", ""))), nil},
		{"not recorded", later(new(story).add(0, gateway("bw-1", "get", "/healthz/etcd", "")).add(0, gateway("bw-2", "get", "/version", ""))), nil},
		{"the gateway gave up", later(new(story).add(0, refusedBy(gateway("bw-1", "get", "/x", "")))), nil},
		{"the gateway gave up, and the server answered", later(new(story).add(0, refusedBy(gateway("bw-1", "get", "/api/v1/namespaces/shop/secrets/a", ""))).add(0, api("bw-1", proxy, "", "a"))), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := reconcile.New(config())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, run(t, r, tt.s.events)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestBounded: what waits is bounded, and what is judged early is counted.
func TestBounded(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.Most = 10
	r, err := reconcile.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range 100 {
		e := access(fmt.Sprint("bw-", i), "alice", "a")
		e.Seq, e.Received = uint64(i+1), start
		r.Observe(&e, func(f reconcile.Finding) {
			if f.Kind == reconcile.Suppression {
				n++
			}
		})
	}
	if n != 90 || r.Early() != 90 {
		t.Errorf("%d told, %d early, want 90", n, r.Early())
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	if _, err := reconcile.New(reconcile.Config{}); err == nil {
		t.Error("the zero Config is taken")
	}
	r, err := reconcile.New(config())
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{"", "{}", `{"version":2}`, `{"version":1,"pairs":[null]}`, `{"version":1,"pairs":[{"id":"x"}]}`, `{"version":1,"pairs":[{"id":"x","server":{}},{"id":"x","server":{}}]}`} {
		if err := r.Restore([]byte(raw)); err == nil {
			t.Errorf("%q is taken", raw)
		}
	}
}
