// Package forward brings the events of Bulwark's other parts into the audit trail.
//
// A Sender takes events without making the caller wait: they go into a queue in
// memory, from there within a moment into a spool on disk, and from the spool, in the
// order in which they came, over one connection to the webhook of "bulwark serve audit".
// What the trail acknowledged, which it does when it is on its disk, leaves the spool.
//
// Delivery is at least once. An event that was spooled is sent again after a crash, or
// when an answer got lost, and may stand in the trail twice; both times with the same
// "delivery", which is the sender's name, one word for each of its runs, and a number
// that grows by one with each event. A gap in the numbers of a run is an event that
// was lost, and events of this package say how many, from when until when and why.
//
// What is only in the queue, events of the last moment, is lost when the process is
// killed. The next run tells the trail that this one did not end as it should.
package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"bulwark.dev/bulwark"
	"bulwark.dev/bulwark/internal/audit/vault"
	"bulwark.dev/bulwark/internal/ops"
)

// Config is what a Sender needs.
type Config struct {
	// URL is the trail's webhook: https, and at the end of the path the name under which
	// this part sends, for example https://bulwark-audit.bulwark-system.svc:9443/audit/v1/gateway.
	URL         string
	Credentials Credentials
	// Part is what part of Bulwark sends, Instance which of its processes.
	Part, Instance string
	// Dir is the spool's folder, of one process at a time. SpoolBytes bounds it, QueueBytes
	// the memory. Defaults: 1 GiB and 32 MiB.
	Dir                    string
	SpoolBytes, QueueBytes int64
	// Keys encrypt the spool: the first of them does, all may decrypt what is there. Without
	// any it is plain, and one that has encrypted files is refused. Salts are what makes each
	// file's key; it is required with them.
	Keys  vault.Keys
	Salts io.Reader
	// BatchBytes and BatchEvents bound what is sent at once. Defaults: 1 MiB and 2000.
	BatchBytes, BatchEvents int
	// Timeout is how long the trail may take to acknowledge a batch. Default: a minute.
	Timeout time.Duration
	// Pause is the first pause after a failure, LongPause the longest. Defaults: half a
	// second and 30 seconds.
	Pause, LongPause time.Duration
	// Log gets what goes wrong, Now is the clock, Random gives unpredictable bits. All are
	// required.
	Log    *slog.Logger
	Now    func() time.Time
	Random func() uint64
}

const (
	// spillEvery is how long an event waits for the spool at most, spillAt how many bytes.
	spillEvery = 50 * time.Millisecond
	spillAt    = 64 << 10
	// leastSpool is the smallest spool: eight parts of the smallest size; leastQueue the
	// smallest queue: it is spilled before a quarter of it is taken.
	leastSpool = 512 << 10
	leastQueue = 4 * spillAt
)

func (c *Config) check() error {
	if c.Log == nil || c.Now == nil || c.Random == nil || c.Part == "" || c.Instance == "" || c.Dir == "" {
		return errors.New("a part, an instance, a folder, a log, a clock and randomness are required")
	}
	if !c.Keys.Empty() && c.Salts == nil {
		return errors.New("to encrypt the spool a source of randomness is required")
	}
	if c.SpoolBytes == 0 {
		c.SpoolBytes = 1 << 30
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = 32 << 20
	}
	if c.BatchBytes == 0 {
		c.BatchBytes = 1 << 20
	}
	if c.BatchEvents == 0 {
		c.BatchEvents = 2000
	}
	for _, def := range []struct {
		d *time.Duration
		v time.Duration
	}{{&c.Timeout, time.Minute}, {&c.Pause, 500 * time.Millisecond}, {&c.LongPause, 30 * time.Second}} {
		if *def.d == 0 {
			*def.d = def.v
		}
	}
	if c.SpoolBytes < leastSpool || c.QueueBytes < leastQueue || c.BatchBytes < 0 || c.BatchEvents < 0 || c.Timeout < 0 || c.Pause < 0 || c.LongPause < c.Pause {
		return fmt.Errorf("the spool needs at least %d bytes, the queue %d, and nothing may be negative", leastSpool, leastQueue)
	}
	return c.Credentials.check(c.URL)
}

// Sender brings events to the trail. It is safe for use by many goroutines.
type Sender struct {
	cfg    Config
	spool  *spool
	prefix string // of deliveries

	mu    sync.Mutex
	seq   uint64
	queue []byte // frames that came since the last spill
	stuck []byte // frames that are, or could not be, written to the spool
	spare []byte
	lost  lost
	// dropping lasts from the first event that found no room until the queue is spilled:
	// what came later must not overtake the word about what is missing.
	dropping bool
	writing  bool // the spool is being written from stuck
	taken    bool // the trail is being sent from stuck
	blocked  bool // the last write to the spool came to nothing
	failing  bool // and not because the spool is full
	retry    time.Time
	closed   bool

	unable  atomic.Bool
	wake    chan struct{} // something should be spilled
	ready   chan struct{} // something can be sent
	closing chan struct{}
	cancel  context.CancelFunc
	work    sync.WaitGroup
	once    sync.Once
	ended   error

	counts counts
	pool   sync.Pool
}

