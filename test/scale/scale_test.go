package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestMain runs the tests inside a cluster of their own.
func TestMain(m *testing.M) {
	flag.Parse()
	if within() || flag.Lookup("test.list").Value.String() != "" {
		os.Exit(m.Run())
	}
	status, err := outside(1, os.Args[1:])
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "scale:", err)
		status = max(status, exitMissed)
	}
	os.Exit(status)
}

// TestSmall is the whole measurement at a size that needs a minute: what must
// not happen at 5,000 routes must not happen at 100 either.
func TestSmall(t *testing.T) {
	opt, err := parseFlags([]string{
		"-routes=100", "-changes=3", "-idle=1", "-pace=300ms", "-rate=50", "-check=false", "-profile=" + t.TempDir(),
	}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	r, err := measure(t.Context(), opt, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.judge(opt.check); err != nil {
		t.Error(err)
	}
	if len(r.Propagation) != 2*len(changes()) {
		t.Errorf("%d kinds of change were measured, want %d in each of two worlds", len(r.Propagation), len(changes()))
	}
	for _, p := range r.Propagation {
		if p.Enforced.N < opt.changes || p.Enforced.P50 <= 0 || p.Enforced.P50 < p.Called.P50/2 {
			t.Errorf("%s, %d routes: %d changes, enforced %s, called %s", p.Change, p.Routes, p.Enforced.N, p.Enforced, p.Called)
		}
	}
	if len(r.Loads) != 5 {
		t.Errorf("%d kinds of load, want 5", len(r.Loads))
	}
	for _, l := range r.Loads {
		if l.Requests == 0 {
			t.Errorf("%s: no requests", l.Load)
		}
	}
	for _, p := range r.Phases {
		c, d := p.Parts[controller], p.Parts[dataPlane]
		if c.RSS <= 0 || d.RSS <= 0 || c.Peak < c.RSS/2 || d.Peak < d.RSS/2 {
			t.Errorf("%s: memory %+v, %+v", p.Name, c, d)
		}
		if p.Changes > 0 && (p.Reloads.N == 0 || p.RelayBytes == 0 || p.StatusWrites == 0) {
			t.Errorf("%s: %d tables, %.0f bytes to the data plane, %.0f status writes", p.Name, p.Reloads.N, p.RelayBytes, p.StatusWrites)
		}
	}
	if r.FullState == 0 || r.FirstReady == 0 {
		t.Errorf("a new data plane took %.0f bytes and %.1f s", r.FullState, r.FirstReady)
	}
}

// TestVerdicts: what an answer is taken for decides what this program finds.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	own := route(4)
	for _, c := range []struct {
		name  string
		judge func(answer) verdict
		got   answer
		want  verdict
	}{
		{"served", mustBe(200, "r-00004"), answer{200, "r-00004"}, fine},
		{"served by another's route", mustBe(200, "r-00004"), answer{200, "r-00006"}, wrong},
		{"refused a friend", mustBe(200, "r-00004"), answer{status: 403}, wrong},
		{"no longer knew a friend", mustBe(200, "r-00004"), answer{status: 401}, wrong},
		{"lost a stable route", mustBe(200, "r-00004"), answer{status: 404}, failed},
		{"no backend", mustBe(200, "r-00004"), answer{status: 503}, failed},
		{"refused", mustBe(403, ""), answer{status: 403}, fine},
		{"admitted a stranger", mustBe(403, ""), answer{200, "r-00004"}, wrong},
		{"took a forged token", mustBe(401, ""), answer{status: 403}, wrong},
		{"not there yet", mayBe(own, false), answer{status: 404}, fine},
		{"guarded", mayBe(own, false), answer{status: 403}, fine},
		{"open to a stranger", mayBe(own, false), answer{200, "r-00004"}, wrong},
		{"open to a friend", mayBe(own, true), answer{200, "r-00004"}, fine},
		{"led elsewhere", mayBe(own, true), answer{200, "r-00006"}, wrong},
		{"led past the route's filters", mayBe(own, true), answer{200, ""}, wrong},
		{"broken", mayBe(own, true), answer{status: 500}, failed},
	} {
		if got := c.judge(c.got); got != c.want {
			t.Errorf("%s: verdict %d, want %d", c.name, got, c.want)
		}
	}
}

// TestStranger: a stranger's role is one that some other policy admits, and
// nothing that covers the route does.
func TestStranger(t *testing.T) {
	t.Parallel()
	for r := range route(20) {
		s := r.stranger()
		if s == r.friend() || s == adminRole || s == r.name() {
			t.Errorf("%s: stranger %s, friend %s", r.name(), s, r.friend())
		}
	}
}

func TestObserved(t *testing.T) {
	t.Parallel()
	with := func(field string, seen ...int64) *unstructured.Unstructured {
		var conditions list
		for _, n := range seen {
			conditions = append(conditions, object{"type": "Accepted", "observedGeneration": n})
		}
		return &unstructured.Unstructured{Object: object{"status": object{field: list{object{"conditions": conditions}}}}}
	}
	for _, c := range []struct {
		name string
		o    *unstructured.Unstructured
		want bool
	}{
		{"no status", &unstructured.Unstructured{Object: object{}}, false},
		{"no condition", with("parents"), false},
		{"old", with("parents", 2), false},
		{"one old", with("ancestors", 3, 2), false},
		{"current", with("parents", 3, 3), true},
		{"newer", with("ancestors", 4), true},
	} {
		if got := observed(c.o, 3); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestSummarize(t *testing.T) {
	t.Parallel()
	var all []time.Duration
	for i := range 200 {
		all = append(all, time.Duration(200-i)*time.Millisecond)
	}
	if got, want := summarize(all), (summary{200, 0.100, 0.198, 0.200}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := summarize(nil); got != (summary{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestForged(t *testing.T) {
	t.Parallel()
	s, err := newSigner()
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.token("a")
	if err != nil {
		t.Fatal(err)
	}
	if f := forged(token); f == token || len(f) != len(token) || f[:strings.LastIndexByte(f, '.')] != token[:strings.LastIndexByte(token, '.')] {
		t.Errorf("forged %q of %q", f, token)
	}
}

// TestBars: a bar that is missed fails the run, and a wrong answer always does.
func TestBars(t *testing.T) {
	t.Parallel()
	good := func() *results {
		return &results{
			Options: map[string]int{"routes": 50},
			Phases: []*phase{{Name: unwatched + ", 50 routes", Routes: 50, Changes: 1, Reloads: summary{N: 1, P50: 0.1}, Parts: map[string]*part{
				controller: {Peak: 300 * megabyte}, dataPlane: {Peak: 100 * megabyte},
			}}},
			Loads: []*loadFigures{{Load: "some", Requests: 10}},
		}
	}
	if err := good().judge(true); err != nil {
		t.Error(err)
	}
	fat, slow, open := good(), good(), good()
	fat.Phases[0].Parts[dataPlane].Peak = 151 * megabyte
	slow.Phases[0].Reloads.P50 = 0.301
	open.Loads[0].Wrong = 1
	for name, r := range map[string]*results{"memory": fat, "time": slow, "admission": open} {
		if r.judge(true) == nil {
			t.Errorf("%s: the run passes", name)
		}
	}
	if open.judge(false) == nil {
		t.Error("a wrong answer passes without -check")
	}
	if err := fat.judge(false); err != nil {
		t.Errorf("without -check: %v", err)
	}

	file := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(file, []byte("# a\n"+beginMark+"\nold\n"+endMark+"\nrest\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(file, good().markdown()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(b); strings.Contains(got, "\nold\n") || !strings.HasPrefix(got, "# a\n") || !strings.HasSuffix(got, "\nrest\n") || strings.Count(got, "holds") != 4 {
		t.Errorf("rewritten:\n%s", got)
	}
}
