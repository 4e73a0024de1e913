package log

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/proof"
)

// fakeLedger keeps records in memory or, with a path, in a file of one line each.
type fakeLedger struct {
	path string
	fail error

	mu      sync.Mutex
	records []proof.Record
}

func newFakeLedger(tb testing.TB, path string) *fakeLedger {
	tb.Helper()
	l, err := loadFakeLedger(path)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func loadFakeLedger(path string) (*fakeLedger, error) {
	l := &fakeLedger{path: path}
	raw, err := os.ReadFile(path)
	if path == "" || errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(raw)) {
		var r proof.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, err
		}
		l.records = append(l.records, r)
	}
	return l, nil
}

func (l *fakeLedger) Append(_ context.Context, r proof.Record) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return 0, l.fail
	}
	next := uint64(1)
	for i, old := range l.records {
		if old.First == r.First {
			if old.Root != r.Root || old.Chain != r.Chain || old.Last != r.Last {
				return 0, proof.ErrConflict
			}
			return uint64(i), nil
		}
		next = old.Last + 1
	}
	if r.First != next || r.Events != r.Last-r.First+1 {
		return 0, fmt.Errorf("record of %d to %d (%d), want one from %d", r.First, r.Last, r.Events, next)
	}
	if l.path != "" {
		var b []byte
		for _, record := range append(slices.Clip(l.records), r) {
			line, err := json.Marshal(record)
			if err != nil {
				return 0, err
			}
			b = append(append(b, line...), '\n')
		}
		if err := proof.WriteFile(l.path, b, 0o600); err != nil {
			return 0, err
		}
	}
	l.records = append(l.records, r)
	return uint64(len(l.records) - 1), nil
}

func (l *fakeLedger) Last() (proof.Record, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.records) == 0 {
		return proof.Record{}, false
	}
	return l.records[len(l.records)-1], true
}

func testKey() bulwark.Secret { return bulwark.NewSecret([]byte("0123456789abcdef0123456789abcdef")) }

// testConfig is of a log in a directory of its own, which seals only when it is told to.
func testConfig(tb testing.TB) Config {
	tb.Helper()
	return Config{
		Dir: filepath.Join(tb.TempDir(), "log"), Ledger: newFakeLedger(tb, ""), Key: testKey(), Keys: modeKeys(),
		SealAge: time.Hour, Reserve: 1 << 16,
		Now: time.Now, Random: rand.Reader, Logger: slog.New(slog.DiscardHandler),
	}
}

func mustOpen(tb testing.TB, cfg Config) *Log {
	tb.Helper()
	l, err := Open(tb.Context(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := l.Close(); err != nil && !errors.Is(err, ErrClosed) {
			tb.Error(err)
		}
	})
	return l
}

func mustClose(tb testing.TB, l *Log) {
	tb.Helper()
	if err := l.Close(); err != nil {
		tb.Fatal(err)
	}
}

// received is a time in whole microseconds.
func received() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 123456000, time.UTC) }

// entries makes n events whose ids begin with name.
func entries(name string, n int) []audit.Entry {
	made := make([]audit.Entry, n)
	for i := range made {
		made[i].Event = &audit.Event{
			Kind: audit.KindAPI, Source: "webhook", Received: received().Add(time.Duration(i) * time.Millisecond),
			AuditID: name + "-" + strconv.Itoa(i), Level: "Metadata", Stage: "ResponseComplete", Verb: "get",
			User:   audit.User{Username: "alice", Groups: []string{"system:authenticated"}},
			Object: audit.ObjectRef{APIVersion: "v1", Resource: "secrets", Namespace: "shop", Name: "db"},
			Status: audit.Status{Code: 200},
		}
	}
	return made
}

func mustAppend(tb testing.TB, l *Log, batch []audit.Entry) uint64 {
	tb.Helper()
	first, err := l.Append(tb.Context(), batch)
	if err != nil {
		tb.Fatal(err)
	}
	return first
}

