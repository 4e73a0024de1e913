package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How Watch waits. Editors and kubelets change several files, in several steps,
// for one change of mind.
const (
	// settle is how long files must stay quiet, settleMost how long a stream
	// of changes can put a reload off.
	settle     = 100 * time.Millisecond
	settleMost = time.Second
	// pollEvery is for file systems that do not tell of changes, such as many
	// network mounts; one poll in readEvery reads the files even if sizes and
	// times look the same.
	pollEvery = 5 * time.Second
	readEvery = 12
)

// Watch loads the files and folders named, and again whenever they change,
// until ctx ends. It calls fn from this goroutine, one call at a time: once for
// what is there at the beginning, so that nothing between an earlier LoadFiles
// and Watch is missed, and then for each new content. An error, a *LoadError,
// means that the content cannot be used; the caller keeps what it has. Watch
// returns nil when ctx ends.
func Watch(ctx context.Context, paths []string, log *slog.Logger, fn func(*Snapshot, error)) error {
	w := &watcher{paths: paths, log: log, fn: fn, settle: settle, poll: pollEvery}
	return w.run(ctx)
}

// watcher is one run of Watch.
type watcher struct {
	paths  []string
	log    *slog.Logger
	fn     func(*Snapshot, error)
	settle time.Duration
	poll   time.Duration

	loader loader
	notify *fsnotify.Watcher // nil where the system offers none
	// watched are the folders being watched: true for those whose every entry
	// counts, false for those that only hold a path of ours.
	watched map[string]bool
	// shape is what the files looked like at the last load, last what was
	// delivered: a digest, or an error's text.
	shape, last string
}

func (w *watcher) run(ctx context.Context) error {
	var events chan fsnotify.Event
	var failures chan error
	if n, err := fsnotify.NewWatcher(); err != nil {
		w.log.LogAttrs(ctx, slog.LevelWarn, "no change notification; polling", slog.Any("error", err), slog.Duration("every", w.poll))
	} else {
		defer func() { _ = n.Close() }() // nothing is lost with it
		w.notify, events, failures = n, n.Events, n.Errors
	}
	w.load(ctx)

	ticker := time.NewTicker(w.poll)
	defer ticker.Stop()
	// quiet fires when the files have settled, latest when that takes too long.
	quiet, latest := stopped(), stopped()
	defer quiet.Stop()
	defer latest.Stop()
	pending := false
	changed := func() {
		quiet.Reset(w.settle)
		if !pending {
			pending = true
			latest.Reset(max(settleMost, w.settle))
		}
	}
	reload := func() {
		pending = false
		quiet.Stop()
		latest.Stop()
		w.load(ctx)
	}
	for polls := 1; ; {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-events:
			if !ok {
				events = nil
			} else if w.concerns(e.Name) {
				changed()
			}
		case err, ok := <-failures:
			if !ok {
				failures = nil
				continue
			}
			// An overflow, for one, means that changes were missed.
			w.log.LogAttrs(ctx, slog.LevelWarn, "change notification failed; reading everything again", slog.Any("error", err))
			changed()
		case <-quiet.C:
			reload()
		case <-latest.C:
			reload()
		case <-ticker.C:
			if polls++; polls%readEvery == 0 || shapeOf(find(w.paths)) != w.shape {
				reload()
			}
		}
	}
}

// stopped gives a timer that does not run.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// load reads everything and delivers what is new.
func (w *watcher) load(ctx context.Context) {
	f := find(w.paths)
	// Watch first and read after: a change in between is then told of.
	w.follow(ctx, f)
	f = find(w.paths)
	w.shape = shapeOf(f)
	snap, err := w.loader.loadFound(f, strings.Join(w.paths, ", "))
	var now string
	if err != nil {
		now = "error " + err.Error()
	} else {
		now = "content " + snap.Digest()
	}
	if now == w.last || ctx.Err() != nil {
		return
	}
	w.last = now
	w.fn(snap, err)
}

// follow makes the watched folders those of f, and the folders that hold the
// paths themselves, since a path may be replaced as a whole.
func (w *watcher) follow(ctx context.Context, f *finder) {
	if w.notify == nil {
		return
	}
	want := map[string]bool{}
	for _, p := range w.paths {
		want[filepath.Dir(filepath.Clean(p))] = false
	}
	for _, file := range f.files {
		want[filepath.Dir(file.real)] = true
	}
	for _, dir := range f.dirs {
		want[filepath.Clean(dir)] = true
	}
	for dir := range w.watched {
		if _, still := want[dir]; !still {
			_ = w.notify.Remove(dir) // a folder that is gone is not watched either
		}
	}
	for dir := range maps.Keys(want) {
		// Adding again is harmless, and renews the watch of a folder that was
		// replaced by another of the same name.
		if err := w.notify.Add(dir); err != nil {
			delete(want, dir)
			w.log.LogAttrs(ctx, slog.LevelDebug, "folder is polled only", slog.String("folder", dir), slog.Any("error", err))
		}
	}
	w.watched = want
}

// concerns reports whether a change of name can matter.
func (w *watcher) concerns(name string) bool {
	name = filepath.Clean(name)
	if w.watched[filepath.Dir(name)] || w.watched[name] {
		return true
	}
	for _, p := range w.paths {
		if filepath.Clean(p) == name {
			return true
		}
	}
	return false
}

// shapeOf is a hash of what can be seen of files without reading them.
func shapeOf(f *finder) string {
	sum := sha256.New()
	for _, file := range f.files {
		_, _ = fmt.Fprintf(sum, "%q %q %d %d %o\n", file.path, file.real, file.info.Size(), file.info.ModTime().UnixNano(), file.info.Mode())
	}
	for _, p := range f.problems {
		_, _ = fmt.Fprintf(sum, "%q\n", p.String())
	}
	return hex.EncodeToString(sum.Sum(nil))
}
