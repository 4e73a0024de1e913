package log

import (
	"context"
	"time"
)

// Sealing needs a third of the processor time that taking events does, and needs it all
// at once. Events wait for their acknowledgement and a full file waits for nobody, so
// sealing works in slices and rests in between: as much as lets it be done in half the
// time in which the file came together. It does not rest when more than one file waits, so
// it never falls behind for having rested.
const (
	// paceSlice is how long it works before it rests; longer only where a piece of work is.
	paceSlice = 2 * time.Millisecond
	// paceMost is how many times as long as it works it rests at most: a file that took a
	// minute to fill need not take half of one to be sealed.
	paceMost = 3
	// paceRest is the longest rest, and the longest slice of work that is believed: more is
	// a clock that was put forward, or a machine that slept.
	paceRest  = 25 * time.Millisecond
	paceWorth = 100 * time.Millisecond
	// paceFirst is what sealing an event is believed to cost before one was measured;
	// paceLeast is how many events a file must have to measure it, and paceDearest the most
	// that is believed.
	paceFirst   = 20 * time.Microsecond
	paceDearest = 200 * time.Microsecond
	paceLeast   = 1000
)

// pacer rests between slices of work. It belongs to the goroutine that seals.
type pacer struct {
	now func() time.Time
	// hurry reports whether sealing must not rest now.
	hurry func() bool
	rest  func(ctx context.Context, d time.Duration) error

	each   time.Duration // what an event cost the last time
	ratio  float64       // how long to rest for a time of work
	left   time.Duration // of all rests of this file
	begun  time.Time     // of the slice
	worked time.Duration // in all slices of this file
}

// begin starts with a file of n events that took so long to fill.
func (p *pacer) begin(n uint64, filled time.Duration) {
	if p.each == 0 {
		p.each = paceFirst
	}
	work := float64(n) * float64(p.each)
	p.ratio = min(max(filled.Seconds()*1e9/2/max(work, 1)-1, 0), paceMost)
	p.left, p.worked, p.begun = time.Duration(p.ratio*work), 0, p.now()
}

// end learns from a file of n events that was sealed.
func (p *pacer) end(n uint64) {
	p.slice()
	if n >= paceLeast && p.worked > 0 {
		p.each = min(max(time.Duration(float64(p.worked)/float64(n)), 1), paceDearest)
	}
}

// slice ends a slice of work and gives its length.
func (p *pacer) slice() time.Duration {
	now := p.now()
	d := min(max(now.Sub(p.begun), 0), paceWorth)
	p.begun = now
	p.worked += d
	return d
}

// pause rests, if it is time to.
func (p *pacer) pause(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if since := p.now().Sub(p.begun); since >= 0 && since < paceSlice {
		return nil
	}
	d := min(time.Duration(p.ratio*float64(p.slice())), paceRest, p.left)
	if d <= 0 || p.hurry() {
		return nil
	}
	p.left -= d
	err := p.rest(ctx, d)
	p.begun = p.now()
	return err
}

// rest waits, and ends early with ctx.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// pauseFor paces the sealing of a file.
func (l *Log) pauseFor(p pending) func(ctx context.Context) error {
	l.pacer.begin(p.last-p.first+1, p.filled)
	return l.pacer.pause
}

// hurries reports whether sealing must not rest.
func (l *Log) hurries() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pending) > 1 || l.waited > 0
}
