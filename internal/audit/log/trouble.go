package log

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/disk"
	"bulwark.dev/bulwark/internal/audit/log/told"
)

// sayFull makes an error that comes of a full disk an ErrFull.
func sayFull(err error) error {
	if disk.IsFull(err) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// abandon gives up a file after a failed write or sync, and tries to tell of it in the
// next one. What was acknowledged stays and is sealed from there.
func (w *writer) abandon(cause error) {
	// What was not acknowledged should not be found later. If it cannot be cut off here,
	// the beginning of the next file says where it ends.
	_ = w.file.Truncate(w.size)
	_ = w.file.Sync()
	_ = w.file.Close()
	w.file = nil
	if w.next > w.first {
		w.l.enqueue(pending{path: w.path, first: w.first, last: w.next - 1})
	} else {
		_ = disk.RemoveIfThere(w.path)
	}
	w.failed(w.path, cause)
}

// failed tells of a disk that does not take events, outside and, if it can, in the log
// itself, for which the reserve makes room.
func (w *writer) failed(path string, cause error) {
	l := w.l
	what, message := TroubleWrite, "events could not be written and were refused"
	if disk.IsFull(cause) {
		what, message = TroubleFull, "there is no room on the disk: events are refused until there is"
	}
	l.trouble(what, path, cause)
	if what == TroubleFull {
		// The sealer needs the room too: a segment is much smaller than its write-ahead file.
		if err := disk.Remove(filepath.Join(l.cfg.Dir, reserveName)); err != nil {
			l.trouble(TroubleReserve, filepath.Join(l.cfg.Dir, reserveName), err)
		}
		wakeUp(l.sealWake)
		if w.full {
			return // the log has it already
		}
		w.full, w.refused, w.tried = true, 0, l.cfg.Now().Round(0)
		l.setFull(true)
	}
	if err := w.begin(); err != nil {
		return // the next Append tries again, and Trouble has told
	}
	e := told.Event(l.cfg.Now(), what, "NotWritten", message, map[string]string{"cause": cause.Error()})
	if err := w.writeQuietly(e); err != nil {
		l.trouble(what, w.path, err)
	}
}

// writeQuietly writes one event without telling of a failure by another.
func (w *writer) writeQuietly(e *audit.Event) error {
	b, leaf := appendRecord(beginFrame(nil), e)
	chain := link(&w.chain, &leaf)
	b, err := w.cipher.endFrame(b, w.seed, w.next, 1, &chain)
	if err != nil {
		return err // nothing was written
	}
	_, err = w.file.Write(b)
	if err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		_ = w.file.Truncate(w.size)
		_ = w.file.Close()
		w.file = nil
		if w.next == w.first {
			return errors.Join(err, disk.RemoveIfThere(w.path))
		}
		w.l.enqueue(pending{path: w.path, first: w.first, last: w.next - 1})
		return err
	}
	if w.next == w.first && w.age != nil {
		w.age.Reset(w.l.cfg.SealAge)
	}
	w.next, w.chain = w.next+1, chain
	w.size += int64(len(b))
	w.l.durable(w.next-1, 1, len(b))
	w.l.remember(w.next-1, []*audit.Event{e}, nil)
	return nil
}

// reserve takes the room that is kept for a full disk.
func (l *Log) reserve() error {
	path := filepath.Join(l.cfg.Dir, reserveName)
	if info, err := os.Stat(path); err == nil && info.Size() == l.cfg.Reserve {
		return nil
	}
	if err := l.cfg.disk.Reserve(path, l.cfg.Reserve); err != nil {
		return fmt.Errorf("reserve %d bytes: %w", l.cfg.Reserve, err)
	}
	return disk.SyncFolder(l.cfg.Dir)
}

func (l *Log) makeReserve() {
	if err := l.reserve(); err != nil {
		l.trouble(TroubleReserve, filepath.Join(l.cfg.Dir, reserveName), err)
	}
}
