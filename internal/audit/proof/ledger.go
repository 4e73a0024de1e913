package proof

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
)

// How the ledger is driven. A record is sequenced at once, and its checkpoint is
// signed as soon as it is in the tree; the interval only matters when that signal is
// missed.
const (
	checkpointInterval = 200 * time.Millisecond
	publicationPoll    = 10 * time.Millisecond
	sequenceAge        = 50 * time.Millisecond
	shutdownLimit      = 10 * time.Second
)

// ErrConflict: the ledger has another record of the same events. The log and its
// ledger disagree about the past, so nothing more may be written.
var ErrConflict = errors.New("the ledger has another record of these events")

// LedgerConfig is what a Ledger needs.
type LedgerConfig struct {
	// Dir is the data directory; the ledger stands in Dir/tlog, its key in Dir/keys.
	Dir string
	// Origin is the name of the log, one word such as example.com/audit, which no other
	// log may have. Empty: the key's, or on the first start one that is made up.
	Origin string
	// Random is where a new key comes from; nil is crypto/rand.
	Random io.Reader
	// Kept are checkpoints of this log that were kept elsewhere. A ledger that does not
	// begin with what they signed is refused.
	Kept [][]byte
}

// Ledger is the transparency log of sealed segments: one writer, one leaf for each
// segment, checkpoints signed with the log's key.
type Ledger struct {
	dir   string
	key   *key
	files Files

	appender *tessera.Appender
	reader   tessera.LogReader
	shutdown func(context.Context) error
	cancel   context.CancelFunc

	mu     sync.Mutex
	state  *state
	closed bool
}

// OpenLedger opens the ledger of a data directory, or begins one. Before it lets
// anything sign it reads all records and refuses a ledger whose files do not agree
// with its last checkpoint, with the key or with a kept checkpoint. The caller holds
// the log's lock.
func OpenLedger(ctx context.Context, config LedgerConfig) (*Ledger, error) {
	if config.Dir == "" {
		return nil, errors.New("open ledger: the data directory is required")
	}
	random := config.Random
	if random == nil {
		random = rand.Reader
	}
	key, err := openKey(config.Dir, config.Origin, random)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	path := LedgerPath(config.Dir)
	l := &Ledger{dir: path, key: key, files: NewFiles(os.DirFS(path)), state: newState()}
	if err := l.inspect(ctx, config); err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", path, err)
	}
	if err := l.start(ctx); err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", path, err)
	}
	if err := l.published(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open ledger %s: %w", path, err), l.close(ctx))
	}
	return l, nil
}

// start hands the directory to Tessera.
func (l *Ledger) start(ctx context.Context) error {
	// The background work ends with Close, not with the call that opened the ledger.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if err := l.age(); err != nil && !absent(err) {
		cancel()
		return err
	}
	driver, err := posix.New(ctx, posix.Config{Path: l.dir})
	if err != nil {
		cancel()
		return err
	}
	options := tessera.NewAppendOptions().
		WithCheckpointSigner(l.key.signer).
		WithBatching(1, sequenceAge).
		WithCheckpointInterval(checkpointInterval).
		// The same state is signed once: a checkpoint changes only when the ledger grows.
		WithCheckpointRepublishInterval(0).
		WithShutdownTimeout(shutdownLimit)
	l.appender, l.shutdown, l.reader, err = tessera.NewAppender(ctx, driver, options)
	if err != nil {
		cancel()
		return err
	}
	l.cancel = cancel
	return nil
}

// Append puts the record of a sealed segment into the ledger, and returns its index
// once a checkpoint that covers it is published and durable. Version, Number and
// Previous may be left zero: the ledger knows them.
//
// It may be called again after an error or a crash: a record that the ledger has
// already gets the index that it has. Another record of the same events is
// ErrConflict, one that leaves a gap is an error.
func (l *Ledger) Append(ctx context.Context, r Record) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, errors.New("append to the ledger: it is closed")
	}
	// An append that failed before may have come into the tree all the same.
	if err := l.catchUp(ctx); err != nil {
		return 0, fmt.Errorf("append segment of events %d to %d to the ledger: %w", r.First, r.Last, err)
	}
	index, raw, err := l.place(&r)
	if err != nil {
		return 0, fmt.Errorf("append segment of events %d to %d to the ledger: %w", r.First, r.Last, err)
	}
	if err := l.keepBlocks(&r); err != nil {
		return 0, fmt.Errorf("append segment %d to the ledger: %w", r.Number, err)
	}
	if index == l.state.size() {
		if err := l.sequence(ctx, index, raw); err != nil {
			return 0, fmt.Errorf("append segment %d to the ledger: %w", r.Number, err)
		}
	}
	if err := l.published(ctx); err != nil {
		return 0, fmt.Errorf("append segment %d to the ledger: %w", r.Number, err)
	}
	return index, nil
}

