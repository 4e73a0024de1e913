package search

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"bulwark.dev/bulwark/internal/audit"
)

// The bounds of what a grouping holds in memory. Beyond them it refuses, and says
// what to narrow.
const (
	// MaxGroups is how many groups count and top keep.
	MaxGroups = 1_000_000
	// MaxKept is how many groups first and last keep, each with its event.
	MaxKept = 100_000
	// MaxBuckets is how many steps a timeline may have.
	MaxBuckets = 100_000
	// maxNames is how much memory the groups' names may take.
	maxNames = 256 << 20
	// maxBy is how many fields a group is made of.
	maxBy = 8
)

// ErrTooManyGroups is a grouping that would not fit in memory.
var ErrTooManyGroups = errors.New("too many groups")

// task is what a grouping does with events.
type task uint8

const (
	taskCount task = iota + 1
	taskTop
	taskFirst
	taskLast
	taskTimeline
)

func (t task) String() string {
	switch t {
	case taskCount:
		return "count"
	case taskTop:
		return "top"
	case taskFirst:
		return "first"
	case taskLast:
		return "last"
	case taskTimeline:
		return "timeline"
	}
	return "?"
}

// grouping is what stands after the pipe.
type grouping struct {
	task task
	by   []*field
	n    int           // of top
	step time.Duration // of timeline
}

func (g *grouping) write(b *strings.Builder) {
	b.WriteString("| " + g.task.String())
	if g.task == taskTop {
		b.WriteString(" " + strconv.Itoa(g.n))
	}
	if g.task == taskTimeline {
		b.WriteString(" " + spanText(g.step))
	}
	for i, f := range g.by {
		if i == 0 {
			b.WriteString(" by ")
		} else {
			b.WriteByte(',')
		}
		b.WriteString(f.name)
	}
}

// grouping reads what stands after the pipe.
func (p *parser) grouping() (*grouping, error) {
	p.at++
	g := &grouping{}
	start, word := p.word()
	for _, t := range []task{taskCount, taskTop, taskFirst, taskLast, taskTimeline} {
		if strings.EqualFold(word, t.String()) {
			g.task = t
		}
	}
	switch g.task {
	case taskTop:
		at, word := p.word()
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > MaxGroups {
			return nil, p.fail(at, "expected how many after top: | top 10 by ip")
		}
		g.n = n
	case taskTimeline:
		at, word := p.word()
		step, ok := parseSpan(word)
		if !ok || step < time.Second {
			return nil, p.fail(at, "expected a step after timeline, at least 1s: | timeline 1h")
		}
		g.step = step
		return g, nil
	case taskCount, taskFirst, taskLast:
	default:
		return nil, p.fail(start, "expected count, count by user, top 10 by ip, first by user, last by user or timeline 1h after the pipe")
	}
	at, word := p.word()
	if word == "" && g.task == taskCount {
		return g, nil
	}
	if !strings.EqualFold(word, "by") {
		return nil, p.fail(at, "expected by and one or more fields: | %s by user", g.task)
	}
	return g, p.fields(g)
}

// word steps over letters and digits, and the spaces before them.
func (p *parser) word() (at int, word string) {
	p.space()
	at = p.at
	for p.more() {
		r, n := utf8.DecodeRuneInString(p.src[p.at:])
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			break
		}
		p.at += n
	}
	return at, p.src[at:p.at]
}

// fields reads the fields to group by.
func (p *parser) fields(g *grouping) error {
	for {
		p.space()
		start := p.at
		name := p.name()
		if name == "" {
			return p.fail(start, "expected a field to group by, found %s", p.found())
		}
		f, ok := lookup(name)
		if !ok {
			return p.unknown(name, start)
		}
		switch {
		case f.kind == kindTime:
			return p.fail(start, "times are grouped by | timeline 1h")
		case slices.ContainsFunc(g.by, func(o *field) bool { return o.name == name }):
			return p.fail(start, "%s stands twice", name)
		case len(g.by) == maxBy:
			return p.fail(start, "groups are made of at most %d fields", maxBy)
		}
		g.by = append(g.by, f)
		if p.space(); !p.more() || p.src[p.at] != ',' {
			return nil
		}
		p.at++
	}
}

// An event may carry hostile thousands of values. They are counted up to a bound, and
// what was cut is told.
const (
	maxKeys         = 100   // values of one field of one event
	maxCombinations = 1_000 // groups that one event is in
)

// valueSet collects the different values of a field of one event.
type valueSet struct {
	all []string
	cut bool // there were more
}

func (v *valueSet) add(s string) {
	switch {
	case s == "" || slices.Contains(v.all, s):
	case len(v.all) == maxKeys:
		v.cut = true
	default:
		v.all = append(v.all, s)
	}
}

// list gives the values, one "" where there is none.
func (v *valueSet) list() []string {
	if len(v.all) == 0 {
		return []string{""}
	}
	return v.all
}

// keys gives the values that an event is counted under: each of a list's.
func (f *field) keys(e *audit.Event) valueSet {
	var of valueSet
	if f.show != nil {
		of.add(f.show(e))
		return of
	}
	f.each(e, func(s string) bool {
		of.add(s)
		return !of.cut
	})
	return of
}

// Group is events that are alike in the fields that were asked for.
type Group struct {
	// Values are those of the fields, "" for none.
	Values []string
	Count  int64
	// Since and Until are the times of its oldest and its newest event. Of a timeline,
	// Since is where the step begins.
	Since, Until time.Time
	// Event is the first or last one, where that was asked for.
	Event *audit.Event
}

// Groups is what a grouping gives.
type Groups struct {
	// By names the fields.
	By []string
	// Timeline is the step, 0 where it is none.
	Timeline time.Duration
	List     []Group
	// Total is how many events there were; More how many groups top left out; Cut how
	// many events had more values than are counted of one event.
	Total int64
	More  int
	Cut   int64
}
