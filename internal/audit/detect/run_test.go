package detect

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// memory is a log in memory.
type memory struct {
	mu      sync.Mutex
	events  []*audit.Event
	changed chan struct{}
	fail    func() error
}

func newMemory() *memory { return &memory{changed: make(chan struct{})} }

func (m *memory) Append(_ context.Context, entries []audit.Entry) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		if err := m.fail(); err != nil {
			return 0, err
		}
	}
	first := uint64(len(m.events)) + 1
	for _, e := range entries {
		e.Event.Seq = uint64(len(m.events)) + 1
		m.events = append(m.events, e.Event)
	}
	close(m.changed)
	m.changed = make(chan struct{})
	if m.fail != nil {
		return first, m.fail() // the machine stops between the writing and the answer
	}
	return first, nil
}

func (m *memory) Events(ctx context.Context, from uint64, fn func(*audit.Event) error) error {
	for seq := from; ; seq++ {
		m.mu.Lock()
		if seq > uint64(len(m.events)) {
			m.mu.Unlock()
			return nil
		}
		c := *m.events[seq-1]
		m.mu.Unlock()
		if err := errors.Join(fn(&c), ctx.Err()); err != nil {
			return err
		}
	}
}

func (m *memory) Last() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(len(m.events))
}

func (m *memory) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

func (m *memory) add(n int) {
	for range n {
		e := sample(m.Last() + 1)
		_, _ = m.Append(context.Background(), []audit.Entry{{Event: e}})
	}
}

// alerts gives the ids of alerts in the log.
func (m *memory) alerts() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for _, e := range m.events {
		if e.Kind == audit.KindAlert {
			out = append(out, e.AuditID)
		}
	}
	return out
}

// kept is a Store in memory that may fail.
type kept struct {
	state []byte
	saves int
	fail  func() error
}

func (k *kept) Load() ([]byte, error) { return k.state, nil }
func (k *kept) Save(state []byte) error {
	if k.fail != nil {
		if err := k.fail(); err != nil {
			return err
		}
	}
	k.saves++
	k.state = state
	if k.fail != nil {
		return k.fail()
	}
	return nil
}

func runRules() []string {
	return []string{
		one("every", "{verb: create}", "bulwark: {quiet: false}"),
		correlation("ten", "{type: event_count, rules: [every], timespan: 7s, condition: {gte: 5}}"),
		strings.Replace(one("loop", "{kind: alert}"), "kubernetes, service: audit", "bulwark", 1),
	}
}

// until runs Run until the log has been read to its end, or it fails.
func until(t *testing.T, log *memory, store Store, config RunConfig) error {
	t.Helper()
	config.Now, config.Once = start, true
	return Run(t.Context(), log, log, mustEngine(t, Config{Lateness: time.Second}, runRules()...), store, config)
}

func TestRun(t *testing.T) {
	t.Parallel()
	log, store := newMemory(), &kept{}
	log.add(100)
	var told []string
	if err := until(t, log, store, RunConfig{SaveEvery: 20, OnAlert: func(a Alert) { told = append(told, a.ID) }}); err != nil {
		t.Fatal(err)
	}
	want := log.alerts()
	if len(want) < 110 || len(want) > 130 {
		t.Fatalf("got %d alerts of 100 events", len(want))
	}
	if !slices.Equal(want, told) {
		t.Error("what was told is not what is in the log")
	}
	if store.saves < 3 {
		t.Errorf("saved %d times", store.saves)
	}
	// A second run has nothing to do; a third one sees only what is new.
	if err := until(t, log, store, RunConfig{}); err != nil || len(log.alerts()) != len(want) {
		t.Errorf("got %v, %d alerts", err, len(log.alerts()))
	}
	log.add(1)
	if err := until(t, log, store, RunConfig{}); err != nil || len(log.alerts()) <= len(want) {
		t.Errorf("got %v, %d alerts", err, len(log.alerts()))
	}
}

