package log

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/disk"
	"bulwark.dev/bulwark/internal/audit/log/told"
	"bulwark.dev/bulwark/internal/audit/vault"
)

// scanned is a write-ahead file that was read to its end.
type scanned struct {
	active
	head     head
	last     uint64 // its last sound event; first-1 when it has none
	end      int64  // where that event's frame ends
	size     int64
	chain    hash
	torn     bool
	damage   *DamageError
	received time.Time // of the last event
}

// recover brings the directory into order and readies the writer.
//
// The ledger says which events are sealed. What of it has a segment needs its
// write-ahead file no more; what has none yet is sealed again from that file, which must
// lead to the same chain hash. After it, files follow each other without a gap, each
// beginning with the chain hash that the one before it ends with. Only the end of the
// last may be unfinished, and that is cut off.
func (l *Log) recover(ctx context.Context) error {
	w := &l.w
	w.next = 1
	sealed, isSealed := l.cfg.Ledger.Last()
	if isSealed {
		w.next, w.chain, w.clock = sealed.Last+1, sealed.Chain, sealed.To
	}
	if err := l.checkSealed(sealed.Last); err != nil {
		return err
	}
	files, err := listActive(l.cfg.Dir)
	if err != nil {
		return err
	}
	if files, err = l.finishSealed(ctx, files, sealed.Last, sealed.Chain); err != nil {
		return err
	}
	if err := l.removeUnfinished(sealed.Last); err != nil {
		return err
	}
	for i, file := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		bound := uint64(0)
		if i+1 < len(files) {
			bound = files[i+1].first
		}
		s, err := l.join(file, bound)
		if err != nil {
			if s.damage == nil || !l.cfg.Quarantine {
				return err
			}
			if err := l.setAside(files[i:], s); err != nil || s.last < s.first {
				l.last = w.next - 1
				return err
			}
			s.size = s.end // the rest was told of
			return l.resume(s, true)
		}
		if err := l.resume(s, i+1 == len(files)); err != nil {
			return err
		}
	}
	l.last = w.next - 1
	return nil
}

// checkSealed compares the segments in the directory with the ledger, and throws away
// what a seal that was not finished left.
func (l *Log) checkSealed(last uint64) error {
	folder := filepath.Join(l.cfg.Dir, sealedName)
	segments, err := listSpans(folder, sealedSuffix)
	if err != nil {
		return err
	}
	next := uint64(1)
	missing := func(to uint64) {
		l.trouble(TroubleMissing, folder, fmt.Errorf("the ledger has events %d to %d, and no segment does", next, to))
	}
	for _, s := range segments {
		switch {
		case s.Last > last:
			return fmt.Errorf("%s is sealed, but the ledger ends with event %d: it is not the ledger of this log, or an older state of it", s.Path, last)
		case s.First < next:
			return fmt.Errorf("%s has events that another segment has too, which ends with event %d", s.Path, next-1)
		case s.First > next:
			missing(s.First - 1)
		}
		next = s.Last + 1
	}
	if next <= last {
		files, err := listActive(l.cfg.Dir)
		if err != nil {
			return err
		}
		if len(files) > 0 && files[0].first <= last {
			last = files[0].first - 1 // the rest is sealed from there
		}
		if next <= last {
			missing(last)
		}
	}
	return nil
}

