package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/gateway/ir"
)

// TestStamp: a request to an API server gets an audit id of the gateway's own, whatever
// the client says, is sent once, and its event tells the id. Other backends get none.
func TestStamp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		servers []string
		want    string
	}{
		{"an API server", []string{"ns/other:1", "ns/svc:80"}, `^bw-[0-9a-f]{32}$`},
		{"another backend", []string{"ns/other:1"}, `^$`},
		{"no API server", nil, `^$`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			ids := make(chan []string, 10)
			table := oneBackend(t, func(w http.ResponseWriter, r *http.Request) {
				asked.Add(1)
				ids <- append(r.Header["Audit-Id"], r.Header["Audit_id"]...)
				w.WriteHeader(http.StatusServiceUnavailable)
			})
			table.Rules[0].Retry = &ir.Retry{Attempts: 3, Codes: []int{503}}
			events := &memory{}
			s, err := New(Config{
				Now: time.Now, Random: rand.Uint64, Log: slog.New(slog.DiscardHandler), Recorder: events, Filters: testDeps(), APIServers: tt.servers, Stamp: "bw-",
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Shutdown(context.WithoutCancel(t.Context())) })
			port := freePort(t)
			table.Listeners[0].Addresses, table.Listeners[0].Port = []string{"127.0.0.1"}, port
			f := &fixture{addr: fmt.Sprintf("127.0.0.1:%d", port)}
			if problems, err := s.Apply(t.Context(), table); err != nil || len(problems) > 0 {
				t.Fatal(err, problems)
			}
			c, br := f.dial(t)
			send(t, c, br, "GET", "GET /api/v1/secrets?x=y HTTP/1.1\r\nHost: a\r\nAudit-ID: bw-forged\r\nAUDIT_ID: bw-forged\r\nConnection: close\r\n\r\n")
			got := ""
			if sent := <-ids; len(sent) > 0 {
				got = sent[0]
			}
			e := events.last(t)
			if !regexp.MustCompile(tt.want).MatchString(got) || e.AuditID != got || e.RequestID == got {
				t.Errorf("the backend got %q, the event tells %q; want %s", got, e.AuditID, tt.want)
			}
			if stamped := got != ""; stamped && asked.Load() != 1 {
				t.Errorf("asked %d times under one stamp", asked.Load())
			}
		})
	}
}
