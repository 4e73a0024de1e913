package log

import (
	"context"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/log/numbers"
	"bulwark.dev/bulwark/internal/audit/log/policy"
	"bulwark.dev/bulwark/internal/audit/log/told"
	"bulwark.dev/bulwark/internal/audit/proof"
	"bulwark.dev/bulwark/internal/audit/segment"
)

// survey is what a segment has of each class that may go: not what is held, and not what
// must stay. It is of the segment as it is now.
type survey struct {
	classes map[string]*share
	// weight is that of all events that are there.
	weight int64
}

// share is what a class has of a segment.
type share struct {
	events uint64
	// weight is the length of the events' canonical bytes, by which the file's bytes are
	// divided among the classes.
	weight int64
	// oldest is when the first of them was received.
	oldest time.Time
}

func (s *survey) of(c *policy.Class) *share {
	if found := s.classes[c.Name]; found != nil {
		return found
	}
	return &share{}
}

// has reports whether there are events that were received before a time.
func (s *share) has(before time.Time) bool { return s.events > 0 && s.oldest.Before(before) }

// bytes is about how many bytes of a file are a class's.
func (s *survey) bytes(f *stored, c *policy.Class) int64 { return s.scale(f, s.of(c).weight) }

func (s *survey) scale(f *stored, weight int64) int64 {
	if s.weight == 0 {
		return 0
	}
	return int64(float64(f.bytes-f.freed) * float64(weight) / float64(s.weight))
}

// hashBytes is what is left of an event that was taken away: its leaf hash and tag, which
// no compression makes smaller. Of very uniform events it is more than they took.
const hashBytes = 36

// net is about how many bytes are free when a share of a file is gone.
func net(bytes int64, events uint64) int64 { return bytes - hashBytes*int64(events) } //nolint:gosec // at most those of a segment

// survey looks at a segment, unless it did before.
func (r *retention) survey(ctx context.Context, f *stored) (*survey, error) {
	if s := r.surveys[f.First]; s != nil {
		return s, nil
	}
	s := &survey{classes: map[string]*share{}}
	err := r.walk(ctx, f, s, func(*audit.Event, *policy.Class) bool { return false })
	if err != nil {
		return nil, err
	}
	r.surveys[f.First] = s
	return s, nil
}

// walk calls take with each event that may go, and counts those that it does not take.
func (r *retention) walk(ctx context.Context, f *stored, s *survey, take func(e *audit.Event, c *policy.Class) bool) error {
	k, gone := r.k, r.gone[f.First]
	k.mu.Lock()
	defer k.mu.Unlock()
	return withSegment(f.SegmentFile, k.cfg.Log.cfg.Keys, func(reader *segment.Reader) error {
		var canonical []byte
		return reader.Rows(ctx, 0, reader.Len(), func(_ int, row segment.Row) error {
			if row.Pruned || gone != nil && gone.Has(row.Event.Seq) {
				return nil
			}
			e := row.Event
			canonical = audit.AppendCanonical(canonical[:0], e)
			s.weight += int64(len(canonical))
			if told.Lasting(e) {
				return nil
			}
			c := r.class(e)
			if c == nil || take(e, c) || k.held(e) != "" {
				return nil
			}
			part := s.classes[c.Name]
			if part == nil {
				part = &share{oldest: e.Received}
				s.classes[c.Name] = part
			}
			part.events++
			part.weight += int64(len(canonical))
			if e.Received.Before(part.oldest) {
				part.oldest = e.Received
			}
			return nil
		})
	})
}

// cutting is what goes of a segment.
type cutting struct {
	file   *stored
	record proof.Record
	parts  []*part
	all    numbers.Set
	left   *survey // what is there when they are gone
}

// part is what goes of one class.
type part struct {
	class    *policy.Class
	due      due
	numbers  numbers.Set
	events   uint64
	weight   int64
	bytes    int64
	from, to time.Time
}

// choose reads a segment and finds what of it is due. Nothing is changed.
func (r *retention) choose(ctx context.Context, f *stored, marks map[*policy.Class]due) (*cutting, error) {
	record, err := r.record(ctx, f.SegmentFile)
	if err != nil {
		return nil, err
	}
	c := &cutting{file: f, record: record, left: &survey{classes: map[string]*share{}}}
	parts := map[*policy.Class]*part{}
	err = r.walk(ctx, f, c.left, func(e *audit.Event, class *policy.Class) bool {
		d, marked := marks[class]
		if !marked || !d.before.IsZero() && !e.Received.Before(d.before) {
			return false
		}
		if r.k.held(e) != "" {
			r.result(class).Held++
			return true
		}
		p := parts[class]
		if p == nil {
			p = &part{class: class, due: d, from: e.Received, to: e.Received}
			parts[class] = p
			c.parts = append(c.parts, p)
		}
		p.numbers.Add(e.Seq)
		p.events++
		p.weight += int64(len(audit.AppendCanonical(nil, e)))
		if e.Received.Before(p.from) {
			p.from = e.Received
		}
		if e.Received.After(p.to) {
			p.to = e.Received
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	for _, p := range c.parts {
		c.all.AddAll(&p.numbers)
		p.bytes = net(c.left.scale(f, p.weight), p.events)
	}
	if len(c.parts) == 0 {
		r.surveys[f.First] = c.left
	}
	return c, nil
}

// count adds what went to the result.
func (r *retention) count(c *cutting, went func(p *part) uint64) {
	for _, p := range c.parts {
		n := went(p)
		if n == 0 {
			continue
		}
		out := r.result(p.class)
		out.Events += n
		if p.due.before.IsZero() {
			out.BySize += n
		} else {
			out.ByAge += n
		}
		out.Bytes += p.bytes
		if out.From.IsZero() || p.from.Before(out.From) {
			out.From = p.from
		}
		if p.to.After(out.To) {
			out.To = p.to
		}
	}
	r.rewritten[c.file.First] = true
	r.out.Segments = len(r.rewritten)
}
