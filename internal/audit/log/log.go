// Package log keeps the audit trail: what is appended is on the disk, in order and
// numbered without gaps, before Append returns, and stays there.
//
// An event goes first into a write-ahead file, in which hashes chain all events.
// When such a file is large or old enough it is sealed: written again as a Parquet
// segment, read back and compared, its Merkle root given to the ledger, and only then
// removed. A process that ends at any byte or between any two of these steps is
// continued by the next Open. What Open cannot explain by an unfinished write it
// refuses, naming the file, the place and the event.
//
// One process writes. Any number read, with OpenView, which takes no lock and also
// works on a read-only disk.
//
// What is not noticed here: somebody who may write the directory can cut acknowledged
// events off the end of what is not sealed yet. What is sealed, the ledger's
// checkpoints guard.
package log

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit/log/disk"
	"bulwark.dev/bulwark/internal/audit/log/summary"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// Ledger keeps a record of each sealed segment, and knows the numbers and hashes that
// join the records. Append returns when the record is durable; a record that it has
// already is no second one, and another record of the same events is an error. Last is
// the last record that it has, or may come to have after a crash.
type Ledger interface {
	Append(ctx context.Context, r proof.Record) (index uint64, err error)
	Last() (proof.Record, bool)
}

// Config says how a log is kept. Zero values of sizes and times mean the defaults; of
// anything else they are an error, where it does not say otherwise.
type Config struct {
	// Dir is the log's own directory. It is made if it is not there.
	Dir string
	// Ledger is the ledger, or OpenLedger opens it: after the log is locked, so that no
	// two processes have it open. What OpenLedger gave and has a Close, Log.Close closes
	// before it lets go of the lock; the other stays its owner's.
	Ledger     Ledger
	OpenLedger func(ctx context.Context) (Ledger, error)
	// Key encrypts the openings of redactions. Where it is empty, DropOpenings must be set.
	Key bulwark.Secret
	// DropOpenings keeps no openings: what was redacted can then never be shown again.
	DropOpenings bool
	// Keys encrypt the files that are begun from now on: the first of them does. All may
	// decrypt what is there. Without any, nothing is encrypted, and a log that has
	// encrypted files is refused.
	Keys vault.Keys

	// A write-ahead file is sealed when it has SealEvents events (65,536) or SealBytes
	// bytes (96 MiB: sealing takes about as much memory), or when its first
	// event is SealAge old (one minute).
	SealEvents int
	SealBytes  int64
	SealAge    time.Duration
	// Reserve is how much room is kept so that a full disk can still be told of in the
	// log, and segments be sealed, which makes room (16 MiB).
	Reserve int64
	// Recent is how many of the last events are held in memory for Events; 0 is none.
	Recent int
	// Notes are written into every segment's description.
	Notes map[string]string

	// Quarantine lets Open set aside what is damaged and everything after it, and go on
	// with the numbers from there. Without it, Open refuses a damaged log.
	Quarantine bool

	Now    func() time.Time
	Random io.Reader
	Logger *slog.Logger
	// OnTrouble, which may be nil, is told of what went wrong. It must not block, and not
	// append.
	OnTrouble func(Trouble)

	disk disk.Disk
	// step is called before each step of sealing, so that a test can end there.
	step func(name string) error
}

// Trouble is something that went wrong in the life of the log.
type Trouble struct {
	// What is one of the Trouble constants.
	What string
	Path string
	Err  error
}

// What Trouble tells of, and the verb of the system events of the same name.
const (
	TroubleWrite   = "write-failed"    // events could not be written and were refused
	TroubleFull    = "disk-full"       // likewise, because there is no room
	TroubleSeal    = "seal-failed"     // a segment could not be sealed; it is tried again
	TroubleMissing = "segment-missing" // a sealed segment that the ledger knows is gone
	TroubleReserve = "reserve-failed"  // there is no room for the reserve file
	TroubleSummary = "summary-failed"  // a segment could not be added to the summary, so searches open it
	TroublePlain   = "plain-file"      // an encrypted log has files that are not encrypted
	TroubleKey     = "openings-lost"   // openings could not be decrypted, so their segment has none
)

