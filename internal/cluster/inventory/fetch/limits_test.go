package fetch

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// Whatever a server says of when to come again, it is asked a bounded number of times
// with bounded pauses.
func TestOddRetryAfter(t *testing.T) {
	t.Parallel()
	for after, requests := range map[string]int{
		"": attempts, "0": attempts, "-5": attempts, "-99999999999999999999": attempts, "99999999999999999999999": attempts, "1e9": attempts,
		"Wed, 21 Oct 2099 07:28:00 GMT": attempts, "soon": attempts, "1": busyAttempts, "9223372036854775807": busyAttempts, "86400": busyAttempts,
	} {
		s := newServer(t)
		s.hostile["/api/v1/pods"] = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", after)
			refusal(503, "busy")(w, r)
		}
		got := s.snapshot(t, s.options()).Unread("", "Pod", "")
		asked := 0
		for _, a := range s.asked {
			if strings.Contains(a, "/api/v1/pods") {
				asked++
			}
		}
		if !strings.Contains(got, "503") || asked != requests {
			t.Errorf("%q: asked %d times, want %d; missing because %q", after, asked, requests, got)
		}
		for _, d := range s.waited {
			if d <= 0 || d > maxPause {
				t.Errorf("%q: a pause of %s", after, d)
			}
		}
	}
}

// When the time is over, the rest is unreadable and nothing more is asked.
func TestLate(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	opt := s.options().withDefaults()
	c, err := newClient(s.config(), &opt)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{client: c, opt: &opt}
	kinds, err := r.discover(t.Context())
	if err != nil || len(kinds) != 6 {
		t.Fatalf("%d kinds, %v", len(kinds), err)
	}
	asked := len(s.asked)
	c.late.Store(true)
	if err := r.lists(t.Context(), kinds); err != nil {
		t.Fatal(err)
	}
	if len(r.unreadable) != len(kinds) || len(r.objects) > 0 || len(s.asked) != asked {
		t.Errorf("%d of %d kinds are unreadable, %d objects, %d more requests", len(r.unreadable), len(kinds), len(r.objects), len(s.asked)-asked)
	}
	if opt.Total <= 0 {
		t.Error("there is no end by default")
	}
	over := s.options()
	over.Total = time.Nanosecond
	s.hostile["/version"] = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	over.Timeout = 50 * time.Millisecond
	if _, err := Snapshot(t.Context(), s.config(), over); !errors.Is(err, errLate) {
		t.Errorf("error %v, want that it took too long", err)
	}
}

// The password of an address, and a token, stand in no error.
func TestErrorsHaveNoPassword(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	with := strings.Replace(gone.URL, "://", "://shop:hunter2@", 1)
	for _, host := range []string{with, with + "x", "https://shop:hunter2@[::1", "https://shop:hunter2@a b/", "shop:hunter2@%zz"} {
		_, err := Snapshot(t.Context(), &rest.Config{Host: host, BearerToken: "hunter2"}, newServer(t).options())
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", host, err)
		}
	}
}
