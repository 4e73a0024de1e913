package behaviour

import (
	"strconv"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// rate is how often an identity does something.
type rate struct {
	window int64 // its number, of those since 1970
	count  uint32
	first  uint64 // the number of the window's first event
	told   uint32 // the count when it was last told
	mean   int64  // of the windows in which there was something, times unit
	past   uint32 // how many such windows there were
}

const (
	unit = 1 << 10
	// The mean is that of the last windows, roughly so many.
	memoryOfWindows = 48
	// leastWindows is how many windows a mean is of at least.
	leastWindows = 3
	// A window is told again when it has so many times as many.
	tellAgain = 10
)

// count counts an event of what one identity does.
func (m *Memory) count(e *audit.Event, at int64, fields Fields) {
	s := m.spec
	m.open('c', e)
	m.buf = appendText(m.buf, e.Cluster)
	m.add(fields, 0, m.peers)
	en := m.get(m.sum(), at)
	if en == nil {
		return
	}
	r := &en.rate
	window := at / s.Window.Microseconds()
	switch {
	case r.count == 0:
		r.window = window
	case window > r.window:
		r.close(s, en.known)
		r.window = window
	case window == r.window-1: // a little late; it counts for the window at hand
	case window < r.window:
		// The clock went back, or past events came in: the window that was open is not whole.
		m.counts.Late++
		*r = rate{window: window, mean: r.mean, past: r.past}
	}
	if r.count == 0 {
		r.first = e.Seq
	}
	if r.count < 1<<32-1 {
		r.count++
	}
	if !m.learned(en, r.past >= leastWindows) || r.count < uint32(s.Least) || //nolint:gosec // Parse has bounded it
		int64(r.count)*unit < int64(s.Times)*r.mean || r.told > 0 && int64(r.count) < tellAgain*int64(r.told) {
		return
	}
	r.told = r.count
	values := m.about(en, dayOf(at))
	delete(values, "behaviour.known")
	values["behaviour.count"] = strconv.FormatUint(uint64(r.count), 10)
	values["behaviour.usual"] = decimal(r.mean, unit)
	values["behaviour.times"] = decimal(int64(r.count)*unit, max(r.mean, 1))
	values["behaviour.window"] = inWords(s.Window)
	seqs := []uint64{e.Seq}
	if r.first < e.Seq {
		seqs = []uint64{r.first, e.Seq}
	}
	m.told(Finding{Kind: Unusual, Learned: true, Seqs: seqs, Count: int(r.count), Values: values})
}

// close takes the window into the mean. Of one that is far more than usual, only as much
// counts as is just told: else one great window would hide the next.
func (r *rate) close(s *Spec, known bool) {
	count := int64(r.count) * unit
	if known {
		count = min(count, max(int64(s.Times)*r.mean, int64(s.Least)*unit))
	}
	if r.past < 1<<31 {
		r.past++
	}
	r.mean += (count - r.mean) / min(int64(r.past), memoryOfWindows)
	r.count, r.told, r.first = 0, 0, 0
}

// decimal is a/b for people: with one digit after the point where it is small.
func decimal(a, b int64) string {
	tenths := (10*a + b/2) / b
	if tenths >= 100 || tenths%10 == 0 {
		return strconv.FormatInt((tenths+5)/10, 10)
	}
	return strconv.FormatInt(tenths/10, 10) + "." + strconv.FormatInt(tenths%10, 10)
}

// inWords is a time span for people, as it stands after "per".
func inWords(d time.Duration) string {
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if d%u.of == 0 {
			if d == u.of {
				return u.name
			}
			return strconv.FormatInt(int64(d/u.of), 10) + " " + u.name + "s"
		}
	}
	return d.String()
}
