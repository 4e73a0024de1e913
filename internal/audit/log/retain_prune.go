package log

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/disk"
	"bulwark.dev/bulwark/internal/audit/log/numbers"
	"bulwark.dev/bulwark/internal/audit/log/told"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/segment"
)

// flush prunes the segments of the batch. Each step may be the last before a crash: what
// goes is told of in the log, and that is sealed, so that the ledger vouches for it;
// only then does anything go, one segment at a time.
func (r *retention) flush(ctx context.Context) error {
	batch := r.batch
	r.batch = nil
	if r.dry {
		for _, c := range batch {
			r.count(c, func(p *part) uint64 { return p.events })
			for _, p := range c.parts {
				c.file.freed += p.bytes
			}
			if r.gone[c.file.First] == nil {
				r.gone[c.file.First] = &numbers.Set{}
			}
			r.gone[c.file.First].AddAll(&c.all)
			r.surveys[c.file.First] = c.left
		}
		return nil
	}
	if len(batch) == 0 {
		return nil
	}
	l := r.k.cfg.Log
	if err := l.cfg.step("prune-tell"); err != nil {
		return err
	}
	for _, c := range batch {
		if err := r.announce(ctx, c); err != nil {
			return fmt.Errorf("tell what will go: %w", err)
		}
	}
	if err := l.cfg.step("prune-seal"); err != nil {
		return err
	}
	if err := l.Seal(ctx); err != nil {
		return fmt.Errorf("seal what tells of it: %w", err)
	}
	for _, c := range batch {
		went, err := r.k.prune(ctx, c)
		if errors.Is(err, errStopped) {
			return err
		}
		if err != nil {
			if err := r.failed(ctx, c.file, err); err != nil {
				return err
			}
			continue
		}
		delete(r.surveys, c.file.First) // it is another file now
		c.file.bytes = c.file.onDisk(l.cfg.Dir)
		if len(went) > 0 {
			r.count(c, func(p *part) uint64 { return went[p] })
		}
	}
	return nil
}

// announce says in the log what will go of a segment, for each class.
func (r *retention) announce(ctx context.Context, c *cutting) error {
	var entries []audit.Entry
	for _, p := range c.parts {
		removal := told.Removal{Verb: told.VerbPrune, By: r.by, Class: p.class.Name, Policy: r.policy.Digest(), Why: p.due.why}
		entries = append(entries, audit.Entry{Event: removal.Event(r.k.cfg.Log.cfg.Now(), &p.numbers)})
	}
	_, err := r.k.cfg.Log.append(ctx, entries, r.last)
	return err
}

// errStopped says that a test ended the process, as it were.
var errStopped = errors.New("stopped between two steps")

// prune writes a segment anew without what goes and puts it in the old one's place. A
// hold that came since it was chosen is respected. It tells how many events of each part
// went.
func (k *Keeper) prune(ctx context.Context, c *cutting) (map[*part]uint64, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.ready(ctx); err != nil {
		return nil, err
	}
	l := k.cfg.Log
	beside := SegmentFile{First: c.file.First, Last: c.file.Last, Path: c.file.Path + temporarySuffix}
	digest := sha256.New()
	went := map[*part]uint64{}
	var pruned *numbers.Set
	drop := func(e *audit.Event) bool {
		if !c.all.Has(e.Seq) || told.Lasting(e) || k.held(e) != "" {
			return false
		}
		for _, p := range c.parts {
			if p.numbers.Has(e.Seq) {
				went[p]++
			}
		}
		return true
	}
	steps := []struct {
		name string
		do   func() error
	}{
		{"prune-write", func() error {
			return withSegment(c.file.SegmentFile, l.cfg.Keys, func(r *segment.Reader) error {
				return disk.WriteSynced(beside.Path, func(w io.Writer) error {
					return WriteSealed(w, beside, l.cfg.Keys, l.cfg.Random, func(w io.Writer) error {
						_, err := segment.Prune(ctx, io.MultiWriter(w, digest), r, drop)
						return err
					})
				})
			})
		}},
		{"prune-compare", func() (err error) {
			if err := compareSealed(beside, l.cfg.Keys, digest.Sum(nil)); err != nil {
				return err
			}
			pruned, err = l.provePruned(ctx, beside, c.record)
			return err
		}},
		{"prune-openings", func() error { return l.forget(c.file.SegmentFile, pruned) }},
		{"prune-rename", func() error { return disk.Publish(beside.Path, c.file.Path) }},
	}
	for _, step := range steps {
		if err := l.cfg.step(step.name); err != nil {
			return nil, fmt.Errorf("%w: %w", errStopped, err)
		}
		err := ctx.Err()
		if err == nil {
			err = step.do()
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("step %q: %w", step.name, err), disk.RemoveIfThere(beside.Path))
		}
		if len(went) == 0 {
			return nil, disk.RemoveIfThere(beside.Path) // all of it is held by now
		}
	}
	return went, nil
}

// provePruned reads a pruned segment back and compares it with the ledger: its root must
// be the one that was signed. It gives the events of which only the hash is left.
func (l *Log) provePruned(ctx context.Context, file SegmentFile, record proof.Record) (*numbers.Set, error) {
	pruned := &numbers.Set{}
	err := withSegment(file, l.cfg.Keys, func(r *segment.Reader) error {
		var tree proof.Tree
		hasher := proof.NewHasher()
		var canonical []byte
		err := r.Rows(ctx, 0, r.Len(), func(i int, row segment.Row) error {
			if row.Pruned {
				pruned.Add(file.First + uint64(i)) //nolint:gosec // an index
				tree.Append(row.Leaf)
				return nil
			}
			canonical = audit.AppendCanonical(canonical[:0], row.Event)
			tree.Append(hasher.Leaf(canonical))
			return nil
		})
		if err != nil {
			return err
		}
		if tree.Root() != record.Root {
			return errors.New("its events are not those that the ledger has: nothing is pruned of it")
		}
		return nil
	})
	return pruned, err
}

// forget destroys the openings of pruned events.
func (l *Log) forget(s SegmentFile, pruned *numbers.Set) error {
	l.shred.Lock()
	defer l.shred.Unlock()
	folder := filepath.Join(l.cfg.Dir, openingsName)
	s.Path = filepath.Join(folder, spanName(s.First, s.Last, openingsSuffix))
	if _, err := os.Stat(s.Path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	_, err := l.shredIn(folder, s, pruned.Has, pruned.Len() == s.Last-s.First+1)
	return err
}
