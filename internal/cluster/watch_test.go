package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// result is one call of a watcher's function.
type result struct {
	snap *Snapshot
	err  error
}

func (r result) String() string {
	if r.err != nil {
		return "error " + r.err.Error()
	}
	return strings.Join(namesOf(r.snap), " ")
}

// watching runs a watcher until the test ends, and proves then that it left no
// goroutine.
func watching(t *testing.T, change func(*watcher), paths ...string) <-chan result {
	t.Helper()
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(context.Background())
	results, done := make(chan result, 1000), make(chan error, 1)
	w := &watcher{
		paths: paths, log: slog.New(slog.DiscardHandler), settle: 20 * time.Millisecond, poll: time.Hour,
		fn: func(s *Snapshot, err error) { results <- result{s, err} },
	}
	if change != nil {
		change(w)
	}
	go func() { done <- w.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the watcher ended with %v", err)
		}
		for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
				return
			}
		}
	})
	return results
}

// until waits for a result that prints as want, or begins so with "...".
func until(t *testing.T, results <-chan result, want string) {
	t.Helper()
	prefix, cut := strings.CutSuffix(want, "...")
	last := "nothing"
	timeout := time.After(10 * time.Second)
	for {
		select {
		case r := <-results:
			if last = r.String(); last == want || cut && strings.HasPrefix(last, prefix) {
				return
			}
		case <-timeout:
			t.Fatalf("no result %q; the last was %q", want, last)
		}
	}
}

func TestWatch(t *testing.T) {
	dir := mkdir(t, filepath.Join(t.TempDir(), "conf"))
	file := filepath.Join(dir, "a.yaml")
	write(t, file, namespaceYAML("one"))
	results := watching(t, nil, dir)
	until(t, results, "one")

	write(t, file, namespaceYAML("two")) // in place
	until(t, results, "two")

	swap := file + "~" // as editors do
	write(t, swap, namespaceYAML("three"))
	if err := os.Rename(swap, file); err != nil {
		t.Fatal(err)
	}
	until(t, results, "three")

	write(t, file, "kind: [") // half a write
	until(t, results, "error ...")
	write(t, file, namespaceYAML("four"))
	until(t, results, "four")

	sub := mkdir(t, filepath.Join(dir, "sub")) // a new folder
	write(t, filepath.Join(sub, "b.yaml"), namespaceYAML("sub"))
	until(t, results, "four sub")
	write(t, filepath.Join(sub, "b.yaml"), namespaceYAML("zub"))
	until(t, results, "four zub")

	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	until(t, results, "zub")

	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	until(t, results, "error "+dir+": does not exist")
	mkdir(t, dir)
	write(t, file, namespaceYAML("back"))
	until(t, results, "back")
	write(t, file, namespaceYAML("again"))
	until(t, results, "again")
}

func TestWatchFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, namespaceYAML("one"))
	results := watching(t, nil, file)
	until(t, results, "one")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	until(t, results, "error ...")
	write(t, file, namespaceYAML("two"))
	until(t, results, "two")
}

func TestWatchConfigMapSwap(t *testing.T) {
	dir := t.TempDir()
	publish := func(version, name string) {
		write(t, filepath.Join(mkdir(t, filepath.Join(dir, version)), "a.yaml"), namespaceYAML(name))
		link(t, version, filepath.Join(dir, "..data_tmp"))
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	publish("..v1", "one")
	link(t, "..data/a.yaml", filepath.Join(dir, "a.yaml"))
	results := watching(t, nil, dir)
	until(t, results, "one")
	for i, name := range []string{"two", "three"} {
		publish(fmt.Sprintf("..v%d", i+2), name)
		if err := os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..v%d", i+1))); err != nil {
			t.Fatal(err)
		}
		until(t, results, name)
	}
}

// TestWatchBurst edits faster than files settle: the last content wins, and
// reloads stay few.
func TestWatchBurst(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, namespaceYAML("start"))
	results := watching(t, nil, dir)
	until(t, results, "start")
	for i := range 200 {
		write(t, file, namespaceYAML(fmt.Sprintf("n%d", i)))
	}
	seen := 0
	for timeout := time.After(10 * time.Second); ; seen++ {
		select {
		case r := <-results:
			if r.String() == "n199" {
				if seen > 100 {
					t.Errorf("%d reloads for 200 edits", seen)
				}
				return
			}
		case <-timeout:
			t.Fatal("the last edit was never seen")
		}
	}
}

// TestWatchEndless changes files without a pause: reloads still happen.
func TestWatchEndless(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, namespaceYAML("start"))
	results := watching(t, func(w *watcher) { w.settle = 500 * time.Millisecond }, dir)
	until(t, results, "start")
	for i := range 30 {
		write(t, file, namespaceYAML(fmt.Sprintf("n%d", i)))
		time.Sleep(50 * time.Millisecond)
	}
	if len(results) == 0 {
		t.Error("1.5 s of edits brought no reload")
	}
}

// TestWatchPolls works without any notification.
func TestWatchPolls(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, namespaceYAML("one"))
	w := &watcher{paths: []string{dir}}
	first := shapeOf(find(w.paths))
	write(t, file, namespaceYAML("three"))
	if shapeOf(find(w.paths)) == first {
		t.Error("another size has the same shape")
	}
	results := watching(t, func(w *watcher) { w.poll, w.settle = 20*time.Millisecond, time.Hour }, dir)
	until(t, results, "three")
	write(t, file, namespaceYAML("four-and-more"))
	until(t, results, "four-and-more")
}

// TestWatchTellsOnce delivers nothing for changes that change nothing.
func TestWatchTellsOnce(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, namespaceYAML("one"))
	results := watching(t, func(w *watcher) { w.poll = 20 * time.Millisecond }, dir)
	until(t, results, "one")
	for range 5 {
		write(t, file, namespaceYAML("one"))
		write(t, filepath.Join(dir, "note.txt"), "x")
		time.Sleep(30 * time.Millisecond)
	}
	// A write empties the file first, so an error may come between; the content
	// must come back after it, and nothing else.
	for len(results) > 0 {
		if r := <-results; r.err == nil && r.String() != "one" {
			t.Errorf("told of %v", r)
		}
	}
}

// TestWatchPublic runs the exported function with its real times.
func TestWatchPublic(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, namespaceYAML("one"))
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	err := Watch(ctx, []string{dir}, slog.New(slog.DiscardHandler), func(s *Snapshot, err error) {
		if calls++; calls == 1 {
			write(t, file, namespaceYAML("two"))
			return
		}
		if r := (result{s, err}); r.String() == "two" {
			cancel()
		}
	})
	if err != nil || calls < 2 {
		t.Errorf("Watch = %v after %d calls", err, calls)
	}
}
