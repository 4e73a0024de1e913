package verify

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log"
	"bulwark.dev/bulwark/internal/audit/log/numbers"
	"bulwark.dev/bulwark/internal/audit/log/told"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/segment"
)

// saying is what events of the log say of what was done to it on purpose.
type saying struct {
	removals []told.Removal
	holds    []*audit.Event
}

// read takes an event into account; one that says nothing of the kind is passed over.
func (t *saying) read(e *audit.Event) {
	if e.Kind != audit.KindSystem || e.Source != told.Source {
		return
	}
	if e.Verb == told.VerbHoldAdd || e.Verb == told.VerbHoldRelease {
		t.holds = append(t.holds, e)
	} else if r, ok := told.ReadRemoval(e); ok {
		t.removals = append(t.removals, r)
	}
}

func (t *saying) add(other *saying) {
	t.removals = append(t.removals, other.removals...)
	t.holds = append(t.holds, other.holds...)
}

// sort gives what was told the order of the log.
func (t *saying) sort() {
	slices.SortFunc(t.removals, func(a, b told.Removal) int { return cmp.Compare(a.Seq, b.Seq) })
	slices.SortFunc(t.holds, func(a, b *audit.Event) int { return cmp.Compare(a.Seq, b.Seq) })
}

// kept is a hold, ready to be compared with what went.
type kept struct {
	told.Hold

	events *numbers.Set // what it matched when it was added; nil: not known
}

// matches gives those of some events that the hold is known to keep.
func (k *kept) matches(n *numbers.Set) *numbers.Set {
	switch {
	case k.Search == "":
		return n
	case k.events == nil:
		return &numbers.Set{}
	}
	return n.Both(k.events)
}

// judgement is which events went rightly.
type judgement struct {
	claimed numbers.Set // some event says that they went
	allowed numbers.Set // and no hold kept them then
	groups  []*group
	holds   []kept
}

// group is what went for one reason.
type group struct {
	class, why, who string
	first, last     uint64 // the events that say so
	count           int
	events          numbers.Set
}

// weigh goes through what was told, in the order of the log.
func (v *verifier) weigh(t *saying) *judgement {
	t.sort()
	var history told.Holds
	for _, e := range t.holds {
		history.Read(e)
	}
	j := &judgement{}
	for _, h := range history {
		k := kept{Hold: h}
		events, listed, err := h.Events()
		if err != nil {
			v.find(KindHold, Place{First: h.Seq}, "cannot be read: %v", err)
		} else if listed {
			k.events = events
		}
		j.holds = append(j.holds, k)
	}
	for i := range t.removals {
		r := &t.removals[i]
		events, err := r.Events()
		if err != nil {
			v.find(KindPruned, Place{First: r.Seq}, "says that events were taken away, and cannot be read: %v", err)
			continue
		}
		rest := events
		for n := range j.holds {
			h := &j.holds[n]
			if !h.Holds(r.Seq) {
				continue
			}
			matched := h.matches(events)
			if first, _ := matched.Bounds(); first > 0 && r.Verb == told.VerbShred {
				v.find(KindHold, Place{First: r.Seq}, "says that openings were destroyed, event %d's among them, which hold %q of event %d kept", first, h.Name, h.Seq)
			}
			rest = rest.Without(matched)
		}
		if r.Verb != told.VerbPrune {
			continue
		}
		j.claimed.AddAll(events)
		j.allowed.AddAll(rest)
		j.group(r, events)
	}
	return j
}

func (j *judgement) group(r *told.Removal, events *numbers.Set) {
	i := slices.IndexFunc(j.groups, func(g *group) bool { return g.class == r.Class && g.why == r.Why && g.who == r.By.Name })
	if i < 0 {
		i = len(j.groups)
		j.groups = append(j.groups, &group{class: r.Class, why: r.Why, who: r.By.Name, first: r.Seq})
	}
	g := j.groups[i]
	g.last = r.Seq
	g.count++
	g.events.AddAll(events)
}

// holder names the hold that keeps an event.
func (j *judgement) holder(seq uint64) string {
	for i := range j.holds {
		if h := &j.holds[i]; h.Search == "" || h.events != nil && h.events.Has(seq) {
			return h.Name
		}
	}
	return ""
}

