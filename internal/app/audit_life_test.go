package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect"
	"bulwark.dev/bulwark/internal/audit/log"
)

// lines is what a process logs.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

// find gives an attribute of the line with a message.
func (l *lines) find(message, attribute string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.all.String()) {
		var one map[string]any
		if json.Unmarshal([]byte(line), &one) == nil && one["msg"] == message {
			return fmt.Sprint(one[attribute])
		}
	}
	return ""
}

// until waits for something to become so; the test's own time is the limit.
func until(t *testing.T, try func() bool) {
	t.Helper()
	for !try() {
		select {
		case <-t.Context().Done():
			t.Fatal("it did not become so")
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// servedTrail is a running "bulwark serve audit".
type servedTrail struct {
	data, admin string
	stop        func()
}

// serveFlags are those of a command that says only where the trail is and what is
// tailed.
func serveFlags(data, file string) *serveAuditFlags {
	f := &serveAuditFlags{}
	f.add(pflag.NewFlagSet("audit", pflag.ContinueOnError))
	f.data, f.tail = data, []string{file}
	f.rules.only, f.rules.dirs = true, []string{filepath.Join("..", "..", "catalog", "detections", "trail")} // the others take long to read
	return f
}

func serveTrail(t *testing.T, f *serveAuditFlags) *servedTrail {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	out, ended := &lines{}, make(chan error, 1)
	f.admin, f.drain = "127.0.0.1:0", time.Minute
	go func() {
		env := &Env{Now: time.Now, Stderr: out}
		ended <- runProcess(ctx, env, &f.processFlags, f.drain, func(ctx context.Context, log *slog.Logger, running *stack) error {
			return serveAudit(ctx, env, log, f, running)
		})
	}()
	s := &servedTrail{data: f.data}
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%v\n%s", err, out.all.String())
		}
	})
	t.Cleanup(s.stop)
	until(t, func() bool {
		select {
		case err := <-ended:
			ended <- nil
			t.Fatalf("%v\n%s", err, out.all.String())
		default:
		}
		s.admin = out.find("audit trail", "admin")
		return s.admin != ""
	})
	return s
}

