package log

import (
	"errors"
	"os"
	"path/filepath"

	"bulwark.dev/bulwark/internal/audit/log/disk"
)

// roomName is room that is kept for a retention on a full disk. Retention writes before it
// removes: what goes is told of and sealed first, and a segment is written anew beside the
// old one. On a full disk it could therefore never make room.
const roomName = "reserve-retention"

// isFull reports whether something failed because there was no room.
func isFull(err error) bool { return errors.Is(err, ErrFull) || disk.IsFull(err) }

// makeRoom frees the room that is kept for retention. Until the function that it gives is
// called, a log that is full takes only what retention appends, and does not try to take
// that room for its own.
func (l *Log) makeRoom() (done func()) {
	path := filepath.Join(l.cfg.Dir, roomName)
	l.setMaking(true)
	if err := disk.Remove(path); err != nil {
		l.trouble(TroubleReserve, path, err)
	}
	return func() { l.setMaking(false) }
}

func (l *Log) setMaking(making bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.making = making
}

func (l *Log) isMaking() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.making
}

// keepRoom keeps so much room for a later retention, if there is so much more.
func (l *Log) keepRoom(size, more int64) {
	path := filepath.Join(l.cfg.Dir, roomName)
	had := int64(0)
	if info, err := os.Stat(path); err == nil {
		if had = info.Size(); had >= size {
			return
		}
	}
	err := l.cfg.disk.Reserve(path, size+more)
	if err == nil && more > 0 {
		err = l.cfg.disk.Reserve(path, size)
	}
	if err != nil {
		if had > 0 {
			err = errors.Join(err, l.cfg.disk.Reserve(path, had))
		}
		l.trouble(TroubleReserve, path, err)
		return
	}
	if err := disk.SyncFolder(l.cfg.Dir); err != nil {
		l.trouble(TroubleReserve, path, err)
	}
}

// room is how much a retention may need before it has made some: what tells of it, and
// two segments as large as the largest.
func (r *retention) room() int64 {
	size := r.k.cfg.Log.cfg.Reserve
	largest := int64(0)
	for _, f := range r.files {
		largest = max(largest, f.bytes)
	}
	return size + 2*largest
}

// absorb adds what an attempt before this one took away until the disk was full.
func (r *Retained) absorb(before *Retained) {
	if len(before.Classes) != len(r.Classes) {
		return // it did not come far enough
	}
	r.BytesBefore = before.BytesBefore
	r.Segments += before.Segments
	for i := range r.Classes {
		now, was := &r.Classes[i], &before.Classes[i]
		now.Events += was.Events
		now.ByAge += was.ByAge
		now.BySize += was.BySize
		now.Bytes += was.Bytes
		if now.From.IsZero() || !was.From.IsZero() && was.From.Before(now.From) {
			now.From = was.From
		}
		if was.To.After(now.To) {
			now.To = was.To
		}
	}
}