// tellPruned compares what was taken away with what the log says of it. Only sealed
// events are believed, since retention seals what it says before it takes anything.
func (v *verifier) tellPruned(ctx context.Context, jobs []*job) error {
	j := v.weigh(&v.told)
	missing := v.gone.Without(&j.claimed)
	if missing.Len() > 0 && v.wentOn() {
		// Something went while we looked, and what says so was sealed after the checkpoint that
		// we hold on to.
		if err := v.later(ctx); err != nil {
			return err
		}
		v.forgetHolds()
		j = v.weigh(&v.told)
		missing = v.gone.Without(&j.claimed)
	}
	unsigned := &numbers.Set{}
	for i := range v.unsigned.removals {
		if events, err := v.unsigned.removals[i].Events(); err == nil {
			unsigned.AddAll(events)
		}
	}
	v.each(jobs, missing.Both(unsigned), func(at Place, what string) {
		v.find(KindPruned, at, "%s taken away, and the event that says so is not sealed: anyone may have written it", what)
	})
	v.each(jobs, missing.Without(unsigned), func(at Place, what string) {
		v.find(KindPruned, at, "%s taken away, and no event of the trail says so", what)
	})
	v.each(jobs, v.gone.Both(&j.claimed).Without(&j.allowed), func(at Place, what string) {
		v.find(KindHold, at, "%s taken away, although hold %q kept it", what, j.holder(at.First))
	})
	for _, g := range j.groups {
		gone := g.events.Both(&v.gone).Len()
		what := fmt.Sprintf("%d events of class %q are gone: %s", gone, g.class, g.why)
		if g.who != "" {
			what += ", by " + g.who
		}
		if left := g.events.Len() - gone; left > 0 {
			what += fmt.Sprintf("; %d more were to go, and are there still or cannot be read", left)
		}
		at := Place{First: g.first}
		if g.count > 1 {
			at.Last = g.last
		}
		v.note(KindPruned, at, "%s", what)
	}
	for i := range j.holds {
		if h := &j.holds[i]; h.Stands() {
			v.note(KindHold, Place{First: h.Seq}, "hold %q stands: %s", h.Name, h.Reason)
		}
	}
	return nil
}

// forgetHolds takes back what weigh found, before it weighs again.
func (v *verifier) forgetHolds() {
	v.report.Findings = slices.DeleteFunc(v.report.Findings, func(f Finding) bool {
		return f.Kind == KindHold || f.Kind == KindPruned
	})
}

// each tells of events, run by run, with the segment that each run is in. Of very many
// runs in one segment the rest is told as one.
func (v *verifier) each(jobs []*job, events *numbers.Set, tell func(at Place, what string)) {
	inSegment := map[*job]int{}
	rest := map[*job]*numbers.Set{}
	one := func(j *job, first, last uint64) Place {
		at := Place{First: first}
		if last > first {
			at.Last = last
		}
		if j != nil {
			at.File = v.name(j.file.path)
			if j.record != nil {
				at.Segment = j.record.Number
			}
		}
		return at
	}
	for first, last := range events.Ranges() {
		for first <= last {
			j := jobOf(jobs, first)
			end := last
			if j != nil {
				end = min(last, j.last)
			}
			if inSegment[j]++; inSegment[j] > maxNamed {
				if rest[j] == nil {
					rest[j] = &numbers.Set{}
				}
				rest[j].AddRange(first, end)
			} else if end > first {
				tell(one(j, first, end), fmt.Sprintf("events %d to %d were", first, end))
			} else {
				tell(one(j, first, end), fmt.Sprintf("event %d was", first))
			}
			first = end + 1
		}
	}
	for _, j := range jobs {
		if n := rest[j]; n != nil {
			first, last := n.Bounds()
			tell(one(j, first, last), fmt.Sprintf("and %d more of these were", n.Len()))
		}
	}
}

// jobOf finds the segment that has an event.
func jobOf(jobs []*job, seq uint64) *job {
	for _, j := range jobs {
		if j.open && j.first <= seq && seq <= j.last {
			return j
		}
	}
	return nil
}

// later reads what was told in segments that were sealed since the checkpoint was read.
// What cannot be read, or is not what the newer checkpoint signs, says nothing.
func (v *verifier) later(ctx context.Context) error {
	files := proof.NewFiles(os.DirFS(proof.LedgerPath(v.options.Dir)))
	raw, err := files.Checkpoint()
	if err != nil {
		return nil //nolint:nilerr // then nothing more is known
	}
	now, err := proof.ParseCheckpoint(raw, v.key)
	if err != nil {
		return nil //nolint:nilerr // likewise
	}
	for next := v.sealed + 1; ; {
		record, canonical, err := files.Find(next, now.Size)
		if err != nil || record.First != next {
			return nil //nolint:nilerr // likewise
		}
		path, err := files.Inclusion(ctx, record.Number-1, now.Size)
		if err != nil || proof.CheckPath(proof.LeafHash(canonical), record.Number-1, now.Size, path, now.Root) != nil {
			return ctx.Err()
		}
		if err := v.toldBy(ctx, &record); err != nil {
			return err
		}
		next = record.Last + 1
	}
}

// toldBy reads what one segment tells.
func (v *verifier) toldBy(ctx context.Context, record *proof.Record) error {
	path := segmentFile(v.options.Dir, record.First, record.Last)
	file, err := log.OpenSealed(log.SegmentFile{First: record.First, Last: record.Last, Path: path}, v.options.Keys)
	if err != nil {
		return nil // it says nothing then
	}
	defer file.Close() //nolint:errcheck // only read
	r, err := segment.Open(file, file.Size)
	if err != nil {
		return nil // likewise
	}
	j := &job{record: record, first: r.First(), last: r.Last()}
	s, err := v.rows(ctx, r, j)
	if err == nil {
		v.told.add(&s.told)
	}
	return ctx.Err()
}