// read gives the audit ids, or for the log's own events their verbs, of all events.
func read(tb testing.TB, dir string) []string {
	tb.Helper()
	v, err := OpenView(dir, ViewOptions{Keys: modeKeys()})
	if err != nil {
		tb.Fatal(err)
	}
	var names []string
	err = v.Events(tb.Context(), 1, func(e *audit.Event) error {
		if want := uint64(len(names) + 1); e.Seq != want {
			tb.Errorf("event %d has the number %d", want, e.Seq)
		}
		if e.Kind == audit.KindSystem {
			names = append(names, "system:"+e.Verb)
		} else {
			names = append(names, e.AuditID)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	last, err := v.Last()
	if err != nil {
		tb.Fatal(err)
	}
	if last != uint64(len(names)) {
		tb.Errorf("the last event is %d, and there are %d", last, len(names))
	}
	return names
}

func names(groups ...[]audit.Entry) []string {
	var all []string
	for _, group := range groups {
		for _, entry := range group {
			all = append(all, entry.Event.AuditID)
		}
	}
	return all
}

func TestAppendAndRead(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	a, b, c := entries("a", 3), entries("b", 1), entries("c", 2)
	if first := mustAppend(t, l, a); first != 1 {
		t.Errorf("first is %d, want 1", first)
	}
	changed := l.Changed()
	if first := mustAppend(t, l, b); first != 4 || b[0].Event.Seq != 4 {
		t.Errorf("first is %d and the event's number %d, want 4", first, b[0].Event.Seq)
	}
	<-changed
	if l.Last() != 4 {
		t.Errorf("last is %d, want 4", l.Last())
	}
	if diff := cmp.Diff(names(a, b), read(t, cfg.Dir)); diff != "" {
		t.Error(diff)
	}
	mustClose(t, l)
	if _, err := l.Append(t.Context(), c); !errors.Is(err, ErrClosed) {
		t.Errorf("append to a closed log: %v", err)
	}
	l = mustOpen(t, cfg)
	if first := mustAppend(t, l, c); first != 5 {
		t.Errorf("first is %d, want 5", first)
	}
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := entries("d", 2)
	mustAppend(t, l, d)
	if diff := cmp.Diff(names(a, b, c, d), read(t, cfg.Dir)); diff != "" {
		t.Error(diff)
	}
	files, err := listActive(cfg.Dir)
	if err != nil || len(files) != 1 || files[0].first != 7 {
		t.Errorf("write-ahead files: %v, %v", files, err)
	}
	s := l.Stats()
	want := Stats{Last: 8, Events: 4, Commits: 2, Bytes: s.Bytes, Sealed: 1}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	batch := entries("a", 1)
	batch[0].Openings = []audit.Opening{{Path: "requestObject.data", Value: []byte(`"x"`)}}
	mustAppend(t, l, batch)
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, entries("b", 1))
	ran := map[bool]int{}
	err := filepath.WalkDir(cfg.Dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fileMode
		if d.IsDir() {
			want = folderMode
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		ran[d.IsDir()]++
		return nil
	})
	if err != nil || ran[true] != 3 || ran[false] != 5 {
		t.Errorf("saw %v, %v", ran, err)
	}
}

func TestConfigRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]func(*Config){
		"no directory":    func(c *Config) { c.Dir = "" },
		"no ledger":       func(c *Config) { c.Ledger = nil },
		"no key":          func(c *Config) { c.Key = bulwark.Secret{} },
		"short key":       func(c *Config) { c.Key = bulwark.NewSecret([]byte("short")) },
		"key and dropped": func(c *Config) { c.DropOpenings = true },
		"no clock":        func(c *Config) { c.Now = nil },
		"no randomness":   func(c *Config) { c.Random = nil },
		"no logger":       func(c *Config) { c.Logger = nil },
		"negative":        func(c *Config) { c.SealEvents = -1 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := testConfig(t)
			change(&cfg)
			if l, err := Open(t.Context(), cfg); err == nil {
				t.Error("it was opened", l.Close())
			}
		})
	}
}

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	tests := map[string]func(*audit.Entry){
		"no event":     func(e *audit.Entry) { e.Event = nil },
		"no kind":      func(e *audit.Entry) { e.Event.Kind = "" },
		"unknown kind": func(e *audit.Entry) { e.Event.Kind = "other" },
		"no time":      func(e *audit.Entry) { e.Event.Received = time.Time{} },
		"giant":        func(e *audit.Entry) { e.Event.UserAgent = strings.Repeat("x", maxEvent) },
		"giant opening": func(e *audit.Entry) {
			e.Openings = []audit.Opening{{Value: make([]byte, maxEvent)}}
		},
	}
	for name, change := range tests {
		batch := entries("a", 2)
		change(&batch[1])
		if _, err := l.Append(t.Context(), batch); err == nil || !strings.Contains(err.Error(), "entry 1") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if first, err := l.Append(t.Context(), nil); first != 0 || err != nil {
		t.Errorf("nothing: %d, %v", first, err)
	}
	if got := read(t, cfg.Dir); len(got) != 0 || l.Last() != 0 {
		t.Errorf("events %v, last %d", got, l.Last())
	}
}

func TestTwoWriters(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	l := mustOpen(t, cfg)
	second, err := Open(t.Context(), cfg)
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("a second writer: %v, %v", second, err)
	}
	mustClose(t, l)
	mustClose(t, mustOpen(t, cfg))
}

// closingLedger says when it is closed.
type closingLedger struct {
	*fakeLedger
	closed func()
}

func (l closingLedger) Close() error { l.closed(); return nil }