// Errors that callers tell apart.
var (
	// ErrLocked says that another process writes the log.
	ErrLocked = errors.New("the log is in use by another writer")
	// ErrClosed says that the log was closed.
	ErrClosed = errors.New("the log is closed")
	// ErrFull says that there is no room on the disk: nothing was accepted.
	ErrFull = errors.New("the disk is full")
)

func (c *Config) complete() error {
	switch {
	case c.Dir == "":
		return errors.New("no directory")
	case (c.Ledger == nil) == (c.OpenLedger == nil):
		return errors.New("a ledger, or what opens one, is needed")
	case c.Key.Empty() && !c.DropOpenings:
		return errors.New("no key for openings, and nothing says to drop them")
	case !c.Key.Empty() && c.DropOpenings:
		return errors.New("a key for openings, and yet they are to be dropped")
	case c.Now == nil || c.Random == nil || c.Logger == nil:
		return errors.New("a clock, a source of randomness and a logger are needed")
	case c.Recent < 0 || c.SealEvents < 0 || c.SealBytes < 0 || c.SealAge < 0 || c.Reserve < 0:
		return errors.New("a size or time is negative")
	}
	if c.SealEvents == 0 {
		c.SealEvents = 1 << 16
	}
	if c.SealBytes == 0 {
		c.SealBytes = 96 << 20
	}
	if c.SealAge == 0 {
		c.SealAge = time.Minute
	}
	if c.Reserve == 0 {
		c.Reserve = 16 << 20
	}
	if c.disk == nil {
		c.disk = disk.System{}
	}
	if c.step == nil {
		c.step = func(string) error { return nil }
	}
	return nil
}

// Log is the one writer of a trail. Its methods may be called from several goroutines.
type Log struct {
	cfg    Config
	lock   *os.File
	master cipher.AEAD // nil when openings are dropped

	mu      sync.Mutex
	queue   []*request
	closed  bool
	last    uint64        // the last event that is durable
	changed chan struct{} // closed when last moves
	pending []pending     // closed write-ahead files that wait to be sealed
	sealing chan struct{} // closed after each attempt to seal
	sealErr error         // of the last attempt
	waited  int           // who wait in Seal
	making  bool          // retention makes room on a full disk
	stats   Stats

	wake     chan struct{} // tells the writer of requests
	rotate   chan chan struct{}
	sealWake chan struct{} // tells the sealer of pending files
	stop     context.CancelFunc
	parts    sync.WaitGroup
	closing  chan struct{}
	closeErr error

	recent recent

	// Of the goroutine that seals.
	pacer   pacer
	summary *summary.Writer // nil until there is something to add

	// shred is held by who changes openings files.
	shred sync.Mutex
	w     writer
	pool  sync.Pool
}

// Open takes the log in cfg.Dir for this process, brings what a crash left into order,
// and starts to accept events. ctx bounds only the opening.
func Open(ctx context.Context, cfg Config) (*Log, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	l, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the audit log %s: %w", cfg.Dir, err)
	}
	return l, nil
}

