package limit

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Why a queue refused. A context that ended gives its cause instead.
var (
	// ErrFull says that the queue holds as many as it may, and that nobody
	// holds more of it than the flow that was refused.
	ErrFull = errors.New("limit: the queue is full")
	// ErrTimeout says that the turn did not come, or cannot come, in time.
	ErrTimeout = errors.New("limit: the turn would come too late")
	// ErrClosed says that the process is shutting down.
	ErrClosed = errors.New("limit: the queue is closed")
)

// retryFloor is how long the timer rests after it fired for nothing: others
// took from the same limiter at the moment a turn was due, or the clock stands.
const retryFloor = time.Millisecond

// Queue is a bounded waiting room in front of a Limiter. Who waits belongs to a
// flow (for example a caller) of a key. Turns come by the limiter's schedule for
// the key; keys whose turns are due take them in rotation, and so do the flows
// of one key. A full queue makes room for a flow by turning away the newest of
// the flow that holds the most, so that one noisy flow costs nobody else a
// place.
//
// One timer serves the whole queue; no goroutine waits for it.
type Queue struct {
	limiter *Limiter
	now     func() time.Time
	// waiting is held beside the lock for requests that find nobody waiting.
	waiting atomic.Int64

	mu     sync.Mutex
	depth  int
	closed bool
	timer  *time.Timer
	lanes  map[uint64]*lane
	flows  map[flowID]*flow
	due    indexed[*lane]
	crowd  indexed[*flow] // longest first
	turn   uint64
}

// lane is the waiters of one key.
type lane struct {
	hash  uint64
	due   int64  // when its next turn comes, as Limiter.since
	turn  uint64 // when it last had one
	place int
	next  *flow // of the ring of its flows, nil only while it is made
}

// flow is the waiters of one flow in one lane, in the order they came.
type flow struct {
	id            flowID
	lane          *lane
	place         int
	before, after *flow     // the lane's ring
	waiters       []*waiter // never empty
}

// flowID is the hashes of a key and of a flow of it.
type flowID struct{ key, flow uint64 }

type waiter struct {
	flow    *flow // nil once settled
	settled chan outcome
}

type outcome struct {
	verdict Verdict
	err     error
}

// NewQueue puts a queue for at most depth waiters in front of l. The clock must
// be the one that l is asked with. Close ends it.
func NewQueue(l *Limiter, depth int, now func() time.Time) *Queue {
	return &Queue{
		limiter: l,
		now:     now,
		depth:   depth,
		lanes:   make(map[uint64]*lane),
		flows:   make(map[flowID]*flow),
		due: indexed[*lane]{
			less: func(a, b *lane) bool { return a.due < b.due || a.due == b.due && a.turn < b.turn },
			place: func(ln *lane) *int {
				return &ln.place
			},
		},
		crowd: indexed[*flow]{
			less:  func(a, b *flow) bool { return len(a.waiters) > len(b.waiters) },
			place: func(f *flow) *int { return &f.place },
		},
	}
}

// SetDepth changes the bound. Those who wait keep their places.
func (q *Queue) SetDepth(depth int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.depth = depth
}

// Waiting is how many wait.
func (q *Queue) Waiting() int { return int(q.waiting.Load()) }

// Try counts one request of key where there is room and nobody at all waits: the
// fast way in, which takes no lock of the queue. Where its verdict is not OK,
// Wait decides.
func (q *Queue) Try(key string, now time.Time) Verdict {
	if q.waiting.Load() > 0 {
		return Verdict{}
	}
	return q.limiter.Allow(key, now)
}

