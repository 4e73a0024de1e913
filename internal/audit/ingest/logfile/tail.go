package logfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"bulwark.dev/bulwark/internal/audit/ingest"
)

// TailConfig is how a file is followed.
type TailConfig struct {
	// Path is the file. It need not be there yet.
	Path string
	// Position is the file that remembers how far Path was read.
	Position string
	// Sink gets the events, Decode reads the lines; Source names the feed in what Tail
	// itself has to say. All are required, and so are a log and a clock.
	Sink   ingest.Sink
	Decode ingest.Decode
	Source string
	Log    *slog.Logger
	Now    func() time.Time
	// Batch is how many events go to the sink at once. Default: 512.
	Batch int
	// MaxLine is the most bytes of one line. Default: 16 MiB.
	MaxLine int
	// Poll is how often the file is looked at where the system does not tell of changes.
	// Default: one second.
	Poll time.Duration
	// Settle is how long a file that was rotated must have been quiet before it is left
	// for the new one: its writer may still have it open. Default: five seconds.
	Settle time.Duration
}

// Tail follows a file of JSON lines, through rotation by renaming as well as by
// copying and truncating.
//
// The position is saved after the sink has what stands before it, so that nothing is
// lost by a crash; what was kept and not yet noted, one batch at most, is then read
// twice. Where a rotated file is renamed within its directory it is found again, also
// after a restart; what was rotated before the first start is not read. What is gone
// for good is told in the trail: a rotated file that was
// deleted or compressed before it was read, and the end of a file that was truncated
// before it was read. Of the latter nobody can tell how much it was.
type Tail struct {
	cfg TailConfig

	file  *os.File
	lines splitter
	out   batch
	// saved is the position that was saved last. Only its Head is looked at to notice
	// that a file was truncated and has grown again.
	saved position
	// quiet is since when nothing new was in a file that was rotated.
	quiet time.Time
	// until ends a pause early.
	until <-chan struct{}
}

// NewTail makes a Tail.
func NewTail(cfg TailConfig) (*Tail, error) {
	switch {
	case cfg.Path == "" || cfg.Position == "" || cfg.Source == "":
		return nil, errors.New("follow audit log: its path, the file for the position and a source are required")
	case cfg.Sink == nil || cfg.Decode == nil || cfg.Log == nil || cfg.Now == nil:
		return nil, errors.New("follow audit log: a sink, a decoder, a log and a clock are required")
	}
	if cfg.Batch <= 0 {
		cfg.Batch = 512
	}
	if cfg.MaxLine <= 0 {
		cfg.MaxLine = 16 << 20
	}
	if cfg.Poll <= 0 {
		cfg.Poll = time.Second
	}
	if cfg.Settle <= 0 {
		cfg.Settle = 5 * time.Second
	}
	t := &Tail{cfg: cfg}
	t.out = batch{sink: cfg.Sink, most: cfg.Batch}
	return t, nil
}

// Run follows the file until ctx ends, and then returns nil: what is unread stays for
// the next time. It returns an error only if the saved position cannot be read.
func (t *Tail) Run(ctx context.Context) error {
	wake, stop := t.notify(ctx)
	defer stop()
	t.until = wake
	defer func() {
		if t.file != nil {
			_ = t.file.Close() // it was only read
		}
	}()
	if err := t.resume(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if t.file == nil && !t.openNew(ctx) {
			t.pause(ctx, t.cfg.Poll)
			continue
		}
		t.cut(ctx)
		grown := t.readAll(ctx)
		if ctx.Err() != nil {
			break
		}
		if t.rotated() && t.left(grown) {
			t.leave(ctx)
			continue
		}
		t.pause(ctx, t.cfg.Poll)
	}
	return nil
}

// resume opens the file that the saved position is in, also if it was renamed or
// copied.
func (t *Tail) resume(ctx context.Context) error {
	saved, err := loadPosition(t.cfg.Position)
	if errors.Is(err, errNoPosition) {
		// From now on what is rotated is known to have come after.
		t.remember(ctx, position{})
		return nil
	}
	if err != nil {
		return fmt.Errorf("follow %s: %w", t.cfg.Path, err)
	}
	all := append([]string{t.cfg.Path}, t.siblings(time.Time{})...)
	if t.find(ctx, all, saved.is, saved.Offset) || t.find(ctx, all, saved.copied, saved.Offset) {
		return nil
	}
	if saved.Offset > 0 {
		t.say(ctx, fmt.Sprintf("the file that was read up to byte %d is gone or was truncated; what followed there is missing", saved.Offset))
	}
	// What was rotated since the position was saved has not been read.
	if info, err := os.Stat(t.cfg.Position); err == nil {
		t.find(ctx, t.siblings(info.ModTime()), func(*os.File) bool { return true }, 0)
	}
	return nil
}

// find uses the first of several files that is the right one.
func (t *Tail) find(ctx context.Context, paths []string, right func(*os.File) bool, offset int64) bool {
	for _, path := range paths {
		f, err := os.Open(path) //nolint:gosec // the operator named it, or one beside it
		if err != nil {
			continue
		}
		if right(f) {
			t.use(ctx, f, offset)
			return true
		}
		_ = f.Close() // it was only read
	}
	return false
}

// use reads a file from an offset on. Nothing may be left of another.
func (t *Tail) use(ctx context.Context, f *os.File, offset int64) {
	t.file, t.quiet = f, time.Time{}
	t.saved = position{}
	if p, err := positionIn(f, offset); err == nil {
		t.remember(ctx, p)
	}
	t.lines = splitter{r: &at{f: f, offset: offset}, most: t.cfg.MaxLine, offset: offset}
}