// removeUnfinished removes files that never got their name, and openings of segments
// that were never sealed: the write-ahead files still have them.
func (l *Log) removeUnfinished(last uint64) error {
	folder := filepath.Join(l.cfg.Dir, openingsName)
	if err := finishShred(folder); err != nil {
		return err
	}
	openings, err := listSpans(folder, openingsSuffix)
	if err != nil {
		return err
	}
	for _, o := range openings {
		if o.Last > last {
			if err := disk.Remove(o.Path); err != nil {
				return err
			}
		}
	}
	for _, folder := range []string{l.cfg.Dir, filepath.Join(l.cfg.Dir, sealedName), filepath.Join(l.cfg.Dir, openingsName)} {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if !strings.HasSuffix(entry.Name(), temporarySuffix) {
				continue
			}
			if err := disk.Remove(filepath.Join(folder, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// finishSealed ends what a crash interrupted after the ledger had the record, and gives
// the files that are left.
func (l *Log) finishSealed(ctx context.Context, files []active, last uint64, chain hash) ([]active, error) {
	segments, err := listSpans(filepath.Join(l.cfg.Dir, sealedName), sealedSuffix)
	if err != nil {
		return nil, err
	}
	has := map[uint64]bool{}
	for _, s := range segments {
		has[s.First] = true
	}
	for len(files) > 0 && files[0].first <= last {
		file := files[0]
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if has[file.first] {
			if err := discard(file.path); err != nil {
				return nil, fmt.Errorf("remove %s, which is sealed: %w", file.path, err)
			}
			files = files[1:]
			continue
		}
		bound := last + 1
		if len(files) > 1 && files[1].first <= last {
			bound = files[1].first
		}
		s, err := scan(file, bound, l.cfg.Keys)
		if err != nil {
			return nil, err
		}
		if s.damage == nil && (s.last != bound-1 || bound == last+1 && s.chain != chain) {
			s.damage = &DamageError{Path: file.path, Offset: s.end, Seq: file.first, What: fmt.Sprintf(
				"the ledger has the record of events to %d, and this file does not lead to it: "+
					"one of them was changed or put back to an older state", bound-1,
			)}
		}
		if s.damage != nil && !l.cfg.Quarantine {
			return nil, s.damage
		}
		if s.damage != nil {
			s.last = file.first - 1 // nothing of it is kept
			if err := l.setAside(files[:1], s); err != nil {
				return nil, err
			}
			files = files[1:]
			continue
		}
		l.pending = append(l.pending, pending{path: file.path, first: file.first, last: s.last})
		files = files[1:]
	}
	return files, nil
}

// join scans the file that goes on where the writer is. When its error is of damage,
// the result has that, and tells what is sound before it.
func (l *Log) join(file active, bound uint64) (scanned, error) {
	w := &l.w
	if file.first != w.next {
		s := scanned{active: file, last: file.first - 1}
		s.damage = &DamageError{Path: file.path, Seq: w.next, What: fmt.Sprintf("it begins with event %d: the events before it are missing", file.first)}
		return s, s.damage
	}
	s, err := scan(file, bound, l.cfg.Keys)
	switch {
	case err != nil:
		return s, err
	case s.end > 0 && s.head.chain != w.chain:
		s.end, s.last = 0, file.first-1
		s.damage = &DamageError{Path: file.path, Seq: w.next, What: "it does not begin with the chain hash of the events before it"}
	case s.damage == nil && bound > 0 && s.last != bound-1:
		s.damage = &DamageError{Path: file.path, Offset: s.end, Seq: s.last + 1, What: fmt.Sprintf("it ends, and the next file begins with event %d", bound)}
	}
	if s.damage != nil {
		return s, s.damage
	}
	return s, nil
}

// scan reads a file to its end, or to the event before bound when that is not 0: what
// comes after was never acknowledged, since a later file has those numbers.
func scan(file active, bound uint64, keys vault.Keys) (scanned, error) {
	s := scanned{active: file, last: file.first - 1}
	f, err := os.Open(file.path)
	if err != nil {
		return s, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return s, err
	}
	s.size = info.Size()
	r, err := openReader(f, s.size, file.path, file.first, keys)
	if err == nil {
		s.head, s.end, s.chain = r.head, r.offset, r.chain
		err = r.checkKeyBox()
	}
	var received []byte
	for err == nil && (bound == 0 || r.next < bound) {
		var fr frame
		if fr, err = r.frame(); err == nil {
			s.last, s.end, s.chain = r.next-1, r.offset, r.chain
			if n := len(fr.records); n > 0 {
				received = append(received[:0], fr.records[n-1].event...)
			}
		}
	}
	if len(received) > 0 {
		if e, err := audit.ParseCanonical(received); err == nil {
			s.received = e.Received
		}
	}
	switch {
	case err == nil || errors.Is(err, io.EOF):
	case errors.Is(err, errTorn):
		s.torn = true
	case errors.As(err, &s.damage):
	default:
		return s, err
	}
	return s, nil
}

// resume takes over a file that is sound up to its end. The last one is written on;
// what is unfinished in it is cut off. Others only wait to be sealed.
func (l *Log) resume(s scanned, isLast bool) error {
	w := &l.w
	defer func() { l.last = w.next - 1 }()
	if s.last < s.first { // it has no events
		if err := disk.Remove(s.path); err != nil {
			return err
		}
		if s.size > s.end {
			w.untold = append(w.untold, l.cutEvent(s))
		}
		return nil
	}
	w.next, w.chain = s.last+1, s.chain
	if s.received.After(w.clock) {
		w.clock = s.received
	}
	if !isLast {
		l.pending = append(l.pending, pending{path: s.path, first: s.first, last: s.last})
		return nil
	}
	if s.size > s.end {
		w.untold = append(w.untold, l.cutEvent(s))
	}
	f, err := l.cfg.disk.Reopen(s.path)
	if err != nil {
		return fmt.Errorf("go on with %s: %w", s.path, err)
	}
	err = f.Truncate(s.end)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cut off what is not finished in %s: %w", s.path, err), f.Close())
	}
	w.file, w.path, w.first, w.size, w.seed = f, s.path, s.first, s.end, s.head.seed()
	if s.head.locked || !l.cfg.Keys.Empty() {
		w.finish() // an encrypted file is not written on, and what is new is to be encrypted
		return nil
	}
	if l.master != nil {
		if w.key, err = unwrap(l.master, &s.head.keyBox, s.head.id[:]); err != nil {
			w.finish() // it was written under another key, so nothing more is
			return nil
		}
	}
	return nil
}

func (l *Log) cutEvent(s scanned) *audit.Event {
	return told.Event(l.cfg.Now(), "recovered", "", "the log was not closed; what was being written then was never acknowledged and was cut off",
		map[string]string{"file": filepath.Base(s.path), "bytes": strconv.FormatInt(s.size-s.end, 10), "from": strconv.FormatUint(s.last+1, 10)})
}

// setAside puts a damaged file into quarantine, with all files after it, and readies an
// event that tells of it. A file that has sound events before the damage stays too.
func (l *Log) setAside(files []active, s scanned) error {
	now := l.cfg.Now()
	folder := filepath.Join(l.cfg.Dir, quarantineName, strconv.FormatInt(now.UnixMicro(), 10))
	if err := os.MkdirAll(folder, folderMode); err != nil {
		return fmt.Errorf("set damaged files aside: %w", err)
	}
	var bytes int64
	for i, file := range files {
		aside := filepath.Join(folder, filepath.Base(file.path))
		info, err := os.Stat(file.path)
		if err != nil {
			return fmt.Errorf("set damaged files aside: %w", err)
		}
		bytes += info.Size()
		if i == 0 && s.last >= s.first {
			bytes -= s.end
			err = copyFile(file.path, aside)
		} else {
			err = os.Rename(file.path, aside)
		}
		if err != nil {
			return fmt.Errorf("set damaged files aside: %w", err)
		}
	}
	for _, path := range []string{folder, filepath.Dir(folder), l.cfg.Dir} {
		if err := disk.SyncFolder(path); err != nil {
			return err
		}
	}
	l.w.untold = append(l.w.untold, told.Event(now, "quarantined", "Damaged", "the log was damaged: the events from there on were set aside, and the log goes on without them",
		map[string]string{
			"cause": s.damage.Error(), "from": strconv.FormatUint(s.damage.Seq, 10),
			"files": strconv.Itoa(len(files)), "bytes": strconv.FormatInt(bytes, 10), "folder": filepath.Base(folder),
		}))
	return nil
}

func copyFile(from, to string) error {
	src, err := os.Open(from) //nolint:gosec // a name that this package made
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // only read
	return writeFile(to, func(w io.Writer) error {
		_, err := io.Copy(w, src)
		return err
	})
}
