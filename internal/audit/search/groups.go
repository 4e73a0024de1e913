package search

import (
	"errors"
	"slices"
	"time"

	"bulwark.dev/bulwark/internal/audit"
	"bulwark.dev/bulwark/internal/audit/search/query"
)

// The bounds of what a grouping holds in memory. Beyond them it refuses, and says
// what to narrow.
const (
	// MaxGroups is how many groups count and top keep.
	MaxGroups = query.MaxTop
	// MaxKept is how many groups first and last keep, each with its event.
	MaxKept = 100_000
	// MaxBuckets is how many steps a timeline may have.
	MaxBuckets = 100_000
	// maxNames is how much memory the groups' names may take.
	maxNames = 256 << 20
)

// ErrTooManyGroups is a grouping that would not fit in memory.
var ErrTooManyGroups = errors.New("too many groups")

// An event may carry hostile thousands of values. They are counted up to a bound, and
// what was cut is told.
const (
	MaxValues       = 100   // of one field of one event
	MaxCombinations = 1_000 // groups that one event is in
)

// valueSet collects the different values of a field of one event.
type valueSet struct {
	all []string
	cut bool // there were more
}

func (v *valueSet) add(s string) {
	switch {
	case s == "" || slices.Contains(v.all, s):
	case len(v.all) == MaxValues:
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
func keys(f *query.Field, e *audit.Event) valueSet {
	var of valueSet
	f.Shown(e, func(s string) bool {
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
