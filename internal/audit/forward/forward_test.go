package forward

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// The trail is killed and comes back under load: in the end each event is there, in
// order, and nothing was dropped.
func TestTrailKilledUnderLoad(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	tr.start(t)
	cfg := tr.config(t.TempDir())
	cfg.BatchEvents = 100
	s := mustNew(t, cfg)
	const each, workers = 500, 4
	var work sync.WaitGroup
	for w := range workers {
		work.Go(func() {
			for i, id := range ids(fmt.Sprint(w), each) {
				s.Record(event(id))
				if i%50 == 0 {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	for range 4 {
		time.Sleep(20 * time.Millisecond)
		tr.kill(t)
		time.Sleep(20 * time.Millisecond)
		tr.start(t)
	}
	work.Wait()
	eventually(t, "nothing waits", s.emptied)
	mustClose(t, s)
	got := tr.requests()
	if len(got) != each*workers {
		t.Errorf("%d of %d events are in the trail", len(got), each*workers)
	}
	events, again := tr.ordered(t)
	if events != each*workers || s.counts.dropped.Load() != 0 {
		t.Errorf("%d events in order, %d dropped", events, s.counts.dropped.Load())
	}
	if e := tr.all()[0]; e.Source != "webhook/gateway" || e.Kind != audit.KindGateway {
		t.Errorf("the event is of kind %s from %s", e.Kind, e.Source)
	}
	t.Logf("%d events, %d of them again; %d failures", events, again, s.counts.failures.Load())
}

// What was spooled by one process is sent by the next, before what that one takes, and
// the trail is told of a process that did not end as it should.
func TestNextProcessSends(t *testing.T) {
	t.Parallel()
	tr, dir := newTrail(t), t.TempDir()
	first := mustNew(t, tr.config(dir))
	for _, id := range ids("first", 100) {
		first.Record(event(id))
	}
	if _, err := New(tr.config(dir)); err == nil {
		t.Fatal("two processes have one spool")
	}
	mustClose(t, first)
	first.Record(event("late"))
	if first.counts.dropped.Load() != 1 || !first.Unable() {
		t.Error("what comes after the end is neither dropped nor counted")
	}
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	tr.start(t)
	second := mustNew(t, tr.config(dir))
	second.Record(event("second"))
	eventually(t, "nothing waits", second.emptied)
	mustClose(t, second)
	if got := tr.all(); len(got) != 101 || got[0].AuditID != "first-00000" || got[100].AuditID != "second" {
		t.Errorf("%d events, from %s to %s", len(got), got[0].AuditID, got[len(got)-1].AuditID)
	}
	put(t, filepath.Join(copied, runningName), "")
	third := mustNew(t, tr.config(copied))
	eventually(t, "nothing waits", third.emptied)
	mustClose(t, third)
	if got := tr.notices("Interrupted"); len(got) != 1 || got[0].Verb != "start" || got[0].Status.Status != "Failure" {
		t.Errorf("the trail was told %d times", len(got))
	}
	for id, n := range tr.requests() {
		if want := map[bool]int{true: 1, false: 2}[id == "second"]; n != want {
			t.Errorf("%s stands there %d times", id, n)
		}
	}
}

// A spool that is full: the sender says so, drops, and tells the trail how many were
// dropped and when; the numbers add up.
func TestFull(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	cfg := tr.config(t.TempDir())
	cfg.SpoolBytes, cfg.QueueBytes = leastSpool, leastQueue
	s := mustNew(t, cfg)
	recorded := 0
	record := func() {
		s.Record(event(fmt.Sprintf("e-%05d", recorded)))
		recorded++
	}
	eventually(t, "it is unable", func() bool {
		for range 200 {
			record()
		}
		return s.Unable() && s.counts.dropped.Load() > 500
	})
	if used := size(t, cfg.Dir); used > leastSpool+4096 {
		t.Errorf("the spool has %d bytes", used)
	}
	tr.start(t)
	eventually(t, "nothing waits", s.emptied)
	record()
	eventually(t, "nothing waits", s.emptied)
	if s.Unable() {
		t.Error("it is unable although there is room")
	}
	mustClose(t, s)
	told := uint64(0)
	for _, e := range tr.notices("NoRoom") {
		events, from, to := missing(t, e)
		if events == 0 || from == "" || from > to || e.Verb != "drop" || e.Status.Status != "Failure" {
			t.Errorf("told %s", e.More)
		}
		told += events
	}
	got := tr.requests()
	if len(got)+int(told) != recorded || told != s.counts.dropped.Load() {
		t.Errorf("%d recorded, %d in the trail, %d told as dropped, %d counted", recorded, len(got), told, s.counts.dropped.Load())
	}
	// What is missing are numbers of deliveries too.
	var newest, seen uint64
	for _, e := range tr.all() {
		_, n := delivery(t, e)
		newest, seen = max(newest, n), seen+1
	}
	if newest != seen+told {
		t.Errorf("%d numbers, %d events and %d missing", newest, seen, told)
	}
	t.Logf("%d recorded, %d in the trail, %d told as dropped", recorded, len(got), told)
}

// Whoever records while it closes loses nothing unseen.
func TestCloseWhileRecording(t *testing.T) {
	t.Parallel()
	tr, dir := newTrail(t), t.TempDir()
	tr.start(t)
	total, dropped := 0, uint64(0)
	for round := range 5 {
		s := mustNew(t, tr.config(dir))
		var work sync.WaitGroup
		for w := range 4 {
			work.Go(func() {
				for _, id := range ids(fmt.Sprintf("%d-%d", round, w), 100) {
					s.Record(event(id))
				}
			})
		}
		var closers sync.WaitGroup
		for range 2 {
			closers.Go(func() { _ = s.Close(t.Context()) }) // that events are lost is an error
		}
		work.Wait()
		closers.Wait()
		total += 400
		dropped += s.counts.dropped.Load()
	}
	s := mustNew(t, tr.config(dir))
	eventually(t, "nothing waits", s.emptied)
	mustClose(t, s)
	if got := len(tr.requests()); uint64(got)+dropped != uint64(total) {
		t.Errorf("%d recorded, %d in the trail, %d dropped", total, got, dropped)
	}
}

// What hinders the sender outside of it: events wait, and go when it is mended, without
// a restart.
func TestMended(t *testing.T) {
	t.Parallel()
	always := func(status int) func(*trail) {
		return func(tr *trail) {
			tr.answer = func(rw http.ResponseWriter, _ *http.Request) bool {
				http.Error(rw, "no", status)
				return true
			}
		}
	}
	for name, c := range map[string]struct {
		hinder func(*trail)
		change func(*testing.T, *Config)
		mend   func(*testing.T, *trail, *Config)
	}{
		"another authority": {
			change: func(t *testing.T, c *Config) { t.Helper(); c.Credentials.CAFile = newFiles(t).cert },
			mend: func(t *testing.T, tr *trail, c *Config) {
				t.Helper()
				text, err := os.ReadFile(tr.cert)
				if err != nil {
					t.Fatal(err)
				}
				put(t, c.Credentials.CAFile, string(text))
			},
		},
		"authority is no certificate": {
			change: func(t *testing.T, c *Config) {
				t.Helper()
				c.Credentials.CAFile = filepath.Join(t.TempDir(), "ca")
				put(t, c.Credentials.CAFile, "none")
			},
			mend: func(t *testing.T, tr *trail, c *Config) {
				t.Helper()
				if err := os.Rename(tr.cert, c.Credentials.CAFile); err != nil {
					t.Fatal(err)
				}
			},
		},
		"another token": {
			change: func(t *testing.T, c *Config) {
				t.Helper()
				c.Credentials.TokenFile = filepath.Join(t.TempDir(), "token")
				put(t, c.Credentials.TokenFile, "another-token-of-this-test")
			},
			mend: func(t *testing.T, _ *trail, c *Config) { t.Helper(); put(t, c.Credentials.TokenFile, testToken) },
		},
		"no token": {
			change: func(t *testing.T, c *Config) {
				t.Helper()
				c.Credentials.TokenFile = filepath.Join(t.TempDir(), "token")
			},
			mend: func(t *testing.T, _ *trail, c *Config) { t.Helper(); put(t, c.Credentials.TokenFile, testToken) },
		},
		"overloaded": {hinder: always(http.StatusServiceUnavailable)},
		"redirected": {hinder: always(http.StatusTemporaryRedirect)},
		"not found":  {hinder: always(http.StatusNotFound)},
		// What stands between the two may say anything: no event is given up for it.
		"malformed, whatever it is": {hinder: always(http.StatusBadRequest)},
		"too large, whatever it is": {hinder: always(http.StatusRequestEntityTooLarge)},
		"slow": {hinder: func(tr *trail) {
			tr.answer = func(_ http.ResponseWriter, r *http.Request) bool {
				drain(r.Body)
				<-r.Context().Done()
				return true
			}
		}, change: func(_ *testing.T, c *Config) { c.Timeout = 300 * time.Millisecond }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tr := newTrail(t)
			if c.hinder != nil {
				c.hinder(tr)
			}
			tr.start(t)
			cfg := tr.config(t.TempDir())
			if c.change != nil {
				c.change(t, &cfg)
			}
			s := mustNew(t, cfg)
			least := uint64(1)
			if strings.Contains(name, "whatever") {
				least = doubts + 2
			}
			for _, id := range ids("e", 10) {
				s.Record(event(id))
			}
			eventually(t, "it failed twice", func() bool { return s.counts.failures.Load() > least })
			if len(tr.all()) > 0 || s.emptied() || s.Unable() {
				t.Errorf("%d events are in the trail", len(tr.all()))
			}
			if c.mend != nil {
				c.mend(t, tr, &cfg)
			} else {
				tr.kill(t)
				tr.answer = nil
				tr.start(t)
			}
			eventually(t, "nothing waits", s.emptied)
			mustClose(t, s)
			if events, again := tr.ordered(t); events != 10 || again != 0 && name != "slow" { // an answer may be late once more
				t.Errorf("%d events, %d of them again", events, again)
			}
		})
	}
}

// Another name than the token's is refused for good: nothing of it gets into the trail.
func TestWrongName(t *testing.T) {
	t.Parallel()
	tr := newTrail(t)
	tr.start(t)
	cfg := tr.config(t.TempDir())
	cfg.URL = "https://" + tr.address + "/audit/v1/apiserver-0"
	s := mustNew(t, cfg)
	s.Record(event("e"))
	eventually(t, "it failed twice", func() bool { return s.counts.failures.Load() > 1 })
	mustClose(t, s)
	if len(tr.all()) > 0 || s.spool.unread() == 0 {
		t.Errorf("%d events are in the trail, %d bytes in the spool", len(tr.all()), s.spool.unread())
	}
}

func size(t *testing.T, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // it was sent meanwhile
		}
		n += info.Size()
	}
	return n
}

// BenchmarkRecord is what a request pays while the trail takes everything.
func BenchmarkRecord(b *testing.B) {
	tr := newTrail(b)
	tr.start(b)
	s := mustNew(b, tr.config(b.TempDir()))
	e := event("0123456789abcdef0123456789abcdef")
	b.ReportAllocs()
	for b.Loop() {
		s.Record(e)
	}
	b.ReportMetric(float64(s.counts.dropped.Load()), "dropped")
}
