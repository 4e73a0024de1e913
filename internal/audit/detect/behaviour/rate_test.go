package behaviour

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const hourly = `{type: rate, group-by: [user], window: 1h, times: 10, least: 20, learning: {for: 2d, events: 10}, forget: 30d, selection: {}, identities: 20}`

// hours shows so many events in each of some hours, and gives what was found.
func (l *learner) hours(from, to, each int) []Finding {
	var out []Finding
	for h := from; h < to; h++ {
		for i := range each {
			out = append(out, l.did(after(time.Duration(h)*time.Hour+time.Duration(i)*time.Second), "cart")...)
		}
	}
	return out
}

func TestRate(t *testing.T) {
	t.Parallel()
	l := newLearner(t, hourly)
	l.silent(l.hours(0, 60, 3))
	l.silent(l.hours(60, 61, 29))
	first := l.seq + 1
	got := l.one(Unusual, l.hours(61, 62, 299)) // one, although there are many more
	want := Finding{Kind: Unusual, Learned: true, Seqs: []uint64{first, first + 35}, Count: 36, Values: map[string]string{
		"behaviour.days": "2", "behaviour.events": "244", "behaviour.learned": "true",
		"behaviour.count": "36", "behaviour.usual": "3.5", "behaviour.times": "10", "behaviour.window": "hour",
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// What was told does not count whole: the next is told too.
	l.one(Unusual, l.hours(62, 63, 60))
	// Ten times as many are told again.
	if found := l.hours(63, 64, 700); len(found) != 2 {
		t.Errorf("%+v", found)
	}
	// A few hours in which there was nothing change nothing.
	l.silent(l.hours(100, 101, 20))
}

// Who does little is told only from a certain number on, and who always does much is not
// told.
func TestRateLeast(t *testing.T) {
	t.Parallel()
	l := newLearner(t, hourly)
	l.silent(l.hours(0, 60, 1))
	l.silent(l.hours(60, 61, 19))
	l = newLearner(t, hourly)
	l.silent(l.hours(0, 60, 50))
	l.silent(l.hours(60, 61, 400))
	// In the time of learning, nothing is told.
	l = newLearner(t, hourly)
	l.silent(l.hours(0, 10, 1))
	l.silent(l.hours(10, 11, 500))
}

func TestRateClock(t *testing.T) {
	t.Parallel()
	l := newLearner(t, hourly)
	l.silent(l.hours(0, 60, 3))
	// Some come a window late; they count for the one that is open.
	l.silent(l.hours(60, 61, 15))
	l.silent(l.hours(59, 60, 10))
	l.one(Unusual, l.hours(60, 61, 15))
	// The clock goes back by days: from there on windows are as before.
	l.silent(l.hours(20, 21, 10))
	l.one(Unusual, l.hours(20, 21, 40))
	l.silent(l.hours(21, 30, 3))
	if late := l.m.Counts().Late; late != 1 {
		t.Errorf("%d windows were broken off", late)
	}
	// Ahead and back again within what is remembered.
	l.silent(l.hours(200, 201, 3))
	l.silent(l.hours(30, 31, 3))
	l.one(Unusual, l.hours(30, 31, 60))
}

func TestDecimal(t *testing.T) {
	t.Parallel()
	for want, ab := range map[string][2]int64{"3": {3, 1}, "0.5": {1, 2}, "9.9": {99, 10}, "10": {100, 10}, "17": {172, 10}, "0": {0, 7}, "0.3": {1, 3}} {
		if got := decimal(ab[0], ab[1]); got != want {
			t.Errorf("%d/%d is %q, expected %q", ab[0], ab[1], got, want)
		}
	}
}
