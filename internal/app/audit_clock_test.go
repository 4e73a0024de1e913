package app

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit/detect"
)

// TestClockGoesBack: after the clock was set back, events keep their order and both their
// times, are found by time, sealed and verified, and an alert tells of it, once.
func TestClockGoesBack(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	env := &Env{Now: func() time.Time { return now }}
	f := serveFlags(t.TempDir(), "")
	tr, err := openTrail(t.Context(), env, &f.writerFlags, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(user string, at time.Time) {
		now = at
		entries, err := tr.decoder("test").Decode([]byte(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"` + user + `","stage":"ResponseComplete","requestURI":"/api/v1/pods","verb":"list","user":{"username":"` + user + `"},"responseStatus":{"code":200}}`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tr.log.Append(t.Context(), entries); err != nil {
			t.Fatal(err)
		}
	}
	noon := now
	ask("first", noon)
	ask("back", noon.Add(-time.Hour)) // with it comes an event that tells of the step
	if err := tr.log.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask("later", noon.Add(-50*time.Minute))
	ask("ahead", noon.Add(time.Hour))
	engine, err := f.rules.engine()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := tr.observe(t.Context(), engine, detect.RunConfig{Now: env.Now, Once: true}); err != nil {
			t.Fatal(err)
		}
		if engine, err = f.rules.engine(); err != nil {
			t.Fatal(err)
		}
	}
	if err := tr.close(t.Context()); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		var out, errs bytes.Buffer
		code := Main(append(append([]string{"audit"}, args...), "--data", f.data), Env{
			Context: context.WithoutCancel(t.Context()), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Now: env.Now, Random: rand.Uint64,
		})
		if code != 0 {
			t.Fatalf("%q: %d %s%s", args, code, out.String(), errs.String())
		}
		return out.String()
	}
	for _, tt := range []struct{ query, want string }{
		{"kind=api", "back later first ahead"}, // by time; their numbers tell the order in which they came
		{"kind=api until=2026-11-21T11:30:00Z", "back later"},
		{"kind=api since=2026-11-21T11:30:00Z", "first ahead"},
		{"kind=api since=2026-11-21T10:59:00Z until=2026-11-21T11:05:00Z", "back"},
	} {
		var got []string
		for line := range strings.Lines(run("export", tt.query)) {
			var e struct {
				User struct{ Username string } `json:"user"`
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			got = append(got, e.User.Username)
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", tt.query, diff)
		}
	}
	if n := strings.Count(run("export", "kind=system verb=clock-stepped"), "\n"); n != 1 {
		t.Errorf("the step is told %d times", n)
	}
	if n := strings.Count(run("export", "kind=alert more.rule=trail-clock-stepped"), "\n"); n != 1 {
		t.Errorf("%d alerts tell of the step", n)
	}
	run("verify")
}