// TestOpenLedger: the ledger is open only while the log is locked.
func TestOpenLedger(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	ledger := cfg.Ledger.(*fakeLedger)
	cfg.Ledger = nil
	locked := func() {
		f, err := takeLock(filepath.Join(cfg.Dir, lockName))
		if !errors.Is(err, ErrLocked) {
			t.Errorf("the log is not locked: %v, %v", f, err)
		}
	}
	opens, closes := 0, 0
	fail := errors.New("no ledger today")
	cfg.OpenLedger = func(context.Context) (Ledger, error) {
		if opens++; opens == 1 {
			return nil, fail
		}
		locked()
		return closingLedger{ledger, func() { closes++; locked() }}, nil
	}
	if l, err := Open(t.Context(), cfg); !errors.Is(err, fail) {
		t.Fatalf("%v, %v", l, err)
	}
	l := mustOpen(t, cfg)
	mustAppend(t, l, entries("a", 1))
	if err := l.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	if err := os.WriteFile(filepath.Join(cfg.Dir, activeName(2)), []byte("damaged"), fileMode); err != nil {
		t.Fatal(err)
	}
	if l, err := Open(t.Context(), cfg); err == nil {
		t.Errorf("a damaged log was opened: %v", l)
	}
	if opens != 3 || closes != 2 {
		t.Errorf("opened %d times, closed %d times", opens, closes)
	}
	both := cfg
	both.Ledger = ledger
	if l, err := Open(t.Context(), both); err == nil {
		t.Errorf("opened with two ledgers: %v", l)
	}
}

// TestConcurrent: many appenders, some of which give up, with seals beside them. Each
// acknowledged batch is there once, whole and in order; each that gave up, never.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.SealEvents = 500
	l := mustOpen(t, cfg)
	const appenders, rounds = 16, 60
	var mu sync.Mutex
	want := map[string]uint64{}
	refused := map[string]bool{}
	var group sync.WaitGroup
	for a := range appenders {
		group.Go(func() {
			for i := range rounds {
				name := fmt.Sprintf("%d.%d", a, i)
				batch := entries(name, 1+i%9)
				ctx, cancel := context.WithCancel(t.Context())
				if i%3 == 0 {
					go cancel()
				}
				first, err := l.Append(ctx, batch)
				cancel()
				mu.Lock()
				for j, entry := range batch {
					if err == nil {
						want[entry.Event.AuditID] = first + uint64(j)
					} else {
						refused[entry.Event.AuditID] = true
					}
				}
				mu.Unlock()
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	mustClose(t, l)
	got := map[string]uint64{}
	for i, name := range read(t, cfg.Dir) {
		if refused[name] {
			t.Errorf("event %d, %s, was taken back", i+1, name)
		}
		if _, double := got[name]; double {
			t.Errorf("event %s is there twice", name)
		}
		got[name] = uint64(i + 1)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if len(want) < appenders*rounds || l.Stats().Commits >= uint64(appenders*rounds) {
		t.Errorf("%d events in %d commits: nothing was grouped", len(want), l.Stats().Commits)
	}
}

// TestCancelWaiting: who gives up before its turn leaves nothing behind.
func TestCancelWaiting(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	slow := newFaultyDisk()
	cfg.disk = slow
	l := mustOpen(t, cfg)
	mustAppend(t, l, entries("a", 1))
	release := slow.hold()
	done := make(chan error)
	go func() {
		_, err := l.Append(t.Context(), entries("b", 1))
		done <- err
	}()
	slow.waitHeld()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := l.Append(ctx, entries("c", 1))
		done <- err
	}()
	for waiting := 0; waiting == 0; {
		l.mu.Lock()
		waiting = len(l.queue)
		l.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the one that waited: %v", err)
	}
	release()
	if err := <-done; err != nil {
		t.Errorf("the one that was written: %v", err)
	}
	if diff := cmp.Diff([]string{"a-0", "b-0"}, read(t, cfg.Dir)); diff != "" {
		t.Error(diff)
	}
}

func TestClockSteps(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	now := received()
	var mu sync.Mutex
	cfg.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	step := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	l := mustOpen(t, cfg)
	mustAppend(t, l, entries("a", 1))
	step(-time.Second)
	mustAppend(t, l, entries("b", 1))
	step(-1100 * time.Millisecond)
	mustAppend(t, l, entries("c", 1))
	mustAppend(t, l, entries("d", 1))
	mustClose(t, l)
	step(-time.Hour)
	l = mustOpen(t, cfg)
	if first := mustAppend(t, l, entries("e", 1)); first != 7 {
		t.Errorf("first is %d, want 7", first)
	}
	want := []string{"a-0", "b-0", "system:clock-stepped", "c-0", "d-0", "system:clock-stepped", "e-0"}
	if diff := cmp.Diff(want, read(t, cfg.Dir)); diff != "" {
		t.Error(diff)
	}
}

func otherKey() bulwark.Secret { return bulwark.NewSecret([]byte("another key of thirty-two bytes!")) }

func contains(b []byte, text string) bool { return strings.Contains(string(b), text) }
