package forward

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// batch is what is sent at once.
type batch struct {
	payloads [][]byte
	// end is where it ends in the spool; direct says that it is the first bytes of stuck
	// instead, since the disk takes nothing.
	end    position
	direct bool
	bytes  int
}

const (
	// doubts is how often one event that the trail calls malformed is sent all the same: a
	// connection that was cut looks the same to the trail. It is given up only if the trail
	// then takes a batch without events, so that nothing between the two is to blame.
	doubts = 5
	// anyTakes is the size of an event that any trail takes. One that calls a smaller one
	// too large is set up wrongly, and is waited for.
	anyTakes = 64 << 10
)

// sendAlways sends until ctx ends, or until nothing is left when the sender closes.
func (s *Sender) sendAlways(ctx context.Context) {
	var l *link
	defer func() {
		if l != nil {
			l.close()
		}
	}()
	most, failures, doubted := s.cfg.BatchEvents, 0, 0
	for ctx.Err() == nil {
		b, err := s.nextBatch(ctx, most)
		if err == nil && len(b.payloads) == 0 {
			if !s.wait(ctx) {
				return
			}
			continue
		}
		var a verdict
		if err == nil {
			if l == nil {
				l, err = s.cfg.Credentials.dial(s.cfg.Timeout)
			}
			if err == nil {
				a, err = l.send(ctx, s.cfg.URL, b.payloads)
			}
		}
		switch {
		case err == nil && a.taken:
			s.settle(ctx, b, true)
			s.counts.sent.Add(uint64(len(b.payloads)))
			s.counts.acknowledged.Store(s.cfg.Now().UnixNano())
			if failures > 0 {
				s.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "the audit trail takes events again", slog.String("url", s.cfg.URL), slog.Int("failures", failures))
			}
			most, failures, doubted = min(most*2, s.cfg.BatchEvents), 0, 0
			continue
		case err == nil && a.large && len(b.payloads) > 1:
			most = len(b.payloads) / 2
			s.settle(ctx, b, false)
			continue
		case err == nil && a.large && (a.sure && len(b.payloads[0]) > anyTakes || doubted >= doubts && l.takes(ctx, s.cfg.URL)):
			s.refused(ctx, b, a.status)
			doubted = 0
			continue
		case err == nil:
			err = fmt.Errorf("it answered %d %s", a.status, http.StatusText(a.status))
			if a.large && !a.sure {
				doubted++
			}
		}
		s.settle(ctx, b, false)
		if l != nil {
			l.close()
			l = nil // the files are read again
		}
		s.counts.failures.Add(1)
		if failures++; failures == 1 {
			s.cfg.Log.LogAttrs(ctx, slog.LevelError, "the audit trail takes no events; they are spooled", slog.String("url", s.cfg.URL), slog.Any("error", err))
		} else {
			s.cfg.Log.LogAttrs(ctx, slog.LevelDebug, "the audit trail takes no events", slog.String("url", s.cfg.URL), slog.Any("error", err))
		}
		if !s.pause(ctx, failures, a.after) {
			return
		}
	}
}

