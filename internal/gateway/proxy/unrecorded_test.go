package proxy

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"bulwark.dev/bulwark"
)

// While no event could be recorded nothing is let in, neither requests nor streams, and
// no backend hears of them; when that is over all goes on.
func TestUnable(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	table := streams(t, ca)
	asked := atomic.Int32{}
	plain := oneBackend(t, func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); _, _ = w.Write([]byte("hello")) })
	for name, with := range map[string]*fixture{"requests": {table: plain}, "streams": {table: table}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var unable atomic.Bool
			unable.Store(true)
			with.events = &memory{}
			port := freePort(t)
			for i := range with.table.Listeners {
				with.table.Listeners[i].Addresses, with.table.Listeners[i].Port = []string{"127.0.0.1"}, port
			}
			deps := testDeps()
			s, err := New(Config{
				Now: time.Now, Random: rand.Uint64, Log: slog.New(slog.DiscardHandler), Recorder: with.events, Filters: deps, Unable: unable.Load,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Shutdown(context.WithoutCancel(t.Context())); err != nil {
					t.Error(err)
				}
				deps.State.Close()
			})
			if problems, err := s.Apply(t.Context(), with.table); err != nil || len(problems) > 0 {
				t.Fatal(err, problems)
			}
			with.server, with.addr = s, fmt.Sprintf("127.0.0.1:%d", port)
			ask := func() (served bool) {
				if name == "streams" {
					got, err := with.greet(t, &tls.Config{RootCAs: ca.pool(), ServerName: "a.pass.example"})
					return err == nil && got != ""
				}
				conn, br := with.dial(t)
				resp, body := send(t, conn, br, http.MethodGet, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				if resp.StatusCode == http.StatusOK {
					return body == "hello"
				}
				if resp.StatusCode != http.StatusServiceUnavailable {
					t.Errorf("status %d", resp.StatusCode)
				}
				return false
			}
			if ask() || name == "requests" && asked.Load() > 0 {
				t.Error("it was let in although nobody would know")
			}
			with.events.await(t, func(e *bulwark.Event) bool {
				return !e.Decision.Allowed && e.Decision.Code == bulwark.CodeUnavailable && e.Decision.Reason == "events cannot be recorded"
			})
			unable.Store(false)
			if !ask() {
				t.Error("it is refused although it would be recorded")
			}
		})
	}
}
