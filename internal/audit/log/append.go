package log

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"bulwark.dev/bulwark/internal/audit"
)

// request is one Append on its way to the disk.
type request struct {
	entries []audit.Entry
	// encoded has the records of all entries, as they stand in a frame that has no openings,
	// and ends where each stops.
	encoded []byte
	ends    []int
	leaves  []hash
	// opened says that some entry has openings, which are encrypted under the key of the
	// file that the frame goes to.
	opened bool
	// forced is what retention tells before it makes room: a full log takes it too.
	forced bool
	size   int

	first uint64
	err   error
	done  chan struct{}
}

// Append puts entries into the log, in their order and with nothing between them, and
// returns when they are on the disk; first is the number of the first one, and each
// event's Seq is set. The events are given away: where Config.Recent is set, the log
// holds them for who follows it. On an error none of them was acknowledged, and the same entries
// may be appended again; after a crash in the middle of a failed Append they may be
// there nonetheless.
//
// When ctx ends while the entries wait for their turn, they are taken back and ctx's
// error is returned. Once their write has begun, Append waits for its end and tells
// what came of it, so that nobody appends twice what is there.
func (l *Log) Append(ctx context.Context, entries []audit.Entry) (first uint64, err error) {
	return l.append(ctx, entries, false)
}

func (l *Log) append(ctx context.Context, entries []audit.Entry, forced bool) (first uint64, err error) {
	if len(entries) == 0 {
		return 0, nil
	}
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("append to the audit log: %w", err)
	}
	r := l.pool.Get().(*request) //nolint:forcetypeassert // the pool holds nothing else
	r.done, r.forced = make(chan struct{}), forced
	if err := r.encode(entries, l.master != nil); err != nil {
		l.release(r)
		return 0, fmt.Errorf("append to the audit log: %w", err)
	}
	if err := l.submit(ctx, r); err != nil {
		l.release(r)
		return 0, fmt.Errorf("append to the audit log: %w", err)
	}
	first = r.first
	l.release(r)
	return first, nil
}

// submit waits for the writer to be done with a request.
func (l *Log) submit(ctx context.Context, r *request) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	// The queue needs no bound of its own: each caller waits for its one request.
	l.queue = append(l.queue, r)
	l.mu.Unlock()
	wakeUp(l.wake)
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
	}
	if l.withdraw(r) {
		return ctx.Err()
	}
	<-r.done
	return r.err
}

// withdraw takes a request back that the writer has not taken.
func (l *Log) withdraw(r *request) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.queue, r)
	if i < 0 {
		return false
	}
	l.queue = slices.Delete(l.queue, i, i+1)
	return true
}

// release gives a request's memory to the next one, if it is not a giant's.
func (l *Log) release(r *request) {
	if cap(r.encoded) > groupBytes {
		return
	}
	*r = request{encoded: r.encoded[:0], ends: r.ends[:0], leaves: r.leaves[:0]}
	l.pool.Put(r)
}

func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// encode makes the records and leaf hashes. It runs in the caller's goroutine, so that
// as many processors work as there are callers.
func (r *request) encode(entries []audit.Entry, openings bool) error {
	r.entries, r.size = entries, 0
	for i := range entries {
		e := entries[i].Event
		if err := check(e); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		start := len(r.encoded)
		var leaf hash
		r.encoded, leaf = appendRecord(r.encoded, e)
		if n := len(r.encoded) - start; n > maxEvent {
			return fmt.Errorf("entry %d: %d bytes are more than the %d that one event may have", i, n, maxEvent)
		}
		r.ends = append(r.ends, len(r.encoded))
		r.leaves = append(r.leaves, leaf)
		if openings && len(entries[i].Openings) > 0 {
			r.opened = true
			extra, err := openingsSize(entries[i].Openings)
			if err != nil {
				return fmt.Errorf("entry %d: %w", i, err)
			}
			r.size += extra
		}
		if r.size += len(r.encoded) - start; r.size > maxAppend {
			return fmt.Errorf("%d entries have more than %d bytes: append them in parts", len(entries), maxAppend)
		}
	}
	return nil
}

// openingsSize is at least how many bytes openings take.
func openingsSize(openings []audit.Opening) (int, error) {
	size := nonceSize + tagSize + binary.MaxVarintLen64
	for i := range openings {
		size += len(openings[i].Path) + len(openings[i].Value) + 32 + 1 + 2*binary.MaxVarintLen64
	}
	if size > maxEvent {
		return 0, fmt.Errorf("its openings have more than %d bytes", maxEvent)
	}
	return size, nil
}

// check refuses events that could not be kept.
func check(e *audit.Event) error {
	if e == nil {
		return errors.New("it has no event")
	}
	switch e.Kind {
	case audit.KindAPI, audit.KindGateway, audit.KindAccess, audit.KindAlert, audit.KindAction, audit.KindSystem:
	default:
		return fmt.Errorf("kind %q is not known", e.Kind)
	}
	if year := e.Received.UTC().Year(); e.Received.IsZero() || year < 1 || year > 9999 {
		return errors.New("the event does not say when it was received")
	}
	return nil
}

// appendTo appends the request's records to a frame.
func (r *request) appendTo(dst []byte, w *writer) ([]byte, error) {
	if !r.opened {
		return append(dst, r.encoded...), nil
	}
	start := 0
	for i, end := range r.ends {
		rec := r.encoded[start:end]
		start = end
		at := len(dst)
		dst = append(dst, rec...)
		if openings := r.entries[i].Openings; len(openings) > 0 {
			var err error
			plain := appendOpenings(nil, openings)
			if dst, err = appendSealed(dst, w.key, w.l.cfg.Random, plain, r.leaves[i][:]); err != nil {
				return dst, err
			}
			finishRecord(dst[at:], len(rec)-recordHead, len(dst)-at-len(rec))
		}
	}
	return dst, nil
}