func open(ctx context.Context, cfg Config) (*Log, error) {
	by, err := master(cfg.Key)
	if err != nil {
		return nil, err
	}
	if err := makeFolders(cfg.Dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(filepath.Join(cfg.Dir, lockName))
	if err != nil {
		return nil, err
	}
	if cfg.OpenLedger != nil {
		if cfg.Ledger, err = cfg.OpenLedger(ctx); err != nil {
			return nil, errors.Join(err, releaseLock(lock))
		}
		if cfg.Ledger == nil {
			return nil, errors.Join(errors.New("no ledger was opened"), releaseLock(lock))
		}
	}
	l := &Log{
		cfg: cfg, lock: lock, master: by,
		changed: make(chan struct{}), sealing: make(chan struct{}), closing: make(chan struct{}),
		wake: make(chan struct{}, 1), sealWake: make(chan struct{}, 1), rotate: make(chan chan struct{}),
		pool: sync.Pool{New: func() any { return new(request) }},
	}
	l.w.l = l
	l.recent.most = cfg.Recent
	l.pacer = pacer{now: cfg.Now, hurry: l.hurries, rest: rest}
	var mixed Mixture
	if err = MissingKeys(cfg.Dir, cfg.Keys); err == nil {
		err = l.plainUnsealed(&mixed)
	}
	if err == nil {
		err = l.recover(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, l.w.close(), l.closeLedger(), releaseLock(lock))
	}
	l.makeReserve()
	l.w.tell()
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop = stop
	l.parts.Go(l.w.run)
	l.parts.Go(func() { l.sealAll(background) })
	if !cfg.Keys.Empty() {
		l.parts.Go(func() { l.lookForPlain(background, mixed) })
	}
	return l, nil
}

// closeLedger closes a ledger that the log opened.
func (l *Log) closeLedger() error {
	if c, ok := l.cfg.Ledger.(io.Closer); ok && l.cfg.OpenLedger != nil {
		return c.Close()
	}
	return nil
}

// makeFolders makes the log's directory durably.
func makeFolders(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, folderMode); err != nil {
			return err
		}
		if err := disk.SyncFolder(filepath.Dir(dir)); err != nil {
			return err
		}
	}
	for _, name := range []string{sealedName, openingsName} {
		if err := os.MkdirAll(filepath.Join(dir, name), folderMode); err != nil {
			return err
		}
	}
	return disk.SyncFolder(dir)
}

// Dir is the log's directory.
func (l *Log) Dir() string { return l.cfg.Dir }

// Last is the number of the last event that is on the disk, or 0.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Changed gives a channel that is closed when Last moves. To miss nothing, ask for the
// channel first, then for Last.
func (l *Log) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// View gives a view of this log that shows nothing that is not acknowledged yet.
func (l *Log) View() (*View, error) {
	return OpenView(l.cfg.Dir, ViewOptions{Bound: l.Last, Keys: l.cfg.Keys})
}

// Close writes what was accepted, lets a running seal go at its next step, and gives
// the log free. What is not sealed is sealed after the next Open.
func (l *Log) Close() error {
	l.mu.Lock()
	already := l.closed
	l.closed = true
	l.mu.Unlock()
	if already {
		return ErrClosed
	}
	l.stop()
	close(l.closing)
	l.parts.Wait()
	if err := errors.Join(l.closeErr, l.closeLedger(), releaseLock(l.lock)); err != nil {
		return fmt.Errorf("close the audit log %s: %w", l.cfg.Dir, err)
	}
	return nil
}

// Stats are counts since Open, and what is so now.
type Stats struct {
	Last    uint64
	Events  uint64 // appended
	Commits uint64 // writes and syncs that they took
	Bytes   uint64 // written to write-ahead files
	Refused uint64 // events of Appends that failed because of the disk
	// Waiting write-ahead files are closed and not sealed yet.
	Waiting int
	Sealed  uint64
	// Full says that there is no room and that nothing is accepted.
	Full     bool
	Troubles uint64
	// LastTrouble is the last one's text.
	LastTrouble string
}

// Stats gives counts for metrics and health.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.stats
	s.Last, s.Waiting = l.last, len(l.pending)
	return s
}

// trouble logs, counts and tells.
func (l *Log) trouble(what, path string, err error) {
	l.mu.Lock()
	l.stats.Troubles++
	l.stats.LastTrouble = what + ": " + err.Error()
	l.mu.Unlock()
	l.cfg.Logger.Error("audit log",
		slog.String("trouble", what), slog.String("path", path), slog.String("error", err.Error()))
	if l.cfg.OnTrouble != nil {
		l.cfg.OnTrouble(Trouble{What: what, Path: path, Err: err})
	}
}
