package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/segment"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// relistMost is how often a reader lists the directory again because what it listed is
// not there any more, before it believes that something is missing.
const relistMost = 50

// GapError says that events are missing in the log: no file has them.
type GapError struct{ From, To uint64 }

// Error names them.
func (e *GapError) Error() string {
	return fmt.Sprintf("events %d to %d of the log are missing: no file has them", e.From, e.To)
}

// ViewOptions say how a log is read. The zero value reads all there is.
type ViewOptions struct {
	// Pruned is told of each event that retention took away; nil passes over them.
	Pruned func(seq uint64, leaf [32]byte) error
	// Keys decrypt what is encrypted; without the right one it is a vault.MissingKeyError.
	Keys vault.Keys
	// Bound, where it is set, is the last event to show. The process that writes shows
	// only what is acknowledged with it; another one may see an event a moment before that.
	Bound func() uint64
}

// View reads a log, also while another process writes it and on a disk that is
// read-only. It holds no file open between calls. Its methods may be called from
// several goroutines.
type View struct {
	dir  string
	opts ViewOptions

	mu   sync.Mutex
	seen place // the furthest that some call came in a write-ahead file
}

// place is the end of a frame.
type place struct {
	id     [idSize]byte
	offset int64
	next   uint64
	chain  hash
}

// OpenView opens the log in dir for reading.
func OpenView(dir string, opts ViewOptions) (*View, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("read the audit log: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("read the audit log: %s is no directory", dir)
	}
	return &View{dir: dir, opts: opts}, nil
}

// Segments lists the sealed segments there are now, in the order of their events.
func (v *View) Segments() ([]SegmentFile, error) {
	return listSpans(filepath.Join(v.dir, sealedName), sealedSuffix)
}

// Last is the number of the last event that Events would give now, or 0.
func (v *View) Last() (uint64, error) {
	for try := 0; ; try++ {
		last, err := v.last()
		if errors.Is(err, fs.ErrNotExist) && try < relistMost {
			continue // sealed since it was listed
		}
		if err != nil {
			return 0, fmt.Errorf("find the end of the audit log: %w", err)
		}
		if v.opts.Bound != nil {
			last = min(last, v.opts.Bound())
		}
		return last, nil
	}
}

func (v *View) last() (uint64, error) {
	// Write-ahead files are listed before segments: one that is gone is in a segment then.
	files, err := listActive(v.dir)
	if err != nil {
		return 0, err
	}
	segments, err := v.Segments()
	if err != nil {
		return 0, err
	}
	var last uint64
	if n := len(segments); n > 0 {
		last = segments[n-1].Last
	}
	if n := len(files); n > 0 && files[n-1].first > last {
		r, closeFile, err := v.openActive(files[n-1], 1<<63)
		if err != nil {
			return 0, err
		}
		defer closeFile()
		for err == nil {
			err = r.skip()
		}
		if !atEnd(err) {
			return 0, err
		}
		last = max(last, r.next-1)
	}
	return last, nil
}

// atEnd reports whether a frame's error says that no more is there yet.
func atEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, errTorn) }

// Events calls fn with each event from number from on, in order, up to the last whole
// one there is. Events that nobody else has are fn's to keep. A gap is a GapError,
// damage a DamageError or segment.ErrFormat; events before it were given.
func (v *View) Events(ctx context.Context, from uint64, fn func(*audit.Event) error) error {
	next, err := v.events(ctx, max(from, 1), fn)
	if err != nil {
		return fmt.Errorf("read the audit log at event %d: %w", next, err)
	}
	return nil
}

// callerError keeps what the caller's function returned apart from what reading did.
type callerError struct{ err error }

func (e callerError) Error() string { return e.err.Error() }
func (e callerError) Unwrap() error { return e.err }

func (v *View) events(ctx context.Context, next uint64, fn func(*audit.Event) error) (uint64, error) {
	for try := 0; ; try++ {
		bound := uint64(1<<64 - 1)
		if v.opts.Bound != nil {
			bound = v.opts.Bound()
		}
		if next > bound {
			return next, nil
		}
		reached, later, err := v.read(ctx, next, bound, fn)
		progress := reached > next
		next = reached
		if progress {
			try = 0
		}
		var caller callerError
		switch {
		case errors.As(err, &caller):
			return next, err
		case errors.Is(err, fs.ErrNotExist) && try < relistMost: // sealed since it was listed
		case err != nil:
			return next, err
		case progress:
		case later == 0:
			return next, nil
		case try >= relistMost:
			return next, &GapError{From: next, To: later - 1}
		}
	}
}

