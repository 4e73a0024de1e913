package forward

import (
	"bytes"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"bulwark.dev/bulwark/internal/audit"
)

// A trail that takes only small batches gets small ones; an event that it never takes
// is given up, told and counted, and what is behind it arrives.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	for name, status := range map[string]int{"too large": http.StatusRequestEntityTooLarge, "malformed": http.StatusBadRequest} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTrail(t)
			tr.answer = func(rw http.ResponseWriter, r *http.Request) bool {
				body, err := io.ReadAll(r.Body)
				if err != nil || len(body) > 2000 || bytes.Contains(body, []byte("poison")) {
					http.Error(rw, "no", status)
					return true
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
				return false
			}
			cfg := tr.config(t.TempDir())
			s := mustNew(t, cfg)
			for i, id := range ids("e", 60) {
				if i == 30 {
					id = "poison"
				}
				e := event(id)
				if id == "poison" && status == http.StatusRequestEntityTooLarge {
					e.Path = strings.Repeat("x", anyTakes)
				}
				s.Record(e)
			}
			eventually(t, "all is spooled", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.queue)+len(s.stuck) == 0 })
			tr.start(t)
			eventually(t, "nothing waits", func() bool { return s.emptied() && len(tr.notices("Refused")) == 1 })
			mustClose(t, s)
			if got := tr.requests(); len(got) != 59 || got["poison"] != 0 || s.counts.dropped.Load() != 1 {
				t.Errorf("%d events are in the trail, %d dropped", len(got), s.counts.dropped.Load())
			}
			if told, _, _ := missing(t, tr.notices("Refused")[0]); told != 1 {
				t.Errorf("the trail was told of %d", told)
			}
		})
	}
}

// An event that no frame holds is counted and told, and holds nobody up.
func TestOversized(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	tr.start(t)
	s := mustNew(t, tr.config(t.TempDir()))
	s.Record(event("before"))
	huge := event("huge")
	huge.Path = strings.Repeat("x", maxPayload)
	s.Record(huge)
	s.Record(event("after"))
	eventually(t, "nothing waits", func() bool { return s.emptied() && len(tr.notices("NoRoom")) == 1 })
	mustClose(t, s)
	if got := tr.requests(); len(got) != 2 || got["huge"] > 0 || s.counts.dropped.Load() != 1 {
		t.Errorf("%v, %d dropped", got, s.counts.dropped.Load())
	}
}

