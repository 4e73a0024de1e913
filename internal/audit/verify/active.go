package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/proof"
)

// unsealed follows the events of the write-ahead files.
type unsealed struct {
	v *verifier
	// sealing are the segments that have a record but no file yet: a record comes into the
	// ledger a moment before the file gets its name.
	sealing map[uint64]*awaited // by first event

	current *awaited
	events  uint64
	last    uint64
	opened  commitments
}

// awaited is such a segment.
type awaited struct {
	job    *job
	record *proof.Record
	tree   proof.Tree
}

// active verifies what is not sealed yet: that its hash chain is whole and goes on from
// the last segment. Nobody signed it, so somebody who may write the directory can have
// written it anew; but not what is sealed before it.
func (v *verifier) active(ctx context.Context, records []*proof.Record, jobs []*job) error {
	u := &unsealed{v: v, sealing: map[uint64]*awaited{}, opened: newCommitments(v.options.Openings != nil)}
	for _, j := range jobs {
		if j.record != nil && j.file.path == "" {
			u.sealing[j.record.First] = &awaited{job: j, record: j.record}
		}
	}
	next, chain, known := follow(records, jobs)
	known = known && v.whole
	u.last = next - 1
	v.sealed = u.last
	files, err := log.WalkActive(ctx, filepath.Join(v.options.Dir, "log"), v.options.Keys, u.event)
	if err != nil {
		return err
	}
	for _, f := range files {
		at := Place{File: v.name(f.Path), First: f.First, Last: f.Last}
		if f.Damage != nil {
			at.First, at.Last = f.Last+1, 0
			detail := f.Damage.Error()
			if damage, ok := errors.AsType[*log.DamageError](f.Damage); ok {
				detail = fmt.Sprintf("it is damaged at byte %d: %s", damage.Offset, damage.What)
			}
			v.find(KindActive, at, "%s", detail)
		}
		if f.Unfinished {
			v.note(KindActive, at, "ends in a record that was not written to its end; it was never acknowledged, or is being written now")
		}
		if known && f.First < next {
			v.leftOver(f, at, records)
			continue
		}
		switch {
		case !known:
			v.note(KindActive, at, "cannot be joined to the segments: the end of the ledger is not known")
		case f.First > next && v.wentOn():
			v.note(KindActive, at, "the log went on while it was verified; what was sealed since was not looked at")
		case f.First > next:
			v.find(KindActive, at, "begins with event %d: events %d to %d are missing", f.First, next, f.First-1)
		case f.Before != chain:
			v.find(KindActive, at, "does not begin with the chain hash of event %d, so it does not go on from there", next-1)
		}
		next, chain, known = f.Last+1, f.Chain, f.Damage == nil
	}
	v.report.Active = u.events
	v.report.Last = max(v.report.Last, u.last)
	if err := v.missing(ctx, u.sealing); err != nil {
		return err
	}
	return v.openings(ctx, u.opened, v.report.Last-min(u.events, v.report.Last)+1, v.report.Last)
}

// follow gives the number of the first event after the segments, and the chain's link
// before it. Files that no record knows are told of elsewhere; what comes after them is
// still joined to them.
func follow(records []*proof.Record, jobs []*job) (next uint64, chain proof.Hash, known bool) {
	next, known = 1, true
	if n := len(records); n > 0 {
		if known = records[n-1] != nil; !known {
			return 1, chain, false
		}
		next, chain = records[n-1].Last+1, records[n-1].Chain
	}
	for _, j := range jobs { // in the order of their events
		if j.record == nil && j.open && j.first == next {
			for _, leaf := range j.leaves {
				chain = proof.Chain(chain, leaf)
			}
			next = j.last + 1
		}
	}
	return next, chain, known
}

// leftOver looks at a write-ahead file of events that have a record.
func (v *verifier) leftOver(f log.ActiveFile, at Place, records []*proof.Record) {
	var before proof.Hash
	for _, r := range records {
		if r == nil {
			continue
		}
		if r.First == f.First {
			if f.Before != before || r.Last == f.Last && f.Chain != r.Chain {
				v.find(KindActive, at, "has other events than segment %d, which was sealed of it", r.Number)
			}
			return
		}
		before = r.Chain
	}
	v.find(KindActive, at, "has events that are sealed, but no segment begins where it does")
}

// event takes one event of a write-ahead file.
func (u *unsealed) event(seq uint64, canonical []byte, leaf [32]byte) error {
	if a := u.sealing[seq]; a != nil {
		u.current = a
	}
	if a := u.current; a != nil && seq <= a.record.Last {
		a.tree.Append(leaf)
		return nil
	}
	if seq <= u.last {
		return nil // it is sealed
	}
	u.events++
	u.last = seq
	e, err := audit.ParseCanonical(canonical)
	if err != nil {
		u.v.find(KindActive, Place{First: seq}, "is no event: %v", err)
		return nil
	}
	e.Seq = seq
	u.opened.add(e)
	u.v.unsigned.read(e)
	return nil
}

// missing tells of segments without a file, unless a write-ahead file still has exactly
// their events, or the file came while everything else was read.
func (v *verifier) missing(ctx context.Context, sealing map[uint64]*awaited) error {
	for _, a := range sealing {
		r := a.record
		path := segmentFile(v.options.Dir, r.First, r.Last)
		if _, err := os.Lstat(path); err == nil {
			a.job.file = sealedFile{path, r.First, r.Last}
			if err := v.segment(ctx, a.job); err != nil {
				return err
			}
			v.report.Findings = append(v.report.Findings, a.job.findings...)
			continue
		}
		at := Place{File: v.name(path), Segment: r.Number, First: r.First, Last: r.Last}
		switch {
		case a.tree.Size() == r.Events && a.tree.Root() == r.Root:
			v.note(KindMissing, at, "is being sealed: its events still stand in a write-ahead file, as the ledger has them")
		case a.tree.Size() > 0:
			v.find(KindMissing, at, "is missing, and the write-ahead file has other events than were sealed")
		default:
			v.find(KindMissing, at, "is missing: %d events are gone", r.Events)
		}
	}
	return nil
}

// wentOn reports whether the ledger grew since its checkpoint was read.
func (v *verifier) wentOn() bool {
	raw, err := proof.NewFiles(os.DirFS(proof.LedgerPath(v.options.Dir))).Checkpoint()
	if err != nil {
		return false
	}
	now, err := proof.ParseCheckpoint(raw, v.key)
	return err == nil && now.Size > v.report.Ledger.Size
}
