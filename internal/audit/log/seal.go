package log

import (
	"context"
	"crypto/cipher"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/disk"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/segment"
)

// How long a failed seal waits before it is tried again.
const (
	retryFirst = time.Second
	retryMost  = time.Minute
)

// sealAll seals closed write-ahead files, one after the other, until ctx ends. Appends
// go on beside it; what waits is bounded by the disk alone.
func (l *Log) sealAll(ctx context.Context) {
	wait := retryFirst
	for ctx.Err() == nil {
		retry := time.NewTimer(retryMost)
		if p, ok := l.nextPending(); ok {
			err := l.seal(ctx, p)
			if err == nil {
				l.pacer.end(p.last - p.first + 1)
			}
			if err != nil {
				err = fmt.Errorf("seal events %d to %d: %w", p.first, p.last, err)
			}
			if err != nil && ctx.Err() == nil {
				l.trouble(TroubleSeal, p.path, err)
			}
			l.attempted(err)
			if err == nil {
				wait = retryFirst
				retry.Stop()
				continue
			}
			retry.Reset(wait)
			wait = min(2*wait, retryMost)
		}
		select {
		case <-ctx.Done():
		case <-l.sealWake:
		case <-retry.C:
		}
		retry.Stop()
	}
}

func (l *Log) nextPending() (pending, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == 0 {
		return pending{}, false
	}
	return l.pending[0], true
}

// attempted tells who waits for the sealer what came of its last attempt.
func (l *Log) attempted(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.pending = l.pending[1:]
		l.stats.Sealed++
	}
	l.sealErr = err
	close(l.sealing)
	l.sealing = make(chan struct{})
}

// Seal seals all that was appended before it was called, and returns when that is
// done, or at the first failure.
func (l *Log) Seal(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case l.rotate <- done:
	case <-l.closing:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("seal the audit log: %w", ctx.Err())
	}
	<-done
	l.await(1)
	defer l.await(-1)
	last := l.Last()
	for first := true; ; first = false {
		l.mu.Lock()
		attempt, err := l.sealing, l.sealErr
		waiting := len(l.pending) > 0 && l.pending[0].first <= last
		l.mu.Unlock()
		switch {
		case !waiting:
			return nil
		case err != nil && !first:
			return err
		}
		wakeUp(l.sealWake)
		select {
		case <-attempt:
		case <-l.closing:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("seal the audit log: %w", ctx.Err())
		}
	}
}

// await counts who waits in Seal.
func (l *Log) await(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waited += n
}

// loaded is what a write-ahead file holds, ready to be sealed.
type loaded struct {
	segment  *segment.Writer
	openings []opened
	tree     proof.Tree
	chain    hash
	from, to time.Time
}

// seal makes a segment of a write-ahead file. Each step may be the last before a crash:
// until the ledger has the record, a half-made segment is thrown away and made again;
// from then on the same segment is made to the end, and what is left over removed.
func (l *Log) seal(ctx context.Context, p pending) error {
	s, err := l.load(ctx, p)
	if err != nil {
		return err
	}
	path := filepath.Join(l.cfg.Dir, sealedName, spanName(p.first, p.last, sealedSuffix))
	temporary := path + temporarySuffix
	file := SegmentFile{First: p.first, Last: p.last, Path: temporary}
	digest := sha256.New()
	steps := []struct {
		name string
		do   func() error
	}{
		{"write", func() error {
			return disk.WriteSynced(temporary, func(w io.Writer) error {
				return WriteSealed(w, file, l.cfg.Keys, l.cfg.Random, func(w io.Writer) error {
					return s.segment.Finish(ctx, io.MultiWriter(w, digest))
				})
			})
		}},
		{"compare", func() error { return compareSealed(file, l.cfg.Keys, digest.Sum(nil)) }},
		{"openings", func() error {
			if l.master == nil {
				return nil
			}
			return writeOpenings(filepath.Join(l.cfg.Dir, openingsName), p.first, p.last, s.openings, l.master, l.cfg.Random)
		}},
		{"ledger", func() error {
			_, err := l.cfg.Ledger.Append(ctx, proof.Record{
				First: p.first, Last: p.last, Events: p.last - p.first + 1,
				Root: s.tree.Root(), Chain: s.chain, From: s.from, To: s.to, Blocks: s.tree.Blocks(),
			})
			return err
		}},
		{"summary", func() error { l.summarize(p, s); return nil }},
		{"rename", func() error { return disk.Publish(temporary, path) }},
		{"remove", func() error { return discard(p.path) }},
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.cfg.step(step.name); err != nil {
			return err
		}
		if err := step.do(); err != nil {
			return fmt.Errorf("step %q: %w", step.name, err)
		}
	}
	return nil
}

// discard removes a write-ahead file that is sealed, and before that the key of the
// openings in it, so that what the disk keeps of it says nothing.
func discard(path string) error {
	if err := destroyKey(path, offKeyBox, keyBoxSize+4); err != nil {
		return err
	}
	return disk.Remove(path)
}

// load reads a write-ahead file as it lies on the disk: what is sealed is what was
// written, not what memory still has.
func (l *Log) load(ctx context.Context, p pending) (*loaded, error) {
	f, err := os.Open(p.path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r, err := openReader(f, info.Size(), p.path, p.first, l.cfg.Keys)
	if err != nil {
		return nil, err
	}
	s := &loaded{}
	s.segment, err = segment.NewWriter(p.first, segment.Plan{
		Notes: l.cfg.Notes, Rows: int(min(p.last-p.first+1, 1<<20)), Pause: l.pauseFor(p),
	})
	if err != nil {
		return nil, err
	}
	var key cipher.AEAD
	parser := audit.NewParser()
	var e audit.Event
	for r.next <= p.last {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f, err := r.frame()
		if err != nil {
			return nil, fmt.Errorf("%s: event %d: %w", p.path, r.next, err)
		}
		for i, rec := range f.records {
			seq := f.first + uint64(i)
			if seq > p.last {
				return nil, fmt.Errorf("%s: event %d lies in one frame with event %d, which ends the file", p.path, seq, p.last)
			}
			// The segment's Finish compares the leaf hash with that of what comes back.
			if err := parser.ReadKnown(rec.event, &e); err != nil {
				return nil, fmt.Errorf("%s: event %d: %w", p.path, seq, err)
			}
			e.Seq = seq
			if err := s.add(ctx, &e, rec.leaf); err != nil {
				return nil, fmt.Errorf("%s: %w", p.path, err)
			}
			if len(rec.openings) > 0 && l.master != nil {
				if key == nil {
					key, err = unwrap(l.master, &r.head.keyBox, r.head.id[:])
				}
				var plain []byte
				if err == nil {
					plain, err = openSealed(key, rec.openings, rec.leaf[:])
				}
				if err != nil {
					// An event verifies without its openings, so they do not hold up the rest.
					l.trouble(TroubleKey, p.path, fmt.Errorf("event %d: %w", seq, err))
					continue
				}
				s.openings = append(s.openings, opened{seq: seq, plain: plain})
			}
		}
	}
	s.chain = r.chain
	return s, nil
}

func (s *loaded) add(ctx context.Context, e *audit.Event, leaf hash) error {
	if err := s.segment.Add(ctx, &segment.Row{Event: e, Leaf: leaf}); err != nil {
		return err
	}
	s.tree.Append(leaf)
	if s.from.IsZero() || e.Received.Before(s.from) {
		s.from = e.Received
	}
	if e.Received.After(s.to) {
		s.to = e.Received
	}
	return nil
}