// Log lines of the level and above go into the trail with their fields, and all go on
// to where they went.
func TestHandler(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	tr.start(t)
	s := mustNew(t, tr.config(t.TempDir()))
	var text bytes.Buffer
	log := slog.New(s.Handler(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn}), slog.LevelInfo))
	log.Debug("unseen")
	log.Info("admission", slog.String("user", "ann\n\"x"), slog.Any("controls", []string{"a", "b"}))
	log.With(slog.String("part", "of it")).WithGroup("g").Warn("grouped", slog.Int("n", 1))
	log.Error("bare")
	log.Info("long", slog.String("x", strings.Repeat("x", maxFields)))
	eventually(t, "nothing waits", s.emptied)
	mustClose(t, s)
	var got []string
	for _, e := range tr.all() {
		more := string(e.More)
		got = append(got, strings.Join([]string{string(e.Kind), e.Verb, e.Status.Status, e.Status.Reason, e.Status.Message, more[strings.Index(more, "/")+1:]}, " "))
	}
	run, _, _ := strings.Cut(strings.TrimPrefix(s.prefix, "pod-1/"), "/")
	want := []string{
		`system log Success INFO admission ` + run + `/1","fields":{"controls":["a","b"],"user":"ann\n\"x"},"part":"gateway"}}`,
		`system log Success WARN grouped ` + run + `/2","fields":{"g":{"n":1},"part":"of it"},"part":"gateway"}}`,
		`system log Failure ERROR bare ` + run + `/3","part":"gateway"}}`,
		`system log Success INFO long ` + run + `/4","part":"gateway"}}`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if lines := strings.Count(text.String(), "\n"); lines != 2 || tr.all()[0].Kind != audit.KindSystem {
		t.Errorf("%d lines went on: %s", lines, text.String())
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	tr.start(t)
	cfg := tr.config(t.TempDir())
	at := time.Unix(1_800_000_000, 0)
	cfg.Now = func() time.Time { return at }
	s := mustNew(t, cfg)
	for _, id := range ids("e", 3) {
		s.Record(event(id))
	}
	eventually(t, "nothing waits", s.emptied)
	eventually(t, "it is counted", func() bool { return s.counts.acknowledged.Load() > 0 && s.counts.sent.Load() == 3 })
	want := `
# HELP bulwark_audit_forward_dropped_events_total Events that were dropped: no room, or refused by the trail.
# TYPE bulwark_audit_forward_dropped_events_total counter
bulwark_audit_forward_dropped_events_total 0
# HELP bulwark_audit_forward_last_acknowledged_timestamp_seconds When the trail acknowledged something last, in Unix time; 0: never since the start.
# TYPE bulwark_audit_forward_last_acknowledged_timestamp_seconds gauge
bulwark_audit_forward_last_acknowledged_timestamp_seconds 1.8e+09
# HELP bulwark_audit_forward_sent_events_total Events that the trail acknowledged.
# TYPE bulwark_audit_forward_sent_events_total counter
bulwark_audit_forward_sent_events_total 3
# HELP bulwark_audit_forward_spooled_bytes Events on disk that the trail has not acknowledged.
# TYPE bulwark_audit_forward_spooled_bytes gauge
bulwark_audit_forward_spooled_bytes 0
`
	const name = "bulwark_audit_forward_"
	if err := testutil.CollectAndCompare(s, strings.NewReader(want), name+"dropped_events_total", name+"last_acknowledged_timestamp_seconds", name+"sent_events_total", name+"spooled_bytes"); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.CollectAndLint(s); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	mustClose(t, s)
}

func TestDelay(t *testing.T) {
	t.Parallel()
	c := Config{Pause: 500 * time.Millisecond, LongPause: 30 * time.Second, Random: mrand.Uint64}
	for failures, most := range map[int]time.Duration{1: 500 * time.Millisecond, 2: time.Second, 6: 16 * time.Second, 7: 30 * time.Second, 64: 30 * time.Second, 1 << 30: 30 * time.Second} {
		seen := map[time.Duration]bool{}
		for range 200 {
			d := c.delay(failures, 0)
			if d < most/2 || d > most {
				t.Fatalf("%s after %d failures, want up to %s", d, failures, most)
			}
			seen[d] = true
		}
		if len(seen) < 100 {
			t.Errorf("only %d delays after %d failures: senders would come back at once", len(seen), failures)
		}
	}
	if d := c.delay(1, 7*time.Second); d != 7*time.Second {
		t.Errorf("the trail asked for 7 seconds and gets %s", d)
	}
	if d := c.delay(1, time.Hour); d != 30*time.Second {
		t.Errorf("the trail asked for an hour and gets %s", d)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := (&trail{files: files{token: "t"}, address: "127.0.0.1:1"}).config(t.TempDir())
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"http":           func(c *Config) { c.URL = "http://x/audit/v1" },
		"no URL":         func(c *Config) { c.URL = "" },
		"a password":     func(c *Config) { c.URL = "https://a:b@x/audit/v1" },
		"a query":        func(c *Config) { c.URL = "https://x/audit/v1?a" },
		"nobody":         func(c *Config) { c.Credentials = Credentials{} },
		"both":           func(c *Config) { c.Credentials.CertFile, c.Credentials.KeyFile = "a", "b" },
		"no key":         func(c *Config) { c.Credentials = Credentials{CertFile: "a"} },
		"no part":        func(c *Config) { c.Part = "" },
		"no folder":      func(c *Config) { c.Dir = "" },
		"a small spool":  func(c *Config) { c.SpoolBytes = 1 },
		"a small queue":  func(c *Config) { c.QueueBytes = 1 },
		"negative pause": func(c *Config) { c.Pause = -1 },
		"no clock":       func(c *Config) { c.Now = nil },
		"a file":         func(c *Config) { c.Dir = "forward.go" },
	} {
		c := good
		change(&c)
		if s, err := New(c); err == nil {
			t.Errorf("%s: taken", name)
			_ = s.Close(t.Context())
		}
	}
}
