package log

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/disk"
	"bulwark.dev/bulwark/internal/audit/log/told"
)

// restName is the openings file that takes the place of one that is shredded in part.
const restName = "rest"

// ErrNotSealed says that events were asked for by number that are not sealed yet.
var ErrNotSealed = errors.New("not sealed yet")

// Shred destroys the openings of the events first to last: nobody can learn any more
// what was redacted in them, and every hash still verifies. It returns how many events
// lost theirs, and the log tells of it. The openings of other events stay. The events
// must be sealed; see Seal. It knows nothing of holds: Keeper.Shred does.
func (l *Log) Shred(ctx context.Context, first, last uint64) (int, error) {
	if first == 0 || last < first {
		return 0, fmt.Errorf("shred openings of events %d to %d: no such range", first, last)
	}
	l.shred.Lock()
	shredded, err := l.shredRange(ctx, first, last)
	l.shred.Unlock()
	if err != nil {
		err = fmt.Errorf("shred openings of events %d to %d: %w", first, last, err)
	}
	if shredded == 0 {
		return 0, err
	}
	e := told.Event(l.cfg.Now(), "shredded", "", "the openings of redactions were destroyed", map[string]string{
		"from": strconv.FormatUint(first, 10), "to": strconv.FormatUint(last, 10), "events": strconv.Itoa(shredded),
	})
	_, told := l.Append(context.WithoutCancel(ctx), []audit.Entry{{Event: e}})
	return shredded, errors.Join(err, told)
}

func (l *Log) shredRange(ctx context.Context, first, last uint64) (int, error) {
	if unsealed := l.firstUnsealed(); last >= unsealed {
		return 0, fmt.Errorf("event %d: %w", max(first, unsealed), ErrNotSealed)
	}
	if l.master == nil {
		return 0, errors.New("no key for openings was given")
	}
	folder := filepath.Join(l.cfg.Dir, openingsName)
	files, err := listSpans(folder, openingsSuffix)
	if err != nil {
		return 0, err
	}
	shredded := 0
	for _, file := range files {
		if file.Last < first || file.First > last {
			continue
		}
		if err := ctx.Err(); err != nil {
			return shredded, err
		}
		gone := func(seq uint64) bool { return first <= seq && seq <= last }
		n, err := l.shredIn(folder, file, gone, first <= file.First && file.Last <= last)
		shredded += n
		if err != nil {
			return shredded, err
		}
	}
	return shredded, nil
}

// shredIn destroys a file's key, after what is to stay was written anew under another;
// whole says that nothing is.
func (l *Log) shredIn(folder string, file SegmentFile, gone func(seq uint64) bool, whole bool) (int, error) {
	var stay []opened
	shredded := 0
	err := readOpenings(file.Path, l.master, func(o opened) error {
		if !gone(o.seq) {
			stay = append(stay, o)
		} else {
			shredded++
		}
		return nil
	})
	switch {
	case errors.Is(err, ErrShredded) && !whole:
		return 0, disk.Remove(file.Path) // a crash came between the key and the file
	case err != nil && !whole:
		return 0, err
	case err == nil && shredded == 0:
		return 0, nil
	case len(stay) == 0 || whole:
		return max(shredded, 1), shredFile(file.Path) // one that cannot be read is destroyed all the same
	}
	// The rest comes to lie beside the old file before the old key is destroyed, and then
	// takes its name. A crash between the two leaves the old file without a key.
	beside := filepath.Join(folder, restName)
	if err := writeOpeningsAt(beside, file.First, file.Last, stay, l.master, l.cfg.Random); err != nil {
		return 0, err
	}
	if err := destroyKey(file.Path, openingsKeyAt, keyBoxSize); err != nil {
		return 0, err
	}
	return shredded, disk.Publish(beside, file.Path)
}

// firstUnsealed is the first event that is in no segment yet.
func (l *Log) firstUnsealed() uint64 {
	sealed, ok := l.cfg.Ledger.Last()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case len(l.pending) > 0:
		return l.pending[0].first
	case ok:
		return sealed.Last + 1
	}
	return 1
}

// finishShred ends what a crash interrupted: once the old key is gone, the rest takes
// the place of the file that it encrypted.
func finishShred(folder string) error {
	beside := filepath.Join(folder, restName)
	top, err := readTop(beside)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	path := filepath.Join(folder, spanName(binary.BigEndian.Uint64(top[8:]), binary.BigEndian.Uint64(top[16:]), openingsSuffix))
	old, err := readTop(path)
	if err == nil && [keyBoxSize]byte(old[openingsKeyAt:]) == [keyBoxSize]byte{} {
		return disk.Publish(beside, path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return disk.Remove(beside)
}

// readTop reads the head of an openings file.
func readTop(path string) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // a name that this package made
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	top := make([]byte, openingsHead)
	if _, err := io.ReadFull(f, top); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return top, nil
}
