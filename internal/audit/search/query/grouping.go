package query

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxTop is how many groups a query may ask for.
const MaxTop = 1_000_000

// maxBy is how many fields a group is made of.
const maxBy = 8

// Task is what a grouping does with events.
type Task uint8

// The tasks.
const (
	Count Task = iota + 1
	Top
	First
	Last
	Timeline
)

func (t Task) String() string {
	switch t {
	case Count:
		return "count"
	case Top:
		return "top"
	case First:
		return "first"
	case Last:
		return "last"
	case Timeline:
		return "timeline"
	}
	return "?"
}

// Grouping is what stands after the pipe.
type Grouping struct {
	Task Task
	By   []*Field
	N    int           // of Top
	Step time.Duration // of Timeline
}

func (g *Grouping) write(b *strings.Builder) {
	b.WriteString("| " + g.Task.String())
	if g.Task == Top {
		b.WriteString(" " + strconv.Itoa(g.N))
	}
	if g.Task == Timeline {
		b.WriteString(" " + spanText(g.Step))
	}
	for i, f := range g.By {
		if i == 0 {
			b.WriteString(" by ")
		} else {
			b.WriteByte(',')
		}
		b.WriteString(f.name)
	}
}

// grouping reads what stands after the pipe.
func (p *parser) grouping() (*Grouping, error) {
	p.at++
	g := &Grouping{}
	start, word := p.word()
	for _, t := range []Task{Count, Top, First, Last, Timeline} {
		if strings.EqualFold(word, t.String()) {
			g.Task = t
		}
	}
	switch g.Task {
	case Top:
		at, word := p.word()
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > MaxTop {
			return nil, p.fail(at, "expected how many after top: | top 10 by ip")
		}
		g.N = n
	case Timeline:
		at, word := p.word()
		step, ok := parseSpan(word)
		if !ok || step < time.Second {
			return nil, p.fail(at, "expected a step after timeline, at least 1s: | timeline 1h")
		}
		g.Step = step
		return g, nil
	case Count, First, Last:
	default:
		return nil, p.fail(start, "expected count, count by user, top 10 by ip, first by user, last by user or timeline 1h after the pipe")
	}
	at, word := p.word()
	if word == "" && g.Task == Count {
		return g, nil
	}
	if !strings.EqualFold(word, "by") {
		return nil, p.fail(at, "expected by and one or more fields: | %s by user", g.Task)
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
func (p *parser) fields(g *Grouping) error {
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
		case slices.ContainsFunc(g.By, func(o *Field) bool { return o.name == name }):
			return p.fail(start, "%s stands twice", name)
		case len(g.By) == maxBy:
			return p.fail(start, "groups are made of at most %d fields", maxBy)
		}
		g.By = append(g.By, f)
		if p.space(); !p.more() || p.src[p.at] != ',' {
			return nil
		}
		p.at++
	}
}
