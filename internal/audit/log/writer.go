package log

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/disk"
	"bulwark.dev/bulwark/internal/audit/log/told"
)

// stepBack is how far the clock may go back before the log tells of it: clocks that
// are kept in step move by less.
const stepBack = time.Second

// reserveEvery is how often a full log tries whether there is room again.
const reserveEvery = time.Second

// writer numbers, chains and writes. All of it belongs to one goroutine, but for Open,
// which uses it before that goroutine starts.
type writer struct {
	l *Log

	// next is the number of the next event and chain the hash before it.
	next  uint64
	chain hash
	clock time.Time // the last time read, without the part that never steps

	// The file that is written, nil when there is none.
	file  disk.File
	path  string
	first uint64
	size  int64
	began time.Time // when it was made
	seed  uint32
	key   cipher.AEAD
	// cipher encrypts the file's frames; nil where they are not.
	cipher *frameCipher
	age    *time.Timer

	buf []byte
	// untold are events of the log's own that are still to be written.
	untold []*audit.Event

	full    bool
	refused uint64    // events since the disk was full
	tried   time.Time // when room was last looked for
}

// pending is a closed write-ahead file with the events first to last, to be sealed.
type pending struct {
	path        string
	first, last uint64
	filled      time.Duration // how long it took to fill; 0 where nobody knows
}

// run writes what is queued until the log is closed.
func (w *writer) run() {
	w.age = time.NewTimer(w.l.cfg.SealAge)
	defer w.age.Stop()
	for closing := false; !closing; {
		select {
		case <-w.l.wake:
		case <-w.age.C:
			if w.file != nil && w.next > w.first {
				w.finish()
			}
		case done := <-w.l.rotate:
			w.commitAll()
			if w.file != nil && w.next > w.first {
				w.finish()
			}
			close(done)
		case <-w.l.closing:
			closing = true
		}
		w.commitAll()
	}
	w.l.closeErr = w.close()
}

func (w *writer) commitAll() {
	for group := w.take(); len(group) > 0; group = w.take() {
		w.commit(group)
	}
}

// take gathers what waits into one group, whose frame is no longer than it should be.
func (w *writer) take() []*request {
	l := w.l
	l.mu.Lock()
	defer l.mu.Unlock()
	n, size, events := 0, 0, 0
	for n < len(l.queue) {
		r := l.queue[n]
		if n > 0 && (r.forced || l.queue[0].forced || size+r.size > groupBytes || events+len(r.entries) > l.cfg.SealEvents) {
			break
		}
		size += r.size
		events += len(r.entries)
		n++
	}
	group := append([]*request(nil), l.queue[:n]...)
	l.queue = append(l.queue[:0], l.queue[n:]...)
	clear(l.queue[len(l.queue) : len(l.queue)+n])
	return group
}

// commit writes a group and tells each request what came of it.
func (w *writer) commit(group []*request) {
	now := w.l.cfg.Now().Round(0)
	own := slices.Clone(w.untold)
	if !w.clock.IsZero() && now.Before(w.clock.Add(-stepBack)) {
		own = append(own, told.Event(now, "clock-stepped", "", fmt.Sprintf("the clock went back by %s; the numbers of events tell their order", w.clock.Sub(now)),
			map[string]string{"from": w.clock.UTC().Format(time.RFC3339Nano), "to": now.UTC().Format(time.RFC3339Nano)}))
	}
	forced := group[0].forced
	err := w.ready(now, events(group), forced)
	if err == nil && w.full && !forced {
		own = append(own, told.Event(now, "disk-free", "", fmt.Sprintf("there is room again; %d events were refused meanwhile", w.refused),
			map[string]string{"refused": strconv.FormatUint(w.refused, 10)}))
	}
	if err == nil {
		err = w.write(own, group)
	}
	if err == nil {
		w.clock, w.untold = now, nil
		if w.full && !forced {
			w.full, w.refused = false, 0
			w.l.setFull(false)
		}
	} else if !forced {
		w.refused += uint64(events(group)) //nolint:gosec // a count
		w.l.refuse(events(group))
	}
	for _, r := range group {
		r.err = err
		close(r.done)
	}
}

func events(group []*request) int {
	n := 0
	for _, r := range group {
		n += len(r.entries)
	}
	return n
}