// catchUp reads what is in the tree beyond what the ledger knows.
func (l *Ledger) catchUp(ctx context.Context) error {
	size, err := l.reader.IntegratedSize(ctx)
	if err != nil {
		return err
	}
	return l.files.load(l.state, size, nil)
}

// place works out where a record belongs: the index that it has already, or the next
// one. It completes the record and gives its bytes.
func (l *Ledger) place(r *Record) (uint64, []byte, error) {
	s := l.state
	index, known := slices.BinarySearch(s.firsts, r.First)
	before, digest := s.last, s.digest
	var old []byte
	var err error
	if known {
		if old, err = l.files.record(uint64(index), s.size()); err != nil { //nolint:gosec // an index
			return 0, nil, err
		}
		parsed, err := ParseRecord(old)
		if err != nil {
			return 0, nil, fmt.Errorf("record %d of the ledger: %w", index+1, err)
		}
		before, digest = Record{Number: parsed.Number - 1, Last: parsed.First - 1}, parsed.Previous
	}
	r.Version = max(r.Version, RecordVersion)
	if r.Number == 0 {
		r.Number, r.Previous = before.Number+1, digest
	}
	if err := Follows(&before, digest, r); err != nil {
		if r.First <= s.last.Last {
			return 0, nil, fmt.Errorf("%w, which ends with event %d: %w", ErrConflict, s.last.Last, err)
		}
		return 0, nil, err
	}
	raw, err := r.AppendText(nil)
	if err != nil {
		return 0, nil, err
	}
	if known && !bytes.Equal(old, raw) {
		return 0, nil, fmt.Errorf("%w: record %d is\n%sand not\n%s", ErrConflict, index+1, old, raw)
	}
	return uint64(index), raw, nil //nolint:gosec // a length
}

// sequence puts one record into the tree.
func (l *Ledger) sequence(ctx context.Context, index uint64, raw []byte) error {
	if err := l.unchanged(ctx); err != nil {
		return err
	}
	if err := l.age(); err != nil {
		return err
	}
	assigned, err := l.appender.Add(ctx, tessera.NewEntry(raw))()
	if err != nil {
		return err
	}
	if assigned.Index != index {
		return fmt.Errorf("it became record %d and not %d: somebody else writes to %s", assigned.Index+1, index+1, l.dir)
	}
	return l.state.push(raw, nil)
}

// age makes the published checkpoint look old. Tessera asks its modification time
// whether it is too young to be replaced, and a clock that was put back would make it
// young for hours.
func (l *Ledger) age() error {
	long := time.Unix(0, 0)
	return os.Chtimes(filepath.Join(l.dir, checkpointFile), long, long)
}

// published waits for a checkpoint that covers all records, and makes sure that it
// signs what the ledger knows and that it is on disk.
func (l *Ledger) published(ctx context.Context) error {
	tick := time.NewTicker(publicationPoll)
	defer tick.Stop()
	for {
		c, err := l.checkpoint()
		switch {
		case err == nil && c.Size >= l.state.size():
			if err := l.signsState(c); err != nil {
				return err
			}
			return syncDir(l.dir)
		case err != nil && !absent(err): // the first one may take a moment
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a checkpoint of %d records, there is one of %d: %w", l.state.size(), c.Size, ctx.Err())
		case <-tick.C:
		}
	}
}

// signsState compares a checkpoint over all records with their root.
func (l *Ledger) signsState(c Checkpoint) error {
	root, err := l.state.root()
	if err != nil {
		return err
	}
	if c.Size != l.state.size() || c.Root != root {
		return fmt.Errorf("the checkpoint of %d records with root %x is not that of the %d records written, whose root is %x: %s was changed from outside",
			c.Size, c.Root, l.state.size(), root, l.dir)
	}
	return nil
}

func (l *Ledger) checkpoint() (Checkpoint, error) {
	raw, err := l.files.Checkpoint()
	if err != nil {
		return Checkpoint{}, err
	}
	return ParseCheckpoint(raw, l.key.verifier)
}

// Last is the last record in the ledger; false when there is none.
func (l *Ledger) Last() (Record, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state.last, l.state.size() > 0
}

// Checkpoint is the published checkpoint.
func (l *Ledger) Checkpoint() (Checkpoint, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.checkpoint()
}

// Verifier is the text of the public key: what to keep elsewhere for verification.
func (l *Ledger) Verifier() string { return l.key.text }

// Close waits for what was appended to be published and stops the background work. A
// second call does nothing.
func (l *Ledger) Close() error { return l.close(context.Background()) }

func (l *Ledger) close(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	defer l.cancel()
	if err := l.shutdown(ctx); err != nil {
		return fmt.Errorf("close ledger: %w", err)
	}
	return nil
}

// absent reports whether an error says that a file is not there.
func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