// TestRunCrash stops at every writing in turn, before and after it, and begins again:
// in the end each alert is in the log once, as without a crash.
func TestRunCrash(t *testing.T) {
	t.Parallel()
	whole, crash := newMemory(), errors.New("crash")
	whole.add(40)
	if err := until(t, whole, &kept{}, RunConfig{SaveEvery: 1}); err != nil {
		t.Fatal(err)
	}
	want := whole.alerts()
	slices.Sort(want)
	crashes := 0
	for n := 3; n < 60; n++ {
		log, store := newMemory(), &kept{}
		log.add(40)
		calls := 0
		count := func() error {
			if calls++; calls%n == 0 {
				crashes++
				return crash
			}
			return nil
		}
		log.fail, store.fail = count, count
		for {
			err := until(t, log, store, RunConfig{SaveEvery: 1})
			if err == nil {
				break
			}
			if !errors.Is(err, crash) {
				t.Fatal(err)
			}
		}
		got := log.alerts()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("a crash at every %d. writing: got %d alerts, want %d", n, len(got), len(want))
		}
	}
	if crashes < 50 {
		t.Errorf("only %d crashes", crashes)
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	engine := func() *Engine { return mustEngine(t, Config{}, runRules()...) }
	log := newMemory()
	log.add(3)
	if err := Run(t.Context(), log, log, engine(), &kept{}, RunConfig{}); err == nil || !strings.Contains(err.Error(), "a clock is required") {
		t.Errorf("got %v", err)
	}
	for state, want := range map[string]string{
		`{`:                                 "cannot be read",
		`{"version":7}`:                     "cannot be read",
		`{"version":1,"last":5,"before":5}`: "event 5 was observed, but the log ends at 3",
	} {
		err := Run(t.Context(), log, log, engine(), &kept{state: []byte(state)}, RunConfig{Now: start})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", state, err, want)
		}
	}
	// An engine's state of another version is forgotten, aloud; where to go on is not.
	if err := until(t, log, &kept{state: []byte(`{"version":1,"last":2,"before":2,"engine":"eyJ2ZXJzaW9uIjo5fQ=="}`)}, RunConfig{}); err != nil {
		t.Fatal(err)
	}
	if got := len(log.alerts()); got != 1 {
		t.Errorf("got %d alerts", got)
	}
	if e := log.events[3]; e.Kind != audit.KindSystem || e.Status.Reason != "Forgot" {
		t.Errorf("nobody was told: %+v", e)
	}
}

// TestRunForgets: what had to be forgotten is in the log.
func TestRunForgets(t *testing.T) {
	t.Parallel()
	log := newMemory()
	for i := range 50 {
		e := sample(0)
		e.User.Username = fmt.Sprint("u", i)
		_, _ = log.Append(t.Context(), []audit.Entry{{Event: e}})
	}
	engine := mustEngine(t, Config{MaxGroups: 10}, one("a", "{verb: create}"), correlation("x", "{type: event_count, rules: [a], group-by: [user.username], timespan: 1h, condition: {gte: 3}}"))
	if err := Run(t.Context(), log, log, engine, &kept{}, RunConfig{Now: start, SaveEvery: 50, Once: true}); err != nil {
		t.Fatal(err)
	}
	if e := log.events[50]; e.Status.Reason != "Forgot" || !strings.Contains(e.Status.Message, "40 groups") {
		t.Errorf("got %+v", e)
	}
}

// TestRunLive: an alert is there soon after its event, without another one.
func TestRunLive(t *testing.T) {
	t.Parallel()
	log := newMemory()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	seen := make(chan Alert, 100)
	engine := mustEngine(t, Config{}, one("every", "{verb: create}"))
	go func() {
		done <- Run(ctx, log, log, engine, &kept{}, RunConfig{Now: start, SaveAfter: time.Millisecond, OnAlert: func(a Alert) { seen <- a }})
	}()
	for i := range 5 {
		log.add(1)
		if a := <-seen; a.Rule != "every" || len(a.Evidence) != 1 {
			t.Errorf("%d: got %+v", i, a)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRunDurable: what is not safe on disk yet is not observed.
func TestRunDurable(t *testing.T) {
	t.Parallel()
	log := newMemory()
	log.add(5)
	source := &behind{memory: log, last: 3}
	store := &kept{}
	engine := mustEngine(t, Config{}, one("every", "{verb: create}"))
	if err := Run(t.Context(), source, newMemory(), engine, store, RunConfig{Now: start, Once: true}); err != nil {
		t.Fatal(err)
	}
	if got := engine.Stats().Events; got != 3 || !strings.Contains(string(store.state), `"last":3`) {
		t.Errorf("observed %d, saved %s", got, store.state)
	}
}

// behind is a log of which only a part is safe.
type behind struct {
	*memory
	last uint64
}

func (b *behind) Last() uint64 { return b.last }

func TestFileStore(t *testing.T) {
	t.Parallel()
	store := FileStore{Path: filepath.Join(t.TempDir(), "detect.json")}
	if got, err := store.Load(); got != nil || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	for _, want := range []string{"one", "two"} {
		if err := store.Save([]byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := store.Load(); string(got) != want || err != nil {
			t.Errorf("got %s, %v", got, err)
		}
	}
	if err := (FileStore{Path: filepath.Join(t.TempDir(), "no", "x")}).Save(nil); err == nil {
		t.Error("saved into a folder that is not there")
	}
}
