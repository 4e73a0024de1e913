package app

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect"
	"bulwark.dev/bulwark/internal/audit/ingest"
	"bulwark.dev/bulwark/internal/audit/ingest/redact"
	"bulwark.dev/bulwark/internal/audit/log"
)

// TestNotifyAway: an alert of a new trail, raised while the receiver was away, is told
// after a restart.
func TestNotifyAway(t *testing.T) {
	t.Parallel()
	tried, told := make(chan bool, 100), make(chan bool, 1)
	var here atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if here.Load() {
			told <- true
			return
		}
		tried <- true
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	to, err := (&notifyFlags{cloudEvents: server.URL}).receivers()
	if err != nil {
		t.Fatal(err)
	}
	f := &writerFlags{trailFolder: trailFolder{data: t.TempDir()}}
	for round := range 2 {
		tr, err := openTrail(t.Context(), &Env{Now: time.Now}, f, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- tr.notify(ctx, "cloudevents", to["cloudevents"], bulwark.SeverityMedium, slog.New(slog.DiscardHandler))
		}()
		if round == 0 {
			for at := placeFile(f.data + "/detect/told-cloudevents"); ; time.Sleep(time.Millisecond) {
				if _, err := os.Stat(string(at)); err == nil {
					break
				}
			}
			alert := detect.Alert{ID: "a", Rule: "a", Title: "a", Severity: bulwark.SeverityHigh, Time: time.Now(), Evidence: []uint64{1}}
			if _, err := tr.log.Append(ctx, []audit.Entry{{Event: alert.Event(time.Now())}}); err != nil {
				t.Fatal(err)
			}
			<-tried
			here.Store(true)
		} else {
			<-told
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := tr.close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestOpeningsKey: processes that start at the same time have the same key.
func TestOpeningsKey(t *testing.T) {
	t.Parallel()
	f := &writerFlags{trailFolder: trailFolder{data: t.TempDir()}}
	keys := make([]string, 16)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			key, err := f.openingsKey()
			if err != nil {
				t.Error(err)
			}
			keys[i] = string(key.Reveal())
		})
	}
	wg.Wait()
	if same := slices.Compact(keys); len(same) != 1 || len(same[0]) != log.KeySize {
		t.Errorf("%d keys", len(same))
	}
	left, err := filepath.Glob(filepath.Join(f.data, "keys", "*"))
	if err != nil || len(left) != 1 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// TestNotify: alerts that are severe enough are told in their order, once, also when
// the trail is closed and opened in between and the receiver is away for a while.
func TestNotify(t *testing.T) {
	t.Parallel()
	told := make(chan string, 10)
	away := 2
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var e struct{ Subject string }
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		if away > 0 {
			away--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		told <- e.Subject
	}))
	defer server.Close()
	env := &Env{Now: time.Now}
	f := &writerFlags{trailFolder: trailFolder{data: t.TempDir()}}
	to, err := (&notifyFlags{cloudEvents: server.URL}).receivers()
	if err != nil {
		t.Fatal(err)
	}
	alert := func(rule string, severity bulwark.Severity) audit.Entry {
		return audit.Entry{Event: detect.Alert{ID: rule, Rule: rule, Title: rule, Severity: severity, Time: time.Now(), Evidence: []uint64{1}}.Event(time.Now())}
	}
	run := func(entries []audit.Entry, want ...string) {
		tr, err := openTrail(t.Context(), env, f, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- tr.notify(ctx, "cloudevents", to["cloudevents"], bulwark.SeverityMedium, slog.New(slog.DiscardHandler))
		}()
		place := placeFile(f.data + "/detect/told-cloudevents")
		until := func(seq uint64) {
			for at := uint64(0); at < seq; time.Sleep(time.Millisecond) {
				if at, err = place.Load(); err != nil {
					t.Fatal(err)
				}
			}
		}
		until(1) // only what comes after the receiver is known is told the first time
		last := uint64(0)
		if len(entries) > 0 {
			first, err := tr.log.Append(ctx, entries)
			if err != nil {
				t.Fatal(err)
			}
			last = first + uint64(len(entries)) - 1
		}
		var got []string
		for range want {
			got = append(got, <-told)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		until(last) // what was told and not noted would be told again
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := tr.close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	redact := new(redact.Redactor)
	d := ingest.Decoder{Source: "test", Now: time.Now, Redact: redact.Redact}
	tr, err := openTrail(t.Context(), env, f, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	before, err := d.Decode([]byte(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":"get","requestURI":"/version"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.log.Append(t.Context(), append(before, alert("before", bulwark.SeverityCritical))); err != nil {
		t.Fatal(err)
	}
	if err := tr.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	run([]audit.Entry{alert("a", bulwark.SeverityHigh), alert("low", bulwark.SeverityLow), alert("b", bulwark.SeverityMedium)}, "a", "b")
	run([]audit.Entry{alert("c", bulwark.SeverityCritical)}, "c")
	run(nil)
	select {
	case again := <-told:
		t.Errorf("%s was told again", again)
	default:
	}
}