// nextBatch gives what comes first: from the spool, or from memory where the spool is
// read to its end and takes nothing more.
func (s *Sender) nextBatch(ctx context.Context, most int) (batch, error) {
	for {
		payloads, end, damaged, err := s.spool.read(s.cfg.BatchBytes, most)
		if err != nil {
			return batch{}, err
		}
		if damaged > 0 {
			fields, _ := json.Marshal(map[string]int64{"bytes": damaged}) //nolint:errchkjson // a number
			s.Tell(Notice{
				Action: "drop", Failed: true, Reason: "SpoolDamaged", Fields: fields,
				Message: "a part of the spool could not be read: a write that the process did not end, or a fault of the disk",
			})
			s.commit(ctx, end)
			continue
		}
		if len(payloads) > 0 {
			return batch{payloads: payloads, end: end}, nil
		}
		break
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.blocked || s.writing || len(s.stuck) == 0 {
		return batch{}, nil
	}
	s.taken = true
	payloads, n := take(s.stuck, s.cfg.BatchBytes, most)
	return batch{payloads: payloads, direct: true, bytes: n}, nil
}

// settle says what became of a batch.
func (s *Sender) settle(ctx context.Context, b batch, gone bool) {
	switch {
	case !b.direct && gone:
		s.commit(ctx, b.end)
	case b.direct:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taken = false
		if gone {
			s.stuck = s.stuck[b.bytes:]
			s.look()
			nudge(s.wake)
		}
	}
}

func (s *Sender) commit(ctx context.Context, end position) {
	if err := s.spool.commit(end); err != nil {
		s.cfg.Log.LogAttrs(ctx, slog.LevelError, "what was acknowledged could not be noted; it may be sent twice", slog.String("spool", s.cfg.Dir), slog.Any("error", err))
	}
}

// refused gives up one event that the trail will not take, and tells it so.
func (s *Sender) refused(ctx context.Context, b batch, status int) {
	s.settle(ctx, b, true)
	s.counts.dropped.Add(uint64(len(b.payloads)))
	fields, _ := json.Marshal(map[string]int{"events": len(b.payloads), "status": status, "bytes": len(b.payloads[0])}) //nolint:errchkjson // numbers
	s.Tell(Notice{Action: "drop", Failed: true, Reason: "Refused", Message: "the trail refused an event by itself", Fields: fields})
	s.cfg.Log.LogAttrs(ctx, slog.LevelError, "the audit trail refused an event; it is dropped", slog.Int("status", status), slog.Int("bytes", len(b.payloads[0])))
}

// wait waits for events. It is false when there will be none.
func (s *Sender) wait(ctx context.Context) bool {
	select {
	case <-s.ready:
		return true
	case <-ctx.Done():
		return false
	case <-s.closing:
	}
	s.spill(ctx, true) // nobody else may come back to it
	s.mu.Lock()
	over := !s.writing && len(s.queue) == 0 && (len(s.stuck) == 0 || !s.blocked) && s.lost.count == 0
	s.mu.Unlock()
	if over && s.spool.unread() == 0 {
		return false
	}
	select {
	case <-s.ready:
		return true
	case <-ctx.Done():
		return false
	case <-time.After(spillEvery):
		return true
	}
}

// delay is how long to wait after so many failures: twice as long after each, half of
// it by chance, so that many senders do not come back at once; and as long as the
// trail asked for, within reason.
func (c *Config) delay(failures int, asked time.Duration) time.Duration {
	d := c.LongPause
	if n := failures - 1; n < 32 && c.Pause <= c.LongPause>>n {
		d = c.Pause << n
	}
	d = d/2 + time.Duration(c.Random()%uint64(d/2+1)) //nolint:gosec // d is not negative
	return max(d, min(asked, c.LongPause))
}

// pause waits before the next try. It is false when there is to be none.
func (s *Sender) pause(ctx context.Context, failures int, asked time.Duration) bool {
	timer := time.NewTimer(s.cfg.delay(failures, asked))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.closing: // whoever closes does not wait for a trail that is away
		return false
	case <-ctx.Done():
		return false
	}
}

// verdict is what the trail said to a batch. The zero verdict is that it must be sent
// again.
type verdict struct {
	taken bool
	// large says that a smaller batch may be taken; sure, that this one never will.
	large, sure bool
	status      int
	after       time.Duration
}

// send sends one batch. An error is one before there was an answer.
func (l *link) send(ctx context.Context, url string, payloads [][]byte) (verdict, error) {
	body := bytes.NewBuffer(make([]byte, 0, 2+len(payloads)+total(payloads)))
	body.WriteByte('[')
	for i, p := range payloads {
		if i > 0 {
			body.WriteByte(',')
		}
		body.Write(p)
	}
	body.WriteByte(']')
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return verdict{}, fmt.Errorf("ask the trail: %w", err)
	}
	r.Header.Set("Content-Type", "application/json")
	if l.token != "" {
		r.Header.Set("Authorization", "Bearer "+l.token)
	}
	resp, err := l.http.Do(r)
	if err != nil {
		return verdict{}, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	err = errors.Join(err, resp.Body.Close())
	v := verdict{status: resp.StatusCode, taken: resp.StatusCode == http.StatusOK}
	switch resp.StatusCode {
	case http.StatusOK:
		return v, nil // it is kept, whatever became of the rest of the answer
	case http.StatusRequestEntityTooLarge:
		v.large, v.sure = true, true
	case http.StatusBadRequest:
		v.large = true
	}
	if seconds, wrong := strconv.Atoi(resp.Header.Get("Retry-After")); wrong == nil && seconds > 0 && seconds < 3600 {
		v.after = time.Duration(seconds) * time.Second
	}
	if v.large {
		return v, nil
	}
	return v, err
}

// takes reports whether the trail acknowledges a batch without events.
func (l *link) takes(ctx context.Context, url string) bool {
	a, err := l.send(ctx, url, nil)
	return err == nil && a.taken
}

func total(payloads [][]byte) (n int) {
	for _, p := range payloads {
		n += len(p)
	}
	return n
}