// ready sees to it that there is a file that n events may be written to. On a full disk
// it first sees whether there is room again, but for what is forced.
func (w *writer) ready(now time.Time, n int, forced bool) error {
	if w.full && !forced {
		if w.l.isMaking() {
			return ErrFull
		}
		if since := now.Sub(w.tried); since >= 0 && since < reserveEvery {
			return ErrFull
		}
		w.tried = now
		if err := w.l.reserve(); err != nil {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	if w.file != nil && w.next > w.first &&
		(w.next-w.first+uint64(n) > uint64(w.l.cfg.SealEvents) || w.size >= w.l.cfg.SealBytes) { //nolint:gosec // counts
		w.finish()
	}
	if w.file != nil {
		return nil
	}
	if !w.full {
		_ = w.l.reserve() // it is there, or Open told that it is not: perhaps there is room by now
	}
	if err := w.begin(); err != nil {
		path := filepath.Join(w.l.cfg.Dir, activeName(w.next))
		err = sayFull(fmt.Errorf("begin a write-ahead file: %w", err))
		w.failed(path, err)
		return err
	}
	return nil
}

// begin makes the next file. It has its name only when its head is on the disk.
func (w *writer) begin() error {
	l := w.l
	h := head{first: w.next, created: l.cfg.Now(), chain: w.chain}
	if _, err := io.ReadFull(l.cfg.Random, h.id[:]); err != nil {
		return fmt.Errorf("name the file: %w", err)
	}
	var key cipher.AEAD
	if l.master != nil {
		var err error
		if key, h.keyBox, err = newKey(l.master, l.cfg.Random, h.id[:]); err != nil {
			return err
		}
	}
	frames, err := h.encrypt(l.cfg.Keys, l.cfg.Random)
	if err != nil {
		return err
	}
	path := filepath.Join(l.cfg.Dir, activeName(w.next))
	temporary := path + temporarySuffix
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := l.cfg.disk.Create(temporary)
	if err != nil {
		return err
	}
	_, err = f.Write(h.encode())
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = disk.Publish(temporary, path)
	}
	if err != nil {
		return errors.Join(err, f.Close(), disk.RemoveIfThere(temporary), disk.RemoveIfThere(path))
	}
	w.began = l.cfg.Now()
	w.file, w.path, w.first, w.size, w.seed, w.key, w.cipher = f, path, w.next, h.length(), h.seed(), key, frames
	return nil
}

// write makes one frame of the log's own events and a group, and returns when it is on
// the disk. When that fails the file is given up: what a second sync of it says is not
// to be believed.
func (w *writer) write(own []*audit.Event, group []*request) error {
	l := w.l
	w.buf = beginFrame(w.buf[:0])
	seq, chain := w.next, w.chain
	for _, e := range own {
		var leaf hash
		w.buf, leaf = appendRecord(w.buf, e)
		chain = link(&chain, &leaf)
		seq++
	}
	for _, r := range group {
		r.first = seq
		var err error
		if w.buf, err = r.appendTo(w.buf, w); err != nil {
			return err // nothing was written
		}
		for i := range r.leaves {
			chain = link(&chain, &r.leaves[i])
		}
		seq += uint64(len(r.leaves))
	}
	var err error
	if w.buf, err = w.cipher.endFrame(w.buf, w.seed, w.next, int(seq-w.next), &chain); err != nil { //nolint:gosec // a count
		return err // nothing was written
	}
	_, err = w.file.Write(w.buf)
	if err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		if where, ok := errors.AsType[*fs.PathError](err); ok {
			err = where.Err // it names the file as it was called when it was made
		}
		err = sayFull(fmt.Errorf("write events %d to %d to %s: %w", w.next, seq-1, w.path, err))
		w.abandon(err)
		return err
	}
	if w.next == w.first && w.age != nil {
		w.age.Reset(l.cfg.SealAge)
	}
	count, size := seq-w.next, len(w.buf)
	w.next, w.chain = seq, chain
	w.size += int64(size)
	if cap(w.buf) > 4*groupBytes {
		w.buf = nil
	}
	l.durable(seq-1, count, size)
	l.remember(seq-count, own, group)
	return nil
}

// durable makes known what is on the disk.
func (l *Log) durable(last, events uint64, size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = last
	l.stats.Events += events
	l.stats.Commits++
	l.stats.Bytes += uint64(size) //nolint:gosec // a length
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Log) refuse(events int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Refused += uint64(events) //nolint:gosec // a count
}

func (l *Log) setFull(full bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Full = full
}

// finish closes the file, all of which is on the disk, and hands it to the sealer. The
// next one is begun when there is something to write.
func (w *writer) finish() {
	if err := w.file.Close(); err != nil {
		w.l.trouble(TroubleWrite, w.path, err) // every event in it was synced before
	}
	w.file = nil
	p := pending{path: w.path, first: w.first, last: w.next - 1}
	if !w.began.IsZero() { // else a process before this one made it
		p.filled = w.l.cfg.Now().Sub(w.began)
	}
	w.l.enqueue(p)
}

func (l *Log) enqueue(p pending) {
	l.mu.Lock()
	l.pending = append(l.pending, p)
	l.mu.Unlock()
	wakeUp(l.sealWake)
}

// tell writes what Open has to say, before the log accepts events. What cannot be
// written now comes before the first event that can.
func (w *writer) tell() {
	if len(w.untold) == 0 {
		return
	}
	err := w.ready(w.l.cfg.Now().Round(0), len(w.untold), false)
	if err == nil {
		err = w.write(w.untold, nil)
	}
	if err == nil {
		w.untold = nil
	}
}

// close closes the file that is written.
func (w *writer) close() error {
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
	return err
}
