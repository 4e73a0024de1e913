package forward

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// spillAlways moves events from the queue to the spool, until there is nothing more to
// come.
func (s *Sender) spillAlways(ctx context.Context) {
	tick := time.NewTicker(spillEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.wake:
		case <-s.closing:
			s.spill(ctx, true)
			return
		}
		s.spill(ctx, false)
	}
}

// diskPause is how long a disk that failed is left alone.
const diskPause = time.Second

// spill writes what waits. In the end also a disk that failed a moment ago is tried.
func (s *Sender) spill(ctx context.Context, last bool) {
	s.mu.Lock()
	if s.taken || s.writing {
		s.mu.Unlock()
		return
	}
	if len(s.stuck) == 0 {
		s.queue = s.confess(s.queue)
		s.stuck, s.queue, s.spare = s.queue, s.spare[:0], nil
		s.look()
	}
	data := s.stuck
	pause := s.failing && !last && s.cfg.Now().Before(s.retry)
	if len(data) == 0 || pause {
		s.mu.Unlock()
		if pause {
			nudge(s.ready) // the trail may take it without the disk
		}
		return
	}
	s.writing = true
	s.mu.Unlock()

	kept, err := s.spool.append(data)
	s.mu.Lock()
	s.writing = false
	s.stuck = data[kept:]
	if len(s.stuck) == 0 {
		s.stuck = nil
		if cap(data) <= 4*spillAt {
			s.spare = data[:0]
		}
	}
	s.blocked = err != nil
	failing, before := err != nil && !errors.Is(err, errFull), s.failing
	s.failing = failing
	if failing {
		s.retry = s.cfg.Now().Add(diskPause)
	}
	s.look()
	s.mu.Unlock()
	s.counts.full.Store(errors.Is(err, errFull))
	s.counts.diskFails.Store(failing)
	switch {
	case failing && !before:
		s.cfg.Log.LogAttrs(ctx, slog.LevelError, "events cannot be spooled; they wait in memory", slog.String("spool", s.cfg.Dir), slog.Any("error", err))
	case before && !failing:
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "events are spooled again", slog.String("spool", s.cfg.Dir))
	}
	nudge(s.ready)
}

// confess adds the event that says what is missing behind the events of b. The caller
// holds mu.
func (s *Sender) confess(b []byte) []byte {
	if s.lost.count > 0 {
		s.seq++
		b = s.frame(b, s.line(lostNotice(s.lost, s.cfg.Now())), s.seq)
	}
	s.lost, s.dropping = lost{}, s.closed
	return b
}