// read gives the events of the file that has event next, and says which comes after
// those. Where no file has it, later is the first event that some file has after it, or
// 0.
func (v *View) read(ctx context.Context, next, bound uint64, fn func(*audit.Event) error) (reached, later uint64, err error) {
	files, err := listActive(v.dir) // before the segments: see last
	if err != nil {
		return next, 0, err
	}
	segments, err := v.Segments()
	if err != nil {
		return next, 0, err
	}
	var in *active
	for i := range files {
		if files[i].first <= next {
			in = &files[i]
			continue
		}
		later = files[i].first
		break
	}
	for _, s := range segments {
		if s.First <= next && next <= s.Last {
			reached, err = v.readSealed(ctx, s, next, bound, fn)
			return reached, 0, err
		}
		if s.First > next && (later == 0 || s.First < later) {
			later = s.First
		}
	}
	if in == nil {
		return next, later, nil
	}
	if later > 0 {
		bound = min(bound, later-1) // those after it were never acknowledged in this file
	}
	reached, err = v.readActive(ctx, *in, next, bound, fn)
	return reached, later, err
}

func (v *View) readSealed(ctx context.Context, file SegmentFile, next, bound uint64, fn func(*audit.Event) error) (uint64, error) {
	f, err := v.OpenSegment(file)
	if err != nil {
		return next, err
	}
	defer f.Close() //nolint:errcheck // only read
	s, err := segment.Open(f, f.Size)
	if err != nil {
		return next, fmt.Errorf("%s: %w", file.Path, err)
	}
	if s.First() != file.First || s.Last() != file.Last {
		return next, fmt.Errorf("%s: %w: it has events %d to %d", file.Path, segment.ErrFormat, s.First(), s.Last())
	}
	to := min(file.Last, bound) - file.First + 1
	err = s.Rows(ctx, int(next-file.First), int(to), func(i int, row segment.Row) error { //nolint:gosec // within a segment
		if err := ctx.Err(); err != nil {
			return err
		}
		seq := file.First + uint64(i) //nolint:gosec // an index
		if err := v.hand(seq, row, fn); err != nil {
			return callerError{err}
		}
		next = seq + 1
		return nil
	})
	if err != nil {
		return next, fmt.Errorf("%s: %w", file.Path, err)
	}
	return next, nil
}

func (v *View) hand(seq uint64, row segment.Row, fn func(*audit.Event) error) error {
	if !row.Pruned {
		row.Event.Seq = seq
		return fn(row.Event)
	}
	if v.opts.Pruned != nil {
		return v.opts.Pruned(seq, row.Leaf)
	}
	return nil
}

// openActive opens a write-ahead file at a frame that is not after event next: where an
// earlier call left off, if it can.
func (v *View) openActive(file active, next uint64) (*reader, func(), error) {
	f, err := os.Open(file.path)
	if err != nil {
		return nil, nil, err
	}
	closeFile := func() { _ = f.Close() }
	info, err := f.Stat()
	if err != nil {
		closeFile()
		return nil, nil, err
	}
	r, err := openReader(f, info.Size(), file.path, file.first, v.opts.Keys)
	if err != nil {
		closeFile()
		return nil, nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if s := v.seen; s.id == r.head.id && s.next <= next && s.offset <= r.size {
		r.offset, r.next, r.chain = s.offset, s.next, s.chain
	}
	return r, closeFile, nil
}

// reached remembers how far a reader came.
func (v *View) reached(r *reader) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r.head.id != v.seen.id || r.next > v.seen.next {
		v.seen = place{id: r.head.id, offset: r.offset, next: r.next, chain: r.chain}
	}
}

func (v *View) readActive(ctx context.Context, file active, next, bound uint64, fn func(*audit.Event) error) (uint64, error) {
	r, closeFile, err := v.openActive(file, next)
	if err != nil {
		return next, err
	}
	defer closeFile()
	parser := audit.NewParser()
	for next <= bound {
		if err := ctx.Err(); err != nil {
			return next, err
		}
		_, count, err := r.peek()
		if err == nil && r.next+uint64(count) <= next { //nolint:gosec // a count
			err = r.skip()
			if err == nil {
				continue
			}
		}
		var f frame
		if err == nil {
			f, err = r.frame()
		}
		if atEnd(err) {
			return next, nil
		}
		if err != nil {
			return next, err
		}
		for i, rec := range f.records {
			seq := f.first + uint64(i)
			if seq < next {
				continue
			}
			if seq > bound {
				return next, nil
			}
			e, err := parser.Parse(rec.event)
			if err != nil {
				return next, &DamageError{Path: file.path, Offset: r.offset, Seq: seq, What: err.Error()}
			}
			e.Seq = seq
			if err := fn(e); err != nil {
				return next, callerError{err}
			}
			next = seq + 1
		}
		v.reached(r)
	}
	return next, nil
}

// Follow calls fn with each event from number from on, and with new ones as they come,
// until ctx ends, whose error it returns. changed tells when it is time to look again:
// Log.Changed in the process that writes; nil looks every interval.
func (v *View) Follow(ctx context.Context, from uint64, every time.Duration, changed func() <-chan struct{}, fn func(*audit.Event) error) error {
	if every <= 0 {
		return errors.New("follow the audit log: no interval")
	}
	next := max(from, 1)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		var moved <-chan struct{}
		if changed != nil {
			moved = changed()
		}
		var err error
		if next, err = v.events(ctx, next, fn); err != nil {
			return fmt.Errorf("follow the audit log at event %d: %w", next, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("follow the audit log at event %d: %w", next, ctx.Err())
		case <-moved:
		case <-tick.C:
		}
	}
}
