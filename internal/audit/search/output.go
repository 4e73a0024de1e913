package search

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
)

// Style is how results look. The zero Style is that of a file.
type Style struct {
	// Width is that of the terminal in columns; 0 is no terminal, where nothing is cut.
	Width int
	Color bool
	// Location is the zone of the times in tables; nil is UTC. Other forms have UTC.
	Location *time.Location
	// Version is the program's, for OCSF.
	Version string
}

// Output writes results in one form: events one after the other, or groups.
type Output struct {
	w       *bufio.Writer
	form    format
	started bool
}

// format is one form of results.
type format interface {
	// begin writes what stands above the first event.
	begin(w *bufio.Writer) error
	event(w *bufio.Writer, e *audit.Event) error
	groups(w *bufio.Writer, g *Groups) error
}

// Formats lists the forms of results.
func Formats() []string { return []string{"table", "json", "csv", "ocsf"} }

// NewOutput makes an output of one of Formats.
func NewOutput(w io.Writer, name string, style Style) (*Output, error) {
	o := &Output{w: bufio.NewWriter(w)}
	switch name {
	case "table":
		o.form = newTable(style)
	case "json":
		o.form = &lines{}
	case "csv":
		o.form = &sheets{}
	case "ocsf":
		o.form = newOCSF(style.Version)
	default:
		return nil, fmt.Errorf("results have no form %q: use %s", name, strings.Join(Formats(), ", "))
	}
	return o, nil
}

// Event writes an event.
func (o *Output) Event(e *audit.Event) error {
	if err := o.begin(); err != nil {
		return err
	}
	if err := o.form.event(o.w, e); err != nil {
		return fmt.Errorf("write event %d: %w", e.Seq, err)
	}
	return nil
}

// Groups writes groups.
func (o *Output) Groups(g *Groups) error {
	if err := o.form.groups(o.w, g); err != nil {
		return fmt.Errorf("write groups: %w", err)
	}
	return o.Flush()
}

func (o *Output) begin() error {
	if o.started {
		return nil
	}
	o.started = true
	return o.form.begin(o.w)
}

// Flush hands on what was written so far. Whoever makes an Output flushes it at the
// end.
func (o *Output) Flush() error {
	if err := o.w.Flush(); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// errNoGroups is of a form that has events only.
var errNoGroups = errors.New("OCSF has events and no counts: use table, json or csv")

// Follower prints events that a query finds as they come.
type Follower struct {
	match *Matcher
	out   *Output
}

// NewFollower makes one. A query that counts has nothing to print before the end,
// and there is none.
func NewFollower(q *Query, out *Output) (*Follower, error) {
	if q.Groups() {
		return nil, errors.New("follow the trail: the query counts events, which needs an end; leave out what stands after the pipe")
	}
	return &Follower{match: q.Matcher(), out: out}, nil
}

// Event prints an event if the query finds it, at once, and reports whether it did.
func (f *Follower) Event(e *audit.Event) (bool, error) {
	if !f.match.Match(e) {
		return false, nil
	}
	if err := f.out.Event(e); err != nil {
		return false, err
	}
	return true, f.out.Flush()
}

// String tells what a search did in one sentence.
func (s *Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d found among %d events", s.Found, s.Rows)
	if s.Segments > 0 {
		fmt.Fprintf(&b, " (%d segments, %d of them without reading rows, %d events read)", s.Segments, s.Skipped, s.Read)
	}
	if s.Pruned > 0 {
		fmt.Fprintf(&b, "; %d more were taken away by retention and cannot be searched", s.Pruned)
	}
	if n := len(s.Unreadable); n > 0 {
		fmt.Fprintf(&b, "; %d segments could not be read", n)
	}
	return b.String()
}
