package reconcile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/detect"
	"bulwark.dev/bulwark/internal/audit/reconcile"
)

func TestDetection(t *testing.T) {
	t.Parallel()
	lone, err := reconcile.NewDetection(config())
	if err != nil {
		t.Fatal(err)
	}
	engine, err := detect.NewEngine(&detect.Set{}, detect.Config{Stateful: []detect.Stateful{lone}})
	if err != nil {
		t.Fatal(err)
	}
	var alerts []detect.Alert
	observe := func(seq uint64, after time.Duration, e audit.Event) {
		e.Seq, e.Received = seq, start.Add(after)
		alerts = append(alerts, engine.Observe(&e)...)
	}
	observe(1, 0, api("x", "alice\x1b[2J", "", "a"))
	for i := range 20 {
		observe(uint64(i+2), time.Second, api(fmt.Sprint("y", i), "alice\x1b[2J", "", "b"))
	}
	observe(22, time.Second, api("z", "bob", "", "b"))
	observe(23, time.Second, gateway("bw-1", "get", "/x", ""))
	state, err := engine.State()
	if err != nil {
		t.Fatal(err)
	}
	again, err := reconcile.NewDetection(config())
	if err != nil {
		t.Fatal(err)
	}
	if engine, err = detect.NewEngine(&detect.Set{}, detect.Config{Stateful: []detect.Stateful{again}}); err != nil {
		t.Fatal(err)
	}
	if err := engine.Restore(state); err != nil {
		t.Fatal(err)
	}
	alerts = append(alerts, engine.Tick(start.Add(61*time.Second))...)
	alerts = append(alerts, engine.Tick(start.Add(62*time.Second))...)
	observe(24, 11*time.Minute, api("x2", "alice\x1b[2J", "", "a"))
	var got []string
	for _, a := range alerts {
		got = append(got, fmt.Sprint(a.Rule, " ", a.Severity, " ", a.Evidence, " ", a.Fields["suppressed"]))
		if a.ID == "" || a.Title == "" || len(a.Tags) != 2 || strings.ContainsRune(a.Summary, 0x1b) {
			t.Errorf("%+v", a)
		}
	}
	want := []string{"reconcile-bypass high [1] ", "reconcile-bypass high [22] ", "reconcile-suppression high [23] ", "reconcile-bypass high [24] 20"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// configs are configurations, and what is wrong with them.
func configs() map[string]string {
	return map[string]string{
		"stamp: bulwark-\nproxy: gateway\ndirect: [admin, 'ci:*']\nunrecorded: [/healthz*]\ngrace: 1m\n": "",
		"stamp: bulwark-\nownCredentials: true\ngrace: 10s":                                              "",
		"":                                 "EOF",
		"grace: 1m\nproxy: a":              "stamp",
		"stamp: bw-\ngrace: 1m":            "ownCredentials",
		"stamp: bw-\nproxy: a":             "grace",
		"stamp: bw-\nproxy: a\ngrace: -1s": "positive",
		"stamp: bw-\nproxy: a\ngrace: 1m\nsilence: 2m":                            "silence",
		"stamp: bw-\nproxy: a\nproxy: b\ngrace: 1m":                               "already",
		"stamp: bw-\nproxy: a\ngrace: 1m\ndirect: ['*']":                          "star",
		"stamp: bw-\nproxy: a\ngrace: 1m\nunrecorded: ['/a*b*']":                  "star",
		"stamp: bw-\nproxy: a\nownCredentials: true\ngrace: 1m":                   "ownCredentials",
		"stamp: bw-\nproxy: a\ngrace: 1m\n---\nstamp: other-\n":                   "one document",
		"stamp: " + strings.Repeat("x", 40) + "\nownCredentials: true\ngrace: 1m": "32",
	}
}

func TestParseConfig(t *testing.T) {
	t.Parallel()
	for text, want := range configs() {
		_, err := reconcile.ParseConfig([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestGuide: the configuration in the guide is one.
func TestGuide(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "guide", "audit.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, ok := strings.Cut(string(page), "```reconcile\n")
	block, _, end := strings.Cut(block, "```")
	cfg, err := reconcile.ParseConfig([]byte(block))
	if !ok || !end || err != nil || cfg.Stamp != "bulwark-" || len(cfg.Direct) == 0 || len(cfg.Unrecorded) == 0 {
		t.Errorf("%+v, %v", cfg, err)
	}
}

func FuzzParseConfig(f *testing.F) {
	for text := range configs() {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := reconcile.ParseConfig(text)
		if err != nil {
			return
		}
		if _, err := reconcile.NewDetection(cfg); err != nil {
			t.Errorf("%+v was taken, and is none: %v", cfg, err)
		}
	})
}