// at reads a file from an offset on.
type at struct {
	f      *os.File
	offset int64
}

func (a *at) Read(b []byte) (int, error) {
	n, err := a.f.ReadAt(b, a.offset)
	a.offset += int64(n)
	return n, err // io.EOF goes through as it is
}

// openNew opens the file by its name, from the beginning.
func (t *Tail) openNew(ctx context.Context) bool {
	f, err := os.Open(t.cfg.Path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			t.cfg.Log.LogAttrs(ctx, slog.LevelError, "audit log cannot be opened", slog.Any("error", err))
		}
		return false
	}
	t.use(ctx, f, 0)
	return true
}

// cut notices that the file was truncated. It goes on in the copy that was made of
// it, where there is one, or else at the beginning.
func (t *Tail) cut(ctx context.Context) {
	_, _, size, err := identity(t.file)
	read := t.lines.offset + t.lines.pending()
	head, ok := headOf(t.file, t.saved.HeadSize)
	if err != nil || size >= read && ok && head == t.saved.Head {
		return
	}
	here := t.saved
	here.Offset = t.lines.offset
	old := t.file
	if copies := t.siblings(time.Time{}); len(copies) > 0 {
		slices.Reverse(copies) // the last is it
		if t.find(ctx, copies, here.copied, here.Offset) {
			_ = old.Close() // it was only read
			return
		}
	}
	lost := ""
	if n := t.lines.pending(); n > 0 {
		lost = fmt.Sprintf(", and %d bytes of a line that had no end", n)
	}
	t.say(ctx, fmt.Sprintf("%s was truncated after byte %d; what was not read by then is missing%s", filepath.Base(t.cfg.Path), t.lines.offset, lost))
	t.lines = splitter{r: &at{f: t.file}, most: t.cfg.MaxLine}
	t.saved = position{}
}

// readAll reads what there is and hands it to the sink. It reports whether there was
// anything.
func (t *Tail) readAll(ctx context.Context) bool {
	before := t.lines.offset + t.lines.pending()
	for ctx.Err() == nil {
		l, err := t.lines.next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.cfg.Log.LogAttrs(ctx, slog.LevelError, "audit log cannot be read", slog.Any("error", err))
			}
			break
		}
		t.take(l)
		if t.out.full() {
			t.keep(ctx)
		}
	}
	t.keep(ctx)
	return t.lines.offset+t.lines.pending() != before
}

// take decodes a line.
func (t *Tail) take(l line) {
	switch {
	case l.long:
		t.hold(fmt.Sprintf("a line of %d bytes at byte %d is longer than %d", l.size, l.offset, t.cfg.MaxLine), l.size)
	case len(bytes.TrimSpace(l.text)) == 0:
	default:
		entries, err := t.cfg.Decode(l.text)
		if err != nil {
			what := "is no JSON"
			if !l.whole {
				what = "has no end and is no JSON"
			}
			t.hold(fmt.Sprintf("a line of %d bytes at byte %d %s", l.size, l.offset, what), l.size)
			return
		}
		t.out.entries, t.out.bytes = append(t.out.entries, entries...), t.out.bytes+l.size
	}
}

// hold adds an event about the file to the batch.
func (t *Tail) hold(text string, size int64) {
	t.out.entries = append(t.out.entries, ingest.Unread(t.cfg.Source, filepath.Base(t.cfg.Path)+": "+text, t.cfg.Now()))
	t.out.bytes += size
}

// say writes an event about the file into the trail.
func (t *Tail) say(ctx context.Context, text string) {
	t.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "audit log was not read completely", slog.String("reason", text))
	t.out.entries = append(t.out.entries, ingest.Unread(t.cfg.Source, text, t.cfg.Now()))
	t.flush(ctx)
}

// flush hands the batch to the sink, as often as it takes: a log that does not take
// it now will do so later, and meanwhile the file keeps it.
func (t *Tail) flush(ctx context.Context) bool {
	const longest = 30 * time.Second
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, longest) {
		err := t.out.flush(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		t.cfg.Log.LogAttrs(ctx, slog.LevelError, "audit log waits", slog.Any("error", err), slog.Duration("for", wait))
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// keep hands the batch to the sink and saves the position behind it.
func (t *Tail) keep(ctx context.Context) {
	if t.lines.offset == t.saved.Offset && t.saved.Inode != 0 && len(t.out.entries) == 0 {
		return
	}
	if !t.flush(ctx) {
		return
	}
	p, err := positionIn(t.file, t.lines.offset)
	if err != nil { // it was truncated meanwhile, which the next look tells
		t.cfg.Log.LogAttrs(ctx, slog.LevelDebug, "position was not saved", slog.Any("error", err))
		return
	}
	if t.saved.HeadSize > 0 {
		if head, ok := headOf(t.file, t.saved.HeadSize); !ok || head != t.saved.Head {
			return // another file's beginning must not become this one's
		}
	}
	t.remember(ctx, p)
}

// remember saves a position.
func (t *Tail) remember(ctx context.Context, p position) {
	t.saved = p
	if err := p.save(t.cfg.Position); err != nil {
		// The events are kept. After a restart they are read again, which is better than
		// to stop.
		t.cfg.Log.LogAttrs(ctx, slog.LevelError, "position was not saved", slog.Any("error", err))
	}
}