// Wait counts one request of key, at once where there is room and nobody of the
// same key waits, or after waiting at most timeout. waited is 0 where it did not
// have to. The error is nil where the verdict is OK; otherwise the verdict's
// RetryAfter says when to come again.
func (q *Queue) Wait(ctx context.Context, key, flowKey string, timeout time.Duration) (v Verdict, waited time.Duration, err error) {
	start := q.now()
	w, v, err := q.enter(q.limiter.hash(key), q.limiter.hash(flowKey), q.limiter.since(start), timeout)
	if w == nil {
		return v, 0, err
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	select {
	case out := <-w.settled:
		return out.verdict, q.now().Sub(start), out.err
	case <-deadline.C:
		err = ErrTimeout
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	out := q.leave(w, err)
	return out.verdict, q.now().Sub(start), out.err
}

// enter takes a place in the queue, or gives the verdict where none is needed
// or none is to be had.
func (q *Queue) enter(h, flowHash uint64, now int64, timeout time.Duration) (*waiter, Verdict, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, q.limiter.take(h, now, false).refused(), ErrClosed
	}
	ln := q.lanes[h]
	var due int64
	if ln == nil {
		v := q.limiter.take(h, now, true)
		if v.OK {
			return nil, v, nil
		}
		due = now + int64(v.RetryAfter)
	} else {
		due = ln.due
	}
	id := flowID{h, flowHash}
	f := q.flows[id]
	// Its flow's turns come one by one: it cannot be served before this.
	earliest := due
	if f != nil {
		earliest += int64(len(f.waiters)) * q.limiter.interval
	}
	late := Verdict{RetryAfter: time.Duration(max(earliest-now, 0)), Reset: time.Duration(max(earliest-now, 0))}
	if earliest-now >= int64(timeout) {
		return nil, late, ErrTimeout
	}
	if q.Waiting() >= q.depth && !q.makeRoom(f) {
		return nil, late, ErrFull
	}
	if ln = q.lanes[h]; ln == nil { // making room may have ended the lane
		q.turn++
		ln = &lane{hash: h, due: due, turn: q.turn}
		q.lanes[h] = ln
		q.due.push(ln)
	}
	w := &waiter{settled: make(chan outcome, 1)}
	if f = q.flows[id]; f == nil {
		f = &flow{id: id, lane: ln, waiters: []*waiter{w}}
		q.flows[id] = f
		ln.link(f)
		q.crowd.push(f)
	} else {
		f.waiters = append(f.waiters, w)
		q.crowd.fix(f)
	}
	w.flow = f
	q.waiting.Add(1)
	if q.due.items[0] == ln {
		q.arm(now, 0)
	}
	return w, Verdict{}, nil
}

// makeRoom turns away the newest waiter of the longest flow, if that is longer
// than f would become.
func (q *Queue) makeRoom(f *flow) bool {
	mine := 0
	if f != nil {
		mine = len(f.waiters)
	}
	if len(q.crowd.items) == 0 || len(q.crowd.items[0].waiters) <= mine+1 {
		return false
	}
	longest := q.crowd.items[0]
	last := longest.waiters[len(longest.waiters)-1]
	v := Verdict{RetryAfter: time.Duration(int64(len(longest.waiters)) * q.limiter.interval)}
	v.Reset = v.RetryAfter
	q.settle(last, outcome{v, ErrFull})
	return true
}

// leave gives up a place, unless the turn came at the same moment: then that
// counts, so that what the limiter granted is not lost.
func (q *Queue) leave(w *waiter, err error) outcome {
	q.mu.Lock()
	if w.flow == nil {
		q.mu.Unlock()
		return <-w.settled
	}
	defer q.mu.Unlock()
	ln := w.flow.lane
	ahead := time.Duration(max(ln.due-q.limiter.since(q.now()), 0)) + time.Duration(len(w.flow.waiters)-1)*time.Duration(q.limiter.interval)
	q.settle(w, outcome{})
	return outcome{Verdict{RetryAfter: ahead, Reset: ahead}, err}
}

// serve gives every turn that is due and sets the timer for the next.
func (q *Queue) serve() {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.limiter.since(q.now())
	floor := retryFloor
	for len(q.due.items) > 0 && q.due.items[0].due <= now {
		ln := q.due.items[0]
		q.turn++
		ln.turn = q.turn
		v := q.limiter.take(ln.hash, now, true)
		if !v.OK {
			ln.due = now + int64(v.RetryAfter)
			q.due.fix(ln)
			continue
		}
		floor = 0
		next := q.limiter.take(ln.hash, now, false)
		ln.due = now + int64(next.RetryAfter)
		q.due.fix(ln)
		f := ln.next
		ln.next = f.after
		q.settle(f.waiters[0], outcome{v, nil})
	}
	q.arm(now, floor)
}

// settle takes a waiter out and tells it.
func (q *Queue) settle(w *waiter, out outcome) {
	f := w.flow
	w.flow = nil
	q.waiting.Add(-1)
	i := slices.Index(f.waiters, w)
	f.waiters = slices.Delete(f.waiters, i, i+1)
	w.settled <- out
	if len(f.waiters) > 0 {
		q.crowd.fix(f)
		return
	}
	q.crowd.remove(f)
	delete(q.flows, f.id)
	if f.lane.unlink(f) {
		q.due.remove(f.lane)
		delete(q.lanes, f.lane.hash)
	}
}

// arm sets the one timer for the next turn, but not before floor.
func (q *Queue) arm(now int64, floor time.Duration) {
	if len(q.due.items) == 0 {
		if q.timer != nil {
			q.timer.Stop()
		}
		return
	}
	d := max(time.Duration(q.due.items[0].due-now), floor)
	if q.timer == nil {
		q.timer = time.AfterFunc(d, q.serve)
		return
	}
	q.timer.Reset(d)
}

// Close refuses all who wait, and all who come and would have to.
func (q *Queue) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for len(q.crowd.items) > 0 {
		q.settle(q.crowd.items[0].waiters[0], outcome{Verdict{}, ErrClosed})
	}
	if q.timer != nil {
		q.timer.Stop()
	}
}

// link puts a flow at the end of the rotation.
func (ln *lane) link(f *flow) {
	if ln.next == nil {
		f.before, f.after, ln.next = f, f, f
		return
	}
	first := ln.next
	f.before, f.after = first.before, first
	f.before.after, first.before = f, f
}

// unlink takes a flow out of the rotation and reports whether it was the last.
func (ln *lane) unlink(f *flow) (last bool) {
	if f.after == f {
		ln.next = nil
		return true
	}
	f.before.after, f.after.before = f.after, f.before
	if ln.next == f {
		ln.next = f.after
	}
	return false
}

// refused makes sure that a verdict that was only looked at lets nobody in.
func (v Verdict) refused() Verdict {
	v.OK = false
	return v
}
