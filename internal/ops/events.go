package ops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"bulwark.dev/bulwark"
)

const (
	eventsName = "events.jsonl"
	// flushAt is how many bytes of events wait at most for the next tick.
	flushAt = 64 << 10
	// flushEvery is how long an event waits at most.
	flushEvery = 100 * time.Millisecond
)

// EventLog writes events as JSON lines to DIR/events.jsonl. Record never loses
// an event while the process lives: a slow disk slows the callers. When the
// disk refuses, the event is counted as lost, the log says so, and Healthy
// turns false until a write succeeds.
type EventLog struct {
	dir     string
	maxSize int64
	keep    int
	now     func() time.Time
	log     *slog.Logger

	mu     sync.Mutex
	buf    []byte
	file   *os.File
	size   int64
	failed bool

	lost   atomic.Uint64
	cancel context.CancelFunc
	done   chan struct{}
	pool   sync.Pool
}

// OpenEventLog opens (or continues) the log in dir, which is made if it is not
// there, readable by the owner only. A file that grew past maxSize bytes is put
// aside under a name with its time; of those the newest keep stay.
func OpenEventLog(dir string, maxSize int64, keep int, now func() time.Time, log *slog.Logger) (*EventLog, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open event log: %w", err)
	}
	l := &EventLog{
		dir: dir, maxSize: maxSize, keep: keep, now: now, log: log, done: make(chan struct{}),
		pool: sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }},
	}
	if err := l.open(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	go l.tick(ctx)
	return l, nil
}

// Path is the file that events are appended to.
func (l *EventLog) Path() string { return filepath.Join(l.dir, eventsName) }

// Lost is the number of events that could not be written.
func (l *EventLog) Lost() uint64 { return l.lost.Load() }

// Healthy reports whether the last write succeeded.
func (l *EventLog) Healthy() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed {
		return errors.New("events cannot be written")
	}
	return nil
}

// Record appends one event.
func (l *EventLog) Record(e *bulwark.Event) {
	p := l.pool.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	b := appendEvent((*p)[:0], e)
	l.mu.Lock()
	l.buf = append(l.buf, b...)
	if len(l.buf) >= flushAt {
		l.flush()
	}
	l.mu.Unlock()
	*p = b
	l.pool.Put(p)
}

// Close writes what waits and closes the file.
func (l *EventLog) Close() error {
	l.cancel()
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	if l.file == nil {
		return nil
	}
	err := errors.Join(l.file.Sync(), l.file.Close())
	l.file = nil
	if err != nil {
		return fmt.Errorf("close event log: %w", err)
	}
	return nil
}

func (l *EventLog) tick(ctx context.Context) {
	defer close(l.done)
	t := time.NewTicker(flushEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			l.mu.Lock()
			l.flush() //nolint:contextcheck // its log lines outlive ctx
			l.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

func (l *EventLog) open() error {
	f, err := os.OpenFile(l.Path(), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open event log: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("open event log: %w", err), f.Close())
	}
	l.file, l.size = f, st.Size()
	if l.size == 0 {
		return nil
	}
	// A process that was killed in the middle of a write left half a line: end
	// it, so that the next event begins on its own.
	var last [1]byte
	if _, err := f.ReadAt(last[:], l.size-1); err == nil && last[0] != '\n' {
		if _, err := f.WriteString("\n"); err != nil {
			return errors.Join(fmt.Errorf("open event log: %w", err), f.Close())
		}
		l.size++
	}
	return nil
}

// flush writes what waits. The caller holds mu.
func (l *EventLog) flush() {
	if len(l.buf) == 0 {
		return
	}
	err := l.write()
	if err != nil {
		l.lost.Add(uint64(bytes.Count(l.buf, []byte("\n")))) //nolint:gosec // a count is not negative
		if !l.failed {
			l.log.LogAttrs(context.Background(), slog.LevelError, "events are being lost", slog.String("file", l.Path()), slog.Any("error", err))
		}
	} else if l.failed {
		l.log.LogAttrs(context.Background(), slog.LevelWarn, "events are written again", slog.Uint64("lost", l.lost.Load()))
	}
	l.failed = err != nil
	if cap(l.buf) > 4*flushAt {
		l.buf = nil
	}
	l.buf = l.buf[:0]
}

func (l *EventLog) write() error {
	if l.file == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(l.buf)
	l.size += int64(n)
	if err != nil {
		_ = l.file.Close()
		l.file = nil
		return fmt.Errorf("append: %w", err)
	}
	if l.size >= l.maxSize {
		return l.rotate()
	}
	return nil
}

func (l *EventLog) rotate() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	l.file = nil
	aside := "events-" + l.now().UTC().Format("20060102T150405.000000000") + ".jsonl"
	if err := os.Rename(l.Path(), filepath.Join(l.dir, aside)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rotate: %w", err)
	}
	old, err := filepath.Glob(filepath.Join(l.dir, "events-*.jsonl"))
	if err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	slices.Sort(old)
	for len(old) > l.keep {
		if err := os.Remove(old[0]); err != nil {
			return fmt.Errorf("rotate: %w", err)
		}
		old = old[1:]
	}
	return l.open()
}