// lost counts events that did not get into the queue.
type lost struct {
	count    uint64
	from, to time.Time
}

// New opens the spool and starts to send what is in it.
func New(cfg Config) (*Sender, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("forward events: %w", err)
	}
	box, err := openSpool(cfg.Dir, cfg.SpoolBytes, cfg.Keys, cfg.Salts)
	if err != nil {
		return nil, fmt.Errorf("forward events: %w", err)
	}
	s := &Sender{
		cfg: cfg, spool: box, prefix: plain(cfg.Instance) + "/" + strconv.FormatUint(cfg.Random(), 36) + "/",
		wake: make(chan struct{}, 1), ready: make(chan struct{}, 1), closing: make(chan struct{}),
		pool: sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }},
	}
	if box.interrupted {
		s.Tell(Notice{
			Action: "start", Failed: true, Reason: "Interrupted",
			Message: "the process before did not end as it should: what it had not spooled is lost, and nobody counted it",
		})
	}
	if box.plain > 0 {
		s.Tell(Notice{Action: "start", Failed: true, Reason: "SpoolPlain", Message: box.warnPlain()})
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.work.Go(func() { s.spillAlways(ctx) })
	s.work.Go(func() { s.sendAlways(ctx) })
	return s, nil
}

// plain makes a name one that needs no quotes.
func plain(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_' {
			return r
		}
		return '-'
	}, name)
	return name[:min(len(name), 128)]
}

// Record takes the event of a request through the gateway.
func (s *Sender) Record(e *bulwark.Event) {
	p := s.pool.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	*p = ops.AppendEvent((*p)[:0], e)
	s.put(e.Time, *p)
	s.pool.Put(p)
}

// Unable reports that events cannot be recorded: the spool is full and some wait for it
// in memory; or it cannot be written, and the trail does not take them as fast as they
// come, so that a quarter of the queue is taken; or half of it is, whatever the reason.
// The rest of it is for what is under way.
func (s *Sender) Unable() bool { return s.unable.Load() }

// put takes one JSON object, which happened at a time.
func (s *Sender) put(at time.Time, line []byte) {
	for len(line) > 0 && line[len(line)-1] == '\n' {
		line = line[:len(line)-1]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seq++
	const more = 256 // the frame's head and the delivery
	if len(line) > maxPayload-more || len(line) < 2 {
		s.miss(at) // for itself: others need not wait for it
		return
	}
	if s.closed || s.dropping || int64(len(s.queue)+len(s.stuck)+len(line)+more) > s.cfg.QueueBytes {
		s.dropping = true
		s.miss(at)
		return
	}
	s.queue = s.frame(s.queue, line, s.seq)
	s.look()
	if len(s.queue) >= spillAt {
		nudge(s.wake)
	}
}

// frame adds an object, which gets its delivery as the last member.
func (s *Sender) frame(b, object []byte, seq uint64) []byte {
	from := len(b)
	b = append(b, make([]byte, frameHead)...)
	b = append(b, object[:len(object)-1]...)
	b = append(b, `,"delivery":"`...)
	b = append(b, s.prefix...)
	b = strconv.AppendUint(b, seq, 10)
	b = append(b, `"}`...)
	seal(b, from)
	return b
}

// miss counts an event that finds no place. The caller holds mu.
func (s *Sender) miss(at time.Time) {
	if s.lost.count == 0 || at.Before(s.lost.from) {
		s.lost.from = at
	}
	if s.lost.count == 0 || at.After(s.lost.to) {
		s.lost.to = at
	}
	s.lost.count++
	s.counts.dropped.Add(1)
	s.look()
}

// look decides whether events can be recorded. The caller holds mu.
func (s *Sender) look() {
	used := int64(len(s.queue) + len(s.stuck))
	s.unable.Store(s.closed || used > s.cfg.QueueBytes/2 || s.failing && used > s.cfg.QueueBytes/4 || s.blocked && !s.failing && used > spillAt)
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is to happen already
	}
}

// Close takes nothing more, spools what waits, and sends until ctx ends or the trail
// does not answer. What is left then is sent by the next process that has the spool.
func (s *Sender) Close(ctx context.Context) error {
	s.once.Do(func() { s.ended = s.close(ctx) })
	return s.ended
}

func (s *Sender) close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.look()
	s.mu.Unlock()
	close(s.closing)
	done := make(chan struct{})
	go func() { s.work.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
	}
	s.cancel()
	<-done
	s.spill(ctx, true) // what the trail did not take after all
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := 0
	for _, b := range [][]byte{s.stuck, s.queue} {
		payloads, _ := take(b, len(b), len(b))
		waiting += len(payloads)
	}
	s.counts.dropped.Add(uint64(waiting))
	err := s.spool.close(waiting == 0 && s.lost.count == 0)
	if bytes := s.spool.unread(); bytes > 0 {
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "events stay in the spool until the next start", slog.String("spool", s.cfg.Dir), slog.Int64("bytes", bytes))
	}
	if waiting > 0 || s.lost.count > 0 {
		err = errors.Join(err, fmt.Errorf("forward events: %d events are lost: the spool %s took no more", s.lost.count+uint64(waiting), s.cfg.Dir))
	}
	return err
}
