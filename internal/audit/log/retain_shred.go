package log

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/numbers"
	"bulwark.dev/bulwark/internal/audit/log/told"
)

// maxNamed is how many events may be named one by one.
const maxNamed = 10_000

// ShredRequest says of which events the openings are to be destroyed: of those that are
// named, or of those that an expression finds.
type ShredRequest struct {
	Events []uint64 `json:"events,omitempty"`
	Search string   `json:"search,omitempty"`
	Reason string   `json:"reason"`
	// DryRun only says what would go.
	DryRun bool `json:"dryRun,omitempty"`
}

// Shredded is what was destroyed, or would be.
type Shredded struct {
	DryRun bool `json:"dryRun"`
	// Events is how many events lost their openings, the first and last of them, and
	// Matched how many with redactions there are among those that were asked for: of the
	// others the openings were destroyed before, or never kept.
	Events  uint64 `json:"events"`
	First   uint64 `json:"first,omitempty"`
	Last    uint64 `json:"last,omitempty"`
	Matched uint64 `json:"matched"`
	// Held is how many kept theirs because of a hold.
	Held uint64 `json:"held"`
	// Told is the event of the log that says so.
	Told uint64 `json:"event,omitempty"`
}

// errFound ends a look through the log.
var errFound = errors.New("found")

// Shred destroys openings: nobody can learn any more what was redacted in those events,
// and every hash still verifies. The log tells of it before it happens. What is held is
// left out; where it was named, everything is refused.
func (k *Keeper) Shred(ctx context.Context, req ShredRequest, by told.Who) (Shredded, error) {
	out, err := k.shred(ctx, req, by)
	if err != nil {
		return out, fmt.Errorf("shred openings: %w", err)
	}
	return out, nil
}

func (k *Keeper) shred(ctx context.Context, req ShredRequest, by told.Who) (Shredded, error) {
	out := Shredded{DryRun: req.DryRun}
	l := k.cfg.Log
	switch {
	case (len(req.Events) == 0) == (req.Search == ""):
		return out, refuse("either the numbers of events or an expression is needed")
	case len(req.Events) > maxNamed:
		return out, refuse("%d events are more than the %d that may be named: use an expression", len(req.Events), maxNamed)
	case l.master == nil:
		return out, refuse("no key for openings was given")
	}
	if err := checkReason(req.Reason); err != nil {
		return out, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.ready(ctx); err != nil {
		return out, err
	}
	wanted, err := k.wanted(ctx, &req, &out)
	if err != nil {
		return out, err
	}
	out.Matched = wanted.Len()
	first, last := wanted.Bounds()
	if last >= l.firstUnsealed() && !req.DryRun {
		if err := l.Seal(ctx); err != nil {
			return out, err
		}
	}
	l.shred.Lock()
	defer l.shred.Unlock()
	files, there, err := l.openedAmong(ctx, wanted, first, last)
	if err != nil {
		return out, err
	}
	if out.Events = there.Len(); out.Events == 0 || req.DryRun {
		out.First, out.Last = there.Bounds()
		return out, nil
	}
	out.First, out.Last = there.Bounds()
	removal := told.Removal{Verb: told.VerbShred, By: by, Why: req.Reason}
	if out.Told, err = l.Append(ctx, []audit.Entry{{Event: removal.Event(l.cfg.Now(), there)}}); err != nil {
		return out, err
	}
	for _, file := range files {
		// What was told of is done also when the caller goes away.
		if _, err := l.shredIn(filepath.Dir(file.Path), file, there.Has, false); err != nil {
			return out, fmt.Errorf("%s: %w", filepath.Base(file.Path), err)
		}
	}
	return out, nil
}

// wanted are the events with redactions that were asked for and are not held.
func (k *Keeper) wanted(ctx context.Context, req *ShredRequest, out *Shredded) (*numbers.Set, error) {
	wanted := &numbers.Set{}
	if req.Search != "" {
		search, _, err := k.cfg.Compile(req.Search, k.cfg.Log.cfg.Now())
		if err != nil {
			return nil, refuse("--search: %w", err)
		}
		return wanted, k.cfg.Find(ctx, search, func(e *audit.Event) error {
			switch {
			case len(e.Redactions) == 0:
			case k.held(e) != "":
				out.Held++
			default:
				wanted.Add(e.Seq)
			}
			return nil
		})
	}
	v, err := k.cfg.Log.View()
	if err != nil {
		return nil, err
	}
	for _, seq := range req.Events {
		var found *audit.Event
		err := v.Events(ctx, seq, func(e *audit.Event) error { found = e; return errFound })
		switch {
		case err != nil && !errors.Is(err, errFound):
			return nil, err
		case found == nil || found.Seq != seq:
			return nil, refuse("there is no event %d, or its body was taken away", seq)
		case len(found.Redactions) == 0:
			return nil, refuse("nothing was redacted in event %d", seq)
		}
		if name := k.held(found); name != "" {
			return nil, refuse("event %d is under hold %q", seq, name)
		}
		wanted.Add(seq)
	}
	return wanted, nil
}

// openedAmong finds the events that have openings, and the files that have these. It
// needs l.shred.
func (l *Log) openedAmong(ctx context.Context, wanted *numbers.Set, first, last uint64) ([]SegmentFile, *numbers.Set, error) {
	all, err := listSpans(filepath.Join(l.cfg.Dir, openingsName), openingsSuffix)
	if err != nil {
		return nil, nil, err
	}
	var files []SegmentFile
	there := &numbers.Set{}
	for _, file := range all {
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		if file.Last < first || file.First > last {
			continue
		}
		has := false
		err := readOpenings(file.Path, l.master, func(o opened) error {
			if wanted.Has(o.seq) {
				there.Add(o.seq)
				has = true
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrShredded) {
			return nil, nil, err
		}
		if has {
			files = append(files, file)
		}
	}
	return files, there, nil
}