// told lists the trail: the verbs of its own events, the rules of alerts, and users.
func (s *servedTrail) told(t *testing.T) []string {
	t.Helper()
	v, err := (&trailFolder{data: s.data}).view()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	if err := v.Events(t.Context(), 1, func(e *audit.Event) error {
		switch e.Kind {
		case audit.KindAlert:
			a, err := detect.AlertOf(e)
			out = append(out, "alert "+a.Rule)
			return err
		case audit.KindSystem:
			out = append(out, strings.TrimSpace(e.Verb+" "+e.Status.Reason))
		case audit.KindAPI, audit.KindGateway, audit.KindAccess, audit.KindAction:
			out = append(out, "user "+e.User.Username)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *servedTrail) get(t *testing.T, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func (s *servedTrail) metric(t *testing.T, name string) string {
	t.Helper()
	_, text := s.get(t, "/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no metric %s in\n%s", name, text)
	return ""
}

// ask appends an API server's event of a user to a file that is tailed.
func ask(t *testing.T, file, user string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(f, `{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"%s","stage":"ResponseComplete","requestURI":"/api/v1/pods","verb":"list","user":{"username":"%s"},"responseStatus":{"code":200}}`+"\n", user, user)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// ownRule writes a folder with one more rule.
func ownRule(t *testing.T, more string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "more.yaml"), []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

const moreRule = "title: More\nname: more\nlogsource: {product: kubernetes, service: audit}\nlevel: low\ndetection: {selection: {user.username: nobody-at-all}, condition: selection}\n"

// TestServeLife: the trail tells when it is served and when not any more, whether it
// ended well, and that the rules are others.
func TestServeLife(t *testing.T) {
	t.Parallel()
	data, file := t.TempDir(), filepath.Join(t.TempDir(), "audit.log")
	serve := func(rules ...string) *servedTrail {
		f := serveFlags(data, file)
		f.configuration, f.rules.dirs = "c", append(f.rules.dirs, rules...)
		return serveTrail(t, f)
	}
	ask(t, file, "alice")
	s := serve()
	until(t, func() bool { return slices.Contains(s.told(t), "user alice") })
	s.stop()
	s = serve()
	s.stop()
	want := []string{"started", "user alice", "stopped", "started", "stopped"}
	if diff := cmp.Diff(want, s.told(t)); diff != "" {
		t.Fatal(diff)
	}
	if err := os.WriteFile(filepath.Join(data, "detect", "life"), []byte(`{"running":true,"rules":"old"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s = serve(ownRule(t, moreRule))
	until(t, func() bool { return slices.Contains(s.told(t), "alert rules-changed") })
	s.stop()
	want = append(want, "started NotStopped", "rules-changed", "alert trail-not-stopped", "alert rules-changed", "stopped")
	if diff := cmp.Diff(want, s.told(t)); diff != "" {
		t.Error(diff)
	}
	v, err := (&trailFolder{data: data}).view()
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Events(t.Context(), 4, func(e *audit.Event) error {
		if e.Verb == lifeStarted && e.Seq == 4 {
			for _, note := range []string{"version", "configuration", "publicKey", "rules", "rulesDigest"} {
				if e.Annotations[note] == "" {
					t.Errorf("the start tells no %s: %v", note, e.Annotations)
				}
			}
			if e.Annotations["lastEvent"] != "3" {
				t.Errorf("the last event before was %s, not 3", e.Annotations["lastEvent"])
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// TestServeBlind: while the detections cannot go on, events are recorded, and it is told
// by an alert, a metric and /status; readiness stays, so that API servers go on sending.
func TestServeBlind(t *testing.T) {
	t.Parallel()
	data, file := t.TempDir(), filepath.Join(t.TempDir(), "audit.log")
	if err := os.MkdirAll(filepath.Join(data, "detect"), 0o700); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(data, "detect", "state")
	if err := os.WriteFile(state, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serveTrail(t, serveFlags(data, file))
	ask(t, file, "alice")
	until(t, func() bool {
		told := s.told(t)
		return slices.Contains(told, "user alice") && slices.Contains(told, "alert detections-down")
	})
	if code, _ := s.get(t, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz answers %d", code)
	}
	if _, text := s.get(t, "/status"); !strings.Contains(text, "state cannot be read") {
		t.Errorf("/status says %s", text)
	}
	if got := s.metric(t, "bulwark_audit_detections_running"); got != "0" {
		t.Errorf("running is %s", got)
	}
	if got := s.metric(t, "bulwark_audit_detections_lag_events"); got == "0" {
		t.Error("nothing is behind")
	}
	if err := os.Remove(state); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { return slices.Contains(s.told(t), "detections-up") })
	until(t, func() bool { return s.metric(t, "bulwark_audit_detections_lag_events") == "0" })
	if got := s.metric(t, "bulwark_audit_detections_running"); got != "1" {
		t.Errorf("running is %s", got)
	}
	if got := s.metric(t, `bulwark_audit_alerts_total{severity="high"}`); got != "1" {
		t.Errorf("%s alerts", got)
	}
	s.stop()
	count := map[string]int{}
	for _, one := range s.told(t) {
		count[one]++
	}
	if diff := cmp.Diff(map[string]int{"started": 1, "user alice": 1, "detections-down Failed": 1, "alert detections-down": 1, "detections-up": 1, "stopped": 1}, count); diff != "" {
		t.Error(diff)
	}
}

// TestServeSilence: a server that sends nothing is told of, and when it sends again.
func TestServeSilence(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "audit.log")
	f := serveFlags(t.TempDir(), file)
	f.expected, f.silence = []string{"audit.log"}, 200*time.Millisecond
	s := serveTrail(t, f)
	until(t, func() bool { return slices.Contains(s.told(t), "alert server-silent") })
	ask(t, file, "alice")
	until(t, func() bool { return slices.Contains(s.told(t), "server-heard") })
	s.stop()
	raw, err := os.ReadFile(filepath.Join(f.data, "detect", "life"))
	if err != nil || !strings.Contains(string(raw), `"running":false`) || !strings.Contains(string(raw), `"servers":["audit.log"]`) {
		t.Errorf("%s is left, %v", raw, err)
	}
}

// TestTroubles: what the log tells of comes into the trail, without ever waiting for it.
func TestTroubles(t *testing.T) {
	t.Parallel()
	logger := slog.New(slog.DiscardHandler)
	tr, err := openTrail(t.Context(), &Env{Now: time.Now}, &writerFlags{trailFolder: trailFolder{data: t.TempDir()}}, logger)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 { // nobody takes them yet
		tr.troubles.add(log.Trouble{What: log.TroubleSeal, Path: "x", Err: errors.New("it is full")})
	}
	tr.troubles.add(log.Trouble{What: log.TroubleFull, Err: errors.New("the log tells of it")})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- tr.confess(ctx, logger) }()
	until(t, func() bool { return tr.log.Last() == 1 })
	cancel()
	if err := errors.Join(<-ended, tr.log.Events(t.Context(), 1, func(e *audit.Event) error {
		if e.Verb != log.TroubleSeal || e.Annotations["count"] != "1000" || !strings.Contains(e.Status.Message, "it is full") {
			t.Errorf("%+v", e)
		}
		return nil
	}), tr.close(t.Context())); err != nil {
		t.Error(err)
	}
}

// TestPart: what breaks off beside the recording is begun again and told of once.
func TestPart(t *testing.T) {
	t.Parallel()
	logger := slog.New(slog.DiscardHandler)
	tr, err := openTrail(t.Context(), &Env{Now: time.Now}, &writerFlags{trailFolder: trailFolder{data: t.TempDir()}}, logger)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var waits []time.Duration
	err = tr.partWith(ctx, "telling", logger, func(context.Context) error {
		switch len(waits) {
		case 0, 1:
			return errors.New("away")
		case 2:
			panic("worse")
		case 3:
			return nil
		}
		cancel()
		return nil
	}, func(_ context.Context, d time.Duration) error {
		waits = append(waits, d)
		return nil
	})
	if err != nil || !slices.Equal(waits, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}) {
		t.Errorf("%v, waited %v", err, waits)
	}
	var told []string
	err = tr.log.Events(t.Context(), 1, func(e *audit.Event) error {
		told = append(told, e.Status.Message)
		return nil
	})
	want := []string{"telling broke off and is begun again: away", "telling broke off and is begun again: panic: worse", "telling broke off and is begun again: it ended by itself"}
	if diff := cmp.Diff(want, told); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if err := tr.close(t.Context()); err != nil {
		t.Error(err)
	}
}
