// Package results writes what a search gives: events one after the other, or groups, as a
// table for people, JSON lines, CSV or OCSF.
package results

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search"
	"bulwark.dev/bulwark/internal/audit/search/query"
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

// Writer writes results in one form: events one after the other, or groups.
type Writer struct {
	w       *bufio.Writer
	form    format
	started bool
}

// format is one form of results.
type format interface {
	// begin writes what stands above the first event.
	begin(w *bufio.Writer) error
	event(w *bufio.Writer, e *audit.Event) error
	groups(w *bufio.Writer, g *search.Groups) error
}

// Formats lists the forms of results.
func Formats() []string { return []string{"table", "json", "csv", "ocsf"} }

// New makes a writer of one of Formats.
func New(w io.Writer, name string, style Style) (*Writer, error) {
	o := &Writer{w: bufio.NewWriter(w)}
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
func (o *Writer) Event(e *audit.Event) error {
	if err := o.begin(); err != nil {
		return err
	}
	if err := o.form.event(o.w, e); err != nil {
		return fmt.Errorf("write event %d: %w", e.Seq, err)
	}
	return nil
}

// Groups writes groups.
func (o *Writer) Groups(g *search.Groups) error {
	if err := o.form.groups(o.w, g); err != nil {
		return fmt.Errorf("write groups: %w", err)
	}
	return o.Flush()
}

func (o *Writer) begin() error {
	if o.started {
		return nil
	}
	o.started = true
	return o.form.begin(o.w)
}

// Flush hands on what was written so far. Whoever makes a Writer flushes it at the
// end.
func (o *Writer) Flush() error {
	if err := o.w.Flush(); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return nil
}

// errNoGroups is of a form that has events only.
var errNoGroups = errors.New("OCSF has events and no counts: use table, json or csv")

// Follower prints events that a query finds as they come.
type Follower struct {
	match *query.Matcher
	out   *Writer
}

// NewFollower makes one. A query that counts has nothing to print before the end,
// and there is none.
func NewFollower(q *query.Query, out *Writer) (*Follower, error) {
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
