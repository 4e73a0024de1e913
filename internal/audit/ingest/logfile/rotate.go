package logfile

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// rotated reports whether the path leads to another file now, or to none.
func (t *Tail) rotated() bool {
	ours, err := t.file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(t.cfg.Path)
	return err != nil || !os.SameFile(ours, there)
}

// left reports whether a file that was rotated has been quiet for long enough.
func (t *Tail) left(grown bool) bool {
	now := t.cfg.Now()
	if grown || t.quiet.IsZero() || now.Before(t.quiet) {
		t.quiet = now
	}
	return now.Sub(t.quiet) >= t.cfg.Settle
}

// leave goes on to the file that came after this one: another that was rotated since,
// or the one that has the name.
func (t *Tail) leave(ctx context.Context) {
	if last, ok := t.lines.rest(); ok {
		t.take(last) // nobody will write its end
		t.keep(ctx)
	}
	if len(t.out.entries) > 0 {
		return // the sink has not taken them: the position must stay
	}
	ours, err := t.file.Stat()
	old := t.file
	t.file = nil
	if err == nil {
		t.find(ctx, t.siblings(ours.ModTime()), func(f *os.File) bool {
			info, err := f.Stat()
			return err == nil && !os.SameFile(info, ours)
		}, 0)
	}
	_ = old.Close() // it was only read
}

// siblings are the rotated files beside the path that were written last after a time,
// the oldest first: audit.log.1 and audit-2026-11-21.log beside audit.log.
func (t *Tail) siblings(after time.Time) []string {
	dir, name := filepath.Split(t.cfg.Path)
	if dir == "" {
		dir = "."
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	current, _ := os.Stat(t.cfg.Path) // nil where there is none
	type sibling struct {
		path    string
		changed time.Time
	}
	var found []sibling
	for _, e := range entries {
		if !t.sibling(e.Name(), name) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if err != nil || !info.ModTime().After(after) || current != nil && os.SameFile(info, current) {
			continue
		}
		found = append(found, sibling{filepath.Join(dir, e.Name()), info.ModTime()})
	}
	slices.SortFunc(found, func(a, b sibling) int {
		if c := a.changed.Compare(b.changed); c != 0 {
			return c
		}
		return strings.Compare(a.path, b.path)
	})
	paths := make([]string, 0, len(found))
	for _, s := range found {
		paths = append(paths, s.path)
	}
	return paths
}

// sibling reports whether a file's name is that of a rotated file of the other name.
func (t *Tail) sibling(name, of string) bool {
	extension := filepath.Ext(of)
	rotated := strings.HasPrefix(name, of+".") || strings.HasPrefix(name, of+"-") ||
		strings.HasPrefix(name, strings.TrimSuffix(of, extension)+"-") && strings.HasSuffix(name, extension)
	switch filepath.Ext(name) {
	case ".gz", ".zst", ".bz2", ".xz", ".lz4":
		return false
	}
	return rotated && !strings.HasPrefix(name, filepath.Base(t.cfg.Position))
}

// notify gives a channel that says when something happened to the file. Where the
// system cannot tell, it never does, and polling has to do.
func (t *Tail) notify(ctx context.Context) (<-chan struct{}, func()) {
	wake := make(chan struct{}, 1)
	w, err := fsnotify.NewWatcher()
	if err == nil {
		err = w.Add(filepath.Dir(t.cfg.Path))
	}
	if err != nil {
		t.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "no change notification; polling", slog.Any("error", err), slog.Duration("every", t.cfg.Poll))
		if w != nil {
			_ = w.Close() // nothing is lost with it
		}
		return wake, func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case e, ok := <-w.Events:
				if !ok {
					return
				}
				if !strings.HasPrefix(filepath.Base(e.Name), strings.TrimSuffix(filepath.Base(t.cfg.Path), filepath.Ext(t.cfg.Path))) {
					continue
				}
			case _, ok := <-w.Errors: // an overflow: look yourself
				if !ok {
					return
				}
			}
			select {
			case wake <- struct{}{}:
			default:
			}
		}
	}()
	return wake, func() {
		_ = w.Close() // nothing is lost with it
		<-done
	}
}

// pause waits until something happened to the file, and at most for a time.
func (t *Tail) pause(ctx context.Context, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-t.until:
	}
}
